"""A back-office of the tests: entities under the base class, with everything that it offers switched on."""

from typing import Any

from django.db.models import Sum
from django.urls import path

from core.admin.actions import ActionCall, BulkAction, ObjectAction
from core.admin.badges import badge_column
from core.admin.base import BillingModelAdmin, EmptyState
from core.admin.columns import money_column
from core.admin.filters import QuickFilter
from core.admin.progress import ProgressMixin
from core.admin.records import ExchangeRateAdmin, NotificationAdmin, OutboxEventAdmin
from core.admin.upload import UploadResult, upload_page
from core.admin.users import UserAdmin
from core.admin.work_calendars import WorkCalendarAdmin
from core.admin_site import BillingAdminSite
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.models import ExchangeRate, Notification, OutboxEvent, User, WorkCalendar
from entities.models import Entity

site = BillingAdminSite(name="admin")


def close(call: ActionCall) -> Entity:
    """A service of the tests."""
    if call.obj.name == "Refused":
        raise Conflict("entity_refused", "Refused has open invoices. Pay or void them first.")
    with record_as(call.actor, call.reason):
        call.obj.is_active = False
        call.obj.save()
    return call.obj


def why_not_closed(entity: Entity, user: Any) -> str | None:
    return None if entity.is_active else "It is closed already."


class EntityAdmin(ProgressMixin, BillingModelAdmin):
    list_display = ["name", "code", badge_column("entity_type"), "parent", money_column("credit_limit")]
    list_filter = ["entity_type", "parent", "is_active", "created_at"]
    list_select_related = ["parent"]
    search_fields = ["name", "code"]
    quick_filters = [QuickFilter("Closed", "is_active__exact=0")]
    totals = {"credit_limit": Sum("credit_limit")}
    empty_state = EmptyState(
        "No entities yet", "They are who is billed.", "Add the first", "admin:entities_entity_add"
    )
    fields = ["name", "code", "entity_type", "parent", "currency", "credit_limit"]
    show_activity = True
    actions_bar = [
        ObjectAction(
            name="close",
            label="Close",
            perm="entities.change_entity",
            possible=why_not_closed,
            consequence=lambda entity: f"{entity.name} is billed no more.",
            needs_reason=True,
            run=close,
            done=lambda entity: f"{entity.name} is closed.",
            danger=True,
        )
    ]
    bulk_actions = [
        BulkAction(
            name="close",
            label="Close",
            perm="entities.change_entity",
            possible=why_not_closed,
            consequence="They are billed no more.",
            needs_reason=True,
            run=close,
            sums={"Credit limit": ("credit_limit", "currency")},
        )
    ]

    @staticmethod
    def locked_reason(entity: Entity) -> str:
        return "" if entity.is_active else "Closed: open it again to change it."

    def progress_key(self, obj: Entity) -> str:
        return f"entity:{obj.pk}" if obj.code == "BUSY" else ""

    def save_model(self, request: Any, obj: Entity, form: Any, change: bool) -> None:
        if obj.name == "Forbidden":
            problem = FieldProblem("/name", "reserved", "That name is reserved. Choose another.")
            raise Invalid("reserved", "That name is reserved. Choose another.", errors=[problem])
        super().save_model(request, obj, form, change)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.upload_view)
        return [path("upload/", view, name="entities_entity_upload"), *super().get_urls()]

    def upload_view(self, request: Any) -> Any:
        return upload_page(
            request,
            self,
            perm="entities.add_entity",
            title="Load entities",
            intro="One a line.",
            run=self.load,
        )

    def load(self, request: Any, data: Any) -> UploadResult:
        lines = data["file"].read().decode("utf-8", "replace").splitlines()
        if not lines[0].startswith("name"):
            raise Invalid("no_header", "Line 1 is no header. Begin with: name,code")
        return UploadResult(f"{len(lines) - 1} lines read.", "/admin/entities/entity/")


site.register(Entity, EntityAdmin)
site.register(User, UserAdmin)
site.register(ExchangeRate, ExchangeRateAdmin)
site.register(Notification, NotificationAdmin)
site.register(OutboxEvent, OutboxEventAdmin)
site.register(WorkCalendar, WorkCalendarAdmin)

urlpatterns = [path("admin/", site.urls)]
