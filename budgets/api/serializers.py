"""What the API of budgets reads and shows."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from budgets.api.bodies import charged_budget_body, entry_body, figures_body
from budgets.models import (
    Budget,
    BudgetAlert,
    BudgetEntry,
    BudgetMonth,
    BudgetOverride,
    BudgetRevision,
    BudgetRollover,
    BudgetTransfer,
    CloseDecision,
    Commitment,
    Control,
    PeriodChange,
    PeriodType,
)
from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    MoneyStringField,
    ScopedRelatedField,
    UTCDateTimeField,
)
from entities.api.serializers import WarningSerializer
from entities.periods import check_period, period_warnings

STAMPS = ("created_at", "updated_at")
LINE_LIMIT = 500
LARGEST_ID = 2**63 - 1


class BudgetReasonSerializer(BillingSerializer):
    """Why; it stays with the budget."""

    reason = serializers.CharField(max_length=500)


class BudgetRemarkSerializer(BillingSerializer):
    """Why, if there is something to say; it stays with the budget."""

    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class BudgetApprovalSerializer(BillingSerializer):
    """What whoever decides has to say."""

    comment = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class BudgetRejectionSerializer(BillingSerializer):
    """Why not."""

    comment = serializers.CharField(max_length=500)


# --- Budgets ---------------------------------------------------------------------------------------------

FIGURES = (
    "allocated_amount",
    "override_amount",
    "spent_amount",
    "committed_amount",
    "available_amount",
    "utilization_percent",
)
SETTINGS = (
    "check_scope",
    "overspend_limit",
    "approval_threshold",
    "over_invoice_percent",
    "over_invoice_amount",
    "strict_periods",
    "alert_threshold_percent",
    "warning_threshold_percent",
    "critical_threshold_percent",
    "rollover_policy",
    "rollover_percent",
    "rollover_cap",
    "carry_deficit",
    "is_control_point",
    "strict_children",
    "owner_id",
    "parent_id",
)


class BudgetSerializer(BillingModelSerializer):
    """A budget with its figures: available = allocated + override − spent − committed.

    A draft shows the amounts that opening it will book. Promises past their expiry are not committed any more.
    """

    allow_overspend = serializers.SerializerMethodField()
    allocated_amount = serializers.CharField(read_only=True)
    override_amount = serializers.CharField(read_only=True)
    spent_amount = serializers.CharField(read_only=True)
    committed_amount = serializers.CharField(read_only=True)
    available_amount = serializers.CharField(read_only=True)
    utilization_percent = serializers.CharField(read_only=True)

    class Meta:
        model = Budget
        fields: tuple[str, ...] = (
            "id", "name", "entity_id", "department_id", "category", "currency", "period_type", "period_start",
            "period_end", "status", *FIGURES, "control", "allow_overspend", *SETTINGS, *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def to_representation(self, instance: Budget) -> dict[str, Any]:
        figures = figures_body(instance)
        with_figures = _Shown(instance, figures)
        shown: dict[str, Any] = super().to_representation(with_figures)
        return shown

    def get_allow_overspend(self, budget: Any) -> bool:
        """Whether charges beyond what is available are let through: control is not absolute."""
        return bool(budget.control != Control.ABSOLUTE)


class _Shown:
    """A budget whose figures are those for people, everything else its own."""

    def __init__(self, budget: Budget, figures: Mapping[str, Any]) -> None:
        self._budget = budget
        self._figures = figures

    def __getattr__(self, name: str) -> Any:
        if name in self._figures:
            return self._figures[name]
        return getattr(self._budget, name)


class BudgetDetailSerializer(BudgetSerializer):
    """A budget, and what there is to know about its period."""

    warnings = serializers.SerializerMethodField()

    class Meta(BudgetSerializer.Meta):
        fields = (*BudgetSerializer.Meta.fields, "warnings")
        read_only_fields: tuple[str, ...] = fields

    def get_warnings(self, budget: Any) -> list[dict[str, str]]:
        """Something that was done as asked, but is perhaps not what was meant."""
        found = period_warnings(budget.period_start, budget.period_end)
        return [dict(WarningSerializer(warning).data) for warning in found]


WRITABLE = (
    "name",
    "category",
    "period_type",
    "period_start",
    "period_end",
    "control",
    *SETTINGS,
)


class BudgetWriteSerializer(BillingModelSerializer):
    """What a budget is made of; `allow_overspend` is short for control advisory (true) or absolute (false)."""

    allocated_amount = MoneyStringField()
    allow_overspend = serializers.BooleanField(
        required=False, help_text="true: control is advisory, false: absolute. Give this or control."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        overspend = attrs.pop("allow_overspend", None)
        if overspend is not None:
            wanted = Control.ADVISORY if overspend else Control.ABSOLUTE
            if attrs.setdefault("control", wanted) != wanted:
                detail = f"allow_overspend {str(overspend).lower()} means control {wanted}. Give one of them."
                raise ValidationError(
                    {"allow_overspend": [ErrorDetail(detail, code="contradicting_control")]}
                )
        return attrs


class BudgetCreateSerializer(BudgetWriteSerializer):
    """A new budget of a department, or of an entity as a whole."""

    status = serializers.ChoiceField(
        choices=[("draft", "Draft"), ("open", "Open")], default="open", help_text="Open at once, or a draft."
    )

    class Meta:
        model = Budget
        fields = (
            "name", "allocated_amount", "entity_id", "department_id", "currency", "status", "allow_overspend",
            *[name for name in WRITABLE if name != "name"],
        )  # fmt: skip
        extra_kwargs = {
            "entity_id": {"required": False, "allow_null": True},
            "currency": {"required": False, "help_text": "The entity's unless given."},
            "period_end": {"help_text": "The first day after the period."},
            "period_type": {"required": False, "help_text": "By the period's length unless given."},
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        check_period(attrs["period_start"], attrs["period_end"])
        attrs.setdefault("period_type", period_type_of(attrs["period_start"], attrs["period_end"]))
        attrs["draft"] = attrs.pop("status") == "draft"
        for name in ("entity", "department"):
            if attrs.get(name, ...) is None:
                del attrs[name]
        entity, department = attrs.get("entity"), attrs.get("department")
        if entity is not None and department is not None and department.entity_id != entity.pk:
            detail = "The department belongs to another entity. Give one of the two, or both of one entity."
            raise ValidationError({"department_id": [ErrorDetail(detail, code="department_of_other_entity")]})
        return attrs


def period_type_of(start: Any, end: Any) -> str:
    """What a period is called by its length: a whole month, quarter or year, else custom."""
    months = (end.year - start.year) * 12 + end.month - start.month
    if start.day != 1 or end.day != 1:
        return str(PeriodType.CUSTOM)
    names = {1: PeriodType.MONTHLY, 3: PeriodType.QUARTERLY, 12: PeriodType.ANNUAL}
    return str(names.get(months, PeriodType.CUSTOM))


class BudgetChangeSerializer(BudgetWriteSerializer):
    """What of a budget changes. Amounts, period and currency of an open one do not: revise it, or transfer."""

    class Meta:
        model = Budget
        fields = ("allocated_amount", "currency", "allow_overspend", *WRITABLE)


class BudgetMonthSerializer(BillingModelSerializer):
    """One month of the profile: the amounts sum to the allocation exactly."""

    amount = MoneyStringField(currency_source="budget.currency", read_only=True)

    class Meta:
        model = BudgetMonth
        fields = ("month", "amount")
        read_only_fields = fields


class BudgetPeriodChangeSerializer(BillingModelSerializer):
    """Who opened, closed or reopened a budget, and why; of a reopening also who approved."""

    class Meta:
        model = PeriodChange
        fields = (
            "id", "budget_id", "from_status", "to_status", "reason", "requested_by_id", "requested_at",
            "approved_by_id", "approved_at",
        )  # fmt: skip
        read_only_fields = fields


class BudgetReopeningSerializer(BillingSerializer):
    """Which request is approved; the latest that waits unless given."""

    change_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID, required=False)


# --- Checking and charging: read by budgets.api.bodies, described here -----------------------------------


class BudgetCheckSerializer(BillingSerializer):
    """How much, in the budget's currency."""

    amount = MoneyStringField()
    currency = CurrencyField(
        required=False, allow_null=True, help_text="To make sure: the budget's currency."
    )


