"""Opening disputes (DSP-01 to DSP-03, DSP-05)."""

from decimal import Decimal

from tests.disputes.builders import Desk, log


def test_dsp_01_a_dispute_is_opened(desk: Desk) -> None:
    dispute = desk.open()
    assert (dispute.status, dispute.amount, log(dispute)) == ("open", Decimal("59.5"), ["opened"])
