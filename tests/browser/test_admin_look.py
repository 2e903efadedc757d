"""The back-office in a browser: nothing from outside, nothing serious for axe, keyboard, phone, light and dark."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from core.models import ExchangeRate, OutboxEvent, User
from core.notifications import notify
from tests.browser.conftest import DESKTOP, PHONE

pytestmark = pytest.mark.browser

SignIn = Callable[..., Page]


@pytest.fixture
def administrator() -> User:
    user = User.objects.create_superuser("ada", "ada@example.com", "correct horse battery")
    user.first_name, user.last_name = "Ada", "Byron"
    user.save()
    return user


@pytest.fixture
def records(administrator: User) -> None:
    """A screenful of every kind of record that core has."""
    day = date(2024, 9, 30)
    for index in range(60):
        for quote, rate in (("USD", "1.1196"), ("JPY", "159.82"), ("GBP", "0.83541")):
            value = Decimal(rate) + Decimal(index) / 1000
            ExchangeRate.objects.create(
                date=day - timedelta(index), base="EUR", quote=quote, rate=value, source="ECB"
            )
    notify(
        user=administrator,
        kind="import",
        title="The import of focus_sample.csv has ended",
        url="/admin/",
        email=False,
    )
    OutboxEvent.objects.create(
        topic="invoice.issued", key="invoice:1", payload={}, attempts=20, last_error="timed out"
    )
    for name in ("grace", "alan", "katherine"):
        User.objects.create_user(
            name, f"{name}@example.com", first_name=name.capitalize(), last_name="Example", is_staff=True
        )


PAGES = {
    "overview": "/admin/",
    "list": "/admin/core/exchangerate/",
    "filtered": "/admin/core/exchangerate/?source__exact=ECB&date__gte=2024-09-01",
    "empty": "/admin/core/exchangerate/?q=nothing-like-this",
    "form": "/admin/core/exchangerate/add/",
    "users": "/admin/core/user/",
    "outbox": "/admin/core/outboxevent/",
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_serious_finding_and_asks_nobody_else(
    name: str,
    dark: bool,
    sign_in: SignIn,
    administrator: User,
    records: None,
    axe: Any,
    screenshot: Any,
    live_server: Any,
) -> None:
    page = sign_in(administrator, dark=dark)
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(PAGES[name])
    page.wait_for_load_state("networkidle")
    screenshot(page, f"{name}-{'dark' if dark else 'light'}")
    assert [url for url in asked if not url.startswith((live_server.url, "data:", "blob:"))] == []
    assert failed == []
    assert axe(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(
    name: str, sign_in: SignIn, administrator: User, records: None, screenshot: Any
) -> None:
    page = sign_in(administrator, viewport=PHONE)
    page.goto(PAGES[name])
    page.wait_for_load_state("networkidle")
    screenshot(page, f"{name}-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_sign_in_page_offers_the_demo_roles(
    dark: bool, new_context: Any, settings: Any, axe: Any, screenshot: Any, administrator: User
) -> None:
    settings.DEMO_SIGN_INS = [
        ("Administrator", "ada", "correct horse battery"),
        ("Finance manager", "grace", "demo"),
        ("Finance staff", "alan", "demo"),
        ("Auditor", "katherine", "demo"),
    ]
    page = new_context(color_scheme="dark" if dark else "light", viewport=DESKTOP).new_page()
    page.goto("/admin/")
    page.wait_for_load_state("networkidle")
    screenshot(page, f"sign-in-{'dark' if dark else 'light'}")
    assert axe(page) == []
    page.get_by_role("button", name="Administrator").click()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="What needs you")).to_be_visible()


def test_wrong_password_is_said_in_words(browser_page: Page, administrator: User, screenshot: Any) -> None:
    browser_page.goto("/admin/login/")
    browser_page.get_by_label("Username").fill("ada")
    browser_page.get_by_label("Password").fill("wrong")
    browser_page.get_by_role("button", name="Sign in").click()
    expect(browser_page.get_by_role("alert")).to_contain_text("correct username and password")
    screenshot(browser_page, "sign-in-refused")


def test_keyboard_moves_through_rows_and_opens_help(
    sign_in: SignIn, administrator: User, records: None, screenshot: Any
) -> None:
    page = sign_in(administrator)
    page.goto("/admin/core/exchangerate/")
    page.wait_for_load_state("networkidle")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("#result_list > tbody").nth(0)).to_have_class(
        "block relative lg:table-row-group eb-current"
    )
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    screenshot(page, "keyboard-help")
    page.keyboard.press("?")
    page.keyboard.press("/")
    expect(page.locator("#searchbar")).to_be_focused()
    page.locator("body").click()
    page.keyboard.press("Escape")
    page.goto("/admin/core/outboxevent/")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#eb-selection")).to_contain_text("1 selected")
    screenshot(page, "selected")
    page.locator("body").click(position={"x": 700, "y": 5})
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")


# What a busy machine does: the frame in which the palette is shown comes late.
LATE_FRAMES = """
    const soon = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = (draw) => setTimeout(() => soon(draw), 400);
"""


@pytest.mark.parametrize("frames", ["at-once", "late"])
def test_palette_finds_pages_and_records(
    frames: str, sign_in: SignIn, administrator: User, records: None, screenshot: Any
) -> None:
    """Ctrl+K is enough to type at once what one looks for."""
    page = sign_in(administrator)
    if frames == "late":
        page.add_init_script(LATE_FRAMES)
    page.goto("/admin/")
    page.keyboard.press("Control+k")
    expect(page.locator("#search-input-command")).to_be_focused()
    page.keyboard.type("gra", delay=30)
    expect(page.locator("#command-results-list")).to_contain_text("grace")
    screenshot(page, "palette")


def test_head_and_first_column_stay_in_sight(sign_in: SignIn, administrator: User, records: None) -> None:
    page = sign_in(administrator)
    page.goto("/admin/core/exchangerate/")
    box = page.locator(".eb-table")
    head = page.locator("#result_list thead th").nth(1)
    before = head.bounding_box()
    box.evaluate("element => element.scrollTo(0, 600)")
    after = head.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 1


def test_printing_leaves_the_table(
    sign_in: SignIn, administrator: User, records: None, screenshot: Any
) -> None:
    page = sign_in(administrator)
    page.goto("/admin/core/exchangerate/")
    page.emulate_media(media="print")
    expect(page.locator("#nav-sidebar")).to_be_hidden()
    expect(page.locator(".eb-listbar")).to_be_hidden()
    screenshot(page, "print")


def test_failed_requests_are_none(sign_in: SignIn, administrator: User, records: None) -> None:
    """Every file that a page asks for is there."""
    page = sign_in(administrator)
    missing: list[str] = []

    def note(request: Request) -> None:
        answer = request.response()
        if answer is None or answer.status >= 400:
            missing.append(request.url)

    page.on("requestfinished", note)
    for url in PAGES.values():
        page.goto(url)
        page.wait_for_load_state("networkidle")
    assert missing == []
