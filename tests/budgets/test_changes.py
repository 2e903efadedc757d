"""Transfers, revisions and overrides (BUD-24, BUD-25, BUD-29)."""

from decimal import Decimal

import pytest

from budgets.models import Budget, BudgetEntry, BudgetOverride, BudgetRevision, BudgetTransfer, EntryKind
from budgets.services.budget import budget_close, budget_soft_close, budget_update
from budgets.services.changes import (
    charge_with_override,
    override_approve,
    override_propose,
    override_reject,
    revision_approve,
    revision_propose,
    revision_reject,
    transfer_approve,
    transfer_propose,
    transfer_reject,
)
from budgets.services.charges import ChargeLine
from budgets.services.ledger import Posting
from core.models import User
from tests.budgets.builders import Place, figures, money, refused


def propose(
    here: Place, giving: Budget, taking: Budget, amount: str, actor: User | None = None
) -> BudgetTransfer:
    return transfer_propose(
        actor=actor or here.staff,
        from_budget_id=giving.pk,
        to_budget_id=taking.pk,
        amount=amount,
        reason="Cloud costs more",
    )


def test_bud_24_a_transfer_is_two_linked_entries_that_sum_to_zero(here: Place) -> None:
    giving, taking = here.budget("100.00", owner=here.manager), here.budget("50.00")
    transfer = propose(here, giving, taking, "30.00")
    assert figures(giving)[0] == 100
    done = transfer_approve(actor=here.manager, transfer_id=transfer.pk)
    assert (done.status, done.owner_approved_by, done.finance_approved_by) == ("approved", here.manager, None)
    assert (figures(giving), figures(taking)) == (money("70", "0", "0", "70"), money("80", "0", "0", "80"))
    entries = list(BudgetEntry.objects.filter(kind=EntryKind.TRANSFER).order_by("pk"))
    assert [(each.allocated_delta, each.counterpart_id) for each in entries] == [
        (Decimal(-30), taking.pk),
        (Decimal(30), giving.pk),
    ]
    assert sum(giving.months.values_list("amount", flat=True)) == Decimal(70)
    with refused("already_decided"):
        transfer_approve(actor=here.manager, transfer_id=transfer.pk)


def test_bud_24_what_cannot_be_transferred(here: Place) -> None:
    giving, taking = here.budget("100.00"), here.budget("50.00")
    euro, later = here.budget(currency="EUR"), here.next_year(giving)
    for other, amount, code in (
        (giving, "1", "transfer_to_itself"),
        (taking, "0", "amount_not_positive"),
        (taking, "-1", "amount_not_positive"),
        (taking, "1.001", "amount_too_precise"),
        (euro, "1", "transfer_across_currencies"),
        (later, "1", "transfer_across_periods"),
    ):
        with refused(code):
            propose(here, giving, other, amount)
    with refused("reason_required"):
        transfer_propose(
            actor=here.staff, from_budget_id=giving.pk, to_budget_id=taking.pk, amount="1", reason=" "
        )
    with refused("not_found"):
        propose(here, giving, taking, "1", actor=here.outsider)


def test_bud_24_the_giver_must_have_it_when_it_is_approved(here: Place) -> None:
    giving, taking = here.budget("100.00"), here.budget("50.00")
    transfer = propose(here, giving, taking, "30.00")
    here.charge(giving, "70.01")
    with refused("insufficient_budget"):
        transfer_approve(actor=here.finance, transfer_id=transfer.pk)
    assert BudgetTransfer.objects.get(pk=transfer.pk).owner_approved_by_id is None
    small = propose(here, giving, taking, "29.99")
    transfer_approve(actor=here.finance, transfer_id=small.pk)
    assert figures(giving)[3] == 0


@pytest.mark.parametrize("owner_first", [True, False])
def test_bud_24_above_the_threshold_owner_and_finance_both_approve(here: Place, owner_first: bool) -> None:
    giving, taking = here.budget("50000.00", owner=here.manager), here.budget("50.00")
    exactly = propose(here, giving, taking, "10000.00")
    assert transfer_approve(actor=here.manager, transfer_id=exactly.pk).status == "approved"
    transfer = propose(here, giving, taking, "10000.01")
    first, second = (here.manager, here.finance) if owner_first else (here.finance, here.manager)
    assert transfer_approve(actor=first, transfer_id=transfer.pk).status == "proposed"
    assert figures(giving)[0] == 40000
    with refused("not_the_approver"):
        transfer_approve(actor=first, transfer_id=transfer.pk)
    done = transfer_approve(actor=second, transfer_id=transfer.pk)
    assert (done.owner_approved_by, done.finance_approved_by) == (here.manager, here.finance)
    assert figures(giving)[0] == Decimal("29999.99")


