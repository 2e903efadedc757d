"""Reads over requests for upper apps, pages, the API and the dashboard."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Prefetch, Q, Value

from approvals.models import (
    ApprovalAction,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    RequestStatus,
    TaskOrigin,
    TaskStatus,
)
from approvals.registry import approval_type
from approvals.services.people import DECIDE, excluded_people
from budgets.figures import figures_of
from budgets.models import Budget
from core import clock
from core.errors import BillingError
from core.exchange import RateUsed, convert, rate_for
from core.models import User
from core.money import round_money
from entities.access import roles_granting
from entities.models import EntityClosure, Membership
from entities.querysets import (
    department_ids_visible_to,
    entity_ids_visible_to,
    memberships_in_force,
    sees_everything,
)


def request_for(*, request_type: str, subject_id: int) -> ApprovalRequest | None:
    """The latest request about a subject of an upper app; None where nobody has asked yet."""
    return (
        ApprovalRequest.objects.filter(request_type=request_type, subject_id=subject_id)
        .order_by("-id")
        .first()
    )


# --- People ----------------------------------------------------------------------------------------------


def colleagues_of(user: User) -> Any:
    """Active people who act in a group of the user's: whom a request may name, though not everyone sees users."""
    people = User.objects.filter(is_active=True, is_service_account=False)
    if sees_everything(user):
        return people
    acting = Membership.objects.in_force().filter(entity_id__in=_group_of(user))
    return people.filter(pk__in=acting.values("user_id"))


def deciders_among_colleagues(user: User) -> Any:
    """Those of them who may decide on requests somewhere: whom a task can be passed on or delegated to."""
    deciding = Membership.objects.in_force().filter(role__in=roles_granting(DECIDE))
    return colleagues_of(user).filter(pk__in=deciding.values("user_id"))


def _group_of(user: User) -> Any:
    """Ids of the entities of the groups in which the user acts, as a subquery."""
    own = memberships_in_force(user).values("entity_id")
    roots = EntityClosure.objects.filter(descendant_id__in=own, ancestor__parent__isnull=True)
    return EntityClosure.objects.filter(ancestor_id__in=roots.values("ancestor_id")).values("descendant_id")


# --- How requests stand, and for whom --------------------------------------------------------------------


