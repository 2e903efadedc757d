"""The back-office of disputes in a real browser: light, dark, on a phone, readable by everyone (axe); worked through."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from playwright.sync_api import Page, expect

from disputes.models import BillingDispute, DisputeRound, RootCause
from disputes.services.attachments import attachment_add
from disputes.services.comments import comment_add, comment_edit
from disputes.services.handling import (
    dispute_acknowledge,
    dispute_change_severity,
    dispute_escalate,
    dispute_update,
    dispute_wait_for_customer,
)
from tests.browser.conftest import PHONE
from tests.disputes.builders import Desk, build_desk
from tests.disputes.resolving import resolve, rule

pytestmark = pytest.mark.browser

SignIn = Callable[..., Page]
LOOKS: dict[str, dict[str, Any]] = {"light": {}, "dark": {"dark": True}, "phone": {"viewport": PHONE}}
LIST = "/admin/disputes/billingdispute/"


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    return build_desk()


@pytest.fixture
def worked_on(desk: Desk) -> BillingDispute:
    """A dispute with a thread of all kinds, files and versions, and some beside it in other states."""
    rule(desk, desk.manager)
    desk.policy(hours=40, name="Office hours")
    invoice = desk.invoice("1840", "320.50", "99")
    dispute = desk.open(
        invoice,
        amount="730.75",
        reason="The offer of May gives us 30 % on compute from April on. The invoice shows the list price.",
        customer_reference="PO-4711",
    )
    dispute_acknowledge(actor=desk.staff, dispute_id=dispute.pk)
    dispute_change_severity(actor=desk.staff, dispute_id=dispute.pk, severity="high", reason="Large customer")
    body = f"@{desk.colleague.username} which price list did the import use?"
    note = comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Which list was used?")
    comment_edit(actor=desk.staff, comment_id=note.pk, body=body)
    dispute_wait_for_customer(
        actor=desk.staff, dispute_id=dispute.pk, question="Which offer do you mean? Please send us a copy."
    )
    answer = comment_add(
        actor=desk.customer, dispute_id=dispute.pk, body="Offer 17 of 4 May, attached.", visibility="customer"
    )
    attachment_add(
        actor=desk.customer, dispute_id=dispute.pk, name="offer-17.pdf", visibility="customer",
        file=SimpleUploadedFile("offer-17.pdf", b"%PDF-1.7 offer"), comment_id=answer.pk,
    )  # fmt: skip
    dispute_escalate(actor=desk.staff, dispute_id=dispute.pk, reason="The account manager must agree")
    waits = desk.open(invoice, line=2, amount="381.40", category="duplicate")
    dispute_wait_for_customer(actor=desk.staff, dispute_id=waits.pk, question="Billed twice with what?")
    resolve(desk, desk.open(invoice, line=3, amount="50.00", category="tax"), "credit")
    decided = desk.open(category="billing_error")
    resolve(desk, decided, "no_action")
    dispute_update(
        actor=desk.staff, dispute_id=decided.pk, changes={"root_cause": RootCause.CUSTOMER_MISUNDERSTANDING}
    )
    late = desk.open(severity="critical", category="service_issue")
    earlier = {"response_due_at": late.opened_at, "resolution_due_at": late.opened_at}
    DisputeRound.objects.filter(dispute=late).update(**earlier)
    BillingDispute.objects.filter(pk=late.pk).update(next_deadline_at=late.opened_at)
    return desk.again(dispute)


def no_sideways_scrolling(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("look", LOOKS)
def test_the_pages(
    look: str,
    desk: Desk,
    worked_on: BillingDispute,
    sign_in: SignIn,
    axe: Callable[[Page], list[str]],
    screenshot: Callable[[Page, str], Path],
) -> None:
    page = sign_in(desk.staff, **LOOKS[look])
    resolve_url = f"{LIST}{worked_on.pk}/do/resolve/"
    for name, address, word in (
        ("list", f"{LIST}?_all=1", "Overdue"),
        ("page", f"{LIST}{worked_on.pk}/change/", "What happened"),
        ("resolve", resolve_url, "Limits"),
        ("reasons", f"{LIST}reasons/", "By root cause"),
        ("proposed", f"{LIST}{worked_on.pk + 2}/change/", "Waits for approval"),
        ("open", f"{LIST}add/?invoice={worked_on.invoice_id}", "Open the dispute"),
        ("invoice", f"/admin/invoicing/invoice/{worked_on.invoice_id}/change/", worked_on.number),
        (
            "policy",
            f"/admin/disputes/disputepolicy/{DisputeRound.objects.first().policy_id}/change/",
            "Targets",
        ),  # type: ignore[union-attr]
    ):
        page.goto(address)
        expect(page.get_by_text(word).first).to_be_attached()
        screenshot(page, f"disputes-admin-{name}-{look}")
        page.set_viewport_size({"width": page.viewport_size["width"], "height": 2400})  # type: ignore[index]
        screenshot(page, f"disputes-admin-{name}-{look}-whole")
        page.set_viewport_size(LOOKS[look].get("viewport", {"width": 1440, "height": 900}))
        assert axe(page) == [], name
        assert no_sideways_scrolling(page), name
    page.goto(resolve_url)
    page.get_by_label("To the customer").fill("You are right: the offer of May holds.")
    page.get_by_role("button", name="Show the consequences").click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    screenshot(page, f"disputes-admin-preview-{look}")
    assert axe(page) == []
    assert no_sideways_scrolling(page)


def test_a_clock_ticks_and_words_are_sent_after_a_second_look(
    desk: Desk, sign_in: SignIn, screenshot: Callable[[Page, str], Path]
) -> None:
    """The countdown goes on in the browser; what goes to the customer is shown once more (DSP-18)."""
    dispute = desk.open()
    page = sign_in(desk.staff)
    page.clock.install(time=dispute.opened_at)
    page.goto(f"{LIST}{dispute.pk}/change/")
    answer = page.locator(".dsp-clock-box").first.locator("[data-words]")
    expect(answer).to_have_text(re.compile("^(1 d|23 h 59 min) left$"))
    page.clock.fast_forward("01:01:00")
    expect(answer).to_have_text(re.compile("^22 h 5[89] min left$"))
    page.clock.fast_forward("23:00:00")
    expect(answer).to_have_text(re.compile("^Overdue [12] min$"))
    page.get_by_label("Write", exact=True).fill("We look into it and answer by Friday.")
    page.get_by_role("button", name="Send to the customer…").click()
    expect(page.get_by_role("heading", name="Send to Northwind Germany?")).to_be_visible()
    assert not dispute.comments.filter(speaker="staff").exists()
    screenshot(page, "disputes-admin-say")
    page.get_by_role("button", name="Send to the customer").click()
    expect(page.get_by_text("Sent to Northwind Germany.")).to_be_visible()
    assert dispute.comments.get(speaker="staff").body == "We look into it and answer by Friday."
