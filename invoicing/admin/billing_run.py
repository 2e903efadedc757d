"""Billing runs in the back-office: the list, a run with its payers, live progress, and the schedules."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from core import clock
from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import Badge, badge_column, badge_html, register_badges
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, money_column, number_column, number_text
from core.admin.errors import REFUSALS, add_refusal
from core.admin.filters import QuickFilter
from core.admin.progress import ProgressMixin
from core.clock import month_after
from core.models import User
from entities.admin.base import ServiceModelAdmin, actor_of
from entities.models import Entity
from invoicing.admin.invoice import MONTHS_OFFERED, period_text
from invoicing.models import (
    WORKING_RUNS,
    BillingRun,
    BillingRunItem,
    BillingSchedule,
    ItemStatus,
    RunStatus,
)
from invoicing.selectors.billing_anomalies import change_percent
from invoicing.selectors.billing_runs import RunCounts, run_counts, run_progress, run_totals
from invoicing.services.billing_runs import (
    item_leave_out,
    may_issue,
    run_cancel,
    run_check,
    run_create,
    run_issue,
    run_resume,
)
from invoicing.services.billing_schedules import due_on, schedule_create, schedule_delete, schedule_update
from invoicing.tasks import work_on_billing_run_after_commit

PAYERS_PER_PAGE = 50
FOR_A_WORKER = timedelta(minutes=2)
_INPUT = {"class": "eb-input"}

register_badges(
    {
        "preparing": Badge("Preparing", "sync", "info", "↻"),
        "prepared": Badge("Prepared", "fact_check", "warn", "◔"),
        "checked": Badge("Checked", "verified", "info", "✓"),
        "issuing": Badge("Issuing", "sync", "info", "↻"),
        "finished": Badge("Finished", "check_circle", "good", "✓"),
        "nothing_to_invoice": Badge("Nothing to invoice", "horizontal_rule", "neutral", "–"),
        "left_out": Badge("Left out", "person_off", "neutral", "⊘"),
        "unusual": Badge("Unusual", "troubleshoot", "warn", "!"),
    }
)


# --- Starting one ----------------------------------------------------------------------------------------


class RunForm(forms.Form):
    """The scope and the period; the months are buttons of the same form."""

    scope = forms.ModelChoiceField(
        queryset=Entity.objects.none(),
        empty_label="Choose whose payers are invoiced",
        widget=forms.Select(attrs=_INPUT),
        help_text="The run invoices every payer among this entity and those below it.",
    )
    period_start = forms.DateField(label="From", widget=forms.DateInput(attrs={**_INPUT, "type": "date"}))
    period_end = forms.DateField(
        label="Until before",
        widget=forms.DateInput(attrs={**_INPUT, "type": "date"}),
        help_text="The first day that is not billed any more: 1 October for all of September.",
    )
    issuer = forms.ModelChoiceField(
        queryset=Entity.objects.none(),
        required=False,
        empty_label="All issuers",
        widget=forms.Select(attrs=_INPUT),
        help_text="Only payers whom it invoices.",
    )

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scope: Any = self.fields["scope"]
        scope.queryset = Entity.objects.visible_to(user, "invoicing.add_billingrun").order_by("name")
        issuer: Any = self.fields["issuer"]
        issuer.queryset = Entity.objects.issuers().visible_to(user).order_by("name")


# --- What can be done with one ---------------------------------------------------------------------------


class IssueRunForm(forms.Form):
    """When the invoices are dated."""

    issue_date = forms.DateField(
        required=False,
        widget=forms.DateInput(attrs={**_INPUT, "type": "date"}),
        help_text="Of all invoices. Empty: the day on which each is issued. Not before the last of its series.",
    )


def _why_not_check(run: BillingRun, user: Any) -> str | None:
    if run.status == RunStatus.PREPARING:
        return "It is still being prepared."
    if run.status != RunStatus.PREPARED:
        return f"It is {run.get_status_display().lower()}: there is nothing to check."
    if not run_counts(run.pk).prepared:
        return "No invoice is prepared: resume the run, or leave the failed payers out."
    return None


def _why_not_issue(run: BillingRun, user: Any) -> str | None:
    if run.status != RunStatus.CHECKED:
        return "Somebody has to check it first." if run.is_open else "It is over."
    return None if may_issue(user, run) else "You may not issue for every issuer of these invoices."


def _why_not_resume(run: BillingRun, user: Any) -> str | None:
    if not run.is_open:
        return "It is over."
    if run.status in WORKING_RUNS:
        return None if _stands_still(run) else "A worker is at it."
    return None if run_counts(run.pk).failed else "No payer has failed: there is nothing to do again."


def _why_not_cancel(run: BillingRun, user: Any) -> str | None:
    return None if run.is_open else "It is over."


def _stands_still(run: BillingRun) -> bool:
    """Whether nothing has moved for so long that its worker has probably ended."""
    last = run.items.order_by("-updated_at").values_list("updated_at", flat=True).first()
    return clock.now() - max(run.updated_at, last or run.updated_at) > FOR_A_WORKER


def _check_consequence(run: BillingRun) -> str:
    counts = run_counts(run.pk)
    text = f"{counts.prepared:,} invoices ({_sums(run)}) may be issued exactly as they are prepared now."
    if counts.unusual:
        text += f" {counts.unusual:,} of them are unusual: you have looked at them."
    if counts.failed:
        text += f" {counts.failed:,} payers have failed and are not invoiced; the run stays open for them."
    return text


def _issue_consequence(run: BillingRun) -> str:
    return (
        f"{run_counts(run.pk).prepared:,} invoices ({_sums(run)}) get their numbers, one after the other. After that "
        "nobody can edit or delete them. A draft that was changed since it was prepared is not issued but reported."
    )


def _cancel_consequence(run: BillingRun) -> str:
    issued = run_counts(run.pk).issued
    kept = f" {issued:,} invoices are issued and stay." if issued else ""
    return f"The drafts that it made are discarded; all that they hold can be invoiced again.{kept}"


def _sums(run: BillingRun) -> str:
    totals = [total for total in run_totals(run) if total.status == ItemStatus.PREPARED]
    sums = [f"{number_text(total.total)} {total.currency}" for total in totals if total.invoices]
    sums += [
        f"{number_text(total.credit_notes)} credit notes of {number_text(total.credited)} {total.currency}"
        for total in totals
        if total.credit_notes
    ]
    return ", ".join(sums) or "nothing"


def _worked_on(run: BillingRun) -> BillingRun:
    work_on_billing_run_after_commit(run)
    return run


# --- The page of a run -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShownPayer:
    """A payer ready for the page."""

    item: BillingRunItem
    url: str
    state: SafeString
    total: SafeString
    last: SafeString
    change: str
    invoice: str
    invoice_url: str
    credit_notes: Sequence[tuple[str, str]]


def shown_payer(item: BillingRunItem) -> ShownPayer:
    """Make a row of the page; `entity` and `invoice` are loaded with the items."""
    percent = None
    if item.total is not None and item.previous_total is not None:
        percent = change_percent(item.total, item.previous_total)
    return ShownPayer(
        item=item,
        url=reverse("admin:invoicing_billingrunitem_change", args=[item.pk]),
        state=badge_html(item.status),
        total=amount_html(item.total, item.currency),
        last=amount_html(item.previous_total, item.currency),
        change="" if percent is None else f"{'+' if percent > 0 else ''}{number_text(percent, 1)} %",
        invoice=str(item.invoice) if item.invoice else "",
        invoice_url=reverse("admin:invoicing_invoice_change", args=[item.invoice_id])
        if item.invoice_id
        else "",
        credit_notes=[
            (note["number"], reverse("admin:invoicing_invoice_change", args=[note["credit_note_id"]]))
            for note in item.credit_notes
            if note["credit_note_id"]
        ],
    )


@dataclass(frozen=True, slots=True)
class Chip:
    """A state with its count, which shows only payers in it."""

    label: str
    count: str
    url: str
    current: bool


_SHOW = (
    ("", "All", "payers"),
    ("prepared", "Prepared", "prepared"),
    ("unusual", "Unusual", "unusual"),
    ("failed", "Failed", "failed"),
    ("waiting", "Waiting", "waiting"),
    ("issued", "Issued", "issued"),
    ("nothing_to_invoice", "Nothing to invoice", "nothing_to_invoice"),
    ("left_out", "Left out", "left_out"),
)


def chips(counts: RunCounts, shown: str) -> list[Chip]:
    """The filters of the payers that find something."""
    return [
        Chip(label, number_text(getattr(counts, name)), f"?show={value}" if value else "?", value == shown)
        for value, label, name in _SHOW
        if not value or getattr(counts, name) or value == shown
    ]


def payers_shown(run: BillingRun, shown: str, page: Any) -> Page[BillingRunItem]:
    """A page of the run's payers, all or those in a state."""
    items = run.items.select_related("entity", "invoice").order_by("position")
    if shown == "unusual":
        items = items.filter(status=ItemStatus.PREPARED).exclude(anomalies=[])
    elif shown in ItemStatus.values:
        items = items.filter(status=shown)
    return Paginator(items, PAYERS_PER_PAGE).get_page(page)


