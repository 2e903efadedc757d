"""Incompatible duties: at the grant of a role, at the act, and the exceptions that end by date (APR-15)."""

import datetime
from typing import Any

import pytest
import time_machine

from approvals.models import ActionKind, DutyException, IncompatibleDuties
from approvals.services.duties import (
    apart_from_approving,
    duty_exception_create,
    duty_exception_end,
    held_back,
    holders_of_both,
    incompatible_duties_create,
    incompatible_duties_update,
    require_separate_duties,
    roles_with_both,
)
from approvals.services.trail import record
from approvals.services.votes import request_approve
from core import clock
from core.errors import BillingError, Conflict, Forbidden, Invalid
from core.models import User
from entities.models import Entity, Membership, Role
from entities.services import membership_grant, membership_update
from tests.approvals.builders import House, people
from tests.entities import factories

DECIDE = "approvals.decide_approvalrequest"
ACCOUNT = "approvals.maintain_payee"
REVERSE = "entities.reverse_allocationposting"
CREDITS = "core.add_exchangerate"


@pytest.fixture
def head(home: House) -> User:
    """An administrator of every group, who keeps the matrix."""
    found = factories.member(home.place.entity, Role.ADMINISTRATOR)
    for root in Entity.objects.filter(parent__isnull=True).exclude(pk=home.place.entity.pk):
        factories.grant(found, root, Role.ADMINISTRATOR)
    return found


def apart(head: User, first: str = DECIDE, second: str = CREDITS, **fields: Any) -> IncompatibleDuties:
    """Two rights that two roles bring: approvers decide, service staff keep rates."""
    return incompatible_duties_create(
        actor=head, name="Decide / keep rates", first_permission=first, second_permission=second, **fields
    )


def refused(error: type[BillingError], code: str) -> Any:
    return pytest.raises(error, check=lambda raised: raised.code == code)


class TestMatrix:
    def test_apr_15_the_first_rows_are_there_from_the_start(self, home: House) -> None:
        rows = {frozenset(row.pair): row.at_grant for row in IncompatibleDuties.objects.all()}
        assert rows == {
            frozenset({ACCOUNT, DECIDE}): False,
            frozenset({"approvals.add_approvalrequest", DECIDE}): False,
        }

    def test_apr_15_only_administrators_keep_it(self, home: House, head: User) -> None:
        with refused(Forbidden, "permission_denied"):
            apart(home.place.finance)
        with refused(Forbidden, "holds_everywhere"):
            apart(factories.member(home.place.entity, Role.ADMINISTRATOR))
        assert apart(head).pk is not None

    def test_apr_15_refuses_what_says_nothing(self, head: User) -> None:
        with refused(Invalid, "same_duty"):
            apart(head, second=DECIDE)
        with refused(Invalid, "unknown_permission"):
            apart(head, second="approvals.fly")
        with refused(Invalid, "never_tested"):
            apart(head, at_grant=False, at_action=False)
        apart(head)
        with refused(Conflict, "duties_exist"):
            apart(head, first=CREDITS, second=DECIDE)
        assert IncompatibleDuties.objects.count() == 3

    def test_apr_15_says_which_roles_and_people_hold_both(self, home: House, head: User) -> None:
        duties = apart(head)
        assert roles_with_both(duties) == ["Administrator", "Finance manager", "Finance staff"]
        both = {user.pk for user in holders_of_both(duties, head)}
        assert {home.place.finance.pk, home.place.colleague.pk, home.place.staff.pk, head.pk} <= both
        assert not both & {home.anna.pk, home.asker.pk}


class TestGrant:
    """Approver plus auditor would join two rights; the pair is chosen so that neither role has both."""

    @pytest.fixture
    def duties(self, head: User) -> IncompatibleDuties:
        return apart(head, first=DECIDE, second="approvals.view_incompatibleduties", at_action=False)

    def grant(self, home: House, head: User, user: User, role: str) -> Membership:
        return membership_grant(actor=head, user=user, entity=home.place.entity, role=role)

    def test_apr_15_a_role_that_joins_two_duties_is_refused(
        self, home: House, head: User, duties: IncompatibleDuties
    ) -> None:
        with refused(Conflict, "incompatible_duties") as raised:
            self.grant(home, head, home.anna, Role.AUDITOR)
        assert "Auditor and Approver" in str(raised.value.message)
        assert not Membership.objects.filter(user=home.anna, role=Role.AUDITOR).exists()

    def test_apr_15_elsewhere_or_out_of_force_it_is_given(
        self, home: House, head: User, duties: IncompatibleDuties
    ) -> None:
        other = Entity.objects.exclude(pk=home.place.entity.pk).get()
        assert membership_grant(actor=head, user=home.anna, entity=other, role=Role.AUDITOR).pk
        incompatible_duties_update(actor=head, duties_id=duties.pk, changes={"is_active": False})
        assert self.grant(home, head, home.anna, Role.AUDITOR).pk

    def test_apr_15_an_exception_allows_it_until_its_end(
        self, home: House, head: User, duties: IncompatibleDuties
    ) -> None:
        today = clock.today()
        duty_exception_create(
            actor=head, duties=duties, user=home.anna, owner=home.chief, reason="Small team",
            valid_to=today + datetime.timedelta(days=5),
        )  # fmt: skip
        given = self.grant(home, head, home.anna, Role.AUDITOR)
        membership_update(actor=head, membership=given, valid_to=today + datetime.timedelta(days=3))
        with time_machine.travel("2026-06-17T12:00:00Z", tick=False):
            membership_update(actor=head, membership=given, valid_to=datetime.date(2026, 7, 1))
        with (
            time_machine.travel("2026-06-20T12:00:00Z", tick=False),
            refused(Conflict, "incompatible_duties"),
        ):
            membership_update(actor=head, membership=given, valid_to=datetime.date(2026, 8, 1))
        given.refresh_from_db()
        assert given.valid_to == datetime.date(2026, 7, 1)

    def test_apr_15_a_membership_that_has_ended_counts_no_more(
        self, home: House, head: User, duties: IncompatibleDuties
    ) -> None:
        Membership.objects.filter(user=home.anna).update(valid_to=clock.today())
        assert self.grant(home, head, home.anna, Role.AUDITOR).pk


