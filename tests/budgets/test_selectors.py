"""Figures, the tree, as-at figures and what changed (BUD-01, BUD-17, BUD-26, BUD-32)."""

import datetime
from decimal import Decimal

import time_machine

from budgets import selectors
from budgets.services.budget import budget_close, budget_reopen_approve, budget_reopen_request, budget_update
from budgets.services.changes import revision_approve, revision_propose
from budgets.services.charges import entry_correct
from budgets.services.commitments import commitment_consume
from core import clock
from entities.services.allocation import cost_allocate
from tests.budgets.builders import YEAR, Place, money, refused

D = Decimal


def test_bud_17_figures_count_the_expired_as_free(here: Place) -> None:
    budget = here.budget("100.00")
    here.charge(budget, "10.00")
    here.commit(budget, "30.00", expires_at=clock.now() + datetime.timedelta(hours=1))
    stays = here.commit(budget, "20.00")
    with time_machine.travel(clock.now() + datetime.timedelta(hours=1), tick=False):
        now = selectors.budget_figures(actor=here.manager, budget_id=budget.pk)
        assert (now.spent, now.committed, now.available, now.utilization) == money("10", "20", "70", "30")
        assert list(selectors.open_commitments(actor=here.manager, budget_id=budget.pk)) == [stays]
    with refused("not_found"):
        selectors.budget_figures(actor=here.outsider, budget_id=budget.pk)


def test_bud_32_reports_run_as_at_any_day(here: Place) -> None:
    budget = here.budget("100.00")
    march, april, june = (datetime.date(2026, month, 10) for month in (3, 4, 6))
    commitment = here.commit(budget, "50.00", commitment_date=march)
    commitment_consume(
        actor=here.finance, commitment_id=commitment.pk, amount="40.00", description="I", posting_date=april
    )
    wrong = here.charge(budget, "5.00", posting_date=april).entries[0]
    revision = revision_propose(actor=here.staff, budget_id=budget.pk, delta="20.00", reason="x")
    revision_approve(actor=here.finance, revision_id=revision.pk)

    def at(day: datetime.date) -> tuple[Decimal, Decimal, Decimal]:
        found = selectors.budget_as_at(actor=here.manager, budget_id=budget.pk, day=day)
        return found.allocated, found.committed, found.spent

    assert at(datetime.date(2025, 12, 31)) == money("0", "0", "0")
    assert at(YEAR[0]) == money("100", "0", "0")
    assert at(march) == at(april - datetime.timedelta(days=1)) == money("100", "50", "0")
    assert at(april) == money("100", "10", "45")
    assert at(datetime.date(2026, 6, 15)) == money("120", "10", "45")
    entry_correct(actor=here.finance, entry_id=wrong.pk, reason="Wrong")
    assert at(june) == money("100", "10", "40")


def test_bud_26_the_tree_sums_subtrees_and_shows_what_may_be_seen(here: Place) -> None:
    top = here.budget("500.00", department=None, name="Top")
    middle = here.budget("200.00", parent=top, name="A")
    leaf = here.budget("100.00", parent=middle, name="B")
    here.charge(top, "1.00")
    here.charge(middle, "2.00")
    here.charge(leaf, "4.00")
    here.commit(leaf, "8.00")
    nodes = selectors.budget_tree(actor=here.finance, budget_id=top.pk)
    assert [(n.budget.name, n.depth, n.subtree_spent, n.subtree_committed) for n in nodes] == [
        ("Top", 0, D(7), D(8)),
        ("A", 1, D(6), D(8)),
        ("B", 2, D(4), D(8)),
    ]
    assert nodes[0].figures.spent == D(1)
    assert [n.budget.name for n in selectors.budget_tree(actor=here.manager, budget_id=middle.pk)] == [
        "A",
        "B",
    ]


def test_entries_of_a_control_point_show_what_moves_it(here: Place) -> None:
    parent = here.budget("100.00", department=None, is_control_point=True)
    child = here.budget("60.00", parent=parent)
    here.charge(child, "10.00")
    kinds = [e.kind for e in selectors.budget_entries(actor=here.finance, budget_id=parent.pk)]
    assert kinds == ["charge", "allocation"]
    assert len(selectors.budget_entries(actor=here.finance, budget_id=child.pk)) == 2


def test_standing_alerts_are_those_of_ones_own_budgets(here: Place) -> None:
    budget = here.budget("100.00")
    here.charge(budget, "95.00")
    levels = [alert.level for alert in selectors.standing_alerts(actor=here.manager)]
    assert levels == ["warning", "alert"]
    assert not selectors.standing_alerts(actor=here.outsider)


def test_what_changed_and_who_did_it(here: Place) -> None:
    budget = here.budget("100.00", name="Cloud")
    budget_update(actor=here.staff, budget_id=budget.pk, changes={"name": "Cloud and data"})
    revision = revision_propose(actor=here.staff, budget_id=budget.pk, delta="20.00", reason="Growth")
    revision_approve(actor=here.finance, revision_id=revision.pk)
    budget_close(actor=here.finance, budget_id=budget.pk)
    change = budget_reopen_request(actor=here.finance, budget_id=budget.pk, reason="Late")
    budget_reopen_approve(actor=here.colleague, change_id=change.pk)
    events = selectors.budget_events(actor=here.manager, budget_id=budget.pk)
    found = {(event.what, event.detail, event.amount) for event in events}
    assert ("Changed", "name: Cloud → Cloud and data", None) in found
    assert ("Revision 1: approved", "Growth", D(20)) in found
    assert ("Closed → Open", "Late", None) in found


def test_bud_19_allocated_cost_without_a_budget_is_listed(here: Place) -> None:
    def allocate(month: int) -> None:
        cost_allocate(
            actor=here.finance,
            department=here.department,
            amount=D(10),
            description="Office",
            period_start=datetime.date(2026, month, 1),
            period_end=datetime.date(2026, month + 1, 1),
        )

    allocate(2)
    allocate(3)
    here.budget(period_start=datetime.date(2026, 3, 1))
    listed = selectors.unbudgeted_allocations(actor=here.finance, start=YEAR[0], end=YEAR[1])
    assert [row.period_start.month for row in listed] == [2]
