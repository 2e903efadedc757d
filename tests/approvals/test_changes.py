"""Requests that change, come back, end or are overridden (APR-10 to APR-12, APR-20, APR-21, APR-23, APR-24, APR-26)."""

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

import pytest
import time_machine
from django.db import DatabaseError, transaction

from approvals import registry
from approvals.models import ApprovalAction, ApprovalRequest, OnApproval, RequestStatus
from approvals.registry import ApprovalType
from approvals.services import sweeps
from approvals.services.bulk import requests_approve_in_bulk
from approvals.services.delegations import delegation_create
from approvals.services.requests import (
    comment_add,
    draft_submit,
    emergency_review,
    request_approve_in_emergency,
    request_content_changed,
    request_expire,
    request_recalculate,
    request_submit,
    request_update,
    request_withdraw,
    task_reassign,
)
from approvals.services.votes import (
    request_approve,
    request_send_back,
    task_pass_on,
)
from budgets.models import Budget
from budgets.services.commitments import commitment_consume
from core import clock
from core.access import system_actor
from core.errors import Conflict
from core.history import Channel, acting
from core.models import Notification, OutboxEvent, User
from core.outbox import dispatch_pending
from core.sweeps import Swept
from entities.models import Role
from entities.services import membership_grant
from tests.approvals.builders import House, people, refused, trail, waiting_on
from tests.budgets.builders import figures, money, rate
from tests.entities import factories

D = Decimal


def update(home: House, request: ApprovalRequest, **changes: Any) -> ApprovalRequest:
    return request_update(actor=home.asker, request_id=request.pk, changes=changes)


def send_back(request: ApprovalRequest, voter: User) -> ApprovalRequest:
    return request_send_back(actor=voter, request_id=request.pk, comment="Which model?")


def steps(request: ApprovalRequest) -> list[tuple[int, str]]:
    return list(request.steps.order_by("round", "order").values_list("round", "status"))


# --- Sent back -------------------------------------------------------------------------------------------


def test_apr_10_what_is_sent_back_returns_to_the_level_that_sent_it(home: House) -> None:
    home.rule(people(home.anna), people(home.ben, home.cleo, required=2), people(home.dan))
    budget = home.place.budget("1000.00")
    request = home.approve(home.ask("400.00", budget_id=budget.pk), home.anna, home.cleo)
    with refused("comment_required"):
        request_send_back(actor=home.ben, request_id=request.pk, comment="")
    request = send_back(request, home.ben)
    assert (request.status, waiting_on(request)) == (RequestStatus.CHANGES_REQUESTED, set())
    assert figures(budget) == money("1000", "400", "0", "600")
    with refused("already_decided"):
        home.approve(request, home.ben)
    update(home, request, description="The one with 32 GB", title="Laptops, 32 GB")
    request = draft_submit(actor=home.asker, request_id=request.pk)
    assert (request.status, request.round) == (RequestStatus.PENDING, 2)
    assert waiting_on(request) == {home.ben, home.cleo}
    assert steps(request) == [
        (1, "passed"), (1, "cancelled"), (1, "cancelled"), (2, "passed"), (2, "open"), (2, "waiting"),
    ]  # fmt: skip
    request = home.approve(request, home.ben, home.cleo, home.dan)
    assert request.status == RequestStatus.APPROVED
    assert figures(budget) == money("1000", "0", "400", "600")
    assert trail(request) == [
        "submitted", "approved", "approved", "changes_requested", "edited", "submitted",
        "approved", "approved", "approved", "effect_booked",
    ]  # fmt: skip


def test_apr_10_something_material_sends_it_through_all_levels_again(home: House) -> None:
    home.rule(people(home.anna), people(home.ben))
    budget = home.place.budget("1000.00")
    request = send_back(home.approve(home.ask("400.00", budget_id=budget.pk), home.anna), home.ben)
    update(home, request, amount="350.00")
    assert figures(budget) == money("1000", "400", "0", "600")
    request = draft_submit(actor=home.asker, request_id=request.pk)
    assert (waiting_on(request), request.round, request.base_amount) == ({home.anna}, 2, D(350))
    assert figures(budget) == money("1000", "350", "0", "650")