def _facts(run: BillingRun) -> list[tuple[str, str]]:
    def who(user: User | None, moment: Any) -> str:
        return f"{user.display_name}, {moment:%Y-%m-%d %H:%M} UTC" if user and moment else ""

    ended = "Cancelled" if run.status == RunStatus.CANCELLED else "Finished"
    facts = [
        ("Issuer", run.issuer.name if run.issuer else "All"),
        ("Issue date", str(run.issue_date or "")),
        ("Started", who(run.started_by, run.started_at)),
        ("Checked", who(run.checked_by, run.checked_at)),
        ("Issued", who(run.issuing_by, run.issuing_at)),
        (ended, who(run.finished_by, run.finished_at)),
    ]
    return [(label, value) for label, value in facts if value]


@admin.register(BillingRun)
class BillingRunAdmin(ProgressMixin, BillingModelAdmin):
    """The list of runs; each opens as a page with its payers."""

    list_display = [
        "__str__", "scope", "period", "state", number_column("payers"),
        number_column("count_prepared", label="Prepared"), number_column("count_unusual", label="Unusual"),
        number_column("count_failed", label="Failed"), number_column("count_issued", label="Issued"),
        "started_by", "started_at",
    ]  # fmt: skip
    export_fields = [
        "id", "scope", "issuer", "period_start", "period_end", "status", "issue_date", "started_by", "started_at",
        "checked_by", "checked_at", "finished_by", "finished_at", "cancel_reason",
    ]  # fmt: skip
    list_filter = ["status", "scope", "period_start", "started_at"]
    list_select_related = ["scope", "started_by"]
    search_fields = ["scope__name", "scope__code"]
    ordering = ["-id"]
    quick_filters = [
        QuickFilter("To be checked", "status__exact=prepared", icon="fact_check"),
        QuickFilter("Under way", "status__in=preparing,issuing", icon="sync"),
        QuickFilter("Checked", "status__exact=checked", icon="verified"),
    ]
    empty_state = EmptyState(
        "No billing runs yet",
        "A run prepares the invoices of all payers of a group for a month, shows what is unusual, and issues them once "
        "somebody has checked them.",
        "New billing run",
        "admin:invoicing_billingrun_add",
    )
    actions_bar = [
        ObjectAction(
            name="check",
            label="Check",
            main=True,
            perm="invoicing.check_billingrun",
            icon="verified",
            possible=_why_not_check,
            consequence=_check_consequence,
            run=lambda call: run_check(actor=call.actor, run=call.obj),
            done="The run is checked. It can be issued now.",
        ),
        ObjectAction(
            name="issue",
            label="Issue",
            main=True,
            perm="invoicing.change_billingrun",
            icon="send",
            form=IssueRunForm,
            possible=_why_not_issue,
            consequence=_issue_consequence,
            run=lambda call: _worked_on(
                run_issue(actor=call.actor, run=call.obj, issue_date=call.data.get("issue_date"))
            ),
            done="The invoices are being issued.",
        ),
        ObjectAction(
            name="resume",
            label="Resume",
            main=True,
            perm="invoicing.change_billingrun",
            icon="restart_alt",
            possible=_why_not_resume,
            consequence=(
                "What was interrupted goes on where it stopped; payers that failed are prepared again. Nothing is done "
                "twice. A run that was checked has to be checked again."
            ),
            run=lambda call: _worked_on(run_resume(actor=call.actor, run=call.obj)),
            done="The run goes on.",
        ),
        ObjectAction(
            name="cancel",
            label="Cancel the run",
            perm="invoicing.change_billingrun",
            icon="block",
            danger=True,
            needs_reason=True,
            possible=_why_not_cancel,
            consequence=_cancel_consequence,
            run=lambda call: _worked_on(run_cancel(actor=call.actor, run=call.obj, reason=call.reason)),
            done="The run is cancelled.",
        ),
    ]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return rows.counted()

    @admin.display(description="Status", ordering="status")
    def state(self, run: BillingRun) -> SafeString:
        return badge_html(run.status, run.get_status_display())

    @admin.display(description="Period", ordering="period_start")
    def period(self, run: BillingRun) -> str:
        return period_text(run.period_start, run.period_end)

    # --- pages ---

    def progress_key(self, obj: BillingRun) -> str:
        return str(obj.pk) if obj.status in WORKING_RUNS else ""

    def progress_view(self, request: HttpRequest, object_id: str) -> JsonResponse:
        """Answer the bar from the payers' states: nothing else has to be kept in step."""
        run: Any = self.get_object(request, object_id)
        if run is None:
            raise Http404("There is no such run, or it is outside your scope.")
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        progress = run_progress(run.status, run_counts(run.pk))
        if run.status not in WORKING_RUNS:
            return JsonResponse({"percent": 100, "state": "done", "words": progress.words})
        percent = progress.done * 100 // progress.total if progress.total else 0
        words = f"{progress.words}."
        if _stands_still(run):
            words += " Nothing has moved for a while: resume the run."
        return JsonResponse({"percent": percent, "state": "running", "words": words})

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form, with the months as buttons; POST starts the run and hands it to a worker."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        this_month = clock.today().replace(day=1)
        firsts = [month_after(this_month, -back) for back in range(1, MONTHS_OFFERED + 1)]
        initial: dict[str, Any] = {"period_start": firsts[0], "period_end": this_month}
        chosen = next((first for first in firsts if f"{first:%Y-%m}" == request.GET.get("month")), None)
        if chosen is not None:
            initial = {"period_start": chosen, "period_end": month_after(chosen)}
        if request.GET.get("scope", "").isdigit():
            initial["scope"] = request.GET["scope"]
        form = RunForm(request.user, request.POST if request.method == "POST" else None, initial=initial)
        if request.method == "POST" and form.is_valid():
            try:
                run = _worked_on(run_create(actor=actor_of(request), **form.cleaned_data))
            except REFUSALS as error:
                add_refusal(form, error)
            else:
                messages.success(request, "The run has begun: its drafts are being prepared.")
                return redirect(self._url("change", run.pk))
        context = {
            **self.admin_site.each_context(request),
            "title": "New billing run",
            "opts": self.opts,
            "form": form,
            "months": [(f"{first:%Y-%m}", f"{first:%b %Y}") for first in firsts],
        }
        status = 400 if form.errors else 200
        return TemplateResponse(request, "admin/invoicing/billing_run_start.html", context, status=status)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        found: Any = self.get_queryset(request).select_related(
            "scope", "issuer", "schedule", "started_by", "checked_by", "issuing_by", "finished_by"
        )
        run = found.filter(pk=object_id).first() if object_id.isdigit() else None
        if run is None:
            raise Http404("There is no such run, or it is outside your scope.")
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        shown = request.GET.get("show", "")
        counts = run_counts(run.pk)
        page = payers_shown(run, shown, request.GET.get("p"))
        working = run.status in WORKING_RUNS
        totals = run_totals(run)
        context = {
            **self.admin_site.each_context(request),
            "title": str(run),
            "opts": self.opts,
            "original": run,
            "run": run,
            "period": period_text(run.period_start, run.period_end),
            "state": badge_html(run.status, run.get_status_display()),
            "facts": _facts(run),
            "counts": counts,
            "chips": chips(counts, shown),
            "shown": shown,
            "totals": [
                (
                    total.currency,
                    badge_html(total.status),
                    number_text(total.invoices),
                    *_amounts(total),
                    number_text(total.credit_notes) if total.credit_notes else "",
                    amount_html(total.credited, total.currency) if total.credit_notes else "",
                )
                for total in totals
            ],
            "any_credits": any(total.credit_notes for total in totals),
            "page": page,
            "payers": [shown_payer(item) for item in page],
            "actions_bar": self.bar_of(request, run),
            "progress_url": self._url("progress", run.pk) if working else "",
            "then_url": request.path,
            "items_url": f"{reverse('admin:invoicing_billingrunitem_changelist')}?run__id__exact={run.pk}",
            "history_url": self._url("history", run.pk),
        }
        return TemplateResponse(request, "admin/invoicing/billing_run.html", context)


