"""What waits for somebody as their inbox shows it: counts, cards with all that a decision needs, bulk approval."""

import datetime
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Prefetch, Q

from approvals.models import (
    ActionKind,
    ApprovalAction,
    ApprovalRequest,
    ApprovalTask,
    RequestStatus,
    TaskOrigin,
    TaskStatus,
)
from approvals.registry import type_label
from approvals.selectors.requests import BudgetEffect, Rates, Standing, budget_effect, standings
from budgets.models import Budget
from core import clock
from core.models import User
from core.money import exact_sum, format_money

PER_PAGE = 50
SOON = datetime.timedelta(days=3)
DECIDED = (TaskStatus.APPROVED, TaskStatus.REJECTED, TaskStatus.RETURNED)
EDITS = (ActionKind.EDITED, ActionKind.ROUND_STARTED, ActionKind.APPROVED)
"""What of the trail tells whether something was changed, and whether after an approval."""
LISTS = ("waiting", "overdue", "delegated", "decided")


@dataclass(frozen=True, slots=True)
class Flag:
    """Something to look at twice before one decides; ``alone`` keeps it out of bulk approvals (APR-24)."""

    word: str
    icon: str
    tone: str = "warn"
    alone: bool = False


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """A request that waits for somebody, as far as counts and the order need it."""

    request_id: int
    version: int
    due_at: datetime.datetime | None
    is_overdue: bool
    is_delegated: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One request with what is needed to decide; ``decided`` is one's own last decision, in the list of those."""

    request: ApprovalRequest
    standing: Standing
    due_at: datetime.datetime | None
    is_overdue: bool
    flags: tuple[Flag, ...]
    attachments: int
    effect: BudgetEffect | None
    decided: ApprovalTask | None = None

    @property
    def type_label(self) -> str:
        return type_label(self.request.request_type)

    @property
    def on_behalf_of(self) -> User | None:
        """For whom one would decide; None for oneself."""
        return next((each.on_behalf_of for each in self.standing.waiting if each.on_behalf_of), None)

    @property
    def in_bulk(self) -> bool:
        """Whether it may be approved together with others (APR-24)."""
        return self.standing.can_decide and alone_because(self) is None


@dataclass(frozen=True, slots=True)
class Alone:
    """Why a request is not approved together with others; ``code`` is that of the result."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """One list of somebody's inbox; ``stamp`` changes whenever what waits for them does."""

    shown: str
    counts: dict[str, int]
    cards: tuple[Card, ...]
    page: int
    pages: int
    stamp: str


@dataclass(frozen=True, slots=True)
class BulkPreview:
    """What a bulk approval would do: ``totals`` per base currency, and what is left out with the reason (APR-24)."""

    cards: tuple[Card, ...]
    totals: tuple[tuple[str, Decimal], ...]
    left_out: tuple[tuple[Card, str], ...]


def waiting_items(user: User) -> list[WaitingItem]:
    """What waits for the user, what is due first at the top; one query."""
    rows = (
        ApprovalTask.objects.waiting_for(user)
        .order_by("request_id")
        .values_list(
            "request_id",
            "request__version",
            "approver_id",
            "origin",
            "step__escalates_at",
            "step__hops_done",
            "request__expires_at",
        )
    )
    now = clock.now()
    items: dict[int, WaitingItem] = {}
    for request_id, version, approver_id, origin, escalates_at, hops, expires_at in rows:
        due = escalates_at or expires_at
        known = items.get(request_id)
        passed = approver_id != user.pk or origin == TaskOrigin.DELEGATED
        items[request_id] = WaitingItem(
            request_id,
            version,
            due_at=min(filter(None, (due, known.due_at if known else None)), default=None),
            is_overdue=bool((due is not None and due <= now) or hops or (known and known.is_overdue)),
            is_delegated=passed and (known is None or known.is_delegated),
        )
    last = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    return sorted(items.values(), key=lambda item: (item.due_at or last, item.request_id))


