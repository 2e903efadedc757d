"""The browser of the tests: the system's Chromium against the live server.

Fixtures: `browser_page` (nobody signed in), `sign_in(user)` → a page on the back-office, `axe(page)` → serious and
critical findings, `screenshot(page, name)` → a file in the git-ignored folder .screenshots.
Where there is no Chromium the tests are skipped and say so.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import chromium_path

ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SCREENSHOTS = Path(__file__).resolve().parents[2] / ".screenshots"
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 360, "height": 740}
# Long enough for a machine that does much else; what comes sooner is not waited for.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    executable = chromium_path()
    if executable is None:
        pytest.skip("No Chromium on this machine: install the package `chromium` to run the browser tests.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def new_context(chromium: Browser, live_server: Any) -> Iterator[Callable[..., BrowserContext]]:
    """Make browser contexts that know the live server's address and are closed at the end."""
    opened: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        context = chromium.new_context(**{"base_url": live_server.url, "viewport": DESKTOP, **options})
        context.set_default_timeout(PATIENCE)
        opened.append(context)
        return context

    yield make
    for context in opened:
        context.close()


@pytest.fixture
def browser_page(new_context: Callable[..., BrowserContext]) -> Page:
    """A page where nobody is signed in."""
    return new_context().new_page()


@pytest.fixture
def sign_in(new_context: Callable[..., BrowserContext], live_server: Any) -> Callable[..., Page]:
    """Open the back-office as a user: `sign_in(user, dark=True, viewport=PHONE)`."""

    def open_as(user: Any, *, dark: bool = False, **options: Any) -> Page:
        context = new_context(color_scheme="dark" if dark else "light", **options)
        client = Client()
        client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[-1])
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": cookie.value, "url": live_server.url}]
        )
        return context.new_page()

    return open_as


def settled(page: Page) -> Page:
    """Wait until nothing fades or slides any more: what is half transparent has too little contrast."""
    page.evaluate(
        """() => Promise.allSettled(document.getAnimations()
            .filter(each => each.playState === 'running' && each.effect.getComputedTiming().endTime < Infinity)
            .map(each => each.finished)).then(() => null)"""
    )
    return page


@pytest.fixture
def axe() -> Callable[[Page], list[str]]:
    """Return what axe finds serious or critical on a page, one line per finding."""

    def run(page: Page) -> list[str]:
        found = Axe().run(settled(page)).response["violations"]
        return [
            f"{item['id']}: {node['target']} {node.get('failureSummary', '')}"
            for item in found
            if item["impact"] in {"serious", "critical"}
            for node in item["nodes"]
        ]

    return run


@pytest.fixture
def screenshot() -> Callable[[Page, str], Path]:
    """Keep a picture of a page, for people to look at."""

    def take(page: Page, name: str) -> Path:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        target = SCREENSHOTS / f"{name}.png"
        settled(page).screenshot(path=target)
        return target

    return take
