"""Signing in and out, for everybody; where one lands; light and dark."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from core.api.throttling import SignInThrottle
from core.models import User
from tests.core.pages.conftest import PASSWORD

SIGN_IN = {"username": "lukas", "password": PASSWORD}


@pytest.mark.parametrize(("is_staff", "lands"), [(True, "/admin/"), (False, "/home/")])
def test_staff_land_in_the_back_office_others_at_their_pages(
    is_staff: bool, lands: str, manager: User
) -> None:
    User.objects.filter(pk=manager.pk).update(is_staff=is_staff)
    client = Client()
    assert client.get("/")["Location"] == "/sign-in/"
    assert client.post("/sign-in/", SIGN_IN)["Location"] == lands
    assert client.get("/")["Location"] == lands
    # Who is signed in is not asked again.
    assert client.get("/sign-in/")["Location"] == lands


@pytest.mark.parametrize(
    ("next_page", "lands"),
    [
        ("/gallery/?page=2", "/gallery/?page=2"),
        ("https://evil.example/gallery/", "/home/"),
        ("//evil.example/", "/home/"),
        ("javascript:alert(1)", "/home/"),
        ("/sign-in/?next=/sign-in/", "/home/"),
        ("/sign-out/", "/home/"),
    ],
)
def test_next_page_is_kept_only_if_it_is_one_of_ours(next_page: str, lands: str, manager: User) -> None:
    client = Client()
    assert client.post("/sign-in/", {**SIGN_IN, "next": next_page})["Location"] == lands
    assert client.get("/sign-in/", {"next": next_page})["Location"] == lands


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"is_service_account": True}, "This is a service account"),
        ({"is_active": False}, "No active user has this name and password."),
        ({"username": "somebody-else"}, "No active user has this name and password."),
    ],
)
def test_others_are_refused_in_words_and_stay_outside(
    fields: dict[str, Any], says: str, manager: User
) -> None:
    User.objects.filter(pk=manager.pk).update(**fields)
    client = Client()
    answer = client.post("/sign-in/", SIGN_IN)
    assert answer.status_code == 400
    assert says in answer.content.decode()
    assert PASSWORD not in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_service_account_is_told_what_it_is_only_with_its_password(manager: User) -> None:
    User.objects.filter(pk=manager.pk).update(is_service_account=True)
    answer = Client().post("/sign-in/", {**SIGN_IN, "password": "guessed"})
    assert "service account" not in answer.content.decode()


def test_attempts_are_limited_together_with_those_at_the_api(settings: Any, manager: User) -> None:
    """SEC-04: per address; the right password does not help while the window lasts."""
    settings.API_RATES = {**settings.API_RATES, SignInThrottle.scope: (2, 3600)}
    client = Client()
    for _ in range(2):
        assert client.post("/sign-in/", {**SIGN_IN, "password": "guessed"}).status_code == 400
    answer = client.post("/sign-in/", SIGN_IN)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    assert "Too many attempts" in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_signing_out_is_asked_by_get_and_done_by_post(
    manager: User, client_of: Callable[[User], Client]
) -> None:
    client = client_of(manager)
    assert "Sign out?" in client.get("/sign-out/").content.decode()
    assert "_auth_user_id" in client.session
    answer = client.post("/sign-out/", follow=True)
    assert answer.redirect_chain == [("/sign-in/", 302)]
    assert "You are signed out." in answer.content.decode()
    assert client.get("/home/").status_code == 302
    assert client.get("/sign-out/")["Location"] == "/sign-in/"


def test_demo_sign_ins_sign_in_with_one_form_each_and_only_where_there_are_any(
    settings: Any, manager: User
) -> None:
    settings.DEMO_SIGN_INS, settings.DEMO_PAGE_SIGN_INS = [], []
    assert "Try it as" not in Client().get("/sign-in/").content.decode()
    settings.DEMO_SIGN_INS = [("Auditor", "audrey", "shown-on-purpose")]
    settings.DEMO_PAGE_SIGN_INS = [("Department manager", "lukas", PASSWORD)]
    text = Client().get("/sign-in/?next=/gallery/").content.decode()
    for part in ("Auditor", 'value="audrey"', 'value="shown-on-purpose"', "Department manager"):
        assert part in text
    assert text.count('name="next" value="/gallery/"') == 3


@pytest.mark.parametrize(
    ("theme", "remembered"), [("dark", "dark"), ("light", "light"), ("", ""), ('"><b>', "")]
)
def test_light_or_dark_is_remembered_or_forgotten(theme: str, remembered: str, db: None) -> None:
    client = Client()
    client.cookies["theme"] = '"><i>'
    answer = client.post("/theme/", {"theme": theme, "next": "/gallery/"})
    assert answer["Location"] == "/gallery/"
    assert answer.cookies["theme"].value == remembered
    assert ("data-theme" in client.get("/sign-in/").content.decode()) == bool(remembered)
    assert client.post("/theme/", {"next": "//evil.example"})["Location"] == "/"