def test_apr_10_in_parallel_only_what_has_passed_stays_passed(home: House) -> None:
    home.rule(people(home.anna), people(home.ben), people(home.cleo), flow="parallel")
    request = send_back(home.approve(home.ask(), home.cleo), home.ben)
    request = draft_submit(actor=home.asker, request_id=request.pk)
    assert waiting_on(request) == {home.anna, home.ben}
    assert home.approve(request, home.anna, home.ben).status == RequestStatus.APPROVED


def test_apr_10_a_task_that_was_passed_on_is_asked_again_of_who_has_it(home: House) -> None:
    home.rule(people(home.anna))
    request = task_pass_on(actor=home.anna, request_id=home.ask().pk, to_user=home.ben)
    request = draft_submit(actor=home.asker, request_id=send_back(request, home.ben).pk)
    assert waiting_on(request) == {home.ben}
    assert home.approve(request, home.ben).status == RequestStatus.APPROVED


# --- Material changes ------------------------------------------------------------------------------------

MATERIAL: list[dict[str, Any]] = [
    {"amount": "100.01"},
    {"currency": "EUR"},
    {"supplier": "Fabrikam"},
    {"supplier_account": "DE89370400440532013000"},
    {"gl_code": "6815"},
    {"quantity": D(3)},
    {"terms": "Net 10"},
    {"on_approval": "order"},
    {"details": {"seats": 3}},
]


@pytest.mark.parametrize("changes", MATERIAL, ids=[next(iter(each)) for each in MATERIAL])
def test_apr_11_a_material_change_while_pending_voids_the_approvals(
    home: House, changes: dict[str, Any]
) -> None:
    rate("EUR", "USD", "1.25")
    home.rule(people(home.anna), people(home.ben))
    request = home.approve(home.ask(supplier="Acme"), home.anna)
    request = update(home, request, **changes)
    assert (request.status, request.round, waiting_on(request)) == (RequestStatus.PENDING, 2, {home.anna})
    assert trail(request) == ["submitted", "approved", "round_started"]
    assert "DE893704" not in str(request.actions.get(kind="round_started").details)


def test_apr_11_other_fields_and_a_lower_amount_void_nothing(home: House) -> None:
    home.rule(people(home.anna), people(home.ben))
    budget = home.place.budget("1000.00")
    request = home.approve(home.ask("400.00", budget_id=budget.pk), home.anna)
    request = update(home, request, title="Notebooks", description="Same", reference="PO 7")
    request = update(home, request, amount="300.00")
    assert (request.round, waiting_on(request)) == (1, {home.ben})
    assert figures(budget) == money("1000", "300", "0", "700")
    home.approve(request, home.ben)
    assert figures(budget) == money("1000", "0", "300", "700")


def approved_order(home: House, budget: Budget, amount: str) -> ApprovalRequest:
    request = home.ask(amount, budget_id=budget.pk, on_approval=OnApproval.ORDER, supplier="Acme")
    return home.approve(request, home.anna)


def test_apr_11_rises_within_the_tolerance_count_together_from_the_last_approval(home: House) -> None:
    home.rule()
    budget = home.place.budget("100000.00")
    request = approved_order(home, budget, "1000.00")
    request = update(home, request, amount="1030.00")
    request = update(home, request, amount="1050.00")
    assert (request.status, request.round) == (RequestStatus.APPROVED, 1)
    assert figures(budget)[1] == 1050
    request = update(home, request, amount="1020.00")
    request = update(home, request, amount="1050.01")
    assert (request.status, request.round, waiting_on(request)) == (RequestStatus.PENDING, 2, {home.anna})
    assert figures(budget)[1] == D("1050.01")
    request = home.approve(request, home.anna)
    request = update(home, request, amount="1102.51")
    assert (request.status, request.approved_amount) == (RequestStatus.APPROVED, D("1050.01"))
    assert update(home, request, amount="1102.52").status == RequestStatus.PENDING


def test_apr_11_the_tolerance_is_never_more_than_its_amount(home: House) -> None:
    home.rule()
    budget = home.place.budget("100000.00")
    request = approved_order(home, budget, "20000.00")
    request = update(home, request, amount="20500.00")
    assert request.status == RequestStatus.APPROVED
    assert update(home, request, amount="20500.01").status == RequestStatus.PENDING


