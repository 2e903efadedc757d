"""Plans and subscriptions, price indices, measurements with what they earn, and the fees that contracts bill."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from contracts.admin.forms import ClaimForm, EndForm, LicencesForm, given
from contracts.admin.page import invoiced_html
from contracts.invoiced import fee_documents
from contracts.models import (
    BillableFee,
    CreditStatus,
    Plan,
    PlanFeature,
    PriceIndexValue,
    ServiceCredit,
    SlaMeasurement,
    Subscription,
    SubscriptionChange,
)
from contracts.services.renewals import price_index_record
from contracts.services.sla import measurements_import, service_credit_claim
from contracts.services.subscriptions import (
    licences_change,
    plan_create,
    plan_update,
    subscription_create,
    subscription_end,
)
from core import clock
from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import badge_column
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import money_column, number_column
from core.admin.filters import BillingChangeList, QuickFilter
from core.admin.inlines import BillingTabularInline
from core.admin.scoping import may
from core.admin.upload import UploadResult, upload_page
from core.errors import Invalid
from core.models import User
from entities.admin.base import ReadOnlyInline, ReasonedForm, ServiceModelAdmin, actor_of

SHOWN_PROBLEMS = 20


class CheckedByService(ReasonedForm):
    """The service checks what is saved and says it in sentences."""

    def _get_validation_exclusions(self) -> set[str]:
        return {each.name for each in self.instance._meta.fields}


# --- Plans -----------------------------------------------------------------------------------------------


class FeatureInline(BillingTabularInline):
    """What subscribers get."""

    model = PlanFeature
    fields = ["feature", "is_included", "limit", "is_per_licence"]
    verbose_name_plural = "Features"
    show_change_link = False

    def _allowed(self, request: HttpRequest, action: str, obj: Any) -> bool:
        name = "view" if action == "view" else "change" if isinstance(obj, Plan) and obj.pk else "add"
        return may(request.user, f"contracts.{name}_plan", obj)


@admin.register(Plan)
class PlanAdmin(ServiceModelAdmin):
    """The plans on offer."""

    form = CheckedByService
    list_display = [
        "name", "code", "product", "tier", number_column("price", label="List price"), "currency",
        "interval_months", "is_active",
    ]  # fmt: skip
    list_filter = ["product", "is_active", "issuer"]
    search_fields = ["name", "code", "product"]
    ordering = ["product", "rank", "code"]
    autocomplete_fields = ["issuer"]
    inlines = [FeatureInline]
    history_lines = ["features"]
    empty_state = EmptyState(
        "No plans yet",
        "A plan is a tier of a product with its list price per licence, and the features that it opens.",
        "Add a plan",
        "admin:contracts_plan_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "code"),
                    ("product", "tier"),
                    ("issuer", "rank"),
                    "currency",
                    ("price", "interval_months"),
                    ("gl_code", "is_active"),
                    "change_reason",
                )
            },
        ),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A plan is switched off: what was subscribed names it."""
        return False

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if formset.has_changed():
            features = [
                {name: row[name] for name in ("feature", "is_included", "limit", "is_per_licence")}
                for row in formset.cleaned_data
                if row and not row.get("DELETE")
            ]
            plan_update(actor=actor_of(request), plan_id=form.instance.pk, changes={}, features=features)
        # For the admin's own log; nothing is written by it.
        formset.save(commit=False)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> Plan:
        return plan_create(
            actor=actor, **{name: value for name, value in data.items() if value not in (None, "")}
        )

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> Plan:
        return plan_update(
            actor=actor, plan_id=obj.pk, changes=data, expected_version=obj.version, reason=reason
        )


# --- Subscriptions ---------------------------------------------------------------------------------------


class ChangesInline(ReadOnlyInline):
    """Plan and licences from day to day."""

    model = SubscriptionChange
    verbose_name_plural = "Licences"
    ordering = ["-effective_from", "-id"]
    shown = ["effective_from", "plan", "quantity", "reason", "actor", "created_at"]


class SubscriptionForm(CheckedByService):
    """The first plan and quantity, asked for when it is added."""

    plan = LicencesForm.base_fields["plan"]
    quantity = LicencesForm.base_fields["quantity"]


def _running(subscription: Subscription, user: Any) -> str | None:
    ended = subscription.ends_on is not None and subscription.ends_on <= clock.today()
    return f"It ended before {subscription.ends_on}." if ended else None


def _change_licences(call: ActionCall) -> Subscription:
    plan = call.data.get("plan")
    return licences_change(
        actor=call.actor,
        subscription_id=call.obj.pk,
        plan_id=plan.pk if plan else None,
        reason=call.reason,
        **given(call.data, "quantity", "effective_from"),
    )


