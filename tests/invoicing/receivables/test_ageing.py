"""Receivables by age: buckets, disputed parts, balances, scope, past days (INV-06, DSP-03)."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from core.access import system_actor
from entities.models import EntityType, Role
from entities.services.entity import entity_create
from invoicing.models import Invoice
from invoicing.selectors.receivables import AgeingRow, ageing_totals, receivables_ageing
from invoicing.services.payments import Application, payment_record, payment_reverse
from tests.invoicing.invoices.builders import Group
from tests.invoicing.invoices.test_admin import pages
from tests.invoicing.invoices.test_api import BASE, client
from tests.invoicing.receivables.conftest import Bill

ON = date(2024, 12, 31)


def ageing(group: Group, on: date | None = ON, **scope: object) -> list[AgeingRow]:
    return receivables_ageing(user=group.manager, today=ON, on=on, **scope)


def dispute(invoice: Invoice, amount: str) -> None:
    Invoice.objects.filter(pk=invoice.pk).update(disputed_amount=Decimal(amount))


class TestBuckets:
    # Due 30 days after its issue: the days after the due date on 31 December 2024.
    @pytest.mark.parametrize(
        ("issued", "overdue", "bucket"),
        [
            (date(2024, 12, 1), 0, 0), (date(2024, 11, 30), 1, 1), (date(2024, 11, 1), 30, 1),
            (date(2024, 10, 31), 31, 2), (date(2024, 10, 2), 60, 2), (date(2024, 10, 1), 61, 3),
            (date(2024, 9, 2), 90, 3), (date(2024, 9, 1), 91, 4),
        ],
    )  # fmt: skip
    def test_the_edges_of_the_buckets(
        self, group: Group, bill: Bill, issued: date, overdue: int, bucket: int
    ) -> None:
        invoice = bill("10.40", issued)
        assert max(0, (ON - invoice.due_date).days) == overdue
        for on in (None, ON):
            (row,) = ageing(group, on)
            expected = [Decimal(0)] * 5
            expected[bucket] = Decimal("10.40")
            assert list(row.buckets) == expected
            assert (row.open, row.documents) == (Decimal("10.40"), 1)

    def test_dsp_03_what_is_disputed_is_open_and_shown_as_such(self, group: Group, bill: Bill) -> None:
        dispute(bill("100", date(2024, 10, 10)), "30")
        bill("50", date(2024, 12, 20))
        for on in (None, ON):
            (row,) = ageing(group, on)
            assert (row.open, row.overdue, row.disputed) == (Decimal(150), Decimal(100), Decimal(30))

    def test_inv_06_balances_stand_beside_what_is_open(self, group: Group, bill: Bill) -> None:
        invoice = bill("100", date(2024, 10, 10))
        payment_record(
            actor=group.manager, issuer=group.issuer, entity=group.root, amount="130", currency="USD",
            received_on=date(2024, 11, 1), applications=[Application(invoice.pk, "60")],
        )  # fmt: skip
        for on in (None, ON):
            (row,) = ageing(group, on)
            assert (row.open, row.credit, row.net) == (Decimal(40), Decimal(70), Decimal(-30))

    def test_a_past_day_is_as_it_was_then(self, group: Group, bill: Bill) -> None:
        invoice = bill("100", date(2024, 10, 10))
        payment = payment_record(
            actor=group.manager, issuer=group.issuer, entity=group.root, amount="100", currency="USD",
            received_on=date(2024, 11, 15), applications=[Application(invoice.pk)],
        )  # fmt: skip
        assert [row.open for row in ageing(group, date(2024, 11, 14))] == [Decimal(100)]
        assert ageing(group, date(2024, 11, 15)) == []
        assert ageing(group, date(2024, 10, 9)) == []
        payment_reverse(actor=group.manager, payment=payment, reason="It bounced")
        assert ageing(group, date(2024, 11, 15)) == []
        assert [row.open for row in ageing(group, None)] == [Decimal(100)]

    def test_totals_are_per_currency(self, group: Group, bill: Bill) -> None:
        bill("10", date(2024, 10, 10))
        bill("20", date(2024, 12, 20))
        (total,) = ageing_totals(ageing(group))
        assert (total.currency, total.open, total.overdue, total.documents) == (
            "USD", Decimal(30), Decimal(10), 2,
        )  # fmt: skip

    def test_ent_04_nobody_sees_other_accounts(self, group: Group, bill: Bill) -> None:
        bill("10", date(2024, 10, 10))
        other = entity_create(
            actor=system_actor(), name="Other Inc.", entity_type=EntityType.ROOT, code="OTHER", currency="USD"
        )
        stranger = group.person(Role.FINANCE_MANAGER, other)
        assert receivables_ageing(user=stranger, today=ON) == []
        # The issuer's people see what it is owed.
        seller = group.person(Role.FINANCE_MANAGER, group.issuer)
        assert [row.open for row in receivables_ageing(user=seller, today=ON)] == [Decimal(10)]

    def test_the_number_of_statements_is_fixed(self, group: Group, bill: Bill) -> None:
        def statements() -> int:
            with CaptureQueriesContext(connection) as queries:
                ageing(group)
            return len(queries)

        bill("10", date(2024, 10, 10))
        before = statements()
        bill("20", date(2024, 10, 11))
        assert statements() == before == 2


class TestDoors:
    def test_the_api(self, group: Group, bill: Bill) -> None:
        dispute(bill("100", date(2024, 10, 10)), "30")
        answer = client(group.manager).get(f"{BASE}/receivables/ageing", {"on": "2024-12-31"})
        assert answer.status_code == 200
        body = answer.json()
        assert body["on"] == "2024-12-31"
        assert body["totals"] == [
            {
                "currency": "USD", "documents": 1, "open": "100.00", "overdue": "100.00", "disputed": "30.00",
                "credit": "0.00", "net": "100.00",
                "buckets": {
                    "not_due": "0.00", "days_1_30": "0.00", "days_31_60": "100.00", "days_61_90": "0.00",
                    "days_over_90": "0.00",
                },
            }
        ]  # fmt: skip
        assert (body["rows"][0]["entity_id"], body["rows"][0]["issuer_id"]) == (
            group.root.pk,
            group.issuer.pk,
        )

    def test_a_mistyped_filter_is_refused(self, group: Group) -> None:
        answer = client(group.manager).get(f"{BASE}/receivables/ageing", {"entity": "1"})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "unknown_parameter")

    def test_the_page_leads_to_the_documents(self, group: Group, bill: Bill) -> None:
        invoice = bill("1234.50", date(2024, 10, 10))
        site = pages(group.manager)
        page = site.get(reverse("admin:invoicing_invoice_ageing")).content.decode()
        assert "1,234.50" in page
        assert "age=days_over_90" in page
        listed = site.get(reverse("admin:invoicing_invoice_changelist"), {"age": "days_over_90"})
        assert listed.status_code == 200
        assert [row.pk for row in listed.context["cl"].result_list] == [invoice.pk]
        none = site.get(reverse("admin:invoicing_invoice_changelist"), {"age": "not_due", "o": "7"})
        assert none.context["cl"].result_count == 0
