"""Throwing away what was never submitted."""

from django.db import transaction

from approvals.models import RequestStatus
from approvals.services.votes import lock_request
from core.errors import Conflict, Forbidden
from core.models import User


def draft_delete(*, actor: User, request_id: int) -> None:
    """Delete a draft that nobody has said anything about yet.

    Raises Forbidden ``not_the_requester``; Conflict ``not_a_draft``, and ``draft_has_history`` where the append-only
    trail has an entry of it (APR-26).
    """
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        if actor.pk not in (request.requester_id, request.created_by_id):
            raise Forbidden(
                "not_the_requester",
                f"Only {request.requester.display_name}, whose draft it is, can delete it.",
            )
        if request.status != RequestStatus.DRAFT:
            raise Conflict(
                "not_a_draft",
                "Only a draft is deleted. Withdraw the request instead.",
                extra={"status": request.status},
            )
        if request.actions.exists():
            raise Conflict(
                "draft_has_history",
                "Somebody has commented on the draft or attached a file, and that stays. Leave it, or submit it.",
            )
        request.delete()
