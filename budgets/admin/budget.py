"""Budgets in the back-office: the list, the page that explains one, its settings, and what can be done with it."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from budgets.admin.effects import Effect, EffectAction, EffectActionsMixin, ObjectForm, bar_of_figures
from budgets.admin.importing import ImportMixin
from budgets.admin.page import page_context, period_text, tone_of
from budgets.figures import Figures, figures_of, with_figures
from budgets.models import Budget, BudgetStatus, CloseDecision, Commitment, PeriodChange
from budgets.querysets import ArrayOf
from budgets.services.budget import (
    CHANGEABLE_WHEN_OPEN,
    budget_close,
    budget_create,
    budget_delete,
    budget_open,
    budget_reopen_approve,
    budget_reopen_request,
    budget_soft_close,
    budget_update,
)
from budgets.services.changes import override_propose, revision_propose, transfer_propose
from budgets.services.periods import same_purpose
from budgets.services.rollover import RolloverPreview, rollover_preview, rollover_run
from core import clock
from core.admin.actions import ActionCall, BulkAction
from core.admin.badges import badge_column
from core.admin.base import EmptyState
from core.admin.columns import amount_html, amount_text, money_column, number_text
from core.admin.filters import QuickFilter
from core.admin.totals import TotalsLine
from core.errors import Conflict
from core.models import User
from entities.admin.base import ReasonedForm, ServiceModelAdmin, actor_of

ZERO = Decimal(0)
POSTABLE = frozenset({BudgetStatus.OPEN, BudgetStatus.SOFT_CLOSED})
MOST_USED = 80


def bare_amount(field: str, label: str) -> Any:
    """A column of amounts in the currency that the first one names."""

    @admin.display(description=label, ordering=field)
    def column(budget: Budget) -> SafeString | str:
        value: Decimal = getattr(budget, field)
        if not value:
            return "–"
        return format_html('<span class="eb-num">{}</span>', amount_text(value, budget.currency))

    column.__name__ = f"money_{field}"
    return column


# --- Filters of the list ---------------------------------------------------------------------------------


class UseFilter(admin.SimpleListFilter):
    """How much of a running budget is used."""

    title = "use"
    parameter_name = "use"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("over80", f"{MOST_USED} % or more"), ("overspent", "Overspent"), ("unused", "Not used yet")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"over80", "overspent", "unused"}:
            return queryset
        return queryset.filter(use_condition(str(self.value())))


def use_condition(name: str) -> Q:
    """The condition behind the filter and the numbers of the first page; wants `with_figures`."""
    running = Q(status__in=POSTABLE)
    if name == "over80":
        return running & Q(shown_percent__gte=MOST_USED)
    if name == "overspent":
        return running & Q(shown_available__lt=0)
    return running & Q(spent_amount=0, shown_committed=0)


class PeriodFilter(admin.SimpleListFilter):
    """Which period, seen from today."""

    title = "period"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("now", "Running today"), ("next", "To come"), ("past", "Ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        today = clock.today()
        conditions = {
            "now": Q(period_start__lte=today, period_end__gt=today),
            "next": Q(period_start__gt=today),
            "past": Q(period_end__lte=today),
        }
        condition = conditions.get(str(self.value()))
        return queryset if condition is None else queryset.filter(condition)


# --- Forms of the actions --------------------------------------------------------------------------------


def _amount_field(label: str, help_text: str, **options: Any) -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        max_digits=19,
        decimal_places=4,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text=help_text,
        **options,
    )


class TransferForm(ObjectForm):
    """Where the money goes, and how much."""

    to_budget = forms.ModelChoiceField(
        label="To",
        queryset=Budget.objects.none(),
        widget=UnfoldAdminSelectWidget(),
        empty_label="Choose a budget",
        help_text="Budgets of the same currency and period.",
    )
    amount = _amount_field("Amount", "In the budgets' currency.", min_value=ZERO)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["to_budget"]
        field.queryset = (
            Budget.objects.visible_to(self.user, "budgets.transfer_budget")
            .filter(
                currency=self.obj.currency,
                period_start=self.obj.period_start,
                period_end=self.obj.period_end,
                status__in=POSTABLE,
            )
            .exclude(pk=self.obj.pk)
            .select_related("department", "entity")
            .order_by("name")
        )
        field.label_from_instance = _labelled
        self.fields["amount"].help_text = f"In {self.obj.currency}."


def _labelled(budget: Budget) -> str:
    where = budget.department or budget.entity
    figures = figures_of(budget)
    return f"{budget.name} · {where} · {amount_text(figures.available, budget.currency)} {budget.currency} available"


class RevisionForm(ObjectForm):
    """The allocation that it should have."""

    allocation = _amount_field("New allocation", "", min_value=ZERO)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        now = amount_text(self.obj.allocated_amount, self.obj.currency)
        self.fields["allocation"].help_text = f"In {self.obj.currency}; now {now}."


class OverrideForm(ObjectForm):
    """How far it may be exceeded."""

    limit = _amount_field("Up to", "", min_value=ZERO)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["limit"].help_text = f"In {self.obj.currency}; for one charge."


class RolloverForm(ObjectForm):
    """The budget of the next period."""

    to_budget = forms.ModelChoiceField(
        label="To",
        queryset=Budget.objects.none(),
        widget=UnfoldAdminSelectWidget(),
        help_text="Later budgets of the same department and currency.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["to_budget"]
        field.queryset = _successors(self.obj, self.user)
        field.label_from_instance = lambda budget: f"{budget.name} · {period_text(budget)}"
        first = next_period_of(self.obj)
        if first is not None:
            field.initial = first.pk


def _successors(budget: Budget, user: User) -> QuerySet[Budget]:
    return (
        Budget.objects.visible_to(user)
        .of(entity_id=budget.entity_id, department_id=budget.department_id)
        .filter(
            currency=budget.currency,
            period_start__gte=budget.period_end,
            status__in=POSTABLE,
        )
        .order_by("period_start", "name")
    )


def next_period_of(budget: Budget) -> Budget | None:
    """The open budget of the same purpose that follows."""
    return same_purpose(budget).postable().filter(period_start__gte=budget.period_end).first()


# --- Effects ---------------------------------------------------------------------------------------------


def fresh_figures(budget: Budget) -> Figures:
    """The figures as they stand, with what has expired counted as free."""
    return figures_of(Budget.objects.with_expired().get(pk=budget.pk))


def _opening(budget: Budget, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    after = fresh_figures(budget)
    return [Effect(budget.name, budget.currency, Figures(ZERO, ZERO, ZERO, ZERO), after)]


def _standing(budget: Budget, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    figures = fresh_figures(budget)
    return [Effect(budget.name, budget.currency, figures, figures)]


def _closing(budget: Budget, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    before = fresh_figures(budget)
    ending = list(
        Commitment.objects.open()
        .filter(budget=budget)
        .exclude(expires_at__lte=clock.now())
        .exclude(close_decision__in=["", CloseDecision.CARRY])
    )
    freed = sum((each.remainder for each in ending), ZERO)
    lines = [
        (
            f"{each.get_close_decision_display()}: {each.description}",
            amount_html(-each.remainder, budget.currency),
        )
        for each in ending
    ]
    return [Effect(budget.name, budget.currency, before, before.plus(committed=-freed), lines=lines)]


def _transferring(budget: Budget, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    amount, to_budget = data["amount"], data["to_budget"]
    giving, taking = fresh_figures(budget), fresh_figures(to_budget)
    note = (
        "It does not have that much: the transfer could not be approved." if amount > giving.available else ""
    )
    return [
        Effect(budget.name, budget.currency, giving, giving.plus(allocated=-amount), note),
        Effect(to_budget.name, to_budget.currency, taking, taking.plus(allocated=amount)),
    ]


def _revising(budget: Budget, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    before = fresh_figures(budget)
    after = before.plus(allocated=data["allocation"] - before.allocated)
    lowered = after.allocated < before.allocated and after.available < 0
    note = "Less than is spent and committed already: it could not be approved." if lowered else ""
    return [Effect(budget.name, budget.currency, before, after, note)]


def _overriding(budget: Budget, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    before = fresh_figures(budget)
    note = "The allowance rises by what the charge lacks, at most by this."
    return [Effect(budget.name, budget.currency, before, before.plus(override=data["limit"]), note)]


ROLLOVER_WORDS = {
    "release": "Released",
    "commitment_money": "Money of the commitments",
    "commitment": "Commitment",
    "deficit": "Deficit",
    "unspent": "Unspent",
}


def _rolling_over(budget: Budget, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    to_budget = data["to_budget"]
    return rollover_effects(rollover_preview(actor=user, from_budget_id=budget.pk, to_budget_id=to_budget.pk))


def rollover_effects(preview: RolloverPreview) -> Sequence[Effect]:
    """What a rollover does to both budgets, with the rows that it posts."""
    source, target = preview.from_budget, preview.to_budget
    by_kind = {
        kind: sum((Decimal(line.amount) for line in preview.lines if line.what == kind), ZERO)
        for kind in ROLLOVER_WORDS
    }
    leaving = by_kind["commitment_money"] + by_kind["unspent"]
    before, beyond = fresh_figures(source), fresh_figures(target)
    lines = [
        (
            f"{ROLLOVER_WORDS[line.what]}: {line.description}" if line.commitment_id else line.description,
            amount_html(Decimal(line.amount), source.currency),
        )
        for line in preview.lines
    ]
    return [
        Effect(
            source.name,
            source.currency,
            before,
            before.plus(allocated=-leaving, committed=-by_kind["commitment"] - by_kind["release"]),
            note="" if preview.lines else "Its policy passes nothing on.",
            lines=lines,
        ),
        Effect(
            target.name,
            target.currency,
            beyond,
            beyond.plus(allocated=preview.money, committed=preview.commitments),
        ),
    ]


# --- When they are possible ------------------------------------------------------------------------------


def _is(*states: str) -> Any:
    def possible(budget: Budget, user: Any) -> str | None:
        if budget.status in states:
            return None
        wanted = " or ".join(BudgetStatus(state).label.lower() for state in states)
        return f"It is {budget.get_status_display().lower()}; it would have to be {wanted}."

    return possible


def _closable(budget: Budget, user: Any) -> str | None:
    if budget.status not in POSTABLE:
        return f"It is {budget.get_status_display().lower()}."
    undecided = (
        Commitment.objects.open()
        .filter(budget=budget, close_decision="")
        .exclude(expires_at__lte=clock.now())
        .count()
    )
    if undecided:
        what = "commitment needs" if undecided == 1 else "commitments need"
        return f"{undecided} open {what} a decision first: carry, release or lapse."
    return None


def _rollable(budget: Budget, user: Any) -> str | None:
    if budget.status == BudgetStatus.OPEN:
        return "Soft-close it first, so that its figures stand still."
    if budget.status != BudgetStatus.SOFT_CLOSED:
        return f"It is {budget.get_status_display().lower()}."
    if not _successors(budget, user).exists():
        return "There is no open budget of a later period for the same department. Make it first."
    return None


def _waiting_reopening(budget: Budget) -> PeriodChange | None:
    return (
        PeriodChange.objects.filter(
            budget=budget, to_status=BudgetStatus.OPEN, from_status=budget.status, approved_by=None
        )
        .exclude(from_status=BudgetStatus.DRAFT)
        .order_by("-pk")
        .first()
    )


def _reopenable(budget: Budget, user: Any) -> str | None:
    if _waiting_reopening(budget) is not None:
        return "It is asked for already; a second person approves."
    return None


def _reopening_approvable(budget: Budget, user: Any) -> str | None:
    change = _waiting_reopening(budget)
    if change is None:
        return "Nobody has asked for it."
    if change.requested_by_id == user.pk:
        return "You asked for it yourself. A colleague approves."
    return None


def _approve_reopening(call: ActionCall) -> Budget:
    change = _waiting_reopening(call.obj)
    if change is None:
        raise Conflict("no_reopening_asked", "Nobody has asked for this reopening any more.")
    return budget_reopen_approve(actor=call.actor, change_id=change.pk)


def _roll_over_to_next(call: ActionCall) -> Any:
    target = next_period_of(call.obj)
    if target is None:
        raise Conflict(
            "no_budget", "There is no open budget of the same purpose for a later period. Make it first."
        )
    return rollover_run(actor=call.actor, from_budget_id=call.obj.pk, to_budget_id=target.pk)


def _rolls_to_next(budget: Budget, user: Any) -> str | None:
    why_not = _rollable(budget, user)
    if why_not is None and next_period_of(budget) is None:
        return "There is no open budget of the same purpose for a later period. Make it first."
    return why_not


def _running(budget: Budget) -> bool:
    return budget.status in POSTABLE


# --- The admin -------------------------------------------------------------------------------------------


SUMS = {"Allocated": ("shown_allocated", "currency"), "Available": ("shown_available", "currency")}


class BudgetForm(ReasonedForm):
    """What a budget is; the rules between its fields are the service's, which says them in words."""

    def _get_validation_exclusions(self) -> set[str]:
        """The model's own checks speak of constraints; the service repeats them all."""
        return {field.name for field in Budget._meta.concrete_fields}


