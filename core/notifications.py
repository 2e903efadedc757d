"""Notifications: a message to one user, on the page and by mail.

    notify(user=user, kind="invoice_issued", title="Invoice 2024-00017 is issued", body="…", url="/admin/…")

The row is written in the caller's transaction; the mail leaves after commit, through the outbox.
"""

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parseaddr
from urllib.parse import urljoin

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.utils.html import format_html, linebreaks
from django.utils.safestring import SafeString

from core import clock
from core.access import get_visible
from core.models import Notification, OutboxEvent, User
from core.outbox import publish

TOPIC = "notification.created"
_LONGEST_TITLE = 200


@dataclass(frozen=True, slots=True)
class MailContent:
    """A mail as an app designs it: the same facts as text and as HTML."""

    text: str
    html: str


MailDesign = Callable[[Notification], MailContent | None]
_designs: list[tuple[str, MailDesign]] = []


def register_mail_design(kind_prefix: str, design: MailDesign) -> None:
    """Have mails of notifications whose kind begins so written by ``design(notification)``, as they leave.

    None sends none: what the notification told of is no longer true. Other kinds get the plain mail of this module.
    """
    if (kind_prefix, design) not in _designs:
        _designs.append((kind_prefix, design))


def notify(
    *, user: User, kind: str, title: str, body: str = "", url: str = "", email: bool = True
) -> Notification:
    """Tell a user something: a row now, and a mail after commit if `email`.

    `url` is a path of this site. Raises ValueError for one that leads elsewhere, so that no text from outside can
    turn a message of ours into a link to somebody else's page.
    """
    if url and (not url.startswith("/") or url.startswith(("//", "/\\"))):
        raise ValueError(f"A notification links to a path of this site, not to {url!r}.")
    title = " ".join(title.split())
    if len(title) > _LONGEST_TITLE:
        title = title[: _LONGEST_TITLE - 1] + "…"
    with transaction.atomic():
        notification = Notification.objects.create(user=user, kind=kind, title=title, body=body, url=url)
        if email:
            publish(TOPIC, {"notification_id": notification.pk}, key=f"notification:{notification.pk}")
    return notification


def notification_mark_read(*, actor: User, notification: Notification) -> Notification:
    """Mark one's own notification as read; a second time changes nothing. Others' do not exist (404)."""
    own: Notification = get_visible(Notification.objects, actor, notification.pk, name="notification")
    Notification.objects.filter(pk=own.pk, read_at__isnull=True).update(read_at=clock.now())
    own.refresh_from_db()
    return own


def send_notification_mail(event: OutboxEvent) -> None:
    """Outbox consumer: mail the notification once.

    The mark `emailed_at` stops a repetition; after a crash between the mail and the commit the second mail has
    the same Message-ID, by which mail systems recognise it.
    """
    notification = (
        Notification.objects.select_for_update(of=("self",))
        .select_related("user")
        .filter(pk=event.payload["notification_id"], emailed_at__isnull=True)
        .first()
    )
    if notification is None or not notification.user.is_active or not notification.user.email:
        return
    content = _content(notification)
    if content is None:
        return
    _mail(notification, content).send()
    notification.emailed_at = clock.now()
    notification.save(update_fields=["emailed_at"])


def _content(notification: Notification) -> MailContent | None:
    for prefix, design in _designs:
        if notification.kind.startswith(prefix):
            return design(notification)
    link = public_address(notification.url) if notification.url else ""
    parts = [f"Hello {notification.user.display_name},", notification.title, notification.body, link]
    return MailContent("\n\n".join(part for part in parts if part), _html(notification, link))


def public_address(path: str) -> str:
    """Return the address of a path of this site, for mails."""
    return urljoin(settings.PUBLIC_URL, path)


def _mail(notification: Notification, content: MailContent) -> EmailMultiAlternatives:
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    mail = EmailMultiAlternatives(
        subject=notification.title,
        body=content.text,
        to=[notification.user.email],
        headers={
            "Message-ID": f"<notification-{notification.pk}@{domain}>",
            "Auto-Submitted": "auto-generated",
        },
    )
    mail.attach_alternative(content.html, "text/html")
    return mail


def _html(notification: Notification, link: str) -> SafeString:
    button = (
        format_html('<p><a href="{}">Open it in Enterprise Billing</a></p>', link) if link else SafeString()
    )
    return format_html(
        '<div style="font-family:sans-serif"><p>Hello {},</p><h2 style="font-size:1.1em">{}</h2>{}{}</div>',
        notification.user.display_name,
        notification.title,
        SafeString(linebreaks(notification.body, autoescape=True)) if notification.body else "",
        button,
    )
