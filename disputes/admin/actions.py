"""What staff can do with a dispute, when, and why not now. The services decide again and lock."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from approvals.admin.base import ConcernedAction
from core.access import has
from core.admin.actions import ActionCall
from core.admin.columns import amount_text
from core.errors import Conflict
from core.models import User
from disputes.access import HANDLE
from disputes.admin.forms import (
    AskForm,
    CauseForm,
    DetailsForm,
    MergeForm,
    OwnerForm,
    ReopenForm,
    SeenForm,
    SeverityForm,
    WaitForm,
    owner_choices,
)
from disputes.models import DECIDED, BillingDispute, DisputeStatus, RootCause
from disputes.services.ending import (
    dispute_close,
    dispute_merge,
    dispute_reopen,
    dispute_withdraw,
    require_reopenable,
)
from disputes.services.handling import (
    dispute_acknowledge,
    dispute_change_severity,
    dispute_escalate,
    dispute_investigate,
    dispute_update,
    dispute_wait_for_customer,
    dispute_wait_for_third_party,
)
from disputes.services.proposals import proposal_withdraw

PROPOSED = "A resolution waits for approval: take it back first."


def handles(user: Any, dispute: BillingDispute, right: str = HANDLE) -> bool:
    """Whether the user is of the issuer's staff and has that right there."""
    return bool(user.is_active) and has(user, right, dispute.issuer)


@dataclass(frozen=True)
class DisputeAction(ConcernedAction):
    """An action of the issuer's staff: `right` is asked for at the issuer, not at the customer."""

    right: str = HANDLE
    concerns: Callable[[Any, Any], bool] = field(default=lambda dispute, user: dispute.is_open)


def money(dispute: BillingDispute, amount: Any) -> str:
    """An amount of the dispute as text."""
    return f"{amount_text(amount, dispute.currency)} {dispute.currency}"


def _seen(dispute: Any, user: Any) -> dict[str, Any]:
    return {"version": dispute.version}


def _with(*names: str) -> Callable[[Any, Any], dict[str, Any]]:
    return lambda dispute, user: {**_seen(dispute, user), **{name: getattr(dispute, name) for name in names}}


def _expected(call: ActionCall) -> dict[str, Any]:
    return {"actor": call.actor, "dispute_id": call.obj.pk, "expected_version": call.data.get("version")}


def _movable(target: str) -> Callable[[Any, Any], str | None]:
    def possible(dispute: Any, user: Any) -> str | None:
        if dispute.status == DisputeStatus.PROPOSED:
            return PROPOSED
        if dispute.status == target:
            return f"It is {dispute.get_status_display().lower()} already."
        return None

    return possible


def unproposed(dispute: Any, user: Any) -> str | None:
    """Why nothing can be proposed or merged now."""
    return PROPOSED if dispute.status == DisputeStatus.PROPOSED else None


def _mergeable(dispute: Any, user: Any) -> str | None:
    if dispute.status == DisputeStatus.PROPOSED:
        return PROPOSED
    if not merge_choices(dispute, user):
        return f"No other dispute about {dispute.invoice} is open."
    return None


def merge_choices(dispute: BillingDispute, user: Any) -> list[tuple[str, str]]:
    """The other open disputes about the invoice."""
    others = (
        BillingDispute.objects.handled_by(user)
        .open()
        .filter(invoice_id=dispute.invoice_id)
        .exclude(pk=dispute.pk)
        .select_related("invoice_line")
        .order_by("pk")
    )
    return [
        (
            str(other.pk),
            f"{other.number}: {other.invoice_line or 'the whole invoice'}, {money(other, other.amount)}",
        )
        for other in others
    ]


def _reopenable(dispute: Any, user: Any) -> str | None:
    try:
        require_reopenable(dispute)
    except Conflict as error:
        return error.message
    return None


def _cause(call: ActionCall) -> BillingDispute:
    names = ("root_cause", "root_cause_note")
    return dispute_update(**_expected(call), changes={name: call.data[name] for name in names})


