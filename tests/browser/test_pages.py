"""The pages of people who are not in the back-office, in a browser: light, dark and on a phone, with and without scripts."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.models import User
from core.notifications import notify
from tests.browser.conftest import PHONE

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"
LOOKS: dict[str, dict[str, Any]] = {"light": {}, "dark": {"dark": True}, "phone": {"viewport": PHONE}}


@pytest.fixture
def manager(settings: Any) -> User:
    settings.ROOT_URLCONF = "tests.core.pages.site"
    user = User.objects.create_user(
        "lukas",
        "lukas@example.com",
        PASSWORD,
        first_name="Lukas",
        last_name="Brandt",
        time_zone="Europe/Berlin",
    )
    notify(
        user=user,
        kind="budget",
        title="Cloud 2024 has used 80% of its limit",
        body="500,000.00 EUR, of which 98,799.25 EUR are left.",
        url="/gallery/",
        email=False,
    )
    return user


def small_targets(page: Page) -> list[str]:
    """Return the buttons and links outside sentences that a thumb would miss: less than 44 px."""
    found: list[str] = page.evaluate(
        """[...document.querySelectorAll('button, .eb-button, nav a, summary, .eb-user-panel a')]
            .filter(e => e.checkVisibility())
            .filter(e => { const b = e.getBoundingClientRect(); return b.height < 43.5 || b.width < 43.5; })
            .map(e => e.outerHTML.slice(0, 120))"""
    )
    return found


@pytest.mark.parametrize("look", LOOKS)
def test_pages_are_sound(
    look: str, sign_in: Callable[..., Page], manager: User, axe: Any, screenshot: Any, live_server: Any
) -> None:
    """Nothing serious for axe, nothing from elsewhere, no breach of the policy, nothing wider than the phone."""
    page = sign_in(manager, **LOOKS[look])
    wrong: list[str] = []
    page.on("request", lambda sent: None if sent.url.startswith(live_server.url) else wrong.append(sent.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "policy" in line.text.lower() else None)

    def look_at(name: str) -> None:
        screenshot(page, f"pages-{name}-{look}")
        assert axe(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        if look == "phone":
            assert small_targets(page) == [], name

    page.goto("/gallery/")
    look_at("gallery")
    page.get_by_role("link", name="Reject").click()
    expect(page.get_by_role("dialog", name="Reject this request?")).to_be_visible()
    look_at("dialog")
    page.goto("/refusing/conflict/")
    page.evaluate("document.querySelector('#reasons').noValidate = true")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Correct what is marked below")).to_be_visible()
    look_at("errors")
    page.get_by_label("Reason").fill("Because")
    page.get_by_label("Today").check()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#refusal")).to_contain_text("Grace Holloway approved it already")
    look_at("conflict")
    page.goto("/home/")
    page.get_by_label("Account of Lukas Brandt").click()
    look_at("menu")
    assert wrong == []


def test_everything_works_without_scripts(new_context: Any, manager: User, axe: Any, screenshot: Any) -> None:
    page = new_context(java_script_enabled=False, viewport=PHONE, color_scheme="light").new_page()
    page.goto("/gallery/")
    page.get_by_label("User name").fill("lukas")
    page.get_by_label("Password").fill(PASSWORD)
    screenshot(page, "pages-sign-in-phone")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/gallery/")
    page.get_by_role("link", name="Reject").click()
    page.wait_for_url("**/gallery/?reject")
    page.get_by_label("Account of Lukas Brandt").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("body")).to_have_css("color-scheme", "dark")
    page.goto("/home/")
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.get_by_role("status")).to_contain_text("1 message marked as read.")
    page.get_by_label("Account of Lukas Brandt").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_contain_text("You are signed out.")
