"""Resolutions under real concurrency: threads and processes with connections of their own (DSP-11, DSP-13, DSP-15)."""

import signal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from approvals.models import ApprovalRequest
from approvals.services.votes import request_approve, request_reject
from core.models import OutboxEvent, User
from core.outbox import dispatch_pending
from disputes.models import BillingDispute, DisputeResolution
from disputes.services.ending import dispute_withdraw
from disputes.services.proposals import proposal_withdraw
from invoicing.models import Invoice, Refund
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.invoice import invoice_void
from tests.concurrency.test_budgets import together
from tests.disputes.builders import Desk, assert_clocks_proven, build_desk, log
from tests.disputes.resolving import credit_notes, proposed, resolve, rule

pytestmark = pytest.mark.concurrency

ROUNDS = 3
D = Decimal


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    return build_desk()


def vote(request: ApprovalRequest, voter: User) -> Callable[[], str]:
    """Vote; whether the request is approved, or why its effect was refused."""

    def act() -> str:
        voted = request_approve(actor=voter, request_id=request.pk)
        return f"refused: {voted.effect_error}" if voted.effect_error else voted.status

    return act


def proven(dispute: BillingDispute, outcomes: list[Any]) -> str:
    """How it stands: resolved with one document and one event, or not and with none; the sums are right."""
    now = BillingDispute.objects.get(pk=dispute.pk)
    applied = list(now.resolutions.filter(status="applied"))
    resolved = log(now).count("resolved")
    if now.status == "resolved":
        (resolution,) = applied
        assert resolution.credit_note in credit_notes(now.invoice), outcomes
        assert (resolved, now.approved_amount) == (1, resolution.amount)
    else:
        assert (resolved, applied) == (0, []), outcomes
    assert list(settlement_differences()) == []
    line = now.invoice_line
    if line is not None:
        assert line.credited_amount <= line.amount and line.credited_tax <= line.tax_amount
    assert_clocks_proven()
    return str(now.status)


def test_dsp_15_resolving_twice_at_once_credits_once(desk: Desk) -> None:
    desk.policy(small_claims_amount="1000")
    for _ in range(ROUNDS):
        dispute = desk.open(amount="59.50")
        act = lambda d=dispute: resolve(desk, d).status  # noqa: E731
        outcomes = together(act, act, lambda d=dispute: resolve(desk, d, actor=desk.colleague).status)
        assert sorted(outcomes) == ["applied", "dispute_over", "dispute_over"]
        assert proven(dispute, outcomes) == "resolved"
        assert len(credit_notes(dispute.invoice)) == 1


def test_dsp_15_proposing_twice_at_once_asks_once(desk: Desk) -> None:
    rule(desk, desk.manager)
    dispute = desk.open(amount="59.50")
    act = lambda: resolve(desk, dispute).status  # noqa: E731
    assert sorted(together(act, act)) == ["pending", "proposal_pending"]
    assert ApprovalRequest.objects.count() == DisputeResolution.objects.count() == 1


@pytest.mark.parametrize("required", [1, 2])
def test_dsp_15_the_last_vote_twice_at_once_credits_once(desk: Desk, required: int) -> None:
    rule(desk, desk.manager, desk.colleague, required=required)
    for _ in range(ROUNDS):
        dispute = desk.open(amount="59.50")
        request = proposed(desk, dispute)
        outcomes = together(vote(request, desk.manager), vote(request, desk.colleague))
        assert set(outcomes) == {"approved", "already_decided" if required == 1 else "pending"}
        assert proven(dispute, outcomes) == "resolved"
        assert len(credit_notes(dispute.invoice)) == 1
        told = OutboxEvent.objects.filter(topic="dispute.resolved", payload__dispute_id=dispute.pk)
        assert told.count() == 1


