"""Which rule decides, and how rules are kept (APR-01 to APR-05)."""

import datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction

from approvals.models import ApprovalRequest, ApprovalRule, RequestStatus
from approvals.services.requests import request_preview, request_recalculate, request_submit
from approvals.services.rules import (
    LevelTerms,
    approval_rule_create,
    approval_rule_retire,
    approval_rule_update,
)
from core.models import OutboxEvent
from entities.models import Role
from tests.approvals.builders import House, people, refused, trail, waiting_on
from tests.budgets.builders import rate
from tests.entities import factories

D = Decimal


def rule_names(request: ApprovalRequest) -> list[str]:
    return [row["name"] for row in request.route]


def test_apr_01_the_highest_priority_decides_and_also_rules_add_their_levels(home: House) -> None:
    home.rule(people(home.anna), name="Low", priority=1)
    home.rule(people(home.ben), name="High", priority=9)
    home.rule(people(home.cleo), name="Security looks too", priority=5, also=True)
    request = home.ask()
    assert rule_names(request) == ["High", "Security looks too"]
    assert waiting_on(request) == {home.ben}
    assert waiting_on(home.approve(request, home.ben)) == {home.cleo}
    assert home.approve(request, home.cleo).status == RequestStatus.APPROVED


def test_apr_01_a_rule_covers_what_is_below_its_entity_and_department_and_the_nearest_decides(
    home: House,
) -> None:
    entity, department = home.place.entity, home.place.department
    team = factories.department(entity, "TEAM", parent=department)
    other = factories.department(entity, "OTHER")
    division = factories.entity("Contoso North", parent=entity)
    asker = factories.member(entity, Role.FINANCE_STAFF)
    home.rule(people(home.anna), name="Entity")
    assert rule_names(home.ask(entity_id=division.pk, actor=asker)) == ["Entity"]
    home.rule(people(home.ben), name="Department", department=department)
    home.rule(people(home.cleo), name="Division", entity=division)
    assert rule_names(home.ask(department_id=team.pk)) == ["Department"]
    assert rule_names(home.ask(department_id=other.pk, actor=asker)) == ["Entity"]
    assert rule_names(home.ask(entity_id=division.pk, actor=asker)) == ["Division"]
    home.rule(people(home.dan), name="Team", department=team)
    assert rule_names(home.ask(department_id=team.pk)) == ["Team"]


def test_apr_01_type_and_dates_narrow_a_rule(home: House) -> None:
    home.rule(name="Licences", request_type="license_change", priority=5)
    home.rule(name="Ended", valid_to=datetime.date(2026, 6, 15), priority=4)
    home.rule(name="Not yet", valid_from=datetime.date(2026, 6, 16), priority=3)
    home.rule(name="Last day", valid_to=datetime.date(2026, 6, 16), priority=2)
    assert rule_names(home.ask()) == ["Last day"]
    assert rule_names(home.ask(request_type="license_change")) == ["Licences"]


def banded(home: House) -> tuple[ApprovalRule, ApprovalRule, ApprovalRule]:
    """Three bands that touch: below 1,000, below 5,000, and above."""
    return (
        home.rule(people(home.anna), name="Small", amount_to=D("1000.00")),
        home.rule(people(home.ben), name="Middle", amount_from=D("1000.00"), amount_to=D("5000.00")),
        home.rule(people(home.cleo), name="Large", amount_from=D("5000.00")),
    )


@pytest.mark.parametrize(
    ("amount", "name"),
    [
        ("0.01", "Small"),
        ("999.99", "Small"),
        ("1000.00", "Middle"),
        ("4999.99", "Middle"),
        ("5000.00", "Large"),
    ],
)
def test_apr_02_a_band_holds_its_lower_end_and_not_its_upper(home: House, amount: str, name: str) -> None:
    banded(home)
    assert rule_names(home.ask(amount)) == [name]


def test_apr_02_the_amount_is_converted_at_the_rate_of_the_day_it_is_submitted(home: House) -> None:
    banded(home)
    rate("EUR", "USD", "1.25")
    assert rule_names(below := home.ask("799.99", currency="EUR")) == ["Small"]
    assert below.base_amount == D("999.99")
    assert rule_names(request := home.ask("800.00", currency="EUR")) == ["Middle"]
    assert (request.base_amount, request.rate, request.rate_date) == (
        D(1000),
        D("1.25"),
        datetime.date(2026, 6, 15),
    )
    rate("EUR", "USD", "1.10", datetime.date(2026, 6, 16))
    with time_machine.travel("2026-06-16T12:00:00Z", tick=False):
        assert rule_names(home.ask("800.00", currency="EUR")) == ["Small"]
    with refused("no_exchange_rate"):
        home.ask("1.00", currency="GBP")