def test_apr_11_bank_details_void_an_approved_order_and_no_invoice_uses_it_meanwhile(home: House) -> None:
    home.rule()
    budget = home.place.budget("1000.00")
    request = approved_order(home, budget, "400.00")
    consume = {"actor": home.place.finance, "commitment_id": request.commitment_id, "description": "Invoice"}
    commitment_consume(amount="100.00", **consume)
    request = update(home, request, supplier_account="DE89370400440532013000")
    assert request.status == RequestStatus.PENDING
    with refused("commitment_pending"):
        commitment_consume(amount="100.00", **consume)
    home.approve(request, home.anna)
    commitment_consume(amount="100.00", **consume)
    assert figures(budget) == money("1000", "200", "200", "600")


def test_apr_11_what_was_charged_cannot_change_and_a_used_up_order_neither(home: House) -> None:
    home.rule()
    budget = home.place.budget("1000.00")
    charged = home.approve(home.ask("100.00", budget_id=budget.pk), home.anna)
    with refused("already_booked"):
        update(home, charged, amount="90.00")
    assert update(home, charged, title="Notebooks").title == "Notebooks"
    order = approved_order(home, budget, "100.00")
    commitment_consume(
        actor=home.place.finance, commitment_id=order.commitment_id, amount="100.00", description="Invoice"
    )
    with refused("order_closed"):
        update(home, order, amount="110.00")
    with refused("not_the_requester"):
        request_update(actor=home.anna, request_id=order.pk, changes={"title": "Mine"})


def test_apr_11_another_cost_centre_voids_the_approvals_and_moves_the_money(home: House) -> None:
    home.rule(people(home.anna), people(home.ben))
    place = home.place
    other = factories.department(place.entity, "OTHER")
    membership_grant(actor=system_actor(), user=home.asker, entity=place.entity, role=Role.FINANCE_STAFF)
    here, there = place.budget("1000.00"), place.budget("300.00", department=other)
    request = home.approve(home.ask("400.00", budget_id=here.pk), home.anna)
    with refused("other_department"):
        update(home, request, budget_id=there.pk)
    with refused("insufficient_budget"):
        update(home, request, budget_id=there.pk, department_id=other.pk)
    request = update(home, request, budget_id=there.pk, department_id=other.pk, amount="300.00")
    assert (request.department, request.round, waiting_on(request)) == (other, 2, {home.anna})
    assert figures(here) == money("1000", "0", "0", "1000")
    assert figures(there) == money("300", "300", "0", "0")
    home.approve(request, home.anna, home.ben)
    assert figures(there) == money("300", "0", "300", "0")
    with refused("already_booked"):
        update(home, request, budget_id=here.pk, department_id=place.department.pk)


@pytest.mark.parametrize(("basis", "asked"), [("total", "ben"), ("delta", "anna")])
def test_apr_12_a_change_order_is_routed_by_the_total_or_by_what_it_adds(
    home: House, settings: Any, basis: str, asked: str
) -> None:
    settings.APPROVAL_CHANGE_ORDER_BASIS = basis
    home.rule(people(home.anna), amount_to=D("1000.00"))
    home.rule(people(home.ben), amount_from=D("1000.00"))
    request = approved_order(home, home.place.budget("5000.00"), "900.00")
    request = update(home, request, amount="1800.00")
    assert waiting_on(request) == {getattr(home, asked)}


def test_apr_11_a_blocked_request_is_routed_anew_by_any_material_change(home: House) -> None:
    home.rule(amount_to=D("1000.00"))
    request = home.ask("5000.00")
    assert request.status == RequestStatus.BLOCKED
    request = update(home, request, amount="999.99")
    assert (request.status, waiting_on(request)) == (RequestStatus.PENDING, {home.anna})


def test_bud_02_a_rise_that_no_longer_fits_is_refused_or_asked_beyond_as_the_rule_says(home: House) -> None:
    budget = home.place.budget("100.00")
    home.rule(may_exceed_budget=True, priority=1, amount_from=D("100.00"))
    home.rule(amount_to=D("100.00"), priority=2)
    request = home.ask("80.00", budget_id=budget.pk)
    request = update(home, request, amount="150.00")
    assert (request.commitment, figures(budget)[1]) == (None, 0)
    request = update(home, request, amount="90.00")
    assert (home.again(request).status, figures(budget)[1]) == (RequestStatus.PENDING, 90)
    other = home.ask("10.00", budget_id=budget.pk)
    with refused("insufficient_budget"):
        update(home, other, amount="10.01")


