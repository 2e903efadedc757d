"""Usage in the back-office: files in with a live bar, what they brought, rows to repair, rules that map them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from core import clock
from core.access import system_actor
from core.admin.actions import ActionCall, BulkAction, ObjectAction
from core.admin.badges import Badge, badge_html, register_badges
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, number_column, number_text
from core.admin.errors import REFUSALS, add_refusal, sentences
from core.admin.filters import QuickFilter
from core.admin.progress import ProgressMixin
from core.admin.scoping import may, visible
from core.admin.upload import UploadForm, UploadResult, upload_page
from core.errors import BillingError
from core.models import User
from core.money import EXACT, decimal_places, minor_units, plain_amount
from entities.admin.base import ReasonedForm, ServiceModelAdmin, actor_of
from entities.models import Department, Entity
from invoicing.admin.usage_charge import charged_sentence
from invoicing.models import (
    ImportStatus,
    RejectedRow,
    RejectedRowStatus,
    UsageImport,
    UsageMappingRule,
    UsageRecord,
)
from invoicing.selectors.usage import CurrencyTotals, import_departments, import_totals, rejected_counts
from invoicing.services.usage_charging import usage_budgets_charge
from invoicing.services.usage_imports import (
    progress_key,
    usage_import_is_running,
    usage_import_register,
    usage_import_retry,
    usage_import_undo,
)
from invoicing.services.usage_mapping import (
    DEFAULT_TAG,
    MappingChoice,
    MappingProposals,
    usage_mappings_apply,
    usage_mappings_propose,
    usage_remap,
    usage_remap_preview,
)
from invoicing.services.usage_rejected import (
    column_help,
    rejected_row_discard,
    rejected_row_edit,
    rejected_row_repair,
    rejected_rows_retry,
    row_columns,
)
from invoicing.services.usage_rules import (
    usage_mapping_rule_create,
    usage_mapping_rule_delete,
    usage_mapping_rule_update,
)
from invoicing.tasks import import_usage_after_commit

SHOWN_PROPOSALS = 300
LONG_VALUE = 60
INTERRUPTED = "interrupted"
FOR_A_WORKER = timedelta(minutes=1)

register_badges(
    {
        "waiting": Badge("Waiting", "schedule", "info", "◔"),
        INTERRUPTED: Badge("Interrupted", "report", "warn", "!"),
        "discarded": Badge("Discarded", "delete", "neutral", "⊘"),
    }
)


def exact_html(cost: Decimal, currency: str) -> SafeString:
    """An exact cost with every digit and its currency."""
    decimals = max(minor_units(currency), decimal_places(cost.normalize(EXACT)))
    return format_html(
        '<span class="eb-num{}">{} <span class="eb-cur">{}</span></span>',
        " eb-neg" if cost < 0 else "",
        number_text(cost, decimals),
        currency,
    )


def sums_html(sums: Mapping[str, Any]) -> SafeString:
    """Exact sums, a line per currency."""
    lines = [(exact_html(Decimal(amount), currency),) for currency, amount in sorted(sums.items())]
    return format_html_join(SafeString("<br>"), "{}", lines) if lines else SafeString("–")


def rounded_html(sums: Mapping[str, str]) -> SafeString:
    """Sums at the currency's minor unit, a line per currency, for lists."""
    lines = [(amount_html(Decimal(amount), currency),) for currency, amount in sorted(sums.items())]
    return format_html_join(SafeString("<br>"), "{}", lines) if lines else SafeString("–")


# --- Imports ---------------------------------------------------------------------------------------------


