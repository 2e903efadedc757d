"""How people want to be told, and the daily mail of those who want one a day."""

import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from approvals.models import ApprovalMailPreference, ApprovalNews, ApprovalTask, MailDelivery
from approvals.services.people import excluded_people
from core import clock
from core.history import record_as
from core.models import User
from core.notifications import notify
from entities.services.records import check_fields

KIND = "approval.digest"
INBOX = "/approvals/"


def mail_preference_of(user: User) -> ApprovalMailPreference:
    """The person's choice, or the usual one, not stored: a mail at once, and reminders."""
    found = ApprovalMailPreference.objects.filter(user=user).first()
    return found or ApprovalMailPreference(user=user)


def mail_preference_set(
    *, actor: User, delivery: str | None = None, mute_reminders: bool | None = None
) -> ApprovalMailPreference:
    """Choose how one is told, for oneself; what is left out stays. Raises Invalid for an unknown delivery.

    What was kept for the digest is mailed with the next one, also after changing back to a mail at once.
    """
    with transaction.atomic(), record_as(actor):
        preference, _ = ApprovalMailPreference.objects.select_for_update().get_or_create(user=actor)
        if delivery is not None:
            preference.delivery = delivery
        if mute_reminders is not None:
            preference.mute_reminders = mute_reminders
        check_fields(preference)
        preference.save()
        return preference


def waiting_tasks(user: User) -> list[ApprovalTask]:
    """What the user may decide now, the first due first."""
    tasks = (
        ApprovalTask.objects.waiting_for(user)
        .select_related("step", "approver", "for_whom", "request__requester", "request__entity")
        .order_by("step__escalates_at", "request__expires_at", "id")
    )
    met: set[int] = set()
    found = []
    for task in tasks:
        if task.request_id not in met and user.pk not in excluded_people(task.request):
            met.add(task.request_id)
            found.append(task)
    return found


def users_due_for_a_digest() -> list[int]:
    """Ids of those whose hour has come today, in their own time zone, and who have had none today."""
    kept = ApprovalNews.objects.filter(for_digest=True, digest__isnull=True).values("notification__user_id")
    wanted = ApprovalMailPreference.objects.filter(
        Q(delivery=MailDelivery.DIGEST) | Q(user_id__in=kept), user__is_active=True
    ).select_related("user")
    return [preference.user_id for preference in wanted.order_by("user_id") if _is_due(preference)]


def _is_due(preference: ApprovalMailPreference) -> bool:
    local = clock.now().astimezone(clock.zone(preference.user.time_zone))
    sent = preference.digest_sent_on
    return local.hour >= settings.APPROVAL_DIGEST_HOUR and (sent is None or sent < local.date())


def digest_send(*, user_id: int) -> bool:
    """Make somebody's daily mail; False where nothing waits and nothing is new, or it was made just now."""
    with transaction.atomic():
        preference = (
            ApprovalMailPreference.objects.select_for_update(of=("self",))
            .select_related("user")
            .get(user_id=user_id)
        )
        if not _is_due(preference):
            return False
        user = preference.user
        preference.digest_sent_on = clock.today(user.time_zone)
        preference.save(update_fields=["digest_sent_on", "updated_at"])
        news = _kept_for(user)
        count = len(waiting_tasks(user))
        if not count and not news.exists():
            return False
        digest = notify(user=user, kind=KIND, title=_title(count, news.count()), url=INBOX)
        news.update(digest=digest)
        return True


def _kept_for(user: User) -> QuerySet[Any]:
    return ApprovalNews.objects.filter(notification__user=user, for_digest=True, digest__isnull=True)


def _title(waiting: int, news: int) -> str:
    parts = []
    if waiting:
        parts.append(
            f"{waiting} request{'' if waiting == 1 else 's'} wait{'s' if waiting == 1 else ''} for you"
        )
    if news:
        parts.append(f"{news} piece{'' if news == 1 else 's'} of news")
    return "Approvals: " + ", ".join(parts)


def overdue(task: ApprovalTask, at: datetime.datetime | None = None) -> bool:
    """Whether the level's time is over: it has been escalated, or is about to be."""
    moment = at or clock.now()
    due = task.step.escalates_at
    return task.step.hops_done > 0 or (due is not None and due <= moment)
