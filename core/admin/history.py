"""The history of a record as people read it: who, when, old → new, why, and through which door. Nothing reverts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from simple_history.admin import SimpleHistoryAdmin

from core.admin.columns import number_text, tidy
from core.history import Channel
from core.money import decimal_places

CHANNEL_ICONS = {
    Channel.PAGE: "web",
    Channel.ADMIN: "desktop_windows",
    Channel.API: "api",
    Channel.MAIL: "mail",
    Channel.IMPORT: "upload_file",
    Channel.JOB: "schedule",
    Channel.COMMAND: "terminal",
}
KINDS = {"+": ("Created", "good"), "~": ("Changed", "info"), "-": ("Deleted", "bad")}
# Bookkeeping columns say nothing to a reader.
SILENT_FIELDS = {"updated_at", "created_at", "version", "password", "last_login"}


@dataclass(frozen=True)
class Step:
    """One entry of the history."""

    when: Any
    who: str
    kind: str
    tone: str
    subject: str
    channel: str
    channel_icon: str
    reason: str
    request_id: str
    changes: list[tuple[str, str, str]] = field(default_factory=list)


class ReadableHistoryMixin(SimpleHistoryAdmin):
    """Replaces simple-history's pages. `history_lines` names reverse accessors whose changes belong to the record."""

    history_lines: Sequence[str] = ()
    history_list_per_page = 50

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        # Through the scoped queryset: simple-history itself would also find records outside the user's scope.
        obj = self.get_object(request, object_id)
        if obj is None:
            raise Http404("There is no such record, or it is outside your scope.")
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        sources = self._history_sources(obj)
        if not sources:
            return super(SimpleHistoryAdmin, self).history_view(request, object_id, extra_context)
        entries: list[tuple[Any, Any, str]] = []
        for queryset, subject in sources:
            before: dict[Any, Any] = {}
            for record in queryset.order_by("history_date", "history_id"):
                key = getattr(record, record.instance_type._meta.pk.attname)
                entries.append((record, before.get(key), subject))
                before[key] = record
        entries.sort(key=lambda entry: (entry[0].history_date, entry[0].history_id), reverse=True)
        page = Paginator(entries, self.history_list_per_page).get_page(request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "title": "History",
            "opts": self.opts,
            "original": obj,
            "page": page,
            "back": reverse(
                f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change", args=[obj.pk]
            ),
            "steps": [self._step(*entry) for entry in page],
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/billing_history.html", context)

    def history_form_view(
        self, request: HttpRequest, object_id: str, version_id: str, extra_context: Any = None
    ) -> Any:
        """An old version has no form of its own: the history page shows what changed."""
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_history"
        return redirect(reverse(name, args=[object_id]))

    def _history_sources(self, obj: Any) -> list[tuple[Any, str]]:
        manager = getattr(type(obj)._meta, "simple_history_manager_attribute", None)
        sources = []
        if manager:
            own = getattr(type(obj), manager).filter(**{obj._meta.pk.attname: obj.pk})
            sources.append((own.select_related("history_user"), ""))
        for accessor in self.history_lines:
            relation = obj._meta.get_field(accessor)
            line = relation.related_model
            line_manager = getattr(line._meta, "simple_history_manager_attribute", None)
            if line_manager:
                rows = getattr(line, line_manager).filter(**{relation.field.attname: obj.pk})
                sources.append(
                    (rows.select_related("history_user"), str(line._meta.verbose_name).capitalize())
                )
        return sources

    def _step(self, record: Any, before: Any, subject: str) -> Step:
        kind, tone = KINDS[record.history_type]
        channel = getattr(record, "channel", "")
        user = record.history_user
        return Step(
            when=record.history_date,
            who=(user.get_full_name() or user.get_username()) if user else "System",
            kind=kind,
            tone=tone,
            subject=f"{subject} {record.instance}".strip() if subject else "",
            channel=Channel(channel).label if channel else "",
            channel_icon=CHANNEL_ICONS[Channel(channel)] if channel else "",
            reason=record.history_change_reason or "",
            request_id=getattr(record, "request_id", "") or "",
            changes=self._changes(record, before),
        )

    def _changes(self, record: Any, before: Any) -> list[tuple[str, str, str]]:
        if before is None or record.history_type != "~":
            return []
        # With keys only: the record behind a changed key may be gone.
        delta = record.diff_against(before, foreign_keys_are_objs=False)
        return [
            (label, old, new)
            for change in delta.changes
            if change.field not in SILENT_FIELDS
            for label, old, new in [self._words(record.instance_type, change)]
        ]

    @staticmethod
    def _words(model: Any, change: Any) -> tuple[str, str, str]:
        model_field = model._meta.get_field(change.field)
        names = dict(getattr(model_field, "flatchoices", []) or [])

        def shown(value: Any) -> str:
            if value in (None, "", []):
                return "(empty)"
            if model_field.is_relation and not isinstance(value, list):
                row = model_field.related_model._base_manager.filter(pk=value).first()
                return str(row) if row is not None else f"#{value} (deleted)"
            if isinstance(value, Decimal):
                return number_text(tidy(value), decimal_places(tidy(value)))
            return str(names.get(value, value))

        return str(model_field.verbose_name).capitalize(), shown(change.old), shown(change.new)
