"""Budgets under real concurrency: threads and processes with connections of their own (BUD-04, BUD-17)."""

import datetime
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from budgets.models import Budget, BudgetAlert, BudgetEntry, BudgetTransfer, Commitment, EntryKind
from budgets.services.changes import transfer_approve, transfer_propose
from budgets.services.charges import ChargeLine, budget_charge, budget_charge_lines
from budgets.services.commitments import (
    budget_commit,
    commitment_consume,
    commitment_release,
)
from budgets.services.ledger import Source
from core import clock
from core.errors import BillingError
from core.models import OutboxEvent
from tests.budgets.builders import Place, assert_proven, figures, money, place

pytestmark = pytest.mark.concurrency

D = Decimal
SPREAD = datetime.timedelta(days=180)


@pytest.fixture
def here() -> Place:
    return place()


def open_budget(here: Place, amount: str, **fields: Any) -> Budget:
    """A budget around today: these tests live in real time."""
    today = clock.today()
    fields = {"period_start": today - SPREAD, "period_end": today + SPREAD, **fields}
    return here.budget(amount, **fields)


def together(*acts: Callable[[], Any]) -> list[Any]:
    """Run all at once, each on its own connection; a refusal's code, or what the act returns."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            return act()
        except BillingError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def by_many_threads(threads: int, acts: Sequence[Callable[[], Any]]) -> Counter[str]:
    """Run all acts on that many threads; count what became of them."""
    outcomes: Counter[str] = Counter()
    lock, left = threading.Lock(), iter(acts)

    def work() -> None:
        try:
            while True:
                with lock:
                    act = next(left, None)
                if act is None:
                    return
                try:
                    act()
                    outcome = "done"
                except BillingError as error:
                    outcome = error.code
                with lock:
                    outcomes[outcome] += 1
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            future.result()
    return outcomes


def charge(here: Place, budget: Budget, amount: str, **fields: Any) -> Any:
    return budget_charge(
        actor=here.finance,
        line=ChargeLine(budget_id=budget.pk, amount=amount, description="Race", **fields),
    )


def charge_slowly(here: Place, budget: Budget, amount: str) -> Any:
    line = ChargeLine(budget_id=budget.pk, amount=amount, description="Race")
    return budget_charge_lines(actor=here.finance, lines=[line])


def commit(here: Place, budget: Budget, amount: str, **fields: Any) -> Commitment:
    return budget_commit(actor=here.finance, budget_id=budget.pk, amount=amount, description="Race", **fields)


def test_bud_04_of_two_concurrent_sixties_exactly_one_succeeds_fifty_rounds(here: Place) -> None:
    """Available 100, two ask 60 at once: by every pairing of the ways to take money."""
    ways = (charge, charge_slowly, commit)
    for number in range(50):
        budget = open_budget(here, "100.00", name=f"Round {number}")
        first, second = ways[number % 3], ways[number // 3 % 3]
        outcomes = together(
            lambda a=first, b=budget: a(here, b, "60"), lambda a=second, b=budget: a(here, b, "60")
        )
        assert outcomes.count("insufficient_budget") == 1, outcomes
        assert figures(budget)[3] == 40
    assert_proven()


def test_bud_26_two_children_race_for_their_parents_last_money(here: Place) -> None:
    parent = open_budget(here, "100.00", department=None, is_control_point=True)
    children = [open_budget(here, "60.00", parent=parent) for _ in range(2)]
    outcomes = together(*[lambda b=child: charge(here, b, "60") for child in children])
    assert outcomes.count("insufficient_budget") == 1
    assert figures(parent)[3] == 40
    assert_proven()


def test_sixteen_threads_and_two_thousand_charges_of_one_on_a_thousand(here: Place) -> None:
    budget = open_budget(here, "1000")
    outcomes = by_many_threads(16, [lambda: charge(here, budget, "1")] * 2000)
    assert outcomes == {"done": 1000, "insufficient_budget": 1000}
    assert figures(budget) == money("1000", "0", "1000", "0")
    assert BudgetEntry.objects.filter(budget=budget, kind=EntryKind.CHARGE).count() == 1000
    levels = BudgetAlert.objects.filter(budget=budget).order_by("pk").values_list("level", "used_amount")
    assert list(levels) == [("alert", D(800)), ("warning", D(900)), ("critical", D(1000))]
    assert OutboxEvent.objects.filter(topic="budget.threshold_crossed").count() == 3
    assert_proven()


def test_charges_mixed_at_random_with_commitments_releases_and_transfers(here: Place) -> None:
    generator = random.Random(20260615)
    parent = open_budget(here, "700.00", department=None, is_control_point=True)
    budgets = [open_budget(here, "300.00", parent=parent if n < 2 else None) for n in range(3)]
    open_ones: list[int] = []

    def commit_some() -> None:
        expiring = generator.random() < 0.3
        expires_at = clock.now() + datetime.timedelta(seconds=1) if expiring else None
        amount = str(generator.randint(1, 40))
        open_ones.append(commit(here, generator.choice(budgets), amount, expires_at=expires_at).pk)

    def release_some() -> None:
        if open_ones:
            commitment_release(
                actor=here.finance, commitment_id=generator.choice(open_ones), amount="1", reason="Race"
            )

    def consume_some() -> None:
        if open_ones:
            commitment_consume(
                actor=here.finance,
                commitment_id=generator.choice(open_ones),
                amount=str(generator.randint(1, 20)),
                description="Race",
                final=generator.random() < 0.2,
            )

    def transfer_some() -> None:
        giving, taking = generator.sample(budgets, 2)
        transfer(here, giving, taking, "5")

    kinds = [lambda: charge(here, generator.choice(budgets), str(generator.randint(1, 9)))] * 4
    kinds += [commit_some, commit_some, release_some, consume_some, consume_some, transfer_some]
    outcomes = by_many_threads(8, [generator.choice(kinds) for _ in range(400)])
    expected = {
        "done", "insufficient_budget", "commitment_closed", "commitment_expired", "release_exceeds_remainder",
        "expires_in_the_past",
    }  # fmt: skip
    assert set(outcomes) <= expected, outcomes
    assert outcomes["done"] > 100
    assert_proven()
    for budget in [parent, *budgets]:
        assert figures(budget)[3] >= 0
    assert sum(figures(budget)[0] for budget in budgets) == 900


def transfer(here: Place, giving: Budget, taking: Budget, amount: str) -> BudgetTransfer:
    asked = transfer_propose(
        actor=here.staff, from_budget_id=giving.pk, to_budget_id=taking.pk, amount=amount, reason="Race"
    )
    return transfer_approve(actor=here.finance, transfer_id=asked.pk)


def test_two_budgets_that_transfer_to_each_other_at_once_do_not_deadlock(here: Place) -> None:
    one, two = open_budget(here, "100.00"), open_budget(here, "100.00")
    acts = [lambda: transfer(here, one, two, "3"), lambda: transfer(here, two, one, "2")] * 20
    assert by_many_threads(4, acts) == {"done": 40}
    assert (figures(one)[0], figures(two)[0]) == money("80", "120")
    assert_proven()


def test_lines_in_opposite_order_do_not_deadlock(here: Place) -> None:
    budgets = [open_budget(here, "10000.00") for _ in range(3)]

    def both(order: Sequence[Budget]) -> Any:
        lines = [ChargeLine(budget_id=each.pk, amount="1", description="Race") for each in order]
        return budget_charge_lines(actor=here.finance, lines=lines)

    acts = [lambda: both(budgets), lambda: both(budgets[::-1])] * 30
    assert by_many_threads(4, acts) == {"done": 60}
    assert_proven()


def test_bud_08_the_same_source_sent_by_all_at_once_is_booked_once(here: Place) -> None:
    budget = open_budget(here, "100.00")
    source = Source("invoice", "INV-1")
    entries = together(*[lambda: charge(here, budget, "10", source=source).entries[0].pk] * 8)
    assert len(set(entries)) == 1, entries
    assert figures(budget)[2] == 10
    others = together(*[lambda: commit(here, budget, "10", source=Source("order", "PO-1")).pk] * 8)
    assert len(set(others)) == 1, others
    assert figures(budget)[1] == 10


def test_bud_17_expiry_races_with_consumption(here: Place) -> None:
    """Around the moment of expiry an invoice and a charge want the same money: never both get it."""
    for number in range(10):
        budget = open_budget(here, "100.00", name=f"Round {number}")
        expires_at = clock.now() + datetime.timedelta(milliseconds=300)
        commitment = commit(here, budget, "100", expires_at=expires_at)
        wait = (expires_at - clock.now()).total_seconds() + (number - 5) / 500

        def consume(pk: int = commitment.pk, wait: float = wait) -> Any:
            time.sleep(max(wait, 0))
            return commitment_consume(actor=here.finance, commitment_id=pk, amount="100", description="Race")

        def take(budget: Budget = budget, wait: float = wait) -> Any:
            time.sleep(max(wait, 0))
            return charge(here, budget, "100")

        outcomes = together(consume, take)
        refusals = [each for each in outcomes if isinstance(each, str)]
        assert len(refusals) >= 1, outcomes
        assert figures(budget)[2] <= 100
    assert_proven()


def test_two_releases_of_the_same_remainder_never_both_pass(here: Place) -> None:
    budget = open_budget(here, "100.00")
    commitment = commit(here, budget, "100")
    acts = [
        lambda: commitment_release(
            actor=here.finance, commitment_id=commitment.pk, amount="60", reason="Race"
        )
    ] * 2
    assert together(*acts).count("release_exceeds_remainder") == 1
    assert figures(budget)[1] == 40


HALF_WRITTEN = """
import sys, time
import django
django.setup()
from django.db import transaction
from budgets.models import Budget
from budgets.services import ledger, thresholds
from budgets.services.charges import ChargeLine, budget_charge_lines
from budgets.services.commitments import budget_commit
from core.models import User

