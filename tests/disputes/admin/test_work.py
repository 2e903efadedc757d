"""The page of a dispute: worked on from opening to its cause, and what each action does or why it cannot."""

from decimal import Decimal
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from approvals.models import ApprovalRequest
from approvals.services.votes import request_approve
from disputes.models import BillingDispute, DisputeAttachment, DisputeComment, DisputeResolution, RootCause
from disputes.services.comments import comment_add
from disputes.services.handling import dispute_update
from tests.disputes.admin.conftest import pages, text_of
from tests.disputes.builders import Desk, berlin, everything, log
from tests.disputes.resolving import rule

LIST = "/admin/disputes/billingdispute/"


def page(dispute: BillingDispute) -> str:
    return f"{LIST}{dispute.pk}/change/"


def do(site: Client, dispute: BillingDispute, name: str, **data: Any) -> Any:
    """Confirm an action; it redirects when it was done."""
    return site.post(f"{LIST}{dispute.pk}/do/{name}/", data)


def confirm(site: Client, dispute: BillingDispute, **values: Any) -> Any:
    """Fill the form in, look at the consequences, and confirm them."""
    form = f"{LIST}{dispute.pk}/do/resolve/"
    shown = site.post(form, {**values, "preview": "1"}).context["digest"]
    return site.post(form, {**values, "confirm": "1", "shown": shown})


def bar(site: Client, dispute: BillingDispute) -> dict[str, str]:
    """What can be done, with the reason where it cannot now."""
    return {item.action.name: item.why_not for item in site.get(page(dispute)).context["actions_bar"]}


def main(site: Client, dispute: BillingDispute) -> list[str]:
    return [item.action.name for item in site.get(page(dispute)).context["actions_bar"] if item.action.main]


