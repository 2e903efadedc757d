"""Writing the trail (APR-26)."""

from typing import Any

from approvals.models import ActionKind, ApprovalAction, ApprovalRequest, ApprovalStep
from core import clock
from core.models import User


def record(
    request: ApprovalRequest,
    kind: ActionKind,
    *,
    actor: User,
    step: ApprovalStep | None = None,
    on_behalf_of_id: int | None = None,
    comment: str = "",
    details: dict[str, Any] | None = None,
) -> ApprovalAction:
    """Append one event, with the fingerprint and the rule in force."""
    action = action_of(
        request,
        kind,
        actor=actor,
        step=step,
        on_behalf_of_id=on_behalf_of_id,
        comment=comment,
        details=details,
    )
    action.save(force_insert=True)
    return action


def action_of(
    request: ApprovalRequest,
    kind: ActionKind,
    *,
    actor: User,
    step: ApprovalStep | None = None,
    on_behalf_of_id: int | None = None,
    comment: str = "",
    details: dict[str, Any] | None = None,
) -> ApprovalAction:
    """The event, not written yet."""
    return ApprovalAction(
        request=request,
        round=request.round,
        step=step,
        kind=kind,
        actor=actor,
        on_behalf_of_id=on_behalf_of_id,
        comment=comment,
        content_hash=request.content_hash,
        rule_id=step.rule_id if step else None,
        rule_version=step.rule_version if step else None,
        details=details or {},
        created_at=clock.now(),
    )
