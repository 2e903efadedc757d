"""The fast ways write what the general way writes, row by row, answer with the same JSON, and leave the rest to it."""

import datetime
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from approvals.models import ApprovalAction, ApprovalRequest, ApprovalStep, ApprovalTask, AuthorityLimit
from approvals.services import fast_path, fast_votes
from approvals.services.delegations import delegation_create
from approvals.services.votes import request_approve
from budgets.models import Budget, BudgetAlert, BudgetEntry, Commitment
from budgets.services.budget import budget_soft_close
from core import clock
from core.api.tokens import forget_all, token_pair_issue
from core.models import OutboxEvent, User
from entities.models import Role
from tests.approvals.builders import ROLE_LEVEL, House, people, trail
from tests.entities import factories

APPROVALS = "/api/enterprise-billing/approvals"
MODELS = (
    ApprovalRequest, ApprovalStep, ApprovalTask, ApprovalAction, Commitment, BudgetEntry, BudgetAlert, OutboxEvent,
)  # fmt: skip
REFERS = {
    "request_id": "ApprovalRequest", "step_id": "ApprovalStep", "task_id": "ApprovalTask",
    "commitment_id": "Commitment", "entry_id": "BudgetEntry", "alert_id": "BudgetAlert", "source_id": "ApprovalRequest",
}  # fmt: skip