class UsageUploadForm(UploadForm):
    """A file and the entity that its cost is of."""

    field_order = ["entity", "file"]

    entity = forms.ModelChoiceField(
        queryset=Entity.objects.none(),
        widget=UnfoldAdminSelectWidget(),
        help_text="The cost is of this entity and those below it; its mapping rules say of which department.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["file"].help_text = "FOCUS 1.0 to 1.2 as CSV, plain or gzip. Of any size."


def _is_interrupted(usage_import: UsageImport) -> bool:
    return usage_import.status == ImportStatus.RUNNING and not usage_import_is_running(usage_import)


def why_not_retry(usage_import: UsageImport, user: Any) -> str | None:
    if usage_import.status in {ImportStatus.COMPLETED, ImportStatus.UNDONE}:
        return "It is done: there is nothing to start again."
    if usage_import_is_running(usage_import):
        return "It is running. Wait until it has ended."
    if usage_import.status == ImportStatus.WAITING and clock.now() - usage_import.updated_at < FOR_A_WORKER:
        return "It waits for a worker. Give it a minute before you start it again."
    return None


def why_not_completed(usage_import: UsageImport, user: Any) -> str | None:
    return (
        None if usage_import.status == ImportStatus.COMPLETED else "Only a completed import can be worked on."
    )


def why_not_retry_rows(usage_import: UsageImport, user: Any) -> str | None:
    if usage_import.status != ImportStatus.COMPLETED:
        return why_not_completed(usage_import, user)
    return None if rejected_counts(usage_import).open else "No row of it waits for repair."


def _remap_consequence(usage_import: UsageImport) -> str:
    preview = usage_remap_preview(actor=system_actor(), entity=usage_import.entity, usage_import=usage_import)
    if not preview.rows:
        return "The rules match none of its unallocated rows that are not billed: nothing would change."
    costs = ", ".join(f"{plain_amount(cost, currency)} {currency}" for currency, cost in preview.cost.items())
    return f"{preview.rows:,} rows ({costs}) get the department that the rules name now. Billed rows stay."


def _retry(call: ActionCall) -> UsageImport:
    usage_import = usage_import_retry(actor=call.actor, usage_import=call.obj)
    import_usage_after_commit(usage_import, call.actor)
    return usage_import


@admin.register(UsageImport)
class UsageImportAdmin(ProgressMixin, BillingModelAdmin):
    list_display = [
        "file_name",
        "entity",
        "state",
        number_column("rows_imported", label="Imported"),
        number_column("rows_duplicate", label="In already"),
        "number_open_rows",
        "money_billed_cost",
        "created_by",
        "created_at",
    ]
    list_filter = ["entity", "status", "created_at"]
    list_select_related = ["entity", "created_by"]
    search_fields = ["file_name", "file_sha256"]
    quick_filters = [
        QuickFilter("Under way", "status__in=waiting,running", icon="sync"),
        QuickFilter("Failed", "status__exact=failed", icon="error"),
    ]
    totals = {
        "imported": Sum("rows_imported"),
        "in_already": Sum("rows_duplicate"),
        "rejected": Sum("rows_rejected"),
    }
    totals_currency = ""
    export_fields = [
        "id", "file_name", "entity", "status", "format_version", "rows_read", "rows_imported", "rows_duplicate",
        "rows_repeated", "rows_rejected", "rows_repaired", "costs_text", "error_message", "created_by",
        "created_at", "finished_at",
    ]  # fmt: skip
    empty_state = EmptyState(
        "No usage imported yet",
        "Cloud providers export their bill as a FOCUS file. Import one, and its rows go to departments by rules.",
        "Import usage",
        "admin:invoicing_usageimport_add",
    )
    actions_bar = [
        ObjectAction(
            name="retry",
            label="Start again",
            main=True,
            perm="invoicing.add_usageimport",
            possible=why_not_retry,
            consequence="The kept file is read from its beginning. Nothing of it is in so far.",
            run=_retry,
            done="The import is under way.",
            icon="restart_alt",
        ),
        ObjectAction(
            name="remap",
            label="Map unallocated rows",
            perm="invoicing.change_usagemappingrule",
            possible=why_not_completed,
            consequence=_remap_consequence,
            run=lambda call: usage_remap(actor=call.actor, entity=call.obj.entity, usage_import=call.obj),
            done=lambda moved: f"{moved.rows:,} rows have their department now.",
            icon="call_split",
        ),
        ObjectAction(
            name="charge",
            label="Charge budgets",
            perm="invoicing.change_usageimport",
            possible=why_not_completed,
            consequence=(
                "The allocated usage of this import is charged to the departments' budgets. Only what changed since "
                "the last time is booked; what a budget refuses is listed."
            ),
            run=lambda call: usage_budgets_charge(actor=call.actor, import_id=call.obj.pk),
            done=charged_sentence,
            icon="savings",
        ),
        ObjectAction(
            name="retry-rows",
            label="Try rejected rows again",
            perm="invoicing.change_rejectedrow",
            possible=why_not_retry_rows,
            consequence="Rows that waited for an exchange rate go in if there is one now. Others need a repair.",
            run=lambda call: rejected_rows_retry(actor=call.actor, usage_import=call.obj),
            done=lambda result: (
                f"{result.repaired:,} of {result.tried:,} rows that waited for a rate are in now."
            ),
            icon="refresh",
        ),
        ObjectAction(
            name="undo",
            label="Undo",
            perm="invoicing.change_usageimport",
            possible=why_not_completed,
            consequence=(
                "Every row that this import brought is taken out, and its rejected rows are discarded. The file can "
                "then be imported again. It is refused while a row stands on an invoice."
            ),
            run=lambda call: usage_import_undo(actor=call.actor, usage_import=call.obj, reason=call.reason),
            done="The import is undone.",
            needs_reason=True,
            danger=True,
            icon="undo",
        ),
    ]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        open_rows = RejectedRow.objects.open().filter(usage_import=OuterRef("pk")).order_by()
        counted = open_rows.values("usage_import").annotate(number=Count("pk")).values("number")
        return super().get_queryset(request).annotate(open_rows=Subquery(counted))

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.propose_view)
        own = path("<path:object_id>/propose/", view, name="invoicing_usageimport_propose")
        return [own, *super().get_urls()]

    # --- columns ---

    @admin.display(description="Status", ordering="status")
    def state(self, obj: UsageImport) -> SafeString:
        return badge_html(INTERRUPTED if _is_interrupted(obj) else obj.status)

    @admin.display(description="To repair", ordering="open_rows")
    def number_open_rows(self, obj: Any) -> SafeString:
        if not obj.open_rows:
            return SafeString("–")
        return format_html(
            '<a class="eb-link" href="{}">{}</a>', rejected_url(obj), number_text(obj.open_rows)
        )

    @admin.display(description="Billed cost")
    def money_billed_cost(self, obj: UsageImport) -> SafeString:
        return rounded_html(obj.billed_cost)

    @admin.display(description="Billed cost")
    def costs_text(self, obj: UsageImport) -> str:
        return ", ".join(f"{amount} {currency}" for currency, amount in obj.billed_cost.items())

    # --- pages ---

    def progress_key(self, obj: UsageImport) -> str:
        if obj.status == ImportStatus.WAITING or usage_import_is_running(obj):
            return progress_key(obj.pk)
        return ""

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        entities = visible(Entity.objects.filter(is_active=True), request.user)
        form_class = type("ScopedUpload", (UsageUploadForm,), {})
        form_class.base_fields["entity"].queryset = entities.order_by("name")  # type: ignore[attr-defined]
        return upload_page(
            request,
            self,
            perm="invoicing.add_usageimport",
            title="Import usage",
            intro=(
                "A file is taken in whole or not at all, and only once. Rows that cannot be read are kept for "
                "repair; the others go to departments by the entity's mapping rules."
            ),
            run=self._start,
            form_class=form_class,
            button="Import",
        )

    @staticmethod
    def _start(request: HttpRequest, data: Mapping[str, Any]) -> UploadResult:
        actor = actor_of(request)
        file = data["file"]
        result = usage_import_register(
            actor=actor, entity=data["entity"], file=file, file_name=file.name or "usage.csv"
        )
        url = reverse("admin:invoicing_usageimport_change", args=[result.usage_import.pk])
        if result.already_imported:
            return UploadResult(result.message, url)
        import_usage_after_commit(result.usage_import, actor)
        return UploadResult("The file is here; the import is under way.", url)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        usage_import: Any = self.get_object(request, object_id)
        if usage_import is None:
            raise Http404("There is no such import, or it is outside your scope.")
        if not self.has_view_permission(request, usage_import):
            raise PermissionDenied
        key = self.progress_key(usage_import)
        context = {
            **self.admin_site.each_context(request),
            **import_page(usage_import, actor_of(request)),
            "title": usage_import.file_name,
            "opts": self.opts,
            "original": usage_import,
            "actions_bar": self.bar_of(request, usage_import),
            "progress_url": self._url("progress", usage_import.pk) if key else "",
            "then_url": request.path,
            "history_url": self._url("history", usage_import.pk),
        }
        return TemplateResponse(request, "admin/invoicing/usage/import.html", context)

    def propose_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET lists the values of a tag with a department for each; POST creates those that are ticked."""
        usage_import: Any = self.get_object(request, object_id)
        if usage_import is None:
            raise Http404("There is no such import, or it is outside your scope.")
        perm = "invoicing.add_usagemappingrule"
        if not may(request.user, perm, usage_import):
            raise PermissionDenied
        actor = actor_of(request)
        below = visible(Entity.objects.descendants_of(usage_import.entity_id), actor).order_by("name")
        asked = request.POST if request.method == "POST" else request.GET
        tag_key = asked.get("tag", DEFAULT_TAG)[:128]
        into = below.filter(pk=int(asked["into"])).first() if asked.get("into", "").isdigit() else None
        errors: list[str] = []
        if request.method == "POST":
            try:
                applied, moved = self._apply(request, actor, usage_import, tag_key, below)
            except REFUSALS as error:
                errors = sentences(error)
            else:
                messages.success(
                    request,
                    f"{applied.departments} departments and {applied.rules} rules created; {moved:,} rows of the "
                    "entity have their department now.",
                )
                return redirect(self._url("change", usage_import.pk))
        try:
            proposed = usage_mappings_propose(
                actor=actor, entity=usage_import.entity, usage_import=usage_import, tag_key=tag_key, into=into
            )
        except BillingError as error:
            errors += sentences(error)
            proposed = MappingProposals(usage_import.entity, tag_key, [], 0, {}, {})
        context = {
            **self.admin_site.each_context(request),
            "title": "Propose mapping rules",
            "opts": self.opts,
            "original": usage_import,
            "proposed": proposed,
            "rows": proposal_rows(proposed, request.POST if errors else None),
            "more": max(0, len(proposed.open) - SHOWN_PROPOSALS),
            "untagged": sums_html(proposed.untagged_cost),
            "tags": [(key, rows, key == tag_key) for key, rows in proposed.tag_keys.items()],
            "tag_key": tag_key,
            "entities": [(entity, entity == (into or usage_import.entity)) for entity in below],
            "into": into or usage_import.entity,
            "errors": errors,
            "back": self._url("change", usage_import.pk),
        }
        status = 400 if errors else 200
        return TemplateResponse(request, "admin/invoicing/usage/propose.html", context, status=status)

    def _apply(
        self, request: HttpRequest, actor: User, usage_import: UsageImport, tag_key: str, entities: Any
    ) -> "tuple[AppliedCounts, int]":
        by_key = {entity.pk: entity for entity in entities}
        departments = visible(Department.objects.all(), actor)
        choices = []
        for number in request.POST.getlist("pick"):
            post = {name: request.POST.get(f"{name}-{number}", "") for name in _CHOICE_FIELDS}
            department = (
                departments.filter(pk=post["department"]).first() if post["department"].isdigit() else None
            )
            entity = by_key.get(int(post["entity"])) if post["entity"].isdigit() else None
            choices.append(
                MappingChoice(post["value"], department, entity, post["code"].strip(), post["name"].strip())
            )
        applied = usage_mappings_apply(
            actor=actor, entity=usage_import.entity, choices=choices, tag_key=tag_key
        )
        moved = usage_remap(actor=actor, entity=usage_import.entity)
        return AppliedCounts(len(applied.departments), len(applied.rules)), moved.rows


_CHOICE_FIELDS = ("value", "department", "entity", "code", "name")


@dataclass(frozen=True, slots=True)
class AppliedCounts:
    """How many of each were created."""

    departments: int
    rules: int


def proposal_rows(proposed: MappingProposals, typed: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The proposals as the page shows them, with what the user had typed where the page comes back."""
    rows = []
    for number, proposal in enumerate(proposed.open[:SHOWN_PROPOSALS]):
        shown = {
            "number": number,
            "proposal": proposal,
            "cost": sums_html(proposal.cost),
            "code": proposal.code,
            "name": proposal.name,
            "picked": True,
        }
        if typed is not None and typed.get(f"value-{number}") == proposal.value:
            shown |= {
                "code": typed.get(f"code-{number}", ""),
                "name": typed.get(f"name-{number}", ""),
                "picked": str(number) in typed.getlist("pick"),  # type: ignore[attr-defined]  # a QueryDict
            }
        rows.append(shown)
    return rows


