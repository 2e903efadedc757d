"""Disputes over the API: opening, lists, life and decision (DSP-01…17)."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from approvals.models import ApprovalRequest
from approvals.services.rules import approval_rule_create
from approvals.services.votes import request_approve
from core.access import system_actor
from core.models import User
from disputes.models import BillingDispute
from disputes.services.attachments import attachment_add
from disputes.services.comments import comment_add
from disputes.services.handling import (
    dispute_escalate,
    dispute_update,
    dispute_wait_for_customer,
)
from invoicing.models import CollectionHold, Invoice
from invoicing.services.consolidation import consolidated_invoice_draft
from tests.approvals.builders import people
from tests.disputes.api.conftest import BASE, DISPUTES, SignIn, at
from tests.disputes.builders import Desk, everything, log
from tests.invoicing.invoices.builders import usage

KEYED: dict[str, Any] = {"headers": {"Idempotency-Key": "the-first-try"}}


def claim(invoice: Invoice, line: int | None = None, **fields: Any) -> dict[str, Any]:
    """A body that disputes the invoice, or the line of that id."""
    body = {"invoice_id": invoice.pk, "category": "pricing", "amount": "59.50", "reason": "Half was agreed."}
    return body | ({"invoice_line_id": line} if line else {}) | fields


def drafted(desk: Desk) -> Invoice:
    """A draft over 100 before tax."""
    day = next(desk.used_days)
    row = {
        "billed_cost": Decimal(100),
        "entity_id": desk.payer.pk,
        "department": desk.sales,
        "service_name": "Service",
        "currency": "EUR",
        "day": day,
    }
    usage(desk.usage_import, [row])
    found = consolidated_invoice_draft(
        actor=system_actor(), payer=desk.payer, period_start=day, period_end=day + timedelta(days=1)
    )
    return found.invoice


def rule(desk: Desk, *approvers: User) -> None:
    """Any of them decides on what is given back."""
    approval_rule_create(
        actor=desk.manager, levels=[people(*approvers)], name="Credits", currency="EUR", entity=desk.issuer,
        request_type="dispute_credit",
    )  # fmt: skip


def ids(client: APIClient, query: str = "") -> list[int]:
    answer = client.get(f"{DISPUTES}?{query}")
    assert answer.status_code == 200, answer.json()
    return [row["id"] for row in answer.json()["results"]]


class TestOpening:
    def test_dsp_01_a_customer_disputes_a_line(self, desk: Desk, customer: APIClient) -> None:
        invoice = desk.invoice()
        line = desk.line(invoice)
        body = claim(
            invoice, line.pk, severity="high", customer_reference="AP-7", chargeback_scheme="Visa",
            chargeback_reference="CB-1", chargeback_deadline="2026-03-20",
        )  # fmt: skip
        answer = customer.post(DISPUTES, body)
        shown = answer.json()
        dispute = BillingDispute.objects.get()
        assert answer.status_code == 201, shown
        assert answer["Location"] == at(dispute)
        assert answer["ETag"].startswith(f'"{dispute.version}-')
        expected = {
            "id": dispute.pk, "number": f"D-{dispute.pk:06d}", "side": "customer", "status": "open",
            "category": "pricing", "severity": "high", "direction": "over", "invoice_id": invoice.pk,
            "invoice_number": invoice.number, "invoice_line_id": line.pk, "line_number": 1,
            "issuer_id": desk.issuer.pk, "issuer_name": "Northwind Services", "entity_id": desk.payer.pk,
            "entity_name": "Northwind Germany", "department_id": desk.sales.pk, "amount": "59.50",
            "approved_amount": None, "currency": "EUR", "reason": "Half was agreed.",
            "customer_reference": "AP-7", "chargeback_scheme": "Visa", "chargeback_reference": "CB-1",
            "chargeback_deadline": "2026-03-20", "round_number": 1, "next_deadline_at": "2026-03-03T08:00:00Z",
            "owner_id": None, "owner_name": None, "is_escalated": None, "escalated_at": None,
            "root_cause": None, "root_cause_note": None, "merged_into_id": None,
            "opened_by_id": desk.customer.pk, "opened_by_name": desk.customer.display_name,
            "opened_at": "2026-03-02T08:00:00Z", "resolved_at": None, "ended_at": None, "end_reason": "",
            "created_at": "2026-03-02T08:00:00Z", "updated_at": "2026-03-02T08:00:00Z",
            "version": dispute.version, "resolution": None, "resolutions": [], "merged_ids": [],
        }  # fmt: skip
        assert shown == expected
        assert customer.get(at(dispute)).json() == expected
        hold = CollectionHold.objects.get()
        assert (str(hold.amount), hold.reference) == ("59.5000", dispute.number)

    def test_dsp_01_staff_opens_for_the_customer_with_the_defaults(
        self, desk: Desk, staff: APIClient
    ) -> None:
        answer = staff.post(DISPUTES, claim(desk.invoice(), direction="under", amount=12))
        shown = answer.json()
        assert answer.status_code == 201, shown
        assert (shown["side"], shown["severity"], shown["direction"]) == ("staff", "medium", "under")
        assert (shown["amount"], shown["invoice_line_id"], shown["is_escalated"]) == ("12.00", None, False)
        assert not CollectionHold.objects.exists()

    def test_ent_04_who_sees_a_line_only_disputes_that_line(self, desk: Desk, sign_in: SignIn) -> None:
        buyer, invoice = sign_in(desk.buyer), desk.invoice()
        assert buyer.post(DISPUTES, claim(invoice)).status_code == 404
        assert buyer.post(DISPUTES, claim(invoice, desk.line(invoice).pk)).status_code == 201
        other = desk.invoice(department=desk.research)
        assert buyer.post(DISPUTES, claim(other, desk.line(other).pk)).status_code == 404
        assert BillingDispute.objects.count() == 1

    def test_what_is_wrong_is_refused_and_changes_nothing(
        self, desk: Desk, customer: APIClient, sign_in: SignIn
    ) -> None:
        invoice, other = desk.invoice(), desk.invoice()
        line, theirs = desk.line(invoice, 1).pk, desk.line(other, 1).pk
        before = everything()
        for body, status, code in (
            (claim(invoice, line, price="1"), 400, "unknown_field"),
            (claim(invoice, line, status="resolved"), 400, "unknown_field"),
            (claim(invoice, line, category="other one"), 400, "invalid_choice"),
            (claim(invoice, line, amount="0"), 400, "amount_not_positive"),
            (claim(invoice, line, amount="-1"), 400, "amount_not_positive"),
            (claim(invoice, line, amount="1.001"), 400, "amount_too_precise"),
            (claim(invoice, line, amount="much"), 400, "invalid_amount"),
            (claim(invoice, line, reason="  "), 400, "blank"),
            ({"invoice_id": invoice.pk}, 400, "required"),
            (claim(invoice, theirs), 400, "line_of_another_invoice"),
            (claim(invoice, line, chargeback_deadline="2026-03-20"), 400, "scheme_required"),
            (claim(invoice, line, amount="119.01"), 409, "hold_exceeds_line"),
            (claim(invoice, amount="190.41"), 409, "hold_exceeds_invoice"),
        ):
            answer = customer.post(DISPUTES, body)
            problem = answer.json()
            codes = {problem["code"], *(error["code"] for error in problem["errors"])}
            assert (answer.status_code, code in codes) == (status, True), (body, problem)
        assert problem["left"] == "190.40" and problem["currency"] == "EUR"
        assert "190.40" in problem["detail"]
        unseen = claim(Invoice(pk=999_999), line)
        assert customer.post(DISPUTES, unseen).status_code == 404
        for user, status in ((desk.stranger, 404), (desk.auditor, 403)):
            assert sign_in(user).post(DISPUTES, claim(invoice, line)).status_code == status
        assert everything() == before

    def test_dsp_01_a_draft_is_not_disputed(self, desk: Desk, customer: APIClient) -> None:
        draft = drafted(desk)
        before = everything()
        answer = customer.post(DISPUTES, claim(draft))
        assert (answer.status_code, answer.json()["code"]) == (409, "not_disputable")
        assert answer.json()["document_type"] == "invoice"
        assert everything() == before

    def test_dsp_02_a_line_is_disputed_once(self, desk: Desk, customer: APIClient) -> None:
        first = desk.open()
        before = everything()
        for line in (first.invoice_line_id, None):
            answer = customer.post(DISPUTES, claim(first.invoice, line))
            assert (answer.status_code, answer.json()["code"]) == (409, "disputed_already")
            assert answer.json()["disputes"] == [first.number]
        assert everything() == before

    def test_sec_04_a_retry_is_answered_again_and_another_body_refused(
        self, desk: Desk, customer: APIClient
    ) -> None:
        invoice = desk.invoice()
        body = claim(invoice, desk.line(invoice).pk)
        first, again = customer.post(DISPUTES, body, **KEYED), customer.post(DISPUTES, body, **KEYED)
        assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
        assert again["Idempotency-Replayed"] == "true"
        other = customer.post(DISPUTES, body | {"amount": "1.00"}, **KEYED)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert BillingDispute.objects.count() == 1


class TestLists:
    @pytest.fixture
    def three(self, desk: Desk, travel: time_machine.Traveller) -> list[BillingDispute]:
        """Pricing of 10 on Monday, tax of 20 and high on Tuesday, a duplicate of 30 on Wednesday."""
        first = desk.open(amount="10", customer_reference="AP-1")
        travel.shift(timedelta(days=1))
        second = desk.open(amount="20", category="tax", severity="high", reason="The rate is 7 percent.")
        travel.shift(timedelta(days=1))
        third = desk.open(amount="30", category="duplicate", line=None, direction="under", actor=desk.staff)
        return [first, second, third]

    def test_filters_search_and_order(
        self, desk: Desk, three: list[BillingDispute], staff: APIClient
    ) -> None:
        first, second, third = (each.pk for each in three)
        dispute_update(actor=desk.staff, dispute_id=first, changes={"owner": desk.staff})
        dispute_update(actor=desk.staff, dispute_id=second, changes={"root_cause": "wrong_tax"})
        dispute_escalate(actor=desk.staff, dispute_id=third, reason="Help")
        line = three[0].invoice_line_id
        for query, found in (
            ("", [third, second, first]),
            ("status=open", [third, second, first]),
            ("status_in=resolved,closed", []),
            ("category=tax", [second]),
            ("category_in=tax,pricing", [second, first]),
            ("severity=high", [second]),
            ("direction=under", [third]),
            (f"invoice_id={three[1].invoice_id}", [second]),
            (f"invoice_line_id={line}", [first]),
            (f"entity_id={desk.payer.pk}", [third, second, first]),
            (f"issuer_id={desk.payer.pk}", []),
            (f"department_id={desk.sales.pk}", [second, first]),
            (f"opened_by_id={desk.staff.pk}", [third]),
            (f"owner_id={desk.staff.pk}", [first]),
            ("root_cause=wrong_tax", [second]),
            # The first was not answered within its 24 hours.
            ("is_escalated=true", [third, first]),
            ("is_escalated=false", [second]),
            ("is_open=true", [third, second, first]),
            ("is_open=false", []),
            ("customer_reference=AP-1", [first]),
            (f"number=D-{second:06d}", [second]),
            (f"number=d-{second}", [second]),
            ("number=17x", []),
            ("amount_gte=20&amount_lte=25", [second]),
            ("opened_at_gte=2026-03-03T00:00:00Z&opened_at_lte=2026-03-04T00:00:00Z", [second]),
            ("search=7%20percent", [second]),
            ("search=AP-1", [first]),
            (f"search={three[2].invoice.number}", [third]),
            ("ordering=amount", [first, second, third]),
            ("ordering=-amount", [third, second, first]),
            ("ordering=next_deadline_at", [first, second, third]),
        ):
            assert ids(staff, query) == found, query
        assert staff.get(f"{DISPUTES}?is_escalatd=true").json()["code"] == "unknown_parameter"
        for refused in ("status=pending", "severity=urgent", "overdue=perhaps", "ordering=owner_id"):
            assert staff.get(f"{DISPUTES}?{refused}").status_code == 400, refused

    def test_dsp_10_what_is_due_at_this_moment_is_not_overdue(
        self, desk: Desk, three: list[BillingDispute], staff: APIClient, travel: time_machine.Traveller
    ) -> None:
        first, second, third = (each.pk for each in three)
        # 24 hours to answer, around the clock: the second is due now, the first was yesterday.
        assert ids(staff, "overdue=true") == [first]
        assert ids(staff, "overdue=false") == [third, second]
        travel.shift(timedelta(seconds=1))
        assert ids(staff, "overdue=true") == [second, first]

    def test_dsp_18_internal_filters_tell_customers_nothing(
        self, desk: Desk, three: list[BillingDispute], customer: APIClient
    ) -> None:
        pk = three[0].pk
        dispute_update(actor=desk.staff, dispute_id=pk, changes={"owner": desk.staff, "root_cause": "other"})
        dispute_escalate(actor=desk.staff, dispute_id=pk, reason="Help")
        for query in (
            f"owner_id={desk.staff.pk}", "is_escalated=true", "is_escalated=false", "root_cause=other",
            "inbox=unassigned",
        ):  # fmt: skip
            assert ids(customer, query) == [], query
        assert len(ids(customer)) == 3

    def test_inbox_mine_is_what_waits_for_the_caller(
        self, desk: Desk, three: list[BillingDispute], sign_in: SignIn, staff: APIClient, customer: APIClient
    ) -> None:
        first, second, third = (each.pk for each in three)
        buyer = sign_in(desk.buyer)
        assert ids(staff, "inbox=unassigned") == [first, second, third]
        assert ids(staff, "inbox=mine") == ids(customer, "inbox=mine") == []
        for pk in (second, first):
            dispute_update(actor=desk.staff, dispute_id=pk, changes={"owner": desk.staff})
        assert ids(staff, "inbox=mine") == [first, second]
        assert ids(staff, "inbox=mine&ordering=-amount") == [second, first]
        assert ids(staff, "inbox=unassigned") == [third]
        dispute_wait_for_customer(actor=desk.staff, dispute_id=first, question="Which price?")
        assert ids(customer, "inbox=mine") == ids(buyer, "inbox=mine") == [first]
        # Who handles it keeps it; it has no deadline now, so it comes last.
        assert ids(staff, "inbox=mine") == [second, first]
        assert ids(sign_in(desk.auditor), "inbox=mine") == []

    def test_ent_04_what_is_out_of_scope_is_404_everywhere(
        self, desk: Desk, sign_in: SignIn, three: list[BillingDispute]
    ) -> None:
        dispute = three[0]
        before = everything()
        for user in (desk.stranger, desk.neighbour):
            client = sign_in(user)
            assert ids(client) == []
            reason = {"reason": "Mine"}
            tries = [
                client.get(at(dispute)),
                client.patch(at(dispute), {"category": "tax"}),
                client.put(at(dispute, "resolve"), {"resolution_type": "no_action", "note": "No"}),
                *(client.get(at(dispute, part)) for part in ("comments", "events", "clocks", "attachments")),
                *(client.post(at(dispute, part)) for part in ("acknowledge", "investigate", "close")),
                *(
                    client.post(at(dispute, part), reason)
                    for part in ("escalate", "withdraw", "reopen", "withdraw-proposal")
                ),
                client.post(at(dispute, "wait"), {"waiting_for": "customer"}),
                client.post(at(dispute, "merge"), {"other_id": three[1].pk, "reason": "One"}),
                client.post(at(dispute, "comments"), {"body": "Hello", "visibility": "customer"}),
            ]
            assert {each.status_code for each in tries} == {404}
        assert everything() == before

    def test_lists_take_the_same_queries_for_2_and_6(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        dispute = desk.open()
        comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Hm")

        def fill(number: int) -> None:
            while BillingDispute.objects.count() < number:
                desk.open(amount="1.00")
            for pk in BillingDispute.objects.values_list("pk", flat=True):
                dispute_update(actor=desk.staff, dispute_id=pk, changes={"owner": desk.staff})
            while dispute.comments.count() < number + 1:
                body = f"@{desk.colleague.username} {dispute.comments.count()}"
                comment_add(actor=desk.staff, dispute_id=dispute.pk, body=body, visibility="customer")
            while dispute.attachments.count() < number:
                content = ContentFile(b"%PDF-1.7 " + str(dispute.attachments.count()).encode())
                attachment_add(
                    actor=desk.customer,
                    dispute_id=dispute.pk,
                    name="a.pdf",
                    file=content,
                    visibility="customer",
                )

        def queries(client: APIClient, where: str, least: int) -> int:
            client.get(DISPUTES)  # reads the user once for all
            with CaptureQueriesContext(connection) as captured:
                assert len(client.get(where).json()["results"]) >= least
            return len(captured)

        def all_queries(number: int) -> dict[str, list[int]]:
            fill(number)
            parts = ("comments", "events", "attachments")
            below = {part: at(dispute, part) for part in parts}
            below |= {"list": DISPUTES, "files": f"{BASE}/dispute-attachments"}
            found = {
                name: [queries(client, where, number) for client in (staff, customer)]
                for name, where in below.items()
            }
            return found | {"mine": [queries(staff, f"{DISPUTES}?inbox=mine", number)]}

        few, many = all_queries(2), all_queries(6)
        assert few == many
        assert many == {
            "list": [2, 2], "mine": [2], "comments": [6, 6], "events": [4, 4], "attachments": [5, 5],
            "files": [2, 2],
        }  # fmt: skip


class TestChanging:
    def test_staff_keeps_what_it_finds_out(self, desk: Desk, staff: APIClient) -> None:
        dispute = desk.open()
        tag = staff.get(at(dispute))["ETag"]
        body = {
            "category": "usage_discrepancy", "owner_id": desk.colleague.pk, "root_cause": "wrong_quantity",
            "root_cause_note": "Meter 7 counted twice", "customer_reference": "AP-9", "chargeback_scheme": "Visa",
            "chargeback_deadline": "2026-03-10", "reason": "The meter was read again",
        }  # fmt: skip
        answer = staff.patch(at(dispute), body, headers={"If-Match": tag})
        shown = answer.json()
        assert answer.status_code == 200, shown
        del body["reason"]
        assert {name: shown[name] for name in body} == body
        assert (shown["owner_name"], shown["reason"]) == (
            desk.colleague.display_name,
            "We agreed on half of it.",
        )
        event = dispute.events.get(kind="changed")
        assert (event.note, event.is_public) == ("The meter was read again", False)
        assert event.details["changes"]["category"] == ["pricing", "usage_discrepancy"]
        stale = staff.patch(at(dispute), {"category": "tax"}, headers={"If-Match": tag})
        assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
        assert desk.again(dispute).category == "usage_discrepancy"
        assert staff.patch(at(dispute), {"owner_id": None}).json()["owner_id"] is None

    def test_dsp_09_a_severity_changes_with_a_reason_and_the_deadlines_with_it(
        self, desk: Desk, staff: APIClient
    ) -> None:
        dispute = desk.open()
        before = everything()
        answer = staff.patch(at(dispute), {"severity": "critical", "category": "tax"})
        assert (answer.status_code, answer.json()["code"]) == (400, "reason_required")
        assert everything() == before
        answer = staff.patch(at(dispute), {"severity": "critical", "category": "tax", "reason": "Month end"})
        assert (answer.json()["severity"], answer.json()["category"]) == ("critical", "tax")
        assert log(dispute) == ["opened", "changed", "severity"]
        clocks = staff.get(at(dispute, "clocks")).json()["rounds"][0]
        assert clocks["resolution"]["due_at"] == "2026-03-04T08:00:00Z"

    def test_what_cannot_be_changed_is_refused(
        self, desk: Desk, staff: APIClient, customer: APIClient, sign_in: SignIn
    ) -> None:
        dispute = desk.open()
        before = everything()
        for body, status, code in (
            ({"amount": "1.00"}, 400, "unknown_field"),
            ({"status": "resolved"}, 400, "unknown_field"),
            ({"severity": "urgent", "reason": "r"}, 400, "invalid_choice"),
            ({"chargeback_deadline": "2026-03-10"}, 400, "scheme_required"),
            ({"chargeback_scheme": "Visa", "chargeback_deadline": "9999-12-31"}, 400, "day_out_of_range"),
            ({"owner_id": desk.customer.pk}, 403, "owner_cannot_handle"),
            ({"owner_id": 999_999}, 400, "does_not_exist"),
        ):
            answer = staff.patch(at(dispute), body)
            problem = answer.json()
            codes = {problem["code"], *(error["code"] for error in problem["errors"])}
            assert (answer.status_code, code in codes) == (status, True), (body, problem)
        for client in (customer, sign_in(desk.auditor), sign_in(desk.buyer)):
            answer = client.patch(at(dispute), {"root_cause": "other"})
            assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert staff.delete(at(dispute)).status_code == 405
        assert staff.put(at(dispute), {}).status_code == 405
        assert everything() == before


class TestLife:
    def test_dsp_04_a_dispute_is_worked_on(self, desk: Desk, staff: APIClient) -> None:
        dispute = desk.open()
        shown = staff.post(at(dispute, "acknowledge")).json()
        assert (shown["status"], shown["owner_id"]) == ("acknowledged", desk.staff.pk)
        assert staff.post(at(dispute, "investigate")).json()["status"] == "investigating"
        asked = {"waiting_for": "customer", "question": "Which price?"}
        shown = staff.post(at(dispute, "wait"), asked).json()
        assert shown["status"] == "waiting_customer"
        thread = staff.get(at(dispute, "comments")).json()["results"]
        assert [(row["body"], row["visibility"]) for row in thread][1:] == [("Which price?", "customer")]
        waiting = {"waiting_for": "third_party", "note": "The carrier looks for the meter"}
        assert staff.post(at(dispute, "wait"), waiting).json()["status"] == "waiting_third_party"
        shown = staff.post(at(dispute, "escalate"), {"reason": "The carrier is silent"}).json()
        assert (shown["status"], shown["is_escalated"], shown["escalated_at"]) == (
            "waiting_third_party", True, "2026-03-02T08:00:00Z",
        )  # fmt: skip
        assert log(dispute) == [
            "opened", "acknowledged", "status", "staff_message", "status", "status", "internal_note", "escalated",
        ]  # fmt: skip

    def test_what_is_meant_for_one_is_not_sent_to_the_other(self, desk: Desk, staff: APIClient) -> None:
        dispute = desk.open()
        before = everything()
        for body, code in (
            ({"waiting_for": "customer", "note": "They seem to bluff"}, "note_is_not_for_the_customer"),
            ({"waiting_for": "third_party", "question": "Where?"}, "question_is_for_the_customer"),
        ):
            answer = staff.post(at(dispute, "wait"), body)
            assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert everything() == before

    def test_dsp_04_moves_that_the_state_does_not_allow_are_refused(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        dispute = desk.open()
        reason = {"reason": "Why not"}
        staff.post(at(dispute, "acknowledge"))
        before = everything()
        for client, part, body, code in (
            (staff, "acknowledge", None, "dispute_status"),
            (staff, "close", None, "dispute_status"),
            (customer, "reopen", reason, "not_decided"),
            (staff, "withdraw-proposal", reason, "nothing_proposed"),
            (staff, "merge", {"other_id": dispute.pk, **reason}, "merge_with_itself"),
        ):
            answer = client.post(at(dispute, part), body)
            assert (answer.status_code, answer.json()["code"]) == (409, code), part
        for part in ("acknowledge", "investigate", "escalate", "withdraw-proposal"):
            assert customer.post(at(dispute, part), reason).status_code in (400, 403), part
        assert customer.post(at(dispute, "investigate")).json()["code"] == "permission_denied"
        assert everything() == before

    def test_a_dispute_is_withdrawn_and_over(self, desk: Desk, staff: APIClient, customer: APIClient) -> None:
        dispute = desk.open()
        answer = staff.post(at(dispute, "withdraw"), {})
        assert (answer.status_code, answer.json()["code"]) == (400, "reason_required")
        shown = customer.post(at(dispute, "withdraw"), {"reason": "Our mistake"}).json()
        assert (shown["status"], shown["ended_at"], shown["end_reason"]) == (
            "withdrawn", "2026-03-02T08:00:00Z", "Our mistake",
        )  # fmt: skip
        assert CollectionHold.objects.get().released_at is not None
        before = everything()
        for part, body in (
            ("investigate", None),
            ("escalate", {"reason": "r"}),
            ("withdraw", {"reason": "r"}),
            ("wait", {"waiting_for": "customer"}),
        ):
            answer = staff.post(at(dispute, part), body)
            assert (answer.status_code, answer.json()["code"]) == (409, "dispute_over"), part
        assert everything() == before

    def test_sec_04_if_match_and_keys_hold_for_moves(self, desk: Desk, staff: APIClient) -> None:
        dispute = desk.open()
        stale = staff.post(at(dispute, "acknowledge"), headers={"If-Match": '"1"'})
        assert (stale.status_code, log(dispute)) == (412, ["opened"])
        tag = staff.get(at(dispute))["ETag"]
        headers = {"If-Match": tag, "Idempotency-Key": "ack"}
        first = staff.post(at(dispute, "acknowledge"), headers=headers)
        again = staff.post(at(dispute, "acknowledge"), headers=headers)
        assert (first.status_code, again.status_code) == (200, 200)
        assert again["Idempotency-Replayed"] == "true"
        assert log(dispute) == ["opened", "acknowledged"]

    def test_dsp_17_two_lines_become_one_dispute(self, desk: Desk, sign_in: SignIn) -> None:
        invoice = desk.invoice()
        older, newer = desk.open(invoice, line=1, amount="10"), desk.open(invoice, line=2, amount="5")
        manager = sign_in(desk.manager)
        body = {"other_id": older.pk, "reason": "The same price list"}
        tag = manager.get(at(newer))["ETag"]
        answer = manager.post(at(newer, "merge"), body, headers={"If-Match": tag})
        shown = answer.json()
        assert answer.status_code == 200, shown
        assert (shown["id"], shown["amount"], shown["invoice_line_id"]) == (older.pk, "15.00", None)
        assert shown["merged_ids"] == [newer.pk]
        merged = manager.get(at(newer)).json()
        assert (merged["status"], merged["merged_into_id"]) == ("moot", older.pk)
        assert manager.get(f"{DISPUTES}?merged_into_id={older.pk}").json()["count"] == 1


class TestResolving:
    def test_dsp_13_a_small_claim_is_resolved_at_once(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        desk.policy(small_claims_amount="100")
        dispute = desk.open()
        body = {
            "resolution_type": "credit", "amount": "47.60", "note": "The agreed price was lower.",
            "internal_note": "Sales forgot the discount.",
        }  # fmt: skip
        answer = staff.put(at(dispute, "resolve"), body)
        shown = answer.json()
        assert answer.status_code == 200, shown
        note = Invoice.objects.get(corrects=dispute.invoice)
        assert (shown["status"], shown["approved_amount"], shown["resolved_at"]) == (
            "resolved", "47.60", "2026-03-02T08:00:00Z",
        )  # fmt: skip
        resolution = shown["resolution"]
        assert shown["resolutions"] == [resolution]
        assert resolution == {
            "id": resolution["id"], "round": 1, "resolution_type": "credit", "outcome": "credit_note",
            "amount": "47.60", "note": "The agreed price was lower.",
            "internal_note": "Sales forgot the discount.", "status": "applied",
            "proposed_by_id": desk.staff.pk, "proposed_by_name": desk.staff.display_name,
            "proposed_at": "2026-03-02T08:00:00Z", "approval_request_id": None,
            "decided_at": "2026-03-02T08:00:00Z", "decided_by_id": desk.staff.pk, "return_reason": "",
            "credit_note_id": note.pk, "debit_note_id": None, "rebilled_as_id": None, "refund_id": None,
            "write_off_id": None, "amendment_id": None,
        }  # fmt: skip
        assert str(note.total) in ("47.6000", "-47.6000")
        hidden = (
            "internal_note", "proposed_by_id", "proposed_by_name", "proposed_at", "approval_request_id",
            "decided_by_id", "return_reason",
        )  # fmt: skip
        assert customer.get(at(dispute)).json()["resolution"] == resolution | dict.fromkeys(hidden)
        closed = customer.post(at(dispute, "close")).json()
        assert (closed["status"], closed["ended_at"]) == ("closed", "2026-03-02T08:00:00Z")

    def test_dsp_13_what_costs_more_waits_for_somebody_else(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        body = {"resolution_type": "credit", "note": "You are right."}
        shown = staff.put(at(dispute, "resolve"), body).json()
        request = ApprovalRequest.objects.get()
        assert (shown["status"], shown["resolution"]["status"]) == ("proposed", "pending")
        assert shown["resolution"]["approval_request_id"] == request.pk
        assert shown["resolution"]["amount"] == "59.50"
        theirs = customer.get(at(dispute)).json()
        assert (theirs["resolution"], theirs["resolutions"], theirs["approved_amount"]) == (None, [], None)
        again = staff.put(at(dispute, "resolve"), body)
        assert (again.status_code, again.json()["code"]) == (409, "proposal_pending")
        back = staff.post(at(dispute, "withdraw-proposal"), {"reason": "Too much"}).json()
        assert (back["status"], back["resolution"]["status"]) == ("investigating", "returned")
        assert back["resolution"]["return_reason"] == "Too much"
        assert customer.get(at(dispute)).json()["resolutions"] == []
        staff.put(at(dispute, "resolve"), body | {"amount": "11.90"})
        request_approve(actor=desk.manager, request_id=ApprovalRequest.objects.latest("pk").pk)
        shown = staff.get(at(dispute)).json()
        assert (shown["status"], shown["approved_amount"]) == ("resolved", "11.90")
        assert [row["status"] for row in shown["resolutions"]] == ["returned", "applied"]
        assert [row["amount"] for row in customer.get(at(dispute)).json()["resolutions"]] == ["11.90"]

    def test_dsp_16_a_decision_is_disputed_again(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        dispute = desk.open()
        staff.put(at(dispute, "resolve"), {"resolution_type": "no_action", "note": "Billed as ordered."})
        shown = customer.post(at(dispute, "reopen"), {"reason": "See page 2", "amount": "30"}).json()
        assert (shown["status"], shown["round_number"], shown["amount"]) == ("open", 2, "30.00")
        assert shown["approved_amount"] is None and shown["resolution"]["outcome"] == "rejected"

    def test_a_resolution_happens_once_by_its_key(self, desk: Desk, staff: APIClient) -> None:
        desk.policy(small_claims_amount="100")
        dispute = desk.open()
        body = {"resolution_type": "credit", "note": "You are right."}
        first, again = (staff.put(at(dispute, "resolve"), body, **KEYED) for _ in range(2))
        assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
        other = staff.put(at(dispute, "resolve"), body | {"amount": "1.00"}, **KEYED)
        assert other.status_code == 422
        assert Invoice.objects.filter(corrects=dispute.invoice).count() == 1

    def test_what_cannot_be_given_is_refused(
        self, desk: Desk, staff: APIClient, customer: APIClient, sign_in: SignIn
    ) -> None:
        desk.policy(small_claims_amount="100")
        dispute, under = desk.open(), desk.open(direction="under")
        credit = {"resolution_type": "credit", "note": "You are right."}
        before = everything()
        for where, body, status, code in (
            (dispute, credit | {"amount": "59.51"}, 409, "exceeds_disputed"),
            (dispute, credit | {"amount": "0"}, 400, "amount_not_positive"),
            (dispute, credit | {"note": " "}, 400, "blank"),
            (dispute, {"resolution_type": "credit"}, 400, "required"),
            (dispute, credit | {"outcome": "write_off"}, 400, "unknown_resolution"),
            (dispute, credit | {"resolution_type": "gift"}, 400, "invalid_choice"),
            (dispute, credit | {"resolution_type": "refund"}, 409, "refund_exceeds_cash"),
            (dispute, credit | {"resolution_type": "no_action", "amount": "5"}, 400, "amount_without_money"),
            (
                dispute, credit | {"resolution_type": "adjustment", "outcome": "price_fix"}, 400,
                "amendment_required",
            ),
            (
                dispute, credit | {"resolution_type": "adjustment", "outcome": "debit_note"}, 409,
                "overcharge_is_not_debited",
            ),
            (dispute, credit | {"credit": "1"}, 400, "unknown_field"),
            (under, credit, 409, "undercharge_is_not_credited"),
        ):  # fmt: skip
            answer = staff.put(at(where, "resolve"), body)
            problem = answer.json()
            codes = {problem["code"], *(error["code"] for error in problem["errors"])}
            assert (answer.status_code, code in codes) == (status, True), (body, problem)
        for client in (customer, sign_in(desk.auditor), sign_in(desk.buyer)):
            assert client.put(at(dispute, "resolve"), credit).status_code == 403
        assert everything() == before


class TestReasons:
    def test_the_report_is_for_staff(self, desk: Desk, staff: APIClient, customer: APIClient) -> None:
        desk.policy(small_claims_amount="100")
        dispute = desk.open()
        staff.put(at(dispute, "resolve"), {"resolution_type": "credit", "amount": "10", "note": "Yes"})
        found = staff.get(f"{DISPUTES}/reasons?opened_from=2026-03-01&opened_to=2026-04-01").json()
        (row,) = found["by_outcome"]
        assert (row["key"], row["label"], row["in_time_percent"]) == ("credit_note", "Credit note", "100")
        assert row["median_seconds"] == 0
        assert row["amounts"] == [{"currency": "EUR", "disputed": "59.50", "approved": "10.00"}]
        assert customer.get(f"{DISPUTES}/reasons").json() == {
            "by_category": [], "by_root_cause": [], "by_outcome": [],
        }  # fmt: skip
        for query, code in (
            ("opened_from=2026-04-01&opened_to=2026-04-01", "period_not_ordered"),
            ("opened_from=soon", "invalid"),
            ("opened=2026", "unknown_parameter"),
        ):
            problem = staff.get(f"{DISPUTES}/reasons?{query}").json()
            assert code in {problem["code"], *(error["code"] for error in problem["errors"])}, problem
