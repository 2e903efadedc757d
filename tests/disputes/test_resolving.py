"""Proposing a resolution, deciding on it, taking it back (DSP-11 to DSP-15)."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction

from approvals.models import ApprovalRequest, RequestStatus
from approvals.registry import approval_type
from approvals.services.limits import authority_limit_create
from approvals.services.requests import (
    emergency_review,
    request_approve_in_emergency,
    request_expire,
    request_recalculate,
    request_update,
    request_withdraw,
)
from approvals.services.votes import request_approve, request_reject, request_send_back
from core.access import system_actor
from core.models import ExchangeRate
from disputes.models import BillingDispute, DisputeResolution, ResolutionStatus
from disputes.services.ending import dispute_withdraw
from disputes.services.proposals import proposal_withdraw
from entities.models import Entity, Role
from invoicing.models import Invoice
from tests.disputes.builders import MONDAY, Desk, log, refused
from tests.disputes.resolving import approved, credit_notes, desk_in, resolve, rule
from tests.entities import factories

D = Decimal


def request_of(resolution: DisputeResolution) -> ApprovalRequest:
    fresh = DisputeResolution.objects.select_related("approval_request").get(pk=resolution.pk)
    assert fresh.approval_request is not None
    return fresh.approval_request


def state(dispute: BillingDispute) -> tuple[str, Decimal | None, list[str]]:
    """The dispute's state, what was approved of it, and the states of its resolutions."""
    now = BillingDispute.objects.get(pk=dispute.pk)
    return now.status, now.approved_amount, list(now.resolutions.values_list("status", flat=True))


# --- Who decides (DSP-13) --------------------------------------------------------------------------------