class Written:
    """Every row written inside of the block, each key told by its place among the new ones of its table."""

    def __enter__(self) -> "Written":
        self.before = {model: set(model._base_manager.values_list("pk", flat=True)) for model in MODELS}
        return self

    def __exit__(self, *problem: object) -> None:
        rows = {
            model.__name__: list(
                model._base_manager.exclude(pk__in=self.before[model]).order_by("pk").values()
            )
            for model in MODELS
        }
        self.names = {
            (model, str(row["id"])): f"#{number}"
            for model, each in rows.items()
            for number, row in enumerate(each)
        }
        numbers = [row["id"] for row in rows["ApprovalRequest"]]
        self.texts = [(f"{sign}{number}", f"{sign}#") for number in numbers for sign in ("APR-", "approval:")]
        self.rows = {
            model: [{name: self.plain(model, name, value) for name, value in row.items()} for row in each]
            for model, each in rows.items()
        }
        self.rows["Budget"] = [dict(row) for row in Budget.objects.order_by("pk").values()]

    def plain(self, model: str, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.plain(model, key, each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.plain(model, name, each) for each in value]
        table = model if name == "id" else REFERS.get(name)
        if table is not None and value is not None:
            return self.names.get((table, str(value)), value)
        if isinstance(value, str):
            for number, shown in self.texts:
                value = value.replace(number, shown)
        return value


@contextmanager
def general_way(only: bool = True) -> Iterator[None]:
    """Nothing is plain."""
    with pytest.MonkeyPatch.context() as patch:
        if only:
            patch.setattr(fast_path, "submit", lambda *args, **kwargs: None)
            patch.setattr(fast_votes, "approve", lambda *args, **kwargs: None)
        yield


def undone(act: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """What an act answers and writes; then it has not happened."""
    with transaction.atomic():
        with Written() as written:
            answer = act()
        transaction.set_rollback(True)
    return answer, written.rows


class Caller:
    """One client for all people."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.tokens: dict[int, str] = {}

    def post(self, user: User, path: str, body: dict[str, Any], **headers: str) -> Any:
        if user.pk not in self.tokens:
            self.tokens[user.pk] = token_pair_issue(user=user).access
        token = self.tokens[user.pk]
        return self.client.post(
            path,
            json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}", **headers},
        )


@pytest.fixture
def caller(client: Any) -> Iterator[Caller]:
    forget_all()
    yield Caller(client)
    forget_all()


def body(budget: Budget, amount: Any = "100.00", **fields: Any) -> dict[str, Any]:
    return {
        "request_type": "purchase",
        "title": "Laptops",
        "description": "",
        "amount": amount,
        "budget_id": budget.pk,
        **fields,
    }


def cycle(caller: Caller, asker: User, voters: list[User], asked: dict[str, Any]) -> Callable[[], list[Any]]:
    """Ask and vote over HTTP: the status, the headers and the body of each answer."""

    def run() -> list[Any]:
        answers = [caller.post(asker, APPROVALS, asked, **{"X-Request-ID": "request-asked"})]
        if answers[0].status_code == 201:
            path = f"{APPROVALS}/{answers[0].json()['id']}/action"
            votes = {"action": "approve", "comment": "Yes"}
            answers += [
                caller.post(voter, path, votes, **{"X-Request-ID": f"request-vote-{number}"})
                for number, voter in enumerate(voters)
            ]
        shown = ("Content-Type", "Cache-Control", "Idempotency-Replayed")
        return [
            (answer.status_code, [answer.headers.get(name) for name in shown], without_keys(answer.json()))
            for answer in answers
        ]

    return run


def without_keys(value: Any) -> Any:
    """JSON, its members in their order, without what a sequence drew."""
    if isinstance(value, dict):
        drawn = {"id", "task_id", "commitment_id", "reference_number", "instance"}
        return [(key, without_keys(each)) for key, each in value.items() if key not in drawn]
    return [without_keys(each) for each in value] if isinstance(value, list) else value


texts = st.sampled_from(["", "Für vier Jahre", 'A\nB "c"', "x" * 300])


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    # Shrinking would take minutes; the example tells enough.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    cents=st.sampled_from([1, 999, 9_999, 10_000, 49_999, 50_000, 79_999, 80_000, 100_000, 100_001]),
    control=st.sampled_from(["absolute", "absolute", "advisory", "off"]),
    effect=st.sampled_from(["charge", "order"]),
    terms=texts,
    flow=st.sampled_from(["sequential", "sequential", "parallel"]),
    required=st.sampled_from([1, 2, None]),
    skip=st.booleans(),
    limit=st.sampled_from([None, None, 90, 5_000]),
    order=st.permutations(range(4)),
)
def test_fast_equals_slow(home: House, caller: Caller, cents: int, **kinds: Any) -> None:
    """A request and four votes over HTTP: same rows, same counters, same JSON, whatever way is taken (APR-05, BUD-02)."""
    with transaction.atomic():
        level = people(home.anna, home.ben, required=kinds["required"])
        home.rule(level, ROLE_LEVEL, flow=kinds["flow"], skip_repeated=kinds["skip"], amount_to="500")
        home.rule(
            people(home.cleo), people(home.cleo, home.dan), skip_repeated=kinds["skip"], amount_from="500"
        )
        if kinds["limit"]:
            AuthorityLimit.objects.create(role=Role.APPROVER, max_amount=kinds["limit"], currency="USD")
        budget = home.place.budget("1000.00", control=kinds["control"])
        voters = [(home.anna, home.ben, home.cleo, home.dan)[place] for place in kinds["order"]]
        asked = body(budget, f"{cents / 100:.2f}", terms=kinds["terms"], on_approval=kinds["effect"])
        run = cycle(caller, home.asker, voters, asked)
        quick, quick_rows = undone(run)
        with general_way():
            slow, slow_rows = undone(run)
        assert quick == slow
        assert quick_rows == slow_rows
        transaction.set_rollback(True)


# --- What is plain, and what is not ----------------------------------------------------------------------


def test_a_plain_cycle_takes_prepared_statements_only(home: House, caller: Caller) -> None:
    """Django's own cursors see savepoints at most: everything goes past them, in a handful of statements."""
    home.rule(people(home.anna), ROLE_LEVEL, skip_repeated=False)
    asked = body(home.place.budget("1000.00"))
    for user in (home.asker, home.anna, home.ben):
        caller.post(
            user, f"{APPROVALS}/0/action", {"action": "approve"}
        )  # the process knows them from now on
    run = cycle(caller, home.asker, [home.anna, home.ben], asked)
    with CaptureQueriesContext(connection) as queries:
        answers = run()
    assert [(status, shown["status"]) for status, _, pairs in answers for shown in [dict(pairs)]] == [
        (201, "pending"),
        (200, "pending"),
        (200, "approved"),
    ]
    assert {each["sql"].split()[0] for each in queries} <= {"SAVEPOINT", "RELEASE"}
    assert trail(ApprovalRequest.objects.get()) == ["submitted", "approved", "approved", "effect_booked"]


def fast(
    home: House, budget: Budget, amount: str = "10.00", *, actor: User | None = None, **fields: Any
) -> Any:
    asker = actor or home.asker
    values = {
        "request_type": "purchase",
        "title": "Laptops",
        "requester": asker,
        "created_by": asker,
        **fields,
    }
    return fast_path.submit(ApprovalRequest(**values), actor=asker, budget_id=budget.pk, amount=amount)


def test_what_is_not_plain_to_submit_is_left_alone(home: House) -> None:
    home.rule(people(home.anna), amount_to="500")
    by_role = home.rule(ROLE_LEVEL, amount_from="500")
    plain = home.place.budget("1000.00")
    soft, small = home.place.budget("1000.00"), home.place.budget("10.00", alert_threshold_percent="50")
    budget_soft_close(actor=home.place.finance, budget_id=soft.pk)
    parent = home.place.budget("900.00", department=None, is_control_point=True)
    below = Budget.objects.get(pk=home.place.budget("100.00", parent=parent).pk)
    expiring = home.place.budget("1000.00")
    home.place.commit(expiring, "1.00", expires_at=clock.now() + datetime.timedelta(hours=1))
    monthly = home.place.budget("1000.00", check_scope="month")
    auditor = factories.member(home.place.entity, Role.AUDITOR)
    with Written() as written:
        for budget in (
            soft,
            small,
            parent,
            below,
            monthly,
            Budget(pk=10**9),
        ):
            assert fast(home, budget) is None, budget
        for fields in (
            {"supplier": "Acme"},
            {"supplier_account": "DE1"},
            {"details": {"a": 1}},
            {"payee": home.dan},
            {"subject_id": 1},
            {"contract_id": 1},
            {"currency": "EUR"},
            {"request_type": "license_change"},
            {"title": ""},
            {"title": "x" * 201},
            {"description": "\x00"},
            {"requester": home.dan},
        ):
            assert fast(home, plain, **fields) is None, fields
        for amount in ("0", "-1", "0.001", "1e400", "x", "1000.01"):
            assert fast(home, plain, amount) is None, amount
        assert fast(home, plain, actor=home.place.outsider) is None
        assert fast(home, plain, actor=auditor) is None
        with time_machine.travel(clock.now() + datetime.timedelta(hours=1), tick=False):
            assert fast(home, expiring) is None
        # Who asks is one of those who would be asked: somebody else has to be found.
        assert fast(home, plain, "600.00", actor=home.anna) is None
    assert [name for name, rows in written.rows.items() if rows] == ["Budget"]
    assert ApprovalRequest.objects.count() == 0
    assert fast(home, plain) is not None
    assert fast(home, plain, "600.00").request.route[0]["rule_id"] == by_role.pk


@pytest.mark.parametrize(
    ("level", "rule"),
    [
        ({"approver_kind": "department_manager"}, {}),
        ({"approver_kind": "manager"}, {}),
        ({"timer_basis": "business"}, {}),
        ({}, {"also": True}),
    ],
)
def test_rules_that_are_not_plain_are_left_alone(
    home: House, level: dict[str, Any], rule: dict[str, Any]
) -> None:
    if rule:
        home.rule(people(home.anna))
    home.rule(people(home.anna, home.ben, **level), name="Other", **rule)
    assert fast(home, home.place.budget("1000.00")) is None


def test_people_who_may_not_decide_any_more_are_left_to_the_general_way(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=1))
    budget = home.place.budget("1000.00")
    assert fast(home, budget) is not None
    home.ben.is_active = False
    home.ben.save()
    assert fast(home, budget) is None
    home.ben.is_active = True
    home.ben.save()
    assert fast(home, budget) is not None
    home.ben.memberships.update(valid_to=clock.today())
    assert fast(home, budget) is None


def quick_vote(request: ApprovalRequest, voter: User, comment: str = "", seen: str | None = None) -> Any:
    return fast_votes.approve(actor=voter, request_id=request.pk, comment=comment, content_hash=seen)


def test_votes_that_are_not_plain_are_left_alone(home: House) -> None:
    """Not asked, asked before, not entitled, too late, something else seen: the general way says so."""
    home.rule(people(home.anna, home.ben, required=2, comment_required=True), people(home.ben, home.cleo))
    request = home.ask("100.00", budget_id=home.place.budget("1000.00").pk)
    with Written() as written:
        assert quick_vote(request, home.dan, "Yes") is None
        assert quick_vote(request, home.cleo, "Yes") is None
        assert quick_vote(request, home.asker, "Yes") is None
        assert quick_vote(request, home.anna) is None
        assert quick_vote(request, home.anna, "\x00") is None
        assert quick_vote(request, home.anna, "Yes", "0" * 64) is None
        with time_machine.travel(clock.now() + datetime.timedelta(days=31), tick=False):
            assert quick_vote(request, home.anna, "Yes") is None
        home.ben.memberships.update(valid_to=clock.today())
        assert quick_vote(request, home.ben, "Yes") is None
    assert not any(rows for name, rows in written.rows.items() if name != "Budget")
    home.ben.memberships.update(valid_to=None)
    assert quick_vote(request, home.anna, "Yes", request.content_hash) is not None
    assert quick_vote(request, home.anna, "Yes") is None
    # Ben approves both levels with one vote (APR-17): his second one is not this way's to carry.
    assert quick_vote(request, home.ben, "Yes") is None
    assert request_approve(actor=home.ben, request_id=request.pk, comment="Yes").status == "approved"
    assert trail(request) == ["submitted", "approved", "approved", "carried", "effect_booked"]


def test_who_stands_in_for_somebody_is_answered_by_the_general_way(home: House) -> None:
    home.rule(people(home.anna))
    request = home.ask("100.00", budget_id=home.place.budget("1000.00").pk)
    now = clock.now()
    delegation_create(
        actor=home.anna,
        delegate=home.ben,
        valid_from=now,
        valid_to=now + datetime.timedelta(days=5),
        reason="Leave",
    )
    assert quick_vote(request, home.ben) is None
    assert request_approve(actor=home.ben, request_id=request.pk).status == "approved"


def test_apr_16_a_voter_without_the_authority_is_not_plain(home: House) -> None:
    home.rule(people(home.anna))
    limit = AuthorityLimit.objects.create(user=home.anna, max_amount=99, currency="USD")
    request = home.ask("100.00", budget_id=home.place.budget("1000.00").pk)
    assert quick_vote(request, home.anna) is None
    limit.max_amount = 100
    limit.save()
    # Of the role's limits the nearest entity's would count, but one's own goes before them.
    for entity, amount in ((None, 5), (home.place.entity, 1)):
        AuthorityLimit.objects.create(role=Role.APPROVER, entity=entity, max_amount=amount, currency="USD")
    assert quick_vote(request, home.anna).request.status == "approved"


@pytest.mark.parametrize(("near", "far", "plain"), [(100, 1, True), (99, None, False)])
def test_apr_16_the_nearest_limit_counts(home: House, near: int, far: int | None, plain: bool) -> None:
    """Three entities down, the limit of the group and that of everywhere: the group's is the nearer one."""
    low = home.place.entity
    for name in ("Below", "Lower", "Lowest"):
        low = factories.entity(name, parent=low)
    home.rule(people(home.anna))
    AuthorityLimit.objects.create(user=home.anna, entity=home.place.entity, max_amount=near, currency="USD")
    AuthorityLimit.objects.create(user=home.anna, max_amount=far, currency="USD")
    asker = factories.member(low, Role.DEPARTMENT_MANAGER)
    budget = home.place.budget("1000.00", department=None, entity=low)
    request = home.ask("100.00", actor=asker, budget_id=budget.pk)
    assert (quick_vote(request, home.anna) is not None) == plain


def test_bud_02_a_last_vote_whose_effect_is_refused_is_left_to_the_general_way(home: House) -> None:
    home.rule(people(home.anna))
    budget = home.place.budget("1000.00")
    request = home.ask("100.00", budget_id=budget.pk)
    budget_soft_close(actor=home.place.finance, budget_id=budget.pk)
    assert quick_vote(request, home.anna) is None
    assert request_approve(actor=home.anna, request_id=request.pk).effect_error != ""


# --- Over HTTP -------------------------------------------------------------------------------------------


def test_sec_04_an_idempotency_key_asks_once_and_votes_once(home: House, caller: Caller) -> None:
    home.rule(people(home.anna, home.ben, required=2))
    asked, key = body(home.place.budget("1000.00")), {"Idempotency-Key": "ask-1"}
    first, second = (caller.post(home.asker, APPROVALS, asked, **key) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert (first["ETag"], first["Location"]) == (second["ETag"], second["Location"])
    assert [each.headers.get("Idempotency-Replayed") for each in (first, second)] == [None, "true"]
    request = ApprovalRequest.objects.get()
    reused = caller.post(home.asker, APPROVALS, {**asked, "amount": "1"}, **key)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    path, vote = f"{APPROVALS}/{request.pk}/action", {"action": "approve"}
    votes = [caller.post(home.anna, path, vote, **{"Idempotency-Key": "vote-1"}) for _ in range(2)]
    assert [each.status_code for each in votes] == [200, 200]
    assert votes[0].content == votes[1].content
    assert trail(request) == ["submitted", "approved"]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "0"},
        {"amount": "1.001"},
        {"amount": 1.5},
        {"amount": "1001"},
        {"title": " "},
        {"budget_id": 10**9},
        {"budget_id": "x"},
        {"request_type": "holiday"},
        {"currency": "EUR"},
        {"unknown": 1},
        {"on_approval": "later"},
        {"quantity": "2", "supplier": "Acme"},
        {"draft": True},
    ],
)
def test_odd_bodies_get_the_usual_answer(home: House, caller: Caller, changes: dict[str, Any]) -> None:
    home.rule(people(home.anna))
    run = cycle(caller, home.asker, [home.anna], body(home.place.budget("1000.00"), **changes))
    quick, quick_rows = undone(run)
    with general_way():
        slow, slow_rows = undone(run)
    assert quick == slow
    assert quick_rows == slow_rows


def test_headers_are_those_of_the_usual_way(home: House, caller: Caller) -> None:
    """The ETag is the digest of what is shown; an If-Match takes the usual way, which compares it."""
    home.rule(people(home.anna))
    made = caller.post(home.asker, APPROVALS, body(home.place.budget("1000.00")))
    request = ApprovalRequest.objects.get()
    assert made["Location"] == f"{APPROVALS}/{request.pk}"
    assert made["ETag"].startswith(f'"{request.version}-')
    path = f"{APPROVALS}/{request.pk}/action"
    stale = caller.post(home.anna, path, {"action": "approve"}, **{"If-Match": '"9"'})
    assert stale.status_code == 412
    seen = caller.post(home.anna, path, {"action": "approve"}, **{"If-Match": made["ETag"]})
    assert (seen.status_code, seen.json()["status"]) == (200, "approved")
