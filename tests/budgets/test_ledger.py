"""The ledger: what is available, refusals, several lines, retries (BUD-01 to BUD-08, BUD-21)."""

from decimal import Decimal

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from budgets.models import Budget, BudgetAlert, BudgetEntry, BudgetException, EntryKind
from budgets.services.availability import Availability
from budgets.services.budget import budget_close, budget_soft_close
from budgets.services.charges import (
    ChargeLine,
    budget_charge_lines,
    budget_check_availability,
    budget_refund,
    entry_correct,
)
from budgets.services.ledger import Source
from budgets.services.proof import ledger_differences
from core.models import OutboxEvent
from tests.budgets.builders import NEXT_YEAR, TODAY, YEAR, Place, figures, money, refused


def line(budget: Budget, amount: str, **fields: object) -> ChargeLine:
    return ChargeLine(budget_id=budget.pk, amount=amount, description="Line", **fields)  # type: ignore[arg-type]


def test_bud_01_available_is_allocated_less_spent_less_committed(here: Place) -> None:
    budget = here.budget("100.00")
    here.charge(budget, "25.00")
    here.commit(budget, "30.00")
    assert figures(budget) == money("100", "30", "25", "45")
    sums = BudgetEntry.objects.filter(budget=budget).sums()
    assert (sums["allocated"], sums["committed"], sums["spent"]) == money("100", "30", "25")


def test_bud_01_check_ledger_names_the_first_difference(here: Place, capsys: pytest.CaptureFixture) -> None:
    budget = here.budget("100.00")
    call_command("check_ledger")
    assert "equal their ledger" in capsys.readouterr().out
    Budget.objects.filter(pk=budget.pk).update(spent_amount=Decimal("1.00"))
    with pytest.raises(CommandError, match=f"budget {budget.pk} .* spent is stored as 1"):
        call_command("check_ledger")
    assert [(each.counter, each.proven) for each in ledger_differences()] == [("spent", Decimal(0))]
    Budget.objects.filter(pk=budget.pk).update(spent_amount=0)


def test_bud_03_absolute_control_refuses_what_is_beyond(here: Place) -> None:
    budget = here.budget("100.00", control="absolute")
    with refused("insufficient_budget") as refusal:
        here.charge(budget, "100.01")
    assert refusal.extra["shortfalls"] == [
        {
            "budget_id": budget.pk,
            "name": budget.name,
            "currency": "USD",
            "allocated": "100.00",
            "used": "0.00",
            "available": "100.00",
            "asked": "100.01",
            "short": "0.01",
            "stretch": "",
        }
    ]


def test_bud_03_advisory_control_records_the_overspend_and_raises_the_critical_alert(here: Place) -> None:
    budget = here.budget(
        "100.00", control="advisory", overspend_limit="20.00", critical_threshold_percent=None
    )
    here.charge(budget, "95.00")
    posting = here.charge(budget, "15.00")
    assert figures(budget) == money("100", "0", "110", "-10")
    exception = BudgetException.objects.get()
    assert (exception.entry_id, exception.budget_id, exception.over_by) == (
        posting.entries[0].pk,
        budget.pk,
        Decimal("10.00"),
    )
    assert BudgetAlert.objects.filter(budget=budget, level="critical", entry=posting.entries[0]).count() == 1
    here.charge(budget, "10.00")
    assert [each.over_by for each in BudgetException.objects.order_by("pk")] == list(money("10", "10"))
    with refused("insufficient_budget"):
        here.charge(budget, "0.01")


def test_bud_03_control_off_refuses_nothing_and_flags_nothing(here: Place) -> None:
    budget = here.budget("100.00", control="off")
    here.charge(budget, "500.00")
    assert figures(budget) == money("100", "0", "500", "-400")
    assert not BudgetException.objects.exists()


NO_ALERTS = {f"{level}_threshold_percent": None for level in ("alert", "warning", "critical")}


@pytest.mark.parametrize("alerts", [{}, NO_ALERTS], ids=["with alerts", "without"])
@pytest.mark.parametrize("many", [False, True], ids=["one line", "several lines"])
def test_bud_06_equal_to_available_passes_and_a_cent_more_fails(
    here: Place, many: bool, alerts: dict[str, None]
) -> None:
    budget = here.budget("100.00", **alerts)
    here.charge(budget, "40.00")
    with refused("insufficient_budget"):
        if many:
            budget_charge_lines(actor=here.finance, lines=[line(budget, "60.01")])
        else:
            here.charge(budget, "60.01")
    here.charge(budget, "60.00")
    assert figures(budget) == money("100", "0", "100", "0")
    with refused("insufficient_budget"):
        here.commit(budget, "0.01")


