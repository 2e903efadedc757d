"""Periods, closing, the tree of budgets (BUD-19, BUD-21, BUD-22, BUD-26)."""

import datetime
from decimal import Decimal

import pytest

from budgets.models import Budget, BudgetStatus, CloseDecision, Commitment, PeriodChange
from budgets.services.budget import (
    budget_close,
    budget_delete,
    budget_open,
    budget_reopen_approve,
    budget_reopen_request,
    budget_soft_close,
    budget_update,
    commitment_decide,
)
from budgets.services.changes import revision_approve, revision_propose, transfer_approve, transfer_propose
from budgets.services.periods import budget_for
from core.errors import Stale
from tests.budgets.builders import NEXT_YEAR, TODAY, YEAR, Place, assert_proven, figures, money, refused


def test_bud_19_overlapping_periods_of_one_purpose_are_refused(here: Place) -> None:
    here.budget(name="Cloud")
    with refused("budget_overlaps"):
        here.budget(name="cloud", period_start=datetime.date(2026, 12, 31), period_end=NEXT_YEAR[1])
    here.budget(name="Cloud", period_start=NEXT_YEAR[0], period_end=NEXT_YEAR[1])
    here.budget(name="Cloud", category="travel")
    with refused("budget_overlaps"):
        here.budget(name="Other", category="Travel")
    here.budget(name="Cloud", department=None)


def test_bud_19_the_period_is_found_by_the_day_and_no_period_is_never_free(here: Place) -> None:
    this_year = here.budget(name="General")
    next_year = here.next_year(this_year)

    def find(day: datetime.date, category: str = "") -> Budget:
        return budget_for(
            entity_id=here.entity.pk, department_id=here.department.pk, category=category, on=day
        )

    assert find(datetime.date(2026, 12, 31)) == this_year
    assert find(datetime.date(2027, 1, 1)) == next_year
    with refused("no_budget"):
        find(datetime.date(2028, 1, 1))
    cloud = here.budget(category="cloud")
    assert find(TODAY, "Cloud") == cloud
    here.budget(name="Second without category")
    with refused("ambiguous_budget"):
        find(TODAY)


def test_a_budget_needs_an_owner_an_ordered_period_and_a_whole_amount(here: Place) -> None:
    with refused("budget_without_owner"):
        from budgets.services.budget import budget_create

        budget_create(
            actor=here.finance, allocated_amount="1", name="x", period_start=YEAR[0], period_end=YEAR[1]
        )
    with refused("period_not_ordered"):
        here.budget(period_start=YEAR[1], period_end=YEAR[0])
    for amount, code in (
        ("-1", "invalid_allocation"),
        ("0.001", "invalid_allocation"),
        ("NaN", "amount_not_finite"),
    ):
        with refused(code):
            here.budget(amount)
    with refused("permission_denied"):
        here.budget(actor=here.manager)
    assert figures(here.budget("0")) == money("0", "0", "0", "0")


def test_bud_21_draft_open_soft_closed_closed_and_reopened_by_a_second_person(here: Place) -> None:
    budget = here.budget("100.00", draft=True)
    assert figures(budget)[0] == 0
    budget = budget_open(actor=here.finance, budget_id=budget.pk)
    assert (budget.status, figures(budget)[0]) == (BudgetStatus.OPEN, Decimal(100))
    with refused("budget_status"):
        budget_open(actor=here.finance, budget_id=budget.pk)
    with refused("permission_denied"):
        budget_soft_close(actor=here.staff, budget_id=budget.pk)
    budget_soft_close(actor=here.finance, budget_id=budget.pk)
    budget_close(actor=here.finance, budget_id=budget.pk, reason="Year end")
    with refused("budget_closed"):
        budget_update(actor=here.finance, budget_id=budget.pk, changes={"name": "Other"})
    with refused("reason_required"):
        budget_reopen_request(actor=here.finance, budget_id=budget.pk, reason=" ")
    change = budget_reopen_request(actor=here.finance, budget_id=budget.pk, reason="Late invoice")
    with refused("second_person_needed"):
        budget_reopen_approve(actor=here.finance, change_id=change.pk)
    with refused("permission_denied"):
        budget_reopen_approve(actor=here.staff, change_id=change.pk)
    reopened = budget_reopen_approve(actor=here.colleague, change_id=change.pk)
    assert reopened.status == BudgetStatus.OPEN
    with refused("already_decided"):
        budget_reopen_approve(actor=here.colleague, change_id=change.pk)
    here.charge(budget, "1.00")
    assert list(
        PeriodChange.objects.filter(budget=budget).order_by("pk").values_list("from_status", "to_status")
    ) == [("draft", "open"), ("open", "soft_closed"), ("soft_closed", "closed"), ("closed", "open")]
    last = budget.history.latest()
    assert (last.history_user, last.history_change_reason, last.status) == (
        here.colleague,
        "Late invoice",
        "open",
    )


