"""Dispute policies in the back-office: how soon, by which hours, up to which amount (DSP-01, DSP-05 to DSP-10)."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import EmptyState
from core.admin.columns import money_column, number_text
from core.admin.filters import QuickFilter
from core.models import User
from disputes.models import DisputePolicy, DisputeRound, Severity
from disputes.selectors.policies import DEFAULT_RESOLUTION, DEFAULT_RESPONSE
from disputes.services.policies import Target, policy_create, policy_delete, policy_update
from entities.admin.base import ReasonedForm, ServiceModelAdmin

HOUR = 60
TARGETS = "Targets, in hours of the calendar"
SEVERITIES = tuple(reversed(Severity))


def _hours(minutes: int) -> str:
    return number_text(Decimal(minutes) / HOUR)


def _hours_field(label: str, default: int) -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        required=False,
        min_value=Decimal("0.05"),
        max_digits=8,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text=f"Hours. Empty: {_hours(default)} hours around the clock of the calendar.",
    )


TARGET_FIELDS = {
    f"{severity}_{what}": _hours_field(f"{severity.label}: {words} within", default[severity])
    for severity in SEVERITIES
    for what, words, default in (
        ("response", "answer", DEFAULT_RESPONSE),
        ("resolution", "decide", DEFAULT_RESOLUTION),
    )
}


class _PolicyForm(ReasonedForm):
    """What a policy says, with its targets in hours; the rules between its fields are the service's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policy = self.instance
        if policy.pk is None:
            return
        for target in policy.targets.all():
            for what, minutes in (
                ("response", target.response_minutes),
                ("resolution", target.resolution_minutes),
            ):
                self.initial[f"{target.severity}_{what}"] = Decimal(minutes) / HOUR

    def _get_validation_exclusions(self) -> set[str]:
        return {field.name for field in DisputePolicy._meta.concrete_fields}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for severity in SEVERITIES:
            for what in ("response", "resolution"):
                name = f"{severity}_{what}"
                hours = cleaned.get(name)
                if hours is not None and hours * HOUR % 1:
                    self.add_error(name, "Give hours that come to whole minutes, such as 0.25 or 1.5.")
            if cleaned.get(f"{severity}_response") and not cleaned.get(f"{severity}_resolution"):
                self.add_error(f"{severity}_resolution", "Say too within how many hours it is decided.")
        return cleaned


PolicyForm: Any = type("PolicyForm", (_PolicyForm,), dict(TARGET_FIELDS))


def _targets(data: dict[str, Any]) -> dict[str, Target]:
    """The targets that the form says; a severity without one keeps the product's own."""
    targets = {}
    for severity in SEVERITIES:
        resolution, response = data[f"{severity}_resolution"], data[f"{severity}_response"]
        if resolution is None:
            continue
        minutes = {"resolution_minutes": int(resolution * HOUR)}
        if response is not None:
            minutes["response_minutes"] = int(response * HOUR)
        targets[severity.value] = Target(**minutes)
    return targets


def _switch(call: ActionCall, *, is_active: bool) -> DisputePolicy:
    return policy_update(actor=call.actor, policy_id=call.obj.pk, reason=call.reason, is_active=is_active)