def rejected_url(usage_import: UsageImport) -> str:
    """The list of an import's rows to repair."""
    url = reverse("admin:invoicing_rejectedrow_changelist")
    return f"{url}?usage_import__id__exact={usage_import.pk}&status__exact=open"


def import_page(usage_import: UsageImport, user: User) -> dict[str, Any]:
    """What the page of an import shows."""
    records = f"{reverse('admin:invoicing_usagerecord_changelist')}?usage_import__id__exact={usage_import.pk}"
    counts = rejected_counts(usage_import)
    completed = usage_import.status == ImportStatus.COMPLETED
    return {
        "state": badge_html(INTERRUPTED if _is_interrupted(usage_import) else usage_import.status),
        "interrupted": _is_interrupted(usage_import),
        "facts": _facts(usage_import),
        "totals": [_shown_totals(totals) for totals in import_totals(usage_import)] if completed else [],
        "departments": [
            {
                "name": f"{line.code} {line.name}".strip() or "Unallocated",
                "url": f"{records}&{_department_query(line.department_id)}",
                "rows": number_text(line.rows),
                "cost": exact_html(line.cost, line.currency),
            }
            for line in (import_departments(usage_import) if completed else [])
        ],
        "rejected": counts,
        "rejected_url": rejected_url(usage_import),
        "records_url": records,
        "unallocated_url": f"{records}&allocation=unallocated",
        "propose_url": reverse("admin:invoicing_usageimport_propose", args=[usage_import.pk])
        if completed and may(user, "invoicing.add_usagemappingrule", usage_import)
        else "",
        "overlaps": [(pk, number_text(rows)) for pk, rows in usage_import.overlaps.items()],
        "duplicate_cost": sums_html(usage_import.duplicate_cost),
    }


