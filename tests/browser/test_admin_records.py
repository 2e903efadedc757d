"""Lists of amounts, actions, conflicts and history in a browser, on the back-office of tests/core/admin."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.admin import dashboard, record_parts
from core.admin.columns import amount_html
from core.admin.dashboard import Card, Need, Panel
from core.history import record_as
from core.models import SavedFilter, User
from entities.models import Entity
from tests.browser.conftest import PHONE

pytestmark = pytest.mark.browser

SignIn = Callable[..., Page]
LIST = "/admin/entities/entity/"


@pytest.fixture
def administrator(settings: Any, monkeypatch: pytest.MonkeyPatch) -> User:
    """At the back-office of core's tests, without what upper apps add to its pages."""
    settings.ROOT_URLCONF = "tests.core.admin.site"
    for registry in ("_links", "_panels"):
        monkeypatch.setattr(record_parts, registry, {})
    user = User.objects.create_superuser("ada", "ada@example.com", "correct horse battery")
    user.first_name, user.last_name = "Ada", "Byron"
    user.save()
    return user


@pytest.fixture
def entity(administrator: User) -> Entity:
    """One of many, with a past."""
    with record_as(administrator):
        root = Entity.objects.create(name="Northwind Holding", code="NW", currency="EUR", entity_type="root")
        for index, (city, currency) in enumerate(
            [("Berlin", "EUR"), ("Osaka", "JPY"), ("Austin", "USD")] * 9
        ):
            amount = (
                Decimal(index * 7919 + 250) if currency == "JPY" else Decimal(index * 791) - Decimal("310.45")
            )
            Entity.objects.create(
                name=f"Northwind {city} {index + 1}",
                code=f"NW-{index + 1}",
                currency=currency,
                parent=root,
                credit_limit=abs(amount),
            )
        root.city = "Hamburg"
        root.credit_limit = Decimal("2500000.00")
        root.save()
    with record_as(administrator, "The group moved its seat"):
        root.city, root.street = "Kiel", "Am Kai 4"
        root.save()
    SavedFilter.objects.create(
        user=administrator,
        page="entities.entity",
        name="Big ones",
        query="entity_type__exact=root",
        shared=True,
    )
    return root


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_list_of_amounts(
    dark: bool, sign_in: SignIn, administrator: User, entity: Entity, axe: Any, screenshot: Any
) -> None:
    page = sign_in(administrator, dark=dark)
    page.goto(LIST)
    page.wait_for_load_state("networkidle")
    boxes = page.locator("#result_list input.action-select")
    boxes.nth(0).check()
    boxes.nth(1).check()
    boxes.nth(2).check()
    # What is chosen is summed per currency, never over several.
    expect(page.locator("#eb-selection")).to_contain_text("3 selected:")
    screenshot(page, f"amounts-selected-{'dark' if dark else 'light'}")
    page.goto(LIST)
    screenshot(page, f"amounts-{'dark' if dark else 'light'}")
    # Totals are in sight without scrolling.
    expect(page.locator(".eb-totals")).to_be_in_viewport(ratio=1)
    aligned = page.locator("#result_list td.field-money_credit_limit").first
    assert aligned.evaluate("cell => getComputedStyle(cell).textAlign") == "right"
    assert axe(page) == []


def test_filters_open_by_button_and_apply(
    sign_in: SignIn, administrator: User, entity: Entity, axe: Any, screenshot: Any
) -> None:
    page = sign_in(administrator)
    page.goto(LIST)
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_role("button", name="Apply Filters")).to_be_visible()
    screenshot(page, "filters-open")
    assert axe(page) == []


def test_saving_a_filter_by_hand(
    sign_in: SignIn, administrator: User, entity: Entity, screenshot: Any
) -> None:
    page = sign_in(administrator)
    page.goto(f"{LIST}?q=Berlin")
    page.get_by_text("Save this filter").click()
    page.get_by_label("Name").fill("Berlin")
    screenshot(page, "save-filter")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("link", name="Berlin", exact=True).first).to_have_attribute(
        "aria-current", "true"
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_action_from_bar_to_message(
    dark: bool, sign_in: SignIn, administrator: User, entity: Entity, axe: Any, screenshot: Any
) -> None:
    suffix = "dark" if dark else "light"
    page = sign_in(administrator, dark=dark)
    page.goto(f"{LIST}{entity.pk}/change/")
    page.wait_for_load_state("networkidle")
    screenshot(page, f"record-{suffix}")
    assert axe(page) == []
    page.get_by_role("link", name="Close").first.click()
    expect(page.get_by_text("Northwind Holding is billed no more.")).to_be_visible()
    screenshot(page, f"action-{suffix}")
    assert axe(page) == []
    page.get_by_label("Reason").fill("Merged into another group")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_text("Northwind Holding is closed.")).to_be_visible()
    # Now it is locked, and the action says why it is not possible.
    page.get_by_role("button", name="Close").hover()
    expect(page.get_by_role("tooltip")).to_have_text("It is closed already.")
    screenshot(page, f"locked-{suffix}")
    assert axe(page) == []


