"""Users and the records that every app shares: calendars, idempotency, outbox, notifications, saved filters, rates."""

from collections.abc import Collection
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from core import clock
from core.errors import Stale
from core.history import AuditedHistory, current_request_id
from core.money import CurrencyField, RateField
from core.querysets import (
    BillingUserManager,
    ExchangeRateQuerySet,
    IdempotencyRecordQuerySet,
    NotificationQuerySet,
    OutboxEventQuerySet,
    SavedFilterQuerySet,
    WorkCalendarDayQuerySet,
    WorkCalendarQuerySet,
)
from core.work_calendar import WEEKDAYS, validate_hours

SYSTEM_USERNAME = "system"


class TimestampedModel(models.Model):
    """When the row was made and last saved."""

    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        abstract = True


class VersionedModel(models.Model):
    """A version that every save raises by one: the API's ETag and the hidden field of the back-office's forms.

    A service that changes such a record locks the row, calls `expect_version`, changes and saves.
    """

    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        abstract = True

    def expect_version(self, expected: int | None) -> None:
        """Raise Stale `stale_version` if the caller saw another version; None expects nothing."""
        if expected is not None and expected != self.version:
            raise Stale(
                "stale_version",
                "Somebody changed this record since you opened it. Open it again, then repeat your change.",
                extra={"expected_version": expected, "version": self.version},
            )

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and raise the version if the row existed before."""
        if not self._state.adding:
            self.version += 1
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], "version"}
        super().save(*args, **kwargs)


class User(AbstractUser):
    """A person, a service account of an external system, or the system itself."""

    language = models.CharField(max_length=10, default="en")
    time_zone = models.CharField(max_length=64, default="UTC", validators=[clock.validate_time_zone])
    token_version = models.PositiveIntegerField(
        default=1, editable=False, help_text="Raising it makes every token that was issued before worthless."
    )
    is_service_account = models.BooleanField(
        default=False, help_text="An external system rather than a person; it cannot use the back-office."
    )
    is_system = models.BooleanField(default=False, editable=False)
    manager = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="direct_reports"
    )
    work_calendar = models.ForeignKey(
        "WorkCalendar",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="users",
        help_text="When this person works; without one the default calendar holds.",
    )

    objects: ClassVar[BillingUserManager] = BillingUserManager()
    history = AuditedHistory(excluded_fields=["password", "last_login"])

    class Meta(AbstractUser.Meta):
        db_table = "users"
        ordering = ["username"]
        constraints = [
            # Service accounts may have no address; a given one belongs to one user, however it is spelt.
            models.UniqueConstraint(
                Lower("email"),
                condition=~Q(email=""),
                name="users_email_unique",
                violation_error_message="Another user has this email address.",
            ),
            models.UniqueConstraint(
                Lower("username"),
                name="users_username_unique",
                violation_error_message="Another user has this name.",
            ),
            models.UniqueConstraint(F("is_system"), condition=Q(is_system=True), name="users_one_system"),
            models.CheckConstraint(
                condition=Q(is_system=False) | Q(is_active=False), name="users_system_cannot_sign_in"
            ),
            models.CheckConstraint(
                condition=Q(manager__isnull=True) | ~Q(manager=F("id")), name="users_not_own_manager"
            ),
        ]

    @property
    def display_name(self) -> str:
        """First and last name, or the user name."""
        return self.get_full_name() or self.username


class WorkCalendar(VersionedModel, TimestampedModel):
    """When work is done: hours per weekday in a zone, a country's public holidays, special days (APR-19, DSP-06).

    `core.calendars` writes it and gives its hours to calculate with.
    """

    name = models.CharField(max_length=100)
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[clock.validate_time_zone],
        help_text="An IANA time zone such as Europe/Berlin.",
    )
    monday = models.CharField(max_length=100, blank=True, validators=[validate_hours])
    tuesday = models.CharField(max_length=100, blank=True, validators=[validate_hours])
    wednesday = models.CharField(max_length=100, blank=True, validators=[validate_hours])
    thursday = models.CharField(max_length=100, blank=True, validators=[validate_hours])
    friday = models.CharField(max_length=100, blank=True, validators=[validate_hours])
    saturday = models.CharField(max_length=100, blank=True, validators=[validate_hours])
    sunday = models.CharField(max_length=100, blank=True, validators=[validate_hours])
    holiday_country = models.CharField(
        max_length=2,
        blank=True,
        help_text="Whose public holidays are off, as an ISO 3166-1 code such as DE; empty for none.",
    )
    holiday_subdivision = models.CharField(
        max_length=40,
        blank=True,
        help_text="The part of the country where holidays differ, such as BY for Bavaria.",
    )
    is_default = models.BooleanField(
        default=False, help_text="Holds for everybody who has no calendar of their own."
    )
    history = AuditedHistory()

    objects = WorkCalendarQuerySet.as_manager()

    class Meta:
        db_table = "work_calendars"
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="work_calendars_name_unique",
                violation_error_message="Another calendar has this name.",
            ),
            models.UniqueConstraint(
                F("is_default"), condition=Q(is_default=True), name="work_calendars_one_default"
            ),
            models.CheckConstraint(
                condition=~Q(**dict.fromkeys(WEEKDAYS, "")),
                name="work_calendars_have_hours",
                violation_error_message="Give at least one weekday working hours.",
            ),
            models.CheckConstraint(
                condition=Q(holiday_subdivision="") | ~Q(holiday_country=""),
                name="work_calendars_subdivision_of_country",
                violation_error_message="A part of a country needs the country.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """All but the one default: in a form a second one is no error, it takes the place of the first."""
        super().validate_constraints(exclude={*(exclude or ()), "is_default"})


class WorkCalendarDay(models.Model):
    """A date on which a calendar differs: off where it has no hours, else worked in these, even on a holiday."""

    calendar = models.ForeignKey(WorkCalendar, on_delete=models.CASCADE, related_name="special_days")
    date = models.DateField()
    name = models.CharField(max_length=100, blank=True, help_text="What the day is, such as Works outing.")
    hours = models.CharField(
        max_length=100,
        blank=True,
        validators=[validate_hours],
        help_text="Empty: a day off. Else when work is done on it, such as 09:00-12:00.",
    )
    history = AuditedHistory()

    objects = WorkCalendarDayQuerySet.as_manager()

    class Meta:
        db_table = "work_calendar_days"
        verbose_name = "special day"
        verbose_name_plural = "special days"
        ordering = ["calendar", "date"]
        constraints = [
            models.UniqueConstraint(
                fields=["calendar", "date"],
                name="work_calendar_days_date_unique",
                violation_error_message="The calendar has this date already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.date} {self.name}".strip()


class IdempotencyRecord(models.Model):
    """The answer once given under an idempotency key, for retries (SEC-04)."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    scope = models.CharField(max_length=255)
    fingerprint = models.CharField(
        max_length=64, help_text="SHA-256 over the scope and the body of the request."
    )
    status = models.PositiveSmallIntegerField()
    body = models.TextField(help_text="JSON as it was answered; jsonb would change the order of its keys.")
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField(db_index=True)

    objects = IdempotencyRecordQuerySet.as_manager()

    class Meta:
        db_table = "idempotency_records"
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_records_key_unique")]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}"