class TestAWholeDispute:
    def test_from_opening_to_its_cause(self, site: Client, desk: Desk, travel: Any) -> None:
        """DSP-04, DSP-05, DSP-07, DSP-08, DSP-13: every step by the pages of staff, but the customer's and the vote."""
        rule(desk, desk.manager)
        invoice = desk.invoice()
        line = desk.line(invoice)
        asked = site.get(f"{LIST}add/?invoice={invoice.pk}&line={line.pk}")
        assert asked.context["form"].initial == {"line": str(line.pk), "amount": "119.00"}
        opened = site.post(
            f"{LIST}add/?invoice={invoice.pk}",
            {
                "line": line.pk, "category": "pricing", "direction": "over", "severity": "high", "amount": "59.50",
                "reason": "We agreed on half of it.", "customer_reference": "C-77",
            },
        )  # fmt: skip
        dispute = BillingDispute.objects.get()
        assert opened.url == page(dispute)
        assert (dispute.amount, dispute.severity, dispute.invoice_line_id) == (
            Decimal("59.50"),
            "high",
            line.pk,
        )
        assert main(site, dispute) == ["acknowledge"]

        assert do(site, dispute, "acknowledge", version=dispute.version).status_code == 302
        dispute = desk.again(dispute)
        assert (dispute.status, dispute.owner_id) == ("acknowledged", desk.staff.pk)
        assert "acknowledge" not in bar(site, dispute)
        assert main(site, dispute) == ["resolve"]

        travel.move_to(berlin("2026-03-02 11:00"))
        assert do(site, dispute, "ask", question="Which offer do you mean?").status_code == 302
        dispute = desk.again(dispute)
        assert dispute.status == "waiting_customer"
        text = text_of(site.get(page(dispute)))
        assert "Answered 2026-03-02 10:00 UTC" in text
        assert "Paused since 2026-03-02 10:00 UTC" in text
        assert "Which offer do you mean?" in text
        assert bar(site, dispute)["ask"] == "It is waiting for the customer already."

        travel.move_to(berlin("2026-03-03 09:00"))
        comment_add(
            actor=desk.customer, dispute_id=dispute.pk, body="Offer 17 of May.", visibility="customer"
        )
        dispute = desk.again(dispute)
        assert dispute.status == "investigating"

        form = f"{LIST}{dispute.pk}/do/resolve/"
        values = {
            "version": dispute.version, "outcome": "credit_note", "amount": "59.50", "note": "You are right.",
            "internal_note": "Price list of 2025 was used.",
        }  # fmt: skip
        before = everything()
        preview = site.post(form, {**values, "preview": "1"})
        assert everything() == before, "a preview writes nothing"
        words = text_of(preview)
        assert "Credit note over 59.50 EUR" in words
        assert "of it settles the invoice 59.50 EUR" in words
        assert "Open of the invoice now 190.40 EUR" in words
        assert "Open of the invoice then 130.90 EUR" in words
        assert "It is carried out once others have approved it" in words
        assert desk.manager.display_name in words

        assert confirm(site, dispute, **values).status_code == 302
        dispute = desk.again(dispute)
        request = ApprovalRequest.objects.get()
        assert dispute.status == "proposed"
        text = text_of(site.get(page(dispute)))
        assert "Waits for approval" in text
        assert request.reference_number in text
        assert bar(site, dispute)["investigate"] == "A resolution waits for approval: take it back first."
        assert bar(site, dispute)["take-back"] == ""

        request_approve(actor=desk.manager, request_id=request.pk, comment="")
        dispute = desk.again(dispute)
        assert (dispute.status, dispute.approved_amount) == ("resolved", Decimal("59.50"))
        text = text_of(site.get(page(dispute)))
        assert f"Credit note {DisputeResolution.objects.get().credit_note}" in text
        assert "Say what the cause was" in text
        assert main(site, dispute) == ["close"]

        assert do(site, dispute, "close", version=dispute.version).status_code == 302
        assert do(
            site, dispute, "cause", root_cause=RootCause.WRONG_PRICE, root_cause_note="Import price lists monthly."
        ).status_code == 302  # fmt: skip
        dispute = desk.again(dispute)
        assert (dispute.status, dispute.root_cause) == ("closed", "wrong_price")
        assert log(dispute) == [
            "opened", "acknowledged", "staff_message", "status", "customer_message", "status", "proposed", "resolved",
            "closed", "changed",
        ]  # fmt: skip
        text = text_of(site.get(page(dispute)))
        assert "Wrong price" in text
        assert "Say what the cause was" not in text
        history = text_of(site.get(f"{LIST}{dispute.pk}/history/"))
        assert "Root cause" in history

    def test_what_is_small_is_resolved_alone(self, site: Client, desk: Desk) -> None:
        """DSP-13, and the form says why."""
        desk.policy(small_claims_amount="100")
        dispute = desk.open()
        form = f"{LIST}{dispute.pk}/do/resolve/"
        values = {"outcome": "goodwill", "amount": "20.00", "note": "As a courtesy."}
        words = text_of(site.post(form, {**values, "preview": "1"}))
        assert "You may do it alone, because it is within the small claims of the policy." in words
        assert "of it collected from 2026-04-01 39.50 EUR" in words
        confirm(site, dispute, **values)
        assert (desk.again(dispute).status, desk.again(dispute).approved_amount) == (
            "resolved",
            Decimal("20.00"),
        )

    def test_rejecting_moves_no_money(self, site: Client, desk: Desk) -> None:
        """DSP-15: the prefilled amount means nothing then."""
        dispute = desk.open()
        values = {"outcome": "rejected", "amount": "59.50", "note": "The offer had ended."}
        words = text_of(site.post(f"{LIST}{dispute.pk}/do/resolve/", {**values, "preview": "1"}))
        assert "You may do it alone, because no money moves." in words
        confirm(site, dispute, **values)
        assert desk.again(dispute).approved_amount == 0


