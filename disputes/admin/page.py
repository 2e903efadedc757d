"""What the page of a dispute shows: clocks, the invoice and its money, the thread, the approval, what happened."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.urls import reverse
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from approvals.admin.request_page import shown_rounds
from approvals.models import ApprovalRequest
from core.admin.badges import badge_html
from core.admin.columns import amount_html, amount_text
from core.history import Channel
from core.models import User
from core.money import EXACT
from disputes.admin.clocks import rounds_shown
from disputes.models import (
    BillingDispute,
    Category,
    Direction,
    DisputeAttachment,
    DisputeComment,
    DisputeEvent,
    DisputeResolution,
    DisputeStatus,
    EventKind,
    Outcome,
    ResolutionStatus,
    RootCause,
    Severity,
    Speaker,
)
from disputes.selectors.clocks import clock_standings
from disputes.selectors.policies import stored_terms
from disputes.services.comments import MENTION
from invoicing.models import Invoice, Refund
from invoicing.selectors.holds import creditable_including_tax, holds_of, refundable

STATE_BADGES = {DisputeStatus.PROPOSED: "resolution_proposed"}
"""Where a state means something else than elsewhere."""


def state_badge(dispute: BillingDispute) -> SafeString:
    """The state, looking the same everywhere."""
    return badge_html(STATE_BADGES.get(DisputeStatus(dispute.status), dispute.status))


def severity_badge(dispute: BillingDispute) -> SafeString:
    """How urgent it is."""
    return badge_html(f"severity_{dispute.severity}")


def invoice_url(invoice: Invoice) -> str:
    """Where an invoice is read."""
    return reverse("admin:invoicing_invoice_change", args=[invoice.pk])


def dispute_url(dispute_id: int) -> str:
    """Where a dispute is worked on."""
    return reverse("admin:disputes_billingdispute_change", args=[dispute_id])


# --- The thread ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownFile:
    """A file with the page that serves it."""

    name: str
    size: int
    sha256: str
    who: str
    at: datetime
    is_internal: bool
    url: str
    remove_url: str


@dataclass(frozen=True)
class ShownComment:
    """The newest version of a comment. ``kind`` is internal, staff, customer or system."""

    key: str
    kind: str
    icon: str
    word: str
    who: str
    at: datetime
    channel: str
    body: SafeString
    version: int
    earlier: Sequence[tuple[int, datetime, SafeString]]
    files: Sequence[ShownFile]
    correct_url: str


KINDS = {
    "internal": ("lock", "Internal note"),
    "staff": ("send", "To the customer"),
    "customer": ("person", "From the customer"),
    "system": ("smart_toy", "Automatic, to the customer"),
}


def kind_of(comment: DisputeComment) -> str:
    """Who speaks to whom."""
    if comment.is_internal:
        return "internal"
    return {Speaker.STAFF: "staff", Speaker.CUSTOMER: "customer"}.get(Speaker(comment.speaker), "system")


def body_html(comment: DisputeComment) -> SafeString:
    """The words of a comment, escaped; the colleagues that it tells are marked."""
    told = {user.username.lower(): user.display_name for user in comment.mentions.all()}

    def marked(found: re.Match[str]) -> str:
        name = found.group(1).rstrip(".")
        if name.lower() not in told:
            return found.group(0)
        rest = found.group(1)[len(name) :]
        return format_html(
            '<mark class="dsp-mention" title="{}">@{}</mark>{}', told[name.lower()], name, rest
        )

    return mark_safe(MENTION.sub(marked, str(conditional_escape(comment.body))))  # noqa: S308  # escaped before


def thread(
    dispute: BillingDispute, user: User, *, may_write: bool
) -> tuple[list[ShownComment], list[ShownFile]]:
    """The comments, oldest first, and all files; what an upper version replaced stands below it. Three queries."""
    attached = DisputeAttachment.objects.visible_to(user).attached().filter(dispute=dispute)
    files = list(attached.select_related("uploaded_by").order_by("pk"))
    shown = {row.pk: _file(row, dispute, user, may_write=may_write) for row in files}
    of_comment: dict[int, list[ShownFile]] = defaultdict(list)
    for row in files:
        if row.comment_id is not None:
            of_comment[row.comment_id].append(shown[row.pk])
    comments = DisputeComment.objects.visible_to(user).filter(dispute=dispute)
    versions: dict[Any, list[DisputeComment]] = defaultdict(list)
    for comment in comments.select_related("author").prefetch_related("mentions").order_by("pk"):
        versions[comment.thread_key].append(comment)
    thread = [
        _comment(of_one, [file for each in of_one for file in of_comment[each.pk]], user, may_write=may_write)
        for of_one in versions.values()
    ]
    return thread, list(shown.values())


def _comment(
    versions: Sequence[DisputeComment], files: Sequence[ShownFile], user: User, *, may_write: bool
) -> ShownComment:
    first, latest = versions[0], versions[-1]
    kind = kind_of(latest)
    icon, word = KINDS[kind]
    own = may_write and latest.author_id == user.pk
    return ShownComment(
        key=f"comment-{latest.pk}",
        kind=kind,
        icon=icon,
        word=word,
        who=latest.author.display_name if kind != "system" else "",
        at=first.created_at,
        channel=str(Channel(latest.channel).label) if latest.channel else "",
        body=body_html(latest),
        version=latest.version,
        earlier=[(each.version, each.created_at, body_html(each)) for each in reversed(versions[:-1])],
        files=files,
        correct_url=reverse("admin:disputes_billingdispute_correct", args=[latest.dispute_id, latest.pk])
        if own
        else "",
    )


def _file(row: DisputeAttachment, dispute: BillingDispute, user: User, *, may_write: bool) -> ShownFile:
    removable = may_write and dispute.is_open and row.uploaded_by_id == user.pk
    return ShownFile(
        name=row.name,
        size=row.size,
        sha256=row.sha256,
        who=row.uploaded_by.display_name,
        at=row.uploaded_at,
        is_internal=row.visibility == "internal",
        url=reverse("admin:disputes_billingdispute_file", args=[dispute.pk, row.pk]),
        remove_url=reverse("admin:disputes_billingdispute_remove", args=[dispute.pk, row.pk])
        if removable
        else "",
    )


# --- What happened ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownEvent:
    """One line of the log."""

    what: str
    icon: str
    tone: str
    at: datetime
    who: str
    channel: str
    note: str
    is_internal: bool
    changes: Sequence[tuple[str, str, str]] = field(default_factory=tuple)


LOOKS: dict[str, tuple[str, str]] = {
    EventKind.OPENED: ("gavel", "info"),
    EventKind.REOPENED: ("lock_open", "info"),
    EventKind.ACKNOWLEDGED: ("visibility", "info"),
    EventKind.STATUS: ("arrow_forward", "info"),
    EventKind.STAFF_MESSAGE: ("send", "neutral"),
    EventKind.CUSTOMER_MESSAGE: ("person", "neutral"),
    EventKind.INTERNAL_NOTE: ("lock", "neutral"),
    EventKind.SEVERITY: ("swap_vert", "warn"),
    EventKind.ASSIGNED: ("person_add", "neutral"),
    EventKind.ATTACHED: ("attach_file", "neutral"),
    EventKind.PROPOSED: ("balance", "info"),
    EventKind.RETURNED: ("undo", "warn"),
    EventKind.RESOLVED: ("check_circle", "good"),
    EventKind.CLOSED: ("lock", "good"),
    EventKind.WITHDRAWN: ("remove_done", "neutral"),
    EventKind.MOOT: ("block", "neutral"),
    EventKind.MERGED: ("call_merge", "info"),
    EventKind.WARNED: ("notification_important", "warn"),
    EventKind.BREACHED: ("alarm", "bad"),
    EventKind.ESCALATED: ("priority_high", "bad"),
    EventKind.REMINDED: ("mail", "neutral"),
}
LABELS = {"owner": "Owner", "root_cause_note": "What should change"}
CHOICES: dict[str, dict[str, str]] = {
    "category": {key: str(label) for key, label in Category.choices},
    "root_cause": {key: str(label) for key, label in RootCause.choices},
}


def events_shown(dispute: BillingDispute, user: User) -> list[ShownEvent]:
    """The log, the newest first. Two queries."""
    events = list(
        DisputeEvent.objects.visible_to(user).filter(dispute=dispute).select_related("actor").order_by("-id")
    )
    keys = {key for event in events for key in event.details.get("changes", {}).get("owner", []) if key}
    people = {each.pk: each.display_name for each in User.objects.filter(pk__in=keys)} if keys else {}
    return [_event(event, dispute, people) for event in events]


def _event(event: DisputeEvent, dispute: BillingDispute, people: dict[int, str]) -> ShownEvent:
    icon, tone = LOOKS.get(event.kind, ("edit", "neutral"))
    return ShownEvent(
        what=_what(event, dispute),
        icon=icon,
        tone=tone,
        at=event.at,
        who=event.actor.display_name,
        channel=str(Channel(event.channel).label) if event.channel else "",
        note=event.note or str(event.details.get("internal_note", "")),
        is_internal=not event.is_public,
        changes=[
            (
                LABELS.get(name, name.replace("_", " ").capitalize()),
                *(_value(name, each, people) for each in pair),
            )
            for name, pair in event.details.get("changes", {}).items()
        ],
    )


def _what(event: DisputeEvent, dispute: BillingDispute) -> str:
    details = event.details
    if event.kind == EventKind.STATUS:
        return str(event.get_status_display())
    if event.kind == EventKind.SEVERITY:
        return f"Severity {Severity(details['before']).label.lower()} → {Severity(details['after']).label.lower()}"
    if event.kind == EventKind.BREACHED:
        which = {"response": "to answer", "resolution": "to decide"}.get(details.get("what", ""), "")
        return f"Deadline {which} missed".replace("  ", " ")
    what = str(event.get_kind_display())
    if "outcome" in details:
        what += f": {Outcome(details['outcome']).label.lower()}"
    if "amount" in details and details.get("outcome") not in ("rejected", "price_fix"):
        what += f", {amount_text(Decimal(details['amount']), dispute.currency)} {dispute.currency}"
    if "name" in details:
        what += f": {details['name']}"
    if "version" in details:
        what = f"Comment corrected, version {details['version']}"
    if "percent" in details:
        what += f" at {details['percent']} % of the time"
    return what


def _value(name: str, value: Any, people: dict[int, str]) -> str:
    if value in (None, ""):
        return "(empty)"
    if name == "owner":
        return people.get(value, f"#{value}")
    return CHOICES.get(name, {}).get(str(value), str(value))


# --- Money -----------------------------------------------------------------------------------------------

Pairs = list[tuple[str, SafeString | str]]


def line_facts(dispute: BillingDispute) -> Pairs:
    """The disputed line as it stands on the invoice."""
    line = dispute.invoice_line
    if line is None:
        return []
    total = EXACT.add(line.amount, line.tax_amount)
    credited = EXACT.add(line.credited_amount, line.credited_tax)
    return [
        ("For", f"{line.department_code} {line.department_name}".strip() or line.entity_name),
        ("Provider", line.provider or "–"),
        ("Net", amount_html(line.amount, dispute.currency)),
        (f"Tax {line.tax_rate.normalize():f} %", amount_html(line.tax_amount, dispute.currency)),
        ("Including tax", amount_html(total, dispute.currency)),
        ("Credited", amount_html(credited, dispute.currency)),
    ]


def settlement_facts(dispute: BillingDispute) -> Pairs:
    """What is paid, credited and open of the invoice, and what can still be given back (DSP-11, DSP-12)."""
    invoice, currency = dispute.invoice, dispute.currency
    notes = Invoice.objects.filter(corrects=invoice, document_type="credit_note").exclude(
        status__in=("draft", "void")
    )
    credited = notes.aggregate(sum=Sum("total"))["sum"] or Decimal(0)
    refunded = Refund.objects.filter(credit_note__corrects=invoice).aggregate(sum=Sum("amount"))[
        "sum"
    ] or Decimal(0)
    deferred = [hold for hold in holds_of(invoice) if hold.due_date is not None]
    rows: Pairs = [
        ("Total", amount_html(invoice.total, currency)),
        ("Open of the invoice", amount_html(invoice.open_amount, currency)),
        ("Disputed now", amount_html(invoice.disputed_amount, currency)),
        ("Credited", amount_html(credited, currency)),
        ("Refunded", amount_html(refunded, currency)),
        (
            "Can still be credited",
            amount_html(creditable_including_tax(invoice, dispute.invoice_line), currency),
        ),
        ("Can still be refunded", amount_html(refundable(invoice), currency)),
    ]
    rows += [
        (f"Deferred to {hold.due_date} ({hold.reference})", amount_html(hold.amount, currency))
        for hold in deferred
    ]
    return rows


# --- Resolutions -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownResolution:
    """A proposed or carried-out resolution with its documents, and who decides on it."""

    resolution: DisputeResolution
    title: str
    badge: SafeString
    amount: SafeString | str
    documents: Sequence[tuple[str, str, str]]
    request: ApprovalRequest | None
    request_url: str
    request_badge: SafeString | str
    steps: Sequence[Any]


RESOLUTION_BADGES = {
    ResolutionStatus.PENDING: ("pending", "Waits for approval"),
    ResolutionStatus.APPLIED: ("completed", "Carried out"),
    ResolutionStatus.RETURNED: ("undone", "Not carried out"),
}


def resolutions_shown(dispute: BillingDispute) -> list[ShownResolution]:
    """The newest first; the approval's levels of the newest only."""
    rows = dispute.resolutions.select_related(
        "proposed_by", "decided_by", "approval_request", "credit_note", "debit_note", "rebilled_as", "refund",
        "write_off", "amendment__contract", "round",
    ).order_by("-pk")  # fmt: skip
    return [_resolution(row, dispute, is_newest=place == 0) for place, row in enumerate(rows)]