def _department_query(department_id: int | None) -> str:
    return f"department__id__exact={department_id}" if department_id else "allocation=unallocated"


def _facts(usage_import: UsageImport) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [("Entity", usage_import.entity)]
    if usage_import.status in {ImportStatus.COMPLETED, ImportStatus.UNDONE}:
        facts += [
            ("Rows read", number_text(usage_import.rows_read)),
            ("Imported", number_text(usage_import.rows_imported)),
            ("In already", number_text(usage_import.rows_duplicate)),
            ("Rejected", number_text(usage_import.rows_rejected)),
        ]
        if usage_import.rows_repaired:
            facts.append(("Repaired since", number_text(usage_import.rows_repaired)))
        if usage_import.format_version:
            facts.append(("Format", f"FOCUS {usage_import.format_version}"))
    return facts


def _shown_totals(totals: CurrencyTotals) -> dict[str, Any]:
    share = totals.allocated_rows * 100 // totals.rows if totals.rows else 0
    return {
        "currency": totals.currency,
        "cost": exact_html(totals.cost, totals.currency),
        "rows": number_text(totals.rows),
        "allocated": exact_html(totals.allocated_cost, totals.currency),
        "allocated_rows": number_text(totals.allocated_rows),
        "unallocated": exact_html(totals.unallocated_cost, totals.currency),
        "unallocated_rows": number_text(totals.unallocated_rows),
        "has_unallocated": bool(totals.unallocated_rows),
        "share": share,
    }