@admin.register(Subscription)
class SubscriptionAdmin(ServiceModelAdmin):
    """Who uses which product under which contract."""

    form = SubscriptionForm
    list_display = ["product", "entity", "contract", "plan_today", "licences", "starts_on", "ends_on"]
    list_filter = ["entity", "contract", "product", "starts_on"]
    list_select_related = ["entity", "contract"]
    search_fields = ["product", "entity__name", "contract__title"]
    ordering = ["-id"]
    autocomplete_fields = ["contract", "entity", "department"]
    inlines = [ChangesInline]
    empty_state = EmptyState(
        "No subscriptions yet",
        "A subscription gives an entity licences of a plan under a contract. It bills by itself.",
        "Add a subscription",
        "admin:contracts_subscription_add",
    )
    locked_reason = staticmethod(
        lambda subscription: "It changes from a day on: change its licences, or end it, above."
    )
    actions_bar = [
        ObjectAction(
            name="licences",
            label="Change licences",
            perm="contracts.change_subscription",
            icon="group_add",
            needs_reason=True,
            form=LicencesForm,
            possible=_running,
            consequence="From that day on the new number or plan counts. What was billed is prorated.",
            run=_change_licences,
            done="The licences are changed.",
        ),
        ObjectAction(
            name="end",
            label="End",
            perm="contracts.change_subscription",
            icon="event_busy",
            danger=True,
            needs_reason=True,
            form=EndForm,
            possible=_running,
            consequence="The licences end. Prepaid days are credited.",
            run=lambda call: subscription_end(
                actor=call.actor,
                subscription_id=call.obj.pk,
                ends_on=call.data["ends_on"],
                reason=call.reason,
            ),
            done="Its end is recorded.",
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        today = SubscriptionChange.objects.filter(subscription=OuterRef("pk")).effective(clock.today())
        return (
            super()
            .get_queryset(request)
            .annotate(
                shown_plan=Subquery(today.values("plan__name")[:1]),
                shown_quantity=Subquery(today.values("quantity")[:1]),
            )
        )

    @admin.display(description="Plan", ordering="shown_plan")
    def plan_today(self, subscription: Any) -> str:
        return subscription.shown_plan or "–"

    @admin.display(description="Licences", ordering="shown_quantity")
    def licences(self, subscription: Any) -> SafeString | str:
        if subscription.shown_quantity is None:
            return "–"
        return format_html('<span class="eb-num">{}</span>', subscription.shown_quantity)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields: tuple[Any, ...] = (
            ("contract", "entity"),
            "department",
            ("starts_on", "ends_on"),
        )
        if obj is None:
            return [(None, {"fields": (*fields, ("plan", "quantity"), "change_reason")})]
        return [(None, {"fields": (*fields, "product")})]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj is not None else []

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is None:
            form.base_fields["entity"].required = False
            form.base_fields["entity"].help_text = "Empty: the contract's."
        return form

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It is ended; what it billed stays."""
        return False

    def create(self, actor: User, data: dict[str, Any], reason: str) -> Subscription:
        plan, quantity = data.get("plan"), data.get("quantity")
        if plan is None or quantity is None:
            raise Invalid("plan_and_quantity", "Say which plan, and how many licences.")
        return subscription_create(
            actor=actor,
            contract_id=data["contract"].pk,
            plan_id=plan.pk,
            quantity=quantity,
            starts_on=data["starts_on"],
            reason=reason,
            **given(data, "entity", "department", "ends_on"),
        )


# --- Price indices ---------------------------------------------------------------------------------------


@admin.register(PriceIndexValue)
class PriceIndexValueAdmin(ServiceModelAdmin):
    """What indices say: renewals raise prices by them."""

    form = CheckedByService
    list_display = ["index_name", "day", "percent", "source"]
    list_filter = ["index_name", "day"]
    search_fields = ["index_name", "source"]
    ordering = ["index_name", "-day"]
    empty_state = EmptyState(
        "No index values yet",
        "Contracts whose prices follow an index rise at renewal by its change over a year, as published.",
        "Add a value",
        "admin:contracts_priceindexvalue_add",
    )
    fieldsets = ((None, {"fields": (("index_name", "day"), ("percent", "source"))}),)
    locked_reason = staticmethod(lambda value: "Published values stay: renewals were worked out with them.")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def create(self, actor: User, data: dict[str, Any], reason: str) -> PriceIndexValue:
        return price_index_record(actor=actor, **data)


# --- Service levels --------------------------------------------------------------------------------------


@admin.register(SlaMeasurement)
class SlaMeasurementAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """What was measured; added by file or by the API, corrected by another one."""

    list_display = [
        "contract", "sla_code", "measured_from", "measured_to", number_column("value"), "source", "external_id",
        "replaces",
    ]  # fmt: skip
    list_filter = ["contract", "sla_code", "source", "measured_from"]
    list_select_related = ["contract", "replaces"]
    search_fields = ["contract__title", "sla_code", "external_id"]
    ordering = ["-measured_from", "-id"]
    list_before_template = "admin/contracts/measurements_before.html"

    class Media:
        css = {"all": ["budgets/budgets.css"]}

    empty_state = EmptyState(
        "Nothing was measured yet",
        "Measurements say how service levels were kept. A missed level earns a credit on the next invoice.",
        "Import a file",
        "admin:contracts_slameasurement_upload",
    )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.upload_view)
        return [path("upload/", view, name="contracts_slameasurement_upload"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        allowed = may(request.user, "contracts.add_slameasurement")
        url = reverse("admin:contracts_slameasurement_upload") if allowed else ""
        return super().changelist_view(request, {**(extra_context or {}), "import_url": url})

    def upload_view(self, request: HttpRequest) -> HttpResponse:
        """A CSV file with one measurement on each line."""
        return upload_page(
            request,
            self,
            perm="contracts.add_slameasurement",
            title="Import measurements",
            intro="A CSV file with the columns contract (number or id), sla_code, measured_from, measured_to (moments "
            "with their zone), value, external_id and, if you like, source. The same line again is taken once.",
            run=self._import,
            button="Import",
        )

    def _import(self, request: HttpRequest, data: Mapping[str, Any]) -> UploadResult:
        try:
            text = data["file"].read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Invalid("not_utf8", "The file is not UTF-8 text. Save it as CSV in UTF-8.") from error
        done = measurements_import(actor=actor_of(request), lines=text.splitlines())
        if done.failed and not done.added and not done.unchanged:
            said = " ".join(each.detail for each in done.problems[:SHOWN_PROBLEMS])
            raise Invalid("nothing_imported", f"No line could be taken. {said}", errors=done.problems)
        wrong = " ".join(each.detail for each in done.problems[:SHOWN_PROBLEMS])
        said = f"{done.added} added, {done.unchanged} were there already, {done.failed} left out. {wrong}"
        return UploadResult(said.strip(), reverse("admin:contracts_slameasurement_changelist"))


@admin.register(ServiceCredit)
class ServiceCreditAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """What missed levels are worth."""

    list_display = [
        "contract", "sla_code", "period_start", number_column("measured"), number_column("target"),
        badge_column("status"), "claim_by", money_column("amount"),
    ]  # fmt: skip
    list_filter = ["status", "contract", "sla_code", "period_start"]
    list_select_related = ["contract"]
    search_fields = ["contract__title", "sla_code"]
    ordering = ["-period_start", "-id"]
    totals = {"amount": Sum("amount")}
    quick_filters = [
        QuickFilter("To be claimed", "status__exact=claimable", icon="pan_tool"),
        QuickFilter("Due", "status__exact=due", icon="receipt_long"),
    ]
    empty_state = EmptyState("No credits yet", "They come from measurements that miss a service level.")
    actions_bar = [
        ObjectAction(
            name="claim",
            label="Claim",
            main=True,
            perm="contracts.change_servicecredit",
            icon="pan_tool",
            form=ClaimForm,
            possible=lambda credit, user: (
                None
                if credit.status == CreditStatus.CLAIMABLE
                else f"It is {credit.get_status_display().lower()}."
            ),
            consequence="The credit goes on the next invoice.",
            run=lambda call: service_credit_claim(
                actor=call.actor, credit_id=call.obj.pk, **given(call.data, "received_at")
            ),
            done="The credit is claimed.",
        )
    ]


# --- Fees ------------------------------------------------------------------------------------------------


class FeeChangeList(BillingChangeList):
    """The rows of the page with the documents on which they stand, looked up together."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        documents = fee_documents(actor_of(request), [row.pk for row in rows])
        for row in rows:
            row.document = documents.get(row.pk)
        self.result_list = rows


@admin.register(BillableFee)
class BillableFeeAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """What contracts bill: each once, corrections beside it."""

    list_display = [
        "description", "contract", "entity", "kind", "line_code", "period_start", "period_end", "bill_on",
        "invoiced", money_column("amount"),
    ]  # fmt: skip
    list_filter = ["contract", "entity", "kind", "bill_on", "period_start", "currency"]
    list_select_related = ["contract", "entity"]
    search_fields = ["description", "contract__title", "line_code"]
    ordering = ["-bill_on", "-id"]
    totals = {"amount": Sum("amount")}
    empty_state = EmptyState(
        "No fees yet", "The invoicing run writes them when periods of contracts become due."
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return FeeChangeList

    @admin.display(description="Invoiced")
    def invoiced(self, fee: Any) -> SafeString:
        return invoiced_html(getattr(fee, "document", None))
