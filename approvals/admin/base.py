"""What the pages of approvals share: choices of types, forms whose checks are the services', words for places."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from approvals.models import Delegation
from approvals.registry import approval_types
from core.admin.actions import BarItem, ObjectAction
from core.admin.base import BillingModelAdmin
from core.models import User
from entities.admin.base import ReasonedForm, ScopedForm, picker


class ServiceCheckedForm(ReasonedForm):
    """The service checks what is saved and says it in sentences; the model's constraints would only name themselves."""

    def _get_validation_exclusions(self) -> set[str]:
        return {field.name for field in self.instance._meta.fields}


def type_choices(empty: str) -> list[tuple[str, str]]:
    """The types of request for a select; `empty` is what no choice means."""
    return [("", empty), *((kind.code, kind.label) for kind in approval_types())]


def type_field(empty: str = "Every type", **options: Any) -> forms.ChoiceField:
    """A select of the types of request."""
    return forms.ChoiceField(
        label="Type",
        required=False,
        choices=lambda: type_choices(empty),
        widget=UnfoldAdminSelectWidget(),
        **options,
    )


def use_person_picker(form: forms.Form, *names: str) -> None:
    """Look people up while one types."""
    for name in names:
        person: Any = form.fields[name]
        person.widget = picker(Delegation, "delegate")
        person.widget.choices = person.choices


class PersonForm(ScopedForm):
    """Whom to give it to."""

    to_user = forms.ModelChoiceField(
        User.objects.filter(is_active=True, is_service_account=False), label="To"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        use_person_picker(self, "to_user")


class SeenForm(forms.Form):
    """A word with a vote, and the fingerprint of what was decided on (APR-22)."""

    comment = forms.CharField(
        max_length=5000,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Optional, unless a level that asks you wants one.",
    )
    seen = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput())


class SeenAndSaidForm(SeenForm):
    """The same, where a word is needed."""

    comment = forms.CharField(
        max_length=5000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="The requester reads it.",
    )


@dataclass(frozen=True)
class ConcernedAction(ObjectAction):
    """An action that the bar leaves out where it can have no meaning for the record and the person."""

    concerns: Callable[[Any, Any], bool] = field(default=lambda obj, user: True)


class ConcernedActionsMixin(BillingModelAdmin):
    """The bar without what does not concern the record."""

    def bar_of(self, request: HttpRequest, obj: Any) -> list[BarItem]:
        return [
            item
            for item in super().bar_of(request, obj)
            if not isinstance(item.action, ConcernedAction) or item.action.concerns(obj, request.user)
        ]