def _amounts(total: Any) -> tuple[SafeString, SafeString, SafeString]:
    return tuple(  # type: ignore[return-value]  # three of them
        amount_html(amount, total.currency) for amount in (total.subtotal, total.tax_total, total.total)
    )


# --- A payer of a run ------------------------------------------------------------------------------------


def _why_not_leave_out(item: BillingRunItem, user: Any) -> str | None:
    if item.status == ItemStatus.ISSUED:
        return "Its invoice is issued: what is wrong with it is corrected by a credit note."
    if item.status == ItemStatus.LEFT_OUT:
        return "It is left out already."
    return (
        None
        if item.run.status in (RunStatus.PREPARED, RunStatus.CHECKED)
        else "The run is not to be checked now."
    )


def _why_not_again(item: BillingRunItem, user: Any) -> str | None:
    if item.status == ItemStatus.ISSUED:
        return "Its invoice is issued."
    return (
        None
        if item.run.status in (RunStatus.PREPARED, RunStatus.CHECKED)
        else "The run is not to be checked now."
    )


def _prepare_again(call: ActionCall) -> BillingRun:
    return _worked_on(run_resume(actor=call.actor, run=call.obj.run, items=[call.obj]))


@admin.register(BillingRunItem)
class BillingRunItemAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """The payers of runs, to filter, sum and export; each with what is unusual about it."""

    list_display = [
        "payer", "run", badge_column("status"), money_column("total"),
        money_column("previous_total", label="Last time"), "unusual", "document", "credits",
    ]  # fmt: skip
    export_fields = [
        "run", "entity", "status", "line_count", money_column("subtotal"), money_column("tax_total"),
        money_column("total"), money_column("previous_total"), "unusual_text", "error_code", "error_text",
        "left_out_reason", "invoice", "credits_text",
    ]  # fmt: skip
    list_filter = ["run", "status", "entity", "currency", "error_code"]
    list_select_related = ["run__scope", "entity", "invoice"]
    search_fields = ["entity__name", "entity__code", "invoice__number"]
    ordering = ["-run_id", "position"]
    totals = {"total": Sum("total")}
    quick_filters = [
        QuickFilter("Failed", "status__exact=failed", icon="error"),
        QuickFilter("Left out", "status__exact=left_out", icon="person_off"),
    ]
    fields = [
        "run", "entity", "status", "document", "credits", "money_total", "money_previous_total", "line_count",
        "findings", "error_text", "left_out_reason", "attempts", "prepared_at", "issued_at",
    ]  # fmt: skip
    readonly_fields = ["document", "credits", "money_total", "money_previous_total", "findings"]
    empty_state = EmptyState("No payers", "They appear with the first billing run.")
    actions_bar = [
        ObjectAction(
            name="leave-out",
            label="Leave out",
            perm="invoicing.check_billingrun",
            icon="person_off",
            needs_reason=True,
            possible=_why_not_leave_out,
            consequence="The payer is not invoiced by this run. The draft that the run made is discarded.",
            run=lambda call: item_leave_out(actor=call.actor, item=call.obj, reason=call.reason),
            done=lambda item: f"{item.entity} is left out.",
        ),
        ObjectAction(
            name="again",
            label="Prepare again",
            main=True,
            perm="invoicing.change_billingrun",
            icon="refresh",
            possible=_why_not_again,
            consequence=(
                "The draft is brought up to date, with the charges, rates and names of now. The run has to be checked "
                "(again) before it is issued."
            ),
            run=_prepare_again,
            done="The payer is being prepared again.",
        ),
    ]

    @admin.display(description="Payer", ordering="entity__name")
    def payer(self, item: BillingRunItem) -> str:
        return item.entity.name

    @admin.display(description="Unusual")
    def unusual(self, item: BillingRunItem) -> SafeString | str:
        return badge_html("unusual", f"{len(item.anomalies)} unusual") if item.anomalies else "–"

    @admin.display(description="Unusual")
    def unusual_text(self, item: BillingRunItem) -> str:
        return " ".join(anomaly["detail"] for anomaly in item.anomalies)

    @admin.display(description="What is unusual")
    def findings(self, item: BillingRunItem) -> SafeString | str:
        rows: Sequence[tuple[str]] = [(anomaly["detail"],) for anomaly in item.anomalies]
        return format_html_join(SafeString(""), "<p>{}</p>", rows) if rows else "Nothing."

    @admin.display(description="Total")
    def money_total(self, item: BillingRunItem) -> SafeString:
        return amount_html(item.total, item.currency)

    @admin.display(description="Last time")
    def money_previous_total(self, item: BillingRunItem) -> SafeString:
        return amount_html(item.previous_total, item.currency)

    @admin.display(description="Invoice", ordering="invoice__number")
    def document(self, item: BillingRunItem) -> SafeString | str:
        if item.invoice is None:
            return "–"
        url = reverse("admin:invoicing_invoice_change", args=[item.invoice_id])
        return format_html('<a class="eb-link" href="{}">{}</a>', url, item.invoice)

    @admin.display(description="Credit notes")
    def credits(self, item: BillingRunItem) -> SafeString | str:
        """The credit notes of the run, issued ones as links; what is planned by what it corrects."""
        rows = [_credit_note_html(note) for note in item.credit_notes]
        return format_html_join(SafeString("<br>"), "{}", ((row,) for row in rows)) if rows else "–"

    @admin.display(description="Credit notes")
    def credits_text(self, item: BillingRunItem) -> str:
        return ", ".join(_credit_note_text(note) for note in item.credit_notes)


