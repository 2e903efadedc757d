"""The base of every page of the back-office. Copy this to begin:

    from django.contrib import admin
    from django.db.models import Sum

    from core.admin.actions import BulkAction, ObjectAction
    from core.admin.badges import badge_column
    from core.admin.base import BillingModelAdmin, EmptyState
    from core.admin.columns import money_column
    from core.admin.filters import QuickFilter

    @admin.register(Invoice)
    class InvoiceAdmin(BillingModelAdmin):
        list_display = ["number", "entity", badge_column("status"), "issue_date", money_column("total")]
        list_filter = ["status", "entity", "issue_date"]      # scoped choices and date ranges by themselves
        list_select_related = ["entity"]
        search_fields = ["number", "entity__name"]
        quick_filters = [QuickFilter("Drafts", "status__exact=draft", icon="edit_note")]
        totals = {"total": Sum("total")}                      # of all filtered rows, per `currency`
        empty_state = EmptyState("No invoices yet", "They bill what was used.", "Import usage",
                                 "admin:invoicing_usageimport_add")
        locked_reason = staticmethod(lambda invoice: "" if invoice.is_draft else "Issued: create a credit note.")
        actions_bar = [ObjectAction(name="issue", label="Issue", perm="invoicing.issue_invoice",
            possible=lambda invoice, user: None if invoice.is_draft else "Only a draft can be issued.",
            consequence="The next number is assigned; after that it cannot be edited.",
            run=lambda call: invoice_issue(actor=call.actor, invoice=call.obj))]

What comes by itself: rows and choices through `queryset.visible_to(user)`, rights through `user.has_perm(perm, obj)`,
version conflicts (a model with `version`), refusals of core.errors in the form or as a message, CSV and XLSX of what
is filtered (`export_fields` to choose the columns), saved filters, page size, readable history, keyboard (`?`).
To write through a service, override `save_model` and call it; what it refuses is shown in the form.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import models
from django.http import HttpRequest
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin

from core.admin.actions import ObjectActionsMixin
from core.admin.columns import PlainNumbersMixin
from core.admin.conflicts import VersionConflictMixin
from core.admin.errors import RefusalsMixin
from core.admin.export import ExportMixin
from core.admin.filters import FilterChipsMixin
from core.admin.history import ReadableHistoryMixin
from core.admin.scoping import ScopedListMixin
from core.admin.totals import TotalsMixin


class EmptyState(NamedTuple):
    """What an empty list says: what it is for and how to begin. `url` is a path or the name of an admin page."""

    title: str
    text: str
    button: str = ""
    url: str = ""


class BillingModelAdmin(
    RefusalsMixin,
    FilterChipsMixin,
    TotalsMixin,
    ExportMixin,
    ObjectActionsMixin,
    VersionConflictMixin,
    ReadableHistoryMixin,
    ScopedListMixin,
    PlainNumbersMixin,
    SimpleHistoryAdmin,
    ModelAdmin,
):
    """A list and a form of the back-office; see the module's guide."""

    empty_state: EmptyState | tuple[str, ...] | None = None
    # A sentence that says why a record is read-only and what to do instead; "" leaves it editable.
    locked_reason: Callable[[Any], str] | None = None
    list_per_page = 50
    list_max_show_all = 0
    list_fullwidth = True
    list_filter_sheet = True
    warn_unsaved_form = True
    compressed_fields = True
    show_full_result_count = False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and not self.why_locked(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not self.why_locked(obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # A protected state moves by its transitions only; left editable in a form it would fail on every save.
        states = [field.name for field in self.opts.concrete_fields if getattr(field, "protected", False)]
        return list(dict.fromkeys([*super().get_readonly_fields(request, obj), *states]))

    def why_locked(self, obj: Any) -> str:
        """Return why `obj` is read-only, or an empty string."""
        if obj is None or not isinstance(obj, models.Model) or self.locked_reason is None:
            return ""
        return self.locked_reason(obj)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["why_locked"] = self.why_locked(kwargs.get("obj"))
        return super().render_change_form(request, context, *args, **kwargs)

    def numeric_columns(self, list_display: Any) -> list[str]:
        """Return the plain field names of `list_display` that hold numbers, for the style sheet to align."""
        numbers = (models.DecimalField, models.IntegerField)
        fields = {field.name: field for field in self.opts.concrete_fields if not field.is_relation}
        return [
            name for name in list_display if isinstance(name, str) and isinstance(fields.get(name), numbers)
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context["numeric_columns"] = self.numeric_columns(context["cl"].list_display)
        return response


class ReadOnlyAdminMixin:
    """For records that only jobs and services write: they can be looked at."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
