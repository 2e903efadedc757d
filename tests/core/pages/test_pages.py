"""The base of the pages: who may open them, what a refusal looks like, what browsers are told."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from billing_project.settings.unfold import UNFOLD
from core.models import Notification, User
from core.notifications import notify
from core.pages import navigation
from core.pages.components import LimitBar
from core.pages.navigation import PageEntry, first_page, page_links, register_page
from core.pages.security import POLICY
from tests.core.pages.conftest import PASSWORD

ClientOf = Callable[[User], Client]
SENT = {"reason": "Because", "urgent": "a"}


def test_strangers_sign_in_first_and_come_back(db: None) -> None:
    answer = Client().get("/gallery/?page=2")
    assert (answer.status_code, answer["Location"]) == (302, "/sign-in/?next=/gallery/%3Fpage%3D2")
    # What was sent is not repeated by a GET.
    assert Client().post("/gallery/", SENT)["Location"] == "/sign-in/?next=/"


def test_htmx_is_told_to_leave_for_the_sign_in_page(db: None) -> None:
    answer = Client().get(
        "/gallery/", HTTP_HX_REQUEST="true", HTTP_HX_CURRENT_URL="http://testserver/home/?a=1"
    )
    assert answer["HX-Redirect"] == "/sign-in/?next=/home/%3Fa%3D1"


def test_permission_of_a_page_is_asked(manager: User, client_of: ClientOf) -> None:
    answer = client_of(manager).get("/guarded/")
    assert answer.status_code == 403
    assert "You need the permission" in answer.content.decode()


def test_service_account_is_refused_even_with_a_session(manager: User, client_of: ClientOf) -> None:
    User.objects.filter(pk=manager.pk).update(is_service_account=True)
    answer = client_of(manager).get("/home/")
    assert answer.status_code == 403
    assert "calls the API with a token" in answer.content.decode()


@pytest.mark.parametrize(
    ("kind", "status", "says", "never"),
    [
        ("forbidden", 403, "Nobody approves their own request. Ask Grace Holloway.", "See how it stands"),
        ("not_found", 404, "There is no request 7 among those you can see.", "See how it stands"),
        ("http404", 404, "The address is wrong, or the record is outside what you may see.", "secret"),
        ("denied", 403, "It needs a right that your roles do not give.", "secret"),
        ("conflict", 409, "Grace Holloway approved it already, 5 minutes ago.", "secret"),
        ("stale", 412, "Somebody changed this record since you opened it.", "secret"),
        ("integrity", 409, "Nothing was changed.", "secret"),
    ],
)
def test_refusals_are_pages_with_their_status(
    kind: str, status: int, says: str, never: str, manager: User, client_of: ClientOf
) -> None:
    answer = client_of(manager).post(f"/refusing/{kind}/", SENT)
    text = answer.content.decode()
    assert answer.status_code == status
    assert says in text
    assert never not in text
    assert "Lukas Brandt" in text
    assert ('href="/home/?again"' in text) == (status in {409, 412})
    assert "no-store" in answer["Cache-Control"]


def test_refusal_to_htmx_is_the_panel_alone_and_put_where_it_is_heard(
    manager: User, client_of: ClientOf
) -> None:
    answer = client_of(manager).post("/refusing/conflict/", SENT, HTTP_HX_REQUEST="true")
    assert (answer.status_code, answer["HX-Retarget"]) == (409, "#refusal")
    assert answer["HX-Reselect"] == ".eb-refusal"
    assert "<html" not in answer.content.decode()
    assert "Grace Holloway approved it already" in answer.content.decode()


@pytest.mark.parametrize(("kind", "says"), [("invalid", "Say more."), ("validation", "Say it in words.")])
def test_wrong_input_stands_at_its_field_and_is_kept(
    kind: str, says: str, manager: User, client_of: ClientOf
) -> None:
    answer = client_of(manager).post(f"/refusing/{kind}/", SENT)
    assert answer.status_code == 400
    assert answer.context["form"].errors == {"reason": [says]}
    text = answer.content.decode()
    assert "Because</textarea>" in text
    assert 'aria-describedby="id_reason_helptext id_reason_error"' in text
    assert 'id="id_reason_error"' in text


def test_session_that_ends_while_a_form_is_filled_in_leads_to_the_sign_in_page(
    manager: User, client_of: ClientOf
) -> None:
    assert client_of(manager).post("/refusing/unauthenticated/", SENT)["Location"] == "/sign-in/?next=/"


def test_success_is_said_on_the_next_page(manager: User, client_of: ClientOf) -> None:
    answer = client_of(manager).post("/refusing/nothing/", SENT, follow=True)
    assert answer.redirect_chain == [("/home/", 302)]
    assert "It is done." in answer.content.decode()
    quick = client_of(manager).post("/refusing/nothing/", SENT, HTTP_HX_REQUEST="true")
    assert quick["HX-Redirect"] == "/home/"


def test_times_are_the_readers(manager: User, client_of: ClientOf) -> None:
    """22:30 in UTC on 30 September is half past midnight of the next day in Berlin."""
    assert client_of(manager).get("/clock/").content.decode() == "1 Oct 2024, 00:30 CEST"


def test_policy_is_on_pages_and_their_errors_not_on_the_back_office(
    manager: User, client_of: ClientOf
) -> None:
    client = client_of(manager)
    for path, status in {"/home/": 200, "/sign-out/": 200, "/nowhere/": 404, "/broken/": 500}.items():
        answer = client.get(path)
        assert (answer.status_code, answer["Content-Security-Policy"]) == (status, POLICY), path
        assert "secret" not in answer.content.decode()
    assert "unsafe" not in POLICY
    assert "Content-Security-Policy" not in client.get("/admin/login/")
    refused = Client(enforce_csrf_checks=True).post("/theme/")
    assert (refused.status_code, refused["Content-Security-Policy"]) == (403, POLICY)


def test_no_template_of_the_pages_needs_what_the_policy_forbids() -> None:
    folder = Path(django_settings.BASE_DIR) / "core" / "templates"
    pages = [*folder.glob("*.html"), *folder.glob("core/**/*.html"), Path(__file__).with_name("gallery.html")]
    assert len(pages) > 15
    for page in pages:
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>", page.read_text()), page.name


def test_shared_palette_is_the_themes() -> None:
    """The theme of the back-office is set in Python, the pages' in a style sheet: accent and ink are the same."""
    sheet = (Path(django_settings.BASE_DIR) / "core/static/core/common.css").read_text()
    base, primary = UNFOLD["COLORS"]["base"], UNFOLD["COLORS"]["primary"]
    assert f"--eb-accent: light-dark({primary['600']}, {primary['400']});" in sheet
    assert f"--eb-ink: light-dark({base['900']}, {base['100']});" in sheet
    assert f"--eb-text: light-dark({base['700']}, {base['300']});" in sheet


