"""Who may be asked: rights, managers, and who is left out (APR-13, APR-14, APR-16)."""

from collections.abc import Iterable, Iterator

from approvals.models import (
    ApprovalRequest,
    ApprovalRule,
    ApprovalTask,
    AuthorityLimit,
    IncompatibleDuties,
    TaskOrigin,
)
from approvals.registry import approval_type
from approvals.services.duties import apart_from_approving
from core.access import require
from core.errors import Forbidden
from core.models import User
from entities.access import holders_among
from entities.models import Department, Entity
from entities.querysets import entity_ids_visible_to, sees_everything

DECIDE = "approvals.decide_approvalrequest"


def eligible(user_ids: Iterable[int], request: ApprovalRequest) -> set[int]:
    """Those who are active people with the right to decide where the request belongs: who is asked by a role."""
    wanted = set(user_ids)
    return holders_among(wanted, DECIDE, request) if wanted else wanted


def able(user_ids: Iterable[int]) -> set[int]:
    """Those who are active people with the right to decide somewhere.

    That is enough for whom a rule or somebody who is away names, and up a line of managers: the chief of somebody in
    another company decides for them without a role there (APR-14, APR-16, APR-18).
    """
    wanted = set(user_ids)
    return holders_among(wanted, DECIDE, None) if wanted else wanted


def may_stand_in(user: User) -> bool:
    """Whether somebody may decide for others: an active person with the right to decide somewhere (APR-18)."""
    return user.pk in able([user.pk])


def right_holder(task: ApprovalTask) -> int:
    """With whose right and authority a task is decided: who was passed one has that of whom they stand for."""
    if task.origin == TaskOrigin.DELEGATED and task.for_whom_id is not None:
        return task.for_whom_id
    return task.approver_id


def entitled_tasks(tasks: Iterable[ApprovalTask], request: ApprovalRequest) -> set[int]:
    """Ids of those of a request's tasks whose people may still decide (APR-13, APR-21); two queries at most."""
    tasks = list(tasks)
    there = eligible({right_holder(task) for task in tasks if task.needs_right_there}, request)
    passed_on = {task.approver_id for task in tasks if task.approver_id != right_holder(task)}
    anywhere = able({right_holder(task) for task in tasks if not task.needs_right_there} | passed_on)
    return {
        task.pk
        for task in tasks
        if right_holder(task) in (there if task.needs_right_there else anywhere)
        and (task.approver_id == right_holder(task) or task.approver_id in anywhere)
    }


def excluded_people(request: ApprovalRequest) -> set[int]:
    """Requester, creator, last material editor and payee, and whom the type excludes (APR-13).

    With them whoever entered the supplier's bank details, as the matrix of duties says (APR-15).
    """
    own = {request.requester_id, request.created_by_id, request.edited_by_id, request.payee_id}
    return (
        {pk for pk in own if pk is not None}
        | approval_type(request.request_type).excluded_people(request)
        | apart_from_approving(request)
    )


def managers_above(user_id: int) -> Iterator[int]:
    """The manager, the manager's manager and so on; a loop ends it."""
    met = {user_id}
    current = User.objects.filter(pk=user_id).values_list("manager_id", flat=True).first()
    while current is not None and current not in met:
        yield current
        met.add(current)
        current = User.objects.filter(pk=current).values_list("manager_id", flat=True).first()


def department_manager(department: Department | None) -> int | None:
    """The department's manager, else that of the nearest department above it that has one."""
    if department is None:
        return None
    above = (
        Department.objects.filter(below__descendant_id=department.pk, manager__isnull=False)
        .order_by("below__depth")
        .values_list("manager_id", flat=True)
    )
    return above.first()


def require_at_place(
    actor: User, permission: str, record: ApprovalRule | AuthorityLimit | IncompatibleDuties
) -> None:
    """Require the right at the record's entity; for one that holds everywhere, at every root entity (ENT-04)."""
    require(actor, permission, record)
    if record.access_entity_id is not None or sees_everything(actor):
        return
    reached = entity_ids_visible_to(actor, permission)
    if Entity.objects.filter(parent__isnull=True).exclude(pk__in=reached).exists():
        raise Forbidden(
            "holds_everywhere",
            "What names no entity holds in every group of companies, and you have the right in some of them only. "
            "Name the entity that it is for; it covers everything below it.",
            extra={"permission": permission},
        )
