"""What disputes contribute: a policy with its targets, and disputes in every state."""

from datetime import timedelta
from decimal import Decimal

from django.db import transaction

from approvals.services.votes import request_approve
from core.history import acting
from core.models import WorkCalendar
from core.money import EXACT, round_money
from core.sample_data.run import SampleRun, Step, person
from disputes.models import BillingDispute, DisputePolicy, ResolutionStatus, Severity, Visibility
from disputes.sample_data.plan import DISPUTES, HANDLED_BY, SampleDispute, SampleResolution
from disputes.selectors.policies import policy_for, policy_terms
from disputes.services.comments import comment_add
from disputes.services.ending import dispute_withdraw
from disputes.services.handling import dispute_investigate, dispute_update, dispute_wait_for_customer
from disputes.services.opening import dispute_open
from disputes.services.policies import Target, policy_create
from disputes.services.proposals import Proposal, dispute_resolve
from entities.models import Entity
from entities.sample_data.organisation import ISSUER
from entities.sample_data.people import FINANCE_MANAGER
from invoicing.models import DocumentType, Invoice, InvoiceLine

HOUR = 60
TARGETS: dict[str, Target] = {
    Severity.CRITICAL: Target(response_minutes=2 * HOUR, resolution_minutes=8 * HOUR),
    Severity.HIGH: Target(response_minutes=4 * HOUR, resolution_minutes=16 * HOUR),
    Severity.MEDIUM: Target(response_minutes=8 * HOUR, resolution_minutes=40 * HOUR),
    Severity.LOW: Target(response_minutes=16 * HOUR, resolution_minutes=80 * HOUR),
}
"""In minutes of office hours."""


def load_policy(run: SampleRun) -> None:
    """Say how soon the shared-service company answers and decides, in its office hours."""
    issuer = Entity.objects.get(code=ISSUER)
    there = DisputePolicy.objects.filter(issuer=issuer).count()
    if there:
        run.count("dispute policies", 0, there=there)
        return
    policy_create(
        actor=person(FINANCE_MANAGER),
        issuer=issuer,
        name="All customers",
        calendar=WorkCalendar.objects.filter(is_default=True).first(),
        small_claims_amount=Decimal(50),
        lead=person(FINANCE_MANAGER),
        targets=TARGETS,
    )
    run.count("dispute policies", 1)


def load_disputes(run: SampleRun) -> None:
    """Dispute lines of the last invoices, talk about them, and decide some."""
    made = there = 0
    for sample in DISPUTES:
        opener = person(sample.opened_by)
        if BillingDispute.objects.filter(opened_by=opener, reason=sample.reason).exists():
            there += 1
            continue
        line = _line(run, sample)
        if line is None:
            continue
        # What was opened without its thread would never get it on the next run.
        with transaction.atomic():
            _load(sample, line)
        made += 1
    run.count("disputes", made, there=there)


def _line(run: SampleRun, sample: SampleDispute) -> InvoiceLine | None:
    """The largest line of the department in the payer's last invoice of which nothing was credited or disputed.

    None years later: the sample's invoices are as old as the rates that are shipped, and can be disputed no more.
    """
    posted = Invoice.objects.posted().of_type(DocumentType.INVOICE)
    invoice = posted.filter(entity__code=sample.payer).order_by("-period_start", "-pk").first()
    if invoice is None:
        return None
    found = (
        InvoiceLine.objects.filter(
            invoice=invoice,
            entity__code=sample.entity,
            department__code=sample.department,
            amount__gt=0,
            credited_amount=0,
            disputes__isnull=True,
        )
        .select_related("invoice__entity", "invoice__issuer")
        .order_by("-amount", "pk")
        .first()
    )
    if found is None or invoice.issue_date is None:
        return None
    terms = policy_terms(policy_for(invoice, found), invoice.issuer)
    return found if run.today <= invoice.issue_date + timedelta(days=terms.window_days) else None


def _load(sample: SampleDispute, line: InvoiceLine) -> None:
    invoice, staff = line.invoice, person(HANDLED_BY)
    whole = EXACT.add(line.amount, line.tax_amount)
    with acting(reason="Dispute"):
        dispute = dispute_open(
            actor=person(sample.opened_by),
            invoice=invoice,
            invoice_line=line,
            category=sample.category,
            severity=sample.severity,
            amount=round_money(EXACT.multiply(whole, sample.share), invoice.currency),
            reason=sample.reason,
            customer_reference=sample.reference,
        )
        for said in sample.thread:
            comment_add(
                actor=person(said.username),
                dispute_id=dispute.pk,
                body=said.text,
                visibility=Visibility.INTERNAL if said.internal else Visibility.CUSTOMER,
            )
        if sample.thread:
            dispute_update(actor=staff, dispute_id=dispute.pk, changes={"owner": staff})
            dispute_investigate(actor=staff, dispute_id=dispute.pk)
        if sample.waits_for_customer:
            dispute_wait_for_customer(actor=staff, dispute_id=dispute.pk)
        if sample.withdrawn:
            dispute_withdraw(actor=person(sample.opened_by), dispute_id=dispute.pk, reason=sample.withdrawn)
        if sample.resolution is not None:
            _resolve(dispute, sample.resolution)


def _resolve(dispute: BillingDispute, sample: SampleResolution) -> None:
    staff = person(HANDLED_BY)
    without_money = sample.resolution_type == "no_action"
    resolution = dispute_resolve(
        actor=staff,
        dispute_id=dispute.pk,
        proposal=Proposal(
            resolution_type=sample.resolution_type,
            outcome=sample.outcome,
            note=sample.note,
            amount=None
            if without_money
            else round_money(EXACT.multiply(dispute.amount, sample.share), dispute.currency),
        ),
    )
    if sample.approved and resolution.status == ResolutionStatus.PENDING:
        assert resolution.approval_request_id is not None
        request_approve(actor=person(FINANCE_MANAGER), request_id=resolution.approval_request_id)
    if sample.root_cause:
        dispute_update(actor=staff, dispute_id=dispute.pk, changes={"root_cause": sample.root_cause})


STEPS = [Step("Dispute policies", load_policy), Step("Disputes", load_disputes)]
