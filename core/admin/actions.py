"""Actions on records: a bar that says what is possible and why not, a page that says what will happen, then POST.

Declare them; the base class makes the bar, the pages and the URLs:

    actions_bar = [
        ObjectAction(
            name="issue",
            label="Issue",
            perm="invoicing.issue_invoice",
            possible=lambda invoice, user: None if invoice.status == "draft" else "Only a draft can be issued.",
            consequence="The next number is assigned. After that the invoice cannot be edited, only credited.",
            run=lambda call: invoice_issue(actor=call.actor, invoice=call.obj),
        ),
    ]
    bulk_actions = [BulkAction(name="issue", ..., sums={"Total": ("total", "currency")})]

A GET never changes anything. The service that `run` calls authorises again and locks the row itself; what it refuses
(core.errors) is shown as a message. Pages: `<list>/<id>/do/<name>/` and `<list>/do-all/<name>/`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.widgets import UnfoldAdminTextareaWidget

from core.admin.columns import amount_html
from core.admin.errors import REFUSALS, add_refusal, sentences
from core.admin.record_parts import record_links
from core.admin.scoping import may

BULK_LIMIT = 1000


@dataclass(frozen=True)
class ActionCall:
    """What an action's `run` gets: who, on which record, why, and the cleaned data of the action's own form."""

    actor: Any
    obj: Any
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def always(obj: Any, user: Any) -> None:
    """The `possible` of an action that is never impossible."""


@dataclass(frozen=True)
class ObjectAction:
    """One thing that can be done with one record.

    `possible(obj, user)` returns None, or a sentence that says why it is not possible now. `consequence` is a
    sentence or a callable of the record. `run(call)` calls the service; what it returns goes to `done`, which makes
    the success message. `form` adds fields to the page (a plain Django form with Unfold widgets). `main` is what is
    most likely done next, and filled in the bar; `danger` ends or takes back something.
    """

    name: str
    label: str
    perm: str
    run: Callable[[ActionCall], Any]
    consequence: str | Callable[[Any], str]
    possible: Callable[[Any, Any], str | None] = always
    needs_reason: bool = False
    icon: str = "arrow_forward"
    main: bool = False
    danger: bool = False
    form: type[forms.Form] | None = None
    # What the form begins with: `initial(obj, user)`.
    initial: Callable[[Any, Any], Mapping[str, Any]] | None = None
    # Completes the form once the record is known, its choices for instance: `adapt(form, obj, user)`.
    adapt: Callable[[forms.Form, Any, Any], None] | None = None
    # The success message, or what makes it from the service's result; "" says "<label>: <record>".
    done: str | Callable[[Any], str] = ""

    def consequence_of(self, obj: Any) -> str:
        """Return what will happen to `obj`."""
        return self.consequence(obj) if callable(self.consequence) else self.consequence

    def message(self, obj: Any, result: Any) -> str:
        """Return the success message."""
        if callable(self.done):
            return self.done(result)
        return self.done or f"{self.label}: {obj}"


@dataclass(frozen=True)
class BulkAction(ObjectAction):
    """The same for many records: each runs in a transaction of its own; refused ones are listed with the reason.

    `sums` maps a label to the names of an amount and of its currency: shown per currency before it runs.
    """

    sums: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class ReasonForm(forms.Form):
    """Asks why, where a rule demands it; the reason goes into the history."""

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It is kept in the history of the record and cannot be changed later.",
    )


def _form_class(action: ObjectAction) -> type[forms.Form]:
    bases = tuple(
        base for base in (ReasonForm if action.needs_reason else None, action.form) if base is not None
    )
    return type("ActionForm", bases or (forms.Form,), {})


@dataclass(frozen=True)
class BarItem:
    """An action as the bar shows it; `why_not` is empty when it is possible."""

    action: ObjectAction
    url: str
    why_not: str


class ObjectActionsMixin(admin.ModelAdmin):
    """The bar on the record, the confirmation pages, and the entries of the list's action menu."""

    actions_bar: Sequence[ObjectAction] = ()
    bulk_actions: Sequence[BulkAction] = ()
    change_form_outer_before_template = "admin/includes/actions_bar.html"

    def get_urls(self) -> list[Any]:
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        own = [
            path("do-all/<slug:name>/", view(self.bulk_action_view), name=f"{prefix}_bulk"),
            path("<path:object_id>/do/<slug:name>/", view(self.object_action_view), name=f"{prefix}_do"),
        ]
        return own + super().get_urls()

    def _url(self, page: str, *args: Any) -> str:
        return reverse(
            f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args
        )

    def bar_of(self, request: HttpRequest, obj: Any) -> list[BarItem]:
        """Return the actions that the user has the right to; impossible ones carry the reason."""
        return [
            BarItem(action, self._url("do", obj.pk, action.name), action.possible(obj, request.user) or "")
            for action in self.actions_bar
            if may(request.user, action.perm, obj)
        ]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        obj = kwargs.get("obj")
        if obj is not None and obj.pk:
            # Pages of their own show the links of upper apps where they fit.
            context["bar_links"] = record_links(request, obj)
            if self.actions_bar:
                context["actions_bar"] = self.bar_of(request, obj)
        return super().render_change_form(request, context, *args, **kwargs)

    def object_action_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """GET shows what will happen; POST does it."""
        action = next((action for action in self.actions_bar if action.name == name), None)
        obj = self.get_object(request, object_id) if action else None
        if action is None or obj is None:
            raise Http404("There is no such record, or it is outside your scope.")
        if not may(request.user, action.perm, obj):
            raise PermissionDenied
        why_not = action.possible(obj, request.user) or ""
        form_class = _form_class(action)
        initial = dict(action.initial(obj, request.user)) if action.initial else None
        form = (
            form_class(request.POST, request.FILES)
            if request.method == "POST"
            else form_class(initial=initial)
        )
        if action.adapt:
            action.adapt(form, obj, request.user)
        if request.method == "POST" and not why_not and form.is_valid():
            data = dict(form.cleaned_data)
            call = ActionCall(request.user, obj, data.pop("reason", ""), data)
            try:
                result = action.run(call)
            except REFUSALS as error:
                add_refusal(form, error)
            else:
                messages.success(request, action.message(obj, result))
                return redirect(self._after(request, obj))
        context = {
            **self.admin_site.each_context(request),
            "title": action.label,
            "opts": self.opts,
            "original": obj,
            "action": action,
            "consequence": action.consequence_of(obj),
            "why_not": why_not,
            "form": form,
            "back": self._url("change", obj.pk),
        }
        return TemplateResponse(request, "admin/billing_action.html", context, status=409 if why_not else 200)

    def _after(self, request: HttpRequest, obj: Any) -> str:
        """Back to the record, or to the list when the record is gone or out of sight now."""
        still_there = self.get_queryset(request).filter(pk=obj.pk).exists()
        return self._url("change", obj.pk) if still_there else self._url("changelist")

    # --- many records ------------------------------------------------------------------------------------

    def get_actions(self, request: HttpRequest) -> Any:
        """Only the declared actions: Django's bulk delete would pass by the services."""
        actions: dict[str, Any] = dict(super().get_actions(request))
        actions.pop("delete_selected", None)
        for action in self.bulk_actions:
            if may(request.user, action.perm):
                actions[f"do_{action.name}"] = (
                    self._preview(action),
                    f"do_{action.name}",
                    f"{action.label}…",
                )
        return actions

    def _preview(self, action: BulkAction) -> Callable[..., HttpResponse]:
        def preview(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse:
            keys = list(queryset.order_by("pk").values_list("pk", flat=True)[: BULK_LIMIT + 1])
            if len(keys) > BULK_LIMIT:
                text = f"At most {BULK_LIMIT:,} records at a time: narrow the list with the filters first."
                messages.error(request, text)
                return redirect(request.get_full_path())
            return self._bulk_page(request, action, keys, _form_class(action)())

        return preview

    def bulk_action_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Run a bulk action on the keys its preview page sent back."""
        action = next((action for action in self.bulk_actions if action.name == name), None)
        if action is None:
            raise Http404("There is no such action.")
        if not may(request.user, action.perm):
            raise PermissionDenied
        keys = request.POST.getlist("keys")[:BULK_LIMIT]
        if request.method != "POST" or not keys:
            messages.warning(
                request, f"Select the records first, then choose “{action.label}” below the list."
            )
            return redirect(self._url("changelist"))
        form = _form_class(action)(request.POST)
        if not form.is_valid():
            return self._bulk_page(request, action, keys, form)
        self._run_all(request, action, keys, dict(form.cleaned_data))
        return redirect(self._url("changelist"))

    def _rows(self, request: HttpRequest, keys: Sequence[Any]) -> list[Any]:
        try:
            return list(self.get_queryset(request).filter(pk__in=keys).order_by("pk"))
        except (ValueError, ValidationError) as error:
            raise Http404("These are no keys of records.") from error

    def _why_not(self, request: HttpRequest, action: BulkAction, obj: Any) -> str:
        if not may(request.user, action.perm, obj):
            return "You do not have the right to do this here."
        return action.possible(obj, request.user) or ""

    def _bulk_page(
        self, request: HttpRequest, action: BulkAction, keys: Sequence[Any], form: forms.Form
    ) -> HttpResponse:
        rows = [(obj, self._why_not(request, action, obj)) for obj in self._rows(request, keys)]
        ready = [obj for obj, why_not in rows if not why_not]
        sums = []
        for label, (amount, currency) in action.sums.items():
            by_currency: dict[str, Decimal] = defaultdict(Decimal)
            for obj in ready:
                by_currency[str(getattr(obj, currency))] += getattr(obj, amount) or Decimal(0)
            sums += [(label, amount_html(total, code)) for code, total in sorted(by_currency.items())]
        context = {
            **self.admin_site.each_context(request),
            "title": f"{action.label}: {len(ready)} of {len(rows)}",
            "opts": self.opts,
            "action": action,
            "consequence": action.consequence if isinstance(action.consequence, str) else "",
            "ready": ready,
            "ready_first": ready[:20],
            "ready_more": max(0, len(ready) - 20),
            "skipped": [(obj, why_not) for obj, why_not in rows if why_not],
            "sums": sums,
            "form": form,
            "run_url": self._url("bulk", action.name),
            "back": self._url("changelist"),
        }
        return TemplateResponse(request, "admin/billing_bulk_action.html", context)

    def _run_all(
        self, request: HttpRequest, action: BulkAction, keys: Sequence[Any], data: dict[str, Any]
    ) -> None:
        reason = data.pop("reason", "")
        done = 0
        refused: list[str] = []
        for obj in self._rows(request, keys):
            if self._why_not(request, action, obj):
                continue
            try:
                action.run(ActionCall(request.user, obj, reason, data))
            except REFUSALS as error:
                refused.append(f"{obj}: {' '.join(sentences(error))}")
            else:
                done += 1
        if done:
            messages.success(request, f"{action.label}: done for {done:,} of {len(keys):,}.")
        elif not refused:
            messages.warning(request, f"{action.label}: nothing was possible for the selected records.")
        for line in refused[:10]:
            messages.error(request, line)
        if len(refused) > 10:
            messages.error(request, f"{len(refused) - 10:,} more were refused.")
