"""The life of a request: written, submitted, changed, withdrawn (APR-03 to APR-05, APR-10 to APR-12, APR-20, APR-26).

An upper app asks for a decision with ``request_submit`` in its own transaction, and reads ``selectors.request_for``.
"""

import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum

from approvals.models import (
    OPEN_STATUSES,
    ActionKind,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    OnApproval,
    RequestStatus,
    StepStatus,
    TaskStatus,
)
from approvals.registry import approval_type, find_contract, type_with_extensions
from approvals.services import fast_path, outcome, rounds
from approvals.services.fingerprint import (
    changed_names,
    content_hash,
    material_content,
    voids_approvals,
)
from approvals.services.people import excluded_people
from approvals.services.routing import Route, plan
from approvals.services.trail import record
from approvals.services.votes import already_decided, lock_request, require_in_time, require_open
from budgets.models import Budget, Commitment, CommitmentStatus
from budgets.services.commitments import commitment_change
from budgets.services.reservations import reservation_hold_again
from core import clock
from core.access import get_visible, has, require, system_actor
from core.errors import Conflict, Forbidden, Invalid
from core.exchange import convert, rate_for
from core.locks import advisory_lock
from core.models import User
from core.money import parse_amount, round_money
from entities.models import Department, DepartmentClosure, Entity
from entities.services.entity import root_id_of
from entities.services.records import apply_changes, check_fields, field_error

ZERO = Decimal(0)
EDITABLE = frozenset(
    {
        "title",
        "description",
        "amount",
        "currency",
        "supplier",
        "supplier_account",
        "gl_code",
        "quantity",
        "terms",
        "reference",
        "details",
        "on_approval",
        "payee",
    }
)

# Where it belongs: may change until it is approved; afterwards invoices count on it.
PLACE = frozenset({"entity_id", "department_id", "budget_id"})


def request_submit(
    *,
    actor: User,
    request_type: str,
    title: str,
    amount: Decimal | str | int = 0,
    currency: str | None = None,
    entity_id: int | None = None,
    department_id: int | None = None,
    budget_id: int | None = None,
    requester: User | None = None,
    draft: bool = False,
    **fields: Any,
) -> ApprovalRequest:
    """Ask for a decision: the rules choose who decides, and the amount is committed on the budget (BUD-02).

    The place follows from the budget or the department where it is not given; so does the currency. ``requester``
    is for systems and those who may override: they enter what somebody else asks for. ``draft`` only keeps it.
    Further ``fields`` are those of the model: description, supplier, supplier_account, gl_code, quantity, terms,
    reference, on_approval, payee, contract_id, subject_id, details.

    Raises Invalid and NotFound for inputs, Forbidden without the right there, Conflict ``insufficient_budget`` and
    what else the budget refuses, ``no_exchange_rate``. Without a matching rule it is blocked, not refused (APR-03).
    """

    def asked() -> ApprovalRequest:
        return ApprovalRequest(
            request_type=approval_type(request_type).code,
            title=title.strip(),
            requester=requester or actor,
            created_by=actor,
            currency=currency or "",
            **{**fields, "supplier": _plain(fields.get("supplier", ""))},
        )

    if not draft and entity_id is None and department_id is None:
        quick = fast_path.submit(asked(), actor=actor, budget_id=budget_id, amount=amount)
        if quick is not None:
            return quick.request
    with transaction.atomic():
        request = asked()
        _set_place(request, actor, entity_id, department_id, budget_id)
        require(actor, "approvals.add_approvalrequest", request)
        _require_may_enter_for(request, actor)
        request.currency = currency or (
            request.budget.currency if request.budget else request.entity.currency
        )
        request.amount = _amount(amount, request.currency)
        _check(request, actor)
        request.save()
        return request if draft else _submit(request, actor)


def request_preview(*, actor: User, **fields: Any) -> tuple[ApprovalRequest, Route]:
    """Who would decide if it were submitted now (APR-05); writes nothing. Takes what ``request_submit`` takes."""
    with transaction.atomic():
        request = request_submit(actor=actor, **{**fields, "draft": True})
        _set_base_amount(request)
        request.split_total = _split_total(request)
        route = plan(request, amount=request.split_total, on=_today(request))
        transaction.set_rollback(True)
    return request, route


