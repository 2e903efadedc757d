"""Actions that show what they will do to the figures before they do it: fill in, look at before and after, confirm.

An action without a form of its own shows its effect at once. One with amounts shows it after "Show the effect"; what is
confirmed is what was shown: if the figures have changed meanwhile, the new ones are shown first.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from budgets.figures import ZERO, Figures
from core.admin.actions import ActionCall, ObjectAction, ReasonForm
from core.admin.base import BillingModelAdmin
from core.admin.columns import MINUS, amount_html, amount_text
from core.admin.errors import REFUSALS, add_refusal
from core.admin.scoping import may

HUNDRED = Decimal(100)


# --- Bars ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """A stretch of the bar: what, how much, and how wide in percent of the bar."""

    kind: str
    label: str
    amount: SafeString
    share: str
    width: str


@dataclass(frozen=True)
class Tick:
    """A mark on the bar."""

    label: str
    at: str
    name: str = ""


@dataclass(frozen=True)
class Bar:
    """A budget's figures as one bar; `text` says the same in words."""

    segments: Sequence[Segment]
    text: str
    ticks: Sequence[Tick] = ()
    limit_at: str = ""


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return part * HUNDRED / whole if whole > 0 else ZERO


def bar_of_figures(figures: Figures, currency: str, thresholds: Sequence[tuple[str, Decimal]] = ()) -> Bar:
    """Spent, committed and available side by side; what is over stands beyond the limit."""
    limit = figures.allocated + figures.override
    spent, committed = max(figures.spent, ZERO), max(figures.committed, ZERO)
    scale = max(limit, spent + committed)
    over = max(spent + committed - limit, ZERO)
    inside_committed = max(committed - over, ZERO)
    inside_spent = spent - max(over - committed, ZERO)
    parts = [
        ("spent", "Spent", inside_spent, figures.spent),
        ("committed", "Committed", inside_committed, figures.committed),
        ("over", "Over", over, over),
        ("available", "Available", max(limit - spent - committed, ZERO), figures.available),
    ]
    segments = [
        Segment(
            kind=kind,
            label=label,
            amount=amount_html(amount, currency),
            share=f"{_percent(amount, limit):.0f} %" if limit > 0 else "–",
            width=f"{_percent(width, scale):.3f}",
        )
        for kind, label, width, amount in parts
        if width > 0 or kind in {"spent", "committed"} or (kind == "available" and not over)
    ]
    words = ", ".join(f"{part.label.lower()} {part.share}" for part in segments)
    ticks = [
        Tick(f"{percent:.0f} %", f"{_percent(percent * figures.allocated / HUNDRED, scale):.3f}", name)
        for name, percent in thresholds
        if figures.allocated > 0 and percent * figures.allocated / HUNDRED <= scale
    ]
    return Bar(
        segments=segments,
        text=f"Of {amount_text(limit, currency)} {currency}: {words}.",
        ticks=ticks,
        limit_at=f"{_percent(limit, scale):.3f}" if over else "",
    )


# --- Effects ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EffectRow:
    """One figure before and after."""

    label: str
    before: SafeString
    after: SafeString
    change: str
    changes: bool
    is_result: bool = False


@dataclass(frozen=True)
class Effect:
    """What happens to one budget; `lines` are further rows (what, amount) that the change consists of."""

    title: str
    currency: str
    before: Figures
    after: Figures
    note: str = ""
    lines: Sequence[tuple[str, SafeString]] = ()

    @property
    def rows(self) -> list[EffectRow]:
        """The figures, each before and after."""
        names = [("Allocated", "allocated"), ("Spent", "spent"), ("Committed", "committed")]
        if self.before.override or self.after.override:
            names.insert(1, ("Override", "override"))
        return [self._row(label, name) for label, name in [*names, ("Available", "available")]]

    def _row(self, label: str, name: str) -> EffectRow:
        before, after = getattr(self.before, name), getattr(self.after, name)
        delta = after - before
        sign = "+" if delta > 0 else MINUS
        return EffectRow(
            label=label,
            before=amount_html(before, self.currency),
            after=amount_html(after, self.currency),
            change=f"{sign}{amount_text(abs(delta), self.currency)}" if delta else "",
            changes=bool(delta),
            is_result=name == "available",
        )

    @property
    def bars(self) -> list[tuple[str, Bar]]:
        """The same as two bars."""
        return [
            ("Before", bar_of_figures(self.before, self.currency)),
            ("After", bar_of_figures(self.after, self.currency)),
        ]