def test_bud_07_lines_on_one_budget_are_summed_and_every_failing_budget_is_listed(here: Place) -> None:
    first, second, third = here.budget("100.00"), here.budget("50.00"), here.budget("10.00")
    with refused("insufficient_budget") as refusal:
        budget_charge_lines(
            actor=here.finance,
            lines=[line(first, "60.00"), line(second, "51.00"), line(first, "60.00"), line(third, "10.00")],
        )
    found = [(each["budget_id"], each["asked"], each["short"]) for each in refusal.extra["shortfalls"]]
    assert found == [(first.pk, "120.00", "20.00"), (second.pk, "51.00", "1.00")]
    posting = budget_charge_lines(
        actor=here.finance, lines=[line(first, "60.00"), line(first, "40.00"), line(second, "50.00")]
    )
    assert [entry.spent_delta for entry in posting.entries] == list(money("60", "40", "50"))
    assert figures(first)[3] == figures(second)[3] == 0


def test_bud_08_a_retry_of_the_same_source_returns_the_first_entry(here: Place) -> None:
    budget = here.budget("100.00")
    source = Source("invoice", "INV-7", line=1, revision=0)
    first = here.charge(budget, "80.00", source=source)
    again = here.charge(budget, "80.00", source=source)
    assert again.replayed and again.entries == first.entries
    assert figures(budget) == money("100", "0", "80", "20")
    with refused("source_reused"):
        here.charge(budget, "20.00", source=source)
    here.charge(budget, "20.00", source=Source("invoice", "INV-7", line=1, revision=1))
    assert figures(budget)[3] == 0


def test_bud_08_a_retry_of_a_commitment_returns_the_first_one(here: Place) -> None:
    budget = here.budget("100.00")
    source = Source("order", "PO-1")
    first = here.commit(budget, "80.00", source=source)
    assert here.commit(budget, "80.00", source=source) == first
    assert figures(budget)[1] == Decimal("80.00")
    with refused("source_reused"):
        here.commit(budget, "10.00", source=source)


def test_bud_08_a_retry_is_answered_after_the_budget_was_closed_or_its_threshold_fell(here: Place) -> None:
    budget = here.budget("100.00")
    source = Source("invoice", "INV-8")
    first = here.charge(budget, "50.00", source=source)
    Budget.objects.filter(pk=budget.pk).update(approval_threshold=Decimal("10.00"))
    assert here.charge(budget, "50.00", source=source).entries == first.entries
    budget_close(actor=here.finance, budget_id=budget.pk)
    assert here.charge(budget, "50.00", source=source).entries == first.entries


BAD_AMOUNTS = [
    ("-1.00", "amount_not_positive"),
    ("0", "amount_not_positive"),
    ("0.00", "amount_not_positive"),
    ("NaN", "amount_not_finite"),
    ("Infinity", "amount_not_finite"),
    ("1e400", "amount_too_large"),
    ("1." + "1" * 25, "amount_too_precise"),
    ("1.001", "amount_too_precise"),
    ("999999999999999.000000000000001", "amount_too_precise"),
    ("1,000.00", "invalid_amount"),
    ("", "invalid_amount"),
    (1.5, "invalid_amount"),
    (True, "invalid_amount"),
]


@pytest.mark.parametrize(("amount", "code"), BAD_AMOUNTS)
def test_bad_amounts_are_refused_each_for_its_reason(here: Place, amount: object, code: str) -> None:
    budget = here.budget("100.00", control="off")
    with refused(code):
        here.charge(budget, amount)
    with refused(code):
        here.commit(budget, amount)
    with refused(code):
        budget_check_availability(actor=here.finance, budget_id=budget.pk, amount=amount)  # type: ignore[arg-type]


def test_bad_currencies_budgets_days_and_states_are_refused(here: Place) -> None:
    budget = here.budget("100.00")
    draft = here.budget("100.00", draft=True)
    with refused("unknown_currency"):
        here.charge(budget, "1.00", currency="XXX")
    with refused("no_exchange_rate"):
        here.charge(budget, "1.00", currency="EUR")
    with refused("budget_not_open"):
        here.charge(draft, "1.00")
    with refused("outside_budget_period"):
        here.charge(budget, "1.00", posting_date=NEXT_YEAR[0])
    with refused("not_found"):
        here.charge(Budget(pk=999_999_999), "1.00")
    with refused("not_found"):
        here.charge(Budget(pk=2**70), "1.00")
    with refused("not_found"):
        here.charge(budget, "1.00", actor=here.outsider)
    with refused("no_lines"):
        budget_charge_lines(actor=here.finance, lines=[])