def test_only_a_draft_is_deleted_and_only_a_draft_changes_its_amount(here: Place) -> None:
    draft = here.budget("100.00", draft=True)
    budget_update(actor=here.finance, budget_id=draft.pk, changes={"allocated_amount": "150.00"})
    assert figures(budget_open(actor=here.finance, budget_id=draft.pk))[0] == Decimal(150)
    with refused("budget_not_draft") as refusal:
        budget_update(
            actor=here.finance, budget_id=draft.pk, changes={"allocated_amount": "1", "currency": "EUR"}
        )
    assert [each.pointer for each in refusal.error.errors] == ["/allocated_amount", "/currency"]  # type: ignore[union-attr]
    with refused("budget_status"):
        budget_delete(actor=here.finance, budget_id=draft.pk)
    other = here.budget(draft=True)
    budget_delete(actor=here.finance, budget_id=other.pk)
    assert not Budget.objects.filter(pk=other.pk).exists()


def test_an_update_of_another_version_is_refused(here: Place) -> None:
    budget = Budget.objects.get(pk=here.budget().pk)
    budget_update(
        actor=here.finance, budget_id=budget.pk, changes={"name": "New"}, expected_version=budget.version
    )
    with pytest.raises(Stale):
        budget_update(
            actor=here.finance, budget_id=budget.pk, changes={"name": "Old"}, expected_version=budget.version
        )


def test_bud_05_control_cannot_become_stricter_than_what_has_happened(here: Place) -> None:
    budget = here.budget("100.00", control="off")
    here.charge(budget, "150.00")
    for changes in ({"control": "absolute"}, {"control": "advisory", "overspend_limit": Decimal("49.99")}):
        with refused("budget_overspent"):
            budget_update(actor=here.finance, budget_id=budget.pk, changes=changes)
    budget_update(
        actor=here.finance,
        budget_id=budget.pk,
        changes={"control": "advisory", "overspend_limit": Decimal(50)},
    )


def test_bud_22_close_refuses_undecided_commitments_and_releases_what_lapses(here: Place) -> None:
    budget = here.budget("100.00")
    first, second, third = (here.commit(budget, "10.00") for _ in range(3))
    with refused("commitments_undecided") as refusal:
        budget_close(actor=here.finance, budget_id=budget.pk)
    assert refusal.extra["commitments"] == [first.pk, second.pk, third.pk]
    with refused("unknown_decision"):
        commitment_decide(actor=here.finance, commitment_id=first.pk, decision="perhaps")
    for commitment, decision in ((first, "release"), (second, "lapse"), (third, "carry")):
        commitment_decide(actor=here.finance, commitment_id=commitment.pk, decision=decision)
    with refused("commitments_not_carried"):
        budget_close(actor=here.finance, budget_id=budget.pk)
    commitment_decide(actor=here.finance, commitment_id=third.pk, decision=CloseDecision.LAPSE)
    budget_close(actor=here.finance, budget_id=budget.pk)
    assert figures(budget) == money("100", "0", "0", "100")
    assert set(Commitment.objects.values_list("status", flat=True)) == {"released"}


def test_bud_22_what_lapses_by_policy_cannot_be_decided_to_carry(here: Place) -> None:
    commitment = here.commit(here.budget(rollover_policy="lapse"), "10.00")
    with refused("carry_not_allowed"):
        commitment_decide(actor=here.finance, commitment_id=commitment.pk, decision="carry")


def family(
    here: Place, *, given: tuple[str, str] = ("60.00", "60.00"), **fields: object
) -> tuple[Budget, Budget, Budget]:
    fields = {"is_control_point": True, **fields}
    parent = here.budget("100.00", department=None, **fields)
    first, second = (here.budget(amount, parent=parent) for amount in given)
    return parent, first, second


def test_bud_26_the_vector(here: Place) -> None:
    """Parent 100, children 60/60: 60 + 41 must fail at the parent."""
    parent, first, second = family(here)
    here.charge(first, "60.00")
    with refused("insufficient_budget") as refusal:
        here.charge(second, "41.00")
    assert [(each["budget_id"], each["short"]) for each in refusal.extra["shortfalls"]] == [
        (parent.pk, "1.00")
    ]
    here.commit(second, "40.00")
    assert figures(parent) == money("100", "40", "60", "0")
    assert figures(second) == money("60", "40", "0", "20")


