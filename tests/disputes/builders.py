"""An issuer with staff, a payer below it with customers, and invoices to dispute: all built through the services."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from core import clock
from core.access import system_actor
from core.calendars import work_calendar_create
from core.errors import BillingError
from core.models import OutboxEvent, User, WorkCalendar
from disputes.models import (
    BillingDispute,
    Category,
    DisputeAttachment,
    DisputeComment,
    DisputeEvent,
    DisputePolicy,
    DisputePolicyTarget,
    DisputeResolution,
    DisputeRound,
    Severity,
)
from disputes.services.opening import dispute_open
from disputes.services.policies import Target, policy_create
from disputes.services.rounds import clocks_differ
from entities.models import Department, Entity, Role
from invoicing.models import CollectionHold, ImportStatus, Invoice, InvoiceLine, Payment, UsageImport
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.credited_lines import LineAmount
from invoicing.services.invoice import invoice_issue
from invoicing.services.payments import payment_record
from tests.entities import factories
from tests.invoicing.invoices.builders import usage

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""09:00 in Berlin."""
OFFICE = dict.fromkeys(("monday", "tuesday", "wednesday", "thursday", "friday"), "09:00-17:00")
_names = itertools.count(1)


@dataclass
class Desk:
    """Root "Northwind Group", below it the issuer "Northwind Services" and the payer "Northwind Germany" (EUR, 19 %).

    Nobody has a role at the root, so that nobody stands on both sides; documents are made by the system.
    Staff at the issuer: ``manager`` (finance manager), ``staff`` and ``colleague`` (finance staff), ``auditor``.
    Customers: ``customer`` and ``second_customer`` (finance staff at the payer only), ``buyer`` (department manager of
    Sales). ``neighbour`` is department manager of Research, ``stranger`` finance manager of another group.
    """

    root: Entity
    issuer: Entity
    payer: Entity
    sales: Department
    research: Department
    manager: User
    staff: User
    colleague: User
    auditor: User
    customer: User
    second_customer: User
    buyer: User
    neighbour: User
    stranger: User
    usage_import: UsageImport
    used_days: Iterator[date] = field(default_factory=lambda: _days_from(date(2026, 1, 1)))

    # --- Invoices --------------------------------------------------------------------------------------

    def invoice(
        self,
        *amounts: str,
        department: Department | None = None,
        currency: str = "EUR",
        on: date | None = None,
    ) -> Invoice:
        """An issued invoice with a line per amount (before tax), of Sales unless told, issued today unless told.

        It is due 30 days after that day; three lines are "100", "50", "10" unless told.
        """
        day = next(self.used_days)
        for number, amount in enumerate(amounts or ("100", "50", "10"), start=1):
            row = {
                "billed_cost": Decimal(amount),
                "entity_id": self.payer.pk,
                "department": department or self.sales,
                "service_name": f"Service {number}",
                "currency": currency,
                "day": day,
            }
            usage(self.usage_import, [row])
        draft = consolidated_invoice_draft(
            actor=system_actor(), payer=self.payer, period_start=day, period_end=day + timedelta(days=1)
        )
        return invoice_issue(
            actor=system_actor(), invoice=draft.invoice, issue_date=on or clock.today(self.issuer.time_zone)
        )

    def line(self, invoice: Invoice, number: int = 1) -> InvoiceLine:
        """A line of an invoice, by its number."""
        return InvoiceLine.objects.get(invoice=invoice, line_number=number)

    def pay(self, invoice: Invoice, amount: str, **fields: Any) -> Payment:
        """A payment of the payer that settles the invoice."""
        return payment_record(
            actor=system_actor(), issuer=self.issuer, entity=self.payer, amount=amount,
            **{"currency": invoice.currency, "received_on": clock.today(self.issuer.time_zone), **fields},
        )  # fmt: skip

    def credit(self, line: InvoiceLine, amount: str) -> Invoice:
        """A credit note over a part of a line, ``amount`` including tax, made past the disputes."""
        return credit_note_issue(
            actor=system_actor(),
            invoice=line.invoice,
            reason="Agreed by phone",
            lines=[LineAmount(line.pk, including_tax=Decimal(amount))],
        )

    # --- Disputes --------------------------------------------------------------------------------------

    def open(
        self,
        invoice: Invoice | None = None,
        *,
        line: int | None = 1,
        amount: str = "59.50",
        actor: User | None = None,
        **fields: Any,
    ) -> BillingDispute:
        """A dispute of the customer about a line (None: the whole) of the invoice, else of a new one."""
        invoice = invoice or self.invoice()
        values = {"category": Category.PRICING, "reason": "We agreed on half of it.", **fields}
        return dispute_open(
            actor=actor or self.customer,
            invoice=invoice,
            invoice_line=self.line(invoice, line) if line is not None else None,
            amount=amount,
            **values,
        )

    def again(self, dispute: BillingDispute) -> BillingDispute:
        """As it is stored now: a protected status is never refreshed in place."""
        return BillingDispute.objects.get(pk=dispute.pk)

    def policy(self, *, hours: int | None = None, response_hours: int = 8, **fields: Any) -> DisputePolicy:
        """A policy of the issuer; ``hours`` is the resolution's target for every severity."""
        targets = fields.pop("targets", None)
        if targets is None and hours is not None:
            targets = dict.fromkeys(Severity.values, Target(hours * 60, response_hours * 60))
        values = {"name": f"Policy {next(_names)}", "issuer": self.issuer, **fields}
        return policy_create(actor=self.manager, targets=targets, **values)