@admin.register(DisputePolicy)
class DisputePolicyAdmin(ServiceModelAdmin):
    """The most particular active one holds; a dispute freezes it when it is opened (DSP-09)."""

    form = PolicyForm
    list_display = [
        "name", "issuer", "scope", "calendar", "targets_in_words",
        money_column("small_claims_amount", currency="issuer__currency"), "window_days", "state",
    ]  # fmt: skip
    list_display_links = ["name"]
    list_filter = ["issuer", "customer", "is_active", "calendar"]
    list_select_related = ["issuer", "customer", "contract", "calendar"]
    search_fields = ["name", "issuer__name", "customer__name"]
    ordering = ["-is_active", "issuer__name", "name"]
    autocomplete_fields = ["issuer", "customer", "contract", "lead"]
    guarded_relations = ("customer", "contract", "lead")
    history_lines = ["targets"]
    quick_filters = [
        QuickFilter("In use", "is_active__exact=1", icon="check_circle"),
        QuickFilter("Out of use", "is_active__exact=0", icon="pause_circle"),
    ]
    empty_state = EmptyState(
        "No policies yet",
        "Until an issuer has one, answers are due within 24 hours around the clock and every credit needs an approval. "
        "Begin with one for all customers.",
        "Add a policy",
        "admin:disputes_disputepolicy_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "issuer"),
                    ("customer", "contract"),
                    ("calendar", "lead"),
                    "change_reason",
                ),
                "description": "Contract before customer before issuer: the most particular active policy holds. Open "
                "disputes keep the one that they were opened under.",
            },
        ),
        (
            TARGETS,
            {"fields": tuple((f"{each}_response", f"{each}_resolution") for each in SEVERITIES)},
        ),
        (
            "Clocks",
            {
                "fields": (
                    ("first_warning_percent", "second_warning_percent"),
                    ("silence_days", "pauses_for_third_party"),
                )
            },
        ),
        (
            "Money and time limits",
            {
                "fields": (
                    ("window_days", "reopen_days"),
                    ("small_claims_amount", "collectible_days"),
                    "late_fees_from_original_date",
                )
            },
        ),
    )
    actions_bar = [
        ObjectAction(
            name="deactivate",
            label="Put out of use",
            perm="disputes.change_disputepolicy",
            icon="pause_circle",
            danger=True,
            needs_reason=True,
            possible=lambda policy, user: None if policy.is_active else "It is out of use already.",
            consequence="Disputes opened from now on go by the next less particular policy. Open ones keep it.",
            run=lambda call: _switch(call, is_active=False),
            done=lambda policy: f"“{policy.name}” is out of use.",
        ),
        ObjectAction(
            name="activate",
            label="Put in use",
            perm="disputes.change_disputepolicy",
            icon="play_circle",
            main=True,
            possible=lambda policy, user: "It is in use." if policy.is_active else None,
            consequence="Disputes opened from now on go by it, where no more particular one holds.",
            run=lambda call: _switch(call, is_active=True),
            done=lambda policy: f"“{policy.name}” is in use.",
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("targets")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One that disputes were opened under is put out of use instead."""
        used = isinstance(obj, DisputePolicy) and DisputeRound.objects.filter(policy=obj).exists()
        return not used and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_readonly_fields(request, obj)
        return shown if obj is None else [*shown, "issuer", "targets_in_words"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who only reads sees the targets in words."""
        shown = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return shown
        return [
            (title, {**options, "fields": ("targets_in_words",)}) if title == TARGETS else (title, options)
            for title, options in shown
        ]

    @admin.display(description="For", ordering="customer__name")
    def scope(self, policy: DisputePolicy) -> str:
        return str(policy.contract or policy.customer or "All customers")

    @admin.display(description="Answer / decide, hours")
    def targets_in_words(self, policy: DisputePolicy) -> str:
        return (
            ", ".join(
                f"{target.get_severity_display().lower()} {_hours(target.response_minutes)} / "
                f"{_hours(target.resolution_minutes)}"
                for target in policy.targets.all()
            )
            or "The product’s own"
        )

    @admin.display(description="State", ordering="is_active")
    def state(self, policy: DisputePolicy) -> SafeString:
        return badge_html("active" if policy.is_active else "inactive")

    # --- Services ---

    def create(self, actor: User, data: dict[str, Any], reason: str) -> DisputePolicy:
        values = {name: value for name, value in data.items() if name not in TARGET_FIELDS}
        return policy_create(actor=actor, targets=_targets(data), **values)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> DisputePolicy:
        values = {name: value for name, value in data.items() if name not in TARGET_FIELDS}
        if data.keys() & TARGET_FIELDS.keys():
            values["targets"] = _targets({**self._targets_now(obj), **data})
        return policy_update(actor=actor, policy_id=obj.pk, reason=reason, **values)

    @staticmethod
    def _targets_now(policy: DisputePolicy) -> dict[str, Decimal | None]:
        now: dict[str, Decimal | None] = dict.fromkeys(TARGET_FIELDS)
        for target in DisputePolicy.objects.get(pk=policy.pk).targets.all():
            now[f"{target.severity}_response"] = Decimal(target.response_minutes) / HOUR
            now[f"{target.severity}_resolution"] = Decimal(target.resolution_minutes) / HOUR
        return now

    def remove(self, actor: User, obj: DisputePolicy) -> None:
        policy_delete(actor=actor, policy_id=obj.pk)
