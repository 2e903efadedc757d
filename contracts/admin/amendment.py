"""Amendments in the back-office: written with the usual fields, read as a difference, signed, brought into force."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.widgets import (
    UnfoldAdminDateWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from contracts.admin.amended_lines import LineFields, line_fieldsets
from contracts.admin.page import places_shown
from contracts.models import AmendmentStatus, Contract, ContractAmendment
from contracts.selectors.contract import amendment_difference, terms_on
from contracts.services.amendments import (
    amendment_bring_into_force,
    amendment_create,
    amendment_delete,
    amendment_problems,
    amendment_submit,
    amendment_update,
    amendment_void,
)
from contracts.terms.values import as_json
from core.admin.actions import BarItem, ObjectAction
from core.admin.badges import badge_column, badge_html
from core.admin.base import EmptyState
from core.admin.filters import QuickFilter
from core.models import User
from entities.admin.base import ReasonedForm, ServiceModelAdmin, actor_of

EDITABLE = (AmendmentStatus.DRAFT, AmendmentStatus.PENDING_APPROVAL, AmendmentStatus.AWAITING_SIGNATURE)
# The fields that are amended most, each with its own place in the form; whatever else changes is written as JSON.
USUAL = (
    "value", "end_date", "payment_terms_days", "discount_percent", "not_to_exceed", "licence_tier", "scope"
)  # fmt: skip


def _decimal(label: str, help_text: str = "") -> forms.DecimalField:
    return forms.DecimalField(
        label=label, required=False, widget=UnfoldAdminDecimalFieldWidget(), help_text=help_text
    )


class AmendmentForm(LineFields, ReasonedForm):
    """The changes as fields; those left empty stay as they are."""

    value = _decimal("New value", "In the contract's currency.")
    end_date = forms.DateField(
        label="New end",
        required=False,
        widget=UnfoldAdminDateWidget(),
        help_text="The first day after the term.",
    )
    payment_terms_days = forms.IntegerField(
        label="Payment within days", required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget()
    )
    discount_percent = _decimal("Discount in per cent")
    not_to_exceed = _decimal("Never bills more than")
    licence_tier = forms.CharField(
        label="Licence tier", required=False, max_length=50, widget=UnfoldAdminTextInputWidget()
    )
    scope = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))
    other = forms.JSONField(
        label="Other changes",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text='As the API has them: {"fields": {…}, "prices": {"set": […], "remove": […]}, "sla": {…}, '
        '"reinstate": true}.',
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            changes = dict(self.instance.changes)
            own = dict(changes.pop("fields", {}))
            for name in USUAL:
                if own.get(name) not in (None, ""):
                    self.initial[name] = own.pop(name)
            if own:
                changes["fields"] = own
            self.take_lines(changes)
            self.initial["other"] = changes or None

    def _get_validation_exclusions(self) -> set[str]:
        return {each.name for each in self.instance._meta.fields}


def changes_of(form: Any, contract: Contract) -> dict[str, Any]:
    """The changes as amendments have them, from the form's fields. Raises ValidationError for its lines."""
    data = form.cleaned_data
    changes = dict(data.get("other") or {})
    own = {name: as_json(data[name]) for name in USUAL if data.get(name) not in (None, "")}
    if own:
        changes["fields"] = {**changes.get("fields", {}), **own}
    form.add_lines(changes, data, terms_on(contract, data["effective_from"]))
    return changes


def _is(*states: str) -> Callable[[Any, Any], str | None]:
    def possible(amendment: Any, user: Any) -> str | None:
        return None if amendment.status in states else f"It is {amendment.get_status_display().lower()}."

    return possible


def _voidable(amendment: ContractAmendment, user: Any) -> str | None:
    if amendment.status == AmendmentStatus.PENDING_APPROVAL:
        return "It is being decided on: withdraw the request for its approval first."
    return _is(*EDITABLE)(amendment, user)


def _effective(amendment: ContractAmendment, user: Any) -> str | None:
    problems = amendment_problems(amendment)
    return " ".join(problem.detail for problem in problems) if problems else None


