"""Commitments, the entries of the ledger, and the alerts."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import F, Sum
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from budgets.admin.budget import fresh_figures
from budgets.admin.effects import Effect, EffectAction, EffectActionsMixin, ObjectForm
from budgets.models import BudgetAlert, BudgetEntry, BudgetStatus, CloseDecision, Commitment, EntryKind
from budgets.services.budget import commitment_decide
from budgets.services.charges import entry_correct
from budgets.services.commitments import commitment_release, commitment_reopen
from core import clock
from core.admin.actions import BulkAction, ObjectAction
from core.admin.badges import badge_column, badge_html
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, money_column, number_column, number_text
from core.admin.filters import QuickFilter

# --- Commitments -----------------------------------------------------------------------------------------


class ReleaseForm(ObjectForm):
    """How much is given back."""

    amount = forms.DecimalField(
        max_digits=19, decimal_places=4, widget=UnfoldAdminDecimalFieldWidget(), min_value=0
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].initial = self.obj.remainder.normalize().to_eng_string()
        self.fields["amount"].help_text = f"In {self.obj.budget.currency}; all that remains unless changed."


class DecideForm(forms.Form):
    """What becomes of it when its budget closes."""

    decision = forms.ChoiceField(choices=CloseDecision.choices, widget=UnfoldAdminSelectWidget())


def _is_open(commitment: Commitment, user: Any) -> str | None:
    if commitment.expires_at is not None and commitment.is_open and commitment.expires_at <= clock.now():
        return "It has expired: its money is free already."
    return None if commitment.is_open else f"It is {commitment.get_status_display().lower()}."


def _release_effect(commitment: Commitment, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    budget = commitment.budget
    before = fresh_figures(budget)
    return [Effect(budget.name, budget.currency, before, before.plus(committed=-data["amount"]))]


def _reopen_effect(commitment: Commitment, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    budget = commitment.budget
    before = fresh_figures(budget)
    return [Effect(budget.name, budget.currency, before, before.plus(committed=commitment.released_amount))]


def _reopenable(commitment: Commitment, user: Any) -> str | None:
    if commitment.is_open:
        return "It is open."
    return None if commitment.released_amount else "Nothing of it was released: it is used up."


_DECIDE: dict[str, Any] = {
    "name": "decide",
    "label": "Decide for the close",
    "icon": "event_available",
    "perm": "budgets.close_budget",
    "form": DecideForm,
    "possible": _is_open,
    "consequence": "It says what the closing of the budget does with the rest. Nothing moves now.",
    "run": lambda call: commitment_decide(
        actor=call.actor, commitment_id=call.obj.pk, decision=call.data["decision"]
    ),
}


@admin.register(Commitment)
class CommitmentAdmin(ReadOnlyAdminMixin, EffectActionsMixin, BillingModelAdmin):
    """Promised money, until it is invoiced, given back, or expires."""

    class Media:
        css = {"all": ["budgets/budgets.css"]}

    list_display = [
        "description",
        "budget",
        "state",
        money_column("remainder", currency="budget__currency", label="Remains"),
        money_column("amount", currency="budget__currency", label="Promised"),
        "expires_on",
        "reference",
        "close_decision",
    ]
    list_filter = ["status", "budget", "budget__entity", "close_decision", "commitment_date", "expires_at"]
    list_select_related = ["budget"]
    search_fields = ["description", "reference", "budget__name"]
    ordering = ["-id"]
    quick_filters = [
        QuickFilter("Open", "status__exact=approved", icon="lock_open"),
        QuickFilter("Waiting for approval", "status__exact=pending", icon="hourglass_top"),
        QuickFilter("Without a decision", "status__exact=approved&close_decision__exact=", icon="help"),
    ]
    totals = {
        "promised": Sum("amount"),
        "remains": Sum(F("amount") - F("consumed_amount") - F("released_amount")),
    }
    totals_currency = "budget__currency"
    fields = [
        ("description", "reference"),
        ("budget", "state"),
        ("amount", "consumed_amount"),
        ("released_amount", "close_decision"),
        ("document_amount", "document_currency"),
        ("commitment_date", "expires_at"),
        "created_by",
    ]
    readonly_fields = ["state"]
    empty_state = EmptyState(
        "No commitments yet", "An approved order promises money of a budget until its invoices have come."
    )
    actions_bar = [
        EffectAction(
            name="release",
            label="Release",
            perm="budgets.charge_budget",
            icon="undo",
            form=ReleaseForm,
            needs_reason=True,
            possible=_is_open,
            consequence="What is given back is available again at once.",
            effect=_release_effect,
            run=lambda call: commitment_release(
                actor=call.actor, commitment_id=call.obj.pk, amount=call.data["amount"], reason=call.reason
            ),
            done="Released.",
        ),
        ObjectAction(**_DECIDE),
        EffectAction(
            name="reopen",
            label="Reopen",
            perm="budgets.charge_budget",
            icon="lock_open",
            needs_reason=True,
            possible=_reopenable,
            concerns=lambda commitment: not commitment.is_open,
            consequence="What was released is promised again, if the budget still has it.",
            effect=_reopen_effect,
            run=lambda call: commitment_reopen(
                actor=call.actor, commitment_id=call.obj.pk, reason=call.reason
            ),
            done="Promised again.",
        ),
    ]
    bulk_actions = [BulkAction(**_DECIDE, sums={})]

    @admin.display(description="Expires", ordering="expires_at")
    def expires_on(self, commitment: Commitment) -> str:
        return f"{commitment.expires_at:%Y-%m-%d}" if commitment.expires_at else "–"

    @admin.display(description="State", ordering="status")
    def state(self, commitment: Commitment) -> SafeString:
        expired = commitment.expires_at is not None and commitment.expires_at <= clock.now()
        return badge_html("expired" if commitment.is_open and expired else commitment.status)


# --- Entries ---------------------------------------------------------------------------------------------


def _correctable(entry: BudgetEntry, user: Any) -> str | None:
    if entry.kind not in {EntryKind.CHARGE, EntryKind.REFUND} or entry.committed_delta:
        return "Only charges and refunds are taken back. Others have their own ways: release, revision, undo."
    if entry.reverses_id is not None:
        return "A refund of an entry is not taken back; charge the amount again."
    if entry.reversed_by.exists():
        return "Something was taken back from it already."
    return None


def _correct_effect(entry: BudgetEntry, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    budget = entry.budget
    before = fresh_figures(budget)
    note = (
        "The budget is closed: the first open one of the same department takes the correction."
        if budget.status == BudgetStatus.CLOSED
        else ""
    )
    return [Effect(budget.name, budget.currency, before, before.plus(spent=-entry.spent_delta), note)]


def _delta(field: str, label: str) -> Any:
    return money_column(field, currency="budget__currency", label=label)


@admin.register(BudgetEntry)
class BudgetEntryAdmin(ReadOnlyAdminMixin, EffectActionsMixin, BillingModelAdmin):
    """The ledger: every movement of every budget, never changed."""

    class Media:
        css = {"all": ["budgets/budgets.css"]}

    list_display = [
        "posting_date",
        "budget",
        "kind_in_words",
        "description",
        "reference",
        _delta("allocated_delta", "Allocated"),
        _delta("committed_delta", "Committed"),
        _delta("spent_delta", "Spent"),
        "actor",
        "created_at",
    ]
    list_filter = ["kind", "budget", "budget__entity", "posting_date", "actor"]
    list_select_related = ["budget", "actor"]
    search_fields = ["description", "reference", "budget__name", "source_id"]
    ordering = ["-id"]
    totals = {
        "allocated": Sum("allocated_delta"),
        "committed": Sum("committed_delta"),
        "spent": Sum("spent_delta"),
    }
    totals_currency = "budget__currency"
    fields = [
        ("budget", "kind_in_words"),
        ("description", "reference"),
        ("moved", "posting_date"),
        ("document", "converted"),
        ("reason", "source"),
        ("commitment", "reverses"),
        ("actor", "created_at"),
    ]
    readonly_fields = ["kind_in_words", "moved", "document", "converted", "source"]
    empty_state = EmptyState("No entries yet", "Opening a budget books its allocation as the first entry.")
    actions_bar = [
        EffectAction(
            name="take-back",
            label="Take back",
            perm="budgets.charge_budget",
            icon="undo",
            danger=True,
            needs_reason=True,
            possible=_correctable,
            consequence="An opposite entry, linked to this one, is booked with your reason. This one stays.",
            effect=_correct_effect,
            run=lambda call: entry_correct(actor=call.actor, entry_id=call.obj.pk, reason=call.reason),
            done="Taken back by an opposite entry.",
        )
    ]

    @admin.display(description="Kind", ordering="kind")
    def kind_in_words(self, entry: BudgetEntry) -> str:
        return str(entry.get_kind_display())

    @admin.display(description="Moves")
    def moved(self, entry: BudgetEntry) -> SafeString:
        """Each counter that it moves, by how much."""
        deltas = [
            ("allocated", entry.allocated_delta),
            ("override", entry.override_delta),
            ("committed", entry.committed_delta),
            ("spent", entry.spent_delta),
        ]
        return format_html_join(
            SafeString("<br>"),
            "{} {}",
            ((name, amount_html(delta, entry.budget.currency)) for name, delta in deltas if delta),
        )

    @admin.display(description="Document")
    def document(self, entry: BudgetEntry) -> SafeString:
        return amount_html(entry.document_amount, entry.document_currency)

    @admin.display(description="Converted")
    def converted(self, entry: BudgetEntry) -> str:
        if entry.rate_date is None:
            return "–"
        variance = f", rate difference {number_text(entry.fx_variance)}" if entry.fx_variance else ""
        return f"× {number_text(entry.rate)} of {entry.rate_date}{variance}"

    @admin.display(description="From")
    def source(self, entry: BudgetEntry) -> str:
        if not entry.source_type:
            return "–"
        line = f", line {entry.source_line}" if entry.source_line else ""
        return f"{entry.source_type} {entry.source_id}{line}"


# --- Alerts ----------------------------------------------------------------------------------------------


@admin.register(BudgetAlert)
class BudgetAlertAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """Thresholds that were crossed."""

    list_display = [
        "budget_link",
        badge_column("level"),
        number_column("threshold_percent", label="Threshold %"),
        number_column("utilization_percent", label="Used %"),
        money_column("used_amount", currency="budget__currency", label="Used"),
        money_column("allocated_amount", currency="budget__currency", label="Allocated"),
        "created_at",
        "rearmed_at",
    ]
    list_filter = ["level", "budget", "budget__entity", "created_at", "rearmed_at"]
    list_select_related = ["budget"]
    search_fields = ["budget__name"]
    ordering = ["-id"]
    quick_filters = [
        QuickFilter("Still above", "rearmed_at__isnull=True", icon="notifications_active"),
        QuickFilter("Critical", "level__exact=critical", icon="error"),
    ]
    empty_state = EmptyState(
        "No alerts",
        "A budget tells its people when its use crosses a threshold: 80, 90 and 100 % unless set.",
    )

    @admin.display(description="Budget", ordering="budget__name")
    def budget_link(self, alert: BudgetAlert) -> SafeString:
        return format_html("{}", alert.budget.name)


__all__ = ["BudgetAlertAdmin", "BudgetEntryAdmin", "CommitmentAdmin"]
