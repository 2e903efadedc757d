"""Notifications: a row at once, a mail after commit, once."""

from typing import Any

import pytest
from django.core import mail
from django.test import override_settings

from core.errors import NotFound
from core.models import Notification, OutboxEvent, User
from core.notifications import notification_mark_read, notify, send_notification_mail
from core.outbox import Dispatched, dispatch_pending

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna() -> User:
    return User.objects.create_user("anna", "anna@example.com", first_name="Anna", last_name="Lee")


@override_settings(
    PUBLIC_URL="https://billing.example.com", DEFAULT_FROM_EMAIL="Billing <billing@example.com>"
)
def test_a_mail_leaves_through_the_outbox_once(anna: User) -> None:
    notification = notify(
        user=anna, kind="invoice", title="Invoice 17\r\nBcc: x@y.z is issued", body="Total <b>20.52</b>\nThanks",
        url="/admin/invoicing/invoice/17/",
    )  # fmt: skip
    assert mail.outbox == []
    assert dispatch_pending() == Dispatched(delivered=1, failed=0)
    sent: Any = mail.outbox[0]
    assert len(mail.outbox) == 1
    assert sent.subject == "Invoice 17 Bcc: x@y.z is issued"
    assert (sent.to, sent.from_email) == (["anna@example.com"], "Billing <billing@example.com>")
    assert sent.extra_headers["Message-ID"] == f"<notification-{notification.pk}@example.com>"
    assert sent.body == (
        "Hello Anna Lee,\n\nInvoice 17 Bcc: x@y.z is issued\n\nTotal <b>20.52</b>\nThanks\n\n"
        "https://billing.example.com/admin/invoicing/invoice/17/"
    )
    html, kind = sent.alternatives[0]
    assert kind == "text/html"
    assert "<p>Total &lt;b&gt;20.52&lt;/b&gt;<br>Thanks</p>" in html
    assert '<a href="https://billing.example.com/admin/invoicing/invoice/17/">' in html
    notification.refresh_from_db()
    assert notification.emailed_at is not None
    # The same event again, as after a crash of the dispatcher, sends nothing.
    send_notification_mail(OutboxEvent.objects.get())
    assert len(mail.outbox) == 1


def test_no_mail_where_none_is_wanted_or_possible(anna: User) -> None:
    notify(user=anna, kind="x", title="Quiet", email=False)
    assert OutboxEvent.objects.count() == 0
    notify(user=User.objects.create_user("erp"), kind="x", title="No address")
    notify(user=User.objects.create_user("left", "left@example.com", is_active=False), kind="x", title="Gone")
    assert dispatch_pending() == Dispatched(delivered=2, failed=0)
    assert mail.outbox == []


@override_settings(
    EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_HOST="127.0.0.1", EMAIL_PORT=1
)
def test_a_mail_server_that_is_away_is_tried_again(anna: User) -> None:
    notification = notify(user=anna, kind="x", title="Later")
    assert dispatch_pending() == Dispatched(delivered=0, failed=1)
    event = OutboxEvent.objects.get()
    assert "ConnectionRefusedError" in event.last_error
    assert event.published_at is None
    notification.refresh_from_db()
    assert notification.emailed_at is None


@pytest.mark.parametrize(
    "url", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_a_link_to_elsewhere_is_refused(anna: User, url: str) -> None:
    with pytest.raises(ValueError, match="path of this site"):
        notify(user=anna, kind="x", title="Click", url=url)
    assert Notification.objects.count() == 0


def test_a_long_title_is_cut(anna: User) -> None:
    assert notify(user=anna, kind="x", title="a" * 300, email=False).title == "a" * 199 + "…"


def test_only_ones_own_notifications_are_seen_and_marked(anna: User) -> None:
    ben = User.objects.create_user("ben", "ben@example.com")
    notification = notify(user=anna, kind="x", title="For Anna", email=False)
    assert list(Notification.objects.visible_to(ben)) == []
    with pytest.raises(NotFound):
        notification_mark_read(actor=ben, notification=notification)
    assert Notification.objects.visible_to(anna).unread().count() == 1
    first = notification_mark_read(actor=anna, notification=notification).read_at
    assert first is not None
    assert notification_mark_read(actor=anna, notification=notification).read_at == first
    assert Notification.objects.visible_to(anna).unread().count() == 0