where, user, budget = sys.argv[1], User.objects.get(pk=sys.argv[2]), int(sys.argv[3])
module, name = {"entry": (ledger, "_move_counters"), "counter": (thresholds, "evaluate"), "done": (None, "")}[where]

def stop(*args, **kwargs):
    print("here", flush=True)
    time.sleep(60)

if module is not None:
    setattr(module, name, stop)
with transaction.atomic():
    budget_commit(actor=user, budget_id=budget, amount="20", description="Killed") if where == "entry" else (
        budget_charge_lines(actor=user, lines=[ChargeLine(budget_id=budget, amount="20", description="Killed")]))
    stop()
"""


@pytest.mark.parametrize("where", ["entry", "counter", "done"])
def test_a_process_killed_between_statements_leaves_nothing_half_written(
    here: Place, start_process: Callable[..., Any], where: str
) -> None:
    budget = open_budget(here, "100.00")
    before = BudgetEntry.objects.count()
    process = start_process("-c", HALF_WRITTEN, where, str(here.finance.pk), str(budget.pk))
    assert process.stdout.readline().strip() == "here"
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Whoever comes next waits for nothing and finds everything as it was.
    charge(here, budget, "100")
    assert BudgetEntry.objects.count() == before + 1
    assert not Commitment.objects.exists()
    assert figures(budget) == money("100", "0", "100", "0")
    assert_proven()


def test_a_waiting_charge_is_tested_against_what_the_other_committed(here: Place) -> None:
    """The statement that waited for the row sees the row's latest version, not the one it began with."""
    budget = open_budget(here, "100.00")
    holding, go = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                charge(here, budget, "60")
                holding.set()
                go.wait(10)
        finally:
            connection.close()

    def ask() -> str:
        try:
            holding.wait(10)
            charge(here, budget, "60")
        except BillingError as error:
            return error.code
        except OperationalError as error:
            return str(error)
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(2) as pool:
        holder, asker = pool.submit(hold), pool.submit(ask)
        holding.wait(10)
        time.sleep(0.3)
        go.set()
        holder.result()
        assert asker.result() == "insufficient_budget"
    assert figures(budget)[2] == 60
