"""Contracts in the back-office: the list, the page that reads one, its form until it is signed, and what is done."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from contracts.admin.deadlines import Decision, decisions_of, renewals_due
from contracts.admin.forms import (
    BreachForm,
    ConfidentialForm,
    CureForm,
    DocumentForm,
    NoticeForm,
    RenewForm,
    ResumeForm,
    SuspendForm,
    TerminateForm,
    given,
)
from contracts.admin.lines import PriceInline, ServiceLevelInline, SignatoryInline
from contracts.admin.page import page_context
from contracts.admin.pipeline import pipeline_context
from contracts.admin.rows import FeatureLimitsField, TerminationFeesField
from contracts.models import (
    BEFORE_ACTIVATION,
    ENDED,
    RUNNING,
    BreachStatus,
    Contract,
    ContractBreach,
    ContractStatus,
    NoticeKind,
    RenewalType,
)
from contracts.selectors.contract import business_today, status_on
from contracts.selectors.renewals import Outcome, renewal_check
from contracts.selectors.summary import contract_pdf, summary_name
from contracts.services.activation import activation_problems, contract_activate
from contracts.services.contract import (
    INTERNAL,
    contract_create,
    contract_delete,
    contract_submit,
    contract_update,
)
from contracts.services.documents import confidential_terms_read, document_add
from contracts.services.renewals import contract_renew, contracts_renew, notice_record
from contracts.services.suspension import contract_resume, contract_suspend
from contracts.services.termination import (
    breach_cure,
    breach_notify,
    contract_terminate,
    contract_terminate_for_cause,
    termination_preview,
)
from core.admin.actions import ActionCall, BarItem, BulkAction, ObjectAction
from core.admin.badges import badge_column
from core.admin.base import EmptyState
from core.admin.columns import amount_html, amount_text, money_column
from core.admin.errors import REFUSALS, sentences
from core.admin.filters import BillingChangeList, QuickFilter
from core.admin.scoping import may
from core.errors import BillingError, Invalid
from core.models import User
from entities.admin.base import ReasonedForm, ServiceModelAdmin, actor_of

OPEN = {
    "draft": [ContractStatus.DRAFT, ContractStatus.PENDING_APPROVAL],
    "signing": [ContractStatus.AWAITING_SIGNATURE],
    "running": list(RUNNING),
    "ended": list(ENDED),
}


class StandingFilter(admin.SimpleListFilter):
    """The state of today, and what is to be decided."""

    title = "state today"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("running", "Active or suspended"),
            ("suspended", "Suspended"),
            ("draft", "Draft or pending approval"),
            ("signing", "Awaiting signature"),
            ("renewal", "Renewal due"),
            ("ended", "Ended"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = str(self.value())
        if wanted == "renewal":
            return queryset.filter(pk__in=list(renewals_due(Contract.objects.visible_to(actor_of(request)))))
        states = [ContractStatus.SUSPENDED] if wanted == "suspended" else OPEN.get(wanted)
        return queryset if states is None else queryset.filter(current_status__in=states)


class ContractChangeList(BillingChangeList):
    """The rows of the page with their deadlines, worked out together."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: Any = list(self.result_list)
        found = decisions_of(rows)
        for row in rows:
            row.decision = found[row.pk]
        self.result_list = rows


# --- What can be done, and when --------------------------------------------------------------------------


@dataclass(frozen=True)
class ContractAction(ObjectAction):
    """An action that the bar leaves out where the state of the contract gives it no meaning."""

    states: Sequence[str] = ()
    concerns: Callable[[Contract], bool] = field(default=lambda contract: True)


def _in(*states: str) -> Callable[[Any, Any], str | None]:
    def possible(contract: Any, user: Any) -> str | None:
        now = status_on(contract, business_today(contract))
        if now in states:
            return None
        wanted = " or ".join(str(ContractStatus(state).label).lower() for state in states)
        return f"It is {str(ContractStatus(now).label).lower()}; it would have to be {wanted}."

    return possible


def _activatable(contract: Contract, user: Any) -> str | None:
    problems = activation_problems(contract)
    return " ".join(problem.detail for problem in problems) if problems else None


def _terminable(contract: Contract, user: Any) -> str | None:
    why_not = _in(*RUNNING)(contract, user)
    if why_not:
        return why_not
    try:
        outcome = termination_preview(contract, business_today(contract))
    except BillingError as error:
        return error.message
    if status_on(contract, outcome.effective_on) not in RUNNING:
        return f"A notice received today would take effect on {outcome.effective_on}: it has ended by then already."
    return None


