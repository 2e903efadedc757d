"""Memberships: ENT-04, ENT-05."""

from datetime import date, timedelta

import pytest

from core import clock
from core.access import system_actor
from core.errors import Conflict, Forbidden, Invalid
from core.history import record_as
from core.models import User
from entities import access
from entities.access import STAFF_ROLES, permissions_of
from entities.models import Department, Entity, Membership, Role
from entities.services import grantable_roles, membership_end, membership_grant, membership_update
from tests.entities.factories import Group, grant, member, user
from tests.entities.test_entity import refused


def test_ent_04_scope_of_entities_follows_the_tree(northwind: Group) -> None:
    german = member(northwind.germany, Role.AUDITOR)
    assert set(Entity.objects.visible_to(german)) == {northwind.germany, northwind.division}
    narrow = member(northwind.germany, Role.AUDITOR, include_descendants=False)
    assert set(Entity.objects.visible_to(narrow)) == {northwind.germany}
    assert set(Entity.objects.visible_to(northwind.users["outsider"])) == {northwind.other_root}


def test_ent_04_a_department_membership_shows_the_name_and_that_subtree(northwind: Group) -> None:
    manager = northwind.users[Role.DEPARTMENT_MANAGER]
    assert set(Entity.objects.visible_to(manager)) == {northwind.root}
    assert not Entity.objects.seen_whole_by(manager).exists()
    assert set(Department.objects.visible_to(manager)) == {northwind.engineering, northwind.platform}


def test_ent_04_memberships_hold_within_their_dates(northwind: Group) -> None:
    today = clock.today()
    person = user()
    membership = grant(person, northwind.root, Role.AUDITOR, valid_from=today + timedelta(1))
    assert not person.has_perm("entities.view_entity", northwind.root)
    Membership.objects.filter(pk=membership.pk).update(valid_from=today, valid_to=today + timedelta(1))
    assert person.has_perm("entities.view_entity", northwind.root)
    Membership.objects.filter(pk=membership.pk).update(valid_from=None, valid_to=today)
    assert not person.has_perm("entities.view_entity", northwind.root)


def test_ent_04_people_are_seen_where_they_act(northwind: Group) -> None:
    german = member(northwind.germany, Role.FINANCE_STAFF)
    seen = set(User.objects.visible_to(german))
    assert seen == {german}
    assert northwind.users["outsider"] not in set(User.objects.visible_to(northwind.admin))
    assert german in set(User.objects.visible_to(northwind.admin))


def test_ent_04_a_user_without_a_place_is_known_to_its_maker_only(northwind: Group) -> None:
    with record_as(northwind.admin):
        made = user("newcomer")
    assert made in set(User.objects.visible_to(northwind.admin))
    assert made not in set(User.objects.visible_to(northwind.users["outsider"]))


def test_ent_05_staff_roles_open_the_back_office_and_ending_closes_it(northwind: Group) -> None:
    for role in STAFF_ROLES:
        assert member(northwind.germany, role).is_staff
    for role in (Role.DEPARTMENT_MANAGER, Role.APPROVER, Role.SERVICE_ACCOUNT):
        assert not northwind.users[role].is_staff
    person = member(northwind.germany, Role.AUDITOR)
    membership_end(actor=northwind.admin, membership=person.memberships.get(), reason="Left")
    person.refresh_from_db()
    assert not person.is_staff
    assert person.memberships.get().valid_to == clock.today()


def test_ent_05_staff_flag_stays_while_another_role_needs_it(northwind: Group) -> None:
    person = member(northwind.germany, Role.AUDITOR)
    grant(person, northwind.japan, Role.FINANCE_STAFF)
    membership_end(actor=northwind.admin, membership=person.memberships.get(entity=northwind.germany))
    person.refresh_from_db()
    assert person.is_staff


@pytest.mark.parametrize("role", [role for role in Role.values if role != Role.ADMINISTRATOR])
def test_ent_05_only_administrators_give_roles(northwind: Group, role: str) -> None:
    giver, taker = northwind.users[role], user()
    with pytest.raises(Forbidden):
        membership_grant(actor=giver, user=taker, entity=northwind.root, role=Role.AUDITOR)
    assert grantable_roles(giver, northwind.root) == []
    assert not taker.memberships.exists()


