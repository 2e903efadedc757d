"""What the customer's pages show: their disputes, what they can dispute, and one dispute as they see it (DSP-18)."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Count, Max, Q, QuerySet

from core import clock
from core.access import get_visible, has
from core.models import User
from core.money import EXACT
from disputes.access import OPEN, customer_places, dispute_seen, reads_internal
from disputes.models import (
    DECIDED,
    MAX_REOPENED,
    OPEN_STATUSES,
    BillingDispute,
    DisputeAttachment,
    DisputeComment,
    DisputeEvent,
    DisputeResolution,
    DisputeRound,
    DisputeStatus,
    Visibility,
)
from disputes.selectors.policies import policy_for, policy_terms, stored_terms
from disputes.services.log import round_of
from invoicing.models import DocumentType, Invoice, InvoiceLine
from invoicing.selectors.holds import creditable_including_tax

LISTS = {
    "open": ("Open", OPEN_STATUSES),
    "waiting": ("Waiting for you", (DisputeStatus.WAITING_CUSTOMER,)),
    "decided": ("Decided", DECIDED),
    "ended": ("Withdrawn or moot", (DisputeStatus.WITHDRAWN, DisputeStatus.MOOT)),
}

LINES_SHOWN = 100


def own_disputes(user: User) -> QuerySet[BillingDispute]:
    """The disputes that the user may see, the newest first."""
    found: QuerySet[BillingDispute] = BillingDispute.objects.visible_to(user)
    return found.select_related("invoice", "invoice_line", "entity", "department", "issuer").order_by("-pk")


def list_counts(user: User) -> dict[str, int]:
    """How many stand in each list."""
    counts = {name: Count("pk", filter=Q(status__in=statuses)) for name, (_, statuses) in LISTS.items()}
    return dict(BillingDispute.objects.visible_to(user).order_by().aggregate(**counts))


def count_asked(user: User) -> int:
    """How many disputes wait for an answer of the customer's side, among those that the user may see."""
    waiting = BillingDispute.objects.visible_to(user, OPEN).filter(status=DisputeStatus.WAITING_CUSTOMER)
    return int(waiting.count())


# --- What can be disputed --------------------------------------------------------------------------------


def disputable_lines(user: User) -> QuerySet[InvoiceLine]:
    """Lines of posted invoices and debit notes for which the user may open disputes."""
    posted = Q(invoice__status__in=("issued", "partially_paid", "paid"))
    return (
        InvoiceLine.objects.visible_to(user, OPEN)
        .filter(posted)
        .exclude(invoice__document_type=DocumentType.CREDIT_NOTE)
    )


def disputable_invoices(user: User, *, limit: int = 50) -> list[Invoice]:
    """The newest documents with lines that the user may dispute."""
    lines = disputable_lines(user).order_by().values("invoice_id").annotate(newest=Max("invoice__issue_date"))
    newest = [row["invoice_id"] for row in lines.order_by("-newest", "-invoice_id")[:limit]]
    found = Invoice.objects.filter(pk__in=newest).select_related("issuer", "entity")
    return sorted(found, key=lambda each: newest.index(each.pk))


def disputable_invoice(user: User, invoice_id: int) -> Invoice:
    """One of them; raises NotFound."""
    line = (
        disputable_lines(user)
        .filter(invoice_id=invoice_id)
        .select_related("invoice__issuer", "invoice__entity")
    )
    first = line.first()
    if first is None:
        get_visible(Invoice.objects.none(), user, invoice_id, name="invoice")
    assert first is not None
    return first.invoice


@dataclass(frozen=True, slots=True)
class LineOffered:
    """A line to choose, with what is left of it to dispute (including tax), and the dispute about it, if any."""

    line: InvoiceLine
    left: Decimal
    dispute: BillingDispute | None


def lines_offered(user: User, invoice: Invoice, search: str = "") -> list[LineOffered]:
    """The first lines of an invoice that fit a search, as far as the user may dispute them."""
    lines = disputable_lines(user).filter(invoice=invoice, amount__gt=0).order_by("line_number")
    for word in search.split():
        lines = lines.filter(
            Q(description__icontains=word)
            | Q(department_name__icontains=word)
            | Q(entity_name__icontains=word)
            | Q(service__icontains=word)
        )
    shown = list(lines[:LINES_SHOWN])
    disputes = {
        each.invoice_line_id: each
        for each in BillingDispute.objects.open().filter(invoice_line__in=[line.pk for line in shown])
    }
    return [LineOffered(line, _left_of(line, disputes.get(line.pk)), disputes.get(line.pk)) for line in shown]