def test_bud_26_every_ancestor_that_is_a_control_point_is_asked(here: Place) -> None:
    top = here.budget("50.00", department=None, is_control_point=True)
    middle = here.budget("80.00", department=None, parent=top)
    leaf = here.budget("100.00", parent=middle)
    assert Budget.objects.get(pk=leaf.pk).counted_by == [top.pk, leaf.pk]
    with refused("insufficient_budget"):
        here.charge(leaf, "50.01")
    here.charge(leaf, "50.00")
    assert figures(middle)[2] == 0
    assert figures(top) == money("50", "0", "50", "0")


def test_bud_26_a_budget_becomes_and_ceases_to_be_a_control_point(here: Place) -> None:
    parent, first, second = family(here, is_control_point=False)
    here.charge(first, "60.00")
    here.commit(second, "30.00")
    assert figures(parent) == money("100", "0", "0", "100")
    budget_update(actor=here.finance, budget_id=parent.pk, changes={"is_control_point": True})
    assert figures(parent) == money("100", "30", "60", "10")
    assert_proven()
    with refused("insufficient_budget"):
        here.charge(second, "10.01")
    budget_update(actor=here.finance, budget_id=parent.pk, changes={"is_control_point": False})
    assert figures(parent) == money("100", "0", "0", "100")
    here.charge(second, "10.01")
    with refused("control_point_exceeded"):
        budget_update(actor=here.finance, budget_id=parent.pk, changes={"is_control_point": True})
    assert Budget.objects.get(pk=second.pk).counted_by == [second.pk]


def test_bud_26_a_budget_moves_under_another_parent_with_what_it_uses(here: Place) -> None:
    parent, first, second = family(here)
    other = here.budget("50.00", department=None, is_control_point=True)
    here.charge(first, "50.00")
    here.charge(second, "10.00")
    budget_update(actor=here.finance, budget_id=first.pk, changes={"parent": other})
    assert (figures(parent)[2], figures(other)[2]) == money("10", "50")
    assert_proven()
    with refused("control_point_exceeded"):
        budget_update(actor=here.finance, budget_id=second.pk, changes={"parent": other})
    with refused("budget_cycle"):
        budget_update(actor=here.finance, budget_id=other.pk, changes={"parent": first})
    with refused("budget_cycle"):
        budget_update(actor=here.finance, budget_id=other.pk, changes={"parent": other})


def test_bud_26_strict_children_hold_at_creation_revision_and_transfer(here: Place) -> None:
    parent, first, _ = family(here, given=("60.00", "30.00"), strict_children=True, is_control_point=False)
    with refused("children_exceed_parent") as refusal:
        here.budget("10.01", parent=parent)
    assert refusal.extra["over_by"] == "0.01"
    third = here.budget("10.00", parent=parent, draft=True)
    revision = revision_propose(actor=here.staff, budget_id=first.pk, delta="0.01", reason="More")
    with refused("children_exceed_parent"):
        revision_approve(actor=here.finance, revision_id=revision.pk)
    down = revision_propose(actor=here.staff, budget_id=parent.pk, delta="-0.01", reason="Less")
    with refused("children_exceed_parent"):
        revision_approve(actor=here.finance, revision_id=down.pk)
    with refused("children_exceed_parent"):
        budget_update(actor=here.finance, budget_id=third.pk, changes={"allocated_amount": "10.01"})
    outside = here.budget("100.00")
    transfer = transfer_propose(
        actor=here.staff, from_budget_id=outside.pk, to_budget_id=first.pk, amount="5.00", reason="x"
    )
    with refused("children_exceed_parent"):
        transfer_approve(actor=here.finance, transfer_id=transfer.pk)
    loose = here.budget("5.00", department=None)
    for child in (outside,):
        budget_update(actor=here.finance, budget_id=child.pk, changes={"parent": loose})
    with refused("children_exceed_parent"):
        budget_update(actor=here.finance, budget_id=loose.pk, changes={"strict_children": True})


def test_bud_26_the_parent_has_the_same_currency_and_contains_the_period(here: Place) -> None:
    parent = here.budget(department=None)
    with refused("parent_of_another_currency"):
        here.budget(parent=parent, currency="EUR")
    with refused("parent_of_another_period"):
        here.budget(parent=parent, period_start=TODAY, period_end=NEXT_YEAR[1])
    draft = here.budget(department=None, draft=True)
    here.budget(parent=draft)
    with refused("parent_of_another_currency"):
        budget_update(actor=here.finance, budget_id=draft.pk, changes={"currency": "EUR"})


def test_bud_21_a_parent_closes_after_its_children_and_reopens_before_them(here: Place) -> None:
    parent, first, second = family(here)
    with refused("children_open"):
        budget_close(actor=here.finance, budget_id=parent.pk)
    for each in (first, second, parent):
        budget_close(actor=here.finance, budget_id=each.pk)
    change = budget_reopen_request(actor=here.finance, budget_id=first.pk, reason="Late")
    with refused("parent_closed"):
        budget_reopen_approve(actor=here.colleague, change_id=change.pk)