def test_navigation_shows_what_is_allowed_with_its_count(
    manager: User, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch, rf: Any
) -> None:
    monkeypatch.setattr(navigation, "_entries", list(navigation._entries))
    open_to_all = PageEntry(
        "Gallery", "pages:theme", "x", "Pieces.", order=5, count=lambda user: 7, count_means="due", first=True
    )
    register_page(open_to_all)
    register_page(open_to_all)
    register_page(
        PageEntry("Hidden", "pages:theme", "x", "", order=1, first=True, allowed=lambda user: False)
    )
    request = rf.get("/home/")
    request.user = manager
    assert [(link.entry.name, link.count, link.current) for link in page_links(request)] == [
        ("Home", 0, True),
        ("Gallery", 7, False),
    ]
    assert first_page(manager) == "/theme/"
    text = client_of(manager).get("/home/").content.decode()
    assert '7<span class="eb-hidden"> due</span>' in text
    assert "Hidden" not in text


def test_home_shows_own_messages_and_reads_them_all_by_post(manager: User, client_of: ClientOf) -> None:
    other = User.objects.create_user("other", "other@example.com", PASSWORD)
    notify(user=manager, kind="x", title="Yours", url="/gallery/", email=False)
    notify(user=other, kind="x", title="Not yours", email=False)
    client = client_of(manager)
    text = client.get("/home/").content.decode()
    assert "Yours" in text
    assert "Not yours" not in text
    assert client.get("/home/read/").status_code == 405
    answer = client.post("/home/read/", follow=True)
    assert "1 message marked as read." in answer.content.decode()
    assert list(Notification.objects.unread().values_list("title", flat=True)) == ["Not yours"]


@pytest.mark.parametrize(
    ("limit", "used", "added", "widths", "left", "over"),
    [
        # used, where the added part begins and how long it is, the limit, beyond it: per cent of the drawing
        ("20000", "8000", "4000", ("40.0", "40.0", "20.0", "100.0", "0"), "8000", "0"),
        ("500000", "401200.75", "184250.50", ("68.5", "68.5", "16.9", "85.4", "14.6"), "0", "85451.25"),
        ("100", "150", "50", ("50.0", "50.0", "0", "50.0", "50.0"), "0", "100"),
        ("100", "80", "-30", ("80.0", "80.0", "0", "100.0", "0"), "50", "0"),
        ("0", "0", "0", ("0", "0", "0", "0", "0"), "0", "0"),
    ],
)
def test_limit_bar(limit: str, used: str, added: str, widths: tuple[str, ...], left: str, over: str) -> None:
    bar = LimitBar("Budget", Decimal(limit), Decimal(used), Decimal(added), "EUR")
    drawn = (bar.used_width, bar.added_x, bar.added_width, bar.limit_x, bar.exceeded_width)
    assert drawn == widths
    assert (bar.left, bar.exceeded_by) == (Decimal(left), Decimal(over))