def _details(call: ActionCall) -> BillingDispute:
    names = [name for name in DetailsForm.base_fields if name != "version"]
    return dispute_update(**_expected(call), changes={name: call.data[name] for name in names})


def _offer(
    name: str, choices: Callable[[Any, Any], list[tuple[str, str]]]
) -> Callable[[Any, Any, Any], None]:
    def adapt(form: Any, dispute: Any, user: Any) -> None:
        form.fields[name].choices = choices(dispute, user)

    return adapt


def _assign(call: ActionCall) -> BillingDispute:
    key = call.data["owner"]
    return dispute_update(**_expected(call), changes={"owner": User.objects.get(pk=key) if key else None})


ACTIONS: Sequence[DisputeAction] = [
    DisputeAction(
        name="acknowledge",
        label="Acknowledge",
        main=True,
        perm="",
        icon="visibility",
        form=SeenForm,
        initial=_seen,
        concerns=lambda dispute, user: dispute.status == DisputeStatus.OPEN,
        consequence="The customer sees that somebody has taken note, and you become its owner if nobody is. The answer "
        "clock runs on until you write to the customer.",
        run=lambda call: dispute_acknowledge(**_expected(call)),
        done=lambda dispute: f"{dispute} is acknowledged. Answer the customer next.",
    ),
    DisputeAction(
        name="investigate",
        label="Investigate",
        perm="",
        icon="search",
        form=SeenForm,
        initial=_seen,
        possible=_movable(DisputeStatus.INVESTIGATING),
        consequence="The customer sees that it is being looked into. The decision clock runs.",
        run=lambda call: dispute_investigate(**_expected(call)),
        done=lambda dispute: f"{dispute} is being investigated.",
    ),
    DisputeAction(
        name="ask",
        label="Ask the customer",
        perm="",
        icon="forum",
        form=AskForm,
        initial=_seen,
        possible=_movable(DisputeStatus.WAITING_CUSTOMER),
        consequence="Your question is sent to the customer, and the decision clock stands still until they write. "
        "Without an answer they are reminded twice; then it counts as withdrawn.",
        run=lambda call: dispute_wait_for_customer(**_expected(call), question=call.data["question"]),
        done=lambda dispute: f"{dispute} waits for the customer.",
    ),
    DisputeAction(
        name="wait",
        label="Wait for somebody else",
        perm="",
        icon="hourglass_top",
        form=WaitForm,
        initial=_seen,
        possible=_movable(DisputeStatus.WAITING_THIRD_PARTY),
        consequence="A provider, say, or another team. Whether the decision clock stands still meanwhile is for its "
        "policy to say.",
        run=lambda call: dispute_wait_for_third_party(**_expected(call), note=call.data["note"]),
        done=lambda dispute: f"{dispute} waits for somebody else.",
    ),
    DisputeAction(
        name="resolve",
        label="Resolve",
        main=True,
        perm="",
        icon="balance",
        possible=unproposed,
        consequence="",
        run=lambda call: None,
    ),
    DisputeAction(
        name="take-back",
        label="Take the proposal back",
        perm="",
        icon="undo",
        needs_reason=True,
        concerns=lambda dispute, user: dispute.status == DisputeStatus.PROPOSED,
        consequence="Its approvers are no longer asked, and you go on investigating.",
        run=lambda call: proposal_withdraw(actor=call.actor, dispute_id=call.obj.pk, reason=call.reason),
        done=lambda dispute: f"The proposal is taken back; {dispute} is being investigated.",
    ),
    DisputeAction(
        name="close",
        label="Close",
        main=True,
        perm="",
        icon="lock",
        form=SeenForm,
        initial=_seen,
        concerns=lambda dispute, user: dispute.status == DisputeStatus.RESOLVED,
        consequence="It is filed. It can still be reopened within the days of its policy.",
        run=lambda call: dispute_close(**_expected(call)),
        done=lambda dispute: f"{dispute} is closed.",
    ),
    DisputeAction(
        name="cause",
        label="Root cause",
        perm="",
        icon="troubleshoot",
        form=CauseForm,
        initial=_with("root_cause", "root_cause_note"),
        concerns=lambda dispute, user: True,
        consequence="What made it happen, for the report on reasons. The customer never sees it.",
        run=_cause,
        done=lambda dispute: (
            f"Root cause: {RootCause(dispute.root_cause).label if dispute.root_cause else 'open'}."
        ),
    ),
    DisputeAction(
        name="reopen",
        label="Reopen",
        perm="",
        icon="lock_open",
        needs_reason=True,
        form=ReopenForm,
        initial=_seen,
        concerns=lambda dispute, user: dispute.status in DECIDED,
        possible=_reopenable,
        consequence="A new round with new clocks begins, and what is disputed is held back from collection again.",
        run=lambda call: dispute_reopen(**_expected(call), reason=call.reason, amount=call.data["amount"]),
        done=lambda dispute: (
            f"{dispute} is in round {dispute.round_number}, over {money(dispute, dispute.amount)}."
        ),
    ),
    DisputeAction(
        name="assign",
        label="Assign",
        perm="",
        icon="person_add",
        form=OwnerForm,
        adapt=_offer("owner", lambda dispute, user: owner_choices(dispute)),
        initial=lambda dispute, user: {**_seen(dispute, user), "owner": str(dispute.owner_id or user.pk)},
        consequence="Who works on it is told of what is due first.",
        run=_assign,
        done=lambda dispute: (
            f"{dispute.owner.display_name if dispute.owner else 'Nobody'} works on {dispute}."
        ),
    ),
    DisputeAction(
        name="severity",
        label="Severity",
        perm="",
        icon="swap_vert",
        needs_reason=True,
        form=SeverityForm,
        initial=_with("severity"),
        consequence="Both deadlines are worked out anew from when it was opened; pauses are kept. A shorter target may "
        "be missed already.",
        run=lambda call: dispute_change_severity(
            **_expected(call), severity=call.data["severity"], reason=call.reason
        ),
        done=lambda dispute: f"{dispute}: {dispute.get_severity_display().lower()}.",
    ),
    DisputeAction(
        name="escalate",
        label="Escalate",
        perm="",
        icon="priority_high",
        needs_reason=True,
        form=SeenForm,
        initial=_seen,
        consequence="It is marked, and the next on the ladder is told: owner, lead, finance managers.",
        run=lambda call: dispute_escalate(**_expected(call), reason=call.reason),
        done=lambda dispute: f"{dispute} is escalated.",
    ),
    DisputeAction(
        name="details",
        label="Details",
        perm="",
        icon="edit",
        form=DetailsForm,
        initial=_with(
            "category",
            "customer_reference",
            "chargeback_scheme",
            "chargeback_reference",
            "chargeback_deadline",
        ),
        consequence="Category, references, and the day by which a card scheme wants its answer.",
        run=_details,
        done=lambda dispute: f"{dispute} is changed.",
    ),
    DisputeAction(
        name="merge",
        label="Merge",
        perm="",
        icon="call_merge",
        right="disputes.merge_billingdispute",
        needs_reason=True,
        form=MergeForm,
        adapt=_offer("other", merge_choices),
        initial=_seen,
        possible=_mergeable,
        consequence="The older one goes on, with its clock, both threads and both amounts, about the whole invoice. "
        "The newer one ends. This cannot be undone.",
        run=lambda call: dispute_merge(
            actor=call.actor, dispute_id=call.obj.pk, other_id=int(call.data["other"]), reason=call.reason
        ),
        done=lambda dispute: f"Both are {dispute} now, over {money(dispute, dispute.amount)}.",
    ),
    DisputeAction(
        name="withdraw",
        label="Withdraw",
        perm="",
        icon="remove_done",
        danger=True,
        needs_reason=True,
        form=SeenForm,
        initial=_seen,
        consequence=lambda dispute: (
            f"For the customer: {money(dispute, dispute.amount)} is collected again, and a proposal that waits for "
            "approval is dropped. Say how you know that they give it up; they read it."
        ),
        run=lambda call: dispute_withdraw(**_expected(call), reason=call.reason),
        done=lambda dispute: f"{dispute} is withdrawn.",
    ),
]