def test_bulk_preview(
    sign_in: SignIn, administrator: User, entity: Entity, axe: Any, screenshot: Any
) -> None:
    Entity.objects.filter(code="NW-3").update(is_active=False)
    page = sign_in(administrator)
    page.goto(LIST)
    page.locator("#action-toggle").check()
    page.locator("select[name=action]").select_option(label="Close…")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="Skipped, and why")).to_be_visible()
    screenshot(page, "bulk")
    assert axe(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_conflict_shows_both_values(
    dark: bool, sign_in: SignIn, administrator: User, entity: Entity, axe: Any, screenshot: Any
) -> None:
    page = sign_in(administrator, dark=dark)
    page.goto(f"{LIST}{entity.pk}/change/")
    page.get_by_label("Name").fill("Northwind Group")
    theirs = Entity.objects.get(pk=entity.pk)
    theirs.name = "Northwind SE"
    theirs.save()
    page.keyboard.press("Control+s")
    expect(page.get_by_role("heading", name="Saved meanwhile by somebody else")).to_be_visible()
    screenshot(page, f"conflict-{'dark' if dark else 'light'}")
    assert axe(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_history_reads(
    dark: bool, sign_in: SignIn, administrator: User, entity: Entity, axe: Any, screenshot: Any
) -> None:
    page = sign_in(administrator, dark=dark)
    page.goto(f"{LIST}{entity.pk}/history/")
    expect(page.get_by_text("The group moved its seat")).to_be_visible()
    screenshot(page, f"history-{'dark' if dark else 'light'}")
    assert axe(page) == []


@pytest.mark.parametrize("path", ["", "{pk}/change/", "{pk}/history/", "{pk}/do/close/", "upload/"])
def test_pages_fit_a_phone(
    path: str, sign_in: SignIn, administrator: User, entity: Entity, screenshot: Any
) -> None:
    page = sign_in(administrator, viewport=PHONE)
    page.goto(LIST + path.format(pk=entity.pk))
    page.wait_for_load_state("networkidle")
    screenshot(page, f"phone-{path.strip('/').replace('/', '-').replace('{pk}-', '') or 'amounts'}")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("mode", ["light", "dark", "phone"])
def test_overview_with_numbers(
    mode: str,
    sign_in: SignIn,
    administrator: User,
    entity: Entity,
    axe: Any,
    screenshot: Any,
    monkeypatch: Any,
) -> None:
    from tests.core.admin.site import site

    for name in ("_cards", "_needs", "_panels"):
        monkeypatch.setattr(dashboard, name, [])
    monkeypatch.setattr(dashboard.admin, "site", site)
    euros, dollars = amount_html(Decimal("48210.55"), "EUR"), amount_html(Decimal("20.52"), "USD")
    bars = [(month, width, amount_html(Decimal(width * 1180), "EUR")) for month, width in MONTHS]
    for card in (
        Card("Issued this month", "", LIST, note="7 invoices", lines=(euros, dollars)),
        Card("Drafts", "4", LIST, note="to check and issue"),
        Card("Not allocated", "31 rows", LIST, note="4.07 USD without a department", tone="warn"),
        Card("Failed imports", "1", LIST, note="since yesterday", tone="bad"),
        Card("Entities", "28", LIST, note="in 3 currencies"),
    ):
        dashboard.register_card(lambda request, card=card: card)
    dashboard.register_need(
        lambda request: [
            Need(
                "31 usage rows have no department: give them a mapping rule",
                LIST,
                icon="alt_route",
                tone="warn",
            ),
            Need("12 rows of focus_sample.csv were rejected: repair them", LIST, icon="build", tone="bad"),
        ]
    )
    panel = {"rows": bars, "caption": "Cost per month"}
    dashboard.register_panel(lambda request: Panel("Cost per month", "admin/includes/bars.html", panel))
    page = sign_in(administrator, dark=mode == "dark", **({"viewport": PHONE} if mode == "phone" else {}))
    page.goto("/admin/")
    page.wait_for_load_state("networkidle")
    screenshot(page, f"overview-numbers-{mode}")
    assert axe(page) == []


MONTHS = [
    ("Apr 2024", 41),
    ("May 2024", 47),
    ("Jun 2024", 58),
    ("Jul 2024", 52),
    ("Aug 2024", 77),
    ("Sep 2024", 100),
]