def test_apr_02_overlaps_and_gaps_are_refused_at_save(home: House) -> None:
    small, middle, _ = banded(home)
    with refused("bands_overlap") as caught:
        home.rule(name="Twice", amount_from=D("999.99"), amount_to=D("1000.00"))
    assert caught.value.extra["rule_id"] == small.pk
    with refused("bands_gap") as gap:
        approval_rule_retire(actor=home.place.finance, rule_id=middle.pk, reason="Fewer")
    assert (gap.value.extra["gap_from"], gap.value.extra["gap_to"]) == ("1000.00", "5000.00")
    home.rule(name="Elsewhere", amount_to=D("10.00"), priority=7)
    with refused("bands_gap"):
        home.rule(name="Apart", amount_from=D("10.01"), amount_to=D("20.00"), priority=7)
    for changes in ({"priority": 8}, {"valid_to": datetime.date(2026, 9, 1)}, {"also": True}):
        with refused("bands_gap"):
            approval_rule_update(actor=home.place.finance, rule_id=middle.pk, changes=changes)


def test_apr_02_the_database_refuses_an_overlap_that_no_service_saw(home: House) -> None:
    banded(home)
    fields: dict[str, Any] = {"name": "Sneaked in", "currency": "USD", "entity": home.place.entity}
    with pytest.raises(IntegrityError, match="approval_rule_no_overlap"), transaction.atomic():
        ApprovalRule.objects.create(**fields, amount_from=D("4999.99"), amount_to=D("5000.00"))
    ApprovalRule.objects.create(**fields, priority=1)


def bands(home: House) -> list[tuple[str, Decimal, Decimal | None]]:
    return list(ApprovalRule.objects.order_by("amount_from").values_list("name", "amount_from", "amount_to"))


@pytest.mark.parametrize(
    ("lower", "upper"), [("800", "6000"), ("1500", "4000"), ("6000", "7000"), ("100", "900")]
)
def test_apr_02_neighbours_move_with_a_changed_band(home: House, lower: str, upper: str) -> None:
    _, middle, _ = banded(home)
    approval_rule_update(
        actor=home.place.finance,
        rule_id=middle.pk,
        changes={"amount_from": D(lower), "amount_to": D(upper)},
    )
    assert bands(home) == [
        ("Small", D(0), D(lower)),
        ("Middle", D(lower), D(upper)),
        ("Large", D(upper), None),
    ]
    assert set(ApprovalRule.objects.values_list("is_active", flat=True)) == {True}


def test_apr_02_a_band_that_would_swallow_its_neighbour_is_refused(home: House) -> None:
    small, middle, _ = banded(home)
    finance = home.place.finance
    with refused("bands_overlap"):
        approval_rule_update(actor=finance, rule_id=middle.pk, changes={"amount_from": D(0)})
    with refused("bands_overlap"):
        approval_rule_update(actor=finance, rule_id=small.pk, changes={"amount_to": D(5000)})
    with refused("bands_overlap"):
        approval_rule_update(actor=finance, rule_id=middle.pk, changes={"amount_to": None})
    with refused("band_empty"):
        approval_rule_update(actor=finance, rule_id=middle.pk, changes={"amount_to": D(1000)})


def test_apr_02_a_rule_that_could_decide_nothing_is_refused(home: House) -> None:
    named = {"approver_kind": "users"}
    for code, levels in [
        ("levels_required", []),
        ("people_required", [LevelTerms(**named)]),
        ("too_few_people", [people(home.anna, required=2)]),
        ("approvals_required", [people(home.anna, required=0)]),
        ("role_required", [LevelTerms()]),
        ("escalation_user_required", [people(home.anna, escalation_target="user")]),
    ]:
        with refused(code):
            approval_rule_create(
                actor=home.place.finance, levels=levels, name="X", currency="USD", entity=home.place.entity
            )
    with refused("not_base_currency"):
        home.rule(currency="EUR")
    with refused("unknown_request_type"):
        home.rule(request_type="holiday")


def test_ent_04_a_rule_without_an_entity_needs_the_right_in_every_group(home: House) -> None:
    with refused("holds_everywhere"):
        home.rule(entity=None)
    fabrikam = factories.department(factories.entity("Tailspin"), "T")
    with refused("permission_denied"):
        home.rule(entity=None, department=fabrikam)
    root = factories.user("root", is_superuser=True)
    everywhere = approval_rule_create(actor=root, name="All", currency="USD", levels=[people(home.anna)])
    assert rule_names(home.ask()) == ["All"]
    with refused("holds_everywhere"):
        approval_rule_update(actor=home.place.finance, rule_id=everywhere.pk, changes={"priority": 3})