def draft_submit(*, actor: User, request_id: int) -> ApprovalRequest:
    """Submit a draft, or submit again what was sent back (APR-10).

    After a send-back it starts at the first level; where nothing material changed, at the level that sent it back.
    """
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        _require_own(request, actor)
        require_in_time(request)
        if request.status not in (RequestStatus.DRAFT, RequestStatus.CHANGES_REQUESTED):
            raise (
                already_decided(request)
                if not request.is_open
                else Conflict(
                    "already_submitted", "It is being decided already.", extra={"status": request.status}
                )
            )
        _check(request, actor)
        return _submit(request, actor)


def _submit(request: ApprovalRequest, actor: User) -> ApprovalRequest:
    """Start the first or the next round (APR-05, APR-10)."""
    before = request.content_hash
    fingerprint = content_hash(material_content(request))
    if request.status == RequestStatus.CHANGES_REQUESTED and fingerprint == before:
        return _return_to_level(request, actor)
    return _start_round(request, actor, ActionKind.SUBMITTED, {})


def _start_round(
    request: ApprovalRequest,
    actor: User,
    kind: ActionKind,
    details: dict[str, Any],
    comment: str = "",
) -> ApprovalRequest:
    """Freeze route, people and fingerprint, hold the money, and ask the first level (APR-05)."""
    rounds.cancel_round(request)
    _set_base_amount(request)
    request.split_total = _split_total(request)
    now = clock.now()
    route = plan(request, amount=_routing_amount(request), on=_today(request))
    rounds.begin(request, route, now)
    _hold_money(request)
    request.save()
    record(
        request,
        kind,
        actor=actor,
        on_behalf_of_id=(
            request.requester_id
            if kind == ActionKind.SUBMITTED and request.requester_id != actor.pk
            else None
        ),
        comment=comment,
        details=details | {"rules": route.snapshot},
    )
    rounds.write_steps(request, route)
    if route.blocked_reason:
        rounds.block(request, route.blocked_reason)
    elif route.auto_approve:
        record(request, ActionKind.AUTO_APPROVED, actor=system_actor(), details={"rules": route.snapshot})
        outcome.finish_approved(request, actor=system_actor())
    else:
        rounds.open_next(request)
    return request


def _hold_money(request: ApprovalRequest) -> None:
    """Commit the round's amount; where the rule lets it ask for more than there is, nothing is held (BUD-02)."""
    held = request.commitment
    ordered = held is not None and held.status == CommitmentStatus.APPROVED
    try:
        with transaction.atomic():
            if held is not None and held.is_open and _holds_the_same_kind(request, held):
                _hold_new_amount(request, held)
            else:
                outcome.release_money(request, "changed")
                request.commitment = None
                outcome.commit_money(request)
    except Conflict as refusal:
        asks_first = request.approved_amount is None
        if refusal.code != "insufficient_budget" or not (request.may_exceed_budget and asks_first):
            raise
        outcome.release_money(request, "changed")
        request.commitment = None
        return
    if ordered and held is not None and request.status == RequestStatus.PENDING:
        reservation_hold_again(commitment_id=held.pk)


def _holds_the_same_kind(request: ApprovalRequest, held: Commitment) -> bool:
    return (
        held.budget_id == request.budget_id
        and held.document_currency == request.currency
        and request.amount > 0
    )


def _hold_new_amount(request: ApprovalRequest, held: Commitment) -> None:
    if held.document_amount != request.amount:
        commitment_change(
            actor=system_actor(),
            commitment_id=held.pk,
            amount=request.amount,
            reason=f"{request.reference_number} changed",
        )


def _return_to_level(request: ApprovalRequest, actor: User) -> ApprovalRequest:
    """Round n + 1 with the same people; levels before the one that sent it back stay passed (APR-10)."""
    old = rounds.steps_of_round(request)
    returned = request.tasks.filter(step__in=old, status=TaskStatus.RETURNED).select_related("step").first()
    resume_at = returned.step.order if returned is not None else 1
    request.start_round()
    request.round += 1
    request.expires_at = clock.now() + datetime.timedelta(days=settings.APPROVAL_EXPIRY_DAYS)
    request.save()
    record(request, ActionKind.SUBMITTED, actor=actor, details={"resumes_at_level": resume_at})
    for step in old:
        _copy_step(request, step, passed=step.status == StepStatus.PASSED)
    rounds.open_next(request)
    return request