def test_bud_24_the_requester_approves_neither_part_and_one_person_not_both(here: Place) -> None:
    giving, taking = here.budget("50000.00", owner=here.finance), here.budget("50.00")
    own = propose(here, giving, taking, "20000.00", actor=here.finance)
    with refused("second_person_needed"):
        transfer_approve(actor=here.finance, transfer_id=own.pk)
    # The owner asked: a colleague of finance stands in for the owner, and a third person approves as finance.
    transfer_approve(actor=here.colleague, transfer_id=own.pk)
    with refused("not_the_approver"):
        transfer_approve(actor=here.colleague, transfer_id=own.pk)
    other = propose(here, giving, taking, "5.00")
    with refused("not_the_approver"):
        transfer_approve(actor=here.manager, transfer_id=other.pk)
    with refused("not_the_approver"):
        transfer_approve(actor=here.colleague, transfer_id=other.pk)
    transfer_approve(actor=here.finance, transfer_id=other.pk)


def test_bud_24_a_refused_transfer_moves_nothing(here: Place) -> None:
    giving, taking = here.budget("100.00", owner=here.manager), here.budget("50.00")
    transfer = propose(here, giving, taking, "30.00")
    with refused("reason_required"):
        transfer_reject(actor=here.manager, transfer_id=transfer.pk, comment="")
    with refused("permission_denied"):
        transfer_reject(actor=here.staff, transfer_id=transfer.pk, comment="No")
    assert (
        transfer_reject(actor=here.manager, transfer_id=transfer.pk, comment="Needed here").status
        == "rejected"
    )
    with refused("already_decided"):
        transfer_approve(actor=here.manager, transfer_id=transfer.pk)


def revise(here: Place, budget: Budget, delta: str) -> BudgetRevision:
    return revision_propose(actor=here.staff, budget_id=budget.pk, delta=delta, reason="New headcount")


def test_bud_25_a_revision_is_in_force_once_approved_and_numbered(here: Place) -> None:
    budget = here.budget("100.00")
    first, second = revise(here, budget, "50.00"), revise(here, budget, "-20.00")
    assert (first.number, second.number) == (1, 2)
    assert figures(budget)[0] == 100
    with refused("second_person_needed"):
        _by_requester(here, budget)
    revision_approve(actor=here.finance, revision_id=first.pk)
    revision_approve(actor=here.finance, revision_id=second.pk)
    assert figures(budget)[0] == 130
    assert sum(budget.months.values_list("amount", flat=True)) == Decimal(130)
    entry = BudgetEntry.objects.filter(kind=EntryKind.ADJUSTMENT).latest("pk")
    assert (entry.allocated_delta, entry.reason) == (Decimal(-20), "New headcount")
    with refused("already_decided"):
        revision_reject(actor=here.finance, revision_id=first.pk, comment="Late")


def _by_requester(here: Place, budget: Budget) -> None:
    own = revision_propose(actor=here.finance, budget_id=budget.pk, delta="1.00", reason="Mine")
    revision_approve(actor=here.finance, revision_id=own.pk)


def test_bud_25_the_allocation_never_falls_below_what_is_used(here: Place) -> None:
    budget = here.budget("100.00")
    here.charge(budget, "40.00")
    here.commit(budget, "30.00")
    for delta, code in (("0", "revision_changes_nothing"), ("0.001", "amount_too_precise")):
        with refused(code):
            revise(here, budget, delta)
    too_much = revise(here, budget, "-30.01")
    with refused("insufficient_budget"):
        revision_approve(actor=here.finance, revision_id=too_much.pk)
    revision_approve(actor=here.finance, revision_id=revise(here, budget, "-30.00").pk)
    assert figures(budget) == money("70", "30", "40", "0")
    assert revision_reject(actor=here.finance, revision_id=too_much.pk, comment="No").status == "rejected"


def override(here: Place, budget: Budget, limit: str = "20.00") -> BudgetOverride:
    asked = override_propose(actor=here.manager, budget_id=budget.pk, limit=limit, reason="Outage")
    return override_approve(actor=here.finance, override_id=asked.pk)