class BudgetAvailabilitySerializer(BillingSerializer):
    """Whether a charge would pass now."""

    available = serializers.BooleanField(read_only=True)
    available_amount = serializers.CharField(read_only=True)
    requires_approval = serializers.BooleanField(read_only=True)
    would_overspend = serializers.BooleanField(read_only=True)
    reason = serializers.CharField(read_only=True)
    currency = CurrencyField(read_only=True)


class BudgetChargeSerializer(BillingSerializer):
    """What is spent."""

    amount = MoneyStringField(max_digits=30, decimal_places=15)
    description = serializers.CharField(max_length=500)
    reference = serializers.CharField(max_length=100, required=False, allow_blank=True)
    posting_date = serializers.DateField(
        required=False, allow_null=True, help_text="Today at the entity's place unless given."
    )
    currency = CurrencyField(required=False, allow_null=True, help_text="The budget's unless given.")
    tax = MoneyStringField(required=False, help_text="Tax beside the amount.")
    tax_recoverable = serializers.BooleanField(
        required=False, help_text="true (the default): the tax comes back and does not count."
    )
    source_type = serializers.CharField(
        max_length=50, required=False, allow_blank=True, help_text="The kind of document, e.g. invoice."
    )
    source_id = serializers.CharField(max_length=64, required=False, allow_blank=True)
    source_line = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    source_revision = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    override_id = serializers.IntegerField(
        min_value=0,
        max_value=LARGEST_ID,
        required=False,
        allow_null=True,
        help_text="A granted override to use.",
    )