def _left_of(line: InvoiceLine, dispute: BillingDispute | None) -> Decimal:
    whole = EXACT.add(line.amount, line.tax_amount)
    left = EXACT.subtract(whole, EXACT.add(line.credited_amount, line.credited_tax))
    return EXACT.subtract(left, dispute.amount) if dispute is not None else left


@dataclass(frozen=True, slots=True)
class Disputable:
    """What a user may say about an invoice, or one of its lines."""

    invoice: Invoice
    line: InvoiceLine | None
    left: Decimal
    until: datetime.date
    is_open: bool
    """Whether the time within which it can be disputed has not passed."""


def disputable(user: User, invoice: Invoice, line_id: int | None) -> Disputable:
    """How much of it is left, and until when; raises NotFound for a line that is not the user's to dispute."""
    line = None
    if line_id is not None:
        line = get_visible(disputable_lines(user).filter(invoice=invoice), user, line_id, name="line")
    terms = policy_terms(policy_for(invoice, line), invoice.issuer)
    assert invoice.issue_date is not None
    until = invoice.issue_date + datetime.timedelta(days=terms.window_days)
    return Disputable(
        invoice=invoice,
        line=line,
        left=creditable_including_tax(invoice, line),
        until=until,
        is_open=clock.today(invoice.issuer.time_zone) <= until,
    )


def may_dispute_whole(user: User, invoice: Invoice) -> bool:
    """Whether the user speaks for the payer, and no line of it is disputed."""
    speaks = any(has(user, OPEN, place) for place in customer_places(invoice, None))  # type: ignore[arg-type]
    return speaks and not BillingDispute.objects.open().filter(invoice=invoice).exists()


# --- One dispute -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A comment in its newest version, with its files; ``is_edited`` when there are earlier ones."""

    comment: DisputeComment
    files: list[DisputeAttachment]

    @property
    def is_edited(self) -> bool:
        return self.comment.version > 1


@dataclass(frozen=True, slots=True)
class CustomerSheet:
    """A dispute as the customer sees it: nothing in it is internal, whoever looks."""

    dispute: BillingDispute
    round: DisputeRound
    thread: list[Said]
    files: list[DisputeAttachment]
    events: list[DisputeEvent]
    resolution: DisputeResolution | None
    takes_part: bool
    is_staff: bool
    can_reopen_until: datetime.datetime | None


def customer_sheet(user: User, dispute_id: int) -> CustomerSheet:
    """The page of one dispute; raises NotFound."""
    dispute = dispute_seen(user, dispute_id)
    current = round_of(dispute)
    comments = (
        dispute.comments.filter(visibility=Visibility.CUSTOMER).newest_versions().select_related("author")
    )
    files = list(
        dispute.attachments.filter(visibility=Visibility.CUSTOMER)
        .attached()
        .select_related("uploaded_by")
        .order_by("pk")
    )
    resolution = dispute.resolutions.filter(status="applied").order_by("-pk").first()
    places = customer_places(dispute.invoice, dispute.invoice_line)
    return CustomerSheet(
        dispute=dispute,
        round=current,
        thread=[Said(comment, _files_of(comment, files)) for comment in _in_order(comments)],
        files=[file for file in files if file.comment_id is None],
        events=list(dispute.events.filter(is_public=True).select_related("actor").order_by("pk")),
        resolution=resolution,
        takes_part=any(has(user, OPEN, place) for place in places),  # type: ignore[arg-type]
        is_staff=reads_internal(user, dispute.issuer),
        can_reopen_until=_reopen_until(dispute, current),
    )


def _in_order(comments: QuerySet[DisputeComment]) -> Iterable[DisputeComment]:
    """By when they were first said: an edit does not move a comment."""
    first = dict(
        DisputeComment.objects.filter(thread_key__in=comments.values("thread_key"), version=1).values_list(
            "thread_key", "pk"
        )
    )
    return sorted(comments, key=lambda comment: first[comment.thread_key])


def _files_of(comment: DisputeComment, files: list[DisputeAttachment]) -> list[DisputeAttachment]:
    return [file for file in files if file.comment_id == comment.pk]


def _reopen_until(dispute: BillingDispute, current: DisputeRound) -> datetime.datetime | None:
    if dispute.status not in DECIDED or dispute.resolved_at is None or dispute.round_number > MAX_REOPENED:
        return None
    days = stored_terms(current.terms["policy"]).reopen_days
    until = dispute.resolved_at + datetime.timedelta(days=days)
    return until if clock.now() <= until else None
