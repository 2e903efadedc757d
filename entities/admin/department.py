"""Departments in the back-office: the tree of each entity, and what a department costs."""

import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDateWidget

from core import clock
from core.admin.actions import ActionCall, BarItem, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import EmptyState
from core.admin.columns import amount_html
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from core.models import User
from entities.admin.base import (
    ReadOnlyInline,
    ScopedForm,
    ServiceModelAdmin,
    indented,
    is_tree,
    tree_depth,
    tree_path,
)
from entities.models import Department, DepartmentClosure, Membership
from entities.periods import month_of
from entities.selectors import department_costs
from entities.services import (
    department_close,
    department_create,
    department_delete,
    department_reopen,
    department_update,
)


class CloseForm(ScopedForm):
    """From when a department takes no cost."""

    closed_on = forms.DateField(
        label="Closed on",
        widget=UnfoldAdminDateWidget(),
        help_text="The first day on which it takes no cost any more.",
    )


class DepartmentChildrenInline(ReadOnlyInline):
    model = Department
    fk_name = "parent"
    verbose_name_plural = "Departments below"
    shown = ["code", "name", "cost_center_type", "gl_code", "closed_on"]


class DepartmentMembershipsInline(ReadOnlyInline):
    model = Membership
    verbose_name_plural = "Who acts here"
    shown = ["user", "role", "include_descendants", "valid_from", "valid_to"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user")


def _close(call: ActionCall) -> Department:
    return department_close(
        actor=call.actor, department=call.obj, closed_on=call.data["closed_on"], reason=call.reason
    )


def _is_open(department: Department) -> bool:
    return department.is_active and department.closed_on is None


ALLOCATE = ObjectAction(
    name="allocate",
    label="Allocate a cost",
    icon="call_split",
    perm="entities.add_costallocation",
    consequence="",
    run=lambda call: None,
)


@admin.register(Department)
class DepartmentAdmin(ServiceModelAdmin):
    """The cost centres of each entity."""

    show_activity = True
    list_display = ["tree_name", "code", "entity", "cost_center_type", "gl_code", "manager", "state"]
    list_display_links = ["tree_name"]
    list_filter = ["entity", "cost_center_type", "manager", "is_active", "closed_on"]
    list_select_related = ["entity", "manager"]
    search_fields = ["name", "code", "gl_code", "entity__name", "manager__last_name"]
    list_per_page = 100
    quick_filters = [
        QuickFilter("Service centres", "cost_center_type__exact=service", icon="hub"),
        QuickFilter("Without a GL code", "gl_code__exact=", icon="tag"),
        QuickFilter("Without a manager", "manager__isnull=True", icon="person_off"),
        QuickFilter("Closed", "closed_on__isnull=False", icon="lock"),
    ]
    autocomplete_fields = ["entity", "parent", "manager"]
    guarded_relations = ("parent", "manager")
    inlines = [DepartmentChildrenInline, DepartmentMembershipsInline]
    empty_state = EmptyState(
        "No departments yet",
        "Departments are the cost centres that bear what an entity uses. Their codes are unique in the entity.",
        "Add a department",
        "admin:entities_department_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("entity", "parent"),
                    ("name", "code"),
                    ("cost_center_type", "gl_code"),
                    ("manager", "change_reason"),
                )
            },
        ),
        ("Cost of the last twelve months", {"classes": ("tab",), "fields": ("costs",)}),
    )
    actions_bar = [
        ObjectAction(
            name="close",
            label="Close",
            icon="lock",
            perm="entities.change_department",
            needs_reason=True,
            danger=True,
            form=CloseForm,
            possible=lambda department, user: None if _is_open(department) else "It is closed already.",
            consequence="From that day it takes no cost: allocations to it and rules that name it are refused.",
            run=_close,
        ),
        ObjectAction(
            name="reopen",
            label="Reopen",
            icon="lock_open",
            perm="entities.change_department",
            needs_reason=True,
            possible=lambda department, user: "It is open." if _is_open(department) else None,
            consequence="It takes cost again.",
            run=lambda call: department_reopen(actor=call.actor, department=call.obj, reason=call.reason),
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        user: Any = request.user
        seen = Department.objects.visible_to(user).values("pk") if is_tree(request) else []
        return super().get_queryset(request).annotate(depth=tree_depth(DepartmentClosure, seen))

    def get_ordering(self, request: HttpRequest) -> Any:
        return ["entity__name", "entity_id", tree_path(DepartmentClosure, "code")]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["costs", "entity"] if obj is not None else ["costs"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        if obj is None or not may(request.user, "entities.view_department_costs", obj):
            return shown[:1]
        return shown

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return super().get_inlines(request, obj) if obj is not None else []

    def bar_of(self, request: HttpRequest, obj: Any) -> list[BarItem]:
        items = super().bar_of(request, obj)
        if may(request.user, ALLOCATE.perm, obj):
            url = f"{reverse('admin:entities_allocationposting_add')}?department={obj.pk}"
            items.insert(
                0, BarItem(ALLOCATE, url, "" if _is_open(obj) else "It is closed and takes no cost.")
            )
        return items

    @admin.display(description="Name", ordering="name")
    def tree_name(self, obj: Any) -> SafeString | str:
        return indented(obj.name, obj.depth)

    @admin.display(description="State", ordering="closed_on")
    def state(self, obj: Department) -> SafeString:
        if not obj.is_active:
            return badge_html("inactive")
        return badge_html("closed" if not obj.takes_cost_on(clock.today()) else "open")

    @admin.display(description="Costs")
    def costs(self, obj: Department) -> SafeString:
        """What it bears itself and with the departments below it, by month and source."""
        if obj.pk is None:
            return SafeString("–")
        this_month = month_of(clock.today())
        start = _first_of_twelve(this_month)
        found = department_costs(obj, start=start, end=datetime.date.max)
        if not found.subtree.lines:
            return format_html("No cost since {}.", f"{start:%B %Y}")
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td><td style='text-align:right'>{}</td></tr>",
            (
                (
                    f"{line.month:%Y-%m}",
                    line.source,
                    line.gl_code or "–",
                    amount_html(line.amount, line.currency),
                )
                for line in found.own.lines
            ),
        )
        sums = format_html_join(
            "",
            "<tr><th colspan='3' style='text-align:left'>{}</th><th style='text-align:right'>{}</th></tr>",
            (
                (title, amount_html(amount, currency))
                for title, summary in (("Own", found.own), ("With departments below", found.subtree))
                for currency, amount in summary.totals.items()
            ),
        )
        head = SafeString(
            "<tr><th>Month</th><th>Source</th><th>GL code</th><th style='text-align:right'>Amount</th></tr>"
        )
        return format_html('<table class="eb-plain">{}{}{}</table>', head, rows, sums)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> Department:
        return department_create(actor=actor, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> Department:
        return department_update(actor=actor, department=obj, reason=reason, **data)

    def remove(self, actor: User, obj: Department) -> None:
        department_delete(actor=actor, department=obj)


def _first_of_twelve(month: datetime.date) -> datetime.date:
    """The first month of the twelve that end with `month`."""
    return (
        month.replace(month=1)
        if month.month == 12
        else month.replace(year=month.year - 1, month=month.month + 1)
    )