def test_ent_05_nobody_gives_a_role_above_their_own(
    northwind: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = {*permissions_of(Role.FINANCE_MANAGER), "entities.manage_membership"}
    monkeypatch.setitem(access._granted, Role.FINANCE_MANAGER, raised)
    access.roles_granting.cache_clear()
    try:
        refused(
            lambda: membership_grant(
                actor=northwind.finance, user=user(), entity=northwind.root, role=Role.ADMINISTRATOR
            ),
            "role_above_own",
            Forbidden,
        )
        membership_grant(actor=northwind.finance, user=user(), entity=northwind.root, role=Role.FINANCE_STAFF)
        assert Role.ADMINISTRATOR not in grantable_roles(northwind.finance, northwind.root)
    finally:
        monkeypatch.undo()
        access.roles_granting.cache_clear()


def test_ent_05_an_administrator_of_a_subsidiary_rules_there_only(northwind: Group) -> None:
    local = member(northwind.germany, Role.ADMINISTRATOR)
    membership_grant(actor=local, user=user(), entity=northwind.division, role=Role.AUDITOR)
    with pytest.raises(Forbidden):
        membership_grant(actor=local, user=local, entity=northwind.root, role=Role.ADMINISTRATOR)


def test_ent_05_the_last_administrator_of_a_root_stays(northwind: Group) -> None:
    own = northwind.admin.memberships.get()
    refused(lambda: membership_end(actor=northwind.admin, membership=own), "last_administrator", Conflict)
    refused(
        lambda: membership_update(actor=northwind.admin, membership=own, valid_to=date(2099, 1, 1)),
        "last_administrator",
    )
    second = member(northwind.root, Role.ADMINISTRATOR)
    assert membership_end(actor=northwind.admin, membership=own) is not None
    refused(
        lambda: membership_end(actor=second, membership=second.memberships.get()),
        "last_administrator",
        Conflict,
    )


def test_ent_05_granting_twice_is_refused_and_an_ended_one_is_taken_up_again(northwind: Group) -> None:
    person = member(northwind.root, Role.AUDITOR)
    refused(lambda: grant(person, northwind.root, Role.AUDITOR), "already_granted", Conflict)
    ended = membership_end(actor=northwind.admin, membership=person.memberships.get(), reason="Left")
    again = grant(person, northwind.root, Role.AUDITOR)
    assert ended is not None
    assert again.pk == ended.pk
    assert again.valid_to is None
    assert person.memberships.count() == 1


def test_ent_05_a_membership_that_never_held_is_deleted(northwind: Group) -> None:
    person = user()
    future = grant(person, northwind.root, Role.AUDITOR, valid_from=clock.today() + timedelta(30))
    assert membership_end(actor=northwind.admin, membership=future) is None
    assert not person.memberships.exists()


def test_ent_05_service_accounts_and_people_keep_apart(northwind: Group) -> None:
    robot = user(is_service_account=True)
    refused(lambda: grant(robot, northwind.root, Role.ADMINISTRATOR), "role_of_people", Invalid)
    refused(lambda: grant(user(), northwind.root, Role.SERVICE_ACCOUNT), "role_of_service_accounts", Invalid)
    grant(robot, northwind.root, Role.SERVICE_ACCOUNT)
    robot.refresh_from_db()
    assert not robot.is_staff


def test_ent_05_department_must_be_of_the_entity_and_dates_ordered(northwind: Group) -> None:
    refused(
        lambda: grant(user(), northwind.germany, Role.APPROVER, department=northwind.it),
        "department_of_other_entity",
    )
    refused(
        lambda: grant(
            user(), northwind.root, Role.AUDITOR, valid_from=date(2024, 2, 1), valid_to=date(2024, 2, 1)
        ),
        "dates_not_ordered",
    )
    refused(lambda: grant(system_actor(), northwind.root, Role.AUDITOR), "user_inactive")


def test_ent_05_auditor_reads_all_and_writes_nothing() -> None:
    assert all(".view_" in name for name in permissions_of(Role.AUDITOR))
