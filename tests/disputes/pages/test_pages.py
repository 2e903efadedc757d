"""The customers' pages: what they offer, what they refuse, and that nothing internal is on them (DSP-18)."""

from decimal import Decimal

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from core.models import User
from disputes.models import BillingDispute, DisputeAttachment, DisputeComment, DisputeStatus
from disputes.services.attachments import attachment_add
from disputes.services.comments import comment_add
from disputes.services.handling import dispute_escalate, dispute_update, dispute_wait_for_customer
from disputes.services.proposals import Proposal, dispute_resolve
from tests.disputes.builders import Desk

SECRET = "sentinel-7f3a"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[-1])
    return client


def test_customer_opens_a_dispute_from_the_list_to_its_page(desk: Desk) -> None:
    """Invoice, line, form: what is sent is what is stored, and the amount is held back (DSP-01, DSP-03)."""
    invoice = desk.invoice("100", "50")
    line = desk.line(invoice, 1)
    client = signed_in(desk.customer)
    assert invoice.number in client.get("/disputes/new/").content.decode()
    lines = client.get(f"/disputes/new/{invoice.pk}/").content.decode()
    assert f"/disputes/new/{invoice.pk}/{line.pk}/" in lines
    form = client.get(f"/disputes/new/{invoice.pk}/{line.pk}/").content.decode()
    assert "At most" in form and "119.00" in form

    sent = client.post(
        f"/disputes/new/{invoice.pk}/{line.pk}/",
        {
            "direction": "over",
            "category": "pricing",
            "amount": "59.50",
            "reason": "Half of it was agreed.",
            "customer_reference": "K-1",
        },
    )
    dispute = BillingDispute.objects.get()
    assert sent.status_code == 302
    assert sent["Location"] == f"/disputes/{dispute.pk}/"
    assert (dispute.amount, dispute.category, dispute.severity) == (Decimal("59.50"), "pricing", "medium")
    assert (dispute.invoice_line_id, dispute.opened_by, dispute.customer_reference) == (
        line.pk,
        desk.customer,
        "K-1",
    )
    invoice.refresh_from_db(fields=["disputed_amount"])
    assert invoice.disputed_amount == Decimal("59.50")
    page = client.get(sent["Location"]).content.decode()
    assert "need not be paid until this is decided" in page
    assert "Half of it was agreed." in page


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"amount": "119.01"}, 409, "119.00"),
        ({"amount": "0"}, 400, "greater than zero"),
        ({"amount": "ten"}, 400, "amount"),
        ({"category": ""}, 400, "required"),
        ({"reason": " "}, 400, "required"),
    ],
)
def test_wrong_input_says_what_is_wrong_and_opens_nothing(
    desk: Desk, changes: dict[str, str], status: int, words: str
) -> None:
    """DSP-01: the limit, a positive amount, a reason."""
    invoice = desk.invoice("100")
    sent = {"direction": "over", "category": "pricing", "amount": "10", "reason": "Too much", **changes}
    answer = signed_in(desk.customer).post(f"/disputes/new/{invoice.pk}/{desk.line(invoice).pk}/", sent)
    assert answer.status_code == status
    assert words in answer.content.decode()
    assert not BillingDispute.objects.exists()


def test_only_own_invoices_and_lines_are_offered(desk: Desk) -> None:
    """A department manager disputes the lines of the department; strangers and auditors none (ENT-04)."""
    sold, researched = desk.invoice("100"), desk.invoice("80", department=desk.research)
    buyer = signed_in(desk.buyer)
    offered = buyer.get("/disputes/new/").content.decode()
    assert sold.number in offered
    assert researched.number not in offered
    assert buyer.get(f"/disputes/new/{researched.pk}/").status_code == 404
    assert buyer.get(f"/disputes/new/{sold.pk}/{desk.line(researched).pk}/").status_code == 404
    assert "Dispute the invoice as a whole" not in buyer.get(f"/disputes/new/{sold.pk}/").content.decode()
    assert signed_in(desk.stranger).get(f"/disputes/new/{sold.pk}/").status_code == 404
    assert signed_in(desk.auditor).get("/disputes/new/").status_code == 403


def test_who_does_not_see_a_dispute_finds_nothing(desk: Desk) -> None:
    dispute = desk.open(desk.invoice("100"))
    for user in (desk.stranger, desk.neighbour):
        client = signed_in(user)
        assert f"/disputes/{dispute.pk}/" not in client.get("/disputes/").content.decode()
        for address in ("", "say/", "attach/", "withdraw/", "reopen/"):
            assert client.get(f"/disputes/{dispute.pk}/{address}").status_code == 404
    assert Client().get(f"/disputes/{dispute.pk}/").status_code == 302


