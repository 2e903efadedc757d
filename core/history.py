"""History: who changed what, when, from where and why (SEC-02), on django-simple-history.

One way to use it:

1. A model that people edit says `history = AuditedHistory()`.
2. A service wraps its writes, and that is all it does about history:

       with record_as(actor, reason):
           invoice.save()

3. A door that is no HTTP request (job, command, import) opens `with acting(channel=Channel.JOB): ...` once around
   what it runs; for requests `HistoryContextMiddleware` has done so. The API calls `set_actor(user)` after it has
   authenticated a token.

Every history row then has history_user, history_change_reason, request_id and channel. `bulk_create` and `update()`
write no history: use `bulk_create_with_history` of this module where rows need it.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models
from django.http import HttpRequest, HttpResponseBase
from simple_history.models import HistoricalRecords
from simple_history.utils import bulk_create_with_history as simple_history_bulk_create
from simple_history.utils import get_change_reason_from_object

from core import clock

if TYPE_CHECKING:
    from core.models import User

_Model = TypeVar("_Model", bound=models.Model)

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,64}")


class Channel(models.TextChoices):
    """Through which door a change came."""

    PAGE = "page", "Page"
    ADMIN = "admin", "Back-office"
    API = "api", "API"
    MAIL = "mail", "Link in a mail"
    IMPORT = "import", "Import"
    JOB = "job", "Job"
    COMMAND = "command", "Command"


@dataclass(frozen=True, slots=True)
class HistoryContext:
    """Who acts, through which door, in which request, and why."""

    user: "User | None" = None
    channel: str = ""
    request_id: str = ""
    reason: str = ""
    request: HttpRequest | None = None

    @property
    def actor(self) -> "User | None":
        """The user named explicitly, else the one signed in to the request."""
        if self.user is not None:
            return self.user
        user = getattr(self.request, "user", None)
        return user if user is not None and user.is_authenticated else None


_NOBODY = HistoryContext()
_context: ContextVar[HistoryContext] = ContextVar("history_context", default=_NOBODY)


def current() -> HistoryContext:
    """Return the context in force."""
    return _context.get()


def current_request_id() -> str:
    """Default of the history tables' column `request_id`."""
    return _context.get().request_id


def current_channel() -> str:
    """Default of the history tables' column `channel`."""
    return _context.get().channel


@contextmanager
def acting(
    user: "User | None" = None,
    channel: str | None = None,
    request_id: str | None = None,
    reason: str | None = None,
) -> Iterator[HistoryContext]:
    """Open a context for a job, a command or an import; what is left out is inherited from the outer one."""
    outer = _context.get()
    inner = replace(
        outer,
        user=outer.user if user is None else user,
        channel=outer.channel if channel is None else str(channel),
        request_id=(outer.request_id or new_request_id()) if request_id is None else request_id,
        reason=outer.reason if reason is None else reason,
    )
    token = _context.set(inner)
    try:
        yield inner
    finally:
        _context.reset(token)


@contextmanager
def record_as(actor: "User", reason: str = "") -> Iterator[None]:
    """Write history as `actor`, for `reason` (an empty one inherits the outer reason). For services."""
    with acting(user=actor, reason=reason or None):
        yield


def set_actor(user: "User") -> None:
    """Name the user of the request in progress, once a token has told who it is."""
    _context.set(replace(_context.get(), user=user))


def new_request_id() -> str:
    """Return a fresh identifier that ties history rows, logs and answers together."""
    return uuid.uuid4().hex


class AuditedChange(models.Model):
    """Columns that every history table has besides those of simple_history."""

    request_id = models.CharField(max_length=64, blank=True, default=current_request_id, editable=False)
    channel = models.CharField(
        max_length=10,
        blank=True,
        # Without the mail, which came later: a choice changes no column, but a migration of every app.
        choices=[choice for choice in Channel.choices if choice[0] != Channel.MAIL],
        default=current_channel,
        editable=False,
    )

    class Meta:
        abstract = True


class AuditedHistory(HistoricalRecords):
    """simple_history's HistoricalRecords with the context of this module.

    Reasons have no length limit. A user whom the history names cannot be deleted (deactivate them instead), and a
    save of excluded fields only, such as `last_login`, leaves no row.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("bases", (AuditedChange,))
        kwargs.setdefault("history_change_reason_field", models.TextField(blank=True, null=True))
        super().__init__(**kwargs)

    def get_history_user(self, instance: models.Model) -> "User | None":
        """The instance's own `_history_user` (set by the admin) if the context names nobody."""
        return _user_of(instance)

    def get_change_reason_for_object(
        self, instance: models.Model, history_type: str, using: str | None
    ) -> str:
        """The instance's own reason, else the context's."""
        return _reason_of(instance)

    def post_save(
        self, instance: models.Model, created: bool, using: str | None = None, **kwargs: Any
    ) -> None:
        update_fields = kwargs.get("update_fields")
        if update_fields and not created and set(update_fields) <= set(self.excluded_fields):
            return
        super().post_save(instance, created, using=using, **kwargs)

    def _get_history_user_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super()._get_history_user_fields()
        fields["history_user"].remote_field.on_delete = models.PROTECT
        return fields


def _user_of(instance: models.Model) -> "User | None":
    context_user = _context.get().user
    if context_user is not None:
        return context_user
    named: User | None = getattr(instance, "_history_user", None)
    return named or _context.get().actor


def _reason_of(instance: models.Model) -> str:
    return get_change_reason_from_object(instance) or _context.get().reason


def history_row(model: type[_Model], record: models.Model, kind: str) -> _Model:
    """The row of the history ``model``, not written, of saving the record now: ``kind`` "+" for a new one, else "~".

    For statements that write both (`core.recorded`).
    """
    fields = model.tracked_fields  # type: ignore[attr-defined]
    return model(
        history_date=clock.now(),
        history_type=kind,
        history_user=_user_of(record),
        history_change_reason=_reason_of(record),
        **{field.attname: getattr(record, field.attname) for field in fields},
    )


def bulk_create_with_history(
    model: type[_Model], rows: Sequence[_Model], *, batch_size: int = 1000
) -> list[_Model]:
    """Create the rows and their history in bulk, with the context's user, reason and request."""
    created: list[_Model] = simple_history_bulk_create(
        rows, model, batch_size=batch_size, default_change_reason=_context.get().reason
    )
    return created


class HistoryContextMiddleware:
    """Gives each request its id and channel, and answers with the header `X-Request-ID`.

    A sane `X-Request-ID` of the caller is kept, so that one id follows a call through several systems.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _SANE_REQUEST_ID.fullmatch(given) else new_request_id()
        # The structured log reads the header: both then show the same id.
        request.META["HTTP_X_REQUEST_ID"] = request_id
        token = _context.set(
            HistoryContext(channel=self._channel(request.path_info), request_id=request_id, request=request)
        )
        try:
            response = self.get_response(request)
        finally:
            _context.reset(token)
        response.headers["X-Request-ID"] = request_id
        return response

    @staticmethod
    def _channel(path: str) -> str:
        if path.startswith("/api/"):
            return Channel.API
        return Channel.ADMIN if path.startswith("/admin/") else Channel.PAGE