def count_waiting(user: User) -> int:
    """How many requests wait for the user's decision."""
    count: int = ApprovalTask.objects.waiting_for(user).aggregate(found=Count("request_id", distinct=True))[
        "found"
    ]
    return count


def next_after(items: Sequence[WaitingItem], request_id: int) -> int | None:
    """The request to decide after this one: the following, at the end the first; None where no other waits."""
    ids = [item.request_id for item in items]
    position = ids.index(request_id) if request_id in ids else -1
    others = [*ids[position + 1 :], *ids[: max(position, 0)]]
    return others[0] if others else None


def inbox(user: User, *, shown: str = "waiting", page: int = 1) -> Inbox:
    """One list of the inbox; an unknown list is what waits, a page beyond the last is the last."""
    shown = shown if shown in LISTS else "waiting"
    items = waiting_items(user)
    lists = {
        "waiting": items,
        "overdue": [item for item in items if item.is_overdue],
        "delegated": [item for item in items if item.is_delegated],
    }
    decisions = ApprovalTask.objects.filter(acted_by=user, status__in=DECIDED)
    counts = {name: len(found) for name, found in lists.items()}
    counts["decided"] = decisions.aggregate(found=Count("request_id", distinct=True))["found"]
    pages = max(-(-counts[shown] // PER_PAGE), 1)
    page = min(max(page, 1), pages)
    start = (page - 1) * PER_PAGE
    if shown == "decided":
        cards = _decided_cards(user, decisions, start)
    else:
        cards = _waiting_cards(user, lists[shown][start : start + PER_PAGE])
    seen = [(item.request_id, item.version, item.is_overdue, item.is_delegated) for item in items]
    stamp = hashlib.sha256(repr((seen, counts["decided"])).encode()).hexdigest()[:16]
    return Inbox(shown, counts, cards, page, pages, stamp)


def _waiting_cards(user: User, items: Sequence[WaitingItem]) -> tuple[Card, ...]:
    by_id = {card.request.pk: card for card in cards_of(user, [item.request_id for item in items], items)}
    return tuple(by_id[item.request_id] for item in items if item.request_id in by_id)


def _decided_cards(user: User, decisions: Any, start: int) -> tuple[Card, ...]:
    latest = list(
        decisions.order_by()
        .values("request_id")
        .annotate(last=Max("acted_at"), task=Max("id"))
        .order_by("-last", "-request_id")[start : start + PER_PAGE]
    )
    tasks = ApprovalTask.objects.select_related("approver").in_bulk([row["task"] for row in latest])
    own = {task.request_id: task for task in tasks.values()}
    by_id = {card.request.pk: card for card in cards_of(user, list(own), decided=own)}
    return tuple(by_id[row["request_id"]] for row in latest if row["request_id"] in by_id)


def cards_of(
    user: User,
    request_ids: Sequence[int],
    items: Sequence[WaitingItem] = (),
    decided: dict[int, ApprovalTask] | None = None,
) -> list[Card]:
    """Cards of those of the requests that the user sees, in a fixed number of queries."""
    requests = list(
        ApprovalRequest.objects.visible_to(user)
        .filter(pk__in=request_ids)
        .select_related("requester", "entity", "department", "commitment")
        .prefetch_related(Prefetch("budget", queryset=Budget.objects.with_expired()))
        .annotate(
            attachment_count=Count(
                "attachments", filter=Q(attachments__removed_at__isnull=True), distinct=True
            )
        )
    )
    return _cards(user, requests, items, decided or {})


def _cards(
    user: User,
    requests: Sequence[Any],
    items: Sequence[WaitingItem],
    decided: dict[int, ApprovalTask],
) -> list[Card]:
    standing = standings(requests, user)
    edits = _edits([request.pk for request in requests])
    known = {item.request_id: item for item in items}
    rates: Rates = {}
    cards = []
    for request in requests:
        item = known.get(request.pk)
        effect = budget_effect(request, rates)
        cards.append(
            Card(
                request=request,
                standing=standing[request.pk],
                due_at=item.due_at if item else standing[request.pk].due_at,
                is_overdue=bool(item and item.is_overdue),
                flags=risk_flags(request, effect, edits.get(request.pk, ())),
                attachments=request.attachment_count,
                effect=effect,
                decided=decided.get(request.pk),
            )
        )
    return cards


def _edits(request_ids: Sequence[int]) -> dict[int, list[ApprovalAction]]:
    """The changes since submission, and the approvals before and after them, by request."""
    found: dict[int, list[ApprovalAction]] = {}
    actions = ApprovalAction.objects.filter(request_id__in=request_ids, kind__in=EDITS)
    for action in actions.order_by("id"):
        found.setdefault(action.request_id, []).append(action)
    return found


def risk_flags(
    request: ApprovalRequest, effect: BudgetEffect | None, edits: Iterable[ApprovalAction]
) -> tuple[Flag, ...]:
    """What an approver should look at twice; nothing of it stops the decision by itself."""
    flags: list[Flag] = []
    edits = list(edits)
    if request.effect_error:
        flags.append(Flag("Could not be booked", "error", "bad", alone=True))
    if effect is not None and effect.after is not None and effect.after < 0:
        over = format_money(-effect.after, effect.budget.currency)
        flags.append(Flag(f"Over budget by {over}", "trending_up", "bad", alone=True))
    if request.split_total > request.base_amount:
        total = format_money(request.split_total, request.base_currency)
        flags.append(Flag(f"Split: {total} with others", "call_split", alone=True))
    if any("supplier_account" in action.details.get("changes", {}) for action in edits):
        flags.append(Flag("Bank details changed", "account_balance", "bad", alone=True))
    kinds = [action.kind for action in edits]
    if ActionKind.APPROVED in kinds and ActionKind.ROUND_STARTED in kinds[kinds.index(ActionKind.APPROVED) :]:
        flags.append(Flag("Changed after an approval", "edit_note", alone=True))
    elif request.is_open and set(kinds) - {ActionKind.APPROVED}:
        flags.append(Flag("Changed since submission", "edit_note", "neutral"))
    if request.is_open and request.expires_at is not None and request.expires_at - clock.now() < SOON:
        flags.append(Flag("Expires soon", "event_busy"))
    return tuple(flags)


def alone_because(card: Card) -> Alone | None:
    """Why it has to be opened and decided by itself; None for what may be approved with others (APR-24)."""
    wanting = next(
        (each.task.step for each in card.standing.waiting if each.task.step.comment_required), None
    )
    if wanting is not None:
        return Alone(
            "comment_required", f"“{wanting.name}” wants a comment: open it and decide it by itself."
        )
    if card.request.base_amount > settings.APPROVAL_BULK_AMOUNT:
        cap = format_money(Decimal(settings.APPROVAL_BULK_AMOUNT), card.request.base_currency)
        return Alone("above_bulk_cap", f"It is above {cap}: open it and decide it by itself.")
    flag = next((flag for flag in card.flags if flag.alone), None)
    if flag is not None:
        return Alone("needs_a_look", f"{flag.word}: open it and decide it by itself.")
    return None


def bulk_preview(user: User, request_ids: Sequence[int]) -> BulkPreview:
    """Sort the chosen requests into those that can be approved together and those that cannot, with why."""
    taken, left_out = [], []
    for card in sorted(cards_of(user, request_ids), key=lambda card: request_ids.index(card.request.pk)):
        reason = _left_out_because(card)
        if reason:
            left_out.append((card, reason))
        else:
            taken.append(card)
    currencies = sorted({card.request.base_currency for card in taken})
    totals = tuple(
        (
            currency,
            exact_sum([card.request.base_amount for card in taken if card.request.base_currency == currency]),
        )
        for currency in currencies
    )
    return BulkPreview(tuple(taken), totals, tuple(left_out))


def _left_out_because(card: Card) -> str:
    request = card.request
    if request.status != RequestStatus.PENDING:
        return f"It is {request.get_status_display().lower()} by now: nothing is left to decide."
    if not card.standing.can_decide:
        return "It does not wait for your decision."
    alone = alone_because(card)
    return alone.sentence if alone else ""
