"""The sample group's consolidated invoices: past months issued, one voided and issued anew, the last one a draft."""

from dataclasses import dataclass
from datetime import date

from core.clock import month_after
from core.history import acting
from core.sample_data.run import SampleRun, person
from entities.models import Entity
from entities.sample_data.organisation import ROOT
from entities.sample_data.people import ADMINISTRATOR, FINANCE_MANAGER, FINANCE_STAFF, FINANCE_STAFF_DE
from entities.services.entity import entity_update
from invoicing.models import POSTED_STATUSES, Invoice, InvoiceStatus
from invoicing.sample_data.billing_runs import is_issued_within_group, issue_by_run
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue, invoice_void

JAPAN_PAYS_FROM = 3
"""The number of the month from which the Japanese company pays for itself."""

VOIDED = ("TARN-GB", 2)
"""Whose invoice, of the month of which number, is voided and issued anew."""

NEW_STREET = "22 Weighbridge Lane"


@dataclass(frozen=True)
class Payer:
    """Who is invoiced, from which month on, on which day of the next month, and by whom."""

    entity: str
    day: int
    drafted_by: str
    issued_by: str
    from_month: int = 0


PAYERS = (
    Payer(ROOT, 3, FINANCE_STAFF, FINANCE_MANAGER),
    Payer("TARN-GB", 4, FINANCE_STAFF, FINANCE_MANAGER),
    Payer("TARN-JP", 5, FINANCE_STAFF, FINANCE_MANAGER, JAPAN_PAYS_FROM),
    Payer("TARN-DE-SEN", 6, FINANCE_STAFF_DE, FINANCE_STAFF_DE),
)


def load_invoices(run: SampleRun) -> None:
    """Invoice month by month, so that the numbers rise with the dates."""
    made = 0
    for number, month in enumerate(run.months):
        in_month = _invoice_month(run, number, month)
        if in_month:
            run.say(f"  {month:%B %Y}: {in_month} invoices")
        made += in_month
    run.count(
        "invoices", made, there=Invoice.objects.filter(entity__code__in=[p.entity for p in PAYERS]).count()
    )


def _invoice_month(run: SampleRun, number: int, month: date) -> int:
    """The month before the last is invoiced by a billing run, the others payer by payer."""
    if month == run.months[-2] and all(
        is_issued_within_group(run, Entity.objects.get(code=payer.entity)) for payer in PAYERS
    ):
        by_run = issue_by_run(run, month)
        if by_run is not None:
            return by_run
    return sum(_invoice(run, payer, number, month) for payer in PAYERS if number >= payer.from_month)


def _invoice(run: SampleRun, payer: Payer, number: int, month: date) -> int:
    """Make the payer's invoice of the month unless it is there; return how many documents were made."""
    entity = Entity.objects.get(code=payer.entity)
    if not is_issued_within_group(run, entity):
        return 0
    stays_draft = payer.entity == ROOT and month == run.months[-1]
    with acting(reason=f"Invoicing of {month:%B %Y}"):
        made = _ensure(entity, payer, month, None if stays_draft else run.day_after(month, payer.day))
        if (payer.entity, number) == VOIDED:
            made += _void_and_reissue(entity, payer, month, run.day_after(month, payer.day + 5))
    return made


def _ensure(entity: Entity, payer: Payer, month: date, issue_date: date | None) -> int:
    """Draft the invoice, and issue it if a date is given; what an earlier run did is not done again."""
    there = Invoice.objects.filter(entity=entity, period_start=month)
    if there.exclude(status=InvoiceStatus.DRAFT).exists() or (issue_date is None and there.exists()):
        return 0
    draft = consolidated_invoice_draft(
        actor=person(payer.drafted_by), payer=entity, period_start=month, period_end=month_after(month)
    ).invoice
    if issue_date is not None:
        invoice_issue(actor=person(payer.issued_by), invoice=draft, issue_date=issue_date)
    return 1


def _void_and_reissue(entity: Entity, payer: Payer, month: date, issue_date: date) -> int:
    """The payer had moved: the document with the old address is void, a new one has the new address."""
    issued = Invoice.objects.filter(entity=entity, period_start=month, status__in=POSTED_STATUSES)
    voided = Invoice.objects.filter(entity=entity, period_start=month, status=InvoiceStatus.VOID)
    if voided.exists() and issued.exists():
        return 0
    if entity.street != NEW_STREET:
        entity = entity_update(
            actor=person(ADMINISTRATOR), entity=entity, reason="Moved offices", street=NEW_STREET
        )
    if not voided.exists():
        invoice_void(
            actor=person(payer.issued_by),
            invoice=issued.get(),
            reason="Sent to the former address; issued anew with the present one.",
        )
    draft = consolidated_invoice_draft(
        actor=person(payer.drafted_by), payer=entity, period_start=month, period_end=month_after(month)
    ).invoice
    invoice_issue(actor=person(payer.issued_by), invoice=draft, issue_date=issue_date)
    return 1
