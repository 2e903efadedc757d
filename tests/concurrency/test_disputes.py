"""Two people at one dispute at once: one is first, the other is told, and nothing is disputed twice (DSP-02, DSP-10, DSP-16)."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction

from core import clock
from core.access import system_actor
from core.errors import BillingError, constraint_name
from core.outbox import dispatch_pending
from disputes.models import BillingDispute, DisputeEvent, DisputeRound
from disputes.services import timers
from disputes.services.comments import comment_add
from disputes.services.ending import dispute_close, dispute_reopen, dispute_withdraw
from disputes.services.handling import dispute_wait_for_customer
from disputes.services.proposals import Proposal, dispute_resolve
from invoicing.models import CollectionHold, Invoice
from invoicing.services.invoice import invoice_void
from tests.disputes.builders import Desk, assert_clocks_proven, build_desk

pytestmark = pytest.mark.concurrency


@pytest.fixture
def desk() -> Desk:
    return build_desk()


def together(*acts: Callable[[], Any]) -> list[Any]:
    """Run all at once, each on its own connection; a refusal's code, or what the act returns."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            return act()
        except BillingError as error:
            return error.code
        except IntegrityError as error:
            return constraint_name(error)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def assert_held(invoice: Invoice, amount: str) -> None:
    held = CollectionHold.objects.filter(invoice=invoice, released_at__isnull=True)
    assert sum(hold.amount for hold in held) == Decimal(amount)
    assert Invoice.objects.get(pk=invoice.pk).disputed_amount == Decimal(amount)
    assert_clocks_proven()


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, None), (None, None)])
def test_dsp_02_two_open_at_once(desk: Desk, first: int | None, second: int | None) -> None:
    invoice = desk.invoice()
    results = together(
        lambda: desk.open(invoice, line=first, amount="10", actor=desk.customer),
        lambda: desk.open(invoice, line=second, amount="10", actor=desk.second_customer),
    )
    assert sorted(isinstance(each, BillingDispute) for each in results) == [False, True]
    assert "disputed_already" in results
    assert BillingDispute.objects.open().filter(invoice=invoice).count() == 1
    assert_held(invoice, "10")


def test_dsp_02_past_the_services_the_database_sees_the_other(desk: Desk) -> None:
    """Two withdrawn disputes, one of a line and one of the whole, come to life at once by a raw statement."""
    invoice = desk.invoice()
    line = desk.open(invoice, line=1, amount="10")
    dispute_resolve(actor=desk.staff, dispute_id=line.pk, proposal=Proposal("no_action", "Right."))
    whole = desk.open(invoice, line=None, amount="10")
    dispute_resolve(actor=desk.staff, dispute_id=whole.pk, proposal=Proposal("no_action", "Right."))
    waiting = threading.Barrier(2)

    def revive(pk: int) -> Callable[[], Any]:
        def act() -> None:
            with transaction.atomic():
                BillingDispute.objects.filter(pk=pk).update(status="open", resolved_at=None)
                with pytest.raises(threading.BrokenBarrierError):
                    waiting.wait(timeout=1)

        return act

    results = together(revive(line.pk), revive(whole.pk))
    assert sorted(map(str, results)) == ["None", "dispute_whole_or_lines"]
    assert BillingDispute.objects.open().filter(invoice=invoice).count() == 1


def test_dsp_16_reopen_against_close(desk: Desk) -> None:
    for _ in range(3):
        invoice = desk.invoice()
        dispute = desk.open(invoice, amount="10")
        dispute_resolve(actor=desk.staff, dispute_id=dispute.pk, proposal=Proposal("no_action", "Right."))
        pk = dispute.pk
        reopened, closed = together(
            lambda pk=pk: dispute_reopen(actor=desk.customer, dispute_id=pk, reason="No."),
            lambda pk=pk: dispute_close(actor=desk.staff, dispute_id=pk),
        )
        # Closed first it is still reopened; reopened first there is nothing to close.
        assert isinstance(reopened, BillingDispute)
        assert closed == "dispute_status" or isinstance(closed, BillingDispute)
        assert BillingDispute.objects.get(pk=pk).status == "open"
        assert DisputeRound.objects.filter(dispute_id=pk).count() == 2
        assert_held(invoice, "10")


def test_dsp_16_two_reopen_at_once(desk: Desk) -> None:
    invoice = desk.invoice()
    dispute = desk.open(invoice, amount="10")
    dispute_resolve(actor=desk.staff, dispute_id=dispute.pk, proposal=Proposal("no_action", "Right."))
    results = together(
        lambda: dispute_reopen(actor=desk.customer, dispute_id=dispute.pk, reason="No."),
        lambda: dispute_reopen(actor=desk.second_customer, dispute_id=dispute.pk, reason="No."),
    )
    assert sorted(isinstance(each, BillingDispute) for each in results) == [False, True]
    assert "not_decided" in results
    assert BillingDispute.objects.get(pk=dispute.pk).round_number == 2
    assert_held(invoice, "10")


def test_dsp_17_void_while_it_is_opened(desk: Desk) -> None:
    for _ in range(3):
        invoice = desk.invoice()
        opened, voided = together(
            lambda invoice=invoice: desk.open(invoice, amount="10"),
            lambda invoice=invoice: invoice_void(actor=system_actor(), invoice=invoice, reason="Twice"),
        )
        while dispatch_pending().delivered:
            pass
        assert not isinstance(voided, str), voided
        assert opened == "not_disputable" or BillingDispute.objects.get(pk=opened.pk).status == "moot"
        assert_held(invoice, "0")


def test_dsp_10_two_workers_take_each_step_once(desk: Desk) -> None:
    desk.policy(hours=1, response_hours=1, lead=desk.colleague)
    late = [desk.open() for _ in range(3)]
    asked = desk.open()
    dispute_wait_for_customer(actor=desk.staff, dispute_id=asked.pk, question="Which?")
    with time_machine.travel(clock.now() + timedelta(days=8), tick=False):
        results = together(timers.run_timers, timers.run_timers, timers.run_timers)
        assert all(swept.failed == 0 for each in results for swept in each.values())
        assert sum(each["breaches noted"].done for each in results) == 3
        assert sum(each["customers reminded"].done for each in results) == 1
        for dispute in late:
            kinds = list(DisputeEvent.objects.filter(dispute=dispute).values_list("kind", flat=True))
            assert kinds.count("breached") == 2
        assert DisputeEvent.objects.filter(dispute=asked, kind="reminded").count() == 1
    with time_machine.travel(clock.now() + timedelta(days=10), tick=False):
        for dispute in late:
            climb = partial(timers.escalation_climb, dispute_id=dispute.pk)
            assert sorted(together(climb, climb)) == [False, True]
        remind = partial(timers.customer_remind, dispute_id=asked.pk)
        assert sorted(together(remind, remind)) == [False, True]
        assert DisputeEvent.objects.filter(kind="escalated").count() == 3
        assert_clocks_proven()


def test_dsp_08_an_answer_against_withdrawing(desk: Desk) -> None:
    dispute = desk.open()
    dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk, question="Which?")
    answer, withdrawn = together(
        lambda: comment_add(actor=desk.customer, dispute_id=dispute.pk, body="That.", visibility="customer"),
        lambda: dispute_withdraw(actor=desk.second_customer, dispute_id=dispute.pk),
    )
    assert isinstance(withdrawn, BillingDispute)
    assert answer == "dispute_over" or not isinstance(answer, str)
    assert BillingDispute.objects.get(pk=dispute.pk).status == "withdrawn"
    assert_clocks_proven()
