"""Core's own pages: users, notifications, outbox, the first page, sign-in, error pages, badges."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group as DjangoGroup
from django.template.loader import render_to_string
from django.test import Client

from core import clock
from core.admin import dashboard
from core.admin.badges import BADGES, TONES, Badge, badge_html, badge_of, register_badges
from core.admin.dashboard import Card, Need, Panel
from core.models import ExchangeRate, Notification, OutboxEvent, User
from core.notifications import notify
from tests.core.admin.conftest import Group


def test_everything_of_others_wears_the_products_dress() -> None:
    from unfold.admin import ModelAdmin

    own = [type(item) for item in admin.site._registry.values()]
    assert all(issubclass(item, ModelAdmin) for item in own)
    assert not admin.site.is_registered(DjangoGroup)


def test_password_is_never_shown(admin_client: Client, administrator: User, group: Group) -> None:
    administrator.set_password("correct horse battery")
    administrator.save()
    page = admin_client.get(f"/admin/core/user/{administrator.pk}/change/")
    assert page.status_code in {200, 302}
    assert administrator.password not in page.content.decode()
    assert administrator.password.split("$")[-1] not in page.content.decode()


def test_nobody_grants_himself_the_back_office(admin_client: Client, person: Any, group: Group) -> None:
    someone = person("sam", "auditor", at=group.german)
    User.objects.filter(pk=someone.pk).update(is_staff=False)
    data = {
        "username": "sam",
        "email": "sam@example.com",
        "language": "en",
        "time_zone": "UTC",
        "is_active": "on",
    }
    admin_client.post(
        f"/admin/core/user/{someone.pk}/change/", {**data, "is_staff": "on", "is_superuser": "on"}
    )
    someone.refresh_from_db()
    assert (someone.is_staff, someone.is_superuser) == (False, False)


def test_users_are_not_deleted_and_the_system_is_not_listed(
    admin_client: Client, person: Any, group: Group
) -> None:
    someone = person("sam", "auditor", at=group.german)
    assert admin_client.post(f"/admin/core/user/{someone.pk}/delete/", {"post": "yes"}).status_code == 403
    listed = [row.username for row in admin_client.get("/admin/core/user/").context["cl"].result_list]
    assert "system" not in listed


def test_notifications_are_ones_own(
    admin_client: Client, auditor_client: Client, administrator: User, group: Group
) -> None:
    mine = notify(user=administrator, kind="import", title="Import ended", email=False)
    page = f"/admin/core/notification/{mine.pk}/"
    assert auditor_client.get(f"{page}change/").status_code == 302
    assert auditor_client.post(f"{page}do/read/").status_code == 404
    assert b"Import ended" in admin_client.get("/admin/").content
    admin_client.get(f"{page}do/read/")
    assert Notification.objects.get().read_at is None
    admin_client.post(f"{page}do/read/")
    assert Notification.objects.get().read_at is not None
    assert admin_client.post(f"{page}do/read/").status_code == 409


def test_all_are_marked_read_by_post_only(admin_client: Client, administrator: User, auditor: User) -> None:
    notify(user=administrator, kind="x", title="One", email=False)
    notify(user=auditor, kind="x", title="Two", email=False)
    admin_client.get("/admin/notifications/read-all/")
    assert Notification.objects.unread().count() == 2
    admin_client.post("/admin/notifications/read-all/")
    assert [row.title for row in Notification.objects.unread()] == ["Two"]


def test_event_given_up_is_tried_again(as_user: Any, admin_client: Client) -> None:
    root = User.objects.create_superuser("root", "root@example.com", "correct horse battery")
    event = OutboxEvent.objects.create(topic="invoice.issued", attempts=20, given_up_at=clock.now())
    client = as_user(root)
    assert client.post(f"/admin/core/outboxevent/{event.pk}/do/retry/").status_code == 302
    event.refresh_from_db()
    assert (event.given_up_at, event.attempts) == (None, 0)
    OutboxEvent.objects.update(published_at=clock.now())
    assert client.post(f"/admin/core/outboxevent/{event.pk}/do/retry/").status_code == 409
    assert client.get("/admin/core/outboxevent/add/").status_code == 403


def test_first_page_shows_what_was_registered(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, group: Group
) -> None:
    for name in ("_cards", "_needs", "_panels"):
        monkeypatch.setattr(dashboard, name, [])
    assert "Nothing" in admin_client.get("/admin/").content.decode()
    dashboard.register_card(
        lambda request: Card("Drafts", "4", "/admin/x/?status__exact=draft", note="to issue")
    )
    dashboard.register_card(lambda request: None)
    dashboard.register_need(lambda request: [Need("3 rows have no department", "/admin/y/")])
    dashboard.register_panel(
        lambda request: Panel("By month", "admin/includes/bars.html", {"rows": [], "caption": "x"})
    )
    page = admin_client.get("/admin/").content.decode()
    for text in ("Drafts", "/admin/x/?status__exact=draft", "3 rows have no department", "By month"):
        assert text in page


def test_activity_keeps_to_scope(admin_client: Client, group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.core.admin.site import site

    monkeypatch.setattr(dashboard.admin, "site", site)
    page = admin_client.get("/admin/").content.decode()
    assert "Acme DE" in page
    assert "Stranger" not in page


def test_demo_sign_ins_are_shown_only_where_there_are_any(settings: Any, db: None) -> None:
    settings.DEMO_SIGN_INS = []
    assert "Try it as" not in Client().get("/admin/login/").content.decode()
    settings.DEMO_SIGN_INS = [("Auditor", "audrey", "shown-on-purpose")]
    page = Client().get("/admin/login/").content.decode()
    assert "Try it as" in page
    assert 'data-demo-user="audrey"' in page


@pytest.mark.parametrize("template", ["400.html", "403.html", "404.html", "500.html", "403_csrf.html"])
def test_error_pages_say_what_to_do(template: str) -> None:
    page = render_to_string(template)
    assert "<h1>" in page
    assert "Go to the overview" in page


def test_badges_have_a_word_a_sign_and_a_known_tone() -> None:
    for badge in BADGES.values():
        assert badge.word
        assert badge.icon
        assert badge.sign
        assert badge.tone in TONES
    assert badge_of("something_new").word == "Something new"
    assert "Overdue" in badge_html("overdue")
    assert badge_html("<b>") == badge_html("<b>")
    assert "<b>" not in badge_html("<b>")
    with pytest.raises(ValueError, match="paid"):
        register_badges({"paid": Badge("Paid!", "x", "bad", "!")})


def test_rate_that_breaks_a_rule_is_refused_in_words(as_user: Any, db: None) -> None:
    client = as_user(User.objects.create_superuser("root", "root@example.com", "correct horse battery"))
    data = {"date": "2024-09-30", "base": "EUR", "quote": "EUR", "rate": "1", "source": "Own"}
    answer = client.post("/admin/core/exchangerate/add/", data)
    assert "A rate needs two different currencies." in answer.content.decode()
    assert not ExchangeRate.objects.exists()
