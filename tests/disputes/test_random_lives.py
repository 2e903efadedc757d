"""Whatever people do in whatever order, and whenever the timers run: stored clocks are what the log says (DSP-09)."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import BillingError
from disputes.models import OPEN_STATUSES, BillingDispute, DisputeRound
from disputes.services import timers
from disputes.services.comments import comment_add
from disputes.services.ending import dispute_close, dispute_reopen, dispute_withdraw
from disputes.services.handling import (
    dispute_acknowledge,
    dispute_change_severity,
    dispute_escalate,
    dispute_investigate,
    dispute_update,
    dispute_wait_for_customer,
    dispute_wait_for_third_party,
)
from disputes.services.policies import Target
from disputes.services.proposals import Proposal, dispute_resolve
from invoicing.models import CollectionHold, Invoice
from tests.disputes.builders import MONDAY, Desk, assert_clocks_proven, office_calendar

HOURS = st.sampled_from([0.0, 0.001, 0.5, 1.0, 3.0, 7.5, 8.0, 24.0, 40.0, 71.9, 168.0, 400.0])
ACTS = (
    "acknowledge", "investigate", "ask", "wait", "third", "answer", "reply", "note", "severity", "escalate", "owner",
    "resolve", "close", "reopen", "withdraw", "timers",
)  # fmt: skip
SEEN: Counter[str] = Counter()


def act_of(desk: Desk, pk: int, name: str) -> Callable[[], Any]:
    staff, customer = {"actor": desk.staff, "dispute_id": pk}, {"actor": desk.customer, "dispute_id": pk}
    now = BillingDispute.objects.get(pk=pk)
    other = "low" if now.severity != "low" else "critical"
    acts: dict[str, Callable[[], Any]] = {
        "acknowledge": lambda: dispute_acknowledge(**staff),
        "investigate": lambda: dispute_investigate(**staff),
        "ask": lambda: dispute_wait_for_customer(**staff, question="Which?"),
        "wait": lambda: dispute_wait_for_customer(**staff),
        "third": lambda: dispute_wait_for_third_party(**staff, note="Provider"),
        "answer": lambda: comment_add(**staff, body="Hello.", visibility="customer"),
        "reply": lambda: comment_add(**customer, body="That.", visibility="customer"),
        "note": lambda: comment_add(**staff, body="Hm.", visibility="internal"),
        "severity": lambda: dispute_change_severity(**staff, severity=other, reason="R"),
        "escalate": lambda: dispute_escalate(**staff, reason="R"),
        "owner": lambda: dispute_update(**staff, changes={"owner": desk.colleague}),
        "resolve": lambda: dispute_resolve(**staff, proposal=Proposal("no_action", "Right.")),
        "close": lambda: dispute_close(**customer),
        "reopen": lambda: dispute_reopen(**customer, reason="No."),
        "withdraw": lambda: dispute_withdraw(**customer),
        "timers": timers.run_timers,
    }
    return acts[name]


def assert_consistent(pk: int, invoice: Invoice) -> None:
    assert_clocks_proven()
    dispute = BillingDispute.objects.get(pk=pk)
    held = CollectionHold.objects.filter(released_at__isnull=True, due_date__isnull=True)
    amounts = Decimal(sum(hold.amount for hold in held))
    assert amounts == (dispute.amount if dispute.status in OPEN_STATUSES else 0)
    assert Invoice.objects.get(pk=invoice.pk).disputed_amount == amounts
    running = DisputeRound.objects.filter(dispute=dispute, ended_at__isnull=True)
    assert running.count() == (1 if dispute.status in OPEN_STATUSES else 0)
    assert dispute.rounds.count() == dispute.round_number


@pytest.mark.parametrize("calendar", [True, False])
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.tuples(st.sampled_from(ACTS), HOURS), min_size=4, max_size=14))
def test_dsp_09_random_lives(
    desk: Desk, travel: time_machine.Traveller, calendar: bool, steps: list[tuple[str, float]]
) -> None:
    travel.move_to(MONDAY)
    with transaction.atomic():
        _live(desk, travel, office_calendar() if calendar else None, steps)
        transaction.set_rollback(True)


def _live(desk: Desk, travel: time_machine.Traveller, calendar: Any, steps: list[tuple[str, float]]) -> None:
    targets = {"low": Target(2400, 960), "medium": Target(960, 480), "critical": Target(120, 60)}
    desk.policy(
        calendar=calendar, targets=targets, pauses_for_third_party=calendar is None, lead=desk.colleague
    )
    invoice = desk.invoice()
    pk = desk.open(invoice, amount="50").pk
    for name, hours in steps:
        travel.shift(timedelta(hours=hours))
        try:
            with transaction.atomic():
                done = act_of(desk, pk, name)()
            SEEN[name] += 1
        except BillingError as error:
            SEEN[error.code] += 1
            continue
        if name == "timers":
            assert all(swept.failed == 0 for swept in done.values())
            assert not any(swept.done for swept in timers.run_timers().values())
        assert_consistent(pk, invoice)