# --- Subjects of apps above ------------------------------------------------------------------------------


class DeedApproval(ApprovalType):
    """A type of an app above, with a subject that its test can change."""

    code, label = "deed", "Deed"
    subject: ClassVar[dict[str, Any]] = {}
    log: ClassVar[list[str]] = []
    broken: ClassVar[bool] = False

    def content(self, request: ApprovalRequest) -> dict[str, Any]:
        return dict(self.subject)

    def excluded_people(self, request: ApprovalRequest) -> set[int]:
        return set(self.subject.get("owners", []))

    def on_approved(self, request: ApprovalRequest, *, actor: User) -> None:
        self.log.append("approved")
        if type(self).broken:
            raise Conflict("deed_refused", "The deed is not in order.")

    def on_closed(self, request: ApprovalRequest, *, actor: User) -> None:
        self.log.append(request.status)


@pytest.fixture
def deed() -> Iterator[type[DeedApproval]]:
    DeedApproval.subject, DeedApproval.log, DeedApproval.broken = {"text": "a"}, [], False
    registry.register(DeedApproval())
    yield DeedApproval
    registry._types.pop("deed")


def ask_for_deed(home: House, **fields: Any) -> ApprovalRequest:
    return request_submit(
        actor=home.asker,
        request_type="deed",
        title="Deed",
        department_id=home.place.department.pk,
        subject_id=7,
        **fields,
    )


def changed(actor: User, **fields: Any) -> ApprovalRequest | None:
    return request_content_changed(actor=actor, request_type="deed", subject_id=7, **fields)


def test_apr_11_a_changed_subject_starts_a_new_round_and_its_editor_may_not_decide(
    home: House, deed: type[DeedApproval]
) -> None:
    home.rule(people(home.anna, home.ben, required=2))
    assert changed(home.anna) is None
    request = home.approve(ask_for_deed(home), home.ben)
    assert changed(home.anna) == request
    assert home.again(request).round == 1
    deed.subject = {"text": "b"}
    request = changed(home.anna, amount="500.00")
    assert (request.round, request.amount, request.status) == (2, D(500), RequestStatus.PENDING)
    assert waiting_on(request) == {home.ben, home.chief}
    with refused("separation_of_duties"):
        home.approve(request, home.anna)
    deed.subject = {"text": "b", "owners": [home.ben.pk]}
    with refused("separation_of_duties"):
        home.approve(request, home.ben)


def test_apr_23_an_effect_that_fails_leaves_all_as_it_was_and_can_be_tried_again(
    home: House, deed: type[DeedApproval]
) -> None:
    home.rule()
    request = ask_for_deed(home)
    deed.broken = True
    request = home.approve(request, home.anna)
    assert (request.status, request.effect_error) == (RequestStatus.PENDING, "The deed is not in order.")
    assert (waiting_on(request), trail(request)) == ({home.anna}, ["submitted", "effect_failed"])
    assert not OutboxEvent.objects.filter(topic="approval.decided").exists()
    deed.broken = False
    request = home.approve(request, home.anna)
    assert (request.status, request.effect_error) == (RequestStatus.APPROVED, "")
    assert deed.log == ["approved", "approved"]
    assert OutboxEvent.objects.filter(topic="approval.decided").count() == 1


# --- Ending ----------------------------------------------------------------------------------------------