def with_chain(rows: Any, user: User) -> Any:
    """Requests with all that a door shows of them, in a fixed number of queries.

    Adds ``chain`` (the steps of the round in progress with their tasks and people) and ``sees_account`` (whether the
    user looks after payments where the request belongs).
    """
    tasks = ApprovalTask.objects.select_related("approver", "acted_by", "for_whom").order_by("id")
    steps = (
        ApprovalStep.objects.filter(round=F("request__round"))
        .order_by("order")
        .prefetch_related(Prefetch("tasks", queryset=tasks))
    )
    permission = "approvals.view_payee"
    if sees_everything(user):
        looks_after: Any = Value(True)
    else:
        looks_after = ExpressionWrapper(
            Q(entity_id__in=entity_ids_visible_to(user, permission))
            | Q(
                department_id__isnull=False,
                department_id__in=department_ids_visible_to(user, permission),
            ),
            output_field=BooleanField(),
        )
    return (
        rows.select_related("requester", "payee", "commitment")
        .prefetch_related(
            Prefetch("budget", queryset=Budget.objects.with_expired()),
            Prefetch("steps", queryset=steps, to_attr="chain"),
        )
        .annotate(sees_account=looks_after)
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that waits for somebody's decision; ``on_behalf_of`` is whom they stand for, or None."""

    task: ApprovalTask
    on_behalf_of: User | None
    due_at: datetime.datetime | None
    may_pass_on: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody has to do with a request: what waits for them, what else they may do, what they may see."""

    waiting: tuple[Waiting, ...]
    actions: tuple[str, ...]
    sees_account: bool

    @property
    def can_decide(self) -> bool:
        return bool(self.waiting)

    @property
    def comment_required(self) -> bool:
        """Whether a level that asks the person wants a comment with an approval (APR-24)."""
        return any(each.task.step.comment_required for each in self.waiting)

    @property
    def due_at(self) -> datetime.datetime | None:
        """When the first of what waits for them is due."""
        return min((each.due_at for each in self.waiting if each.due_at is not None), default=None)


def standings(requests: Sequence[ApprovalRequest], user: User) -> dict[int, Standing]:
    """How requests that ``with_chain`` has read stand for somebody, by request id; one query for all of them."""
    pending = [request.pk for request in requests if request.status == RequestStatus.PENDING]
    tasks: dict[int, list[ApprovalTask]] = {}
    if pending:
        found = (
            ApprovalTask.objects.waiting_for(user)
            .filter(request_id__in=pending)
            .select_related("step", "approver", "for_whom")
            .order_by("step__order", "id")
        )
        for task in found:
            tasks.setdefault(task.request_id, []).append(task)
    for pk in _barred([request for request in requests if request.pk in tasks], user):
        del tasks[pk]
    return {request.pk: standing_of(request, user, tasks.get(request.pk, [])) for request in requests}


def _barred(requests: Sequence[ApprovalRequest], user: User) -> list[int]:
    """Ids of those on which the user must not decide although they are asked (APR-13, APR-15).

    Who asked, changed it or is paid has no task that waits; left are the type's word, and who entered bank details.
    """
    with_account = [request.pk for request in requests if request.supplier_account]
    entered: set[int] = set()
    if with_account:
        entered = set(
            ApprovalAction.objects.filter(
                request_id__in=with_account, actor=user, details__changes__has_key="supplier_account"
            ).values_list("request_id", flat=True)
        )
    return [
        request.pk
        for request in requests
        if user.pk
        in (
            excluded_people(request)
            if request.pk in entered
            else approval_type(request.request_type).excluded_people(request)
        )
    ]


def standing_of(request: ApprovalRequest, user: User, tasks: Sequence[ApprovalTask]) -> Standing:
    # Their own task goes before that of somebody they stand for: one vote per level (APR-07).
    own = [task for task in tasks if task.approver_id == user.pk]
    waiting = tuple(_waiting(request, task, user) for task in (own or tasks))
    is_own = user.pk in (request.requester_id, request.created_by_id)
    return Standing(
        waiting=waiting,
        actions=_actions(request, is_own=is_own, waiting=waiting),
        sees_account=is_own or bool(waiting) or bool(getattr(request, "sees_account", False)),
    )


def _waiting(request: ApprovalRequest, task: ApprovalTask, user: User) -> Waiting:
    stands_in = task.approver_id != user.pk
    passed_on = task.origin == TaskOrigin.DELEGATED
    return Waiting(
        task=task,
        on_behalf_of=task.approver if stands_in else task.for_whom if passed_on else None,
        due_at=due_at(request, task),
        may_pass_on=not stands_in and not passed_on,
    )


def due_at(request: ApprovalRequest, task: ApprovalTask) -> datetime.datetime | None:
    """When an open task is escalated, else when the request expires; None where nothing waits."""
    if task.status != TaskStatus.OPEN:
        return None
    return task.step.escalates_at or request.expires_at


def _actions(request: ApprovalRequest, *, is_own: bool, waiting: Sequence[Waiting]) -> tuple[str, ...]:
    found: list[str] = []
    if waiting:
        found += ["approve", "reject", "request_changes"]
        if any(each.may_pass_on for each in waiting):
            found.append("delegate")
    if request.status == RequestStatus.PENDING and (waiting or is_own):
        found.append("escalate")
    if is_own:
        if request.status in (RequestStatus.DRAFT, RequestStatus.CHANGES_REQUESTED):
            found.append("submit")
        if request.is_open:
            found.append("withdraw")
        if request.is_open or request.status == RequestStatus.DRAFT:
            found.append("update")
    return tuple(found)


# --- The budget ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BudgetEffect:
    """What a request does to what its budget has available, in the budget's currency (BUD-02).

    ``amount`` is negative where the budget rises; ``after`` and ``amount`` are None where no exchange rate is known.
    ``held`` says that the amount is committed already.
    """

    budget: Budget
    before: Decimal
    amount: Decimal | None
    after: Decimal | None
    held: bool

    @property
    def fits(self) -> bool | None:
        return None if self.after is None else self.after >= 0


Rates = dict[tuple[str, str], RateUsed | None]


def budget_effect(request: ApprovalRequest, rates: Rates | None = None) -> BudgetEffect | None:
    """Before and after; None without a budget, and of what is decided: the ledger tells that.

    ``rates`` remembers exchange rates from one request of a list to the next.
    """
    budget = request.budget
    if budget is None or not (request.is_open or request.status == RequestStatus.DRAFT):
        return None
    available = figures_of(budget).available
    held = request.commitment
    if held is not None and held.is_open:
        return BudgetEffect(budget, available + held.remainder, held.remainder, available, held=True)
    kind = approval_type(request.request_type)
    amount = _in_budget_currency(request, budget, {} if rates is None else rates)
    if amount is not None and not kind.commits_budget:
        amount = -amount if kind.raises_budget else Decimal(0)
    after = None if amount is None else available - amount
    return BudgetEffect(budget, available, amount, after, held=False)


def _in_budget_currency(request: ApprovalRequest, budget: Budget, rates: Rates) -> Decimal | None:
    pair = (request.currency, budget.currency)
    if request.currency == budget.currency:
        return request.amount
    if pair not in rates:
        try:
            rates[pair] = rate_for(*pair, clock.today())
        except BillingError:
            rates[pair] = None
    rate = rates[pair]
    return None if rate is None else round_money(convert(request.amount, rate), budget.currency)