class TestAction:
    def test_apr_15_who_entered_the_bank_details_does_not_approve(self, home: House) -> None:
        home.rule(people(home.anna, home.ben))
        request = home.ask("50.00", supplier_account="DE89370400440532013000")
        assert apart_from_approving(request) == set()
        record(
            request, ActionKind.EDITED, actor=home.anna,
            details={"changes": {"supplier_account": ["", "…3000"]}},
        )  # fmt: skip
        assert apart_from_approving(request) == {home.anna.pk}
        with refused(Forbidden, "separation_of_duties"):
            request_approve(actor=home.anna, request_id=request.pk)
        assert home.approve(request, home.ben).status == "approved"

    def test_apr_15_with_an_exception_they_do(self, home: House, head: User) -> None:
        home.rule(people(home.anna))
        request = home.ask("50.00", supplier_account="DE89370400440532013000")
        record(
            request, ActionKind.EDITED, actor=home.anna,
            details={"changes": {"supplier_account": ["", "…3000"]}},
        )  # fmt: skip
        exception = duty_exception_create(
            actor=head, duties=IncompatibleDuties.objects.get(first_permission=ACCOUNT), user=home.anna,
            owner=home.chief, reason="Small team", valid_to=clock.today() + datetime.timedelta(days=1),
        )  # fmt: skip
        assert apart_from_approving(request) == set()
        with time_machine.travel("2026-06-16T00:00:00Z", tick=False):
            assert DutyException.objects.get(pk=exception.pk).valid_to == clock.today()
            assert apart_from_approving(request) == {home.anna.pk}
        assert home.approve(request, home.anna).status == "approved"

    def test_apr_15_no_exception_lets_somebody_approve_their_own(self, home: House, head: User) -> None:
        home.rule(people(home.anna))
        request = home.ask("50.00", actor=home.anna)
        for duties in IncompatibleDuties.objects.all():
            duty_exception_create(
                actor=head, duties=duties, user=home.anna, owner=home.chief, reason="Small team",
                valid_to=clock.today() + datetime.timedelta(days=9),
            )  # fmt: skip
        with pytest.raises(Forbidden):
            request_approve(actor=home.anna, request_id=request.pk)

    def test_apr_15_any_document_asks_the_same_matrix(self, home: House, head: User) -> None:
        """Approve / release payment, for the app that releases payments."""
        duties = apart(head, first=DECIDE, second=REVERSE)
        exercised = {DECIDE: {home.anna.pk}}
        assert held_back(REVERSE, exercised) == {home.anna.pk: duties}
        with refused(Forbidden, "incompatible_duties"):
            require_separate_duties(actor=home.anna, permission=REVERSE, exercised=exercised)
        require_separate_duties(actor=home.ben, permission=REVERSE, exercised=exercised)


class TestExceptions:
    def test_apr_15_an_exception_has_an_owner_an_end_and_a_reason(self, home: House, head: User) -> None:
        duties, later = apart(head), clock.today() + datetime.timedelta(days=9)
        values: dict[str, Any] = {
            "actor": head,
            "duties": duties,
            "user": home.anna,
            "owner": home.chief,
            "reason": "Small team",
        }
        with refused(Invalid, "owner_is_user"):
            duty_exception_create(**{**values, "owner": home.anna}, valid_to=later)
        with refused(Invalid, "required"):
            duty_exception_create(**{**values, "reason": " "}, valid_to=later)
        with refused(Invalid, "dates_not_ordered"):
            duty_exception_create(**values, valid_to=clock.today())
        with refused(Forbidden, "own_exception"):
            duty_exception_create(**{**values, "user": head}, valid_to=later)
        with refused(Forbidden, "permission_denied"):
            duty_exception_create(**{**values, "actor": home.place.finance}, valid_to=later)
        duty_exception_create(**values, valid_to=later)
        with refused(Conflict, "exception_exists"):
            duty_exception_create(**values, valid_to=later)
        assert DutyException.objects.count() == 1

    def test_apr_15_it_is_ended_before_its_day(self, home: House, head: User) -> None:
        values: dict[str, Any] = {
            "actor": head,
            "duties": apart(head),
            "owner": home.chief,
            "reason": "Small team",
        }
        valid_to = clock.today() + datetime.timedelta(days=9)
        first = duty_exception_create(**values, user=home.anna, valid_to=valid_to)
        assert duty_exception_end(actor=head, exception_id=first.pk) is None
        second = duty_exception_create(**values, user=home.ben, valid_to=valid_to)
        with time_machine.travel("2026-06-18T12:00:00Z", tick=False):
            ended = duty_exception_end(actor=head, exception_id=second.pk)
            assert ended is not None
            assert ended.valid_to == datetime.date(2026, 6, 18)
            with refused(Conflict, "exception_over"):
                duty_exception_end(actor=head, exception_id=second.pk)
