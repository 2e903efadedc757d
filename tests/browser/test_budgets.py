"""The budgets' pages in a real browser: light, dark, on a phone, readable by everyone (axe); actions to their end."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from budgets.models import Budget, BudgetRevision
from budgets.services.changes import revision_propose
from core import clock
from tests.browser.conftest import PHONE
from tests.budgets.admin.test_import import row, sheet
from tests.budgets.builders import Place, place

pytestmark = pytest.mark.browser

SignIn = Callable[..., Page]
LOOKS: dict[str, dict[str, Any]] = {"light": {}, "dark": {"dark": True}, "phone": {"viewport": PHONE}}


@pytest.fixture
def here(transactional_db: None) -> Place:
    """The present year, since a browser lives in it."""
    return place()


@pytest.fixture
def budget(here: Place) -> Budget:
    year = clock.today().year
    period = {"period_start": datetime.date(year, 1, 1), "period_end": datetime.date(year + 1, 1, 1)}
    whole = here.budget("900000", department=None, name=f"Company {year}", is_control_point=True, **period)
    made = here.budget("120000", name=f"Cloud {year}", parent=whole, **period)
    over = here.budget("20000", name=f"Travel {year}", parent=whole, control="advisory", **period)
    here.charge(made, "81250.50")
    here.commit(made, "18400", description="Database cluster, second half", reference="PO-2041")
    here.charge(over, "23100")
    revision_propose(actor=here.colleague, budget_id=made.pk, delta="15000", reason="A third region")
    return made


def no_sideways_scrolling(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_of_a_budget(
    look: str,
    here: Place,
    budget: Budget,
    sign_in: SignIn,
    axe: Callable[[Page], list[str]],
    screenshot: Callable[[Page, str], Path],
) -> None:
    page = sign_in(here.finance, **LOOKS[look])
    page.goto(f"/admin/budgets/budget/{budget.pk}/change/")
    expect(page.get_by_role("heading", name=budget.name, exact=True)).to_be_visible()
    expect(page.get_by_text("waits for a second person")).to_be_visible()
    expect(page.get_by_text("spent 68 %, committed 15 %, available 17 %")).to_be_attached()
    screenshot(page, f"budget-{look}")
    assert axe(page) == []
    assert no_sideways_scrolling(page)
    page.goto(f"/admin/budgets/budget/{budget.parent_id}/change/")
    screenshot(page, f"budget-group-{look}")
    assert axe(page) == []
    page.goto("/admin/budgets/budget/")
    screenshot(page, f"budget-list-{look}")
    assert axe(page) == []
    assert no_sideways_scrolling(page)


def test_a_revision_from_the_button_to_the_new_figures(
    here: Place,
    budget: Budget,
    sign_in: SignIn,
    axe: Callable[[Page], list[str]],
    screenshot: Callable[[Page, str], Path],
) -> None:
    page = sign_in(here.finance)
    page.goto(f"/admin/budgets/budget/{budget.pk}/change/")
    page.get_by_role("link", name="Revise").click()
    page.get_by_label("New allocation").fill("130000")
    page.get_by_label("Reason").fill("Agreed in the spring review")
    page.get_by_role("button", name="Show the effect").click()
    effect = page.get_by_role("region", name="What it does")
    expect(effect.get_by_role("row", name="Allocated")).to_contain_text("+10,000.00")
    screenshot(page, "budget-effect")
    assert axe(page) == []
    page.get_by_role("button", name="Revise", exact=True).click()
    expect(page.get_by_text("Revision 2 waits for approval.")).to_be_visible()
    waiting = BudgetRevision.objects.get(number=1)
    page.goto(f"/admin/budgets/budgetrevision/{waiting.pk}/do/approve/")
    expect(page.get_by_role("row", name="Available")).to_contain_text("+15,000.00")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("Revision 1 is in force.")).to_be_visible()
    assert Budget.objects.get(pk=budget.pk).allocated_amount == 135_000


def test_the_import_page(
    here: Place, sign_in: SignIn, axe: Callable[[Page], list[str]], screenshot: Callable[[Page, str], Path]
) -> None:
    page = sign_in(here.finance)
    page.goto("/admin/budgets/budget/import/")
    content = sheet(row(here), row(here, Name="Travel 2027", Allocated="=A2", Control="strict"))
    page.set_input_files("input[type=file]", {"name": "budgets.xlsx", "mimeType": "", "buffer": content})
    page.get_by_role("button", name="Look at the rows").click()
    expect(page.get_by_text("2 problems in 1 of 2 rows.")).to_be_visible()
    screenshot(page, "budget-import-problems")
    assert axe(page) == []
    page.set_input_files(
        "input[type=file]", {"name": "budgets.xlsx", "mimeType": "", "buffer": sheet(row(here))}
    )
    page.get_by_role("button", name="Look at the rows").click()
    page.get_by_role("button", name="Make 1 draft").click()
    expect(page.get_by_text("1 draft is made")).to_be_visible()
    assert Budget.objects.get().status == "draft"