def use(here: Place, granted: BudgetOverride, budget: Budget, amount: str) -> Posting:
    line = ChargeLine(budget_id=budget.pk, amount=amount, description="Emergency")
    return charge_with_override(actor=here.manager, line=line, override_id=granted.pk)


def test_bud_29_an_override_is_used_once_within_its_limit_and_stores_before_and_after(here: Place) -> None:
    budget = here.budget("100.00")
    here.charge(budget, "90.00")
    granted = override(here, budget)
    with refused("override_too_small"):
        use(here, granted, budget, "30.01")
    entry = use(here, granted, budget, "25.00").entries[0]
    granted = BudgetOverride.objects.get(pk=granted.pk)
    assert (entry.kind, granted.entry_id, granted.used_amount) == (EntryKind.CHARGE, entry.pk, Decimal(15))
    assert granted.before == {
        "allocated": "100.00", "spent": "90.00", "committed": "0.00", "override": "0.00", "available": "10.00",
    }  # fmt: skip
    assert (granted.after["spent"], granted.after["override"], granted.after["available"]) == (
        "115.00",
        "15.00",
        "0.00",
    )
    raised = BudgetEntry.objects.get(kind=EntryKind.OVERRIDE)
    assert (raised.override_delta, raised.reason) == (Decimal(15), "Outage")
    with refused("override_not_usable"):
        use(here, granted, budget, "1.00")
    with refused("insufficient_budget"):
        here.charge(budget, "0.01")


def test_bud_29_the_granter_is_another_with_the_right_and_within_a_money_limit(here: Place) -> None:
    budget = here.budget("100.00")
    asked = override_propose(actor=here.finance, budget_id=budget.pk, limit="20.00", reason="Outage")
    with refused("second_person_needed"):
        override_approve(actor=here.finance, override_id=asked.pk)
    with refused("permission_denied"):
        override_approve(actor=here.staff, override_id=asked.pk)
    with refused("reason_required"):
        override_propose(actor=here.manager, budget_id=budget.pk, limit="1.00", reason="")
    large = override_propose(actor=here.manager, budget_id=budget.pk, limit="50000.01", reason="Outage")
    with refused("override_above_authority") as refusal:
        override_approve(actor=here.finance, override_id=large.pk)
    assert refusal.extra["authority"] == "50000.00"
    with refused("override_not_usable"):
        use(here, large, budget, "101.00")
    assert override_reject(actor=here.colleague, override_id=asked.pk, comment="No").status == "rejected"
    from entities.models import Role
    from tests.entities import factories

    administrator = factories.member(here.entity, Role.ADMINISTRATOR)
    assert override_approve(actor=administrator, override_id=large.pk).status == "approved"


def test_bud_05_an_override_raises_every_control_point_that_is_short(here: Place) -> None:
    parent = here.budget("100.00", department=None, is_control_point=True)
    child = here.budget("120.00", parent=parent)
    here.charge(child, "100.00")
    use(here, override(here, child, "40.00"), child, "30.00")
    assert figures(parent) == money("100", "0", "130", "0")
    assert figures(child) == money("120", "0", "130", "0")


def test_bud_22_no_budget_and_closed_cannot_be_overridden(here: Place) -> None:
    budget = here.budget("100.00")
    granted = override(here, budget)
    other = here.budget()
    with refused("override_not_usable"):
        use(here, granted, other, "1.00")
    budget_soft_close(actor=here.finance, budget_id=budget.pk)
    with refused("budget_soft_closed"):
        use(here, granted, budget, "110.00")
    budget_close(actor=here.finance, budget_id=budget.pk)
    with refused("budget_closed"):
        use(here, granted, budget, "110.00")


def test_bud_29_an_override_sets_the_monthly_profile_aside_but_not_the_approval(here: Place) -> None:
    budget = here.budget("120.00", check_scope="month")
    with refused("insufficient_budget"):
        here.charge(budget, "10.01")
    use(here, override(here, budget, "5.00"), budget, "15.00")
    assert figures(budget) == money("120", "0", "15", "105")
    budget_update(actor=here.finance, budget_id=budget.pk, changes={"approval_threshold": Decimal(1)})
    with refused("approval_required"):
        use(here, override(here, budget, "5.00"), budget, "2.00")
