"""What passes to the next period: every policy, preview equal to run, once, undone until used (BUD-23)."""

import datetime
from dataclasses import asdict
from decimal import Decimal

import pytest

from budgets.models import Budget, BudgetEntry, BudgetRollover, Commitment
from budgets.services.budget import budget_close, budget_soft_close, commitment_decide
from budgets.services.commitments import commitment_consume, commitment_release, commitment_reopen
from budgets.services.rollover import rollover_preview, rollover_run, rollover_undo
from core import clock
from tests.budgets.builders import NEXT_YEAR, Place, figures, money, refused


def pair(
    here: Place, amount: str = "100.00", target: str = "100.00", **fields: object
) -> tuple[Budget, Budget]:
    """This year's budget with 30.00 spent and 20.00 committed, and next year's."""
    source = here.budget(amount, **fields)
    here.charge(source, "30.00")
    here.commit(source, "20.00")
    return source, here.next_year(source, target)


def run(here: Place, source: Budget, target: Budget) -> BudgetRollover:
    """Soft-close, preview, run: the run posts exactly what the preview showed."""
    budget_soft_close(actor=here.finance, budget_id=source.pk)
    preview = rollover_preview(actor=here.finance, from_budget_id=source.pk, to_budget_id=target.pk)
    before = figures(target)
    rollover = rollover_run(actor=here.finance, from_budget_id=source.pk, to_budget_id=target.pk)
    assert rollover.lines == [asdict(line) for line in preview.lines]
    after = figures(target)
    assert (after[0] - before[0], after[1] - before[1]) == (preview.money, preview.commitments)
    count = BudgetEntry.objects.count()
    assert rollover_run(actor=here.finance, from_budget_id=source.pk, to_budget_id=target.pk) == rollover
    assert BudgetEntry.objects.count() == count
    return rollover


def test_bud_23_lapse_passes_nothing(here: Place) -> None:
    source, target = pair(here, rollover_policy="lapse")
    run(here, source, target)
    assert figures(target) == money("100", "0", "0", "100")
    assert figures(source) == money("100", "20", "30", "50")


def test_bud_23_commitments_pass_with_their_money(here: Place) -> None:
    source, target = pair(here)
    run(here, source, target)
    assert figures(source) == money("80", "0", "30", "50")
    assert figures(target) == money("120", "20", "0", "100")
    old, new = Commitment.objects.order_by("pk")
    assert (old.status, new.status, new.carried_from, new.remainder) == (
        "released",
        "approved",
        old,
        Decimal(20),
    )
    with refused("commitment_not_reopenable"):
        commitment_reopen(actor=here.finance, commitment_id=old.pk, reason="Twice")
    commitment_consume(
        actor=here.finance,
        commitment_id=new.pk,
        amount="20.00",
        description="Invoice",
        posting_date=NEXT_YEAR[0],
    )
    assert figures(target) == money("120", "0", "20", "100")
    budget_close(actor=here.finance, budget_id=source.pk)


def test_bud_23_commitments_without_money_must_fit_the_new_year(here: Place) -> None:
    source, target = pair(here, rollover_policy="commitments_unfunded", target="19.99")
    budget_soft_close(actor=here.finance, budget_id=source.pk)
    with refused("insufficient_budget") as refusal:
        rollover_run(actor=here.finance, from_budget_id=source.pk, to_budget_id=target.pk)
    assert refusal.extra["shortfalls"][0]["short"] == "0.01"
    assert not BudgetRollover.objects.exists()
    other, enough = pair(here, rollover_policy="commitments_unfunded", target="20.00")
    run(here, other, enough)
    assert figures(enough) == money("20", "20", "0", "0")
    assert figures(other) == money("100", "0", "30", "70")


@pytest.mark.parametrize(
    ("percent", "cap", "share"),
    [
        ("100", None, "50"),
        ("50", None, "25"),
        ("50", "10.00", "10"),
        ("33.33", None, "16.67"),
        ("0", None, "0"),
    ],
)
def test_bud_23_a_share_of_the_unspent_passes_capped(
    here: Place, percent: str, cap: str | None, share: str
) -> None:
    source, target = pair(here, rollover_policy="unspent", rollover_percent=percent, rollover_cap=cap)
    run(here, source, target)
    assert figures(target) == money(str(Decimal(120) + Decimal(share)), "20", "0", str(100 + Decimal(share)))
    assert figures(source)[0] == Decimal(80) - Decimal(share)


