"""The customers' pages of disputes in a browser: on a phone, with and without scripts, light and dark (issue 7)."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from playwright.sync_api import expect

from disputes.models import BillingDispute
from disputes.services.attachments import attachment_add
from disputes.services.comments import comment_add
from disputes.services.handling import dispute_wait_for_customer
from disputes.services.proposals import Proposal, dispute_resolve
from tests.browser.conftest import PHONE
from tests.browser.test_pages import small_targets
from tests.disputes.builders import Desk, build_desk

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    return build_desk()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_customer_disputes_a_line_on_a_phone_and_answers(
    scripts: bool, desk: Desk, sign_in: Any, screenshot: Callable[..., Any]
) -> None:
    """From the invoice to the answer: choose, say what is wrong, be asked, answer, attach, withdraw."""
    invoice = desk.invoice("100", "50")
    page = sign_in(desk.customer, viewport=PHONE, java_script_enabled=scripts)
    page.goto("/disputes/")
    page.get_by_role("link", name="Dispute an invoice").first.click()
    page.get_by_role("link", name=invoice.number).click()
    page.get_by_role("link", name=desk.line(invoice, 1).description).click()
    page.get_by_label("What it is about").select_option("pricing")
    page.get_by_label("By how much").fill("59.50")
    page.get_by_label("Why", exact=True).fill("Half of it was agreed.")
    page.get_by_role("button", name="Open the dispute").click()
    expect(page.get_by_text("need not be paid until this is decided")).to_be_visible()
    dispute = BillingDispute.objects.get()
    assert str(dispute.amount) == "59.5000"

    dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk, question="Which month do you mean?")
    page.reload()
    expect(page.get_by_text("Your answer is waited for.")).to_be_visible()
    expect(page.get_by_text("Which month do you mean?")).to_be_visible()
    page.get_by_label("Your message").fill("January.")
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_text("January.")).to_be_visible()
    assert desk.again(dispute).status == "investigating"

    page.get_by_role("link", name="Attach a file").click()
    page.locator("input[type=file]:visible").set_input_files(
        {"name": "proof.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 proof"}
    )
    page.get_by_role("button", name="Attach", exact=True).locator("visible=true").click()
    expect(page.get_by_role("link", name="proof.pdf")).to_be_visible()
    screenshot(page, f"disputes-answered-phone-{'scripts' if scripts else 'plain'}")

    page.get_by_role("link", name="Withdraw it").click()
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_role("status").filter(has_text="is withdrawn")).to_be_visible()
    assert desk.again(dispute).status == "withdrawn"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_pages_have_no_serious_finding(
    dark: bool, phone: bool, desk: Desk, sign_in: Any, axe: Any, screenshot: Callable[..., Any]
) -> None:
    """Every page, by axe; on a phone nothing is wider than it, and everything is large enough to tap."""
    invoice, other = desk.invoice("100", "50", "10"), desk.invoice("200")
    dispute, decided = desk.open(invoice), desk.open(other, amount="100.00")
    comment_add(
        actor=desk.customer, dispute_id=dispute.pk, body="See the offer of May.", visibility="customer"
    )
    comment_add(actor=desk.staff, dispute_id=dispute.pk, body="We look at it today.", visibility="customer")
    attachment_add(
        actor=desk.customer, dispute_id=dispute.pk, name="offer.pdf",
        file=SimpleUploadedFile("offer.pdf", b"%PDF-1.7 offer"), visibility="customer",
    )  # fmt: skip
    dispute_resolve(
        actor=desk.staff, dispute_id=decided.pk, proposal=Proposal("no_action", note="Billed as ordered.")
    )
    options: dict[str, Any] = {"viewport": PHONE} if phone else {}
    page = sign_in(desk.customer, dark=dark, **options)
    line = desk.line(invoice, 2)
    for name, address in {
        "list": "/disputes/",
        "empty": "/disputes/?show=ended",
        "invoices": "/disputes/new/",
        "lines": f"/disputes/new/{invoice.pk}/",
        "form": f"/disputes/new/{invoice.pk}/{line.pk}/",
        "dispute": f"/disputes/{dispute.pk}/",
        "decided": f"/disputes/{decided.pk}/",
        "withdraw": f"/disputes/{dispute.pk}/withdraw/",
        "reopen": f"/disputes/{decided.pk}/reopen/",
        "nothing": "/disputes/999999/",
    }.items():
        page.goto(address)
        page.wait_for_load_state("networkidle")
        screenshot(page, f"disputes-{name}-{'phone' if phone else 'desktop'}-{'dark' if dark else 'light'}")
        assert axe(page) == [], name
        if phone:
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
            assert small_targets(page) == [], name
