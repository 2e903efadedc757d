"""The pages of approvals in a browser: a manager's work on a phone, with and without scripts, light and dark (issue 4)."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from playwright.sync_api import Page, expect

from approvals.models import ApprovalRequest
from approvals.services.attachments import attachment_add
from tests.approvals.builders import House, house, people
from tests.browser.conftest import PHONE
from tests.browser.test_pages import small_targets
from tests.entities.factories import PASSWORD

pytestmark = pytest.mark.browser

TWENTY = 20


@pytest.fixture
def home(transactional_db: None) -> House:
    found = house()
    for user, first, last in (
        (found.anna, "Anna", "Adler"),
        (found.ben, "Ben", "Brook"),
        (found.asker, "Ada", "Ask"),
    ):
        user.first_name, user.last_name = first, last
        user.save()
    return found


def status(request: ApprovalRequest) -> str:
    return ApprovalRequest.objects.get(pk=request.pk).status


def test_a_manager_clears_twenty_requests_on_a_phone(
    home: House, new_context: Any, screenshot: Callable[..., Any]
) -> None:
    """One tap opens the first, one tap decides each: the next one is shown at once."""
    home.rule(people(home.anna))
    for number in range(TWENTY):
        home.ask("10", title=f"Request {number + 1}")
    page = new_context(viewport=PHONE, has_touch=True, is_mobile=True, color_scheme="light").new_page()
    page.goto("/approvals/")
    page.get_by_label("User name").fill(home.anna.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).tap()
    expect(page.get_by_role("link", name="Waiting for me 20")).to_be_visible()
    taps = 0

    def tap(target: Any) -> None:
        nonlocal taps
        expect(target).to_be_in_viewport()
        target.tap()
        taps += 1

    tap(page.get_by_role("link", name="Request 1", exact=True))
    for number in range(TWENTY):
        expect(page.get_by_role("heading", name=f"Request {number + 1}", exact=True)).to_be_visible()
        tap(page.get_by_role("button", name="Approve", exact=True))
    expect(page.get_by_role("status").filter(has_text="Nothing else waits for you.")).to_be_visible()
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    screenshot(page, "approvals-cleared-phone")
    assert taps == TWENTY + 1
    assert set(ApprovalRequest.objects.values_list("status", flat=True)) == {"approved"}


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_deciding_on_a_phone(scripts: bool, home: House, new_context: Any, sign_in: Any) -> None:
    """Reject needs a comment; several are approved together; who comes late is told; standing in works."""
    home.rule(people(home.anna, home.chief))
    rejected, first, second, late = (home.ask(title=name) for name in ("Sofa", "One", "Two", "Late"))
    page = sign_in(home.anna, viewport=PHONE, java_script_enabled=scripts)
    page.goto(f"/approvals/requests/{rejected.pk}/")
    page.get_by_role("link", name="Reject").click()
    comment = page.get_by_label("Why you reject it").locator("visible=true")
    page.get_by_role("button", name="Reject").locator("visible=true").click()
    assert status(rejected) == "pending"
    comment.fill("The old one will do.")
    page.get_by_role("button", name="Reject").locator("visible=true").click()
    expect(page.get_by_role("heading", name="One", exact=True)).to_be_visible()
    assert status(rejected) == "rejected"

    page.goto("/approvals/")
    for name in ("One", "Two"):
        page.get_by_label(f"Choose {name}").check()
    page.get_by_role("button", name="Approve chosen").click()
    expect(page.get_by_role("heading", name="Approve 2 requests?")).to_be_visible()
    expect(page.get_by_text("200.00")).to_be_visible()
    page.get_by_role("button", name="Approve 2").click()
    expect(page.get_by_role("heading", name="2 approved")).to_be_visible()
    assert [status(first), status(second)] == ["approved", "approved"]

    page.goto(f"/approvals/requests/{late.pk}/")
    home.approve(late, home.chief)
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_role("heading", name="It is decided already")).to_be_visible()
    expect(page.get_by_text(f"approved by {home.chief.display_name}")).to_be_visible()
    expect(page.get_by_role("link", name="Leave a comment")).to_be_visible()

    page.goto("/approvals/delegations/")
    page.get_by_label("Who decides for you").select_option(label="Ben Brook")
    page.get_by_role("button", name="Delegate").click()
    expect(page.get_by_role("status").filter(has_text="Ben Brook decides for you then")).to_be_visible()
    stand_in = home.ask(title="For Anna")
    bens = sign_in(home.ben, viewport=PHONE, java_script_enabled=scripts)
    bens.goto("/approvals/?show=delegated")
    expect(bens.get_by_text("For Anna Adler")).to_be_visible()
    bens.get_by_role("link", name="For Anna", exact=True).click()
    bens.get_by_role("button", name="Approve", exact=True).click()
    expect(bens.get_by_role("status").filter(has_text="is approved")).to_be_visible()
    bens.goto(f"/approvals/requests/{stand_in.pk}/")
    expect(bens.get_by_text("by Ben Brook for Anna Adler, Level 1")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_are_sound_and_the_inbox_lives(
    dark: bool,
    home: House,
    sign_in: Any,
    axe: Any,
    screenshot: Any,
    live_server: Any,
    settings: Any,
    tmp_path: Any,
) -> None:
    """Nothing for axe, nothing inline, nothing wider than the phone; new requests come by themselves."""
    settings.MEDIA_ROOT = tmp_path
    home.rule(people(home.anna, name="Team lead"), people(home.ben, home.chief, name="Finance"))
    budget = home.place.budget("1000")
    large = home.ask("640", title="Camera", supplier="Acme", budget_id=budget.pk, description="For the shop.")
    home.ask("99", title="Tripod", supplier="Contoso", budget_id=budget.pk)
    attachment_add(
        actor=home.asker,
        request_id=large.pk,
        name="offer.txt",
        file=SimpleUploadedFile("offer.txt", b"Offer"),
    )
    viewport = PHONE if dark else {"width": 1280, "height": 860}
    page = sign_in(home.anna, dark=dark, viewport=viewport)
    wrong: list[str] = []
    page.on("request", lambda sent: None if sent.url.startswith(live_server.url) else wrong.append(sent.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "policy" in line.text.lower() else None)

    def look(page: Page, name: str) -> None:
        screenshot(page, f"approvals-{name}-{'dark' if dark else 'light'}")
        assert axe(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        if dark:
            assert small_targets(page) == [], name

    page.goto("/approvals/")
    page.get_by_label("Choose Tripod").check()
    home.ask("15", title="Brand new", budget_id=budget.pk)
    page.evaluate("document.querySelector('[data-live]').dispatchEvent(new CustomEvent('refresh'))")
    expect(page.get_by_role("link", name="Brand new")).to_be_visible()
    expect(page.locator("#inbox-news")).to_have_text("3 requests wait for you now.")
    expect(page.get_by_label("Choose Tripod")).to_be_checked()
    look(page, "inbox")
    page.goto(f"/approvals/requests/{large.pk}/")
    look(page, "request")
    page.keyboard.press("Tab")
    page.get_by_role("link", name="Ask back").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Ask for changes?")).to_be_visible()
    expect(page.get_by_label("What is to be changed")).to_be_focused()
    look(page, "dialog")
    pages = ("delegations/", "mine/", "history/?status=pending", "mails/", f"requests/{large.pk}/pass-on/")
    for name in (f"bulk/?request={large.pk}", *pages):
        page.goto(f"/approvals/{name}")
        look(page, re.sub(r"\W.*", "", name))

    asking = sign_in(home.asker, dark=dark, viewport=viewport)
    asking.goto("/approvals/new/")
    asking.get_by_label("Title").fill("Lamp")
    asking.get_by_label(re.compile("^Amount")).fill("300")
    asking.get_by_label(re.compile("^Budget")).select_option(str(budget.pk))
    expect(asking.locator("#preview")).to_contain_text("Exceeded by")
    asking.get_by_label(re.compile("^Amount")).fill("30")
    expect(asking.locator("#preview")).to_contain_text("216.00")
    look(asking, "new")
    asking.get_by_role("button", name="Submit").click()
    expect(asking.get_by_text("Nobody decides on their own request.")).to_be_visible()
    look(asking, "own")
    assert wrong == []


def test_a_long_list_of_budgets_is_searched(home: House, sign_in: Any) -> None:
    for number in range(9):
        budget = home.place.budget("10", name=f"Team {number}")
    page = sign_in(home.asker, viewport=PHONE)
    page.goto("/approvals/new/")
    budgets = page.get_by_label(re.compile("^Budget"))
    page.get_by_label("Find a budget").fill("team 8")
    expect(budgets).to_have_value(str(budget.pk))
    expect(page.get_by_text("1 found")).to_be_visible()
    page.get_by_label("Find a budget").fill("")
    expect(budgets.locator("option")).to_have_count(10)
    expect(budgets).to_have_value(str(budget.pk))


def test_every_field_of_the_rule_editor_has_a_name(home: House, sign_in: Any, axe: Any) -> None:
    """Fields that look their choices up are named for those who hear them; so is their search."""
    page = sign_in(home.place.finance)
    page.goto("/admin/approvals/approvalrule/add/")
    entity = page.get_by_role("combobox", name="Entity").first
    expect(entity).to_be_visible()
    assert axe(page) == []
    entity.click()
    expect(page.get_by_role("searchbox", name="Entity")).to_be_focused()
