"""The whole ledger against a model of a few lines, by random walks (BUD-01 to BUD-17, BUD-24, BUD-26)."""

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from budgets.models import Budget, BudgetEntry, Commitment
from budgets.services.changes import transfer_approve, transfer_propose
from budgets.services.charges import ChargeLine, budget_charge_lines, budget_refund
from budgets.services.commitments import (
    commitment_change,
    commitment_consume,
    commitment_release,
    commitment_reopen,
)
from budgets.tasks import release_expired_commitments
from core import clock
from core.errors import BillingError
from tests.budgets.builders import Place, assert_proven, place

D = Decimal
NOTHING = D(0)
START = datetime.datetime(2026, 6, 15, 12, tzinfo=datetime.UTC)
BUDGETS = 3
PARENT = 2
"""Budget 2 is the control point above budget 0; budget 1 stands alone."""

amounts = st.integers(min_value=1, max_value=7000).map(lambda cents: D(cents) / 100)
which = st.integers(min_value=0, max_value=BUDGETS - 1)


@dataclass
class Promise:
    budget: int
    amount: Decimal
    expires: datetime.datetime
    used: Decimal = NOTHING
    freed: Decimal = NOTHING

    @property
    def rest(self) -> Decimal:
        return self.amount - self.used - self.freed