def _copy_step(request: ApprovalRequest, step: ApprovalStep, *, passed: bool) -> None:
    tasks = list(step.tasks.exclude(status=TaskStatus.PASSED_ON))
    step.pk, step.round, step.hops_done = None, request.round, 0
    step._state.adding = True
    step.opened_at = step.escalates_at = None
    step.status = StepStatus.PASSED if passed else StepStatus.WAITING
    step.decided_at = step.decided_at if passed else None
    step.save()
    for task in tasks:
        task.pk, task.step, task.opened_at, task.remind_at, task.reminders_sent = None, step, None, None, 0
        task._state.adding = True
        if not passed:
            task.status, task.acted_at, task.acted_by = TaskStatus.WAITING, None, None
        task.save()


# --- Changing --------------------------------------------------------------------------------------------


def request_update(
    *,
    actor: User,
    request_id: int,
    changes: Mapping[str, Any],
    expected_version: int | None = None,
) -> ApprovalRequest:
    """Change a request. A material change while it is decided, or after, voids the approvals (APR-11).

    ``changes`` are those of EDITABLE, and until it is approved ``budget_id``, ``department_id`` and ``entity_id``.
    A draft, or what was sent back, is changed freely and submitted by ``draft_submit``. An approved order may still
    change; what was charged may not. Raises Conflict ``already_decided`` and ``already_booked``.
    """
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        request.expect_version(expected_version)
        _require_own(request, actor)
        require_in_time(request)
        before = material_content(request) if request.round else {}
        old = {name: getattr(request, name) for name in changes}
        if "amount" in changes:
            changes = {
                **changes,
                "amount": _amount(changes["amount"], changes.get("currency") or request.currency),
            }
        if "supplier" in changes:
            changes = {**changes, "supplier": _plain(changes["supplier"])}
        changed = _move(request, actor, {name: changes[name] for name in PLACE & set(changes)})
        fields = {name: value for name, value in changes.items() if name not in PLACE}
        changed += apply_changes(request, fields, allowed=EDITABLE)
        if not changed:
            return request
        _require_editable(request, changed)
        _check(request, actor)
        details = {
            "changes": {name: [_shown(name, old[name]), _shown(name, changes[name])] for name in changed}
        }
        if request.status in (RequestStatus.DRAFT, RequestStatus.CHANGES_REQUESTED):
            if request.status == RequestStatus.CHANGES_REQUESTED and changed_names(
                before, material_content(request)
            ):
                request.edited_by = actor
            request.save()
            if request.round:
                record(request, ActionKind.EDITED, actor=actor, details=details)
            return request
        return _change_submitted(request, actor, before, details)


def _change_submitted(
    request: ApprovalRequest, actor: User, before: dict[str, Any], details: dict[str, Any]
) -> ApprovalRequest:
    after = material_content(request)
    material = changed_names(before, after)
    if material:
        _set_base_amount(request)
        if request.status == RequestStatus.BLOCKED or voids_approvals(request, before, after):
            request.edited_by = actor
            return _start_round(request, actor, ActionKind.ROUND_STARTED, details)
        request.split_total = _split_total(request)
        _hold_money(request)
        request.content_hash = content_hash(after)
    request.save()
    record(request, ActionKind.EDITED, actor=actor, details=details)
    return request


def _require_editable(request: ApprovalRequest, changed: list[str]) -> None:
    if request.status in (RequestStatus.DRAFT, *OPEN_STATUSES):
        return
    if request.status != RequestStatus.APPROVED:
        raise already_decided(request)
    if set(changed) <= {"title", "description", "reference"}:
        return
    fixed = {"on_approval", *PLACE} & set(changed)
    if request.on_approval != OnApproval.ORDER or fixed or request.commitment is None:
        raise _already_booked(request)
    if not request.commitment.is_open:
        raise _order_closed()


def _already_booked(request: ApprovalRequest) -> Conflict:
    return Conflict(
        "already_booked",
        "It was approved and its effect is booked: what was approved cannot change any more. "
        "Submit a new request for the difference.",
        extra={"status": request.status},
    )


def _order_closed() -> Conflict:
    return Conflict("order_closed", "The order has been invoiced or released: submit a new request for more.")


