"""Commitments: promise, use, release, expiry, reopening, other periods, currency (BUD-02, BUD-09 to BUD-20, BUD-31)."""

import datetime
from decimal import Decimal

import pytest
import time_machine
from django.db import transaction

from budgets.models import Budget, BudgetEntry, Commitment, CommitmentStatus, EntryKind
from budgets.services.budget import budget_close, budget_update
from budgets.services.charges import ChargeLine, budget_charge_lines, budget_check_availability, budget_refund
from budgets.services.commitments import (
    commitment_change,
    commitment_consume,
    commitment_release,
    commitment_reopen,
)
from budgets.services.ledger import Posting, Source
from budgets.services.reservations import reservation_keep, reservation_settle
from budgets.tasks import release_expired_commitments
from core import clock
from tests.budgets.builders import NEXT_YEAR, TODAY, Place, figures, money, rate, refused


def invoice(here: Place, commitment: Commitment, amount: str, **fields: object) -> Posting:
    return commitment_consume(
        actor=here.finance,
        commitment_id=commitment.pk,
        amount=amount,
        description="Invoice",
        **fields,  # type: ignore[arg-type]
    )


def release(here: Place, commitment: Commitment, amount: str | None = None) -> Posting:
    return commitment_release(actor=here.finance, commitment_id=commitment.pk, amount=amount, reason="Less")


def stored(commitment: Commitment) -> tuple[str, Decimal, Decimal]:
    row = Commitment.objects.get(pk=commitment.pk)
    return row.status, row.consumed_amount, row.released_amount


def test_bud_02_two_pending_requests_never_pass_on_the_same_money(here: Place) -> None:
    budget = here.budget("100.00")
    pending = here.commit(budget, "60.00", pending=True)
    with refused("insufficient_budget"):
        here.commit(budget, "60.00", pending=True)
    with refused("commitment_pending"):
        invoice(here, pending, "10.00")
    reservation_keep(commitment_id=pending.pk)
    invoice(here, pending, "10.00")
    assert figures(budget) == money("100", "50", "10", "40")


def test_bud_02_final_approval_turns_the_promise_into_a_charge_at_once(here: Place) -> None:
    budget = here.budget("100.00")
    pending = here.commit(budget, "60.00", pending=True)
    reservation_settle(decided_by=here.finance, commitment_id=pending.pk, description="Approved purchase")
    assert figures(budget) == money("100", "0", "60", "40")
    assert stored(pending) == (CommitmentStatus.CONSUMED, Decimal(60), Decimal(0))
    with refused("commitment_closed"):
        reservation_settle(decided_by=here.finance, commitment_id=pending.pk, description="Again")


def test_apr_23_bud_18_the_effects_share_the_callers_transaction(here: Place) -> None:
    budget = here.budget("100.00")
    pending = here.commit(budget, "60.00", pending=True)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        release(here, pending)
        raise ZeroDivisionError
    assert figures(budget) == money("100", "60", "0", "40")
    with transaction.atomic():
        release(here, pending)
    assert figures(budget) == money("100", "0", "0", "100")
    assert stored(pending)[0] == CommitmentStatus.RELEASED


def test_bud_09_partial_use(here: Place) -> None:
    budget = here.budget("200.00")
    commitment = here.commit(budget, "100.00")
    invoice(here, commitment, "40.00")
    assert figures(budget) == money("200", "60", "40", "100")


def test_bud_10_final_flag_frees_the_rest(here: Place) -> None:
    budget = here.budget("200.00")
    commitment = here.commit(budget, "100.00")
    available = figures(budget)[3]
    invoice(here, commitment, "40.00", final=True)
    assert figures(budget) == money("200", "0", "40", "160")
    assert figures(budget)[3] == available + 60
    assert stored(commitment) == (CommitmentStatus.CONSUMED, Decimal(40), Decimal(60))