def test_apr_03_without_a_rule_it_is_blocked_until_one_is_added_and_it_is_recalculated(home: House) -> None:
    budget = home.place.budget("1000.00")
    request = home.ask("400.00", budget_id=budget.pk)
    assert request.status == RequestStatus.BLOCKED
    assert request.blocked_reason.startswith("No approver configured")
    assert waiting_on(request) == set()
    told = OutboxEvent.objects.get(topic="approval.blocked").payload["user_ids"]
    assert set(told) == {home.place.finance.pk, home.place.colleague.pk}
    with refused("request_blocked"):
        home.approve(request, home.anna)
    home.rule()
    assert home.again(request).status == RequestStatus.BLOCKED
    request = request_recalculate(actor=home.place.finance, request_id=request.pk, reason="Rule added")
    assert (request.status, request.round, waiting_on(request)) == (RequestStatus.PENDING, 2, {home.anna})
    assert trail(request) == ["submitted", "blocked", "recalculated"]
    assert home.approve(request, home.anna).status == RequestStatus.APPROVED


def test_apr_03_only_a_rule_that_says_so_approves_by_itself(home: House) -> None:
    home.rule(name="Petty cash", auto_approve=True, amount_to=D("50.00"))
    home.rule(amount_from=D("50.00"))
    budget = home.place.budget("100.00")
    request = home.ask("49.99", budget_id=budget.pk)
    assert request.status == RequestStatus.APPROVED
    assert trail(request) == ["submitted", "auto_approved", "effect_booked"]
    assert request.actions.get(kind="auto_approved").actor.is_system
    assert home.ask("50.00").status == RequestStatus.PENDING
    small = home.place.budget("10.00")
    with refused("insufficient_budget"):
        home.ask("49.99", budget_id=small.pk)


def test_apr_03_a_rule_that_adds_levels_asks_also_where_another_approves_by_itself(home: House) -> None:
    home.rule(name="Petty cash", auto_approve=True)
    home.rule(people(home.cleo), name="Security", also=True)
    assert waiting_on(home.ask()) == {home.cleo}


def test_apr_04_requests_of_one_supplier_are_added_up_to_choose_the_band(home: House) -> None:
    banded(home)
    assert rule_names(home.ask("600.00", supplier="Acme Corp")) == ["Small"]
    second = home.ask("400.00", supplier=" ACME  corp ")
    assert (rule_names(second), second.split_total, second.base_amount) == (["Middle"], D(1000), D(400))
    assert rule_names(home.ask("399.99", supplier="Fabrikam")) == ["Small"]
    team = factories.department(home.place.entity, "TEAM", parent=home.place.department)
    assert rule_names(home.ask("999.99", supplier="Acme Corp", department_id=team.pk)) == ["Small"]
    assert rule_names(home.ask("999.99", supplier="Acme Corp", actor=home.place.manager)) == ["Small"]
    with time_machine.travel("2026-07-15T11:59:59Z", tick=False):
        assert rule_names(home.ask("0.01", supplier="Acme Corp")) == ["Middle"]
    with time_machine.travel("2026-07-15T12:00:00Z", tick=False):
        assert home.ask("0.02", supplier="Acme Corp").split_total == D("0.03")


def test_apr_05_what_was_frozen_stays_whatever_becomes_of_the_rule(home: House) -> None:
    rule = home.rule(people(home.anna), people(home.ben))
    request = home.ask()
    frozen = (request.route, request.content_hash)
    approval_rule_update(
        actor=home.place.finance, rule_id=rule.pk, changes={"name": "New"}, levels=[people(home.dan)]
    )
    request = home.again(request)
    assert (request.route, request.content_hash) == frozen
    assert request.route[0]["version"] == 1
    request = home.approve(request, home.anna)
    assert waiting_on(request) == {home.ben}
    assert waiting_on(home.ask()) == {home.dan}
    request = request_recalculate(actor=home.place.finance, request_id=request.pk, reason="New rule")
    assert (waiting_on(request), request.round) == ({home.dan}, 2)
    assert request.actions.get(kind="recalculated").details["route_before"] == frozen[0]


def test_apr_05_the_preview_says_what_submission_does_and_writes_nothing(home: House) -> None:
    banded(home)
    home.ask("600.00", supplier="Acme")
    asked = {
        "request_type": "purchase",
        "title": "More",
        "amount": "500.00",
        "supplier": "Acme",
        "department_id": home.place.department.pk,
    }
    before = ApprovalRequest.objects.count(), OutboxEvent.objects.count()
    previewed, route = request_preview(actor=home.asker, **asked)
    assert (ApprovalRequest.objects.count(), OutboxEvent.objects.count()) == before
    assert [[task.user_id for task in step.tasks] for step in route.steps] == [[home.ben.pk]]
    request = request_submit(actor=home.asker, **asked)
    assert route.snapshot == request.route
    assert previewed.split_total == request.split_total == D(1100)
    assert [step.name for step in route.steps] == [step.name for step in request.steps.all()]
