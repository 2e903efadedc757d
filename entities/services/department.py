"""Departments: the cost centres of an entity, in a tree (ENT-03)."""

import datetime
from typing import TypedDict, Unpack

from django.db import transaction

from core.access import require
from core.errors import Conflict, FieldProblem
from core.history import record_as
from core.models import User
from core.outbox import publish
from entities.models import CostCenterType, Department, Entity
from entities.services.records import apply_changes, check_fields, delete_record, field_error, save_record


class DepartmentChanges(TypedDict, total=False):
    """What `department_update` can change."""

    name: str
    code: str
    cost_center_type: str
    gl_code: str
    parent: Department | None
    manager: User | None
    is_active: bool
    closed_on: datetime.date | None


CHANGEABLE = frozenset(DepartmentChanges.__optional_keys__)


@transaction.atomic
def department_create(
    *,
    actor: User,
    entity: Entity,
    name: str,
    code: str,
    cost_center_type: str = CostCenterType.COST,
    gl_code: str = "",
    parent: Department | None = None,
    manager: User | None = None,
) -> Department:
    """Create a department; its code is unique in the entity whatever the case of its letters (ENT-03).

    Raises Forbidden, Invalid (fields by pointer, ``parent_of_other_entity``), Conflict ``already_exists``,
    ``entity_inactive``.
    """
    require(actor, "entities.add_department", entity)
    if not entity.is_active:
        raise Conflict("entity_inactive", f"{entity} is inactive. Reactivate it before you add to it.")
    department = Department(
        entity=entity,
        name=name.strip(),
        code=code.strip(),
        cost_center_type=cost_center_type,
        gl_code=gl_code.strip(),
        parent=parent,
        manager=manager,
    )
    _check(department)
    with record_as(actor):
        _save(department)
    publish(
        "department.created",
        {"department_id": department.pk, "entity_id": entity.pk},
        key=f"department:{department.pk}",
    )
    return department


@transaction.atomic
def department_update(
    *,
    actor: User,
    department: Department,
    expected_version: int | None = None,
    reason: str = "",
    **changes: Unpack[DepartmentChanges],
) -> Department:
    """Change a department; ``parent`` moves it within its entity with all that is below it.

    Raises Stale, what `department_create` raises, Conflict ``department_cycle``, ``open_children``.
    """
    require(actor, "entities.change_department", department)
    new_parent = changes.get("parent")
    rows = _lock(department.pk, *([new_parent.pk] if new_parent else []))
    locked = rows[department.pk]
    locked.expect_version(expected_version)
    if new_parent is not None:
        changes["parent"] = rows[new_parent.pk]
    for name in ("name", "code", "gl_code"):
        if name in changes:
            changes[name] = changes[name].strip()  # type: ignore[literal-required]  # the three are text
    was_open = locked.is_active and locked.closed_on is None
    changed = apply_changes(locked, dict(changes), allowed=CHANGEABLE)
    if not changed:
        return locked
    _check(locked)
    if was_open and not (locked.is_active and locked.closed_on is None):
        _check_children_closed(locked)
    with record_as(actor, reason):
        _save(locked)
    publish(
        "department.updated",
        {"department_id": locked.pk, "changed": sorted(changed)},
        key=f"department:{locked.pk}",
    )
    return locked


def department_move(
    *,
    actor: User,
    department: Department,
    parent: Department | None,
    expected_version: int | None = None,
    reason: str = "",
) -> Department:
    """Put a department under another one of the same entity, or at the top."""
    return department_update(
        actor=actor, department=department, parent=parent, expected_version=expected_version, reason=reason
    )


def department_close(
    *, actor: User, department: Department, closed_on: datetime.date, reason: str
) -> Department:
    """Close a department: from ``closed_on`` it takes no cost (ALC-05). What lies below it is closed first."""
    return department_update(actor=actor, department=department, reason=reason, closed_on=closed_on)


def department_reopen(*, actor: User, department: Department, reason: str) -> Department:
    """Let a closed or inactive department take cost again."""
    return department_update(
        actor=actor, department=department, reason=reason, closed_on=None, is_active=True
    )


@transaction.atomic
def department_delete(*, actor: User, department: Department, reason: str = "") -> None:
    """Delete a department on which nothing depends; else Conflict ``in_use``."""
    require(actor, "entities.delete_department", department)
    locked = _lock(department.pk)[department.pk]
    with record_as(actor, reason):
        delete_record(locked, name=str(locked), instead="Close it to keep new cost out.")
    publish("department.deleted", {"department_id": department.pk}, key=f"department:{department.pk}")


def lock_departments(ids: list[int]) -> dict[int, Department]:
    """Lock departments in ascending id order, with their entities, without blocking rows that refer to them."""
    rows = Department.objects.select_for_update(no_key=True, of=("self",)).select_related("entity")
    return {row.pk: row for row in rows.filter(pk__in=ids).order_by("pk")}


def _lock(*ids: int) -> dict[int, Department]:
    return lock_departments(list(ids))


def _check(department: Department) -> None:
    check_fields(department)
    parent = department.parent
    if parent is not None and parent.entity_id != department.entity_id:
        raise field_error(
            "parent_id", "parent_of_other_entity", f"{parent} belongs to another entity than {department}."
        )


def _save(department: Department) -> None:
    taken = f'{department.entity} has a department with the code "{department.code}" already. Choose another code.'
    cycle = f"{department} cannot be placed under itself or below one of its own descendants."
    in_cycle = Conflict(
        "department_cycle", cycle, errors=[FieldProblem("/parent_id", "department_cycle", cycle)]
    )
    save_record(
        department,
        {
            "department_code_unique_in_entity": Conflict(
                "already_exists", taken, errors=[FieldProblem("/code", "already_exists", taken)]
            ),
            "department_no_cycle": in_cycle,
            "department_not_its_own_parent": in_cycle,
        },
    )


def _check_children_closed(department: Department) -> None:
    children = department.children.filter(is_active=True)
    if department.closed_on is not None:
        children = children.exclude(closed_on__lte=department.closed_on)
    names = [str(child) for child in children.order_by("code")[:5]]
    if names:
        raise Conflict(
            "open_children",
            f"{department} has open departments below it ({', '.join(names)}). Close or move them first.",
        )
