"""What disputes hold back, on the invoice's page: light, dark and on a phone (DSP-03, DSP-14)."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from invoicing.services.holds import hold_defer
from tests.browser.conftest import DESKTOP, PHONE
from tests.invoicing.holds.test_holds import held, line_of
from tests.invoicing.settlement.conftest import make_account

pytestmark = pytest.mark.browser


@pytest.mark.django_db(transaction=True)
def test_dsp_03_the_panel_says_what_is_held_back(
    sign_in: Callable[..., Page],
    axe: Callable[[Page], list[str]],
    screenshot: Callable[[Page, str], Path],
) -> None:
    account = make_account()
    invoice, manager = account.issued("100", "50"), account.group.manager
    held(account, invoice, "10", invoice_line=line_of(invoice, 2), reference="D-000001")
    decided = held(account, invoice, "30", reference="D-000002")
    hold_defer(actor=manager, hold=decided, amount="20", due_date=date(2027, 1, 31), reason="Right")
    account.pay("40")
    looks: tuple[tuple[str, dict[str, Any]], ...] = (
        ("light", {"viewport": DESKTOP}),
        ("dark", {"viewport": DESKTOP, "dark": True}),
        ("phone", {"viewport": PHONE}),
    )
    for name, look in looks:
        page = sign_in(manager, **look)
        page.goto(reverse("admin:invoicing_invoice_change", args=[invoice.pk]))
        row = page.get_by_text("D-000002")
        row.scroll_into_view_if_needed()
        expect(row).to_contain_text("to be paid by 2027-01-31 after the dispute")
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= look["viewport"]["width"]
        screenshot(page, f"invoice-holds-{name}")