def _shown(name: str, value: Any) -> Any:
    """A value for the trail; bank details are named, never shown."""
    if name == "supplier_account":
        return f"…{value[-4:]}" if value else ""
    if isinstance(value, User):
        return value.display_name
    return str(value) if isinstance(value, Decimal) else value


def request_content_changed(
    *,
    actor: User,
    request_type: str,
    subject_id: int,
    amount: Decimal | str | int | None = None,
    comment: str = "",
) -> ApprovalRequest | None:
    """The subject of an upper app changed: if approvers decide on something else now, a new round starts (APR-11).

    ``amount`` is the new total in the request's currency, where that changed too. Returns the request, or None
    where none is open or approved. Raises Conflict ``already_booked`` or ``order_closed`` where an approved
    request's money is spent.
    """
    with transaction.atomic():
        request = (
            ApprovalRequest.objects.select_for_update(of=("self",))
            .select_related("entity", "department", "budget", "requester")
            .filter(request_type=request_type, subject_id=subject_id)
            .filter(status__in=[*OPEN_STATUSES, RequestStatus.APPROVED])
            .order_by("-id")
            .first()
        )
        if request is None:
            return None
        if amount is not None:
            request.amount = _amount(amount, request.currency)
        if content_hash(material_content(request)) == request.content_hash:
            return request
        require_in_time(request)
        if request.status == RequestStatus.APPROVED and request.commitment is not None:
            if request.on_approval != OnApproval.ORDER:
                raise _already_booked(request)
            if not request.commitment.is_open:
                raise _order_closed()
        request.edited_by = actor
        if request.status == RequestStatus.CHANGES_REQUESTED:
            request.save()
            return request
        return _start_round(request, actor, ActionKind.ROUND_STARTED, {}, comment)


# --- Ending and overriding -------------------------------------------------------------------------------


def request_withdraw(*, actor: User, request_id: int, comment: str = "") -> ApprovalRequest:
    """Take it back, any time before the final decision; its money is free again (APR-20)."""
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        _require_own(request, actor)
        if not request.is_open:
            raise already_decided(request)
        record(request, ActionKind.WITHDRAWN, actor=actor, comment=comment)
        outcome.close(request, RequestStatus.WITHDRAWN, actor=actor, comment=comment)
        return request


def request_expire(*, request_id: int) -> bool:
    """End a request whose time is over; False where it was decided meanwhile, or has time left (APR-20)."""
    with transaction.atomic():
        system = system_actor()
        request = lock_request(actor=system, request_id=request_id)
        if not request.is_open or request.expires_at is None or request.expires_at > clock.now():
            return False
        record(request, ActionKind.EXPIRED, actor=system)
        outcome.close(request, RequestStatus.EXPIRED, actor=system)
        return True


def request_recalculate(*, actor: User, request_id: int, reason: str) -> ApprovalRequest:
    """Work the approvers out anew by the rules as they are now: a new round, logged (APR-05)."""
    _require_reason(reason)
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        require(actor, "approvals.override_approvalrequest", request)
        if request.status not in (RequestStatus.PENDING, RequestStatus.BLOCKED):
            raise already_decided(request)
        require_in_time(request)
        return _start_round(request, actor, ActionKind.RECALCULATED, {"route_before": request.route}, reason)


def request_approve_in_emergency(*, actor: User, request_id: int, reason: str) -> ApprovalRequest:
    """Approve at once without the level's votes; a second person reviews it within hours (APR-26).

    Separation of duties holds here too (APR-13). Raises Forbidden ``separation_of_duties``.
    """
    _require_reason(reason)
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        require(actor, "approvals.override_approvalrequest", request)
        if request.status not in (RequestStatus.PENDING, RequestStatus.BLOCKED):
            raise already_decided(request)
        require_in_time(request)
        if actor.pk in excluded_people(request):
            raise Forbidden(
                "separation_of_duties",
                "Nobody approves what they asked for, entered, changed or would be paid by, not even in an emergency.",
            )
        request.emergency_reason, request.emergency_reviewed_by = reason, None
        request.emergency_review_due = clock.now() + datetime.timedelta(
            hours=settings.APPROVAL_EMERGENCY_REVIEW_HOURS
        )
        rounds.cancel_round(request)
        record(request, ActionKind.EMERGENCY_APPROVED, actor=actor, comment=reason)
        outcome.finish_approved(request, actor=actor)
        return request