def _credit_note_text(note: dict[str, Any]) -> str:
    return f"{note['number'] or 'planned'}: {note['total']} {note['currency']} for {note['corrects']}"


def _credit_note_html(note: dict[str, Any]) -> SafeString | str:
    if not note["credit_note_id"]:
        return _credit_note_text(note)
    url = reverse("admin:invoicing_invoice_change", args=[note["credit_note_id"]])
    return format_html('<a class="eb-link" href="{}">{}</a>', url, _credit_note_text(note))


# --- Schedules -------------------------------------------------------------------------------------------


@admin.register(BillingSchedule)
class BillingScheduleAdmin(ServiceModelAdmin):
    """When runs start by themselves."""

    list_display = ["scope", "day_of_month", "issue_mode", "is_active", "next_month", "due", "problem"]
    list_filter = ["scope", "issue_mode", "is_active"]
    list_select_related = ["scope"]
    search_fields = ["scope__name", "scope__code"]
    fields = ["scope", "issuer", "day_of_month", "issue_mode", "is_active", "change_reason"]
    guarded_relations = ("issuer",)
    empty_state = EmptyState(
        "No billing schedules yet",
        "A schedule starts a billing run every month for the month before, and catches up what was missed.",
        "Add a schedule",
        "admin:invoicing_billingschedule_add",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fixed = super().get_readonly_fields(request, obj)
        return fixed if obj is None else ["scope", *fixed]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "issuer":
            kwargs["queryset"] = Entity.objects.issuers()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> BillingSchedule:
        return schedule_create(actor=actor, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> BillingSchedule:
        return schedule_update(actor=actor, schedule=obj, reason=reason, **data)

    def remove(self, actor: User, obj: Any) -> None:
        schedule_delete(actor=actor, schedule=obj)

    @admin.display(description="Next month", ordering="next_period")
    def next_month(self, schedule: BillingSchedule) -> str:
        return f"{schedule.next_period:%B %Y}"

    @admin.display(description="Starts on")
    def due(self, schedule: BillingSchedule) -> str:
        return str(due_on(schedule)) if schedule.is_active else "–"

    @admin.display(description="Last problem")
    def problem(self, schedule: BillingSchedule) -> str:
        return schedule.last_problem or "–"
