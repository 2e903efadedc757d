"""Transfers, revisions, overrides and rollovers: what waits for a second person, and what was decided."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget

from budgets.admin.budget import fresh_figures
from budgets.admin.effects import Effect, EffectAction, EffectActionsMixin, ObjectForm
from budgets.models import (
    Budget,
    BudgetOverride,
    BudgetRevision,
    BudgetRollover,
    BudgetTransfer,
    DecisionStatus,
    RolloverStatus,
)
from budgets.services.changes import (
    needs_finance,
    override_approve,
    override_authority,
    override_reject,
    revision_approve,
    revision_reject,
    transfer_approve,
    transfer_reject,
)
from budgets.services.rollover import rollover_undo
from core.admin.actions import BulkAction, ObjectAction
from core.admin.badges import badge_column, badge_html
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, amount_text, money_column
from core.admin.filters import QuickFilter


class CommentForm(ObjectForm):
    """What whoever approves has to say."""

    comment = forms.CharField(
        max_length=500,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Optional.",
    )


class RejectForm(ObjectForm):
    """Why not."""

    comment = forms.CharField(
        label="Why not",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Whoever asked reads it.",
    )


def _undecided(change: Any, user: Any) -> str | None:
    if change.status != DecisionStatus.PROPOSED:
        return f"It was {change.get_status_display().lower()} already."
    if change.requested_by_id == user.pk:
        return "You asked for it yourself. A colleague decides."
    return None


def _unchanged(budget: Budget) -> Effect:
    figures = fresh_figures(budget)
    return Effect(budget.name, budget.currency, figures, figures)


def _budget_link(budget: Budget) -> SafeString:
    return format_html(
        '<a class="eb-link" href="{}">{}</a>',
        reverse("admin:budgets_budget_change", args=[budget.pk]),
        budget.name,
    )


class ChangeAdmin(ReadOnlyAdminMixin, EffectActionsMixin, BillingModelAdmin):
    """What all changes that people decide have in common."""

    class Media:
        css = {"all": ["budgets/budgets.css"]}

    list_filter = ["status", "requested_by", "created_at"]
    ordering = ["-id"]
    quick_filters = [QuickFilter("Waiting", "status__exact=proposed", icon="hourglass_top")]
    show_activity = False

    @admin.display(description="State")
    def state(self, change: Any) -> SafeString:
        return badge_html(change.status)

    @admin.display(description="Decided", ordering="decided_at")
    def decision(self, change: Any) -> SafeString | str:
        if change.decided_by is None:
            return "–"
        said = format_html(": “{}”", change.decision_comment) if change.decision_comment else ""
        return format_html("{}, {}{}", change.decided_by.display_name, f"{change.decided_at:%Y-%m-%d}", said)


# --- Transfers -------------------------------------------------------------------------------------------


def _transfer_effect(transfer: BudgetTransfer, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    giving, taking = fresh_figures(transfer.from_budget), fresh_figures(transfer.to_budget)
    short = transfer.amount > giving.available
    return [
        Effect(
            transfer.from_budget.name,
            transfer.from_budget.currency,
            giving,
            giving.plus(allocated=-transfer.amount),
            note="It does not have that much any more: the money cannot be moved." if short else "",
        ),
        Effect(
            transfer.to_budget.name,
            transfer.to_budget.currency,
            taking,
            taking.plus(allocated=transfer.amount),
        ),
    ]


def _transfer_consequence(transfer: BudgetTransfer) -> str:
    asked = f"{transfer.requested_by.display_name} asks because: “{transfer.reason}”"
    if needs_finance(transfer):
        return f"{asked} It needs the owner's approval and that of finance; the second one moves the money."
    return f"{asked} The approval moves the money."


APPROVE: dict[str, Any] = {
    "name": "approve",
    "label": "Approve",
    "icon": "check_circle",
    "main": True,
    "possible": _undecided,
    "depends_on_form": False,
}
REJECT: dict[str, Any] = {
    "name": "reject",
    "label": "Reject",
    "icon": "cancel",
    "possible": _undecided,
    "depends_on_form": False,
    "danger": True,
    "consequence": "Nothing changes. Whoever asked reads why.",
}


def _approve_transfer(call: Any) -> BudgetTransfer:
    return transfer_approve(actor=call.actor, transfer_id=call.obj.pk, comment=call.data.get("comment", ""))


@admin.register(BudgetTransfer)
class BudgetTransferAdmin(ChangeAdmin):
    """Money on its way from one budget to another."""

    list_display = [
        "__str__",
        badge_column("status", label="State"),
        money_column("amount", currency="from_budget__currency"),
        "requested_by",
        "reason",
        "created_at",
        "decision",
    ]
    list_select_related = ["from_budget", "to_budget", "requested_by", "decided_by"]
    search_fields = ["from_budget__name", "to_budget__name", "reason"]
    fields = [
        "giving", "taking", "how_much", "state", "reason", "requested_by", "created_at",
        "owner_approved_by", "finance_approved_by", "decision",
    ]  # fmt: skip
    readonly_fields = ["giving", "taking", "how_much", "decision", "state"]
    empty_state = EmptyState(
        "No transfers yet", "Open a budget and choose “Transfer” to move money to another of the same period."
    )
    actions_bar = [
        EffectAction(
            **APPROVE,
            perm="",
            form=CommentForm,
            consequence=_transfer_consequence,
            effect=_transfer_effect,
            run=_approve_transfer,
            done=lambda transfer: (
                "The money has moved."
                if transfer.status == DecisionStatus.APPROVED
                else "Your approval is noted. One more is needed."
            ),
        ),
        EffectAction(
            **REJECT,
            perm="",
            form=RejectForm,
            effect=lambda transfer, user, data: [_unchanged(transfer.from_budget)],
            run=lambda call: transfer_reject(
                actor=call.actor, transfer_id=call.obj.pk, comment=call.data["comment"]
            ),
            done="The transfer is rejected.",
        ),
    ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever sees either budget sees the transfer (the list is scoped so).
        return super().has_view_permission(request, None)

    @admin.display(description="From")
    def giving(self, transfer: BudgetTransfer) -> SafeString:
        return _budget_link(transfer.from_budget)

    @admin.display(description="To")
    def taking(self, transfer: BudgetTransfer) -> SafeString:
        return _budget_link(transfer.to_budget)

    @admin.display(description="Amount")
    def how_much(self, transfer: BudgetTransfer) -> SafeString:
        return amount_html(transfer.amount, transfer.from_budget.currency)


# --- Revisions -------------------------------------------------------------------------------------------


def _revision_effect(revision: BudgetRevision, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    before = fresh_figures(revision.budget)
    after = before.plus(allocated=revision.delta)
    note = ""
    if revision.delta < 0 and after.available < 0:
        note = "More is spent and committed by now: it cannot be put in force."
    return [Effect(revision.budget.name, revision.budget.currency, before, after, note)]


@admin.register(BudgetRevision)
class BudgetRevisionAdmin(ChangeAdmin):
    """Allocations that are to rise or fall."""

    list_display = [
        "__str__",
        "of",
        badge_column("status", label="State"),
        money_column("delta", currency="budget__currency", label="Change"),
        "requested_by",
        "reason",
        "created_at",
        "decision",
    ]
    list_select_related = ["budget", "requested_by", "decided_by"]
    search_fields = ["budget__name", "reason"]
    fields = [
        "of", "number", "how_much", "state", "reason", "requested_by", "created_at",
        "decision",
    ]  # fmt: skip
    readonly_fields = ["of", "how_much", "decision", "state"]
    empty_state = EmptyState(
        "No revisions yet", "Open a budget and choose “Revise” to ask for another allocation."
    )
    actions_bar = [
        EffectAction(
            **APPROVE,
            perm="budgets.approve_budget_change",
            form=CommentForm,
            consequence=lambda revision: (
                f"{revision.requested_by.display_name} asks because: “{revision.reason}” It is in force at once."
            ),
            effect=_revision_effect,
            run=lambda call: revision_approve(
                actor=call.actor, revision_id=call.obj.pk, comment=call.data.get("comment", "")
            ),
            done=lambda revision: f"Revision {revision.number} is in force.",
        ),
        EffectAction(
            **REJECT,
            perm="budgets.approve_budget_change",
            form=RejectForm,
            effect=lambda revision, user, data: [_unchanged(revision.budget)],
            run=lambda call: revision_reject(
                actor=call.actor, revision_id=call.obj.pk, comment=call.data["comment"]
            ),
            done="The revision is rejected.",
        ),
    ]

    @admin.display(description="Budget", ordering="budget__name")
    def of(self, revision: BudgetRevision) -> SafeString:
        return _budget_link(revision.budget)

    @admin.display(description="Change")
    def how_much(self, revision: BudgetRevision) -> SafeString:
        return amount_html(revision.delta, revision.budget.currency)


# --- Overrides -------------------------------------------------------------------------------------------


def _override_effect(override: BudgetOverride, user: Any, data: Mapping[str, Any]) -> Sequence[Effect]:
    before = fresh_figures(override.budget)
    note = "By how much the allowance rises is what the charge lacks, at most this."
    return [
        Effect(
            override.budget.name, override.budget.currency, before, before.plus(override=override.limit), note
        )
    ]


def _grantable(override: BudgetOverride, user: Any) -> str | None:
    why_not = _undecided(override, user)
    limit = override_authority(user, override.budget)
    if why_not is None and limit is not None and override.limit > limit:
        currency = override.budget.currency
        return (
            f"You may grant up to {amount_text(limit, currency)} {currency}. An administrator may grant more."
        )
    return why_not


@admin.register(BudgetOverride)
class BudgetOverrideAdmin(ChangeAdmin):
    """Leave to exceed a budget once."""

    list_display = [
        "__str__",
        badge_column("status", label="State"),
        money_column("limit", currency="budget__currency", label="Up to"),
        money_column("used_amount", currency="budget__currency", label="Used"),
        "requested_by",
        "reason",
        "created_at",
        "decision",
    ]
    list_select_related = ["budget", "requested_by", "decided_by"]
    search_fields = ["budget__name", "reason"]
    quick_filters = [
        *ChangeAdmin.quick_filters,
        QuickFilter("Granted, not used", "status__exact=approved&used_at__isnull=True", icon="key"),
    ]
    fields = [
        "of", "how_much", "state", "reason", "requested_by", "created_at", "decision",
        "used_at", "figures",
    ]  # fmt: skip
    readonly_fields = ["of", "how_much", "decision", "figures", "state"]
    empty_state = EmptyState(
        "No overrides yet", "Open a budget and choose “Override” to ask for leave to exceed it once."
    )
    actions_bar = [
        EffectAction(
            **{**APPROVE, "label": "Grant", "possible": _grantable},
            perm="budgets.override_budget",
            form=CommentForm,
            consequence=lambda override: (
                f"{override.requested_by.display_name} asks because: “{override.reason}” One charge may use it."
            ),
            effect=_override_effect,
            run=lambda call: override_approve(
                actor=call.actor, override_id=call.obj.pk, comment=call.data.get("comment", "")
            ),
            done="The override is granted.",
        ),
        EffectAction(
            **REJECT,
            perm="budgets.override_budget",
            form=RejectForm,
            effect=lambda override, user, data: [_unchanged(override.budget)],
            run=lambda call: override_reject(
                actor=call.actor, override_id=call.obj.pk, comment=call.data["comment"]
            ),
            done="The override is rejected.",
        ),
    ]

    @admin.display(description="Budget", ordering="budget__name")
    def of(self, override: BudgetOverride) -> SafeString:
        return _budget_link(override.budget)

    @admin.display(description="Up to")
    def how_much(self, override: BudgetOverride) -> SafeString:
        return amount_html(override.limit, override.budget.currency)

    @admin.display(description="Figures before and after its use")
    def figures(self, override: BudgetOverride) -> SafeString | str:
        if not override.before:
            return "Not used yet"
        return format_html(
            '<table class="eb-plain">{}</table>',
            format_html_join(
                "",
                '<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>',
                (
                    (name.capitalize(), override.before[name], override.after.get(name, ""))
                    for name in override.before
                ),
            ),
        )


# --- Rollovers -------------------------------------------------------------------------------------------


_UNDO: dict[str, Any] = {
    "name": "undo",
    "label": "Undo",
    "icon": "undo",
    "perm": "budgets.close_budget",
    "danger": True,
    "needs_reason": True,
    "possible": lambda rollover, user: (
        "It was undone already." if rollover.status == RolloverStatus.UNDONE else None
    ),
    "consequence": "Opposite entries put both budgets back, as long as the later one has not been used since.",
    "run": lambda call: rollover_undo(actor=call.actor, rollover_id=call.obj.pk, reason=call.reason),
}


@admin.register(BudgetRollover)
class BudgetRolloverAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """What passed from one period to the next."""

    list_display = ["__str__", badge_column("status", label="State"), "created_by", "created_at", "undone_at"]
    list_filter = ["status", "created_at"]
    list_select_related = ["from_budget", "to_budget", "created_by"]
    search_fields = ["from_budget__name", "to_budget__name"]
    ordering = ["-id"]
    fields = [
        "from_budget", "to_budget", "state", "rows", "created_by", "created_at",
        "undone_by", "undone_at",
    ]  # fmt: skip
    readonly_fields = ["rows", "state"]
    empty_state = EmptyState(
        "No rollovers yet", "Soft-close a budget, then choose “Roll over” to pass on what its policy says."
    )
    actions_bar = [ObjectAction(**_UNDO)]
    bulk_actions = [BulkAction(**_UNDO)]

    @admin.display(description="State")
    def state(self, rollover: BudgetRollover) -> SafeString:
        return badge_html(rollover.status)

    @admin.display(description="What passed on")
    def rows(self, rollover: BudgetRollover) -> SafeString | str:
        if not rollover.lines:
            return "Nothing: its policy passes nothing on."
        currency = rollover.from_budget.currency
        return format_html(
            '<table class="eb-plain">{}</table>',
            format_html_join(
                "",
                '<tr><th scope="row">{}</th><td>{}</td><td class="bud-right">{} {}</td></tr>',
                (
                    (
                        line["what"].replace("_", " ").capitalize(),
                        line["description"],
                        line["amount"],
                        currency,
                    )
                    for line in rollover.lines
                ),
            ),
        )