class BudgetChargeLineSerializer(BillingSerializer):
    """One line of a document."""

    budget_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    amount = MoneyStringField(max_digits=30, decimal_places=15)
    description = serializers.CharField(max_length=500)
    reference = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    posting_date = serializers.DateField(required=False, allow_null=True, default=None)
    currency = CurrencyField(required=False, allow_null=True, default=None)
    tax = MoneyStringField(required=False, default=Decimal(0))
    tax_recoverable = serializers.BooleanField(required=False, default=True)


class DocumentChargeSerializer(BillingSerializer):
    """A document of several lines, charged as a whole or not at all."""

    lines: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=BudgetChargeLineSerializer(), allow_empty=False, max_length=LINE_LIMIT
    )
    source_type = serializers.CharField(max_length=50, required=False, allow_blank=True, default="")
    source_id = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")
    source_revision = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False, default=0)


class BudgetFiguresSerializer(BillingSerializer):
    """A budget's state and figures."""

    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(read_only=True)
    status = serializers.CharField(read_only=True)
    allocated_amount = serializers.CharField(read_only=True)
    override_amount = serializers.CharField(read_only=True)
    spent_amount = serializers.CharField(read_only=True)
    committed_amount = serializers.CharField(read_only=True)
    available_amount = serializers.CharField(read_only=True)
    utilization_percent = serializers.CharField(read_only=True)
    currency = CurrencyField(read_only=True)

    def to_representation(self, instance: Budget) -> dict[str, Any]:
        return charged_budget_body(instance)


class BudgetEntrySerializer(BillingModelSerializer):
    """One movement of a budget, never changed. `amount` is what it moved: spent, else committed, else allocated."""

    amount = serializers.CharField(read_only=True)
    currency = CurrencyField(read_only=True)
    allocated_delta = serializers.CharField(read_only=True)
    committed_delta = serializers.CharField(read_only=True)
    spent_delta = serializers.CharField(read_only=True)
    override_delta = serializers.CharField(read_only=True)
    document_amount = serializers.CharField(read_only=True)
    fx_variance = serializers.CharField(read_only=True)

    class Meta:
        model = BudgetEntry
        fields = (
            "id", "budget_id", "kind", "amount", "currency", "posting_date", "description", "reference", "reason",
            "allocated_delta", "committed_delta", "spent_delta", "override_delta", "document_amount",
            "document_currency", "rate", "rate_date", "fx_variance", "tax_recoverable", "source_type", "source_id",
            "source_line", "source_revision", "commitment_id", "reverses_id", "counterpart_id", "actor_id",
            "created_at",
        )  # fmt: skip
        read_only_fields = fields

    def to_representation(self, instance: BudgetEntry) -> dict[str, Any]:
        return entry_body(instance, instance.budget.currency)


class BudgetChargedSerializer(BillingSerializer):
    """The entry that was booked, and the budget as it stands after it."""

    entry = BudgetEntrySerializer(read_only=True)
    budget = BudgetFiguresSerializer(read_only=True)


class DocumentChargedSerializer(BillingSerializer):
    """The entries that were booked, and the budgets as they stand after them."""

    entries = BudgetEntrySerializer(many=True, read_only=True)
    budgets = BudgetFiguresSerializer(many=True, read_only=True)