def _termination_text(contract: Contract, received_on: datetime.date) -> str:
    outcome = termination_preview(contract, received_on)
    fee = f"{amount_text(outcome.fee, outcome.currency)} {outcome.currency}"
    return f"{outcome.effective_on} is the first day without the contract; fee {fee}. {outcome.explanation}"


def _terminate(call: ActionCall) -> Contract:
    contract = call.obj
    today = business_today(contract)
    received = call.data.get("received_on") or today
    if received != today:
        effective_on = termination_preview(contract, received).effective_on
        if call.data.get("effective_on") != effective_on:
            raise Invalid(
                "look_at_the_outcome",
                f"{_termination_text(contract, received)} If that is right, give {effective_on} as the day on which it "
                "takes effect and confirm again.",
            )
    return contract_terminate(
        actor=call.actor, contract_id=contract.pk, received_on=received, reason=call.reason
    )


def _open_breach(contract: Contract) -> ContractBreach | None:
    return contract.breaches.filter(status=BreachStatus.OPEN).order_by("cure_until", "pk").first()


def _breach_id(contract: Contract) -> int:
    breach = _open_breach(contract)
    if breach is None:
        raise Invalid("no_open_breach", "There is no open breach any more.")
    return breach.pk


def _for_cause(contract: Contract, user: Any) -> str | None:
    breach = _open_breach(contract)
    if breach is None:
        return "There is no open breach."
    if business_today(contract) < breach.cure_until:
        return f"It can be cured until before {breach.cure_until}."
    return None


def _cause_text(contract: Contract) -> str:
    breach = _open_breach(contract)
    said = f"“{breach.description}”, notified on {breach.notice_received_on}" if breach else ""
    return f"The contract ends today, without a fee, for the breach {said} that was not cured in time."


def _has_option(contract: Contract, user: Any) -> str | None:
    why_not = _in(*RUNNING)(contract, user)
    if why_not:
        return why_not
    if contract.renewal_type != RenewalType.OPTION and not contract.last_amendment_number:
        return "It has no option to renew."
    return None


def _renews_itself(contract: Contract, user: Any) -> str | None:
    check = renewal_check(contract)
    return None if check.outcome == Outcome.RENEWS_UNLESS_NOTICE else check.explanation


def _add_document(call: ActionCall) -> Any:
    file = call.data["file"]
    return document_add(
        actor=call.actor,
        contract_id=call.obj.pk,
        name=call.data["name"] or file.name,
        content=file.read(),
        content_type=file.content_type or "application/octet-stream",
        kind=call.data["kind"],
    )


def _renew_one(call: ActionCall) -> Any:
    (result,) = contracts_renew(
        actor=call.actor, contract_ids=[call.obj.pk], note=call.reason, **given(call.data, "side", "method")
    )
    if result.error is not None:
        raise result.error
    return result.notice


class ContractForm(ReasonedForm):
    """What a contract says; the rules between its fields are the service's, which says them in words."""

    feature_limits = FeatureLimitsField(help_text="What may be used under it, besides what is subscribed to.")
    termination_fees = TerminationFeesField(
        help_text="What a termination for convenience costs, by months since the start."
    )

    def _get_validation_exclusions(self) -> set[str]:
        return {each.name for each in Contract._meta.concrete_fields}