class TestResolveForm:
    def test_a_refusal_stands_in_the_form(self, site: Client, desk: Desk) -> None:
        """DSP-11: at most what is disputed, and nothing changes."""
        dispute = desk.open()
        before = everything()
        answer = site.post(
            f"{LIST}{dispute.pk}/do/resolve/",
            {"outcome": "credit_note", "amount": "60.00", "note": "Yes", "confirm": "1"},
        )
        assert "59.50 EUR is disputed; 60.00 EUR is more. Resolve at most what is disputed." in text_of(
            answer
        )
        assert everything() == before

    def test_only_what_was_shown_is_confirmed(self, site: Client, desk: Desk) -> None:
        """DSP-15: another amount than that of the preview, or credits made meanwhile, are shown first."""
        desk.policy(small_claims_amount="100")
        dispute = desk.open()
        form = f"{LIST}{dispute.pk}/do/resolve/"
        values = {"outcome": "credit_note", "amount": "20.00", "note": "Yes"}
        shown = site.post(form, {**values, "preview": "1"}).context["digest"]
        before = everything()
        answer = site.post(form, {**values, "amount": "30.00", "confirm": "1", "shown": shown})
        assert "These are not the consequences that you saw." in text_of(answer)
        assert "Credit note over 30.00 EUR" in text_of(answer)
        assert everything() == before
        desk.pay(dispute.invoice, "190.40")
        before = everything()
        answer = site.post(form, {**values, "confirm": "1", "shown": shown})
        assert "These are not the consequences that you saw." in text_of(answer)
        assert everything() == before

    def test_what_somebody_else_changed_is_not_overwritten(self, site: Client, desk: Desk) -> None:
        dispute = desk.open()
        dispute_update(actor=desk.colleague, dispute_id=dispute.pk, changes={"category": "tax"})
        before = everything()
        for answer in (
            site.post(
                f"{LIST}{dispute.pk}/do/resolve/",
                {"version": dispute.version, "outcome": "rejected", "note": "No", "confirm": "1"},
            ),
            do(site, dispute, "acknowledge", version=dispute.version),
        ):
            assert "Somebody changed this record since you opened it." in text_of(answer)
        assert everything() == before

    def test_an_undercharge_is_never_credited(self, site: Client, desk: Desk) -> None:
        """DSP-01: the form offers what fits the direction."""
        dispute = desk.open(direction="under")
        form = site.get(f"{LIST}{dispute.pk}/do/resolve/").context["form"]
        assert [key for key, _ in form.fields["outcome"].choices] == ["debit_note", "price_fix", "rejected"]
        assert form.initial["outcome"] == "debit_note"

    def test_while_one_waits_it_says_so(self, site: Client, desk: Desk) -> None:
        rule(desk, desk.manager)
        dispute = desk.open()
        values = {"outcome": "credit_note", "amount": "59.50", "note": "Yes"}
        confirm(site, dispute, **values)
        answer = site.get(f"{LIST}{dispute.pk}/do/resolve/")
        assert answer.status_code == 409
        assert "A resolution waits for approval: take it back first." in text_of(answer)
        assert do(site, dispute, "take-back", reason="Wrong amount").status_code == 302
        assert desk.again(dispute).status == "investigating"


class TestThread:
    def test_what_goes_to_the_customer_is_shown_once_more(self, site: Client, desk: Desk) -> None:
        """DSP-18: a press on the button alone sends nothing."""
        dispute = desk.open()
        say = f"{LIST}{dispute.pk}/say/"
        before = everything()
        asked = site.post(say, {"body": "We look into it.", "visibility": "customer"})
        assert "The customer’s people read exactly this" in text_of(asked)
        assert everything() == before
        site.post(say, {"body": "We look into it.", "visibility": "customer", "confirm": "1"})
        comment = DisputeComment.objects.get(speaker="staff")
        assert (comment.body, comment.visibility) == ("We look into it.", "customer")
        assert desk.again(dispute).status == "acknowledged"

    def test_a_note_is_internal_and_tells_the_mentioned(self, site: Client, desk: Desk) -> None:
        """DSP-18: marked for readers, and only for who may read it."""
        dispute = desk.open()
        body = f"@{desk.colleague.username} see <b>offer</b>, @{desk.customer.username} too"
        site.post(f"{LIST}{dispute.pk}/say/", {"body": body, "visibility": "internal"})
        html = site.get(page(dispute)).content.decode()
        assert f">@{desk.colleague.username}</mark>" in html
        assert f"@{desk.customer.username}</mark>" not in html
        assert "&lt;b&gt;offer&lt;/b&gt;" in html
        assert 'data-kind="internal"' in html
        assert desk.again(dispute).status == "open", "a note is no answer (DSP-05)"

    def test_empty_words_are_refused(self, site: Client, desk: Desk) -> None:
        dispute = desk.open()
        before = everything()
        answer = site.post(f"{LIST}{dispute.pk}/say/", {"body": " ", "visibility": "customer"}, follow=True)
        assert "Write something." in text_of(answer)
        assert everything() == before

    def test_a_correction_is_a_further_version(self, site: Client, desk: Desk) -> None:
        """DSP-18: both can be read; only the author corrects."""
        dispute = desk.open()
        note = comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Price of 2024")
        address = f"{LIST}{dispute.pk}/comments/{note.pk}/"
        assert pages(desk.colleague).get(address).status_code == 404
        assert site.post(address, {"body": "Price of 2025"}).status_code == 302
        text = text_of(site.get(page(dispute)))
        assert "Price of 2025" in text
        assert "1 earlier version" in text
        assert "Price of 2024" in text

    def test_files_for_both_sides_need_a_tick(self, site: Client, desk: Desk) -> None:
        """DSP-18: one that the customer shall see is not kept by one press."""
        dispute = desk.open()
        attach = f"{LIST}{dispute.pk}/attach/"

        def upload() -> SimpleUploadedFile:
            return SimpleUploadedFile("offer.txt", b"Offer 17")

        answer = site.post(attach, {"file": upload(), "visibility": "customer"}, follow=True)
        assert "Tick that the customer may see the file" in text_of(answer)
        assert not DisputeAttachment.objects.exists()
        site.post(attach, {"file": upload(), "visibility": "internal"})
        kept = DisputeAttachment.objects.get()
        assert (kept.name, kept.visibility) == ("offer.txt", "internal")
        answer = site.get(f"{LIST}{dispute.pk}/files/{kept.pk}/")
        assert b"".join(answer.streaming_content) == b"Offer 17"
        assert "attachment" in answer["Content-Disposition"]
        assert pages(desk.customer).get(f"{LIST}{dispute.pk}/files/{kept.pk}/").status_code == 404
        site.post(f"{LIST}{dispute.pk}/files/{kept.pk}/remove/")
        assert site.get(f"{LIST}{dispute.pk}/files/{kept.pk}/").status_code == 404