class OutboxEvent(models.Model):
    """A fact for others, written in the transaction that made it and delivered after commit, at least once."""

    topic = models.CharField(max_length=100)
    key = models.CharField(
        max_length=200, blank=True, help_text="What the event is about, such as invoice:42."
    )
    payload = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(default=clock.now)
    published_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(default=clock.now)
    last_error = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True, default=current_request_id, editable=False)
    delivered_to = models.JSONField(default=list, blank=True, help_text="Consumers that have had it.")

    objects = OutboxEventQuerySet.as_manager()

    class Meta:
        db_table = "outbox_events"
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["next_try_at", "id"],
                condition=Q(published_at__isnull=True, given_up_at__isnull=True),
                name="outbox_events_pending",
            ),
            models.Index(fields=["key"], name="outbox_events_key"),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.key}".strip()


class Notification(models.Model):
    """A message to one user, shown in the back-office and mailed."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=50)
    title = models.CharField(max_length=200)
    body = models.TextField(blank=True)
    url = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=clock.now)
    read_at = models.DateTimeField(null=True, blank=True)
    emailed_at = models.DateTimeField(null=True, blank=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        db_table = "notifications"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["user"], condition=Q(read_at__isnull=True), name="notifications_unread"),
        ]

    def __str__(self) -> str:
        return self.title


class SavedFilter(TimestampedModel):
    """A named filter of a list page."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="saved_filters")
    page = models.CharField(max_length=100, help_text="The list it belongs to, such as invoicing.invoice.")
    name = models.CharField(max_length=100)
    query = models.TextField(blank=True, help_text="The query string of the list.")
    shared = models.BooleanField(default=False)
    is_default = models.BooleanField(default=False)

    objects = SavedFilterQuerySet.as_manager()

    class Meta:
        db_table = "saved_filters"
        ordering = ["page", "name"]
        constraints = [
            models.UniqueConstraint(fields=["user", "page", "name"], name="saved_filters_name_unique"),
            models.UniqueConstraint(
                fields=["user", "page"], condition=Q(is_default=True), name="saved_filters_one_default"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ExchangeRate(models.Model):
    """How many units of `quote` one unit of `base` bought on a date, according to a source (INV-04)."""

    date = models.DateField()
    base = CurrencyField()
    quote = CurrencyField()
    rate = RateField(validators=[MinValueValidator(0)])
    source = models.CharField(
        max_length=20, help_text="Who published it: ECB, or the name of your own source."
    )
    history = AuditedHistory()

    objects = ExchangeRateQuerySet.as_manager()

    class Meta:
        db_table = "exchange_rates"
        ordering = ["-date", "base", "quote"]
        constraints = [
            models.UniqueConstraint(fields=["date", "base", "quote", "source"], name="exchange_rates_unique"),
            models.CheckConstraint(
                condition=Q(rate__gt=0),
                name="exchange_rates_positive",
                violation_error_message="A rate must be greater than zero.",
            ),
            models.CheckConstraint(
                condition=~Q(base=F("quote")),
                name="exchange_rates_two_currencies",
                violation_error_message="A rate needs two different currencies.",
            ),
        ]
        indexes = [models.Index(fields=["base", "quote", "-date"], name="exchange_rates_latest")]

    def __str__(self) -> str:
        return f"{self.date} {self.base}/{self.quote} {self.rate}"
