"""What the organisation's pages share: writing through services, hidden relations, trees, forms with scoped choices."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.postgres.expressions import ArraySubquery
from django.db import models
from django.db.models import CharField, Count, F, IntegerField, OuterRef, Subquery, Value
from django.db.models.functions import Cast, Coalesce, Concat
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from core.admin.base import BillingModelAdmin
from core.admin.inlines import BillingTabularInline
from core.admin.scoping import visible
from core.history import current
from core.models import User

# Parameters of a list that neither filter nor sort it.
NEUTRAL_PARAMETERS = frozenset({"p", "e", "_all", "_per_page"})
EM_SPACE = "\N{EM SPACE}"


class ReasonedForm(forms.ModelForm):
    """A form that may say why; the reason goes into the history."""

    change_reason = forms.CharField(
        label="Reason",
        max_length=500,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Optional: why you change it. It is kept in the history.",
    )


def actor_of(request: HttpRequest) -> User:
    """Return who works here; the back-office lets nobody in who is not signed in."""
    assert isinstance(request.user, User)
    return request.user


class ServiceModelAdmin(BillingModelAdmin):
    """Saving calls `create` or `change` with what the form says; both are written by the subclass."""

    form = ReasonedForm
    #: Names of relations whose present value may be out of the user's sight.
    guarded_relations: Sequence[str] = ()

    def create(self, actor: User, data: dict[str, Any], reason: str) -> models.Model:
        """Call the service that creates."""
        raise NotImplementedError

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> models.Model:
        """Call the service that changes; `data` holds what differs."""
        raise NotImplementedError

    def remove(self, actor: User, obj: Any) -> None:
        """Call the service that deletes."""
        raise NotImplementedError

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.remove(actor_of(request), obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        names = form.changed_data if change else list(form.cleaned_data)
        data = {name: form.cleaned_data[name] for name in names if name != "change_reason"}
        reason = form.cleaned_data.get("change_reason", "")
        actor = actor_of(request)
        saved = self.change(actor, obj, data, reason) if change else self.create(actor, data, reason)
        # The admin goes on with its own object: it becomes what the service saved.
        obj.__dict__.update(saved.__dict__)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out relations to records that the user may not see; what is left out is not changed."""
        hidden = self.hidden_relations(request, obj)
        shown = []
        for title, options in super().get_fieldsets(request, obj):
            fields = [_without(row, hidden) for row in options["fields"]]
            shown.append((title, {**options, "fields": [row for row in fields if row]}))
        return shown

    def hidden_relations(self, request: HttpRequest, obj: Any) -> set[str]:
        """Return the guarded relations that point out of the user's scope."""
        if obj is None:
            return set()
        hidden = set()
        for name in self.guarded_relations:
            key = getattr(obj, f"{name}_id")
            related: Any = self.opts.get_field(name).related_model
            if key and not visible(related._default_manager.all(), request.user).filter(pk=key).exists():
                hidden.add(name)
        return hidden

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What depends on a record is for the service to say, without showing what is out of scope."""
        return [str(obj) for obj in objs], {}, set(), []


def _without(row: Any, hidden: set[str]) -> Any:
    if isinstance(row, (list, tuple)):
        return tuple(name for name in row if name not in hidden)
    return row if row not in hidden else None


class ReadOnlyInline(BillingTabularInline):
    """Related records to look at; they are changed on their own pages or by the actions above."""

    tab = True
    hide_title = True
    can_delete = False
    per_page = 20
    #: The columns.
    shown: Sequence[Any] = ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.shown

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.shown

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> Any:
        return visible(super().get_queryset(request), request.user)


# --- Trees -----------------------------------------------------------------------------------------------


def tree_path(closure: type[models.Model], label: str) -> ArraySubquery:
    """An ordering by which every record stands below its parent: the labels from the top down to it."""
    above = closure._default_manager.filter(descendant_id=OuterRef("pk")).order_by("-depth")
    key = Concat(
        F(f"ancestor__{label}"), Value(" "), Cast("ancestor_id", CharField()), output_field=CharField()
    )
    return ArraySubquery(above.annotate(tree_label=key).values("tree_label"))


def tree_depth(closure: type[models.Model], seen: Any) -> Coalesce:
    """How many of the records above one the user sees."""
    above = closure._default_manager.filter(descendant_id=OuterRef("pk"), depth__gt=0, ancestor__in=seen)
    counted = above.order_by().values("descendant_id").annotate(counted=Count("pk")).values("counted")
    return Coalesce(Subquery(counted), Value(0), output_field=IntegerField())


def is_tree(request: HttpRequest) -> bool:
    """Whether a list shows everything in its own order, so that indentation says something."""
    return not set(request.GET) - NEUTRAL_PARAMETERS


def indented(text: str, depth: int) -> SafeString | str:
    """Return a name as it stands in the tree."""
    if not depth:
        return text
    return format_html(
        '<span class="eb-quiet-text" aria-hidden="true">{}└ </span>{}', EM_SPACE * (2 * depth - 1), text
    )


def count_of(model: type[models.Model], path: str) -> Coalesce:
    """A column that counts the rows of `model` whose `path` is the record, as a subquery."""
    rows = model._default_manager.filter(**{path: OuterRef("pk")}).order_by()
    counted = rows.values(path).annotate(counted=Count("pk")).values("counted")
    return Coalesce(Subquery(counted), Value(0), output_field=IntegerField())


# --- Forms of pages and actions --------------------------------------------------------------------------


class ScopedForm(forms.Form):
    """A plain form whose choices of records are those that the person who asks may see."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        actor = current().actor
        for field in self.fields.values():
            if isinstance(field, forms.ModelChoiceField):
                given: Any = field.queryset
                field.queryset = given.none() if actor is None else visible(given, actor)


def picker(model: type[models.Model], field: str) -> AutocompleteSelect:
    """Return a select that looks records up while one types, as the autocomplete of `model.field` does."""
    return AutocompleteSelect(
        model._meta.get_field(field),
        admin.site,
        attrs={"class": "unfold-admin-autocomplete", "style": "width: 100%"},
    )