def test_nothing_internal_is_on_the_pages(desk: Desk) -> None:
    """DSP-18: notes, files, proposals, owner and escalation stay with staff, whoever opens the page."""
    dispute = desk.open(desk.invoice("100"))
    comment_add(actor=desk.staff, dispute_id=dispute.pk, body=f"Note {SECRET}")
    file = attachment_add(
        actor=desk.staff,
        dispute_id=dispute.pk,
        name=f"{SECRET}.txt",
        file=SimpleUploadedFile("a.txt", b"internal"),
        visibility="internal",
    )
    dispute_update(actor=desk.staff, dispute_id=dispute.pk, changes={"root_cause_note": SECRET})
    dispute_escalate(actor=desk.staff, dispute_id=dispute.pk, reason=f"Help {SECRET}")
    dispute_resolve(
        actor=desk.staff,
        dispute_id=dispute.pk,
        proposal=Proposal("credit", note=f"Offer {SECRET}", internal_note=SECRET),
    )
    for user in (desk.customer, desk.buyer, desk.staff):
        client = signed_in(user)
        for address in ("/disputes/", f"/disputes/{dispute.pk}/", f"/disputes/{dispute.pk}/withdraw/"):
            assert SECRET not in client.get(address).content.decode(), (user, address)
    assert signed_in(desk.customer).get(f"/disputes/files/{file.pk}/").status_code == 404
    assert signed_in(desk.staff).get(f"/disputes/files/{file.pk}/").status_code == 200


def test_an_answer_resumes_at_once(desk: Desk) -> None:
    """DSP-08."""
    dispute = desk.open(desk.invoice("100"))
    dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk, question="Which one?")
    client = signed_in(desk.customer)
    assert "Your answer is waited for" in client.get(f"/disputes/{dispute.pk}/").content.decode()
    assert "Please answer the question." in client.get("/disputes/?show=waiting").content.decode()
    sent = client.post(f"/disputes/{dispute.pk}/say/", {"comment": "The second."})
    assert sent["Location"] == f"/disputes/{dispute.pk}/#thread"
    assert desk.again(dispute).status == DisputeStatus.INVESTIGATING
    comment = DisputeComment.objects.latest("pk")
    assert (comment.body, comment.visibility, comment.speaker) == ("The second.", "customer", "customer")


def test_files_are_attached_shown_and_taken_off(desk: Desk) -> None:
    dispute = desk.open(desk.invoice("100"))
    client = signed_in(desk.customer)
    address = f"/disputes/{dispute.pk}/attach/"
    refused = client.post(address, {"file": SimpleUploadedFile("a.exe", b"MZ")})
    assert refused.status_code == 400
    assert not DisputeAttachment.objects.exists()
    client.post(address, {"file": SimpleUploadedFile("a.pdf", b"%PDF-1.7 proof")})
    file = DisputeAttachment.objects.get()
    assert (file.name, file.visibility) == ("a.pdf", "customer")
    shown = client.get(f"/disputes/files/{file.pk}/")
    assert b"".join(shown.streaming_content) == b"%PDF-1.7 proof"
    assert shown["X-Content-Type-Options"] == "nosniff"
    assert "attachment" in client.get(f"/disputes/files/{file.pk}/?download")["Content-Disposition"]
    client.post(f"/disputes/files/{file.pk}/")
    assert client.get(f"/disputes/files/{file.pk}/").status_code == 404


def test_withdrawing_reopening_and_agreeing(desk: Desk) -> None:
    """DSP-16: a decided dispute is reopened, a withdrawn one is not."""
    withdrawn, rejected = desk.open(desk.invoice("100")), desk.open(desk.invoice("100"))
    client = signed_in(desk.customer)
    client.post(f"/disputes/{withdrawn.pk}/withdraw/", {"comment": "", "version": withdrawn.version})
    assert desk.again(withdrawn).status == DisputeStatus.WITHDRAWN
    refused = client.post(f"/disputes/{withdrawn.pk}/reopen/", {"comment": "Not so"})
    assert refused.status_code == 409
    assert desk.again(withdrawn).status == DisputeStatus.WITHDRAWN

    dispute_resolve(
        actor=desk.staff, dispute_id=rejected.pk, proposal=Proposal("no_action", note="As ordered.")
    )
    page = client.get(f"/disputes/{rejected.pk}/").content.decode()
    assert "As ordered." in page
    assert "Reopen it" in page
    client.post(f"/disputes/{rejected.pk}/reopen/", {"comment": "It was not ordered", "amount": "20.00"})
    again = desk.again(rejected)
    assert (again.status, again.amount, again.round_number) == (DisputeStatus.OPEN, Decimal("20.00"), 2)
    dispute_resolve(actor=desk.staff, dispute_id=rejected.pk, proposal=Proposal("no_action", note="It was."))
    client.post(f"/disputes/{rejected.pk}/close/")
    assert desk.again(rejected).status == DisputeStatus.CLOSED


def test_an_old_page_does_not_overwrite(desk: Desk) -> None:
    dispute = desk.open(desk.invoice("100"))
    comment_add(actor=desk.staff, dispute_id=dispute.pk, body="We look", visibility="customer")
    answer = signed_in(desk.customer).post(f"/disputes/{dispute.pk}/withdraw/", {"version": dispute.version})
    assert answer.status_code == 412
    assert desk.again(dispute).status == DisputeStatus.ACKNOWLEDGED


def test_the_list_asks_as_often_for_many(desk: Desk) -> None:
    """No query per row."""
    client = signed_in(desk.customer)
    desk.open(desk.invoice("100"))
    client.get("/disputes/")
    with CaptureQueriesContext(connection) as few:
        client.get("/disputes/")
    for _ in range(3):
        desk.open(desk.invoice("100"))
    with CaptureQueriesContext(connection) as many:
        client.get("/disputes/")
    assert len(many) == len(few)