def emergency_review(*, actor: User, request_id: int, comment: str) -> ApprovalRequest:
    """A second person confirms that the emergency was one (APR-26)."""
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        require(actor, "approvals.override_approvalrequest", request)
        if request.emergency_review_due is None or request.emergency_reviewed_by_id is not None:
            raise Conflict("nothing_to_review", "There is no emergency approval to review here.")
        approved_by = request.actions.filter(kind=ActionKind.EMERGENCY_APPROVED).latest("id").actor_id
        if actor.pk in {approved_by, *excluded_people(request)}:
            raise Forbidden("second_person_needed", "Somebody who had no part in it reviews it.")
        request.emergency_reviewed_by = actor
        request.save()
        record(request, ActionKind.EMERGENCY_REVIEWED, actor=actor, comment=comment)
        return request


def task_reassign(*, actor: User, task_id: int, to_user: User, reason: str) -> ApprovalTask:
    """Give somebody's open task to another person who may decide (APR-21, APR-26)."""
    _require_reason(reason)
    with transaction.atomic():
        seen = get_visible(ApprovalTask.objects.all(), actor, task_id, name="task")
        request = lock_request(actor=actor, request_id=seen.request_id)
        require(actor, "approvals.override_approvalrequest", request)
        require_open(request)
        if actor.pk in excluded_people(request):
            raise Forbidden(
                "separation_of_duties",
                "Nobody chooses who decides on what they asked for, entered, changed or would be paid by.",
            )
        return rounds.reassign(request, task_id, to_user, actor=actor, reason=reason)


def comment_add(*, actor: User, request_id: int, body: str) -> ApprovalRequest:
    """Say something on a request without deciding; everyone who takes part is told."""
    if not body.strip():
        raise field_error("comment", "comment_required", "Write something first.")
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        _require_takes_part(request, actor)
        record(request, ActionKind.COMMENTED, actor=actor, comment=body.strip())
        outcome.tell_of_comment(request, actor)
        return request


# --- What a request must be ------------------------------------------------------------------------------


def _set_place(
    request: ApprovalRequest,
    actor: User,
    entity_id: int | None,
    department_id: int | None,
    budget_id: int | None,
) -> None:
    """Entity and department from what is named, each among those the actor sees."""
    if budget_id is not None:
        budget = get_visible(
            Budget.objects.select_related("entity", "department"), actor, budget_id, name="budget"
        )
        request.budget, request.entity, request.department = budget, budget.entity, budget.department
    if department_id is not None:
        department = get_visible(
            Department.objects.select_related("entity"), actor, department_id, name="department"
        )
        if request.budget is not None:
            _require_served_by(request.budget, department)
        request.department, request.entity = department, department.entity
    if entity_id is not None:
        entity = get_visible(Entity.objects.all(), actor, entity_id, name="entity")
        placed = request.budget is not None or request.department is not None
        if placed and request.entity_id != entity.pk:
            raise field_error(
                "entity_id", "other_entity", "The department or budget is of another entity than this one."
            )
        request.entity = entity
    if request.entity_id is None:
        raise field_error(
            "entity_id", "required", "Name the budget, the department or the entity that it is for."
        )
    if request.contract_id is not None:
        find_contract(actor, request.contract_id)


def _move(request: ApprovalRequest, actor: User, place: Mapping[str, Any]) -> list[str]:
    """Set another budget, cost centre or entity; what is not named stays. Returns the names of what differs."""
    changed = sorted(name for name, value in place.items() if getattr(request, name) != value)
    if not changed:
        return []
    wanted = {name: getattr(request, name) for name in ("department_id", "budget_id")} | dict(place)
    request.budget = request.department = None
    _set_place(request, actor, place.get("entity_id"), wanted["department_id"], wanted["budget_id"])
    require(actor, "approvals.add_approvalrequest", request)
    return changed


def _require_served_by(budget: Budget, department: Department) -> None:
    """A department asks for money of its own, of a department above it, or of the entity."""
    if budget.entity_id != department.entity_id:
        raise field_error(
            "department_id", "other_entity", "The department and the budget are of different entities."
        )
    if budget.department_id is None:
        return
    above = DepartmentClosure.objects.filter(descendant=department, ancestor_id=budget.department_id)
    if not above.exists():
        raise field_error(
            "department_id", "other_department", f"“{budget.name}” is the budget of another department."
        )