def test_bud_11_an_excess_is_tested_as_new_spend(here: Place) -> None:
    budget = here.budget("110.00")
    commitment = here.commit(budget, "100.00")
    entry = invoice(here, commitment, "110.00").entries[0]
    assert (entry.committed_delta, entry.spent_delta) == money("-100", "110")
    assert figures(budget) == money("110", "0", "110", "0")
    poorer = here.budget("109.99")
    commitment = here.commit(poorer, "100.00")
    with refused("insufficient_budget") as refusal:
        invoice(here, commitment, "110.00")
    assert (refusal.extra["shortfalls"][0]["asked"], refusal.extra["shortfalls"][0]["short"]) == (
        "10.00",
        "0.01",
    )


@pytest.mark.parametrize(
    ("percent", "amount", "passes", "fails"),
    [
        ("10", None, "110.00", "110.01"),
        (None, "5.00", "105.00", "105.01"),
        ("10", "5.00", "105.00", "105.01"),
        ("2", "5.00", "102.00", "102.01"),
        ("0", None, "100.00", "100.01"),
    ],
)
def test_bud_11_the_tolerance_is_the_smaller_of_percent_and_amount(
    here: Place, percent: str | None, amount: str | None, passes: str, fails: str
) -> None:
    budget = here.budget("1000.00", over_invoice_percent=percent, over_invoice_amount=amount)
    commitment = here.commit(budget, "100.00")
    with refused("commitment_exceeded"):
        invoice(here, commitment, fails)
    invoice(here, commitment, passes)
    assert figures(budget)[2] == Decimal(passes)


def test_bud_12_a_release_is_within_the_remainder_and_never_clamped(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "100.00")
    invoice(here, commitment, "40.00")
    for amount, code in (("0", "amount_not_positive"), ("-1", "amount_not_positive")):
        with refused(code):
            release(here, commitment, amount)
    with refused("release_exceeds_remainder") as refusal:
        release(here, commitment, "60.01")
    assert refusal.extra["remainder"] == "60.00"
    release(here, commitment, "20.00")
    release(here, commitment, "40.00")
    assert stored(commitment) == (CommitmentStatus.RELEASED, Decimal(40), Decimal(60))


def test_bud_13_many_invoices_close_it_and_a_closed_one_refuses_everything_but_reopening(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "90.00")
    for amount in ("30.00", "30.00", "30.00"):
        invoice(here, commitment, amount)
    assert stored(commitment) == (CommitmentStatus.CONSUMED, Decimal(90), Decimal(0))
    for act in (
        lambda: invoice(here, commitment, "1.00"),
        lambda: release(here, commitment, "1.00"),
        lambda: commitment_change(
            actor=here.finance, commitment_id=commitment.pk, amount="95.00", reason="More"
        ),
        lambda: reservation_keep(commitment_id=commitment.pk),
    ):
        with refused("commitment_closed"):
            act()
    with refused("commitment_not_reopenable"):
        commitment_reopen(actor=here.finance, commitment_id=commitment.pk, reason="Nothing was released")


def test_bud_13_reopening_tests_the_funds_again(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "60.00")
    release(here, commitment)
    here.charge(budget, "50.00")
    with refused("insufficient_budget"):
        commitment_reopen(actor=here.finance, commitment_id=commitment.pk, reason="After all")
    other = here.commit(budget, "20.00")
    release(here, other)
    reopened = commitment_reopen(actor=here.finance, commitment_id=other.pk, reason="After all")
    assert (reopened.status, reopened.remainder) == (CommitmentStatus.APPROVED, Decimal(20))
    assert figures(budget) == money("100", "20", "50", "30")


def test_bud_14_an_order_change_tests_only_the_difference(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "80.00")
    invoice(here, commitment, "50.00")

    def change(amount: str) -> Commitment:
        return commitment_change(
            actor=here.finance, commitment_id=commitment.pk, amount=amount, reason="Order changed"
        )

    with refused("insufficient_budget") as refusal:
        change("100.01")
    assert refusal.extra["shortfalls"][0]["asked"] == "20.01"
    change("100.00")
    assert figures(budget) == money("100", "50", "50", "0")
    with refused("commitment_below_consumed"):
        change("49.99")
    change("70.00")
    assert figures(budget) == money("100", "20", "50", "30")
    change("50.00")
    assert stored(commitment) == (CommitmentStatus.CONSUMED, Decimal(50), Decimal(0))