def office_calendar(**fields: Any) -> WorkCalendar:
    """Mon–Fri 09–17 in Berlin, with the public holidays of Germany; not the default one."""
    values = {
        "name": f"Berlin office {next(_names)}",
        "time_zone": "Europe/Berlin",
        "holiday_country": "DE",
        **OFFICE,
        **fields,
    }
    return work_calendar_create(actor=system_actor(), **values)


def _days_from(first: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in itertools.count())


def round_now(dispute: BillingDispute) -> DisputeRound:
    """The round that the dispute is in now, with its dispute as stored."""
    fresh = BillingDispute.objects.get(pk=dispute.pk)
    return DisputeRound.objects.select_related("dispute").get(dispute=fresh, number=fresh.round_number)


def log(dispute: BillingDispute) -> list[str]:
    """The kinds of what happened, in order."""
    return list(dispute.events.order_by("id").values_list("kind", flat=True))


def berlin(text: str) -> datetime:
    """A moment by the clock of Berlin: "2026-03-02 09:00"."""
    return datetime.fromisoformat(text).replace(tzinfo=clock.zone("Europe/Berlin")).astimezone(UTC)


def assert_clocks_proven() -> None:
    """What every round keeps is what its log says (DSP-09)."""
    for each in DisputeRound.objects.select_related("dispute"):
        assert clocks_differ(each) == {}, each


def everything() -> list[list[tuple[Any, ...]]]:
    """All that disputes may change, row by row."""
    models = (
        BillingDispute, DisputeRound, DisputeEvent, DisputeComment, DisputeResolution, DisputePolicy,
        DisputePolicyTarget, DisputeAttachment, CollectionHold,
    )  # fmt: skip
    rows = [list(model.objects.order_by("pk").values_list()) for model in models]
    documents = Invoice.objects.order_by("pk").values_list(
        "pk", "status", "disputed_amount", "settled_amount", "version"
    )
    return [*rows, list(documents), [(OutboxEvent.objects.count(), Payment.objects.count())]]


@contextlib.contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[BillingError]]:
    """Expect that refusal, and that nothing has changed."""
    before = everything()
    with pytest.raises(BillingError) as caught:
        yield caught
    assert caught.value.code == code, repr(caught.value)
    assert everything() == before


def build_desk() -> Desk:
    """The desk in a fresh database; its memberships hold from today on."""
    root = factories.entity("Northwind Group", currency="EUR", country="DE", legal_name="Northwind Group SE")
    issuer = factories.entity(
        "Northwind Services",
        parent=root,
        currency="EUR",
        country="DE",
        legal_name="Northwind Services GmbH",
        street="Hafenstr. 5",
        postal_code="20457",
        city="Hamburg",
        tax_id="DE136695976",
        iban="DE02120300000000202051",
        bic="BYLADEM1001",
        bank_name="DKB",
        is_issuer=True,
        is_default_issuer=True,
        time_zone="Europe/Berlin",
    )
    payer = factories.entity(
        "Northwind Germany",
        parent=root,
        currency="EUR",
        country="DE",
        legal_name="Northwind Germany GmbH",
        street="Weg 1",
        postal_code="10115",
        city="Berlin",
        billing_email="billing@northwind-germany.example",
        consolidated_billing=False,
        tax_treatment="S",
        tax_rate=Decimal(19),
        payment_terms_days=30,
        time_zone="Europe/Berlin",
    )
    other = factories.entity("Fabrikam", currency="EUR")
    sales, research = factories.department(payer, "SALES"), factories.department(payer, "RES", "Research")
    usage_import = UsageImport(
        entity=root, root=root, file_name="usage.csv", file_sha256="0" * 64, created_by=system_actor(),
        status=ImportStatus.COMPLETED,
    )  # fmt: skip
    usage_import.save()
    return Desk(
        root=root,
        issuer=issuer,
        payer=payer,
        sales=sales,
        research=research,
        manager=factories.member(issuer, Role.FINANCE_MANAGER),
        staff=factories.member(issuer, Role.FINANCE_STAFF),
        colleague=factories.member(issuer, Role.FINANCE_STAFF),
        auditor=factories.member(issuer, Role.AUDITOR),
        customer=factories.member(payer, Role.FINANCE_STAFF),
        second_customer=factories.member(payer, Role.FINANCE_STAFF),
        buyer=factories.member(payer, Role.DEPARTMENT_MANAGER, department=sales),
        neighbour=factories.member(payer, Role.DEPARTMENT_MANAGER, department=research),
        stranger=factories.member(other, Role.FINANCE_MANAGER),
        usage_import=usage_import,
    )