class TestDeciding:
    def test_dsp_13_it_waits_for_somebody_else_and_the_last_vote_carries_it_out(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        resolution = resolve(desk, dispute, amount="33.33", internal_note="The price list was old.")
        assert state(dispute) == ("proposed", None, ["pending"])
        assert not credit_notes(dispute.invoice)
        request = request_of(resolution)
        assert (request.request_type, request.amount, request.currency, request.entity, request.requester) == (
            "dispute_credit", D("33.33"), "EUR", desk.issuer, desk.staff,
        )  # fmt: skip
        assert request.description == "The price list was old."
        assert request_approve(actor=desk.manager, request_id=request.pk).status == "approved"
        assert state(dispute) == ("resolved", D("33.33"), ["applied"])
        (note,) = credit_notes(dispute.invoice)
        resolution = DisputeResolution.objects.get()
        assert (note.total, note.document_type, resolution.credit_note) == (D("33.33"), "credit_note", note)
        assert (resolution.proposed_by, resolution.decided_by, resolution.decided_at) == (
            desk.staff, desk.manager, MONDAY,
        )  # fmt: skip
        assert log(dispute)[-2:] == ["proposed", "resolved"]

    def test_dsp_13_who_proposes_or_disputes_does_not_decide(self, desk: Desk) -> None:
        rule(desk, desk.manager, desk.colleague, desk.staff, required=1)
        # A colleague writes down what the customer says on the phone.
        dispute = desk.open(actor=desk.colleague)
        request = request_of(resolve(desk, dispute))
        asked = set(request.tasks.values_list("approver", flat=True))
        assert asked == {desk.manager.pk}
        for excluded in (desk.staff, desk.colleague):
            with refused("separation_of_duties"):
                request_approve(actor=excluded, request_id=request.pk)
        assert approved(request, desk.manager).status == "approved"

    def test_dsp_13_the_customer_proposes_nothing_and_takes_nothing_back(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        with refused("permission_denied"):
            resolve(desk, dispute, actor=desk.customer)
        with refused("permission_denied"):
            resolve(desk, dispute, actor=desk.auditor)
        with refused("not_found"):
            resolve(desk, dispute, actor=desk.stranger)
        resolve(desk, dispute)
        with refused("permission_denied"):
            proposal_withdraw(actor=desk.customer, dispute_id=dispute.pk, reason="Too little")

    def test_apr_16_above_the_authority_of_the_approver_their_manager_decides_too(self, desk: Desk) -> None:
        chief = factories.member(desk.issuer, Role.APPROVER)
        desk.colleague.manager = chief
        desk.colleague.save()
        rule(desk, desk.colleague)
        authority_limit_create(
            actor=desk.manager, user=desk.colleague, max_amount=D(50), currency="EUR", entity=desk.issuer
        )
        within, above = desk.open(amount="50"), desk.open(amount="50.01")
        assert approved(request_of(resolve(desk, within)), desk.colleague).status == "approved"
        request = approved(request_of(resolve(desk, above)), desk.colleague)
        assert (request.status, state(above)[0]) == ("pending", "proposed")
        assert approved(request, chief).status == "approved"
        assert DisputeResolution.objects.get(dispute=above).decided_by == chief

    def test_apr_26_a_review_of_an_emergency_is_not_the_work_of_who_disputed(self, desk: Desk) -> None:
        rule(desk, desk.colleague)
        second = factories.member(desk.issuer, Role.FINANCE_MANAGER)
        dispute = desk.open(actor=second)
        request = request_of(resolve(desk, dispute))
        request_approve_in_emergency(actor=desk.manager, request_id=request.pk, reason="Year's end")
        assert state(dispute) == ("resolved", D("59.5"), ["applied"])
        with refused("second_person_needed"):
            emergency_review(actor=second, request_id=request.pk, comment="Fine")

    def test_apr_03_an_explicit_rule_approves_at_once(self, desk: Desk) -> None:
        rule(desk, auto_approve=True)
        dispute = desk.open()
        resolution = resolve(desk, dispute)
        assert (resolution.status, resolution.decided_by) == ("applied", system_actor())
        assert request_of(resolution).status == RequestStatus.APPROVED
        assert state(dispute) == ("resolved", D("59.5"), ["applied"])
        assert [note.total for note in credit_notes(dispute.invoice)] == [D("59.5")]

    def test_apr_03_without_a_rule_it_waits_and_says_why_until_taken_back_or_a_rule_is_there(
        self, desk: Desk
    ) -> None:
        dispute = desk.open()
        resolution = resolve(desk, dispute)
        request = request_of(resolution)
        assert (resolution.status, request.status) == ("pending", RequestStatus.BLOCKED)
        assert "no rule covers dispute resolution of €59.50 at Northwind Services" in request.blocked_reason
        assert state(dispute) == ("proposed", None, ["pending"])
        proposal_withdraw(actor=desk.colleague, dispute_id=dispute.pk, reason="Nobody can decide")
        assert state(dispute) == ("investigating", None, ["returned"])
        assert ApprovalRequest.objects.get(pk=request.pk).status == RequestStatus.WITHDRAWN
        again = request_of(resolve(desk, dispute))
        rule(desk, desk.manager)
        request_recalculate(actor=desk.manager, request_id=again.pk, reason="There is a rule now")
        assert approved(again, desk.manager).status == "approved"
        assert state(dispute) == ("resolved", D("59.5"), ["returned", "applied"])

    def test_dsp_13_the_facts_say_what_is_decided_on(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute, amount="33.33"))
        facts = {fact.label: fact.value for fact in approval_type("dispute_credit").facts(request)}
        assert facts == {
            "Dispute": f"{dispute.number} Price",
            "Customer": "Northwind Germany",
            "About": f"{dispute.invoice}, line {dispute.invoice_line}",
            "Disputed": "€59.50",
            "Proposed": "Credit note of €33.33",
            "To the customer": "Half of it was not agreed.",
        }
        approved(request, desk.manager)
        assert {f.label: f.value for f in approval_type("dispute_credit").facts(request)} == facts


class TestSmallClaims:
    def test_dsp_13_up_to_the_amount_one_person_does_both(self, desk: Desk) -> None:
        desk.policy(small_claims_amount="20")
        rule(desk, desk.manager)
        small, larger = desk.open(amount="20"), desk.open(amount="20.01")
        done = resolve(desk, small)
        assert (done.status, done.decided_by, done.approval_request) == ("applied", desk.staff, None)
        assert state(small) == ("resolved", D(20), ["applied"])
        assert resolve(desk, larger).status == "pending"

    def test_dsp_09_the_amount_is_frozen_when_it_is_opened(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        before = desk.open(amount="20")
        desk.policy(small_claims_amount="20")
        assert resolve(desk, before).status == "pending"

    def test_dsp_13_the_amount_is_converted_at_the_rate_of_the_day(self, desk: Desk) -> None:
        desk.policy(small_claims_amount="20")
        rule(desk, desk.manager)
        ExchangeRate.objects.create(
            base="EUR", quote="JPY", rate=D(160), date=MONDAY.date() - timedelta(days=1), source="ECB"
        )
        japan = desk_in(desk, "JPY", "10")
        within = japan.open(japan.invoice("5000", currency="JPY"), amount="3200")
        assert resolve(desk, within).status == "applied"
        above = japan.open(japan.invoice("5000", currency="JPY"), amount="3201")
        resolution = resolve(desk, above)
        assert resolution.status == "pending"
        assert request_of(resolution).base_amount == D("20.01")

    def test_dsp_13_what_cannot_be_compared_is_decided_by_somebody_else(self, desk: Desk) -> None:
        Entity.objects.filter(pk=desk.issuer.pk).update(currency="USD")
        desk.issuer = Entity.objects.get(pk=desk.issuer.pk)
        desk.policy(small_claims_amount="20")
        rule(desk, desk.manager)
        assert resolve(desk, desk.open(amount="1")).status == "pending"

    def test_dsp_13_what_nobody_can_weigh_waits_for_a_rate(self, desk: Desk) -> None:
        """Approvals weigh amounts in the group's currency: that needs a rate, what moves no money does not."""
        desk.policy(small_claims_amount="20")
        rule(desk, desk.manager)
        japan = desk_in(desk, "JPY", "10")
        dispute = japan.open(japan.invoice("5000", currency="JPY"), amount="100")
        with refused("no_exchange_rate"):
            resolve(desk, dispute)
        assert resolve(desk, dispute, "no_action").status == "applied"

    def test_dsp_13_all_that_is_credited_to_be_billed_anew_counts(self, desk: Desk) -> None:
        desk.policy(small_claims_amount="20")
        rule(desk, desk.manager)
        dispute = desk.open(amount="5")
        resolution = resolve(desk, dispute, "adjustment", outcome="credit_and_rebill")
        assert (resolution.status, resolution.amount) == ("pending", D(5))
        assert request_of(resolution).amount == D("190.40")


# --- Rejected, withdrawn, expired, sent back --------------------------------------------------------------


class TestReturning:
    def test_dsp_13_a_rejected_request_returns_to_investigating(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute))
        request_reject(actor=desk.manager, request_id=request.pk, comment="The price was agreed")
        assert state(dispute) == ("investigating", None, ["returned"])
        resolution = DisputeResolution.objects.get()
        assert (resolution.return_reason, resolution.decided_by) == (
            f"APR-{request.pk}: rejected: The price was agreed", desk.manager,
        )  # fmt: skip
        assert log(dispute)[-1] == "returned"
        assert not dispute.events.get(kind="returned").is_public
        assert not credit_notes(dispute.invoice)
        assert Invoice.objects.get(pk=dispute.invoice_id).disputed_amount == D("59.5")
        # And may be proposed anew.
        approved(request_of(resolve(desk, dispute, amount="10")), desk.manager)
        assert state(dispute) == ("resolved", D(10), ["returned", "applied"])

    def test_dsp_13_a_request_withdrawn_where_approvals_are_kept_returns_it_too(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute))
        request_withdraw(actor=desk.staff, request_id=request.pk, comment="Wrong line")
        assert state(dispute) == ("investigating", None, ["returned"])
        assert DisputeResolution.objects.get().return_reason == f"APR-{request.pk}: withdrawn: Wrong line"

    def test_dsp_13_an_expired_request_returns_it_too(
        self, desk: Desk, travel: time_machine.Traveller
    ) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute))
        assert request.expires_at is not None
        travel.move_to(request.expires_at)
        assert request_expire(request_id=request.pk)
        assert state(dispute) == ("investigating", None, ["returned"])
        assert DisputeResolution.objects.get().return_reason == f"APR-{request.pk}: expired"

    def test_apr_10_what_is_sent_back_stays_proposed_as_it_was(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute))
        request_send_back(actor=desk.manager, request_id=request.pk, comment="Why so much?")
        assert state(dispute) == ("proposed", None, ["pending"])
        proposal_withdraw(actor=desk.staff, dispute_id=dispute.pk, reason="I will ask for less")
        assert state(dispute) == ("investigating", None, ["returned"])
        assert ApprovalRequest.objects.get().status == "withdrawn"

    @pytest.mark.parametrize("changes", [{"amount": "0.01"}, {"currency": "USD"}])
    def test_dsp_11_the_request_asks_for_what_was_proposed(self, desk: Desk, changes: dict[str, Any]) -> None:
        """Less in the request would find an easier rule for the same credit."""
        ExchangeRate.objects.create(
            base="EUR", quote="USD", rate=D("1.1"), date=MONDAY.date() - timedelta(days=1), source="ECB"
        )
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute))
        with refused("proposal_stays"):
            request_update(actor=desk.staff, request_id=request.pk, changes=changes)
        assert ApprovalRequest.objects.get().amount == D("59.5")
        request_update(
            actor=desk.staff, request_id=request.pk, changes={"description": "See the price list."}
        )
        approved(request, desk.manager)
        assert state(dispute) == ("resolved", D("59.5"), ["applied"])

    def test_dsp_13_a_colleague_takes_a_proposal_back_in_their_own_name(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute))
        proposal_withdraw(actor=desk.colleague, dispute_id=dispute.pk, reason="Anna is on leave")
        assert state(dispute) == ("investigating", None, ["returned"])
        last = ApprovalRequest.objects.get(pk=request.pk).actions.order_by("id").last()
        assert last is not None
        assert (last.kind, last.actor, last.comment) == ("withdrawn", desk.colleague, "Anna is on leave")
        assert not request.tasks.filter(status="open").exists()
        with refused("nothing_proposed"):
            proposal_withdraw(actor=desk.staff, dispute_id=dispute.pk, reason="Again")
        with refused("reason_required"):
            proposal_withdraw(actor=desk.staff, dispute_id=dispute.pk, reason=" ")

    def test_dsp_08_what_the_customer_gives_up_is_not_decided_any_more(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute))
        dispute_withdraw(actor=desk.customer, dispute_id=dispute.pk, reason="Found the agreement")
        assert state(dispute) == ("withdrawn", None, ["returned"])
        assert ApprovalRequest.objects.get().status == "withdrawn"
        with refused("already_decided"):
            request_approve(actor=desk.manager, request_id=request.pk)

    def test_dsp_15_a_decision_is_made_once_and_a_proposal_at_a_time(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        request = request_of(resolve(desk, dispute))
        with refused("proposal_pending"):
            resolve(desk, dispute, amount="1")
        with refused("proposal_pending"):
            resolve(desk, dispute, "no_action")
        approved(request, desk.manager)
        with refused("already_decided"):
            request_approve(actor=desk.manager, request_id=request.pk)
        with refused("dispute_over"):
            resolve(desk, dispute, amount="1")
        assert len(credit_notes(dispute.invoice)) == 1

    def test_stale_versions_are_refused(self, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        seen = BillingDispute.objects.get(pk=dispute.pk).version
        resolve(desk, dispute, expected_version=seen)
        proposal_withdraw(actor=desk.staff, dispute_id=dispute.pk, reason="Too early")
        with refused("stale_version"):
            resolve(desk, dispute, expected_version=seen)


# --- What is refused -------------------------------------------------------------------------------------


class TestRefused:
    def test_what_a_proposal_says(self, desk: Desk) -> None:
        dispute = desk.open()
        for code, how in {
            "note_required": {"note": " "},
            "amount_not_positive": {"amount": "0"},
            "amount_too_precise": {"amount": "1.001"},
            "exceeds_disputed": {"amount": "59.51"},
        }.items():
            with refused(code):
                resolve(desk, dispute, **how)
        with refused("unknown_resolution"):
            resolve(desk, dispute, "gift")
        with refused("unknown_resolution"):
            resolve(desk, dispute, "refund", outcome="credit_note")
        with refused("amount_without_money"):
            resolve(desk, dispute, "no_action", amount="1")
        with refused("amendment_required"):
            resolve(desk, dispute, "adjustment", outcome="price_fix")
        with refused("overcharge_is_not_debited"):
            resolve(desk, dispute, "adjustment", outcome="debit_note")
        assert state(dispute)[0] == "open"
        assert resolve(desk, dispute, "no_action", amount="0.00").status == "applied"

    def test_dsp_01_an_undercharge_never_yields_a_credit(self, desk: Desk) -> None:
        dispute = desk.open(direction="under")
        for kind, outcome in (
            ("credit", ""), ("credit", "goodwill"), ("refund", ""), ("adjustment", "write_off"),
            ("adjustment", "credit_and_rebill"),
        ):  # fmt: skip
            with refused("undercharge_is_not_credited"):
                resolve(desk, dispute, kind, outcome=outcome)

    def test_dsp_15_the_database_keeps_one_decision(self, desk: Desk) -> None:
        """Past the services: nothing is applied twice in a round, and what was decided stays."""
        rule(desk, desk.manager)
        dispute = desk.open()
        resolution = resolve(desk, dispute)
        twin = DisputeResolution.objects.get(pk=resolution.pk)
        twin.pk = None
        with pytest.raises(IntegrityError, match="dispute_one_pending_resolution"), transaction.atomic():
            twin.save(force_insert=True)
        with pytest.raises(IntegrityError, match="is proposed"), transaction.atomic():
            DisputeResolution.objects.update(amount=1)
        with pytest.raises(IntegrityError, match="dispute_resolution_has_its_document"), transaction.atomic():
            DisputeResolution.objects.update(status=ResolutionStatus.APPLIED, decided_at=MONDAY)
        approved(request_of(resolution), desk.manager)
        twin = DisputeResolution.objects.get(pk=resolution.pk)
        twin.pk = None
        with pytest.raises(IntegrityError, match="dispute_resolved_once_per_round"), transaction.atomic():
            twin.save(force_insert=True)
        with pytest.raises(IntegrityError, match="is decided"), transaction.atomic():
            DisputeResolution.objects.update(status=ResolutionStatus.RETURNED)