def _require_may_enter_for(request: ApprovalRequest, actor: User) -> None:
    if request.requester_id == actor.pk or actor.is_service_account:
        return
    if not has(actor, "approvals.override_approvalrequest", request):
        raise Forbidden(
            "requester_is_another",
            "Only a connected system, or who may override approvals, enters a request for somebody else.",
        )


def _check(request: ApprovalRequest, actor: User) -> None:
    if not request.title:
        raise field_error("title", "required", "Give it a title that the approvers understand.")
    if request.supplier_account:
        require(actor, "approvals.maintain_payee", request)
    check_fields(request)
    if request.budget is not None and request.budget.status == "soft_closed":
        require(actor, "budgets.post_soft_closed_budget", request.budget)
    for part in type_with_extensions(request.request_type):
        part.check(request, actor=actor)


def _plain(text: str) -> str:
    """Without spaces at the ends and doubled ones: "Acme " is Acme to the split guard (APR-04)."""
    return " ".join(text.split())


def _amount(value: Decimal | str | int, currency: str) -> Decimal:
    amount = parse_amount(value)
    if amount < 0:
        raise field_error("amount", "amount_not_positive", "The amount cannot be negative.")
    if round_money(amount, currency) != amount:
        raise field_error("amount", "amount_too_precise", f"Round the amount to the decimals of {currency}.")
    return amount


def _today(request: ApprovalRequest) -> datetime.date:
    return clock.today(request.entity.time_zone)


def _set_base_amount(request: ApprovalRequest) -> None:
    """The amount in the currency of the group's root entity, at the rate of the day (APR-02)."""
    root = Entity.objects.only("currency").get(pk=root_id_of(request.entity_id))
    used = rate_for(request.currency, root.currency, _today(request))
    request.base_currency = root.currency
    request.base_amount = round_money(convert(request.amount, used), root.currency)
    request.rate, request.rate_date = used.rate, used.rate_date


def _split_total(request: ApprovalRequest) -> Decimal:
    """With what the same requester asked of the same supplier for the same cost centre lately (APR-04).

    Taken one at a time, so that two halves submitted at once cannot both miss each other.
    """
    if not request.supplier:
        return request.base_amount
    where = f"{request.entity_id}:{request.department_id}"
    advisory_lock(f"split:{request.requester_id}:{request.supplier.casefold()}:{where}")
    since = clock.now() - datetime.timedelta(days=settings.APPROVAL_SPLIT_GUARD_DAYS)
    others = ApprovalRequest.objects.filter(
        requester_id=request.requester_id,
        supplier__iexact=request.supplier,
        entity=request.entity,
        department=request.department,
        base_currency=request.base_currency,
        submitted_at__gt=since,
        status__in=[*OPEN_STATUSES, RequestStatus.APPROVED],
    ).exclude(pk=request.pk)
    total: Decimal = others.aggregate(total=Sum("base_amount", default=ZERO))["total"]
    return request.base_amount + total


def _routing_amount(request: ApprovalRequest) -> Decimal:
    """What chooses the band: the total, or of a changed order only what it adds, if so set (APR-12)."""
    if settings.APPROVAL_CHANGE_ORDER_BASIS == "delta" and request.approved_amount is not None:
        return max(request.base_amount - request.approved_amount, ZERO)
    return request.split_total


def _require_own(request: ApprovalRequest, actor: User) -> None:
    if actor.pk in (request.requester_id, request.created_by_id):
        return
    raise Forbidden(
        "not_the_requester",
        f"Only {request.requester.display_name}, who asked for it, can do that.",
    )


def _require_takes_part(request: ApprovalRequest, actor: User) -> None:
    """Who only reads, as an auditor does, writes nothing (ENT-05)."""
    if actor.pk in (request.requester_id, request.created_by_id):
        return
    if ApprovalTask.objects.waiting_for(actor).filter(request=request).exists():
        return
    if request.tasks.filter(Q(approver=actor) | Q(acted_by=actor)).exists():
        return
    if not has(actor, "approvals.change_approvalrequest", request):
        require(actor, "approvals.decide_approvalrequest", request)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Invalid("reason_required", "Say why: the reason stays with the request.")
