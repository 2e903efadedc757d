"""The report on reasons: counts, amounts and the share in time, by category, root cause and outcome."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine

from core.access import system_actor
from disputes.selectors.reasons import DisputeReasons, ReasonAmounts, ReasonRow, dispute_reasons
from disputes.services.ending import dispute_merge, dispute_withdraw
from disputes.services.handling import dispute_update
from disputes.services.proposals import Proposal, dispute_resolve
from tests.disputes.builders import Desk, refused


def euro(disputed: str, approved: str) -> ReasonAmounts:
    return ReasonAmounts("EUR", Decimal(disputed), Decimal(approved))


def figures(rows: tuple[ReasonRow, ...]) -> dict[str, tuple[object, ...]]:
    return {
        row.key: (row.disputes, row.decided, row.in_time, row.in_time_percent, row.amounts) for row in rows
    }


@pytest.fixture
def report(desk: Desk, travel: time_machine.Traveller) -> DisputeReasons:
    """Five disputes: three are decided, one of them late; one is withdrawn, one is open. One more was merged."""
    desk.policy(small_claims_amount="100", hours=24)
    credit, rejected, late, withdrawn = (desk.open(amount=str(amount)) for amount in (10, 20, 30, 40))
    dispute_resolve(actor=desk.staff, dispute_id=credit.pk, proposal=Proposal("credit", "Yes", amount="8"))
    dispute_resolve(actor=desk.staff, dispute_id=rejected.pk, proposal=Proposal("no_action", "No"))
    dispute_withdraw(actor=desk.customer, dispute_id=withdrawn.pk)
    travel.shift(timedelta(days=2))
    dispute_resolve(actor=desk.staff, dispute_id=late.pk, proposal=Proposal("credit", "Yes"))
    dispute_update(actor=desk.staff, dispute_id=late.pk, changes={"root_cause": "wrong_price"})
    invoice = desk.invoice()
    older, newer = (desk.open(invoice, line=number, amount="5", category="tax") for number in (1, 2))
    dispute_merge(actor=desk.manager, dispute_id=older.pk, other_id=newer.pk, reason="One")
    return dispute_reasons(desk.staff)


def test_the_report_by_category(report: DisputeReasons) -> None:
    assert figures(report.by_category) == {
        "pricing": (4, 3, 2, Decimal("66.7"), (euro("100", "38"),)),
        # What was merged counts once, with both amounts.
        "tax": (1, 0, 0, None, (euro("10", "0"),)),
    }
    assert [row.label for row in report.by_category] == ["Price", "Tax"]


def test_the_report_by_root_cause(report: DisputeReasons) -> None:
    assert figures(report.by_root_cause) == {
        "": (4, 2, 2, Decimal("100.0"), (euro("80", "8"),)),
        "wrong_price": (1, 1, 0, Decimal("0.0"), (euro("30", "30"),)),
    }
    assert [row.label for row in report.by_root_cause] == ["Not found yet", "Wrong price"]


def test_the_report_by_outcome(report: DisputeReasons) -> None:
    assert figures(report.by_outcome) == {
        "credit_note": (2, 2, 1, Decimal("50.0"), (euro("40", "38"),)),
        "rejected": (1, 1, 1, Decimal("100.0"), (euro("20", "0"),)),
        "withdrawn": (1, 0, 0, None, (euro("40", "0"),)),
        "": (1, 0, 0, None, (euro("10", "0"),)),
    }


def test_the_period_is_half_open_and_the_places_narrow_it(desk: Desk, report: DisputeReasons) -> None:
    def count(**scope: object) -> int:
        found = dispute_reasons(desk.staff, **scope)  # type: ignore[arg-type]
        return sum(row.disputes for row in found.by_category)

    assert count() == 5
    assert count(opened_from=date(2026, 3, 2), opened_to=date(2026, 3, 4)) == 4
    assert count(opened_from=date(2026, 3, 4)) == 1
    assert count(opened_to=date(2026, 3, 2)) == 0
    assert (count(issuer_id=desk.issuer.pk), count(issuer_id=desk.payer.pk)) == (5, 0)
    assert (count(entity_id=desk.payer.pk), count(entity_id=desk.issuer.pk)) == (5, 0)
    with refused("period_not_ordered"):
        count(opened_from=date(2026, 3, 2), opened_to=date(2026, 3, 2))


def test_dsp_18_only_staff_has_figures(desk: Desk, report: DisputeReasons) -> None:
    empty = DisputeReasons((), (), ())
    for user in (desk.customer, desk.buyer, desk.stranger):
        assert dispute_reasons(user) == empty
    for user in (desk.auditor, desk.manager, system_actor()):
        assert dispute_reasons(user) == report