# --- Records ---------------------------------------------------------------------------------------------


class AllocatedFilter(admin.SimpleListFilter):
    """Rows with a department, or without one."""

    title = "allocation"
    parameter_name = "allocation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unallocated", "Unallocated"), ("allocated", "Allocated")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in {"unallocated", "allocated"}:
            return queryset.filter(department__isnull=self.value() == "unallocated")
        return queryset


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    list_display = [
        "charge_date",
        "description",
        "money_exact",
        "bears",
        "entity",
        "service_name",
        "provider_name",
        "charge_category",
    ]
    list_filter = [
        "entity",
        "department",
        AllocatedFilter,
        "charge_date",
        ("provider_name", FieldTextFilter),
        ("service_name", FieldTextFilter),
        ("charge_category", FieldTextFilter),
        ("currency", FieldTextFilter),
        "usage_import",
    ]
    list_select_related = ["entity", "department"]
    search_fields = ["charge_description", "resource_id", "resource_name", "service_name"]
    quick_filters = [QuickFilter("Unallocated", "allocation=unallocated", icon="help")]
    totals = {"billed_cost": Sum("billed_cost")}
    export_fields = [
        "charge_date", "charge_period_start", "charge_period_end", "entity", "department", "provider_name",
        "service_name", "charge_category", "charge_description", "billing_account_id", "sub_account_id",
        "sub_account_name", "resource_id", "resource_name", "region_name", "billed_cost", "currency",
        "usage_import_id", "line_number",
    ]  # fmt: skip
    empty_state = EmptyState(
        "No usage",
        "Each row of an imported file is listed here with the department that bears it.",
        "Import usage",
        "admin:invoicing_usageimport_add",
    )

    @admin.display(description="Description", ordering="charge_description")
    def description(self, obj: UsageRecord) -> str:
        text = str(obj)
        return text if len(text) <= LONG_VALUE else f"{text[:LONG_VALUE]}…"

    @admin.display(description="Department", ordering="department__code")
    def bears(self, obj: UsageRecord) -> SafeString | str:
        return str(obj.department) if obj.department_id else badge_html("unallocated")

    @admin.display(description="Billed cost", ordering="billed_cost")
    def money_exact(self, obj: UsageRecord) -> SafeString:
        return exact_html(obj.billed_cost, obj.currency)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            (
                None,
                {"fields": [("money_exact", "charge_category"), "charge_description", ("entity", "bears"),
                            "mapped_by"]},
            ),
            ("When", {"fields": [("charge_period_start", "charge_period_end"),
                                 ("billing_period_start", "billing_period_end")]}),
            ("What", {"fields": [("provider_name", "service_name"), ("service_category", "region_name"),
                                 ("resource_id", "resource_name"), ("resource_type", "sku_id")]}),
            ("Who", {"fields": [("billing_account_id", "billing_account_name"),
                                ("sub_account_id", "sub_account_name"), "tags_shown"]}),
            ("How much", {"fields": [("pricing_quantity", "pricing_unit"), ("consumed_quantity", "consumed_unit"),
                                     ("list_unit_price", "list_cost"), ("contracted_cost", "effective_cost")]}),
            ("Where it comes from", {"fields": [("import_link", "line_number"), "extra_shown"]}),
        ]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        names = [name for _, options in self.get_fieldsets(request, obj) for name in options["fields"]]
        return [part for name in names for part in ((name,) if isinstance(name, str) else name)]

    @admin.display(description="Mapped by")
    def mapped_by(self, obj: UsageRecord) -> str:
        if obj.department_id is None:
            return "No rule matched: it is unallocated."
        return str(obj.mapping_rule) if obj.mapping_rule else "A rule that has been deleted since."

    @admin.display(description="Tags")
    def tags_shown(self, obj: UsageRecord) -> SafeString:
        return pairs_html(obj.tags)

    @admin.display(description="Other columns")
    def extra_shown(self, obj: UsageRecord) -> SafeString:
        return pairs_html(obj.extra)

    @admin.display(description="Import")
    def import_link(self, obj: UsageRecord) -> SafeString:
        url = reverse("admin:invoicing_usageimport_change", args=[obj.usage_import_id])
        return format_html('<a class="eb-link" href="{}">{}</a>', url, obj.usage_import)


