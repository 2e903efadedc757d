"""Standing in: what one has passed on for a time, what one stands in for, and ending it (APR-18)."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from approvals.forms import DelegationForm
from approvals.models import Delegation
from approvals.registry import type_label
from approvals.services.delegations import delegation_create, delegation_end
from approvals.views.base import ApprovalsPage
from core import clock
from core.access import get_visible
from core.pages.base import PageFormView, PageView
from entities.models import Department

SHOWN = 20


class DelegationsPage(ApprovalsPage, PageFormView):
    """GET and POST /approvals/delegations/"""

    template_name = "approvals/delegations.html"
    form_class = DelegationForm

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "actor": self.actor}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        given = self.actor.delegations_given.select_related("delegate").prefetch_related("departments")[
            :SHOWN
        ]
        held = self.actor.delegations_held.select_related("delegator").prefetch_related("departments")
        held = held.filter(ended_at__isnull=True, valid_to__gt=clock.now())
        return super().get_context_data(
            given=[_row(each) for each in given],
            held=[_row(each) for each in held[:SHOWN]],
            may_delegate=self.actor.has_perm("approvals.add_delegation"),
            **kwargs,
        )

    def perform(self, form: DelegationForm) -> str:
        values = form.cleaned_data
        delegation = delegation_create(
            actor=self.actor,
            delegate=values["delegate"],
            valid_from=values["valid_from"],
            valid_to=values["valid_to"],
            reason=values["reason"],
            request_types=values["request_types"],
            departments=Department.objects.filter(pk__in=values["departments"]),
            max_amount=values["max_amount"],
            currency=values["currency"] if values["max_amount"] is not None else "",
        )
        return f"{delegation.delegate.display_name} decides for you then, and is told."

    def get_success_url(self) -> str:
        return reverse("approvals:delegations")


def _row(delegation: Delegation) -> dict[str, Any]:
    now = clock.now()
    over = delegation.ended_at is not None or delegation.valid_to <= now
    return {
        "delegation": delegation,
        "types": ", ".join(type_label(code) for code in delegation.request_types),
        "departments": ", ".join(each.name for each in delegation.departments.all()),
        "status": "over" if over else "in_force" if delegation.valid_from <= now else "coming",
        "over": over,
    }


class EndDelegationPage(ApprovalsPage, PageView):
    """GET /approvals/delegations/3/end/ asks, POST ends it."""

    template_name = "approvals/end_delegation.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        rows = Delegation.objects.select_related("delegator", "delegate")
        found = get_visible(rows, self.actor, self.kwargs["pk"], name="delegation")
        return super().get_context_data(delegation=found, **kwargs)

    def post(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        delegation = delegation_end(actor=self.actor, delegation_id=pk)
        name = delegation.delegator.display_name
        return self.done(
            f"It has ended. What is undecided is {name}'s again.", reverse("approvals:delegations")
        )

    def again_url(self) -> str:
        return reverse("approvals:delegations")
