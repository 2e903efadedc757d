"""The commands and jobs of disputes (DSP-08 to DSP-10)."""

from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.conf import settings
from django.core.management import CommandError, call_command

from disputes import tasks
from disputes.models import BillingDispute, DisputeRound
from disputes.services.handling import dispute_wait_for_customer
from tests.disputes.builders import Desk, log, round_now


def said(command: str, *arguments: str) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def test_dsp_10_the_timers_by_hand_and_by_job(desk: Desk, travel: time_machine.Traveller) -> None:
    desk.policy(hours=100, response_hours=1)
    first = desk.open()
    travel.shift(timedelta(hours=1, seconds=1))
    assert said("run_dispute_timers") == (
        "1 breaches noted, 0 warnings sent, 0 escalated, 0 customers reminded, 0 withdrawn, 0 closed.\n"
    )
    assert log(first) == ["opened", "breached"]
    assert first.events.get(kind="breached").channel == "command"
    second = desk.open()
    travel.shift(timedelta(hours=1, seconds=1))
    assert tasks.run_timers() == 1
    assert second.events.get(kind="breached").channel == "job"
    assert tasks.run_timers() == 0


def test_dsp_09_clocks_are_proven_and_repaired(desk: Desk, travel: time_machine.Traveller) -> None:
    desk.policy(hours=8, response_hours=1)
    dispute, other = desk.open(), desk.open()
    travel.shift(timedelta(hours=2))
    dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk, question="Which?")
    before = DisputeRound.objects.filter(dispute=dispute).values().get()
    assert said("verify_dispute_clocks") == "The clocks of 2 rounds are what their logs say.\n"
    assert tasks.verify_clocks() == 0
    DisputeRound.objects.filter(dispute=dispute).update(
        paused_since=None,
        resolution_due_at=round_now(other).resolution_due_at,
        withdraw_at=None,
        paused_seconds=9,
    )
    BillingDispute.objects.filter(pk=dispute.pk).update(next_deadline_at=None)
    BillingDispute.objects.filter(pk=other.pk).update(next_deadline_at=None)
    # Four figures and the deadline that follows from one of them.
    assert tasks.verify_clocks() == 5
    with pytest.raises(CommandError, match="5 differences; the first: D-"):
        said("verify_dispute_clocks")
    assert "5 differences were there and are repaired." in said("verify_dispute_clocks", "--repair")
    assert DisputeRound.objects.filter(dispute=dispute).values().get() == before
    assert desk.again(other).next_deadline_at == round_now(other).response_due_at
    assert tasks.verify_clocks() == 0


def test_the_scheduler_knows_them() -> None:
    names = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {tasks.run_timers.name, tasks.verify_clocks.name} <= names