class TestActions:
    def test_each_one_works(self, site: Client, desk: Desk) -> None:
        """DSP-04, DSP-09, DSP-10: assign, severity, details, wait, escalate, withdraw."""
        dispute = desk.open()
        choices = site.get(f"{LIST}{dispute.pk}/do/assign/").context["form"].fields["owner"].choices
        assert {key for key, _ in choices} == {
            "", *(str(user.pk) for user in (desk.staff, desk.colleague, desk.manager)),
        }  # fmt: skip
        do(site, dispute, "assign", owner=desk.colleague.pk)
        do(site, dispute, "severity", severity="critical", reason="They threaten to leave")
        do(site, dispute, "wait", note="Ask the provider")
        do(site, dispute, "escalate", reason="No answer from the provider")
        do(
            site, dispute, "details", category="tax", chargeback_scheme="Visa", chargeback_reference="CB-1",
            chargeback_deadline="2026-03-20", customer_reference="",
        )  # fmt: skip
        now = desk.again(dispute)
        assert (now.owner_id, now.severity, now.status) == (
            desk.colleague.pk,
            "critical",
            "waiting_third_party",
        )
        assert (now.is_escalated, now.category, str(now.chargeback_deadline)) == (True, "tax", "2026-03-20")
        text = text_of(site.get(page(dispute)))
        assert f"Owner: (empty) → {desk.colleague.display_name}" in text
        assert "Severity medium → critical" in text
        assert "Category: Price → Tax" in text
        do(site, dispute, "withdraw", reason="Mail of Ms Berg")
        assert desk.again(dispute).status == "withdrawn"
        assert set(bar(site, dispute)) == {"cause"}

    def test_one_that_is_over_is_left_alone(self, site: Client, desk: Desk) -> None:
        dispute = desk.open()
        do(site, dispute, "withdraw", reason="Mail")
        before = everything()
        answer = site.post(f"{LIST}{dispute.pk}/do/investigate/", {}, follow=True)
        assert "is withdrawn: this cannot be done any more." in text_of(answer)
        assert site.get(f"{LIST}{dispute.pk}/do/resolve/").status_code == 409
        assert everything() == before

    def test_merging_offers_disputes_of_the_invoice(self, site: Client, desk: Desk) -> None:
        """DSP-17."""
        invoice = desk.invoice()
        older = desk.open(invoice)
        assert bar(site, older)["merge"] == f"No other dispute about {invoice} is open."
        newer = desk.open(invoice, line=2, amount="11.90")
        form = site.get(f"{LIST}{older.pk}/do/merge/").context["form"]
        assert [key for key, _ in form.fields["other"].choices] == [str(newer.pk)]
        do(site, older, "merge", other=newer.pk, reason="The same offer")
        assert desk.again(older).amount == Decimal("71.40")
        assert f"It goes on as {older.number}." in text_of(site.get(page(newer)))

    def test_reopening_says_until_when(self, site: Client, desk: Desk, travel: Any) -> None:
        """DSP-16."""
        dispute = desk.open()
        values = {"outcome": "rejected", "note": "No"}
        confirm(site, dispute, **values)
        assert bar(site, dispute)["reopen"] == ""
        do(site, dispute, "reopen", reason="A new offer", amount="30.00")
        now = desk.again(dispute)
        assert (now.status, now.round_number, now.amount) == ("open", 2, Decimal("30.00"))
        assert "Earlier rounds" in text_of(site.get(page(dispute)))
        confirm(site, dispute, **values)
        travel.move_to(berlin("2026-04-02 09:00"))
        assert bar(site, dispute)["reopen"] == (
            f"{dispute} could be reopened until 2026-04-01, 30 days after it was decided."
        )