def pairs_html(pairs: Mapping[str, Any]) -> SafeString:
    """Names and values, a line each."""
    if not pairs:
        return SafeString("–")
    lines = [(name, value if isinstance(value, str) else str(value)) for name, value in sorted(pairs.items())]
    return format_html_join(SafeString("<br>"), '<span class="eb-quiet-text">{}:</span> {}', lines)


# --- Rejected rows -----------------------------------------------------------------------------------------


def why_not_open(row: RejectedRow, user: Any) -> str | None:
    return (
        None if row.status == RejectedRowStatus.OPEN else f"It is {row.get_status_display().lower()} already."
    )


DISCARD = {
    "name": "discard",
    "label": "Discard",
    "perm": "invoicing.change_rejectedrow",
    "possible": why_not_open,
    "consequence": "The row does not go in. It stays listed with your reason.",
    "run": lambda call: rejected_row_discard(actor=call.actor, rejected_row=call.obj, reason=call.reason),
    "done": lambda row: f"Line {row.line_number:,} is discarded.",
    "needs_reason": True,
    "danger": True,
    "icon": "delete",
}


@admin.register(RejectedRow)
class RejectedRowAdmin(BillingModelAdmin):
    list_display = ["line_number", "usage_import", "what", "state", "updated_at"]
    list_filter = ["status", "usage_import"]
    list_select_related = ["usage_import"]
    search_fields = ["raw_text", "usage_import__file_name"]
    ordering = ["-usage_import_id", "line_number"]
    quick_filters = [QuickFilter("To repair", "status__exact=open", icon="build")]
    export_fields = ["usage_import", "line_number", "what", "status", "resolution_reason", "row_text"]
    empty_state = EmptyState(
        "No rejected rows",
        "Rows of an imported file that could not be read wait here to be put right. There are none.",
    )
    actions_bar = [ObjectAction(**DISCARD)]  # type: ignore[arg-type]
    bulk_actions = [BulkAction(**DISCARD)]  # type: ignore[arg-type]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Status", ordering="status")
    def state(self, obj: RejectedRow) -> SafeString:
        return badge_html(obj.status, obj.get_status_display())

    @admin.display(description="What is wrong")
    def what(self, obj: RejectedRow) -> str:
        return " ".join(problem["detail"] for problem in obj.problems) or "Nothing any more: take it in."

    @admin.display(description="Row")
    def row_text(self, obj: RejectedRow) -> str:
        return obj.raw_text or "; ".join(f"{name}={text}" for name, text in obj.values.items() if text)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The row with a field per column and what is wrong beside it; POST takes it in, or keeps it."""
        row: Any = self.get_object(request, object_id)
        if row is None:
            raise Http404("There is no such row, or it is outside your scope.")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        writable = row.status == RejectedRowStatus.OPEN and self.has_change_permission(request, row)
        form = RowForm(row, request.POST if request.method == "POST" and writable else None)
        if request.method == "POST" and not writable:
            raise PermissionDenied
        if request.method == "POST" and form.is_valid():
            response = self._save(request, row, form)
            if response is not None:
                return response
        context = {
            **self.admin_site.each_context(request),
            "title": f"Line {row.line_number:,} of {row.usage_import}",
            "opts": self.opts,
            "original": row,
            "row": row,
            "state": badge_html(row.status, row.get_status_display()),
            "form": form,
            "writable": writable,
            "of_the_row": [problem["detail"] for problem in row.problems if not problem["column"]],
            "actions_bar": self.bar_of(request, row),
            "import_url": reverse("admin:invoicing_usageimport_change", args=[row.usage_import_id]),
            "record_url": reverse("admin:invoicing_usagerecord_change", args=[row.record_id])
            if row.record_id
            else "",
            "history_url": self._url("history", row.pk),
        }
        status = 400 if form.is_bound else 200
        return TemplateResponse(request, "admin/invoicing/usage/rejected_row.html", context, status=status)

    def _save(self, request: HttpRequest, row: RejectedRow, form: "RowForm") -> HttpResponse | None:
        actor, values = actor_of(request), form.changed_values()
        try:
            if request.POST.get("do") == "keep":
                rejected_row_edit(actor=actor, rejected_row=row, values=values)
                messages.success(
                    request, f"The values of line {row.line_number:,} are kept; it is not in yet."
                )
                return redirect(request.path)
            rejected_row_repair(actor=actor, rejected_row=row, values=values)
        except REFUSALS as error:
            form.refuse(error)
            return None
        messages.success(request, f"Line {row.line_number:,} is in.")
        following = (
            RejectedRow.objects.open()
            .filter(usage_import_id=row.usage_import_id, line_number__gt=row.line_number)
            .order_by("line_number")
            .first()
        )
        return redirect(self._url("change", following.pk) if following else rejected_url(row.usage_import))


class RowForm(forms.Form):
    """A field per column of the row: those with a problem first, then the needed ones, as the file has them."""

    def __init__(self, row: RejectedRow, data: Any = None) -> None:
        super().__init__(data)
        self.row = row
        self.columns = row_columns(row)
        problems: dict[str, list[str]] = {}
        for problem in row.problems:
            problems.setdefault(problem["column"], []).append(problem["detail"])
        order = sorted(
            range(len(self.columns)), key=lambda number: (self.columns[number] not in problems, number)
        )
        for number in order:
            column = self.columns[number]
            value = row.values.get(column, "")
            is_long = len(value) > LONG_VALUE or "\n" in value
            widget = UnfoldAdminTextareaWidget(attrs={"rows": 3}) if is_long else UnfoldAdminTextInputWidget()
            field = forms.CharField(
                label=column,
                initial=value,
                required=False,
                strip=False,
                widget=widget,
                help_text=column_help(column),
            )
            field.found = problems.get(column, [])  # type: ignore[attr-defined]  # shown beside the field
            self.fields[f"column_{number}"] = field

    def changed_values(self) -> dict[str, str]:
        """The values that differ from what is kept, by column."""
        return {
            column: self.cleaned_data[f"column_{number}"].replace("\r\n", "\n")
            for number, column in enumerate(self.columns)
            if f"column_{number}" in self.changed_data
        }

    def refuse(self, error: Exception) -> None:
        """Show what is still wrong beside its column."""
        rest: list[str] = []
        problems = error.errors if isinstance(error, BillingError) else []
        for problem in problems:
            column = problem.pointer.removeprefix("/values").strip("/").replace("~1", "/").replace("~0", "~")
            if column in self.columns:
                self.add_error(f"column_{self.columns.index(column)}", problem.detail)
            else:
                rest.append(problem.detail)
        if not problems:
            add_refusal(self, error)
        for detail in rest:
            self.add_error(None, detail)

    @property
    def wrong(self) -> list[Any]:
        """The fields that something is, or was, wrong with."""
        return [field for field in self if getattr(field.field, "found", ()) or field.errors]

    @property
    def others(self) -> list[Any]:
        """All other fields."""
        return [field for field in self if not getattr(field.field, "found", ()) and not field.errors]


# --- Rules -----------------------------------------------------------------------------------------------


@admin.register(UsageMappingRule)
class UsageMappingRuleAdmin(ServiceModelAdmin):
    form = ReasonedForm
    list_display = [
        number_column("priority"),
        "source",
        "tag_key",
        "value",
        "department",
        "entity",
        "is_active",
        "updated_at",
    ]
    list_display_links = ["value"]
    list_filter = ["entity", "source", "department", "is_active"]
    list_select_related = ["entity", "department"]
    search_fields = ["value", "tag_key", "department__name", "department__code"]
    fieldsets = [
        (None, {"fields": ["entity", ("source", "tag_key"), "value", "department"]}),
        ("Order", {"fields": [("priority", "is_active"), "change_reason"]}),
    ]
    empty_state = EmptyState(
        "No mapping rules yet",
        "A rule sends rows of usage with a certain tag, account or service to a department. Import a file, then let "
        "rules be proposed from its own tags.",
        "New rule",
        "admin:invoicing_usagemappingrule_add",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["entity"] if obj is not None else []

    def create(self, actor: User, data: dict[str, Any], reason: str) -> UsageMappingRule:
        return usage_mapping_rule_create(actor=actor, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> UsageMappingRule:
        return usage_mapping_rule_update(actor=actor, rule=obj, **data)

    def remove(self, actor: User, obj: Any) -> None:
        usage_mapping_rule_delete(actor=actor, rule=obj)