def test_bud_15_cancelling_an_order_releases_only_the_remainder(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "80.00")
    invoice(here, commitment, "50.00")
    release(here, commitment)
    assert figures(budget) == money("100", "0", "50", "50")


def test_bud_16_a_credit_note_reinstates_only_on_request_while_open_and_up_to_what_was_consumed(
    here: Place,
) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "80.00")
    consumed = invoice(here, commitment, "50.00").entries[0]

    def credit(amount: str, *, reinstate: bool, of: BudgetEntry = consumed) -> Posting:
        return budget_refund(
            actor=here.finance,
            budget_id=budget.pk,
            amount=amount,
            description="Credit note",
            reverses=of,
            reinstate_commitment=reinstate,
        )

    credit("10.00", reinstate=False)
    assert figures(budget) == money("100", "30", "40", "30")
    credit("15.00", reinstate=True)
    assert figures(budget) == money("100", "45", "25", "30")
    assert stored(commitment)[1] == Decimal("35.00")
    with refused("refund_exceeds_charge"):
        credit("25.01", reinstate=True)
    release(here, commitment)
    with refused("commitment_not_reinstatable"):
        credit("5.00", reinstate=True)
    plain = here.charge(budget, "1.00").entries[0]
    with refused("nothing_to_reinstate"):
        credit("1.00", reinstate=True, of=plain)


def test_bud_16_a_retried_reinstatement_changes_nothing(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "80.00")
    consumed = invoice(here, commitment, "50.00").entries[0]
    for _ in range(2):
        budget_refund(
            actor=here.finance,
            budget_id=budget.pk,
            amount="50.00",
            description="Credit note",
            reverses=consumed,
            reinstate_commitment=True,
            source=Source("credit_note", "1"),
        )
    assert stored(commitment)[1] == 0
    assert figures(budget) == money("100", "80", "0", "20")


def test_bud_08_a_retried_invoice_is_booked_once(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "80.00")
    source = Source("invoice", "INV-1")
    first = invoice(here, commitment, "80.00", source=source, final=True)
    again = invoice(here, commitment, "80.00", source=source, final=True)
    assert again.replayed and again.entries == first.entries
    with refused("source_reused"):
        invoice(here, commitment, "70.00", source=source)
    assert figures(budget) == money("100", "0", "80", "20")


HOUR = datetime.timedelta(hours=1)


def test_bud_17_an_expired_commitment_is_free_though_no_job_has_run(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "100.00", expires_at=clock.now() + HOUR)
    with refused("insufficient_budget"):
        here.charge(budget, "0.01")
    with time_machine.travel(clock.now() + HOUR, tick=False):
        assert budget_check_availability(actor=here.finance, budget_id=budget.pk, amount="100.00").available
        with refused_after_expiry():
            invoice(here, commitment, "10.00")
        here.charge(budget, "100.00")
        assert figures(budget) == money("100", "0", "100", "0")
        assert stored(commitment) == (CommitmentStatus.EXPIRED, Decimal(0), Decimal(100))
        assert release_expired_commitments() == 0
        released = BudgetEntry.objects.filter(commitment=commitment, kind=EntryKind.RELEASE)
        assert [each.committed_delta for each in released] == [Decimal(-100)]
        with refused("commitment_expired"):
            invoice(here, commitment, "10.00")


def refused_after_expiry() -> "pytest.RaisesContext":
    """The consumption is refused; its transaction is undone, and with it the release that it had written."""
    from core.errors import Conflict

    return pytest.raises(Conflict, match="is expired")