def test_apr_20_at_its_expiry_a_request_ends_and_its_money_is_free(
    home: House, deed: type[DeedApproval]
) -> None:
    home.rule()
    budget = home.place.budget("1000.00")
    request = home.ask("400.00", budget_id=budget.pk)
    expired = ask_for_deed(home)
    moment = datetime.datetime(2026, 7, 15, 12, tzinfo=datetime.UTC)
    assert request.expires_at == moment
    assert not request_expire(request_id=request.pk)
    with time_machine.travel(moment, tick=False):
        for act in (
            lambda: home.approve(request, home.anna),
            lambda: update(home, request, amount="500.00"),
            lambda: request_recalculate(actor=home.place.finance, request_id=request.pk, reason="Late"),
            lambda: request_approve_in_emergency(
                actor=home.place.finance, request_id=request.pk, reason="Late"
            ),
        ):
            with refused("request_expired"):
                act()
        assert request_expire(request_id=request.pk)
        assert request_expire(request_id=expired.pk)
        assert not request_expire(request_id=request.pk)
        assert figures(budget) == money("1000", "0", "0", "1000")
        assert home.again(request).status == RequestStatus.EXPIRED
        assert (trail(request), waiting_on(request)) == (["submitted", "expired"], set())
        assert deed.log == ["expired"]
        with refused("already_decided"):
            home.approve(request, home.anna)


def test_apr_20_the_requester_withdraws_until_the_final_decision(home: House) -> None:
    home.rule(people(home.anna), people(home.ben))
    request = home.approve(home.ask(), home.anna)
    with refused("not_the_requester"):
        request_withdraw(actor=home.ben, request_id=request.pk)
    request = request_withdraw(actor=home.asker, request_id=request.pk, comment="Not needed")
    assert (request.status, waiting_on(request)) == (RequestStatus.WITHDRAWN, set())
    with refused("already_decided"):
        request_withdraw(actor=home.asker, request_id=request.pk)
    sent_back = send_back(home.ask(), home.anna)
    assert request_withdraw(actor=home.asker, request_id=sent_back.pk).status == RequestStatus.WITHDRAWN
    approved = home.approve(home.ask(), home.anna, home.ben)
    with refused("already_decided"):
        request_withdraw(actor=home.asker, request_id=approved.pk)


# --- Overriding ------------------------------------------------------------------------------------------


def test_apr_21_an_override_gives_an_open_task_to_another(home: House) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    finance, task = home.place.finance, request.tasks.get()
    with refused("reason_required"):
        task_reassign(actor=finance, task_id=task.pk, to_user=home.ben, reason=" ")
    with refused("permission_denied"):
        task_reassign(actor=home.cleo, task_id=task.pk, to_user=home.ben, reason="Ill")
    with refused("approver_may_not_decide"):
        task_reassign(actor=finance, task_id=task.pk, to_user=home.asker, reason="Ill")
    task_reassign(actor=finance, task_id=task.pk, to_user=home.ben, reason="Ill")
    logged = request.actions.get(kind="reassigned")
    assert (waiting_on(request), logged.actor, logged.on_behalf_of) == ({home.ben}, finance, home.anna)
    own = home.ask(actor=finance)
    with refused("separation_of_duties"):
        task_reassign(actor=finance, task_id=own.tasks.get().pk, to_user=home.ben, reason="Faster")


def test_apr_24_in_bulk_each_item_has_its_own_result(home: House, settings: Any) -> None:
    home.rule(people(home.anna), amount_to=D("500.00"))
    home.rule(people(home.anna), people(home.ben), amount_from=D("500.00"))
    settings.APPROVAL_BULK_AMOUNT = 1000
    budget = home.place.budget("10000.00")
    simple, half, stale, large = [
        home.ask(amount, budget_id=budget.pk) for amount in ("100.00", "600.00", "200.00", "1000.01")
    ]
    others = home.ask(payee=home.anna)
    items: list[tuple[int, str | None]] = [
        (each.pk, each.content_hash) for each in (simple, half, large, others)
    ]
    items += [(stale.pk, "0" * 64), (999_999, None), (simple.pk, None)]
    results = requests_approve_in_bulk(actor=home.anna, items=items)
    assert [(each.request_id, each.done, each.code) for each in results] == [
        (simple.pk, True, "approved"),
        (half.pk, True, "voted"),
        (large.pk, False, "above_bulk_cap"),
        (others.pk, False, "separation_of_duties"),
        (stale.pk, False, "content_changed"),
        (999_999, False, "not_found"),
        (simple.pk, False, "already_decided"),
    ]
    assert figures(budget) == money("10000", "1800.01", "100", "8099.99")
    settings.APPROVAL_BULK_ITEMS = 6
    with refused("too_many_items"):
        requests_approve_in_bulk(actor=home.anna, items=items)