@admin.register(Budget)
class BudgetAdmin(ImportMixin, EffectActionsMixin, ServiceModelAdmin):
    """The list of budgets; each opens as the page that explains it."""

    class Media:
        css = {"all": ["budgets/budgets.css"]}

    form = BudgetForm
    list_display = [
        "name",
        "where",
        "period",
        badge_column("status", label="State"),
        "use",
        money_column("shown_available", label="Available"),
        bare_amount("shown_allocated", "Allocated"),
        bare_amount("spent_amount", "Spent"),
        bare_amount("shown_committed", "Committed"),
    ]
    export_fields = [
        "name", "entity", "department", "category", "period_start", "period_end", "status",
        money_column("shown_allocated", label="Allocated"), money_column("override_amount", label="Override"),
        money_column("shown_committed", label="Committed"), money_column("spent_amount", label="Spent"),
        money_column("shown_available", label="Available"),
    ]  # fmt: skip
    list_filter = [
        "entity", "department", "status", UseFilter, PeriodFilter, "period_start", "category", "currency",
        "control", "period_type",
    ]  # fmt: skip
    list_select_related = ["entity", "department"]
    search_fields = [
        "name",
        "category",
        "entity__name",
        "entity__code",
        "department__name",
        "department__code",
    ]
    ordering = ["-period_start", "entity__name", "name"]
    quick_filters = [
        QuickFilter("Running", "period=now", icon="today"),
        QuickFilter("Overspent", "use=overspent", icon="error"),
        QuickFilter(f"Over {MOST_USED} %", "use=over80", icon="warning"),
        QuickFilter("Closing", "status__exact=soft_closed", icon="lock_clock"),
        QuickFilter("Drafts", "status__exact=draft", icon="edit_note"),
    ]
    totals = {
        "allocated": Sum("shown_allocated"),
        "committed": Sum("shown_committed"),
        "spent": Sum("spent_amount"),
        "available": Sum("shown_available"),
    }
    autocomplete_fields = ["entity", "department", "parent", "owner"]
    guarded_relations = ("parent", "owner")
    show_activity = True
    empty_state = EmptyState(
        "No budgets yet",
        "A budget is money set aside for a department or an entity over a period. Charges and orders are tested "
        "against it. Add one, or import a whole year from Excel.",
        "Add a budget",
        "admin:budgets_budget_add",
    )
    locked_reason = staticmethod(
        lambda budget: (
            "It is closed: nothing is posted any more. If it must be, ask for it to be reopened."
            if budget.status == BudgetStatus.CLOSED
            else ""
        )
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "category"),
                    ("entity", "department"),
                    ("planned_amount", "currency"),
                    ("period_start", "period_end", "period_type"),
                    ("owner", "parent"),
                    "change_reason",
                )
            },
        ),
        (
            "Control",
            {
                "classes": ("tab",),
                "fields": (
                    ("control", "overspend_limit"),
                    ("approval_threshold", "check_scope"),
                    ("is_control_point", "strict_children"),
                    ("over_invoice_percent", "over_invoice_amount", "strict_periods"),
                ),
            },
        ),
        (
            "Alerts",
            {
                "classes": ("tab",),
                "fields": (
                    ("alert_threshold_percent", "warning_threshold_percent", "critical_threshold_percent"),
                ),
            },
        ),
        (
            "At its end",
            {
                "classes": ("tab",),
                "fields": (
                    ("rollover_policy", "carry_deficit"),
                    ("rollover_percent", "rollover_cap"),
                ),
            },
        ),
    )
    actions_bar = [
        EffectAction(
            name="open",
            label="Open",
            main=True,
            perm="budgets.add_budget",
            icon="lock_open",
            possible=_is(BudgetStatus.DRAFT),
            concerns=lambda budget: budget.status == BudgetStatus.DRAFT,
            consequence="Its allocation is booked and it takes charges. Amount and period are fixed from then on.",
            effect=_opening,
            run=lambda call: budget_open(actor=call.actor, budget_id=call.obj.pk),
            done=lambda budget: f"“{budget.name}” is open.",
        ),
        EffectAction(
            name="transfer",
            label="Transfer",
            perm="budgets.transfer_budget",
            icon="swap_horiz",
            form=TransferForm,
            needs_reason=True,
            possible=_is(*POSTABLE),
            concerns=_running,
            consequence="Nothing moves until whoever answers for this budget approves; large amounts need finance too.",
            effect=_transferring,
            run=lambda call: transfer_propose(
                actor=call.actor,
                from_budget_id=call.obj.pk,
                to_budget_id=call.data["to_budget"].pk,
                amount=call.data["amount"],
                reason=call.reason,
            ),
            done=lambda transfer: "The transfer waits for approval.",
        ),
        EffectAction(
            name="revise",
            label="Revise",
            perm="budgets.change_budget",
            icon="edit",
            form=RevisionForm,
            needs_reason=True,
            possible=_is(*POSTABLE),
            concerns=_running,
            consequence="The present allocation stays in force until a second person approves.",
            effect=_revising,
            run=lambda call: revision_propose(
                actor=call.actor,
                budget_id=call.obj.pk,
                delta=call.data["allocation"] - call.obj.allocated_amount,
                reason=call.reason,
            ),
            done=lambda revision: f"Revision {revision.number} waits for approval.",
        ),
        EffectAction(
            name="override",
            label="Override",
            perm="budgets.charge_budget",
            icon="key",
            form=OverrideForm,
            needs_reason=True,
            possible=_is(*POSTABLE),
            concerns=_running,
            consequence="Once a second person grants it, one charge may exceed the budget by at most this.",
            effect=_overriding,
            run=lambda call: override_propose(
                actor=call.actor, budget_id=call.obj.pk, limit=call.data["limit"], reason=call.reason
            ),
            done=lambda override: "The override waits to be granted.",
        ),
        EffectAction(
            name="soft-close",
            label="Soft-close",
            perm="budgets.close_budget",
            icon="lock_clock",
            needs_reason=True,
            possible=_is(BudgetStatus.OPEN),
            concerns=lambda budget: budget.status == BudgetStatus.OPEN,
            consequence="From now on only finance posts to it. The figures stay as they are.",
            effect=_standing,
            run=lambda call: budget_soft_close(actor=call.actor, budget_id=call.obj.pk, reason=call.reason),
            done=lambda budget: f"“{budget.name}” is closing.",
        ),
        EffectAction(
            name="roll-over",
            label="Roll over",
            perm="budgets.close_budget",
            icon="redo",
            form=RolloverForm,
            possible=_rollable,
            concerns=_running,
            consequence="What its policy says passes to the next period. It can be undone until that has been used.",
            effect=_rolling_over,
            run=lambda call: rollover_run(
                actor=call.actor, from_budget_id=call.obj.pk, to_budget_id=call.data["to_budget"].pk
            ),
            done=lambda rollover: f"Rolled over to “{rollover.to_budget.name}”.",
        ),
        EffectAction(
            name="close",
            label="Close",
            perm="budgets.close_budget",
            icon="lock",
            danger=True,
            needs_reason=True,
            possible=_closable,
            concerns=_running,
            consequence="Nothing is posted to it any more. Only two people together can open it again.",
            effect=_closing,
            run=lambda call: budget_close(actor=call.actor, budget_id=call.obj.pk, reason=call.reason),
            done=lambda budget: f"“{budget.name}” is closed.",
        ),
        EffectAction(
            name="reopen",
            label="Ask to reopen",
            perm="budgets.close_budget",
            icon="lock_open",
            needs_reason=True,
            possible=_reopenable,
            concerns=lambda budget: budget.status in {BudgetStatus.SOFT_CLOSED, BudgetStatus.CLOSED},
            consequence="It stays as it is until a second person approves.",
            effect=_standing,
            run=lambda call: budget_reopen_request(
                actor=call.actor, budget_id=call.obj.pk, reason=call.reason
            ),
            done=lambda change: "The reopening waits for a second person.",
        ),
        EffectAction(
            name="approve-reopening",
            label="Approve reopening",
            main=True,
            perm="budgets.approve_budget_change",
            icon="check_circle",
            possible=_reopening_approvable,
            concerns=lambda budget: _waiting_reopening(budget) is not None,
            consequence=lambda budget: (
                f"It takes charges again. Asked for because: “{_reason_of(_waiting_reopening(budget))}”"
            ),
            effect=_standing,
            run=_approve_reopening,
            done=lambda budget: f"“{budget.name}” is open again.",
        ),
    ]
    bulk_actions = [
        BulkAction(
            name="open",
            label="Open",
            perm="budgets.add_budget",
            icon="lock_open",
            possible=_is(BudgetStatus.DRAFT),
            consequence="Their allocations are booked and they take charges from now on.",
            run=lambda call: budget_open(actor=call.actor, budget_id=call.obj.pk),
            sums=SUMS,
        ),
        BulkAction(
            name="soft-close",
            label="Soft-close",
            perm="budgets.close_budget",
            icon="lock_clock",
            needs_reason=True,
            possible=_is(BudgetStatus.OPEN),
            consequence="From now on only finance posts to them.",
            run=lambda call: budget_soft_close(actor=call.actor, budget_id=call.obj.pk, reason=call.reason),
            sums=SUMS,
        ),
        BulkAction(
            name="roll-over",
            label="Roll over",
            perm="budgets.close_budget",
            icon="redo",
            possible=_rolls_to_next,
            consequence="Each passes to the next period's budget of the same purpose what its policy says.",
            run=_roll_over_to_next,
            sums=SUMS,
        ),
        BulkAction(
            name="close",
            label="Close",
            perm="budgets.close_budget",
            icon="lock",
            danger=True,
            needs_reason=True,
            possible=_closable,
            consequence="Nothing is posted to them any more. Only two people together can open one again.",
            run=lambda call: budget_close(actor=call.actor, budget_id=call.obj.pk, reason=call.reason),
            sums=SUMS,
        ),
        BulkAction(
            name="delete-drafts",
            label="Delete drafts",
            perm="budgets.delete_budget",
            icon="delete",
            danger=True,
            possible=_is(BudgetStatus.DRAFT),
            consequence="The drafts are gone; nothing was ever booked on them.",
            run=lambda call: budget_delete(actor=call.actor, budget_id=call.obj.pk),
            sums=SUMS,
        ),
    ]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_draft = not isinstance(obj, Budget) or obj.status == BudgetStatus.DRAFT
        return is_draft and super().has_delete_permission(request, obj)

    # --- The list ---

    def get_queryset(self, request: HttpRequest) -> Any:
        return with_figures(super().get_queryset(request))

    def totals_of(self, queryset: Any) -> list[TotalsLine]:
        """Per currency; what a control point among the rows counts already is not added a second time."""
        keys = queryset.order_by().values("pk")
        counting = (
            Budget.objects.filter(pk__in=keys, is_control_point=True)
            .exclude(pk=OuterRef("pk"))
            .alias(itself=ArrayOf(F("pk")))
            .filter(itself__contained_by=OuterRef("counted_by"))
        )
        rows = with_figures(Budget.objects.filter(pk__in=keys)).annotate(is_counted=Exists(counting))
        sums = {
            f"sum_of_{name}": Sum(total.get_source_expressions()[0], filter=Q(is_counted=False))
            for name, total in self.totals.items()
        }
        grouped = rows.order_by().values("currency").annotate(rows_counted=Count("pk"), **sums)
        return sorted(
            (self._line(str(row["currency"]), row) for row in grouped), key=lambda line: line.currency
        )

    @admin.display(description="Department or entity", ordering="department__name")
    def where(self, budget: Budget) -> SafeString | str:
        if budget.department is None:
            return format_html(
                '<span>{} <span class="eb-quiet-text">as a whole</span></span>', budget.entity.code
            )
        return format_html(
            '<span>{} <span class="eb-quiet-text" title="{}">{}</span></span>',
            budget.department.code,
            budget.entity.name,
            budget.entity.code,
        )

    @admin.display(description="Period", ordering="period_start")
    def period(self, budget: Budget) -> str:
        return period_text(budget)

    @admin.display(description="Used", ordering="shown_percent")
    def use(self, budget: Budget) -> SafeString | str:
        if budget.status == BudgetStatus.DRAFT:
            return "–"
        figures = figures_of(budget)
        bar = bar_of_figures(figures, budget.currency)
        widths = {segment.kind: segment.width for segment in bar.segments}
        return format_html(
            '<span class="bud-use" data-tone="{}"><span class="bud-use-bar" aria-hidden="true">'
            '<span data-kind="spent" style="width:{}%"></span><span data-kind="committed" style="width:{}%"></span>'
            '<span data-kind="over" style="width:{}%"></span></span><span class="bud-use-text">{} %</span></span>',
            tone_of(figures, budget),
            widths.get("spent", "0"),
            widths.get("committed", "0"),
            widths.get("over", "0"),
            number_text(figures.utilization, 0),
        )

    # --- The page and the settings ---

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/settings/", view(self.settings_view), name="budgets_budget_settings"),
            *super().get_urls(),
        ]

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """An existing budget is read here; what it is changes on the page of its settings."""
        if object_id is None:
            return super().changeform_view(request, None, form_url, extra_context)
        budget = self._found(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": budget.name,
            "media": self.media,
            "why_locked": self.why_locked(budget),
            "actions_bar": self.bar_of(request, budget),
            "settings_url": reverse("admin:budgets_budget_settings", args=[budget.pk])
            if self.has_change_permission(request, budget)
            else "",
            "delete_url": reverse("admin:budgets_budget_delete", args=[budget.pk])
            if self.has_delete_permission(request, budget)
            else "",
            **page_context(budget, actor_of(request)),
        }
        return TemplateResponse(request, "admin/budgets/budget.html", context)

    def _found(self, request: HttpRequest, pk: Any) -> Budget:
        try:
            found = (
                self.get_queryset(request)
                .select_related("entity", "department__manager", "owner", "parent")
                .filter(pk=pk)
                .first()
            )
        except (TypeError, ValueError):
            found = None
        if found is None:
            raise Http404("There is no such budget, or it is outside your scope.")
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        budget: Budget = found
        return budget

    def settings_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What the budget is, to change; its figures are not."""
        budget = self._found(request, pk)
        if budget.status == BudgetStatus.CLOSED:
            messages.warning(request, self.why_locked(budget))
            return redirect("admin:budgets_budget_change", pk)
        return super().changeform_view(request, str(pk))

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().render_change_form(request, context, *args, **kwargs)
        # The actions stand on the budget's own page.
        response.context_data.pop("actions_bar", None)
        return response

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        response = super().response_change(request, obj)
        return response if "_continue" in request.POST else redirect("admin:budgets_budget_change", obj.pk)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        response = super().response_add(request, obj, post_url_continue)
        if {"_addanother", "_popup"} & request.POST.keys():
            return response
        return redirect("admin:budgets_budget_change", obj.pk)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        if obj is None or obj.status == BudgetStatus.DRAFT:
            return shown
        # The amount of an open budget changes by revision or transfer.
        head = [("currency",) if "planned_amount" in row else row for row in shown[0][1]["fields"]]
        return [(None, {**shown[0][1], "fields": head}), *shown[1:]]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        given = list(super().get_readonly_fields(request, obj))
        if obj is None:
            return given
        fixed = ["entity", "department"]
        if obj.status != BudgetStatus.DRAFT:
            names = ("category", "currency", "period_type", "period_start", "period_end")
            fixed += [name for name in names if name not in CHANGEABLE_WHEN_OPEN]
        return [*given, *fixed]

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        form_field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if form_field is not None:
            if db_field.name == "planned_amount":
                form_field.label = "Allocation"
                form_field.help_text = "Opening the budget books it."
            if db_field.name in {"entity", "currency"}:
                form_field.required = False
                form_field.help_text = (
                    "That of the department unless chosen."
                    if db_field.name == "entity"
                    else "The entity's if empty."
                )
        return form_field

    # --- Services ---

    def create(self, actor: User, data: dict[str, Any], reason: str) -> Budget:
        values = {name: value for name, value in data.items() if value not in (None, "")}
        amount = values.pop("planned_amount", ZERO)
        return budget_create(actor=actor, allocated_amount=amount, draft=True, **values)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> Budget:
        changes = dict(data)
        if "planned_amount" in changes:
            changes["allocated_amount"] = changes.pop("planned_amount")
        return budget_update(actor=actor, budget_id=obj.pk, changes=changes)

    def remove(self, actor: User, obj: Budget) -> None:
        budget_delete(actor=actor, budget_id=obj.pk)


def _reason_of(change: PeriodChange | None) -> str:
    return change.reason if change is not None else ""
