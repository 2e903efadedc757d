"""Approving several requests together: each by itself, with the tests of a single vote (APR-24)."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from approvals.models import RequestStatus
from approvals.selectors.inbox import Card, alone_because, cards_of
from approvals.services.votes import request_approve
from core.errors import BillingError, Invalid
from core.models import User


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one request of a bulk approval: ``code`` is "approved", "voted" or the refusal's."""

    request_id: int
    done: bool
    code: str
    detail: str


def requests_approve_in_bulk(
    *, actor: User, items: Iterable[tuple[int, str | None]], comment: str = ""
) -> list[BulkResult]:
    """Approve many, each in a transaction of its own with the tests of a single vote (APR-24).

    ``items`` are request ids with the fingerprint that was seen. What is above the cap, needs a comment, or has
    something that is to be looked at by itself, is left out and says so. Raises Invalid ``too_many_items``.
    """
    wanted = list(items)
    if len(wanted) > settings.APPROVAL_BULK_ITEMS:
        raise Invalid(
            "too_many_items",
            f"At most {settings.APPROVAL_BULK_ITEMS} requests are approved at once; these are {len(wanted)}. "
            "Choose fewer.",
        )
    cards = {card.request.pk: card for card in cards_of(actor, [request_id for request_id, _ in wanted])}
    return [
        _approve_one(actor, request_id, cards.get(request_id), seen, comment) for request_id, seen in wanted
    ]


def _approve_one(
    actor: User, request_id: int, card: Card | None, seen: str | None, comment: str
) -> BulkResult:
    if card is not None and card.standing.can_decide:
        alone = alone_because(card)
        if alone is not None:
            return BulkResult(request_id, False, alone.code, alone.sentence)
        # What was tested is what is approved: an edit since then is refused.
        seen = seen or card.request.content_hash
    try:
        with transaction.atomic():
            request = request_approve(actor=actor, request_id=request_id, comment=comment, content_hash=seen)
    except BillingError as refusal:
        return BulkResult(request_id, False, refusal.code, refusal.message)
    if request.effect_error:
        return BulkResult(request_id, False, "effect_failed", request.effect_error)
    if request.status == RequestStatus.APPROVED:
        return BulkResult(request_id, True, "approved", "Approved.")
    return BulkResult(request_id, True, "voted", "Your approval is recorded; others are still asked.")