def test_a_department_manager_charges_and_an_auditor_does_not(here: Place) -> None:
    from entities.models import Role
    from tests.entities import factories

    budget = here.budget("100.00")
    here.charge(budget, "1.00", actor=here.manager)
    auditor = factories.member(here.entity, Role.AUDITOR)
    with refused("permission_denied"):
        here.charge(budget, "1.00", actor=auditor)
    assert budget_check_availability(actor=auditor, budget_id=budget.pk, amount="1.00").available
    whole = here.budget("100.00", department=None)
    with refused("not_found"):
        here.charge(whole, "1.00", actor=here.manager)


def test_a_charge_above_the_approval_threshold_needs_an_approved_request(here: Place) -> None:
    budget = here.budget("100.00", approval_threshold="50.00")
    here.charge(budget, "50.00")
    with refused("approval_required") as refusal:
        here.charge(budget, "50.01")
    assert refusal.extra["approval_threshold"] == "50.00"
    with refused("approval_required"):
        budget_charge_lines(actor=here.finance, lines=[line(budget, "25.01"), line(budget, "25.00")])


def test_bud_21_soft_closed_takes_finance_only_and_closed_nobody(here: Place) -> None:
    budget = here.budget("100.00")
    charged = here.charge(budget, "10.00").entries[0]
    budget_soft_close(actor=here.finance, budget_id=budget.pk)
    with refused("budget_soft_closed"):
        here.charge(budget, "1.00", actor=here.manager)
    here.charge(budget, "1.00", actor=here.staff)
    budget_close(actor=here.finance, budget_id=budget.pk)
    with refused("budget_closed"):
        here.charge(budget, "1.00")
    with refused("budget_closed"):
        here.commit(budget, "1.00")
    with refused("budget_closed"):
        budget_refund(
            actor=here.finance, budget_id=budget.pk, amount="10.00", description="Credit", reverses=charged
        )


def test_bud_21_the_reversal_of_a_closed_periods_entry_goes_to_the_first_open_one(here: Place) -> None:
    budget = here.budget("100.00")
    later = here.next_year(budget, "50.00")
    charged = here.charge(budget, "10.00").entries[0]
    wrong = here.charge(budget, "20.00").entries[0]
    budget_close(actor=here.finance, budget_id=budget.pk)
    refund = budget_refund(
        actor=here.finance, budget_id=budget.pk, amount="4.00", description="Credit", reverses=charged
    ).entries[0]
    assert (refund.budget_id, refund.posting_date, refund.reverses_id) == (later.pk, NEXT_YEAR[0], charged.pk)
    correction = entry_correct(actor=here.finance, entry_id=wrong.pk, reason="Twice").entries[0]
    assert (correction.budget_id, correction.spent_delta) == (later.pk, Decimal("-20.00"))
    assert figures(budget) == money("100", "0", "30", "70")
    assert figures(later) == money("50", "0", "-24", "74")
    with refused("refund_exceeds_charge"):
        budget_refund(
            actor=here.finance, budget_id=budget.pk, amount="6.01", description="Credit", reverses=charged
        )


def test_the_check_says_what_the_charge_would_and_writes_nothing(here: Place) -> None:
    budget = here.budget("100.00", approval_threshold="80.00")
    soft = here.budget("10.00", control="advisory", overspend_limit="5.00")
    before = BudgetEntry.objects.count()

    def asked(of: Budget, amount: str) -> Availability:
        return budget_check_availability(actor=here.manager, budget_id=of.pk, amount=amount)

    assert asked(budget, "80.00") == Availability(True, Decimal(100), False, False, "ok", "USD")
    assert asked(budget, "80.01") == Availability(
        False, Decimal(100), True, False, "approval_required", "USD"
    )
    assert asked(budget, "100.01").would_overspend
    assert asked(soft, "15.00") == Availability(True, Decimal(10), False, True, "overspend_allowed", "USD")
    assert asked(soft, "15.01") == Availability(False, Decimal(10), False, True, "insufficient_budget", "USD")
    budget_soft_close(actor=here.finance, budget_id=budget.pk)
    assert asked(budget, "1.00").reason == "budget_soft_closed"
    assert budget_check_availability(actor=here.staff, budget_id=budget.pk, amount="1.00").reason == "ok"
    budget_close(actor=here.finance, budget_id=budget.pk)
    assert asked(budget, "1.00").reason == "budget_closed"
    with refused("not_found"):
        budget_check_availability(actor=here.outsider, budget_id=budget.pk, amount="1.00")
    assert BudgetEntry.objects.count() == before