class BudgetRefundSerializer(BillingSerializer):
    """A credit note."""

    amount = MoneyStringField()
    description = serializers.CharField(max_length=500)
    currency = CurrencyField(required=False)
    reference = serializers.CharField(max_length=100, required=False, allow_blank=True)
    posting_date = serializers.DateField(required=False)
    reverses_id = ScopedRelatedField(
        BudgetEntry.objects.all(),
        source="reverses",
        required=False,
        allow_null=True,
        help_text="The charge or consumption that it credits.",
    )
    reinstate_commitment = serializers.BooleanField(
        required=False, help_text="Promise again what the credited entry had taken of its commitment."
    )


class BudgetAlertSerializer(BillingModelSerializer):
    """A threshold that was crossed; `rearmed_at` says when use had fallen far enough for it to fire again."""

    used_amount = MoneyStringField(currency_source="budget.currency", read_only=True)
    allocated_amount = MoneyStringField(currency_source="budget.currency", read_only=True)
    currency = CurrencyField(source="budget.currency", read_only=True)

    class Meta:
        model = BudgetAlert
        fields = (
            "id", "budget_id", "level", "threshold_percent", "utilization_percent", "used_amount",
            "allocated_amount", "currency", "entry_id", "created_at", "rearmed_at",
        )  # fmt: skip
        read_only_fields = fields


# --- Commitments -----------------------------------------------------------------------------------------


class CommitmentSerializer(BillingModelSerializer):
    """Promised money: `remainder_amount` = amount − consumed − released, until it is used, given back or expired."""

    amount = MoneyStringField(currency_source="budget.currency", read_only=True)
    consumed_amount = MoneyStringField(currency_source="budget.currency", read_only=True)
    released_amount = MoneyStringField(currency_source="budget.currency", read_only=True)
    remainder_amount = MoneyStringField(source="remainder", currency_source="budget.currency", read_only=True)
    document_amount = MoneyStringField(currency_source="document_currency", read_only=True, allow_null=True)
    currency = CurrencyField(source="budget.currency", read_only=True)

    class Meta:
        model = Commitment
        fields = (
            "id", "budget_id", "status", "amount", "consumed_amount", "released_amount", "remainder_amount",
            "currency", "document_amount", "document_currency", "rate", "rate_date", "description", "reference",
            "commitment_date", "expires_at", "close_decision", "carried_from_id", "source_type", "source_id",
            "created_by_id", *STAMPS,
        )  # fmt: skip
        read_only_fields = fields


class CommitmentCreateSerializer(BillingSerializer):
    """What is promised."""

    amount = MoneyStringField()
    description = serializers.CharField(max_length=500)
    currency = CurrencyField(required=False, help_text="The budget's unless given.")
    tax = MoneyStringField(required=False)
    tax_recoverable = serializers.BooleanField(required=False)
    reference = serializers.CharField(max_length=100, required=False, allow_blank=True)
    commitment_date = serializers.DateField(required=False)
    expires_at = UTCDateTimeField(required=False, help_text="90 days after the budget's period unless given.")


class CommitmentConsumeSerializer(BillingSerializer):
    """What an invoice takes of a commitment."""

    amount = MoneyStringField()
    description = serializers.CharField(max_length=500)
    currency = CurrencyField(required=False)
    tax = MoneyStringField(required=False)
    tax_recoverable = serializers.BooleanField(required=False)
    reference = serializers.CharField(max_length=100, required=False, allow_blank=True)
    posting_date = serializers.DateField(required=False)
    final = serializers.BooleanField(required=False, help_text="The last invoice: the rest becomes free.")


class CommitmentReleaseSerializer(BillingSerializer):
    """How much is given back; all that remains unless given."""

    amount = MoneyStringField(required=False)
    reason = serializers.CharField(max_length=500)


class CommitmentChangeSerializer(BillingSerializer):
    """The order's new total, in the commitment's own currency."""

    amount = MoneyStringField()
    reason = serializers.CharField(max_length=500)


class CommitmentReopenSerializer(BillingSerializer):
    """Why it is promised again, and until when."""

    reason = serializers.CharField(max_length=500)
    expires_at = UTCDateTimeField(required=False)


class CommitmentDecisionSerializer(BillingSerializer):
    """What becomes of an open commitment when its budget closes."""

    decision = serializers.ChoiceField(choices=CloseDecision.choices)


