"""What time brings: missed deadlines, warnings, the ladder, reminders, withdrawal, closing (DSP-05 to DSP-10, DSP-16)."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine

from core.sweeps import Swept
from disputes.models import BillingDispute, DisputeEvent
from disputes.services import timers
from disputes.services.comments import comment_add
from disputes.services.handling import (
    dispute_change_severity,
    dispute_escalate,
    dispute_investigate,
    dispute_update,
    dispute_wait_for_customer,
)
from disputes.services.policies import Target
from disputes.services.proposals import Proposal, dispute_resolve
from tests.disputes.builders import Desk, berlin, log, office_calendar, round_now

Clock = time_machine.Traveller
SECOND = timedelta(seconds=1)


def done() -> dict[str, int]:
    """What a run of the timers has done, without what it has not."""
    swept = timers.run_timers()
    assert all(result.failed == 0 for result in swept.values())
    return {name: result.done for name, result in swept.items() if result.done}


def last(dispute: BillingDispute, kind: str) -> dict[str, Any]:
    return DisputeEvent.objects.filter(dispute=dispute, kind=kind).order_by("-id")[0].details


@pytest.fixture
def office(desk: Desk) -> Desk:
    """Eight working hours to answer, sixteen to resolve, Mon–Fri 09–17 in Berlin; the staff works there too."""
    calendar = office_calendar()
    desk.policy(hours=16, calendar=calendar)
    for person in (desk.staff, desk.colleague, desk.manager):
        person.work_calendar = calendar
        person.save()
    return desk


class TestBreaches:
    def test_dsp_10_at_the_deadline_exactly_it_is_met(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        travel.move_to(berlin("2026-03-02 17:00"))
        assert round_now(dispute).response_due_at == berlin("2026-03-02 17:00")
        assert done() == {}
        comment_add(actor=office.staff, dispute_id=dispute.pk, body="We look.", visibility="customer")
        current = round_now(dispute)
        assert current.response_met_at == berlin("2026-03-02 17:00")
        assert current.response_breached_at is None

    def test_dsp_10_after_it_the_breach_is_written_once_and_stays(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        travel.move_to(berlin("2026-03-02 17:00") + SECOND)
        assert done() == {"breaches noted": 1}
        assert done() == {}
        current = round_now(dispute)
        assert current.response_breached_at == berlin("2026-03-02 17:00")
        assert office.again(dispute).is_escalated
        assert office.again(dispute).escalated_at == berlin("2026-03-02 17:00") + SECOND
        assert log(dispute) == ["opened", "breached"]
        comment_add(actor=office.staff, dispute_id=dispute.pk, body="Sorry.", visibility="customer")
        assert round_now(dispute).response_breached_at == berlin("2026-03-02 17:00")
        assert log(dispute) == ["opened", "breached", "staff_message"]

    def test_dsp_10_a_late_answer_writes_the_breach_that_no_timer_has_seen(
        self, office: Desk, travel: Clock
    ) -> None:
        dispute = office.open()
        travel.move_to(berlin("2026-03-03 09:01"))
        comment_add(actor=office.staff, dispute_id=dispute.pk, body="Sorry.", visibility="customer")
        assert log(dispute) == ["opened", "staff_message", "breached"]
        assert done() == {}

    def test_dsp_05_internal_notes_and_receipts_are_no_answer(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        comment_add(actor=office.staff, dispute_id=dispute.pk, body="Who knows this?", visibility="internal")
        travel.move_to(berlin("2026-03-03 09:00"))
        assert done() == {"breaches noted": 1}

    def test_dsp_09_more_time_given_later_does_not_undo_a_breach(self, desk: Desk, travel: Clock) -> None:
        targets = {"high": Target(60, 60), "low": Target(6000, 6000)}
        desk.policy(calendar=office_calendar(), targets=targets)
        dispute = desk.open(severity="high")
        travel.move_to(berlin("2026-03-02 11:00"))
        assert done() == {"breaches noted": 1}
        dispute_change_severity(actor=desk.staff, dispute_id=dispute.pk, severity="low", reason="Small")
        current = round_now(dispute)
        assert current.resolution_breached_at == berlin("2026-03-02 10:00")
        assert current.resolution_due_at == berlin("2026-03-18 13:00")
        assert done() == {}

    @pytest.mark.parametrize("proven", [False])
    def test_one_that_fails_stops_no_other(self, proven: bool, office: Desk, travel: Clock) -> None:
        broken, sound = office.open(), office.open()
        # A log without its opening cannot be read.
        current = round_now(broken)
        DisputeEvent.objects.create(
            dispute=broken, round=current, kind="opened", status="open", severity="medium",
            at=current.started_at, actor=office.staff,
        )  # fmt: skip
        travel.move_to(berlin("2026-03-03 09:00"))
        assert timers.note_breaches() == Swept(done=1, failed=1)
        assert round_now(sound).response_breached_at is not None
        assert round_now(broken).response_breached_at is None


class TestWarnings:
    def test_dsp_10_at_75_and_90_percent_once_each(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        comment_add(actor=office.staff, dispute_id=dispute.pk, body="We look.", visibility="customer")
        assert round_now(dispute).next_warning_at == berlin("2026-03-03 13:00")
        travel.move_to(berlin("2026-03-03 13:00") - SECOND)
        assert done() == {}
        travel.move_to(berlin("2026-03-03 13:00"))
        assert done() == {"warnings sent": 1}
        assert done() == {}
        staff = sorted([office.staff.pk, office.colleague.pk, office.manager.pk])
        assert last(dispute, "warned") == {"percent": 75, "told": staff, "complete": True}
        assert round_now(dispute).next_warning_at == berlin("2026-03-03 15:24")
        travel.move_to(berlin("2026-03-03 15:24"))
        assert done() == {"warnings sent": 1}
        assert last(dispute, "warned")["percent"] == 90
        assert round_now(dispute).next_warning_at is None

    def test_dsp_10_in_business_hours_of_whoever_gets_them(self, desk: Desk, travel: Clock) -> None:
        """By the policy the warning is due at three in the night; one is at work from seven, the other from nine."""
        desk.policy(hours=24)
        early = office_calendar(**dict.fromkeys(("monday", "tuesday"), "07:00-15:00"))
        desk.staff.work_calendar = early
        desk.staff.save()
        for person in (desk.colleague, desk.manager):
            person.work_calendar = office_calendar()
            person.save()
        dispute = desk.open()
        comment_add(actor=desk.staff, dispute_id=dispute.pk, body="We look.", visibility="customer")
        assert round_now(dispute).next_warning_at == berlin("2026-03-03 03:00")
        travel.move_to(berlin("2026-03-03 03:00"))
        assert done() == {}
        travel.move_to(berlin("2026-03-03 06:36"))
        assert done() == {}
        travel.move_to(berlin("2026-03-03 07:00"))
        assert done() == {"warnings sent": 1}
        assert last(dispute, "warned") == {"percent": 90, "told": [desk.staff.pk], "complete": False}
        travel.move_to(berlin("2026-03-03 09:00"))
        assert done() == {"warnings sent": 1}
        assert last(dispute, "warned")["told"] == sorted([desk.colleague.pk, desk.manager.pk])
        assert last(dispute, "warned")["complete"] is True
        assert done() == {}

    def test_dsp_10_the_owner_alone_is_warned(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        comment_add(actor=office.staff, dispute_id=dispute.pk, body="We look.", visibility="customer")
        dispute_update(actor=office.staff, dispute_id=dispute.pk, changes={"owner": office.colleague})
        travel.move_to(berlin("2026-03-03 13:00"))
        assert done() == {"warnings sent": 1}
        assert last(dispute, "warned")["told"] == [office.colleague.pk]

    def test_dsp_10_a_missed_deadline_is_not_warned_of(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        travel.move_to(berlin("2026-03-04 09:00"))
        assert done() == {"breaches noted": 1}
        assert log(dispute) == ["opened", "breached", "breached"]
        assert done() == {}


class TestLadder:
    def test_dsp_10_owner_then_lead_then_finance_managers(self, office: Desk, travel: Clock) -> None:
        office.policy(
            customer=office.payer,
            calendar=office_calendar(),
            hours=1,
            response_hours=1,
            lead=office.colleague,
        )
        dispute = office.open()
        dispute_update(actor=office.staff, dispute_id=dispute.pk, changes={"owner": office.staff})
        travel.move_to(berlin("2026-03-02 10:05"))
        assert done() == {"breaches noted": 1}
        current = round_now(dispute)
        assert (current.escalation_level, current.next_escalation_at) == (1, berlin("2026-03-03 10:05"))
        travel.move_to(berlin("2026-03-03 10:04"))
        assert done() == {}
        travel.move_to(berlin("2026-03-03 10:05"))
        assert done() == {"escalated": 1}
        assert done() == {}
        assert last(dispute, "escalated") == {"level": 2}
        travel.move_to(berlin("2026-03-04 10:05"))
        assert done() == {"escalated": 1}
        assert last(dispute, "escalated") == {"level": 3}
        assert round_now(dispute).next_escalation_at is None
        travel.move_to(berlin("2026-03-20 10:05"))
        assert done() == {}

    def test_dsp_10_without_a_lead_the_finance_managers_come_next(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        travel.move_to(berlin("2026-03-03 09:00"))
        done()
        travel.move_to(berlin("2026-03-04 09:00"))
        assert done() == {"breaches noted": 1, "escalated": 1}
        assert log(dispute) == ["opened", "breached", "breached", "escalated"]
        assert last(dispute, "escalated") == {"level": 3}

    def test_dsp_10_nobody_climbs_once_staff_has_answered(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        travel.move_to(berlin("2026-03-03 09:00"))
        assert done() == {"breaches noted": 1}
        comment_add(actor=office.staff, dispute_id=dispute.pk, body="Sorry.", visibility="customer")
        assert round_now(dispute).next_escalation_at is None

    def test_dsp_04_escalated_by_hand_the_next_on_the_ladder_is_asked(self, office: Desk) -> None:
        dispute = office.open()
        dispute_escalate(actor=office.staff, dispute_id=dispute.pk, reason="I need help")
        again = office.again(dispute)
        assert (again.status, again.is_escalated) == ("open", True)
        assert last(dispute, "escalated") == {"level": 3}
        assert round_now(dispute).next_escalation_at is None


class TestSilence:
    def test_dsp_08_two_reminders_then_withdrawn_and_no_breach(self, office: Desk, travel: Clock) -> None:
        invoice = office.invoice()
        dispute = office.open(invoice)
        dispute_wait_for_customer(actor=office.staff, dispute_id=dispute.pk, question="Which order?")
        current = round_now(dispute)
        assert current.next_reminder_at == berlin("2026-03-05 09:00")
        assert current.withdraw_at == berlin("2026-03-16 09:00")
        assert current.paused_since == berlin("2026-03-02 09:00") and current.resolution_due_at is None
        travel.move_to(berlin("2026-03-05 09:00"))
        assert done() == {"customers reminded": 1}
        assert done() == {}
        assert round_now(dispute).next_reminder_at == berlin("2026-03-11 09:00")
        travel.move_to(berlin("2026-03-11 09:00"))
        assert done() == {"customers reminded": 1}
        assert round_now(dispute).next_reminder_at is None
        travel.move_to(berlin("2026-03-16 09:00") - SECOND)
        assert done() == {}
        travel.move_to(berlin("2026-03-16 09:00"))
        assert done() == {"withdrawn": 1}
        assert done() == {}
        again, current = office.again(dispute), round_now(dispute)
        assert (again.status, again.is_escalated, again.next_deadline_at) == ("withdrawn", False, None)
        assert again.end_reason == "Nobody answered our question, also after 2 reminders."
        assert (current.response_breached_at, current.resolution_breached_at) == (None, None)
        assert current.elapsed_seconds == 0 and current.ended_at == berlin("2026-03-16 09:00")
        assert again.hold is not None and again.hold.released_at is not None
        invoice.refresh_from_db(fields=["disputed_amount"])
        assert invoice.disputed_amount == 0

    def test_dsp_08_an_answer_resumes_at_once_and_ends_the_reminders(
        self, office: Desk, travel: Clock
    ) -> None:
        """DSP-07: 16 h target, an hour used, paused for two days: 15 h remain."""
        dispute = office.open()
        travel.move_to(berlin("2026-03-02 10:00"))
        dispute_wait_for_customer(actor=office.staff, dispute_id=dispute.pk, question="Which order?")
        travel.move_to(berlin("2026-03-05 10:00"))
        assert done() == {"customers reminded": 1}
        travel.move_to(berlin("2026-03-05 11:00"))
        comment_add(actor=office.customer, dispute_id=dispute.pk, body="Order 7.", visibility="customer")
        again, current = office.again(dispute), round_now(dispute)
        assert again.status == "investigating"
        assert current.resolution_due_at == berlin("2026-03-09 10:00") == again.next_deadline_at
        assert (current.silence_reminders, current.next_reminder_at, current.withdraw_at) == (0, None, None)
        assert current.paused_seconds == 25 * 3600

    def test_dsp_08_after_an_outage_each_reminder_still_leaves_a_day(
        self, office: Desk, travel: Clock
    ) -> None:
        dispute = office.open()
        dispute_wait_for_customer(actor=office.staff, dispute_id=dispute.pk, question="Which order?")
        travel.move_to(berlin("2026-04-01 12:00"))
        assert done() == {"customers reminded": 1}
        assert done() == {}
        travel.move_to(berlin("2026-04-02 12:00"))
        assert done() == {"customers reminded": 1}
        assert done() == {}
        # Good Friday and Easter Monday are no working days.
        assert round_now(dispute).withdraw_at == berlin("2026-04-07 12:00")
        travel.move_to(berlin("2026-04-07 12:00"))
        assert done() == {"withdrawn": 1}
        assert office.again(dispute).status == "withdrawn"

    def test_dsp_08_waiting_again_begins_anew(self, office: Desk, travel: Clock) -> None:
        dispute = office.open()
        dispute_wait_for_customer(actor=office.staff, dispute_id=dispute.pk, question="Which order?")
        travel.move_to(berlin("2026-03-05 09:00"))
        assert done() == {"customers reminded": 1}
        dispute_investigate(actor=office.staff, dispute_id=dispute.pk)
        dispute_wait_for_customer(actor=office.staff, dispute_id=dispute.pk)
        current = round_now(dispute)
        assert (current.silence_reminders, current.next_reminder_at) == (0, berlin("2026-03-10 09:00"))


class TestClosing:
    def test_dsp_16_resolved_is_closed_after_the_days_to_reopen(self, office: Desk, travel: Clock) -> None:
        office.policy(customer=office.payer, reopen_days=7)
        dispute = office.open()
        dispute_resolve(
            actor=office.staff,
            dispute_id=dispute.pk,
            proposal=Proposal("no_action", "It is right as billed."),
        )
        assert round_now(dispute).closes_at == berlin("2026-03-09 09:00")
        travel.move_to(berlin("2026-03-09 09:00"))
        assert done() == {}
        travel.move_to(berlin("2026-03-09 09:00") + SECOND)
        assert done() == {"closed": 1}
        assert done() == {}
        assert office.again(dispute).status == "closed"
        assert office.again(dispute).ended_at == berlin("2026-03-09 09:00") + SECOND
