"""Two people edit the same record: the second one sees both values instead of overwriting the first.

A model with a `version` counter (core.models.VersionedModel) gets a hidden field with the version that was loaded.
When the stored version is another one by the time of saving, nothing is saved: the form comes back with a table
of what is stored now and what was typed. Saving again is then a decision.
"""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from django.utils.text import capfirst

LOADED_VERSION = "loaded_version"


@dataclass(frozen=True)
class Difference:
    """One field whose stored value is not what the form says."""

    label: str
    stored: str
    typed: str


def _shown(field: Any, value: Any) -> str:
    """Return a form value in words: the record behind a key, the label behind a choice."""
    if value in (None, ""):
        return "(empty)"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    queryset: Any = getattr(field, "queryset", None)
    if isinstance(field, forms.ModelMultipleChoiceField):
        rows = queryset.filter(pk__in=list(field.prepare_value(value) or []))
        return ", ".join(str(row) for row in rows) or "(empty)"
    if isinstance(field, forms.ModelChoiceField):
        key = getattr(value, "pk", value)
        row = queryset.filter(pk=key).first() if str(key).isdigit() else None
        return str(row or value)
    for key, label in getattr(field, "choices", []) or []:
        if str(key) == str(value):
            return str(label)
    return str(value)


class ConflictForm(forms.ModelForm):
    """Refuses to save over a version that the user has not seen."""

    differences: list[Difference]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        self.differences = []
        if self.instance.pk is None:
            return cleaned
        loaded = self.data.get(self.add_prefix(LOADED_VERSION), "")
        # Locked until the end of the transaction that saves: nobody slips in between this check and the save.
        manager = type(self.instance)._base_manager
        stored: Any = manager.select_for_update(of=("self",)).filter(pk=self.instance.pk).first()
        if stored is None:
            raise forms.ValidationError(
                "Somebody deleted this record while you were editing it. Copy what you need before you leave."
            )
        if str(stored.version) == str(loaded):
            return cleaned
        self.differences = self._compare(stored)
        self.data = MultiValueDict(self.data)
        self.data[self.add_prefix(LOADED_VERSION)] = str(stored.version)
        raise forms.ValidationError(
            "Somebody else saved this record while you were editing it. Nothing of yours is saved yet: compare "
            "the values, then save again to keep yours, or reload the page to take theirs.",
            code="conflict",
        )

    def _compare(self, stored: models.Model) -> list[Difference]:
        now = forms.model_to_dict(stored)
        found = []
        for name, field in self.fields.items():
            if name not in now:
                continue
            if field.has_changed(now[name], self._raw(name)):
                label = str(field.label or capfirst(name.replace("_", " ")))
                found.append(Difference(label, _shown(field, now[name]), _shown(field, self._raw(name))))
        return found

    def _raw(self, name: str) -> Any:
        return self.fields[name].widget.value_from_datadict(self.data, self.files, self.add_prefix(name))


class VersionConflictMixin(admin.ModelAdmin):
    """Adds the hidden version to the change form of models that have one."""

    change_form_template = "admin/billing_change_form.html"

    def is_versioned(self) -> bool:
        """Tell whether the model counts its versions."""
        try:
            return isinstance(self.model._meta.get_field("version"), models.IntegerField)
        except FieldDoesNotExist:
            return False

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form_class = super().get_form(request, obj, change=change, **kwargs)
        if not change or obj is None or not self.is_versioned():
            return form_class
        return type(f"Versioned{form_class.__name__}", (ConflictForm, form_class), {})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        adminform = context.get("adminform")
        form = getattr(adminform, "form", None)
        obj = kwargs.get("obj")
        if obj is not None and form is not None and self.is_versioned():
            sent = form.data.get(form.add_prefix(LOADED_VERSION)) if form.is_bound else None
            context[LOADED_VERSION] = sent or obj.version
            context["differences"] = getattr(form, "differences", [])
        return super().render_change_form(request, context, *args, **kwargs)
