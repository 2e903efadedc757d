"""Cost allocations in the back-office: read-only records, a page that allocates, and corrections with a reason."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import (
    UnfoldAdminDateWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import Badge, badge_html, register_badges
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import money_column
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from core.money import validate_currency
from entities.admin.base import ReadOnlyInline, ScopedForm, actor_of, picker
from entities.admin.pages import Page, page_view
from entities.models import AllocationBasis, AllocationPosting, AllocationSource, CostAllocation, Department
from entities.services import (
    AllocationPlan,
    Split,
    cost_allocate,
    cost_allocation_preview,
    posting_credit,
    posting_reverse,
)

register_badges(
    {
        "standing": Badge("Standing", "check_circle", "good", "✓"),
        "reversed": Badge("Reversed", "undo", "neutral", "↩"),
        "partly_credited": Badge("Partly credited", "undo", "info", "↩"),
        "reversal": Badge("Reversal", "undo", "info", "↩"),
        "credit": Badge("Credit", "undo", "info", "↩"),
    }
)


class AllocateForm(ScopedForm):
    """The cost and its period."""

    department = forms.ModelChoiceField(
        Department.objects.select_related("entity"), help_text="Who bears the cost, unless it is split below."
    )
    amount = forms.DecimalField(
        max_digits=20,
        decimal_places=4,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="Negative for a credit.",
    )
    currency = forms.CharField(
        max_length=3,
        required=False,
        validators=[validate_currency],
        widget=UnfoldAdminTextInputWidget(),
        help_text="Empty: that of the department's entity.",
    )
    description = forms.CharField(max_length=500, widget=UnfoldAdminTextInputWidget())
    period_start = forms.DateField(label="Period from", widget=UnfoldAdminDateWidget())
    period_end = forms.DateField(
        label="Period until before",
        widget=UnfoldAdminDateWidget(),
        help_text="The first day after the period.",
    )
    billable = forms.BooleanField(
        required=False, widget=UnfoldBooleanSwitchWidget(), help_text="Goes on the entity's next invoice."
    )
    split_by = forms.ChoiceField(
        choices=[
            (AllocationBasis.PERCENT, "Percent"),
            (AllocationBasis.AMOUNT, "Amount"),
            (AllocationBasis.RATIO, "Ratio"),
        ],
        widget=UnfoldAdminSelectWidget(),
        help_text="What the shares below are. Leave the lines empty to give all of it to the department above.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        use_picker(self)

    def clean_currency(self) -> str:
        return str(self.cleaned_data["currency"]).upper()


class ShareForm(ScopedForm):
    """One target and its share."""

    department = forms.ModelChoiceField(Department.objects.select_related("entity"), required=False)
    share = forms.DecimalField(
        max_digits=20,
        decimal_places=4,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        use_picker(self)

    def clean(self) -> dict[str, Any]:
        """A line has both or neither."""
        cleaned = super().clean() or {}
        department, share = cleaned.get("department"), cleaned.get("share")
        if department is None and share is not None and "department" not in self.errors:
            self.add_error("department", "Choose the department that gets this share.")
        if department is not None and share is None and "share" not in self.errors:
            self.add_error("share", "Give the share of this department.")
        return cleaned


def use_picker(form: forms.Form) -> None:
    """Look departments up while one types: a group may have thousands."""
    field: Any = form.fields["department"]
    field.widget = picker(CostAllocation, "department")
    field.widget.choices = field.choices


class CreditForm(ScopedForm):
    """How much is taken back."""

    amount = forms.DecimalField(
        max_digits=20,
        decimal_places=4,
        min_value=Decimal(0),
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="A positive number, at most what remains. It is spread by what remains of each line.",
    )


def _correctable(posting: AllocationPosting, user: Any) -> str | None:
    if posting.reverses_id or posting.credits_id:
        return "This is a correction itself. Allocate the cost again to undo it."
    if hasattr(posting, "reversed_by"):
        return "It was reversed already."
    return None


def _reversible(posting: AllocationPosting, user: Any) -> str | None:
    if posting.credited_by.exists():
        return "A part of it was credited: credit the rest instead."
    return _correctable(posting, user)


def _reverse(call: ActionCall) -> AllocationPosting:
    return posting_reverse(actor=call.actor, posting=call.obj, reason=call.reason)


def _credit(call: ActionCall) -> AllocationPosting:
    return posting_credit(actor=call.actor, posting=call.obj, amount=call.data["amount"], reason=call.reason)


class LinesInline(ReadOnlyInline):
    model = CostAllocation
    verbose_name_plural = "Lines"
    tab = False
    show_change_link = True
    shown = ["line_number", "department", "gl_code", "weight", money_column("amount"), "billable"]
    ordering = ["line_number"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("department")


# The field whose value decides whether a computed row of the page is shown.
VALUE_BEHIND = {"money_amount": "amount", "drivers": "driver_values"}


@admin.register(AllocationPosting)
class AllocationPostingAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """Each act of allocating, with its lines; put right by a reversal or a credit, never edited."""

    list_display = [
        "id",
        "period_start",
        "description",
        "entity",
        "source_department",
        money_column("amount"),
        "state",
        "created_by",
        "created_at",
    ]
    list_display_links = ["id", "description"]
    list_filter = ["source", "entity", "source_department", "currency", "period_start", "created_at"]
    list_select_related = ["entity", "source_department", "created_by", "reversed_by"]
    search_fields = ["description", "reason"]
    ordering = ["-id"]
    totals = {"allocated_or_moved": Sum("amount")}
    quick_filters = [
        QuickFilter("By rule", f"source__exact={AllocationSource.RULE}", icon="rule_settings"),
        QuickFilter("By hand", f"source__exact={AllocationSource.MANUAL}", icon="edit"),
        QuickFilter("Reversals", f"source__exact={AllocationSource.REVERSAL}", icon="undo"),
    ]
    inlines = [LinesInline]
    empty_state = EmptyState(
        "No cost has been allocated yet",
        "Give a cost to a department, or spread it over several by percent, amount or ratio.",
        "Allocate a cost",
        "admin:entities_allocationposting_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("description", "money_amount"),
                    ("period_start", "period_end"),
                    ("entity", "source"),
                    ("source_department", "rule_version"),
                    ("basis", "drivers"),
                    ("reverses", "credits"),
                    "reason",
                    ("created_by", "created_at"),
                )
            },
        ),
    )
    readonly_fields = ["money_amount", "drivers"]
    actions_bar = [
        ObjectAction(
            name="reverse",
            label="Reverse",
            icon="undo",
            perm="entities.reverse_allocationposting",
            needs_reason=True,
            danger=True,
            possible=_reversible,
            consequence="A posting with the negated lines is written. Both stay in the record.",
            run=_reverse,
            done=lambda reversal: f"Reversed by posting {reversal.pk}.",
        ),
        ObjectAction(
            name="credit",
            label="Credit a part",
            icon="remove",
            perm="entities.reverse_allocationposting",
            needs_reason=True,
            form=CreditForm,
            possible=_correctable,
            consequence="The amount is taken back from the lines by what remains of them. No line falls below zero.",
            run=_credit,
            done=lambda credit: f"Credited by posting {credit.pk}.",
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        credited = AllocationPosting.objects.filter(credits_id=OuterRef("pk"))
        return super().get_queryset(request).annotate(is_credited=Exists(credited))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only what this posting has: no empty rows about reversals, drivers or rules."""
        (title, options), *_ = super().get_fieldsets(request, obj)
        rows = []
        for row in options["fields"]:
            names = [row] if isinstance(row, str) else row
            rows.append(tuple(name for name in names if getattr(obj, VALUE_BEHIND.get(name, name), None)))
        return [(title, {**options, "fields": [row for row in rows if row]})]

    @admin.display(description="Amount")
    def money_amount(self, obj: AllocationPosting) -> Any:
        return money_column("amount")(obj)

    @admin.display(description="Driver values")
    def drivers(self, obj: AllocationPosting) -> str:
        """As they stood when the rule was run (ALC-09)."""
        values = ", ".join(f"{row['code']} {row['value']}" for row in obj.driver_values.get("values", []))
        return f"{obj.driver_values.get('driver', '')}: {values}"

    @admin.display(description="State")
    def state(self, obj: Any) -> SafeString:
        if obj.reverses_id:
            return badge_html("reversal")
        if obj.credits_id:
            return badge_html("credit")
        if hasattr(obj, "reversed_by"):
            return badge_html("reversed")
        return badge_html("partly_credited" if obj.is_credited else "standing")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, "entities.add_costallocation")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Allocate a cost: fill in, look at the split, post."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        actor = actor_of(request)

        def split(data: dict[str, Any], lines: list[dict[str, Any]]) -> dict[str, Any]:
            kind = data.pop("split_by")
            splits = [Split(line["department"], **{kind: line["share"]}) for line in lines]
            return {**data, "splits": splits, "actor": actor}

        def preview(data: dict[str, Any], lines: list[dict[str, Any]]) -> list[AllocationPlan]:
            asked = split(data, lines)
            asked.pop("billable")
            asked.pop("description")
            return [cost_allocation_preview(**asked)]

        def write(data: dict[str, Any], lines: list[dict[str, Any]]) -> tuple[str, str]:
            posting = cost_allocate(**split(data, lines))
            return "The cost is allocated.", reverse(
                "admin:entities_allocationposting_change", args=[posting.pk]
            )

        department = request.GET.get("department", "")
        page = Page(
            title="Allocate a cost",
            intro="A cost for one department, or spread over several. You see the split to the minor unit before it is "
            "written; afterwards it can be reversed or credited, not edited.",
            button="Allocate",
            back=reverse("admin:entities_allocationposting_changelist"),
            form_class=AllocateForm,
            line_class=ShareForm,
            lines_title="Split over departments",
            lines_help="Optional. Percentages sum to exactly 100, amounts to exactly the total.",
            preview=preview,
            write=write,
            initial={"department": department} if department.isdigit() else None,
        )
        return page_view(request, self, page)


