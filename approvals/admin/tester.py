"""Which rule would decide: the same planning as at submission, and why the others do not (APR-01 to APR-05)."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from approvals.admin.base import type_choices, use_person_picker
from approvals.models import ApprovalRequest, ApprovalRule, TaskOrigin
from approvals.registry import type_label
from approvals.services.matching import rule_match
from approvals.services.routing import Route, describe_rule
from core import clock
from core.admin.errors import REFUSALS, add_refusal
from core.models import User
from core.money import format_money
from entities.admin.base import ScopedForm, actor_of, picker
from entities.models import Department, DepartmentClosure, Entity, EntityClosure

ORIGINS: Mapping[str, str] = {
    TaskOrigin.RULE: "",
    TaskOrigin.FALLBACK: "in place of somebody who may not decide",
    TaskOrigin.AUTHORITY: "has the authority that was missing",
}


class TesterForm(ScopedForm):
    """A request that nobody has made."""

    request_type = forms.ChoiceField(
        label="Type", choices=lambda: type_choices("")[1:], widget=UnfoldAdminSelectWidget()
    )
    amount = forms.DecimalField(
        min_value=Decimal(0),
        max_digits=19,
        decimal_places=4,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
    )
    currency = forms.CharField(
        max_length=3,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Empty: that of the entity.",
    )
    department = forms.ModelChoiceField(
        Department.objects.select_related("entity"), required=False, help_text="Or only an entity."
    )
    entity = forms.ModelChoiceField(
        Entity.objects.all(), required=False, help_text="That of the department unless chosen."
    )
    requester = forms.ModelChoiceField(
        User.objects.filter(is_active=True),
        required=False,
        help_text="Who asks is left out, and has a line of managers. Empty: nobody in particular.",
    )
    on = forms.DateField(
        label="On", required=False, widget=UnfoldAdminDateWidget(), help_text="Empty: today."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("entity", "department"):
            place: Any = self.fields[name]
            place.widget = picker(ApprovalRule, name)
            place.widget.choices = place.choices
        use_person_picker(self, "requester")

    def clean_currency(self) -> str | None:
        return str(self.cleaned_data["currency"]).upper() or None


@dataclass(frozen=True)
class ShownStep:
    """A level with its people by name, and why each is asked."""

    name: str
    rule: ApprovalRule
    needed: str
    people: list[tuple[str, str]]
    missing: str


@dataclass(frozen=True)
class ShownRule:
    """A rule and what becomes of it; ``part`` is "decides", "adds" or empty."""

    rule: ApprovalRule
    url: str
    words: str
    part: str
    why: str


def tester_view(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """GET only, so that an answer can be sent to somebody as a link; it writes nothing."""
    actor = actor_of(request)
    form = TesterForm(request.GET) if "request_type" in request.GET else TesterForm()
    found: dict[str, Any] = {}
    if form.is_bound and form.is_valid():
        try:
            asked, route = rule_match(actor=actor, **form.cleaned_data)
        except REFUSALS as error:
            add_refusal(form, error)
        else:
            on = form.cleaned_data["on"] or clock.today(asked.entity.time_zone)
            found = _answer(actor, asked, route, on)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Which rule would decide?",
        "opts": model_admin.opts,
        "form": form,
        "media": model_admin.media + form.media,
        "back": reverse("admin:approvals_approvalrule_changelist"),
        **found,
    }
    return TemplateResponse(request, "admin/approvals/tester.html", context)


def _answer(actor: User, asked: ApprovalRequest, route: Route, on: datetime.date) -> dict[str, Any]:
    ids = {task.user_id for step in route.steps for task in step.tasks}
    ids |= {task.for_whom_id for step in route.steps for task in step.tasks if task.for_whom_id}
    people = User.objects.in_bulk(ids)
    amount = format_money(asked.amount, asked.currency)
    if asked.base_currency != asked.currency:
        amount += f" = {format_money(asked.base_amount, asked.base_currency)}"
    return {
        "asked": f"{type_label(asked.request_type)} of {amount} for {asked.department or asked.entity}",
        "route": route,
        "deciding": route.rules[0] if route.rules else None,
        "adding": route.rules[1:],
        "flow": "one after the other" if route.flow == "sequential" else "all at once",
        "steps": [
            ShownStep(
                name=step.name,
                rule=step.rule,
                needed=_needed(step.required, len(step.tasks)),
                people=[
                    (
                        people[task.user_id].display_name,
                        _reason(task.origin, people.get(task.for_whom_id or 0)),
                    )
                    for task in step.tasks
                ],
                missing=step.missing,
            )
            for step in route.steps
        ],
        "rules": rules_explained(actor, asked, route, on),
    }


def _needed(required: int, asked: int) -> str:
    if asked <= 1:
        return ""
    return "all must approve" if required >= asked else f"{required} of {asked} must approve"


def _reason(origin: str, for_whom: User | None) -> str:
    return f"in place of {for_whom.display_name}" if for_whom is not None else ORIGINS.get(origin, "")


def rules_explained(actor: User, asked: ApprovalRequest, route: Route, on: datetime.date) -> list[ShownRule]:
    """All rules that the actor sees with what becomes of each, those that take part first."""
    rules = ApprovalRule.objects.visible_to(actor).select_related("entity", "department")
    entities = set(
        EntityClosure.objects.filter(descendant_id=asked.entity_id).values_list("ancestor_id", flat=True)
    )
    departments = set(
        DepartmentClosure.objects.filter(descendant_id=asked.department_id).values_list(
            "ancestor_id", flat=True
        )
    )
    taking = {rule.pk: place for place, rule in enumerate(route.rules)}
    shown = []
    for rule in rules:
        part = "" if rule.pk not in taking else "decides" if taking[rule.pk] == 0 else "adds"
        why = _why_not(rule, asked, on, entities, departments)
        if not part and not why:
            why = _second(rule, route.rules[0])
        shown.append(
            ShownRule(
                rule=rule,
                url=reverse("admin:approvals_approvalrule_change", args=[rule.pk]),
                words=describe_rule(rule),
                part=part,
                why="" if part else why,
            )
        )
    return sorted(
        shown, key=lambda each: (taking.get(each.rule.pk, len(taking)), -each.rule.priority, each.rule.pk)
    )


def _why_not(
    rule: ApprovalRule,
    asked: ApprovalRequest,
    on: datetime.date,
    entities: set[int],
    departments: set[int],
) -> str:
    """The first thing that keeps a rule from matching; empty where it matches."""
    if not rule.is_active:
        return "It is out of force."
    if rule.valid_from is not None and rule.valid_from > on:
        return f"It is in force from {rule.valid_from}."
    if rule.valid_to is not None and rule.valid_to <= on:
        return f"It ended on {rule.valid_to}."
    if rule.request_type not in ("", asked.request_type):
        return f"It is for another type: {type_label(rule.request_type).lower()}."
    if rule.entity_id is not None and rule.entity_id not in entities:
        return f"It is for {rule.entity} and what is below it."
    if rule.department_id is not None and rule.department_id not in departments:
        return f"It is for the department {rule.department}."
    if rule.currency != asked.base_currency:
        return f"Its band is in {rule.currency}; amounts of this group are compared in {asked.base_currency}."
    amount = format_money(asked.base_amount, asked.base_currency)
    if asked.base_amount < rule.amount_from:
        return f"{amount} is below its band, which begins at {format_money(rule.amount_from, rule.currency)}."
    if rule.amount_to is not None and asked.base_amount >= rule.amount_to:
        return f"{amount} is above its band, which ends before {format_money(rule.amount_to, rule.currency)}."
    return ""


def _second(rule: ApprovalRule, first: ApprovalRule) -> str:
    if rule.priority < first.priority:
        return f"It matches too, but “{first.name}” comes first: priority {first.priority} before {rule.priority}."
    return f"It matches too, but “{first.name}” of the same priority is for something more particular."
