"""Working on disputes, withdrawing, closing, reopening, merging, and what ends elsewhere (DSP-04, DSP-07…09, DSP-16, DSP-17)."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine

from core.access import system_actor
from core.calendars import work_calendar_update
from core.outbox import dispatch_pending
from disputes.models import BillingDispute
from disputes.services.comments import comment_add, comment_edit
from disputes.services.ending import dispute_close, dispute_merge, dispute_reopen, dispute_withdraw
from disputes.services.handling import (
    dispute_acknowledge,
    dispute_change_severity,
    dispute_escalate,
    dispute_investigate,
    dispute_update,
    dispute_wait_for_customer,
    dispute_wait_for_third_party,
)
from disputes.services.policies import Target, policy_update
from disputes.services.proposals import Proposal, dispute_resolve
from disputes.services.rounds import clocks_differ
from invoicing.models import CollectionHold, Invoice
from invoicing.selectors.holds import held_amounts
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.invoice import invoice_void
from tests.disputes.builders import Desk, berlin, log, office_calendar, refused, round_now

D = Decimal
Clock = time_machine.Traveller
REJECTED = Proposal("no_action", "It is right as billed.")


def disputed(invoice: Invoice) -> Decimal:
    return Invoice.objects.get(pk=invoice.pk).disputed_amount


def reject(desk: Desk, dispute: BillingDispute) -> None:
    dispute_resolve(actor=desk.staff, dispute_id=dispute.pk, proposal=REJECTED)


class TestHandling:
    def test_dsp_04_the_way_through_the_states(self, desk: Desk) -> None:
        dispute = desk.open()
        pk, staff = dispute.pk, desk.staff
        assert dispute_acknowledge(actor=staff, dispute_id=pk).status == "acknowledged"
        assert desk.again(dispute).owner_id == staff.pk
        assert dispute_investigate(actor=staff, dispute_id=pk).status == "investigating"
        assert dispute_wait_for_customer(actor=staff, dispute_id=pk).status == "waiting_customer"
        assert dispute_wait_for_third_party(actor=staff, dispute_id=pk).status == "waiting_third_party"
        assert dispute_investigate(actor=staff, dispute_id=pk).status == "investigating"
        reject(desk, dispute)
        assert desk.again(dispute).status == "resolved"
        assert dispute_close(actor=desk.customer, dispute_id=pk).status == "closed"
        assert log(dispute) == [
            "opened", "acknowledged", "status", "status", "status", "status", "proposed", "resolved", "closed",
        ]  # fmt: skip

    def test_dsp_04_what_is_refused_changes_nothing(self, desk: Desk) -> None:
        dispute = desk.open()
        pk, staff = dispute.pk, desk.staff
        dispute_acknowledge(actor=staff, dispute_id=pk)
        with refused("dispute_status"):
            dispute_acknowledge(actor=staff, dispute_id=pk)
        with refused("dispute_status"):
            dispute_close(actor=staff, dispute_id=pk)
        with refused("not_decided"):
            dispute_reopen(actor=staff, dispute_id=pk, reason="R")
        dispute_withdraw(actor=desk.customer, dispute_id=pk)
        for refusal in (dispute_acknowledge, dispute_investigate, dispute_wait_for_customer):
            with refused("dispute_over"):
                refusal(actor=staff, dispute_id=pk)
        with refused("dispute_over"):
            dispute_escalate(actor=staff, dispute_id=pk, reason="R")
        with refused("dispute_over"):
            dispute_change_severity(actor=staff, dispute_id=pk, severity="low", reason="R")
        with refused("dispute_over"):
            dispute_update(actor=staff, dispute_id=pk, changes={"category": "tax"})
        with refused("dispute_over"):
            dispute_withdraw(actor=desk.customer, dispute_id=pk)
        dispute_update(actor=staff, dispute_id=pk, changes={"root_cause": "other"})

    def test_ent_05_the_customers_side_handles_nothing(self, desk: Desk) -> None:
        dispute = desk.open()
        for actor in (desk.customer, desk.buyer, desk.auditor):
            with refused("permission_denied"):
                dispute_acknowledge(actor=actor, dispute_id=dispute.pk)
            with refused("permission_denied"):
                dispute_wait_for_customer(actor=actor, dispute_id=dispute.pk, question="?")
            with refused("permission_denied"):
                dispute_update(actor=actor, dispute_id=dispute.pk, changes={"category": "tax"})
        for actor in (desk.stranger, desk.neighbour):
            with refused("not_found"):
                dispute_withdraw(actor=actor, dispute_id=dispute.pk)

    def test_a_stale_copy_is_refused_with_its_question(self, desk: Desk) -> None:
        dispute = desk.open()
        with refused("stale_version"):
            dispute_wait_for_customer(
                actor=desk.staff,
                dispute_id=dispute.pk,
                question="Which?",
                expected_version=dispute.version + 7,
            )

    def test_who_owns_it_can_handle_it(self, desk: Desk) -> None:
        dispute = desk.open()
        with refused("owner_cannot_handle"):
            dispute_update(actor=desk.staff, dispute_id=dispute.pk, changes={"owner": desk.customer})

    def test_dsp_07_vector(self, desk: Desk, travel: Clock) -> None:
        """8 h target from Mon 09:00, pause Mon 13:00, resume Wed 11:00 → Wed 15:00."""
        desk.policy(hours=8, calendar=office_calendar())
        dispute = desk.open()
        assert round_now(dispute).resolution_due_at == berlin("2026-03-02 17:00")
        travel.move_to(berlin("2026-03-02 13:00"))
        dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk, question="Which?")
        assert desk.again(dispute).next_deadline_at is None
        travel.move_to(berlin("2026-03-03 12:00"))
        comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Still silent.", visibility="internal")
        assert (round_now(dispute).paused_seconds, clocks_differ(round_now(dispute))) == (0, {})
        travel.move_to(berlin("2026-03-04 11:00"))
        comment_add(actor=desk.buyer, dispute_id=dispute.pk, body="That.", visibility="customer")
        current = round_now(dispute)
        assert current.resolution_due_at == berlin("2026-03-04 15:00") == desk.again(dispute).next_deadline_at
        assert current.paused_seconds == 14 * 3600

    @pytest.mark.parametrize(("pauses", "due"), [(False, "2026-03-02 17:00"), (True, "2026-03-03 13:00")])
    def test_dsp_07_third_parties_pause_where_the_policy_says(
        self, desk: Desk, travel: Clock, pauses: bool, due: str
    ) -> None:
        desk.policy(hours=8, calendar=office_calendar(), pauses_for_third_party=pauses)
        dispute = desk.open()
        comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Hello.", visibility="customer")
        travel.move_to(berlin("2026-03-02 11:00"))
        dispute_wait_for_third_party(actor=desk.staff, dispute_id=dispute.pk, note="The provider")
        travel.move_to(berlin("2026-03-02 15:00"))
        dispute_investigate(actor=desk.staff, dispute_id=dispute.pk)
        assert round_now(dispute).resolution_due_at == berlin(due)

    def test_dsp_09_severity_recomputes_from_creation_and_keeps_the_pauses(
        self, desk: Desk, travel: Clock
    ) -> None:
        targets = {"medium": Target(16 * 60, 480), "high": Target(8 * 60, 240)}
        desk.policy(calendar=office_calendar(), targets=targets)
        dispute = desk.open()
        comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Hello.", visibility="customer")
        travel.move_to(berlin("2026-03-02 10:00"))
        dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk)
        travel.move_to(berlin("2026-03-02 12:00"))
        dispute_investigate(actor=desk.staff, dispute_id=dispute.pk)
        assert round_now(dispute).resolution_due_at == berlin("2026-03-04 11:00")
        dispute_change_severity(actor=desk.staff, dispute_id=dispute.pk, severity="high", reason="Big")
        assert round_now(dispute).resolution_due_at == berlin("2026-03-03 11:00")

    def test_dsp_09_policy_and_calendar_are_frozen(self, desk: Desk) -> None:
        policy = desk.policy(hours=8, calendar=office_calendar())
        dispute = desk.open()
        before = round_now(dispute)
        work_calendar_update(actor=system_actor(), calendar=policy.calendar, monday="", tuesday="09:00-10:00")
        policy_update(actor=desk.manager, policy_id=policy.pk, targets={"medium": Target(60, 60)})
        comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Hello.", visibility="customer")
        assert round_now(dispute).resolution_due_at == before.resolution_due_at == berlin("2026-03-02 17:00")
        assert round_now(desk.open()).resolution_due_at == berlin("2026-03-03 10:00")

    def test_dsp_18_a_chargeback_never_pauses(self, desk: Desk, travel: Clock) -> None:
        desk.policy(hours=8, calendar=office_calendar())
        dispute = desk.open(chargeback_scheme="Visa", chargeback_deadline=date(2026, 3, 12))
        dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk, question="Which?")
        current = round_now(dispute)
        assert current.resolution_due_at == berlin("2026-03-13 00:00")
        assert (current.paused_since, current.paused_seconds) == (None, 0)


class TestComments:
    def test_dsp_18_an_edit_is_a_new_version(self, desk: Desk) -> None:
        dispute = desk.open()
        first = comment_add(actor=desk.customer, dispute_id=dispute.pk, body="One.", visibility="customer")
        second = comment_edit(actor=desk.customer, comment_id=first.pk, body="Two.")
        assert (second.version, second.thread_key, second.body) == (2, first.thread_key, "Two.")
        assert list(dispute.comments.order_by("pk").values_list("body", flat=True))[1:] == ["One.", "Two."]
        with refused("not_the_latest_version"):
            comment_edit(actor=desk.customer, comment_id=first.pk, body="Three.")
        with refused("not_the_author"):
            comment_edit(actor=desk.staff, comment_id=second.pk, body="Three.")

    def test_dsp_18_internal_is_for_staff(self, desk: Desk) -> None:
        dispute = desk.open()
        note = comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Ours.", visibility="internal")
        with refused("internal_is_for_staff"):
            comment_add(actor=desk.customer, dispute_id=dispute.pk, body="X", visibility="internal")
        with refused("not_found"):
            comment_edit(actor=desk.customer, comment_id=note.pk, body="X")
        with refused("takes_no_part"):
            comment_add(actor=desk.auditor, dispute_id=dispute.pk, body="X", visibility="internal")
        with refused("body_required"):
            comment_add(actor=desk.customer, dispute_id=dispute.pk, body=" ", visibility="customer")


class TestWithdrawing:
    def test_what_was_held_back_is_collected_again(self, desk: Desk) -> None:
        invoice = desk.invoice()
        dispute = desk.open(invoice, amount="10")
        dispute_withdraw(actor=desk.buyer, dispute_id=dispute.pk, reason="Found it.")
        again = desk.again(dispute)
        assert (again.status, again.end_reason, again.next_deadline_at) == ("withdrawn", "Found it.", None)
        assert disputed(invoice) == 0
        assert desk.open(invoice, amount="10").status == "open"

    def test_staff_says_how_they_know(self, desk: Desk) -> None:
        dispute = desk.open()
        with refused("reason_required"):
            dispute_withdraw(actor=desk.staff, dispute_id=dispute.pk)


class TestReopening:
    def test_dsp_16_a_new_round_with_new_clocks(self, desk: Desk, travel: Clock) -> None:
        """Nine hours were used in the first round; the days until it is reopened are no pause."""
        desk.policy(hours=16, calendar=office_calendar())
        dispute = desk.open(amount="50")
        travel.move_to(berlin("2026-03-03 10:00"))
        reject(desk, dispute)
        travel.move_to(berlin("2026-03-12 10:00"))
        reopened = dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="It is not right.")
        assert (reopened.status, reopened.round_number, reopened.amount) == ("open", 2, D("50"))
        assert (reopened.resolved_at, reopened.approved_amount, reopened.ended_at) == (None, None, None)
        first = dispute.rounds.get(number=1)
        assert (first.elapsed_seconds, first.paused_seconds) == (9 * 3600, 0)
        current = round_now(dispute)
        assert current.started_at == berlin("2026-03-12 10:00")
        assert current.resolution_due_at == berlin("2026-03-16 10:00")
        assert reopened.next_deadline_at == current.response_due_at == berlin("2026-03-13 10:00")

    def test_dsp_14_dsp_16_what_was_deferred_is_disputed_anew_and_not_twice(
        self, desk: Desk, travel: Clock
    ) -> None:
        invoice = desk.invoice()
        dispute = desk.open(invoice, amount="50")
        travel.move_to(berlin("2026-03-30 09:00"))
        reject(desk, dispute)
        assert CollectionHold.objects.get().due_date == date(2026, 4, 13)
        dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="It is not right.")
        held = held_amounts([invoice.pk], on=date(2026, 3, 31))[invoice.pk]
        assert (held.disputed, held.deferred) == (D("50"), D(0))
        assert disputed(invoice) == D("50")

    def test_dsp_16_within_the_days_and_at_most_twice(self, desk: Desk, travel: Clock) -> None:
        dispute = desk.open()
        for _ in range(2):
            reject(desk, dispute)
            dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="No.")
        reject(desk, dispute)
        with refused("reopened_too_often"):
            dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="No.")
        late = desk.open()
        reject(desk, late)
        travel.shift(timedelta(days=30, seconds=1))
        with refused("reopen_window_closed"):
            dispute_reopen(actor=desk.customer, dispute_id=late.pk, reason="No.")
        travel.shift(-timedelta(seconds=1))
        assert dispute_reopen(actor=desk.customer, dispute_id=late.pk, reason="No.").status == "open"

    def test_dsp_16_limits_are_recomputed(self, desk: Desk) -> None:
        invoice = desk.invoice("100")
        dispute = desk.open(invoice, amount="119")
        reject(desk, dispute)
        desk.credit(desk.line(invoice), "100")
        with refused("hold_exceeds_line"):
            dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="No.", amount="19.01")
        assert dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="No.").amount == D("19")

    def test_dsp_16_dsp_17_not_on_a_void_invoice_nor_beside_another(self, desk: Desk) -> None:
        invoice = desk.invoice()
        dispute = desk.open(invoice)
        reject(desk, dispute)
        other = desk.open(invoice, line=None, amount="1")
        with refused("disputed_already"):
            dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="No.")
        dispute_withdraw(actor=desk.customer, dispute_id=other.pk)
        invoice_void(actor=system_actor(), invoice=invoice, reason="Twice")
        with refused("not_disputable"):
            dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="No.")


class TestMoot:
    def test_dsp_17_a_void_invoice_ends_its_disputes(self, desk: Desk) -> None:
        invoice = desk.invoice()
        first, second = desk.open(invoice, line=1, amount="1"), desk.open(invoice, line=2, amount="1")
        invoice_void(actor=system_actor(), invoice=invoice, reason="Twice")
        dispatch_pending()
        for each in (first, second):
            assert (desk.again(each).status, desk.again(each).end_reason) == (
                "moot",
                f"{invoice} was voided.",
            )
        assert disputed(invoice) == 0

    def test_dsp_17_all_of_a_line_credited_elsewhere(self, desk: Desk) -> None:
        invoice = desk.invoice("100", "50")
        dispute = desk.open(invoice, line=1, amount="119")
        desk.credit(desk.line(invoice, 1), "118.99")
        dispatch_pending()
        assert desk.again(dispute).status == "open"
        credit_note_issue(actor=system_actor(), invoice=invoice, reason="All of it")
        dispatch_pending()
        assert desk.again(dispute).status == "moot" and disputed(invoice) == 0


class TestMerging:
    def test_dsp_17_two_lines_become_one_with_the_older_clock(self, desk: Desk, travel: Clock) -> None:
        desk.policy(hours=16, calendar=office_calendar())
        invoice = desk.invoice("100", "50", "10")
        older = desk.open(invoice, line=1, amount="20")
        travel.move_to(berlin("2026-03-03 09:00"))
        newer = desk.open(invoice, line=2, amount="7.50")
        merged = dispute_merge(
            actor=desk.manager, dispute_id=newer.pk, other_id=older.pk, reason="One matter"
        )
        assert (merged.pk, merged.amount, merged.invoice_line_id) == (older.pk, D("27.5"), None)
        assert round_now(older).resolution_due_at == berlin("2026-03-03 17:00")
        again = desk.again(newer)
        assert (again.status, again.merged_into_id) == ("moot", older.pk)
        assert again.history.latest().merged_into_id == older.pk
        assert disputed(invoice) == D("27.50")
        assert CollectionHold.objects.filter(released_at__isnull=True).get().amount == D("27.5")

    def test_dsp_17_what_is_not_merged(self, desk: Desk) -> None:
        invoice = desk.invoice("100", "50", "10")
        first, second, third = (desk.open(invoice, line=number, amount="1") for number in (1, 2, 3))
        elsewhere = desk.open(amount="1")
        with refused("more_disputed_lines"):
            dispute_merge(actor=desk.manager, dispute_id=first.pk, other_id=second.pk, reason="R")
        with refused("merge_with_itself"):
            dispute_merge(actor=desk.manager, dispute_id=first.pk, other_id=first.pk, reason="R")
        with refused("other_invoice"):
            dispute_merge(actor=desk.manager, dispute_id=first.pk, other_id=elsewhere.pk, reason="R")
        dispute_withdraw(actor=desk.customer, dispute_id=third.pk)
        with refused("dispute_over"):
            dispute_merge(actor=desk.manager, dispute_id=first.pk, other_id=third.pk, reason="R")
        with refused("permission_denied"):
            dispute_merge(actor=desk.customer, dispute_id=first.pk, other_id=second.pk, reason="R")
