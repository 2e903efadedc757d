"""Core's own records: exchange rates, one's notifications, and the events that wait for delivery."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core import clock
from core.admin.actions import ActionCall, BulkAction, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import number_column
from core.admin.filters import QuickFilter
from core.models import ExchangeRate, Notification, OutboxEvent
from core.notifications import notification_mark_read
from core.outbox import outbox_event_retry


@admin.register(ExchangeRate)
class ExchangeRateAdmin(BillingModelAdmin):
    """How many units of `quote` one unit of `base` buys; documents keep the rate that they used."""

    list_display = ["date", "base", "quote", number_column("rate"), "source"]
    list_filter = ["date", "base", "quote", "source"]
    search_fields = ["base", "quote", "source"]
    ordering = ["-date", "base", "quote"]
    quick_filters = [
        QuickFilter("From the ECB", "source__exact=ECB", icon="account_balance"),
        QuickFilter(
            "This month",
            lambda request: f"date__gte={clock.today().replace(day=1).isoformat()}",
            icon="today",
        ),
    ]
    empty_state = EmptyState(
        "No exchange rates yet",
        "Costs in a foreign currency are converted by the rate of their day. Load the ECB's history with the command "
        "`initialize_enterprise_billing`, or add a rate by hand.",
    )


def _mark_read(call: ActionCall) -> None:
    notification_mark_read(actor=call.actor, notification=call.obj)


def _unread_only(notification: Any, user: Any) -> str | None:
    return "You have read it already." if notification.read_at else None


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """One's own messages."""

    list_display = ["title", "state", "body", "created_at", "open_page"]
    list_filter = ["created_at"]
    search_fields = ["title", "body"]
    ordering = ["-created_at", "-id"]
    fields = ["title", "body", "open_page", "created_at", "read_at"]
    quick_filters = [QuickFilter("Unread", "read_at__isnull=True", icon="mark_email_unread")]
    empty_state = EmptyState(
        "No messages for you", "Here you are told what waits for you: imports that ended, invoices issued."
    )
    actions_bar = [
        ObjectAction(
            name="read",
            label="Mark as read",
            main=True,
            perm="",
            possible=_unread_only,
            consequence="It leaves the list of unread messages.",
            run=_mark_read,
            icon="drafts",
        )
    ]
    bulk_actions = [
        BulkAction(
            name="read",
            label="Mark as read",
            perm="",
            possible=_unread_only,
            consequence="They leave the list of unread messages.",
            run=_mark_read,
            icon="drafts",
        )
    ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Everyone who works here sees their own; the queryset holds no others."""
        return bool(request.user.is_active)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active)

    @admin.display(description="State", ordering="read_at")
    def state(self, obj: Notification) -> SafeString:
        return badge_html("read" if obj.read_at else "unread")

    @admin.display(description="Page")
    def open_page(self, obj: Notification) -> SafeString:
        return format_html('<a class="eb-link" href="{}">Open</a>', obj.url) if obj.url else SafeString("–")


def mark_all_read(request: HttpRequest) -> HttpResponse:
    """POST: mark all of one's own messages as read."""
    if request.method == "POST":
        unread = Notification.objects.visible_to(request.user).unread()
        count = unread.update(read_at=clock.now())
        messages.success(request, f"{count} messages marked as read.")
    return redirect(reverse("admin:index"))


def _undelivered_only(event: Any, user: Any) -> str | None:
    return "Everyone concerned has had this event." if event.published_at else None


def _retry(call: ActionCall) -> OutboxEvent:
    return outbox_event_retry(actor=call.actor, event=call.obj)


_RETRY: dict[str, Any] = {
    "name": "retry",
    "label": "Try again",
    "main": True,
    "perm": "core.change_outboxevent",
    "possible": _undelivered_only,
    "consequence": "It is delivered again at once to those who have not had it. They recognise repetitions.",
    "run": _retry,
    "icon": "refresh",
}


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """Facts on their way to others (mails, syncs, webhooks); the failed ones can be tried again."""

    list_display = ["id", "topic", "key", "state", "attempts", "created_at", "next_try_at", "error"]
    list_filter = ["topic", "created_at", "published_at"]
    search_fields = ["topic", "key"]
    ordering = ["-id"]
    quick_filters = [
        QuickFilter("Given up", "given_up_at__isnull=False", icon="error"),
        QuickFilter("Waiting", "published_at__isnull=True&given_up_at__isnull=True", icon="schedule"),
    ]
    empty_state = EmptyState(
        "Nothing to deliver", "Facts such as “invoice issued” pass through here to others."
    )
    actions_bar = [ObjectAction(**_RETRY)]
    bulk_actions = [BulkAction(**_RETRY)]

    @admin.display(description="State")
    def state(self, obj: OutboxEvent) -> SafeString:
        if obj.published_at:
            return badge_html("delivered")
        return badge_html("failed") if obj.given_up_at else badge_html("queued")

    @admin.display(description="Last error")
    def error(self, obj: OutboxEvent) -> str:
        return obj.last_error[:120]