class LedgerMachine(RuleBasedStateMachine):
    """``given``, ``spent`` and ``promises`` are the model; every rule says what it expects, then compares."""

    here: Place

    @initialize()
    def budgets(self) -> None:
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.traveller = time_machine.travel(START, tick=False)
        self.clock = self.traveller.start()
        parent = self.here.budget("80.00", department=None, is_control_point=True)
        self.rows = [self.here.budget("60.00", parent=parent), self.here.budget("50.00"), parent]
        self.given = [D(60), D(50), D(80)]
        self.spent = [D(0)] * BUDGETS
        self.promises: list[Promise] = []
        self.keys: list[int] = []
        self.charges: list[tuple[int, int, Decimal]] = []
        self.before = 0

    def teardown(self) -> None:
        if hasattr(self, "traveller"):
            self.traveller.stop()
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    # --- The model ---------------------------------------------------------------------------------------

    def committed(self, budget: int) -> Decimal:
        return sum((p.rest for p in self.promises if p.budget == budget and p.expires > clock.now()), D(0))

    def below(self, budget: int) -> list[int]:
        return [0, PARENT] if budget == PARENT else [budget]

    def available(self, budget: int) -> Decimal:
        return self.given[budget] - sum(self.spent[b] + self.committed(b) for b in self.below(budget))

    def fits(self, **asked: Decimal) -> bool:
        claims = [D(0)] * BUDGETS
        for name, amount in asked.items():
            budget = int(name[1:])
            claims[budget] += amount
            if budget == 0:
                claims[PARENT] += amount
        return all(claim <= 0 or claim <= self.available(b) for b, claim in enumerate(claims))

    def expect(self, passes: bool, act: Any) -> Any:
        """Run the act; it must pass, or be refused and change nothing."""
        entries = BudgetEntry.objects.count()
        result, refusal = None, None
        try:
            with transaction.atomic():
                result = act()
        except BillingError as error:
            refusal = error
        assert (refusal is None) == passes, repr(refusal)
        assert refusal is None or BudgetEntry.objects.count() == entries
        return result

    def pick(self, number: int) -> tuple[int, Promise] | None:
        return None if not self.promises else (index := number % len(self.promises), self.promises[index])

    @staticmethod
    def is_open(promise: Promise) -> bool:
        return promise.rest > 0 and promise.expires > clock.now()

    # --- What people do ----------------------------------------------------------------------------------

    @rule(budget=which, amount=amounts)
    def charge(self, budget: int, amount: Decimal) -> None:
        passes = self.fits(**{f"b{budget}": amount})
        done = self.expect(passes, lambda: self.here.charge(self.rows[budget], amount))
        if done:
            self.spent[budget] += amount
            self.charges.append((done.entries[0].pk, budget, amount))

    @rule(lines=st.lists(st.tuples(which, amounts), min_size=2, max_size=4))
    def charge_lines(self, lines: list[tuple[int, Decimal]]) -> None:
        sums = {f"b{b}": sum((a for c, a in lines if c == b), D(0)) for b, _ in lines}
        document = [ChargeLine(budget_id=self.rows[b].pk, amount=a, description="Line") for b, a in lines]
        if self.expect(
            self.fits(**sums), lambda: budget_charge_lines(actor=self.here.finance, lines=document)
        ):
            for budget, amount in lines:
                self.spent[budget] += amount

    @rule(number=st.integers(min_value=0), share=st.integers(min_value=1, max_value=120))
    def refund(self, number: int, share: int) -> None:
        if not self.charges:
            return
        index = number % len(self.charges)
        pk, budget, rest = self.charges[index]
        amount = max((rest * share / 100).quantize(D("0.01")), D("0.01"))
        entry = BudgetEntry.objects.get(pk=pk)
        if self.expect(
            amount <= rest,
            lambda: budget_refund(
                actor=self.here.finance,
                budget_id=self.rows[budget].pk,
                amount=amount,
                description="Credit",
                reverses=entry,
            ),
        ):
            self.spent[budget] -= amount
            self.charges[index] = (pk, budget, rest - amount)

    @rule(budget=which, amount=amounts, hours=st.integers(min_value=1, max_value=5))
    def commit(self, budget: int, amount: Decimal, hours: int) -> None:
        expires = clock.now() + datetime.timedelta(hours=hours)
        made = self.expect(
            self.fits(**{f"b{budget}": amount}),
            lambda: self.here.commit(self.rows[budget], amount, expires_at=expires),
        )
        if made:
            self.promises.append(Promise(budget, amount, expires))
            self.keys.append(made.pk)

    @rule(number=st.integers(min_value=0), amount=amounts, final=st.booleans())
    def consume(self, number: int, amount: Decimal, final: bool) -> None:
        if (found := self.pick(number)) is None:
            return
        index, promise = found
        taken = min(amount, promise.rest)
        excess = amount - taken
        freed = promise.rest - taken if final else D(0)
        passes = self.is_open(promise) and self.fits(**{f"b{promise.budget}": excess - freed})
        if self.expect(
            passes,
            lambda: commitment_consume(
                actor=self.here.finance,
                commitment_id=self.keys[index],
                amount=amount,
                description="Invoice",
                final=final,
            ),
        ):
            self.spent[promise.budget] += amount
            promise.used += taken
            promise.freed += freed

    @rule(number=st.integers(min_value=0), amount=amounts)
    def release(self, number: int, amount: Decimal) -> None:
        if (found := self.pick(number)) is None:
            return
        index, promise = found
        if self.expect(
            self.is_open(promise) and amount <= promise.rest,
            lambda: commitment_release(
                actor=self.here.finance, commitment_id=self.keys[index], amount=amount, reason="Less"
            ),
        ):
            promise.freed += amount

    @rule(number=st.integers(min_value=0), amount=amounts)
    def change(self, number: int, amount: Decimal) -> None:
        if (found := self.pick(number)) is None:
            return
        index, promise = found
        passes = (
            self.is_open(promise)
            and amount >= promise.used + promise.freed
            and self.fits(**{f"b{promise.budget}": amount - promise.amount})
        )
        if self.expect(
            passes,
            lambda: commitment_change(
                actor=self.here.finance, commitment_id=self.keys[index], amount=amount, reason="Changed"
            ),
        ):
            promise.amount = amount

    @rule(number=st.integers(min_value=0))
    def reopen(self, number: int) -> None:
        if (found := self.pick(number)) is None:
            return
        index, promise = found
        expired = promise.rest > 0 and promise.expires <= clock.now()
        again = promise.freed + (promise.rest if expired else D(0))
        passes = not self.is_open(promise) and again > 0 and self.fits(**{f"b{promise.budget}": again})
        expires = clock.now() + datetime.timedelta(hours=3)
        if self.expect(
            passes,
            lambda: commitment_reopen(
                actor=self.here.finance, commitment_id=self.keys[index], reason="Again", expires_at=expires
            ),
        ):
            promise.freed, promise.expires = D(0), expires

    @rule(giving=which, taking=which, amount=amounts)
    def transfer(self, giving: int, taking: int, amount: Decimal) -> None:
        if giving == taking:
            return

        def act() -> Any:
            asked = transfer_propose(
                actor=self.here.staff,
                from_budget_id=self.rows[giving].pk,
                to_budget_id=self.rows[taking].pk,
                amount=amount,
                reason="Need",
            )
            return transfer_approve(actor=self.here.finance, transfer_id=asked.pk)

        if self.expect(amount <= self.available(giving), act):
            self.given[giving] -= amount
            self.given[taking] += amount

    @rule(hours=st.integers(min_value=1, max_value=3))
    def time_passes(self, hours: int) -> None:
        self.clock.shift(datetime.timedelta(hours=hours))

    @rule()
    def the_job_runs(self) -> None:
        release_expired_commitments()

    # --- What must hold ----------------------------------------------------------------------------------

    @invariant()
    def the_counters_are_the_models(self) -> None:
        if not hasattr(self, "rows"):
            return
        expired = Budget.objects.filter(pk__in=[row.pk for row in self.rows]).expired_amounts()
        for number, row in enumerate(self.rows):
            stored = Budget.objects.get(pk=row.pk)
            assert stored.allocated_amount == self.given[number]
            assert stored.spent_amount == sum(self.spent[b] for b in self.below(number))
            assert stored.committed_amount - expired[row.pk] == sum(
                self.committed(b) for b in self.below(number)
            )
            assert stored.available_amount >= 0
        for index, promise in enumerate(self.promises):
            row_ = Commitment.objects.get(pk=self.keys[index])
            assert row_.consumed_amount == promise.used
        assert_proven()


@pytest.mark.django_db
def test_random_walks_end_where_a_simple_model_ends() -> None:
    with time_machine.travel(START, tick=False):
        LedgerMachine.here = place()
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
