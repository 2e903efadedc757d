"""How much an invoice asks of the database, and that what is read once for several purposes says the same (INV-03)."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.access import system_actor
from core.prepared import PreparedStatement
from entities.models import Entity
from entities.services.entity import entity_link_set, entity_update
from invoicing.models import Invoice
from invoicing.selectors.billing_scope import billing_hierarchy, billing_scope
from invoicing.selectors.contract_fees import FIRST_DAY
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from invoicing.services.tax_rules import tax_rule_create
from tests.invoicing.invoices.builders import SEPTEMBER, Group

pytestmark = pytest.mark.django_db

Counted = Callable[[Callable[[], Any]], int]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Count all statements, the prepared ones too, which Django's log does not have."""
    prepared: list[str] = []
    rows = PreparedStatement.rows

    def noted(self: PreparedStatement, values: Any) -> Any:
        prepared.append(self.statement)
        return rows(self, values)

    monkeypatch.setattr(PreparedStatement, "rows", noted)

    def count(act: Callable[[], Any]) -> int:
        prepared.clear()
        with CaptureQueriesContext(connection) as others:
            act()
        return len(prepared) + len(others)

    return count


def test_a_payer_without_contracts_costs_few_statements(group: Group, statements: Counted) -> None:
    """Two of each are the savepoint in which the test runs it; the first issue of a year makes the series besides."""
    counts = []
    for size in (1, 2, 30):
        for number in range(size):
            group.use("1.001", service_name=f"Service {number}")
        drafted = statements(partial(draft_for, group))
        draft = Invoice.objects.drafts().select_related("issuer").get()
        counts.append((drafted, statements(partial(invoice_issue, actor=group.manager, invoice=draft))))
    assert counts[1:] == [(15, 12), (15, 12)]
    assert [invoice.lines.count() for invoice in Invoice.objects.order_by("pk")] == [1, 2, 30]


def test_tax_rules_cost_one_statement_of_who_is_taxed(group: Group, statements: Counted) -> None:
    """INV-05: however many rules and products there are; of a payer without tax none is read."""
    counts = []
    for treatment, rules in (("E", 3), ("S", 0), ("S", 30)):
        entity_update(actor=system_actor(), entity=group.root, tax_treatment=treatment, tax_rate=Decimal(19))
        group.root.refresh_from_db()
        for number in range(rules):
            service = f"{treatment} {number}"
            tax_rule_create(
                actor=system_actor(), issuer=group.issuer, name="Rule", service=service, tax_category="Z",
                valid_from=date(2024, 1, 1),
            )  # fmt: skip
            group.use("1.001", service_name=service)
        group.use("1.001", service_name=f"Other {len(counts)}")
        counts.append(statements(partial(draft_for, group)))
        invoice = Invoice.objects.drafts().select_related("issuer").get()
        invoice_issue(actor=group.manager, invoice=invoice)
    assert counts == [15, 16, 16]


def draft_for(group: Group) -> None:
    start, end = SEPTEMBER
    consolidated_invoice_draft(actor=group.manager, payer=group.root, period_start=start, period_end=end)


def test_what_is_read_once_for_the_longest_span_says_the_same_of_each_shorter_one(group: Group) -> None:
    system = system_actor()
    links = [
        (group.japan, "payer", group.germany, date(2024, 3, 10), date(2024, 6, 20)),
        (group.germany, "payer", group.root, date(2024, 5, 1), date(2024, 5, 20)),
        (group.japan, "owner", group.issuer, date(2024, 9, 15), None),
        (group.root, "invoice_owner", group.issuer, date(2024, 2, 1), date(2024, 9, 5)),
    ]
    for entity, kind, target, first, last in links:
        entity_link_set(
            actor=system, entity=entity, kind=kind, target=target, valid_from=first, valid_to=last
        )
    entity_update(actor=system, entity=group.issuer, usage_markup_percent=Decimal("2.5"))
    spans = [
        (date(2024, 1, 1), date(2024, 2, 1)),
        (date(2024, 3, 1), date(2024, 4, 1)),
        (date(2024, 5, 1), date(2024, 7, 1)),
        SEPTEMBER,
    ]
    for payer in (group.root, group.germany):
        whole = billing_hierarchy(Entity.objects.get(pk=payer.pk), FIRST_DAY, date(2024, 10, 1))
        for start, end in spans:
            assert whole.scope(start, end) == billing_scope(payer, start, end), (payer, start)
    september = billing_hierarchy(group.root, FIRST_DAY, SEPTEMBER[1]).scope(*SEPTEMBER)
    assert [(p.entity_id, p.named_id, p.start) for p in september.parts if p.entity_id == group.japan.pk] == [
        (group.japan.pk, group.issuer.pk, date(2024, 9, 15)),
        (group.japan.pk, group.japan.pk, date(2024, 9, 1)),
    ]
    assert september.markups == {group.issuer.pk: Decimal("2.5")}
    assert september.bill_to_id == group.root.pk
