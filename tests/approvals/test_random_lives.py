"""Whatever people do in whatever order: the ledger proves the counters, and what is over holds no money (BUD-01, BUD-18)."""

import datetime
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals.models import ApprovalRequest, OnApproval, RequestStatus
from approvals.services.recall import vote_recall
from approvals.services.requests import (
    draft_submit,
    request_approve_in_emergency,
    request_expire,
    request_recalculate,
    request_update,
    request_withdraw,
)
from approvals.services.votes import request_approve, request_reject, request_send_back, task_pass_on
from budgets.models import Budget, Commitment, CommitmentStatus
from budgets.services.commitments import commitment_consume
from core.errors import BillingError
from tests.approvals.builders import House, people
from tests.budgets.builders import assert_proven, figures

D = Decimal
CLOSED = (RequestStatus.REJECTED, RequestStatus.WITHDRAWN, RequestStatus.EXPIRED)


def assert_consistent(budgets: list[Budget]) -> None:
    for request in ApprovalRequest.objects.select_related("commitment"):
        held = request.commitment if request.commitment is not None and request.commitment.is_open else None
        _assert_money(request, held)
        _assert_tasks(request)
    for budget in budgets:
        rows = ApprovalRequest.objects.filter(budget=budget, commitment__isnull=False)
        open_ones = [row.commitment for row in rows if row.commitment and row.commitment.is_open]
        assert figures(budget)[1] == sum(each.remainder for each in open_ones)
        assert figures(budget)[3] >= 0


def _assert_money(request: ApprovalRequest, held: Commitment | None) -> None:
    if request.status in CLOSED:
        assert held is None, request.pk
    elif request.is_open:
        assert held is not None or request.may_exceed_budget
        if held is not None:
            assert held.status == CommitmentStatus.PENDING
            sent_back = request.status == RequestStatus.CHANGES_REQUESTED
            assert held.document_amount == request.amount or sent_back
    else:
        assert request.status == RequestStatus.APPROVED
        assert request.actions.filter(kind="effect_booked").exists()
        if request.on_approval == OnApproval.CHARGE:
            assert held is None


def _assert_tasks(request: ApprovalRequest) -> None:
    asked = request.tasks.filter(status="open")
    if request.status == RequestStatus.PENDING:
        assert asked.exists()
        assert not asked.exclude(step__round=request.round).exists()
    elif request.status != RequestStatus.BLOCKED:
        assert not asked.exists()
        assert not request.steps.filter(status__in=["open", "waiting", "blocked"]).exists()


class Life:
    """People who act at random, by one seed."""

    def __init__(self, home: House, seed: int) -> None:
        self.home, self.dice = home, random.Random(seed)
        self.voters = [home.anna, home.ben, home.cleo, home.dan, home.chief]
        self.budgets = [home.place.budget("1500.00") for _ in range(2)]
        self.numbers: list[int] = []
        self.outcomes: Counter[str] = Counter()
        finance, some, vote = home.place.finance, self.some, self.vote
        self.acts: list[tuple[int, Callable[[], Any]]] = [
            (6, self.ask),
            (14, lambda: request_approve(**vote())),
            (2, lambda: request_reject(**vote(), comment="No")),
            (3, lambda: request_send_back(**vote(), comment="Why?")),
            (3, lambda: draft_submit(actor=home.asker, request_id=some())),
            (5, self.change),
            (1, lambda: request_withdraw(actor=home.asker, request_id=some())),
            (4, self.recall),
            (2, lambda: task_pass_on(**vote(), to_user=self.dice.choice(self.voters))),
            (1, lambda: request_recalculate(actor=finance, request_id=some(), reason="R")),
            (1, lambda: request_approve_in_emergency(actor=finance, request_id=some(), reason="E")),
            (3, self.consume),
        ]

    def act(self) -> None:
        """One act of somebody; a refusal is as good as a success."""
        weights = [weight for weight, _ in self.acts]
        act = self.dice.choices([each for _, each in self.acts], weights)[0] if self.numbers else self.ask
        try:
            act()
            self.outcomes["done"] += 1
        except BillingError as error:
            self.outcomes[error.code] += 1

    def some(self) -> int:
        """Mostly one that is being decided."""
        still_open = list(ApprovalRequest.objects.open().order_by("pk").values_list("pk", flat=True))
        return self.dice.choice(still_open if still_open and self.dice.random() < 0.8 else self.numbers)

    def amount(self) -> str:
        return str(self.dice.choice([50, 99, 100, 150, 299, 300, 450]) + self.dice.randint(0, 3))

    def vote(self) -> dict[str, Any]:
        request = ApprovalRequest.objects.get(pk=self.some())
        asked = list(request.tasks.filter(status="open").select_related("approver"))
        voter = self.dice.choice(asked).approver if asked else self.dice.choice(self.voters)
        return {"actor": voter, "request_id": request.pk}

    def recall(self) -> None:
        request = ApprovalRequest.objects.get(pk=self.some())
        given = list(request.tasks.filter(acted_by__isnull=False).select_related("acted_by"))
        if given:
            vote_recall(actor=self.dice.choice(given).acted_by, request_id=request.pk)

    def ask(self) -> None:
        request = self.home.ask(
            self.amount(),
            budget_id=self.dice.choice(self.budgets).pk,
            on_approval=self.dice.choice(list(OnApproval)),
            supplier=self.dice.choice(["", "Acme"]),
        )
        self.numbers.append(request.pk)

    def consume(self) -> None:
        commitment_id = ApprovalRequest.objects.get(pk=self.some()).commitment_id
        if commitment_id is not None:
            commitment_consume(
                actor=self.home.place.finance,
                commitment_id=commitment_id,
                amount=str(self.dice.randint(1, 80)),
                description="Invoice",
                final=self.dice.random() < 0.2,
            )

    def change(self) -> None:
        changes = [{"amount": self.amount()}, {"supplier": "Fabrikam"}, {"title": f"T {self.dice.random()}"}]
        request_update(actor=self.home.asker, request_id=self.some(), changes=self.dice.choice(changes))


@pytest.mark.parametrize("seed", [2, 5])
def test_bud_01_bud_18_random_lives_of_requests_keep_the_books_right(home: House, seed: int) -> None:
    home.rule(people(home.anna, home.ben, required=1), amount_to=D(100))
    home.rule(
        people(home.anna, home.ben, home.cleo, required=2, veto=False),
        people(home.ben, home.dan, required=1),
        amount_from=D(100),
        amount_to=D(300),
        may_exceed_budget=True,
    )
    home.rule(people(home.anna), people(home.cleo, home.dan, required=2), amount_from=D(300), flow="parallel")
    life = Life(home, seed)
    for _ in range(6):
        for _ in range(12):
            life.act()
        assert_consistent(life.budgets)
    with time_machine.travel(datetime.datetime(2026, 8, 1, tzinfo=datetime.UTC), tick=False):
        for number in life.numbers:
            request_expire(request_id=number)
        assert not ApprovalRequest.objects.open().exists()
        assert_consistent(life.budgets)
        assert_proven()
    assert life.outcomes["done"] > 25, life.outcomes