def _resolution(row: DisputeResolution, dispute: BillingDispute, *, is_newest: bool) -> ShownResolution:
    request = row.approval_request
    steps = shown_rounds(request, may_reassign=False).get(request.round, []) if request and is_newest else []
    return ShownResolution(
        resolution=row,
        title=str(row.get_outcome_display()),
        badge=badge_html(*RESOLUTION_BADGES[ResolutionStatus(row.status)]),
        amount=amount_html(row.amount, dispute.currency) if row.amount else "",
        documents=list(_documents(row)),
        request=request,
        request_url=reverse("admin:approvals_approvalrequest_change", args=[request.pk]) if request else "",
        request_badge=badge_html(request.status) if request else "",
        steps=steps,
    )


def _documents(row: DisputeResolution) -> Iterable[tuple[str, str, str]]:
    for label, document in (
        ("Credit note", row.credit_note),
        ("Debit note", row.debit_note),
        ("Billed again as", row.rebilled_as),
    ):
        if document is not None:
            yield label, str(document), invoice_url(document)
    if row.refund is not None:
        yield (
            "Refund",
            str(row.refund.refunded_on),
            reverse("admin:invoicing_refund_change", args=[row.refund.pk]),
        )
    if row.write_off is not None:
        yield (
            "Write-off",
            str(row.write_off.settled_on),
            reverse("admin:invoicing_settlement_change", args=[row.write_off.pk]),
        )
    if row.amendment is not None:
        yield (
            "Amendment",
            str(row.amendment),
            reverse("admin:contracts_contractamendment_change", args=[row.amendment.pk]),
        )