@pytest.mark.parametrize("other", ["take back", "give up", "reject", "void", "credit"])
def test_dsp_15_the_last_vote_against_something_else_one_wins(desk: Desk, other: str) -> None:
    """Nobody waits for ever: dispute, request, documents and series are locked in one order."""
    rule(desk, desk.manager, desk.colleague)
    for _ in range(ROUNDS):
        invoice = desk.invoice()
        dispute = desk.open(invoice, amount="59.50")
        request = proposed(desk, dispute)
        acts: dict[str, Callable[[], Any]] = {
            "take back": lambda d=dispute: (
                proposal_withdraw(actor=desk.staff, dispute_id=d.pk, reason="Too much").status
            ),
            "give up": lambda d=dispute: dispute_withdraw(actor=desk.customer, dispute_id=d.pk).status,
            "reject": lambda r=request: (
                request_reject(actor=desk.colleague, request_id=r.pk, comment="No").status
            ),
            "void": lambda i=invoice: invoice_void(actor=desk.manager, invoice=i, reason="Wrong").status,
            "credit": lambda i=invoice: desk.credit(desk.line(i), "59.51").total,
        }
        outcomes = together(vote(request, desk.manager), acts[other])
        status = proven(dispute, outcomes)
        if outcomes[0] == "approved":
            assert status == "resolved"
            lost = {
                "take back": "nothing_proposed", "give up": "dispute_over", "reject": "already_decided",
                "void": "settled", "credit": "credit_exceeds_line",
            }  # fmt: skip
            assert outcomes[1] == lost[other]
        elif other in ("void", "credit"):
            assert outcomes[0].startswith("refused: ")
            assert status == "proposed"
        else:
            assert outcomes[0] in ("already_decided", "request_withdrawn"), outcomes
            assert status == {"give up": "withdrawn"}.get(other, "investigating")
    while dispatch_pending().delivered:
        pass
    assert list(settlement_differences()) == []


def test_dsp_12_two_refunds_at_once_stay_within_the_cash(desk: Desk) -> None:
    desk.policy(small_claims_amount="1000")
    for _ in range(ROUNDS):
        invoice = desk.invoice("50", "50")
        desk.pay(invoice, "69")
        first, second = desk.open(invoice, line=1, amount="59.50"), desk.open(invoice, line=2, amount="59.50")
        outcomes = together(
            lambda d=first: resolve(desk, d, "refund").status,
            lambda d=second: resolve(desk, d, "refund").status,
        )
        # 50.00 are open: the first refund sets them off and pays 9.50, the second would pay 59.50 of 59.50 left.
        refunds = Refund.objects.filter(credit_note__corrects=invoice)
        assert sum(refunds.values_list("amount", flat=True)) <= D(69)
        assert outcomes == ["applied", "applied"]
        assert Invoice.objects.get(pk=invoice.pk).open_amount == 0
        assert list(settlement_differences()) == []


KILLED = """
import sys, time
import django
django.setup()
from approvals.services.votes import request_approve
from core.models import User
from disputes.services import outcomes, proposals

carry_out, where = proposals.outcome_carry_out, sys.argv[1]

def stop():
    print("here", flush=True)
    time.sleep(60)

def carried_out(dispute, resolution):
    carry_out(dispute, resolution)
    stop()

def noted(resolution, actor):
    stop()

if where == "document":
    proposals.outcome_carry_out = carried_out
else:
    proposals.name_who_decided = noted
request_approve(actor=User.objects.get(pk=sys.argv[2]), request_id=int(sys.argv[3]))
"""


@pytest.mark.parametrize("where", ["document", "resolution"])
def test_dsp_15_killed_between_credit_note_and_state_nothing_is_there(
    desk: Desk, start_process: Callable[..., Any], where: str
) -> None:
    rule(desk, desk.manager)
    dispute = desk.open(amount="59.50")
    request = proposed(desk, dispute)
    process = start_process("-c", KILLED, where, str(desk.manager.pk), str(request.pk))
    assert process.stdout.readline().strip() == "here"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    # Whoever votes next waits for nothing, finds it as it was, and credits once.
    outcomes = together(vote(request, desk.manager))
    assert outcomes == ["approved"]
    assert proven(dispute, outcomes) == "resolved"
    (note,) = credit_notes(dispute.invoice)
    assert (note.total, note.sequence_number) == (D("59.5"), 1)