@admin.register(CostAllocation)
class CostAllocationAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """What each department bears, line by line."""

    list_display = [
        "period_start",
        "department",
        "entity",
        "description",
        "source",
        "gl_code",
        money_column("amount"),
        "billable",
        "posting_link",
    ]
    list_display_links = ["period_start", "description"]
    list_filter = ["entity", "department", "source", "currency", "billable", "period_start"]
    list_select_related = ["entity", "department"]
    search_fields = ["description", "gl_code", "department__code", "department__name"]
    ordering = ["-id"]
    totals = {"amount": Sum("amount")}
    quick_filters = [
        QuickFilter("Billable", "billable__exact=1", icon="receipt_long"),
        QuickFilter("By rule", f"source__exact={AllocationSource.RULE}", icon="rule_settings"),
        QuickFilter("By hand", f"source__exact={AllocationSource.MANUAL}", icon="edit"),
    ]
    empty_state = EmptyState(
        "No cost has been allocated yet",
        "Give a cost to a department, spread it by hand, or let a rule do it every month.",
        "Allocate a cost",
        "admin:entities_allocationposting_add",
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, "entities.add_costallocation")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return redirect("admin:entities_allocationposting_add")

    @admin.display(description="Posting", ordering="posting_id")
    def posting_link(self, obj: CostAllocation) -> SafeString:
        url = reverse("admin:entities_allocationposting_change", args=[obj.posting_id])
        return format_html('<a class="eb-link" href="{}">{}</a>', url, obj.posting_id)