@admin.register(Contract)
class ContractAdmin(ServiceModelAdmin):
    """The list of contracts; each opens as a page to read, with what can be done above it."""

    class Media:
        css = {"all": ["budgets/budgets.css", "contracts/contracts.css"]}

    form = ContractForm
    list_display = [
        "name", badge_column("current_status", label="State"), "entity", "worth", "renewal", "ends", "contract_type",
        "start_date",
    ]  # fmt: skip
    list_display_links = ["name"]
    export_fields = [
        "number", "title", "reference", badge_column("current_status", label="State"), "contract_type", "entity",
        "department", "start_date", "end_date", "renewal_type", money_column("value", label="Value as signed"), "owner",
    ]  # fmt: skip
    list_filter = [
        StandingFilter, "contract_type", "entity", "department", "renewal_type", "start_date", "end_date", "owner",
        "currency",
    ]  # fmt: skip
    list_select_related = ["entity", "issuer", "department", "owner"]
    search_fields = ["title", "reference", "entity__name", "entity__code"]
    ordering = ["-id"]
    quick_filters = [
        QuickFilter("Active", "standing=running", icon="check_circle"),
        QuickFilter("Awaiting signature", "standing=signing", icon="draw"),
        QuickFilter("Renewal due", "standing=renewal", icon="event_upcoming"),
        QuickFilter("Drafts", "standing=draft", icon="edit_note"),
        QuickFilter("Ended", "standing=ended", icon="event_busy"),
    ]
    totals = {"value_as_signed": Sum("value")}
    autocomplete_fields = ["entity", "issuer", "department", "owner", "parent", "predecessor", "budget"]
    guarded_relations = ("parent", "predecessor", "owner", "budget", "issuer")
    inlines = [PriceInline, ServiceLevelInline, SignatoryInline]
    empty_state = EmptyState(
        "No contracts yet",
        "A contract says what is supplied, at which prices and until when. It is approved, signed by both sides and "
        "then bills by itself. What changes later is an amendment.",
        "Add a contract",
        "admin:contracts_contract_add",
    )
    locked_reason = staticmethod(
        lambda contract: (
            "Its terms are signed: write an amendment to change them." if contract.is_activated else ""
        )
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("title", "reference"),
                    ("contract_type", "entity"),
                    ("issuer", "owner"),
                    ("value", "currency"),
                    ("start_date", "end_date"),
                    ("billing_anchor", "is_retroactive"),
                    ("department", "budget"),
                    "gl_code",
                    "scope",
                    "change_reason",
                )
            },
        ),
        (
            "Payment",
            {
                "classes": ("tab",),
                "fields": (
                    ("payment_terms_days", "discount_percent"),
                    ("not_to_exceed", "licence_tier"),
                    ("minimum_commitment", "minimum_commitment_months"),
                    "time_zone",
                    "feature_limits",
                ),
            },
        ),
        (
            "Renewal",
            {
                "classes": ("tab",),
                "fields": (
                    ("renewal_type", "renewal_term_months"),
                    ("notice_period", "notice_unit"),
                    ("uplift_index", "uplift_notice_days"),
                    ("uplift_floor_percent", "uplift_cap_percent"),
                ),
            },
        ),
        (
            "Ending",
            {
                "classes": ("tab",),
                "fields": (
                    ("convenience_allowed", "convenience_notice_days"),
                    ("minimum_term_end", "cure_days"),
                    ("holdover_allowed", "holdover_rate_percent"),
                    "termination_fees",
                ),
            },
        ),
        ("Other contracts", {"classes": ("tab",), "fields": (("parent", "predecessor"),)}),
    )
    actions_bar = [
        ContractAction(
            name="submit",
            label="Submit",
            main=True,
            perm="contracts.change_contract",
            icon="send",
            states=(ContractStatus.DRAFT,),
            possible=_in(ContractStatus.DRAFT),
            consequence="Its approvers are asked. They decide on the contract as it stands.",
            run=lambda call: contract_submit(actor=call.actor, contract_id=call.obj.pk, reason=call.reason),
            done="It waits for approval.",
        ),
        ContractAction(
            name="activate",
            label="Activate",
            main=True,
            perm="contracts.activate_contract",
            icon="play_arrow",
            states=BEFORE_ACTIVATION,
            possible=_activatable,
            consequence="It is in force and bills from its start. Its terms change by amendments only from now on.",
            run=lambda call: contract_activate(actor=call.actor, contract_id=call.obj.pk, reason=call.reason),
            done="It is activated.",
        ),
        ContractAction(
            name="suspend",
            label="Suspend",
            perm="contracts.suspend_contract",
            icon="pause_circle",
            needs_reason=True,
            form=SuspendForm,
            states=(ContractStatus.ACTIVE,),
            possible=_in(ContractStatus.ACTIVE),
            consequence="Supply pauses until it is resumed.",
            run=lambda call: contract_suspend(
                actor=call.actor,
                contract_id=call.obj.pk,
                reason=call.reason,
                billing_continues=call.data["billing_continues"],
                extends_term=call.data["extends_term"],
                on=call.data["on"],
            ),
            done="It is suspended.",
        ),
        ContractAction(
            name="resume",
            label="Resume",
            main=True,
            perm="contracts.suspend_contract",
            icon="play_circle",
            needs_reason=True,
            form=ResumeForm,
            states=(ContractStatus.SUSPENDED,),
            possible=_in(ContractStatus.SUSPENDED),
            consequence="Supply and fees go on.",
            run=lambda call: contract_resume(
                actor=call.actor, contract_id=call.obj.pk, reason=call.reason, on=call.data["on"]
            ),
            done="It is resumed.",
        ),
        ContractAction(
            name="renew",
            label="Exercise the option",
            perm="contracts.renew_contract",
            icon="autorenew",
            form=RenewForm,
            states=RUNNING,
            concerns=lambda contract: renewal_check(contract).outcome == Outcome.ENDS_UNLESS_EXERCISED,
            needs_reason=True,
            possible=_has_option,
            consequence="The contract runs on for another term, if this is in time.",
            run=lambda call: contract_renew(
                actor=call.actor,
                contract_id=call.obj.pk,
                note=call.reason,
                **given(call.data, "side", "method"),
            ),
            done=lambda notice: f"Recorded: it runs on from {notice.ends_on}.",
        ),
        ContractAction(
            name="decline",
            label="Do not renew",
            perm="contracts.renew_contract",
            icon="event_busy",
            danger=True,
            needs_reason=True,
            form=RenewForm,
            states=RUNNING,
            concerns=lambda contract: renewal_check(contract).outcome == Outcome.RENEWS_UNLESS_NOTICE,
            possible=_renews_itself,
            consequence=lambda contract: (
                f"A notice received now is recorded: {renewal_check(contract).term_end} is the first day without the "
                "contract. A notice cannot be taken back."
            ),
            run=lambda call: notice_record(
                actor=call.actor,
                contract_id=call.obj.pk,
                kind=NoticeKind.END,
                note=call.reason,
                **given(call.data, "side", "method"),
            ),
            done=lambda notice: f"Recorded: {notice.ends_on} is the first day without the contract.",
        ),
        ContractAction(
            name="notice",
            label="Record a notice",
            perm="contracts.renew_contract",
            icon="mail",
            form=NoticeForm,
            states=RUNNING,
            possible=_in(*RUNNING),
            consequence="Whether it is in time, and for which term it works, follows from when it was received. It "
            "stays on record.",
            run=lambda call: notice_record(
                actor=call.actor,
                contract_id=call.obj.pk,
                **given(call.data, "kind", "side", "method", "received_at", "note"),
            ),
            done=lambda notice: (
                f"Recorded {'in time' if notice.on_time else 'late'}: it works for term {notice.term_number}, which "
                f"ends before {notice.ends_on}."
            ),
        ),
        ContractAction(
            name="add-document",
            label="Add a document",
            perm="contracts.add_contractdocument",
            icon="attach_file",
            form=DocumentForm,
            consequence="It is kept encrypted. Whoever opens it is recorded.",
            run=_add_document,
            done=lambda document: f"“{document}” is kept, SHA-256 {document.sha256}.",
        ),
        ContractAction(
            name="confidential-terms",
            label="Write confidential terms",
            perm="contracts.view_confidential_terms",
            icon="enhanced_encryption",
            form=ConfidentialForm,
            states=BEFORE_ACTIVATION,
            consequence="They are kept encrypted and replace what is there. They are part of what is approved and "
            "signed; whoever reads them is recorded.",
            run=lambda call: contract_update(
                actor=call.actor,
                contract_id=call.obj.pk,
                changes={"confidential_terms": call.data["text"]},
            ),
            done="They are kept.",
        ),
        ContractAction(
            name="breach",
            label="Notify a breach",
            perm="contracts.terminate_contract",
            icon="report",
            form=BreachForm,
            states=RUNNING,
            possible=_in(*RUNNING),
            consequence=lambda contract: (
                f"The other side has {contract.cure_days} days to cure it, unless amended."
            ),
            run=lambda call: breach_notify(
                actor=call.actor,
                contract_id=call.obj.pk,
                **given(call.data, "breaching_side", "description", "received_on"),
            ),
            done=lambda breach: f"Recorded. It can be cured until before {breach.cure_until}.",
        ),
        ContractAction(
            name="cure",
            label="Breach cured",
            perm="contracts.terminate_contract",
            icon="healing",
            needs_reason=True,
            form=CureForm,
            states=RUNNING,
            concerns=lambda contract: _open_breach(contract) is not None,
            consequence=lambda contract: (
                f"The breach “{getattr(_open_breach(contract), 'description', '')}” is closed."
            ),
            run=lambda call: breach_cure(
                actor=call.actor,
                breach_id=_breach_id(call.obj),
                reason=call.reason,
                cured_on=call.data["cured_on"],
            ),
            done="The breach is closed.",
        ),
        ContractAction(
            name="terminate-for-cause",
            label="Terminate for cause",
            perm="contracts.terminate_contract",
            icon="gavel",
            danger=True,
            needs_reason=True,
            states=RUNNING,
            concerns=lambda contract: _open_breach(contract) is not None,
            possible=_for_cause,
            consequence=_cause_text,
            run=lambda call: contract_terminate_for_cause(
                actor=call.actor, breach_id=_breach_id(call.obj), reason=call.reason
            ),
            done="It is terminated.",
        ),
        ContractAction(
            name="terminate",
            label="Terminate",
            perm="contracts.terminate_contract",
            icon="cancel",
            danger=True,
            needs_reason=True,
            form=TerminateForm,
            states=RUNNING,
            possible=_terminable,
            consequence=lambda contract: (
                _termination_text(contract, business_today(contract))
                if _terminable(contract, None) is None
                else ""
            ),
            run=_terminate,
            done="The termination is recorded.",
        ),
    ]
    bulk_actions = [
        BulkAction(
            name="renew",
            label="Exercise options to renew",
            perm="contracts.renew_contract",
            icon="autorenew",
            needs_reason=True,
            form=RenewForm,
            possible=_has_option,
            consequence="Each runs on for another term. What is late or has no option is listed and left as it is.",
            run=_renew_one,
            sums={"Value": ("value", "currency")},
        ),
        BulkAction(
            name="submit",
            label="Submit",
            perm="contracts.change_contract",
            icon="send",
            possible=_in(ContractStatus.DRAFT),
            consequence="The approvers of each are asked.",
            run=lambda call: contract_submit(actor=call.actor, contract_id=call.obj.pk),
            sums={"Value": ("value", "currency")},
        ),
    ]

    # --- The list ---

    def get_queryset(self, request: HttpRequest) -> Any:
        rows: Any = super().get_queryset(request)
        return rows.with_status().defer("confidential_terms")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return ContractChangeList

    @admin.display(description="Contract", ordering="title")
    def name(self, contract: Contract) -> SafeString:
        return format_html(
            '<span>{} <span class="eb-quiet-text">{}</span></span>', contract.title, contract.number
        )

    @admin.display(description="Ends before", ordering="end_date")
    def ends(self, contract: Any) -> datetime.date | None:
        return _decided(contract).term_end

    @admin.display(description="Renewal")
    def renewal(self, contract: Any) -> SafeString | str:
        decision = _decided(contract)
        if decision.deadline is None:
            return str(contract.get_renewal_type_display()) if contract.current_status in RUNNING else "–"
        return format_html(
            '<span class="con-deadline" data-tone="{}" title="Last day for a notice">{} '
            '<span class="eb-quiet-text">{} days</span></span>',
            "warn" if decision.is_due else "neutral",
            decision.deadline,
            decision.days_left,
        )

    @admin.display(description="Value", ordering="value")
    def worth(self, contract: Any) -> SafeString:
        decision = _decided(contract)
        return amount_html(decision.value, decision.currency)

    # --- The page ---

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("renewals/", view(self.renewals_view), name="contracts_contract_renewals"),
            path("<int:pk>/edit/", view(self.edit_view), name="contracts_contract_edit"),
            path("<int:pk>/summary.pdf", view(self.pdf_view), name="contracts_contract_pdf"),
            path(
                "<int:pk>/confidential/", view(self.confidential_view), name="contracts_contract_confidential"
            ),
            *super().get_urls(),
        ]

    def bar_of(self, request: HttpRequest, obj: Any) -> list[BarItem]:
        now = status_on(obj, business_today(obj))
        return [
            item
            for item in super().bar_of(request, obj)
            if not isinstance(item.action, ContractAction)
            or ((not item.action.states or now in item.action.states) and item.action.concerns(obj))
        ]

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """An existing contract is read here; until it is signed, its form is a page of its own."""
        if object_id is None:
            return super().changeform_view(request, None, form_url, extra_context)
        contract = self._found(request, object_id)
        actor = actor_of(request)
        may_change = may(actor, "contracts.change_contract", contract)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": contract.title,
            "media": self.media,
            "actions_bar": self.bar_of(request, contract),
            "edit_url": reverse("admin:contracts_contract_edit", args=[contract.pk]) if may_change else "",
            "delete_url": self._url("delete", contract.pk)
            if self.has_delete_permission(request, contract)
            else "",
            **page_context(contract, actor),
        }
        return TemplateResponse(request, "admin/contracts/contract.html", context)

    def _found(self, request: HttpRequest, pk: Any) -> Contract:
        try:
            found = self.get_queryset(request).select_related(
                "entity", "issuer", "department", "owner", "parent", "predecessor", "budget"
            ).filter(pk=pk).first()  # fmt: skip
        except (TypeError, ValueError):
            found = None
        if found is None:
            raise Http404("There is no such contract, or it is outside your scope.")
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        contract: Contract = found
        return contract

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Before activation everything; afterwards only what was not signed."""
        contract = self._found(request, pk)
        if not may(request.user, "contracts.change_contract", contract):
            raise PermissionDenied
        return super().changeform_view(request, str(pk))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What was not signed can always be changed; the other fields are read-only then."""
        return may(request.user, "contracts.change_contract", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_draft = not isinstance(obj, Contract) or obj.status == ContractStatus.DRAFT
        return is_draft and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_readonly_fields(request, obj)
        if obj is None:
            return shown
        if not obj.is_activated:
            return [*shown, "entity"]
        return [*shown, *(each.name for each in self.opts.concrete_fields if each.name not in INTERNAL)]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return [] if obj is not None and obj.is_activated else self.inlines

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is None:
            # The service knows what they are by default: from the entity, and the start.
            for name in ("issuer", "currency", "billing_anchor", "time_zone", "payment_terms_days"):
                if name in form.base_fields:
                    form.base_fields[name].required = False
                    form.base_fields[name].initial = None
        return form

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().render_change_form(request, context, *args, **kwargs)
        # The actions stand on the contract's own page.
        response.context_data.pop("actions_bar", None)
        return response

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        response = super().response_change(request, obj)
        return (
            response if "_continue" in request.POST else redirect("admin:contracts_contract_change", obj.pk)
        )

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        response = super().response_add(request, obj, post_url_continue)
        if {"_addanother", "_popup"} & request.POST.keys():
            return response
        return redirect("admin:contracts_contract_change", obj.pk)

    def renewals_view(self, request: HttpRequest) -> HttpResponse:
        """Whose term ends when, and what is to be decided until when."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = {"months": request.GET.get("months", ""), "order": request.GET.get("order", "")}
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Renewals",
            "media": self.media,
            **pipeline_context(actor_of(request), **asked),
        }
        return TemplateResponse(request, "admin/contracts/renewals.html", context)

    def pdf_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What the contract says today, to print; `?download=1` saves it."""
        contract = self._found(request, pk)
        try:
            content = contract_pdf(contract)
        except REFUSALS as error:
            messages.error(request, " ".join(sentences(error)))
            return redirect("admin:contracts_contract_change", contract.pk)
        response = HttpResponse(content, content_type="application/pdf")
        kind = "attachment" if "download" in request.GET else "inline"
        response["Content-Disposition"] = f'{kind}; filename="{summary_name(contract)}"'
        return response

    def confidential_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The confidential terms, shown when asked for: each reading is recorded (SEC-02)."""
        contract = self._found(request, pk)
        if not may(request.user, "contracts.view_confidential_terms", contract):
            raise PermissionDenied
        text = None
        if request.method == "POST":
            text = confidential_terms_read(actor=actor_of(request), contract_id=contract.pk)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Confidential terms",
            "original": contract,
            "text": text,
            "back": self._url("change", contract.pk),
        }
        return TemplateResponse(request, "admin/contracts/confidential.html", context)

    # --- Services ---

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save_lines(actor_of(request), form.instance)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> Contract:
        return contract_create(
            actor=actor, **{name: value for name, value in data.items() if value not in (None, "")}
        )

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> Contract:
        return contract_update(actor=actor, contract_id=obj.pk, changes=data, reason=reason)

    def remove(self, actor: User, obj: Contract) -> None:
        contract_delete(actor=actor, contract_id=obj.pk)


def _decided(contract: Any) -> Decision:
    known: Decision | None = getattr(contract, "decision", None)
    return known or decisions_of([contract])[contract.pk]
