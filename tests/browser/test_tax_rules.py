"""Tax rules in a browser: a list that fits its window, and a form that can be read on the phone (INV-05)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from core.access import system_actor
from invoicing.services.tax_rules import tax_rule_create
from tests.invoicing.invoices.builders import build_group

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_inv_05_the_pages_of_tax_rules(dark: bool, sign_in: Any, axe: Any, screenshot: Any) -> None:
    group = build_group()
    group.manager.is_staff = True
    group.manager.save()
    for service, category, percent in (("Books", "S", 7), ("Professional training courses", "E", 0)):
        rule = tax_rule_create(
            actor=system_actor(), issuer=group.issuer, name=f"Tax of {service}", service=service,
            provider="Amazon Web Services", tax_category=category, tax_rate=Decimal(percent),
            valid_from=date(2024, 1, 1),
        )  # fmt: skip
    page = sign_in(group.manager, dark=dark)
    look = "dark" if dark else "light"
    for name, address in (("list", ""), ("form", f"{rule.pk}/change/")):
        page.goto(f"/admin/invoicing/taxrule/{address}")
        page.wait_for_load_state("networkidle")
        screenshot(page, f"tax-rules-{name}-{look}")
        assert axe(page) == []
        if name == "list":
            # The rate and the dates are seen without scrolling sideways.
            assert page.evaluate("(t => t.scrollWidth <= t.clientWidth)(document.querySelector('.eb-table'))")
    page.set_viewport_size({"width": 360, "height": 800})
    screenshot(page, f"tax-rules-form-360-{look}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
