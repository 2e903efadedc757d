"""The lists of invoicing in a browser: as wide as the window leaves them, and named as the navigation names them."""

from datetime import date
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from entities.models import Entity
from invoicing.services.credit_notes import credit_note_issue
from tests.invoicing.settlement.conftest import Account, make_account

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LIST = "/admin/invoicing/invoice/"
WIDEST = 1380


@pytest.fixture
def account() -> Account:
    """Invoices with long names and large amounts; some are overdue, one is credited."""
    account = make_account()
    name = "Northwind Infrastructure Services Ltd."
    Entity.objects.filter(pk=account.group.root.pk).update(name=name)
    first = account.issued("1234567.89", on=date(2024, 10, 1))
    account.issued("8765432.10", "20.00", on=date(2024, 10, 2))
    account.draft("5")
    credit_note_issue(actor=account.group.manager, invoice=first, amount="1000000", reason="Outage")
    account.group.manager.is_staff = True
    account.group.manager.save()
    return account


def width(page: Page) -> int:
    return int(page.evaluate("document.querySelector('#result_list').scrollWidth"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_list_of_invoices_fits_a_window_of_1440(
    dark: bool, account: Account, sign_in: Any, axe: Any, screenshot: Any
) -> None:
    page = sign_in(account.group.manager, dark=dark)
    page.goto(LIST)
    page.wait_for_load_state("networkidle")
    screenshot(page, f"invoices-{'dark' if dark else 'light'}")
    assert width(page) <= WIDEST
    # Nothing has to be scrolled sideways.
    assert page.evaluate("(t => t.scrollWidth <= t.clientWidth)(document.querySelector('.eb-table'))")
    overdue = page.get_by_title("Overdue, over 90 days").first
    expect(overdue).to_contain_text("2024-11-01")
    assert axe(page) == []


def test_the_shares_are_called_as_in_the_navigation(account: Account, sign_in: Any, screenshot: Any) -> None:
    page = sign_in(account.group.manager)
    page.goto("/admin/invoicing/invoicelineshare/")
    page.wait_for_load_state("networkidle")
    screenshot(page, "departments-shares")
    expect(page.get_by_role("heading", name="Departments' shares").first).to_be_visible()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_the_page_of_a_credit_note_asks_for_its_lines(
    look: str, account: Account, sign_in: Any, axe: Any, screenshot: Any
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}} if look == "phone" else {}
    invoice = account.group.root.invoices.get(lines__line_number=2)
    page = sign_in(account.group.manager, dark=look == "dark", **phone)
    page.goto(f"{LIST}{invoice.pk}/do/credit/")
    page.wait_for_load_state("networkidle")
    screenshot(page, f"credit-lines-{look}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe(page) == []
    if look == "light":
        page.get_by_label("2", exact=True).fill("12.50")
        page.get_by_label("Reason").fill("Outage")
        page.get_by_role("button", name="Issue the credit note").click()
        expect(page.get_by_text("is issued.")).to_be_visible()
        assert invoice.corrections.get().subtotal == 12.5