# --- The page --------------------------------------------------------------------------------------------


def facts_of(dispute: BillingDispute, policy_name: str) -> Pairs:
    """What else is known of it."""
    facts: Pairs = [
        ("Owner", dispute.owner.display_name if dispute.owner else "Nobody yet"),
        ("Category", str(dispute.get_category_display())),
        ("Direction", str(Direction(dispute.direction).label)),
        ("Customer’s number", dispute.customer_reference),
        ("Policy", policy_name),
        ("Root cause", str(dispute.get_root_cause_display()) if dispute.root_cause else "Not found yet"),
        ("What should change", dispute.root_cause_note),
    ]
    if dispute.is_chargeback:
        facts += [
            ("Chargeback", f"{dispute.chargeback_scheme} {dispute.chargeback_reference}".strip()),
            ("Scheme’s last day", str(dispute.chargeback_deadline)),
        ]
    return [(label, value) for label, value in facts if value]


def page_context(dispute: BillingDispute, user: User, *, may_write: bool) -> dict[str, Any]:
    """All that the page of one dispute shows."""
    rounds = rounds_shown(clock_standings(dispute))
    comments, files = thread(dispute, user, may_write=may_write)
    resolutions = resolutions_shown(dispute)
    current = stored_terms(dispute.rounds.get(number=dispute.round_number).terms["policy"])
    merged = list(dispute.merged.order_by("pk"))
    return {
        "dispute": dispute,
        "status_badge": state_badge(dispute),
        "severity_badge": severity_badge(dispute),
        "escalated_badge": badge_html("escalated") if dispute.is_escalated else "",
        "chargeback_badge": badge_html("chargeback") if dispute.is_chargeback else "",
        "amount": amount_html(dispute.amount, dispute.currency),
        "approved": amount_html(dispute.approved_amount, dispute.currency)
        if dispute.approved_amount is not None
        else "",
        "invoice_url": invoice_url(dispute.invoice),
        "line_facts": line_facts(dispute),
        "settlement_facts": settlement_facts(dispute),
        "facts": facts_of(dispute, current.name),
        "round": rounds[0],
        "earlier_rounds": rounds[1:],
        "comments": comments,
        "files": files,
        "resolution": resolutions[0] if resolutions else None,
        "earlier_resolutions": resolutions[1:],
        "events": events_shown(dispute, user),
        "may_write": may_write,
        "merged": [(each.number, dispute_url(each.pk)) for each in merged],
        "merged_into": (dispute.merged_into.number, dispute_url(dispute.merged_into.pk))
        if dispute.merged_into is not None
        else None,
        "history_url": reverse("admin:disputes_billingdispute_history", args=[dispute.pk]),
        "to_explain": dispute.status in (DisputeStatus.RESOLVED, DisputeStatus.CLOSED)
        and not dispute.root_cause,
    }