def test_bud_17_the_job_writes_the_release_once_and_a_reopened_one_can_expire_again(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "70.00", expires_at=clock.now() + HOUR)
    with time_machine.travel(clock.now() + HOUR, tick=False):
        assert release_expired_commitments() == 1
        assert release_expired_commitments() == 0
        assert figures(budget) == money("100", "0", "0", "100")
        with refused("expires_in_the_past"):
            commitment_reopen(
                actor=here.finance, commitment_id=commitment.pk, reason="Late", expires_at=clock.now()
            )
        commitment_reopen(
            actor=here.finance, commitment_id=commitment.pk, reason="Late", expires_at=clock.now() + HOUR
        )
        assert figures(budget) == money("100", "70", "0", "30")


def test_bud_17_a_commitment_expires_ninety_days_after_its_period_unless_told(here: Place) -> None:
    commitment = here.commit(here.budget(), "10.00")
    assert commitment.expires_at == datetime.datetime(2027, 4, 1, tzinfo=datetime.UTC)
    with refused("expires_in_the_past"):
        here.commit(Budget.objects.get(), "10.00", expires_at=clock.now())


def test_bud_17_expired_below_a_control_point_is_free_there_too(here: Place) -> None:
    parent = here.budget("100.00", department=None, is_control_point=True)
    child, sibling = (here.budget("100.00", parent=parent) for _ in range(2))
    here.commit(child, "90.00", expires_at=clock.now() + HOUR)
    with refused("insufficient_budget"):
        here.charge(sibling, "20.00")
    with time_machine.travel(clock.now() + HOUR, tick=False):
        assert budget_check_availability(actor=here.finance, budget_id=sibling.pk, amount="100.00").available
        here.charge(sibling, "100.00")
    assert figures(parent) == money("100", "0", "100", "0")


def test_bud_20_an_invoice_of_the_next_period_moves_what_it_needs(here: Place) -> None:
    budget = here.budget("100.00")
    later = here.next_year(budget, "50.00")
    commitment = here.commit(budget, "80.00")
    posting = invoice(here, commitment, "50.00", posting_date=NEXT_YEAR[0])
    assert [(each.budget_id, each.spent_delta) for each in posting.entries] == [(later.pk, Decimal(50))]
    assert figures(budget) == money("100", "30", "0", "70")
    assert figures(later) == money("50", "0", "50", "0")
    assert stored(commitment) == (CommitmentStatus.APPROVED, Decimal(50), Decimal(0))
    with refused("insufficient_budget"):
        invoice(here, commitment, "0.01", posting_date=NEXT_YEAR[0])
    invoice(here, commitment, "30.00", posting_date=TODAY)
    assert figures(budget) == money("100", "0", "30", "70")


def test_bud_20_without_a_budget_or_in_strict_mode_it_is_refused(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "80.00")
    with refused("no_budget"):
        invoice(here, commitment, "50.00", posting_date=NEXT_YEAR[0])
    here.next_year(budget)
    budget_update(actor=here.finance, budget_id=budget.pk, changes={"strict_periods": True})
    with refused("period_mismatch"):
        invoice(here, commitment, "50.00", posting_date=NEXT_YEAR[0])


def test_bud_20_a_final_invoice_of_the_next_period_frees_the_rest_of_the_old(here: Place) -> None:
    budget = here.budget("100.00")
    later = here.next_year(budget)
    commitment = here.commit(budget, "80.00")
    source = Source("invoice", "N-1")
    for _ in range(2):
        invoice(here, commitment, "50.00", posting_date=NEXT_YEAR[0], final=True, source=source)
    assert figures(budget) == money("100", "0", "0", "100")
    assert figures(later) == money("100", "0", "50", "50")