class CommitmentConsumedSerializer(BillingSerializer):
    """The entries, the commitment and the budget that bears them, as they stand now."""

    entries = BudgetEntrySerializer(many=True, read_only=True)
    commitment = CommitmentSerializer(read_only=True)
    budget = BudgetFiguresSerializer(read_only=True)


# --- Changes that people decide --------------------------------------------------------------------------

DECIDED = (
    "status",
    "reason",
    "requested_by_id",
    "decided_by_id",
    "decided_at",
    "decision_comment",
    *STAMPS,
)


class BudgetTransferSerializer(BillingModelSerializer):
    """Money from one budget to another, once the owner (and above a threshold finance) approve."""

    amount = MoneyStringField(currency_source="from_budget.currency", read_only=True)
    currency = CurrencyField(source="from_budget.currency", read_only=True)

    class Meta:
        model = BudgetTransfer
        fields = (
            "id", "from_budget_id", "to_budget_id", "amount", "currency", "owner_approved_by_id",
            "owner_approved_at", "finance_approved_by_id", "finance_approved_at", *DECIDED,
        )  # fmt: skip
        read_only_fields = fields


class TransferProposalSerializer(BillingSerializer):
    """How much from where to where, and why."""

    from_budget_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    to_budget_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    amount = MoneyStringField()
    reason = serializers.CharField(max_length=500)


class BudgetRevisionSerializer(BillingModelSerializer):
    """A change of a budget's allocation, in force once somebody else approves."""

    delta = MoneyStringField(currency_source="budget.currency", read_only=True)
    currency = CurrencyField(source="budget.currency", read_only=True)

    class Meta:
        model = BudgetRevision
        fields = ("id", "budget_id", "number", "delta", "currency", *DECIDED)
        read_only_fields = fields


class RevisionProposalSerializer(BillingSerializer):
    """By how much the allocation rises (or, negative, falls), and why."""

    budget_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    delta = MoneyStringField()
    reason = serializers.CharField(max_length=500)


class BudgetOverrideSerializer(BillingModelSerializer):
    """Leave to exceed a budget once, up to a limit; `before` and `after` are its figures at that charge."""

    limit = MoneyStringField(currency_source="budget.currency", read_only=True)
    used_amount = MoneyStringField(currency_source="budget.currency", read_only=True, allow_null=True)
    currency = CurrencyField(source="budget.currency", read_only=True)

    class Meta:
        model = BudgetOverride
        fields = (
            "id", "budget_id", "limit", "currency", "used_amount", "used_at", "entry_id", "before", "after",
            *DECIDED,
        )  # fmt: skip
        read_only_fields = fields


class OverrideProposalSerializer(BillingSerializer):
    """By how much a budget may be exceeded once, and why."""

    budget_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    limit = MoneyStringField()
    reason = serializers.CharField(max_length=500)


# --- Rollover --------------------------------------------------------------------------------------------


class RolloverTargetSerializer(BillingSerializer):
    """Where it goes: the budget of the next period."""

    to_budget_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)


class RolloverLineSerializer(BillingSerializer):
    """One row: money, or a commitment, that passes on."""

    what = serializers.CharField(read_only=True)
    amount = serializers.CharField(read_only=True)
    commitment_id = serializers.IntegerField(read_only=True, allow_null=True)
    funded = serializers.BooleanField(read_only=True)
    description = serializers.CharField(read_only=True)


class RolloverPreviewSerializer(BillingSerializer):
    """Exactly the rows that the run posts."""

    from_budget_id = serializers.IntegerField(source="from_budget.pk", read_only=True)
    to_budget_id = serializers.IntegerField(source="to_budget.pk", read_only=True)
    currency = CurrencyField(source="from_budget.currency", read_only=True)
    money = MoneyStringField(currency_source="from_budget.currency", read_only=True)
    commitments = MoneyStringField(currency_source="from_budget.currency", read_only=True)
    lines = RolloverLineSerializer(many=True, read_only=True)


class BudgetRolloverSerializer(BillingModelSerializer):
    """What passed from one period to the next; it can be undone until the target has been used."""

    lines = RolloverLineSerializer(many=True, read_only=True)
    currency = CurrencyField(source="from_budget.currency", read_only=True)

    class Meta:
        model = BudgetRollover
        fields = (
            "id", "from_budget_id", "to_budget_id", "status", "currency", "lines", "created_by_id", "undone_by_id",
            "undone_at", *STAMPS,
        )  # fmt: skip
        read_only_fields = fields