class ObjectForm(forms.Form):
    """A form that knows the record it is about, and who asks."""

    def __init__(self, *args: Any, obj: Any, user: Any, **kwargs: Any) -> None:
        self.obj, self.user = obj, user
        super().__init__(*args, **kwargs)


EffectMaker = Callable[[Any, Any, Mapping[str, Any]], Sequence[Effect]]


@dataclass(frozen=True)
class EffectAction(ObjectAction):
    """An action with its effect: `effect(obj, user, data)` says what will happen to which budgets."""

    effect: EffectMaker = field(default=lambda obj, user, data: ())
    # Whether the effect depends on what is filled in; if not, it is shown at once.
    depends_on_form: bool = True
    # Shown only where it concerns the record: an action that can never become possible is left out of the bar.
    concerns: Callable[[Any], bool] = field(default=lambda obj: True)

    @property
    def asks_first(self) -> bool:
        """Whether something must be filled in before the effect is known."""
        return self.form is not None and self.depends_on_form


def _form_class(action: EffectAction) -> Any:
    own: Any = action.form or ObjectForm
    if not action.needs_reason:
        return own
    return type("EffectForm", (own, ReasonForm), {"field_order": [*own.base_fields, "reason"]})


class EffectActionsMixin(BillingModelAdmin):
    """The pages of the actions that are EffectActions; the others stay as core has them."""

    def bar_of(self, request: HttpRequest, obj: Any) -> Any:
        return [
            item
            for item in super().bar_of(request, obj)
            if not isinstance(item.action, EffectAction) or item.action.concerns(obj)
        ]

    def object_action_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        action = next((action for action in self.actions_bar if action.name == name), None)
        if not isinstance(action, EffectAction):
            return super().object_action_view(request, object_id, name)
        obj = self.get_object(request, object_id)
        if obj is None:
            raise Http404("There is no such record, or it is outside your scope.")
        if not may(request.user, action.perm, obj):
            raise PermissionDenied
        why_not = action.possible(obj, request.user) or ""
        posted = request.method == "POST" and not why_not
        form = _form_class(action)(request.POST if posted else None, obj=obj, user=request.user)
        effects: Sequence[Effect] = ()
        try:
            if posted and form.is_valid():
                effects = action.effect(obj, request.user, form.cleaned_data)
                if self._is_confirmed(request, effects):
                    return self._do(request, action, obj, form)
            elif not why_not and not action.asks_first:
                effects = action.effect(obj, request.user, {})
        except REFUSALS as error:
            add_refusal(form, error)
            effects = ()
        context = {
            **self.admin_site.each_context(request),
            "title": action.label,
            "opts": self.opts,
            "original": obj,
            "action": action,
            "consequence": action.consequence_of(obj),
            "why_not": why_not,
            "form": form,
            "media": self.media + form.media,
            "effects": effects,
            "shown": _digest(effects) if effects else "",
            "may_confirm": bool(effects) or not action.asks_first,
            "back": self._url("change", obj.pk),
        }
        return TemplateResponse(request, "admin/budgets/effect.html", context, status=409 if why_not else 200)

    def _is_confirmed(self, request: HttpRequest, effects: Sequence[Effect]) -> bool:
        """Whether what the person saw is what would happen now."""
        if "confirm" not in request.POST:
            return False
        if request.POST.get("shown", "") == _digest(effects):
            return True
        messages.warning(request, "The figures have changed since you saw them. Look again, then confirm.")
        return False

    def _do(self, request: HttpRequest, action: EffectAction, obj: Any, form: forms.Form) -> HttpResponse:
        data = dict(form.cleaned_data)
        result = action.run(ActionCall(request.user, obj, data.pop("reason", ""), data))
        messages.success(request, action.message(obj, result))
        return redirect(self._after(request, obj))


def _digest(effects: Sequence[Effect]) -> str:
    content = [(effect.title, effect.before, effect.after, list(effect.lines)) for effect in effects]
    return hashlib.sha256(repr(content).encode()).hexdigest()