def test_apr_26_the_trail_is_never_rewritten(home: House) -> None:
    home.rule()
    request = home.approve(home.ask(), home.anna)
    for rewrite in (
        lambda: request.actions.update(comment="Never said"),
        lambda: ApprovalAction.objects.filter(request=request).delete(),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            rewrite()
    assert trail(request) == ["submitted", "approved", "effect_booked"]


def test_apr_26_every_event_says_who_when_by_which_door_on_what_and_by_which_rule(home: House) -> None:
    rule = home.rule()
    request = home.ask()
    with acting(channel=Channel.API, request_id="req-1"):
        request_approve(actor=home.anna, request_id=request.pk, comment="Fine")
    vote = request.actions.get(kind="approved")
    assert (vote.actor, vote.on_behalf_of, vote.comment) == (home.anna, None, "Fine")
    assert (vote.channel, vote.request_ref) == ("api", "req-1")
    assert vote.created_at == datetime.datetime(2026, 6, 15, 12, tzinfo=datetime.UTC)
    assert (vote.content_hash, vote.rule_id, vote.rule_version) == (request.content_hash, rule.pk, 1)


def test_apr_26_an_emergency_needs_a_reason_and_the_review_of_a_second_person(home: House) -> None:
    home.rule()
    budget = home.place.budget("1000.00")
    request = home.ask("400.00", budget_id=budget.pk)
    finance, colleague = home.place.finance, home.place.colleague
    with refused("reason_required"):
        request_approve_in_emergency(actor=finance, request_id=request.pk, reason="")
    with refused("permission_denied"):
        request_approve_in_emergency(actor=home.anna, request_id=request.pk, reason="Flood")
    request = request_approve_in_emergency(actor=finance, request_id=request.pk, reason="Flood")
    assert (request.status, waiting_on(request)) == (RequestStatus.APPROVED, set())
    assert request.emergency_review_due == datetime.datetime(2026, 6, 16, 12, tzinfo=datetime.UTC)
    assert figures(budget) == money("1000", "0", "400", "600")
    with refused("second_person_needed"):
        emergency_review(actor=finance, request_id=request.pk, comment="Fine")
    for moment, reminded in (("16T11:59", 0), ("16T12:00", 1), ("16T12:05", 0), ("17T12:00", 1)):
        with time_machine.travel(f"2026-06-{moment}:00Z", tick=False):
            assert sweeps.remind_of_reviews() == Swept(reminded, 0)
            while dispatch_pending().delivered:
                pass
    told = Notification.objects.filter(kind="approval.review_overdue").values_list("user", flat=True)
    assert list(told) == [colleague.pk, colleague.pk]
    request = emergency_review(actor=colleague, request_id=request.pk, comment="It was one")
    with time_machine.travel("2026-06-19T12:00:00Z", tick=False):
        assert sweeps.remind_of_reviews() == Swept(0, 0)
    assert request.emergency_reviewed_by == colleague
    with refused("nothing_to_review"):
        emergency_review(actor=colleague, request_id=request.pk, comment="Again")
    assert trail(request) == [
        "submitted",
        "emergency_approved",
        "effect_booked",
        "reminded",
        "reminded",
        "emergency_reviewed",
    ]


# --- Who sees and does what ------------------------------------------------------------------------------


def test_ent_04_outside_is_not_found_and_inside_without_the_right_is_forbidden(home: House) -> None:
    home.rule(people(home.anna), people(home.ben))
    request = home.ask()
    elsewhere = factories.department(home.place.entity, "ELSE")
    stranger = factories.member(home.place.entity, Role.DEPARTMENT_MANAGER, department=elsewhere)
    auditor = factories.member(home.place.entity, Role.AUDITOR)
    for person in (home.place.outsider, stranger):
        with refused("not_found"):
            home.approve(request, person)
        with refused("not_found"):
            comment_add(actor=person, request_id=request.pk, body="Hello")
    for person in (auditor, home.place.staff, home.cleo):
        with refused("not_an_approver"):
            home.approve(request, person)
    with refused("permission_denied"):
        comment_add(actor=auditor, request_id=request.pk, body="Hello")
    with refused("permission_denied"):
        home.ask(actor=auditor)
    with refused("not_found"):
        home.ask(actor=stranger)
    with refused("requester_is_another"):
        home.ask(requester=home.anna)
    comment_add(actor=home.ben, request_id=request.pk, body="In a minute")
    assert trail(request)[-1] == "commented"


def test_ent_04_who_is_asked_from_elsewhere_sees_the_request_once_it_is_their_turn(home: House) -> None:
    elsewhere = factories.department(home.place.entity, "ELSE")
    ann, bob = (
        factories.member(home.place.entity, Role.APPROVER, department=home.place.department) for _ in "ab"
    )
    home.rule(people(ann), people(bob))
    request = home.ask()
    for person in (ann, bob):
        person.memberships.update(department=elsewhere)
    visible = [ApprovalRequest.objects.visible_to(each).filter(pk=request.pk).exists() for each in (ann, bob)]
    assert visible == [True, False]
    ann.memberships.update(role=Role.AUDITOR)
    with refused("role_lost"):
        home.approve(request, ann)


def test_ent_04_a_delegate_sees_what_the_delegation_reaches_and_nothing_else(home: House) -> None:
    home.rule()
    entity, department = home.place.entity, home.place.department
    delegate = factories.member(entity, Role.APPROVER, department=factories.department(entity, "ELSE"))
    purchase, licence = home.ask(), home.ask(request_type="license_change")
    delegation_create(
        actor=home.anna,
        delegate=delegate,
        valid_from=clock.now(),
        valid_to=clock.now() + datetime.timedelta(days=7),
        reason="Holidays",
        request_types=["purchase"],
        departments=[department],
    )
    assert list(ApprovalRequest.objects.visible_to(delegate)) == [purchase]
    with refused("not_found"):
        home.approve(licence, delegate)
    vote = home.approve(purchase, delegate).actions.get(kind="approved")
    assert (vote.actor, vote.on_behalf_of) == (delegate, home.anna)
    with time_machine.travel("2026-06-22T12:00:00Z", tick=False):
        assert list(ApprovalRequest.objects.visible_to(delegate)) == [purchase]


def test_a_department_asks_for_money_of_its_own_or_from_above(home: House) -> None:
    home.rule()
    place = home.place
    team = factories.department(place.entity, "TEAM", parent=place.department)
    other = factories.department(place.entity, "OTHER")
    budget, shared = place.budget("1000.00"), place.budget("1000.00", department=None)
    membership_grant(actor=system_actor(), user=home.asker, entity=place.entity, role=Role.FINANCE_STAFF)
    assert home.ask(budget_id=budget.pk, department_id=team.pk).department == team
    assert home.ask(budget_id=shared.pk, department_id=other.pk).department == other
    with refused("other_department"):
        home.ask(budget_id=budget.pk, department_id=other.pk)


def test_apr_24_what_needs_a_comment_or_a_look_is_not_approved_together(home: House) -> None:
    home.rule(people(home.anna), amount_to=D("500.00"))
    home.rule(people(home.anna, comment_required=True, name="Finance"), amount_from=D("500.00"))
    plain, wanting = home.ask("100.00"), home.ask("600.00")
    split = [home.ask("40.00", supplier="Acme") for _ in range(2)][1]
    items = [(each.pk, None) for each in (plain, wanting, split)]
    results = requests_approve_in_bulk(actor=home.anna, items=items, comment="All fine.")
    assert [(each.done, each.code) for each in results] == [
        (True, "approved"),
        (False, "comment_required"),
        (False, "needs_a_look"),
    ]
    assert results[1].detail == "“Finance” wants a comment: open it and decide it by itself."
    assert results[2].detail == "Split: $80.00 with others: open it and decide it by itself."
    with refused("comment_required"):
        request_approve(actor=home.anna, request_id=wanting.pk, comment="  ")
    assert request_approve(actor=home.anna, request_id=wanting.pk, comment="Checked.").status == "approved"
    assert home.approve(split, home.anna).status == "approved"
    level = people(home.anna, comment_required=True)
    home.rule(people(home.anna), level, request_type="license_change")
    twice = home.approve(home.ask(request_type="license_change"), home.anna)
    assert (twice.status, waiting_on(twice)) == ("pending", {home.anna})