def test_bud_16_a_refund_never_exceeds_what_it_credits(here: Place) -> None:
    budget = here.budget("100.00")
    charged = here.charge(budget, "30.00").entries[0]

    def refund(amount: str, **fields: object) -> BudgetEntry:
        posting = budget_refund(
            actor=here.finance,
            budget_id=budget.pk,
            amount=amount,
            description="Credit note",
            reverses=charged,
            **fields,  # type: ignore[arg-type]
        )
        return posting.entries[0]

    source = Source("credit_note", "CN-1")
    entry = refund("20.00", source=source)
    assert (entry.kind, entry.spent_delta, entry.reverses_id) == (EntryKind.REFUND, Decimal(-20), charged.pk)
    assert refund("20.00", source=source) == entry
    with refused("refund_exceeds_charge") as refusal:
        refund("10.01")
    assert refusal.extra["refundable"] == "10.00"
    refund("10.00")
    assert figures(budget) == money("100", "0", "0", "100")
    other = here.budget()
    with refused("entry_of_another_budget"):
        budget_refund(actor=here.finance, budget_id=other.pk, amount="1", description="x", reverses=charged)


def test_bud_32_a_correction_is_an_opposite_entry_with_link_and_reason(here: Place) -> None:
    budget = here.budget("100.00")
    wrong = here.charge(budget, "30.00", posting_date=YEAR[0]).entries[0]
    with refused("reason_required"):
        entry_correct(actor=here.finance, entry_id=wrong.pk, reason=" ")
    correction = entry_correct(actor=here.finance, entry_id=wrong.pk, reason="Wrong department").entries[0]
    assert (correction.reverses_id, correction.reason, correction.spent_delta, correction.posting_date) == (
        wrong.pk,
        "Wrong department",
        Decimal("-30.00"),
        YEAR[0],
    )
    assert figures(budget) == money("100", "0", "0", "100")
    with refused("entry_not_correctable"):
        entry_correct(actor=here.finance, entry_id=wrong.pk, reason="Again")
    with refused("entry_not_correctable"):
        entry_correct(actor=here.finance, entry_id=correction.pk, reason="Back")
    with refused("not_found"):
        entry_correct(actor=here.outsider, entry_id=wrong.pk, reason="Mine")


def test_bud_30_tax_counts_unless_it_is_recoverable_and_the_setting_stays_on_the_entry(here: Place) -> None:
    budget = here.budget("300.00")
    recoverable = here.charge(budget, "100.00", tax="19.00", tax_recoverable=True).entries[0]
    lost = here.charge(budget, "100.00", tax="19.00", tax_recoverable=False).entries[0]
    assert (recoverable.spent_delta, recoverable.tax_recoverable) == (Decimal("100.00"), True)
    assert (lost.spent_delta, lost.tax_recoverable) == (Decimal("119.00"), False)
    committed = here.commit(budget, "50.00", tax="9.50", tax_recoverable=False)
    assert committed.amount == Decimal("59.50")
    assert committed.entries.get().tax_recoverable is False
    with refused("amount_not_positive"):
        here.charge(budget, "1.00", tax="-0.01", tax_recoverable=False)
    with refused("amount_too_precise"):
        here.charge(budget, "1.00", tax="0.001", tax_recoverable=False)


def test_entries_say_who_when_and_in_which_request(here: Place) -> None:
    from core.history import acting

    budget = here.budget("100.00")
    with acting(request_id="request-12345678"):
        entry = here.charge(budget, "10.00", actor=here.manager, reference="R-1").entries[0]
    stored = BudgetEntry.objects.get(pk=entry.pk)
    assert (stored.actor, stored.request_id, stored.reference, stored.posting_date) == (
        here.manager,
        "request-12345678",
        "R-1",
        TODAY,
    )
    assert (stored.document_amount, stored.document_currency, stored.rate) == (Decimal(10), "USD", Decimal(1))
    assert not OutboxEvent.objects.filter(topic="budget.threshold_crossed").exists()