@admin.register(ContractAmendment)
class ContractAmendmentAdmin(ServiceModelAdmin):
    """The list of amendments; each opens as the page that shows what it changes."""

    class Media:
        css = {"all": ["budgets/budgets.css", "contracts/contracts.css"]}

    form = AmendmentForm
    list_display = ["title", "contract", "number", badge_column("status"), "effective_from", "in_force_at"]
    list_filter = ["status", "contract__entity", "effective_from"]
    list_select_related = ["contract"]
    search_fields = ["title", "contract__title", "contract__reference"]
    ordering = ["-id"]
    autocomplete_fields = ["contract"]
    quick_filters = [
        QuickFilter("Awaiting signature", "status__exact=awaiting_signature", icon="draw"),
        QuickFilter("In force", "status__exact=in_force", icon="check_circle"),
        QuickFilter("Drafts", "status__exact=draft", icon="edit_note"),
    ]
    empty_state = EmptyState(
        "Nothing was amended yet",
        "An amendment changes the terms of a signed contract from a day on. It is approved and signed like the "
        "contract, and gets its number when it is approved.",
        "Write an amendment",
        "admin:contracts_contractamendment_add",
    )
    locked_reason = staticmethod(
        lambda amendment: (
            ""
            if amendment.status in EDITABLE
            else "It is in force: another amendment changes it."
            if amendment.status == AmendmentStatus.IN_FORCE
            else "It is void."
        )
    )
    fieldsets = (
        (None, {"fields": ("contract", ("title", "effective_from"), "is_retroactive", "change_reason")}),
        (
            "What changes",
            {
                "description": "Leave empty what stays as it is.",
                "fields": (
                    ("value", "end_date"),
                    ("discount_percent", "payment_terms_days"),
                    ("not_to_exceed", "licence_tier"),
                    "scope",
                ),
            },
        ),
        *line_fieldsets(),
        (
            "Other changes",
            {
                "classes": ("tab",),
                "description": "Whatever else an amendment can change, as the API has it.",
                "fields": ("other",),
            },
        ),
    )
    actions_bar = [
        ObjectAction(
            name="submit",
            label="Submit",
            main=True,
            perm="contracts.change_contractamendment",
            icon="send",
            possible=_is(AmendmentStatus.DRAFT),
            consequence="Its approvers are asked, at the contract's new value.",
            run=lambda call: amendment_submit(actor=call.actor, amendment_id=call.obj.pk),
            done="It waits for approval.",
        ),
        ObjectAction(
            name="bring-into-force",
            label="Bring into force",
            main=True,
            perm="contracts.activate_contract",
            icon="play_arrow",
            possible=_effective,
            consequence=lambda amendment: (
                f"The terms change from {amendment.effective_from} on. What was billed for days from then on is "
                "adjusted. It never changes again."
            ),
            run=lambda call: amendment_bring_into_force(actor=call.actor, amendment_id=call.obj.pk),
            done="It is in force.",
        ),
        ObjectAction(
            name="void",
            label="Make void",
            perm="contracts.change_contractamendment",
            icon="block",
            danger=True,
            needs_reason=True,
            possible=_voidable,
            consequence="It is given up. A number that it has stays taken.",
            run=lambda call: amendment_void(actor=call.actor, amendment_id=call.obj.pk, reason=call.reason),
            done="It is void.",
        ),
    ]

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.edit_view)
        return [path("<int:pk>/edit/", view, name="contracts_contractamendment_edit"), *super().get_urls()]

    def bar_of(self, request: HttpRequest, obj: Any) -> list[BarItem]:
        return super().bar_of(request, obj) if obj.status in EDITABLE else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_draft = not isinstance(obj, ContractAmendment) or obj.status == AmendmentStatus.DRAFT
        return is_draft and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_readonly_fields(request, obj)
        return shown if obj is None else [*shown, "contract"]

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """An existing amendment is read here; its form is a page of its own."""
        if object_id is None:
            return super().changeform_view(request, None, form_url, extra_context)
        amendment = self._found(request, object_id)
        is_open = amendment.status in EDITABLE
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(amendment),
            "media": self.media,
            "why_locked": self.why_locked(amendment),
            "actions_bar": self.bar_of(request, amendment),
            "amendment": amendment,
            "status_badge": badge_html(amendment.status),
            "differences": amendment_difference(amendment),
            "problems": amendment_problems(amendment) if is_open else [],
            "places": places_shown(amendment.contract, amendment, actor_of(request)),
            "contract_url": reverse("admin:contracts_contract_change", args=[amendment.contract_id]),
            "edit_url": reverse("admin:contracts_contractamendment_edit", args=[amendment.pk])
            if self.has_change_permission(request, amendment)
            else "",
            "delete_url": self._url("delete", amendment.pk)
            if self.has_delete_permission(request, amendment)
            else "",
            "history_url": self._url("history", amendment.pk),
        }
        return TemplateResponse(request, "admin/contracts/amendment.html", context)

    def _found(self, request: HttpRequest, pk: Any) -> ContractAmendment:
        try:
            rows = self.get_queryset(request).select_related("contract__entity", "contract__issuer")
            found = rows.filter(pk=pk).first()
        except (TypeError, ValueError):
            found = None
        if found is None:
            raise Http404("There is no such amendment, or it is outside your scope.")
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        amendment: ContractAmendment = found
        return amendment

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Until it is in force."""
        amendment = self._found(request, pk)
        if not self.has_change_permission(request, amendment):
            raise PermissionDenied
        return super().changeform_view(request, str(pk))

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().render_change_form(request, context, *args, **kwargs)
        response.context_data.pop("actions_bar", None)
        return response

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        super().response_change(request, obj)
        return redirect(self._url("change", obj.pk))

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        super().response_add(request, obj, post_url_continue)
        return redirect(self._url("change", obj.pk))

    # --- Services ---

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        data = form.cleaned_data
        actor = actor_of(request)
        contract = obj.contract
        fields = {name: data[name] for name in ("title", "effective_from", "is_retroactive")}
        changes = changes_of(form, contract)
        if change:
            saved = amendment_update(
                actor=actor,
                amendment_id=obj.pk,
                changes={**fields, "changes": changes},
                expected_version=obj.version,
                reason=data.get("change_reason", ""),
            )
        else:
            saved = amendment_create(actor=actor, contract_id=contract.pk, changes=changes, **fields)
        obj.__dict__.update(saved.__dict__)

    def remove(self, actor: User, obj: ContractAmendment) -> None:
        amendment_delete(actor=actor, amendment_id=obj.pk)
