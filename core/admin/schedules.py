"""The schedule of recurring jobs (django-celery-beat) and the results of jobs, in the product's dress."""

from importlib import import_module
from typing import Any

from django.contrib import admin
from django_celery_beat import admin as beat_admin
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from django_celery_results.models import GroupResult, TaskResult
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from core.admin.badges import badge_html
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.filters import QuickFilter

# Both register admins of their own when first imported: after that they will not do so again.
import_module("django_celery_results.admin")
for model in (
    PeriodicTask,
    IntervalSchedule,
    CrontabSchedule,
    ClockedSchedule,
    SolarSchedule,
    TaskResult,
    GroupResult,
):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


class TaskSelectWidget(UnfoldAdminSelectWidget, beat_admin.TaskSelectWidget):
    """The registered jobs as a choice in Unfold's dress."""

    template_name = "unfold/widgets/select.html"


class PeriodicTaskForm(beat_admin.PeriodicTaskForm):
    """beat's form with Unfold's widgets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = UnfoldAdminTextInputWidget()
        self.fields["regtask"].widget = TaskSelectWidget()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(BillingModelAdmin, beat_admin.PeriodicTaskAdmin):
    """What runs by itself, and when (times in UTC)."""

    form = PeriodicTaskForm
    list_display = ["name", "enabled", "scheduler", "last_run_at", "total_run_count", "one_off"]
    list_filter = ["enabled", "one_off"]
    quick_filters = [QuickFilter("Switched on", "enabled__exact=1", icon="play_circle")]
    empty_state = EmptyState(
        "Nothing is scheduled", "The product's own jobs appear here once the scheduler has run."
    )


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(BillingModelAdmin):
    """Every so many minutes."""


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(BillingModelAdmin):
    """At fixed times of the day, week or month."""

    list_display = ["__str__", "human_readable"]


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(BillingModelAdmin):
    """Once, at a moment."""


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """Jobs that failed, with what they said."""

    list_display = ["task_name", "state", "date_created", "date_done", "worker"]
    list_filter = ["status", "task_name", "date_done"]
    search_fields = ["task_name", "task_id"]
    ordering = ["-date_done"]
    quick_filters = [QuickFilter("Failed", "status__exact=FAILURE", icon="error")]
    empty_state = EmptyState("No job has failed", "Jobs report here when something goes wrong.")

    @admin.display(description="State", ordering="status")
    def state(self, obj: TaskResult) -> Any:
        known = {"FAILURE": "failed", "SUCCESS": "completed", "STARTED": "running", "PENDING": "queued"}
        return badge_html(known.get(obj.status, obj.status.lower()))