@pytest.mark.parametrize(("carry", "allocated"), [(True, "90"), (False, "100")])
def test_bud_23_a_deficit_passes_if_the_budget_says_so(here: Place, carry: bool, allocated: str) -> None:
    source = here.budget("100.00", control="advisory", carry_deficit=carry)
    here.charge(source, "110.00")
    target = here.next_year(source)
    run(here, source, target)
    assert figures(target)[0] == Decimal(allocated)
    assert figures(source)[0] == 100


def test_bud_23_what_was_decided_to_end_is_released_and_counts_as_unspent(here: Place) -> None:
    source, target = pair(here, rollover_policy="unspent")
    ending = here.commit(source, "50.00")
    commitment_decide(actor=here.finance, commitment_id=ending.pk, decision="release")
    run(here, source, target)
    assert figures(target) == money("170", "20", "0", "150")
    assert figures(source) == money("30", "0", "30", "0")


def test_bud_23_what_has_expired_is_not_carried(here: Place) -> None:
    source, target = pair(here, rollover_policy="unspent")
    here.commit(source, "50.00", expires_at=clock.now() + datetime.timedelta(hours=1))
    import time_machine

    with time_machine.travel(clock.now() + datetime.timedelta(hours=2), tick=False):
        run(here, source, target)
    assert figures(target) == money("170", "20", "0", "150")


def test_bud_23_undone_by_opposite_entries_until_the_target_is_used(here: Place) -> None:
    source, target = pair(here, rollover_policy="unspent")
    before = figures(source), figures(target)
    rollover = run(here, source, target)
    with refused("reason_required"):
        rollover_undo(actor=here.finance, rollover_id=rollover.pk, reason="")
    with refused("not_found"):
        rollover_undo(actor=here.outsider, rollover_id=rollover.pk, reason="Mine")
    undone = rollover_undo(actor=here.finance, rollover_id=rollover.pk, reason="Wrong policy")
    assert (undone.status, undone.undone_by) == ("undone", here.finance)
    assert (figures(source), figures(target)) == before
    with refused("already_undone"):
        rollover_undo(actor=here.finance, rollover_id=rollover.pk, reason="Again")
    again = rollover_run(actor=here.finance, from_budget_id=source.pk, to_budget_id=target.pk)
    assert again.pk != rollover.pk
    here.charge(target, "1.00", posting_date=NEXT_YEAR[0])
    with refused("rollover_used"):
        rollover_undo(actor=here.finance, rollover_id=again.pk, reason="Too late")


def test_bud_23_a_released_carried_commitment_counts_as_use(here: Place) -> None:
    source, target = pair(here)
    rollover = run(here, source, target)
    new = Commitment.objects.latest("pk")
    commitment_release(actor=here.finance, commitment_id=new.pk, reason="Cancelled")
    with refused("rollover_used"):
        rollover_undo(actor=here.finance, rollover_id=rollover.pk, reason="Too late")


def test_bud_23_what_cannot_be_rolled_over(here: Place) -> None:
    source, target = pair(here)
    with refused("rollover_source_open"):
        rollover_run(actor=here.finance, from_budget_id=source.pk, to_budget_id=target.pk)
    with refused("rollover_backwards"):
        rollover_preview(actor=here.finance, from_budget_id=target.pk, to_budget_id=source.pk)
    other = here.next_year(source, department=None)
    with refused("rollover_across_departments"):
        rollover_preview(actor=here.finance, from_budget_id=source.pk, to_budget_id=other.pk)
    budget_soft_close(actor=here.finance, budget_id=source.pk)
    with refused("permission_denied"):
        rollover_run(actor=here.staff, from_budget_id=source.pk, to_budget_id=target.pk)
    run_first = rollover_run(actor=here.finance, from_budget_id=source.pk, to_budget_id=target.pk)
    third = here.budget(name="Third", period_start=NEXT_YEAR[1], period_end=datetime.date(2029, 1, 1))
    with refused("rolled_over_elsewhere") as refusal:
        rollover_run(actor=here.finance, from_budget_id=source.pk, to_budget_id=third.pk)
    assert refusal.extra["rollover_id"] == run_first.pk
