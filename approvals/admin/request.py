"""Requests in the back-office: the list, the document one can read, and what those who look after approvals may do."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals.admin.base import (
    ConcernedAction,
    ConcernedActionsMixin,
    PersonForm,
    SeenAndSaidForm,
    SeenForm,
    type_choices,
)
from approvals.admin.request_page import page_context
from approvals.models import ApprovalRequest, ApprovalTask, RequestStatus, TaskStatus
from approvals.registry import type_label
from approvals.selectors.workload import DAYS, duration_words, workload
from approvals.services.recall import may_recall, vote_recall
from approvals.services.requests import (
    emergency_review,
    request_approve_in_emergency,
    request_recalculate,
    request_withdraw,
    task_reassign,
)
from approvals.services.votes import request_approve, request_reject, request_send_back
from core import clock
from core.admin.actions import ActionCall, ObjectAction, ReasonForm
from core.admin.badges import badge_html
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import money_column
from core.admin.errors import REFUSALS, add_refusal
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from core.models import User
from core.money import format_money
from entities.admin.base import actor_of

OVERRIDE = "approvals.override_approvalrequest"
UNDECIDED = (RequestStatus.PENDING, RequestStatus.BLOCKED)


def overdue_tasks(request_path: str = "request_id") -> QuerySet[ApprovalTask]:
    """Open tasks of steps whose time is over, or that escalated already, for use in `Exists`."""
    rows: QuerySet[ApprovalTask] = ApprovalTask.objects.open().filter(
        Q(step__escalates_at__lte=clock.now()) | Q(step__hops_done__gt=0)
    )
    return rows.filter(**{request_path: OuterRef("pk")})


class TypeFilter(admin.SimpleListFilter):
    """The type of request."""

    title = "type"
    parameter_name = "request_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return type_choices("")[1:]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(request_type=self.value()) if self.value() else queryset


class AskedFilter(admin.SimpleListFilter):
    """Whose decision it waits for."""

    title = "waiting for"
    parameter_name = "asked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        asked = ApprovalTask.objects.visible_to(actor_of(request)).open().values("approver_id")
        people = User.objects.filter(pk__in=asked).order_by("last_name", "username")
        return [(str(person.pk), person.display_name) for person in people]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = str(self.value() or "")
        if not chosen.isdigit():
            return queryset
        tasks = ApprovalTask.objects.open().filter(approver_id=int(chosen))
        return queryset.filter(pk__in=tasks.values("request_id"))


class StandingFilter(admin.SimpleListFilter):
    """How it stands, beyond its state."""

    title = "standing"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("mine", "Waiting for me"),
            ("overdue", "Overdue"),
            ("review", "Emergency to review"),
            ("failed", "Effect refused"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen == "mine":
            waiting = ApprovalTask.objects.waiting_for(actor_of(request))
            return queryset.filter(pk__in=waiting.values("request_id"))
        if chosen == "overdue":
            return queryset.filter(overdue_condition())
        if chosen == "review":
            return queryset.filter(TO_REVIEW)
        if chosen == "failed":
            return queryset.filter(status__in=UNDECIDED).exclude(effect_error="")
        return queryset


TO_REVIEW = Q(emergency_review_due__isnull=False, emergency_reviewed_by__isnull=True)


def overdue_condition() -> Q:
    """Being decided for longer than a level's time, or past the request's own."""
    late = Q(status__in=UNDECIDED, expires_at__lte=clock.now())
    return late | Q(Exists(overdue_tasks()), status=RequestStatus.PENDING)


# --- Actions ---------------------------------------------------------------------------------------------


def _seen(request: Any, user: Any) -> dict[str, str]:
    return {"seen": request.content_hash}


def _is_asked(request: Any, user: Any) -> bool:
    return bool(
        request.status == RequestStatus.PENDING
        and ApprovalTask.objects.waiting_for(user).filter(request_id=request.pk).exists()
    )


def _undecided(request: Any, user: Any) -> str | None:
    if request.status in UNDECIDED:
        return None
    return f"It is {request.get_status_display().lower()}: nothing is left to decide."


def _vote(service: Any) -> Any:
    def run(call: ActionCall) -> ApprovalRequest:
        voted: ApprovalRequest = service(
            actor=call.actor,
            request_id=call.obj.pk,
            comment=call.data.get("comment", ""),
            content_hash=call.data.get("seen") or None,
        )
        return voted

    return run


def _approved(request: ApprovalRequest) -> str:
    if request.effect_error:
        return f"Your vote does not stand: its effect was refused. {request.effect_error}"
    if request.status == RequestStatus.APPROVED:
        return f"{request.reference_number} is approved, and its effect is booked."
    return f"Your approval of {request.reference_number} counts. Others are still asked."


def _not_own_emergency(request: Any, user: Any) -> str | None:
    if user.pk in (request.requester_id, request.created_by_id, request.edited_by_id, request.payee_id):
        return "Nobody approves what they asked for, entered, changed or would be paid by, not even in an emergency."
    return _undecided(request, user)


def _open(request: Any) -> bool:
    return request.status in UNDECIDED


ACTIONS: list[ObjectAction] = [
    ConcernedAction(
        name="approve",
        label="Approve",
        main=True,
        perm="",
        icon="check_circle",
        form=SeenForm,
        initial=_seen,
        concerns=_is_asked,
        possible=_undecided,
        consequence=lambda request: (
            "It counts as your vote. The last vote that is needed approves the request and books its effect: "
            f"{type_label(request.request_type).lower()} of {format_money(request.amount, request.currency)}."
        ),
        run=_vote(request_approve),
        done=_approved,
    ),
    ConcernedAction(
        name="recall",
        label="Take my vote back",
        perm="",
        icon="undo",
        concerns=lambda request, user: request.status == RequestStatus.PENDING and may_recall(request, user),
        consequence="Your level asks you again, and the next one waits until you have decided. The trail keeps both.",
        run=lambda call: vote_recall(actor=call.actor, request_id=call.obj.pk),
        done=lambda request: (
            f"Your vote on {request.reference_number} is taken back. It waits for you again."
        ),
    ),
    ConcernedAction(
        name="send-back",
        label="Ask for changes",
        perm="",
        icon="undo",
        form=SeenAndSaidForm,
        initial=_seen,
        concerns=_is_asked,
        possible=_undecided,
        consequence="The requester can change it and submit it again. Its money stays committed meanwhile.",
        run=_vote(request_send_back),
        done=lambda request: f"{request.reference_number} is with the requester.",
    ),
    ConcernedAction(
        name="reject",
        label="Reject",
        perm="",
        icon="cancel",
        danger=True,
        form=SeenAndSaidForm,
        initial=_seen,
        concerns=_is_asked,
        possible=_undecided,
        consequence="Where one rejection is enough it ends the request, and its money is free again.",
        run=_vote(request_reject),
        done=lambda request: (
            f"{request.reference_number} is rejected."
            if request.status == RequestStatus.REJECTED
            else f"Your rejection of {request.reference_number} counts. Others are still asked."
        ),
    ),
    ConcernedAction(
        name="withdraw",
        label="Withdraw",
        perm="",
        icon="remove_done",
        danger=True,
        needs_reason=True,
        concerns=lambda request, user: (
            request.is_open and user.pk in (request.requester_id, request.created_by_id)
        ),
        possible=lambda request, user: None if request.is_open else _undecided(request, user),
        consequence="Nobody is asked any more, and its money is free again. A new request is needed to ask anew.",
        run=lambda call: request_withdraw(actor=call.actor, request_id=call.obj.pk, comment=call.reason),
        done=lambda request: f"{request.reference_number} is withdrawn.",
    ),
    ConcernedAction(
        name="recalculate",
        label="Recalculate",
        perm=OVERRIDE,
        icon="sync",
        needs_reason=True,
        concerns=lambda request, user: _open(request),
        possible=_undecided,
        consequence="A new round begins: rules and approvers are worked out as they are now, and votes given so far no "
        "longer count. It is logged with your reason.",
        run=lambda call: request_recalculate(actor=call.actor, request_id=call.obj.pk, reason=call.reason),
        done=lambda request: (
            f"{request.reference_number} is still blocked: {request.blocked_reason}"
            if request.status == RequestStatus.BLOCKED
            else f"{request.reference_number} is in round {request.round}."
        ),
    ),
    ConcernedAction(
        name="emergency",
        label="Approve in an emergency",
        perm=OVERRIDE,
        icon="emergency",
        danger=True,
        needs_reason=True,
        concerns=lambda request, user: _open(request),
        possible=_not_own_emergency,
        consequence="It is approved at once without the votes of its levels, and its effect is booked. A second person "
        "must review it within hours, and sees your reason.",
        run=lambda call: request_approve_in_emergency(
            actor=call.actor, request_id=call.obj.pk, reason=call.reason
        ),
        done=lambda request: f"{request.reference_number} is approved. A second person reviews it.",
    ),
    ConcernedAction(
        name="review",
        label="Review the emergency",
        main=True,
        perm=OVERRIDE,
        icon="fact_check",
        needs_reason=True,
        concerns=lambda request, user: (
            request.emergency_review_due is not None and request.emergency_reviewed_by_id is None
        ),
        consequence=lambda request: (
            f"You confirm that it was an emergency. The reason given was: “{request.emergency_reason}”"
        ),
        run=lambda call: emergency_review(actor=call.actor, request_id=call.obj.pk, comment=call.reason),
        done=lambda request: f"The emergency approval of {request.reference_number} is reviewed.",
    ),
]


class ReassignForm(ReasonForm, PersonForm):
    """To whom, and why."""

    field_order = ("to_user", "reason")


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(ReadOnlyAdminMixin, ConcernedActionsMixin, BillingModelAdmin):
    """What people ask for, and how it stands; it changes by votes and actions only."""

    class Media:
        css = {"all": ["budgets/budgets.css", "approvals/admin.css"]}

    list_display = [
        "number",
        "title",
        "state",
        money_column("amount"),
        "kind",
        "place",
        "asked_by",
        "submitted_at",
        "expires_at",
    ]
    list_display_links = ["number", "title"]
    list_filter = [
        StandingFilter,
        AskedFilter,
        "status",
        TypeFilter,
        "entity",
        "department",
        "requester",
        "currency",
        "submitted_at",
        "decided_at",
    ]
    list_select_related = ["entity", "department", "requester"]
    search_fields = ["=id", "title", "description", "supplier", "reference", "requester__last_name"]
    search_help_text = "Number (without APR-), title, supplier, reference or requester."
    ordering = ["-id"]
    totals = {"amount": Sum("amount")}
    quick_filters = [
        QuickFilter("Waiting for me", "standing=mine", icon="inbox"),
        QuickFilter("Being decided", "status__exact=pending", icon="hourglass_top"),
        QuickFilter("Overdue", "standing=overdue", icon="alarm"),
        QuickFilter("Blocked", "status__exact=blocked", icon="front_hand"),
        QuickFilter("Emergency to review", "standing=review", icon="emergency", perm=OVERRIDE),
        QuickFilter("Effect refused", "standing=failed", icon="error"),
    ]
    empty_state = EmptyState(
        "No requests yet",
        "Somebody asks for a purchase, licences or more budget; the rules say who decides. People ask on their own "
        "pages or through the API.",
        "Ask for something",
        "approvals:new",
    )
    actions_bar = ACTIONS

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever is asked, or has asked, sees it wherever it belongs (the list is scoped so).
        return super().has_view_permission(request, None)

    def get_queryset(self, request: HttpRequest) -> Any:
        return (
            super()
            .get_queryset(request)
            .annotate(is_overdue=Exists(overdue_tasks()))
            # The list never shows bank details: they are not decrypted for it.
            .defer("supplier_account", "route", "approved_content", "details")
        )

    @admin.display(description="Number", ordering="id")
    def number(self, request: ApprovalRequest) -> str:
        return request.reference_number

    @admin.display(description="Asked by", ordering="requester__last_name")
    def asked_by(self, request: ApprovalRequest) -> str:
        return request.requester.display_name

    @admin.display(description="Type", ordering="request_type")
    def kind(self, request: ApprovalRequest) -> str:
        return type_label(request.request_type)

    @admin.display(description="For", ordering="department__name")
    def place(self, request: ApprovalRequest) -> SafeString | str:
        if request.department is None:
            return request.entity.name
        return format_html(
            '<span>{} <span class="eb-quiet-text" title="{}">{}</span></span>',
            request.department.name,
            request.entity.name,
            request.entity.code,
        )

    @admin.display(description="State", ordering="status")
    def state(self, request: Any) -> SafeString:
        return state_badges(request, is_overdue=request.is_overdue)

    # --- The document ---

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.reassign_view)
        return [
            path(
                "workload/",
                self.admin_site.admin_view(self.workload_view),
                name="approvals_approvalrequest_workload",
            ),
            path("<int:pk>/reassign/<int:task>/", view, name="approvals_approvalrequest_reassign"),
            *super().get_urls(),
        ]

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The trail is the history, and stands on the page itself (APR-26)."""
        return redirect(f"{reverse('admin:approvals_approvalrequest_change', args=[object_id])}#trail")

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A request is read here."""
        if request.method != "GET":
            raise PermissionDenied
        found = self._found(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(found),
            "media": self.media,
            "actions_bar": self.bar_of(request, found),
            **page_context(found, actor_of(request), may_reassign=may(request.user, OVERRIDE, found)),
        }
        return TemplateResponse(request, "admin/approvals/request.html", context)

    def _found(self, request: HttpRequest, pk: Any) -> ApprovalRequest:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found: ApprovalRequest | None = self.get_object(request, str(pk))
        if found is None:
            raise Http404("There is no such request, or it is outside your scope.")
        return found

    def workload_view(self, request: HttpRequest) -> HttpResponse:
        """How busy each approver is."""
        if not may(request.user, "approvals.view_delegation"):
            raise PermissionDenied
        rows = workload(actor_of(request))
        context = {
            **self.admin_site.each_context(request),
            "title": "Workload of approvers",
            "opts": self.opts,
            "media": self.media,
            "rows": [(row, "" if row.median is None else duration_words(row.median)) for row in rows],
            "waiting": sum(row.waiting for row in rows),
            "overdue": sum(row.overdue for row in rows),
            "days": DAYS,
            "list_url": reverse("admin:approvals_approvalrequest_changelist"),
        }
        return TemplateResponse(request, "admin/approvals/workload.html", context)

    def reassign_view(self, request: HttpRequest, pk: int, task: int) -> HttpResponse:
        """Give one person's open task to another (APR-21)."""
        found = self._found(request, pk)
        if not may(request.user, OVERRIDE, found):
            raise PermissionDenied
        asked = found.tasks.select_related("approver", "step").filter(pk=task).first()
        if asked is None:
            raise Http404("There is no such task.")
        back = reverse("admin:approvals_approvalrequest_change", args=[pk])
        why_not = "" if asked.status == TaskStatus.OPEN else "That task is not open any more."
        form = ReassignForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and not why_not and form.is_valid():
            data = form.cleaned_data
            try:
                given = task_reassign(
                    actor=actor_of(request), task_id=task, to_user=data["to_user"], reason=data["reason"]
                )
            except REFUSALS as error:
                add_refusal(form, error)
            else:
                messages.success(request, f"{given.approver.display_name} is asked now, and told.")
                return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": "Reassign",
            "opts": self.opts,
            "original": found,
            "action": ObjectAction(
                name="reassign",
                label="Reassign",
                perm=OVERRIDE,
                run=lambda call: None,
                consequence="",
                icon="forward",
            ),
            "consequence": f"{asked.approver.display_name} is no longer asked at “{asked.step.name}”: whom you name "
            "is. It is logged with your reason.",
            "why_not": why_not,
            "form": form,
            "media": self.media + form.media,
            "back": back,
        }
        return TemplateResponse(
            request, "admin/approvals/reassign.html", context, status=409 if why_not else 200
        )


def state_badges(request: ApprovalRequest, *, is_overdue: bool = False) -> SafeString:
    """The state, and what else is to be looked at."""
    badges = badge_html(request.status)
    if is_overdue and request.status == RequestStatus.PENDING:
        badges = format_html("{} {}", badges, badge_html("overdue"))
    if request.emergency_review_due is not None and request.emergency_reviewed_by_id is None:
        badges = format_html("{} {}", badges, badge_html("to_review", "Emergency to review"))
    if request.effect_error and request.is_open:
        badges = format_html("{} {}", badges, badge_html("failed", "Effect refused"))
    return badges
