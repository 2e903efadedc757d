"""Departments: ENT-03."""

from datetime import date

import pytest

from core.errors import Conflict, Invalid, Stale
from entities.models import CostCenterType, Department, Role
from entities.services import (
    department_close,
    department_delete,
    department_move,
    department_reopen,
    department_update,
)
from tests.entities.conftest import allocate
from tests.entities.factories import Group, department, member
from tests.entities.test_entity import refused


def test_ent_03_code_is_unique_in_the_entity_whatever_its_case(northwind: Group) -> None:
    error = refused(lambda: department(northwind.root, "eng"), "already_exists", Conflict)
    assert error.errors[0].pointer == "/code"
    assert department(northwind.germany, "ENG").entity == northwind.germany


def test_ent_03_has_type_gl_code_and_manager(northwind: Group) -> None:
    manager = northwind.users[Role.DEPARTMENT_MANAGER]
    row = department(
        northwind.root, "R&D", cost_center_type=CostCenterType.INVESTMENT, gl_code="7000", manager=manager
    )
    assert (row.cost_center_type, row.gl_code, row.manager) == ("investment", "7000", manager)


def test_ent_03_tree_stays_within_one_entity(northwind: Group) -> None:
    refused(
        lambda: department(northwind.germany, "X", parent=northwind.it), "parent_of_other_entity", Invalid
    )
    moved = department_move(actor=northwind.admin, department=northwind.platform, parent=northwind.marketing)
    found = Department.objects.descendants_of(northwind.marketing.pk)
    assert set(found) == {northwind.marketing, moved}


def test_ent_03_cycle_is_refused(northwind: Group) -> None:
    refused(
        lambda: department_move(
            actor=northwind.admin, department=northwind.engineering, parent=northwind.platform
        ),
        "department_cycle",
        Conflict,
    )
    refused(
        lambda: department_move(
            actor=northwind.admin, department=northwind.engineering, parent=northwind.engineering
        ),
        "department_cycle",
    )


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": "x" * 201}, "max_length"),
        ({"name": "a\x00"}, "null_characters_not_allowed"),
        ({"code": " "}, "blank"),
        ({"cost_center_type": "other"}, "invalid_choice"),
        ({"gl_code": "9" * 51}, "max_length"),
    ],
)
def test_ent_03_bad_fields(northwind: Group, fields: dict[str, str], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        department_update(actor=northwind.admin, department=northwind.it, **fields)  # type: ignore[arg-type]
    assert caught.value.errors[0].code == code
    northwind.it.refresh_from_db()
    assert northwind.it.code == "IT"


def test_ent_03_close_and_reopen(northwind: Group) -> None:
    refused(
        lambda: department_close(
            actor=northwind.admin,
            department=northwind.engineering,
            closed_on=date(2024, 6, 1),
            reason="Merged",
        ),
        "open_children",
        Conflict,
    )
    department_close(
        actor=northwind.admin, department=northwind.platform, closed_on=date(2024, 6, 1), reason="Merged"
    )
    closed = department_close(
        actor=northwind.admin, department=northwind.engineering, closed_on=date(2024, 6, 1), reason="Merged"
    )
    assert closed.takes_cost_on(date(2024, 5, 31))
    assert not closed.takes_cost_on(date(2024, 6, 1))
    again = department_reopen(actor=northwind.admin, department=northwind.engineering, reason="Needed")
    assert again.takes_cost_on(date(2024, 6, 1))
    assert again.history.first().history_change_reason == "Needed"


def test_ent_03_delete_only_where_nothing_depends(northwind: Group) -> None:
    allocate(northwind.finance, northwind.marketing, "10.00")
    error = refused(
        lambda: department_delete(actor=northwind.admin, department=northwind.marketing), "in_use"
    )
    assert error.extra["used_by"] == ["cost allocations"]
    department_delete(actor=northwind.admin, department=northwind.platform)
    assert not Department.objects.filter(pk=northwind.platform.pk).exists()


def test_ent_03_stale_version_is_refused(northwind: Group) -> None:
    department_update(actor=northwind.admin, department=northwind.it, gl_code="1")
    refused(
        lambda: department_update(
            actor=northwind.admin, department=northwind.it, expected_version=1, gl_code="2"
        ),
        "stale_version",
        Stale,
    )


def test_ent_03_department_bound_staff_changes_that_department_only(northwind: Group) -> None:
    staff = member(northwind.root, Role.FINANCE_STAFF, department=northwind.engineering)
    department_update(actor=staff, department=northwind.platform, gl_code="1")
    refused(lambda: department_update(actor=staff, department=northwind.it, gl_code="1"), "permission_denied")
