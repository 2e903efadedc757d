"""What imported usage has charged to the departments' budgets, in the back-office (USE-05)."""

from django.contrib import admin
from django.db.models import Sum

from core.admin.actions import ObjectAction
from core.admin.badges import Badge, badge_column, register_badges
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import money_column
from core.admin.filters import QuickFilter
from invoicing.models import UsageBudgetCharge, UsageChargeStatus
from invoicing.services.usage_charging import UsageCharged, usage_charges_retry

register_badges(
    {
        UsageChargeStatus.CHARGED.value: Badge("Charged", "check_circle", "good", "✓"),
        UsageChargeStatus.REFUSED.value: Badge("Refused", "block", "bad", "✕"),
    }
)


def charged_sentence(done: UsageCharged) -> str:
    """What a run did, for the message after it."""
    said = f"{done.charged:,} charged, {done.unchanged:,} as they should be"
    if not done.refused:
        return f"{said}."
    return f"{said}, {done.refused:,} refused: see “Usage charges” for the reasons, raise the budgets, then try again."


def why_not_again(charge: UsageBudgetCharge, user: object) -> str | None:
    """Why the refused usage of the import cannot be tried again, or None."""
    return None if charge.status == UsageChargeStatus.REFUSED else "The budget has taken it."


@admin.register(UsageBudgetCharge)
class UsageBudgetChargeAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    list_display = [
        "month",
        "department",
        "entity",
        money_column("exact_amount", label="Usage"),
        money_column("charged_amount", label="Charged"),
        badge_column("status"),
        "budget",
        "refusal_message",
    ]
    list_filter = ["status", "entity", "department", "usage_import"]
    list_select_related = ["department", "entity", "budget"]
    search_fields = ["department__name", "department__code", "refusal_message"]
    quick_filters = [QuickFilter("Refused", "status__exact=refused", icon="block")]
    totals = {"charged_amount": Sum("charged_amount")}
    empty_state = EmptyState(
        "No usage has charged a budget yet",
        "Open a completed usage import and choose “Charge budgets”. What a budget refuses stays listed here.",
        "Usage imports",
        "admin:invoicing_usageimport_changelist",
    )
    actions_bar = [
        ObjectAction(
            name="again",
            label="Try again",
            main=True,
            perm="invoicing.change_usageimport",
            possible=why_not_again,
            consequence="All usage of this import that a budget refused is tried again. Only differences are booked.",
            run=lambda call: usage_charges_retry(actor=call.actor, import_id=call.obj.usage_import_id),
            done=charged_sentence,
            icon="refresh",
        ),
    ]