def test_bud_31_the_vector(here: Place) -> None:
    """Commit 1,000 EUR @1.10 = 1,100 USD; invoice @1.15: committed −1,100, spent +1,150, of which 50 is FX variance."""
    budget = here.budget("2000.00")
    rate("EUR", "USD", "1.10")
    commitment = here.commit(budget, "1000.00", currency="EUR")
    assert (commitment.amount, commitment.rate, commitment.rate_date) == (
        Decimal(1100),
        Decimal("1.1"),
        TODAY,
    )
    later = TODAY + datetime.timedelta(days=30)
    rate("EUR", "USD", "1.15", later)
    entry = invoice(here, commitment, "1000.00", posting_date=later).entries[0]
    assert (entry.committed_delta, entry.spent_delta, entry.fx_variance) == money("-1100", "1150", "50")
    assert (entry.document_amount, entry.document_currency, entry.rate, entry.rate_date) == (
        Decimal(1000),
        "EUR",
        Decimal("1.15"),
        later,
    )
    assert figures(budget) == money("2000", "0", "1150", "850")


def test_bud_31_the_variance_is_tested_as_new_spend(here: Place) -> None:
    budget = here.budget("1149.99")
    rate("EUR", "USD", "1.10")
    commitment = here.commit(budget, "1000.00", currency="EUR")
    later = TODAY + datetime.timedelta(days=30)
    rate("EUR", "USD", "1.15", later)
    with refused("insufficient_budget") as refusal:
        invoice(here, commitment, "1000.00", posting_date=later)
    assert refusal.extra["shortfalls"][0]["asked"] == "50.00"


def test_bud_31_no_rate_or_an_old_one_is_refused(here: Place) -> None:
    budget = here.budget("2000.00")
    with refused("no_exchange_rate"):
        here.commit(budget, "10.00", currency="EUR")
    rate("EUR", "USD", "1.10", TODAY - datetime.timedelta(days=8))
    with refused("stale_exchange_rate"):
        here.charge(budget, "10.00", currency="EUR")
    rate("EUR", "USD", "1.10", TODAY - datetime.timedelta(days=7))
    assert here.charge(budget, "10.00", currency="EUR").entries[0].spent_delta == Decimal("11.00")


def test_bud_31_parts_of_a_foreign_commitment_leave_no_cent_over(here: Place) -> None:
    budget = here.budget("2000.00")
    rate("EUR", "USD", "1.10")
    commitment = here.commit(budget, "1000.00", currency="EUR")
    for amount in ("333.33", "333.33", "333.34"):
        invoice(here, commitment, amount)
    assert stored(commitment) == (CommitmentStatus.CONSUMED, Decimal(1100), Decimal(0))
    assert figures(budget)[1] == 0


def test_bud_31_a_refund_uses_the_rate_of_what_it_credits(here: Place) -> None:
    budget = here.budget("2000.00")
    rate("EUR", "USD", "1.10")
    charged = here.charge(budget, "33.33", currency="EUR").entries[0]
    rate("EUR", "USD", "1.30", TODAY + datetime.timedelta(days=1))
    for amount in ("11.11", "22.22"):
        budget_refund(
            actor=here.finance,
            budget_id=budget.pk,
            amount=amount,
            currency="EUR",
            description="Credit",
            reverses=charged,
            posting_date=TODAY + datetime.timedelta(days=1),
        )
    assert figures(budget) == money("2000", "0", "0", "2000")


def test_bud_07_a_document_of_foreign_lines_is_summed_in_the_budgets_currency(here: Place) -> None:
    budget = here.budget("100.00")
    rate("EUR", "USD", "1.10")
    lines = [
        ChargeLine(budget_id=budget.pk, amount="50.00", currency="EUR", description="a"),
        ChargeLine(budget_id=budget.pk, amount="45.01", description="b"),
    ]
    with refused("insufficient_budget") as refusal:
        budget_charge_lines(actor=here.finance, lines=lines)
    assert refusal.extra["shortfalls"][0]["short"] == "0.01"


def test_a_closed_budget_takes_no_act_on_its_commitments(here: Place) -> None:
    budget = here.budget("100.00")
    commitment = here.commit(budget, "10.00")
    release(here, commitment)
    budget_close(actor=here.finance, budget_id=budget.pk)
    with refused("budget_closed"):
        commitment_reopen(actor=here.finance, commitment_id=commitment.pk, reason="Late")
    with refused("not_found"):
        commitment_release(actor=here.outsider, commitment_id=commitment.pk, reason="Mine")
