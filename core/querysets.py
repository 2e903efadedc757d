"""Reads of core's own records that chain."""

from collections.abc import Callable
from typing import Any, Self

from django.contrib.auth.models import UserManager
from django.db import models
from django.db.models import Q

from core import clock

UserScope = Callable[["UserQuerySet", Any], "UserQuerySet"]
_user_scopes: list[UserScope] = []


def register_user_scope(scope: UserScope) -> None:
    """Register which other users an actor may see: a function of (all users, actor) returning a queryset.

    The app that knows memberships registers it; without it people see themselves only.
    """
    if scope not in _user_scopes:
        _user_scopes.append(scope)


class UserQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Self:
        """Superusers and the system see all users; others see themselves and whom the registered scopes show."""
        if user.is_superuser or user.is_system:
            return self
        seen = Q(pk=user.pk)
        for scope in _user_scopes:
            seen |= Q(pk__in=scope(type(self)(self.model), user).values("pk"))
        return self.filter(seen)


class BillingUserManager(UserManager[Any].from_queryset(UserQuerySet)):  # type: ignore[misc]  # runtime class
    """Django's user manager with `visible_to`."""


class OutboxEventQuerySet(models.QuerySet[Any]):
    def pending(self) -> Self:
        """Not delivered to all consumers yet, and not given up."""
        return self.filter(published_at__isnull=True, given_up_at__isnull=True)

    def due(self) -> Self:
        """Pending, and its next try has come."""
        return self.pending().filter(next_try_at__lte=clock.now())

    def given_up(self) -> Self:
        """Failed too often: a person must look and retry."""
        return self.filter(published_at__isnull=True, given_up_at__isnull=False)


class IdempotencyRecordQuerySet(models.QuerySet[Any]):
    def expired(self) -> Self:
        return self.filter(expires_at__lte=clock.now())


class NotificationQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Self:
        """People see their own."""
        return self.filter(user_id=user.pk)

    def unread(self) -> Self:
        return self.filter(read_at__isnull=True)


class SavedFilterQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Self:
        """People see their own and those shared with all."""
        return self.filter(Q(user_id=user.pk) | Q(shared=True))


class ExchangeRateQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Self:
        """Rates are no secret: everyone who is signed in sees them."""
        return self if user.is_authenticated else self.none()


class WorkCalendarQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Self:
        """When work is done is no secret: everyone who is signed in sees all calendars."""
        return self if user.is_authenticated else self.none()


class WorkCalendarDayQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: Any) -> Self:
        """As the calendars they belong to."""
        return self if user.is_authenticated else self.none()
