"""What the API of approvals reads and shows about requests, tasks, attachments and the trail."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from approvals.models import (
    ApprovalAction,
    ApprovalAttachment,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    OnApproval,
    TaskStatus,
)
from approvals.registry import approval_types
from approvals.selectors.requests import BudgetEffect, colleagues_of, due_at
from approvals.services.routing import Route
from core.api.base import SAFE_METHODS
from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    DecimalStringField,
    MoneyStringField,
    ScopedRelatedField,
    UTCDateTimeField,
)
from core.models import User

STAMPS = ("created_at", "updated_at")
LARGEST_ID = 2**63 - 1
LONGEST_TEXT = 10_000
SMALLEST_QUANTITY = Decimal("0.000001")


def colleagues(queryset: QuerySet[Any], user: User) -> QuerySet[Any]:
    """The scope of fields that name people: not everyone sees users, everyone may name colleagues."""
    found: QuerySet[Any] = colleagues_of(user)
    return found


class IdField(serializers.IntegerField):
    """The id of a record that the service looks for among those that the caller sees."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 1, "max_value": LARGEST_ID, **kwargs})


class RequestTypeField(serializers.ChoiceField):
    """A registered type of request; with `everything`, "" stands for all of them."""

    def __init__(self, *, asked_by_people: bool = False, everything: bool = False, **kwargs: Any) -> None:
        known = [each for each in approval_types() if each.asked_by_people or not asked_by_people]
        choices = [(each.code, each.label) for each in known]
        if everything:
            choices.insert(0, ("", "Every type"))
        super().__init__(choices=choices, **kwargs)


# --- How a request stands --------------------------------------------------------------------------------


class ApprovalRoutedRuleSerializer(BillingSerializer):
    """A rule that decides, as it was at submission; `why` is the rule in words."""

    rule_id = serializers.IntegerField(read_only=True)
    version = serializers.IntegerField(read_only=True)
    name = serializers.CharField(read_only=True)
    why = serializers.CharField(read_only=True)


class ApprovalTaskSerializer(BillingModelSerializer):
    """One person asked at one level; `acted_by` differs from `approver` where somebody stood in for them."""

    request_id = serializers.IntegerField(read_only=True)
    level = serializers.CharField(source="step.name", read_only=True)
    approver_name = serializers.CharField(source="approver.display_name", read_only=True)
    for_whom_name = serializers.CharField(source="for_whom.display_name", read_only=True, allow_null=True)
    acted_by_name = serializers.CharField(source="acted_by.display_name", read_only=True, allow_null=True)
    since = UTCDateTimeField(source="opened_at", read_only=True, allow_null=True)
    due_at = serializers.SerializerMethodField()

    class Meta:
        model = ApprovalTask
        fields: tuple[str, ...] = (
            "id", "request_id", "level", "approver_id", "approver_name", "status", "origin", "for_whom_id",
            "for_whom_name", "since", "due_at", "reminders_sent", "acted_at", "acted_by_id", "acted_by_name",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_due_at(self, task: ApprovalTask) -> str | None:
        """When it is escalated, else when the request expires; null where nothing waits."""
        return _moment(due_at(task.request, task))


def _moment(value: Any) -> str | None:
    shown: str | None = None if value is None else UTCDateTimeField().to_representation(value)
    return shown


class ApprovalChainTaskSerializer(ApprovalTaskSerializer):
    """One person asked, inside of their level."""

    class Meta(ApprovalTaskSerializer.Meta):
        fields = tuple(
            name for name in ApprovalTaskSerializer.Meta.fields if name not in ("request_id", "level")
        )
        read_only_fields = fields


class ApprovalLevelStandingSerializer(BillingModelSerializer):
    """A level of the round in progress: how it stands, how many must approve, and who is asked."""

    tasks = ApprovalChainTaskSerializer(many=True, read_only=True)

    class Meta:
        model = ApprovalStep
        fields = (
            "order", "name", "status", "required_approvals", "veto", "comment_required", "origin",
            "rule_id", "rule_version", "why", "opened_at", "decided_at", "escalates_at", "tasks",
        )  # fmt: skip
        read_only_fields = fields


class ApprovalMayActSerializer(BillingSerializer):
    """Somebody who is asked now; whoever stands in for them may act as well."""

    user_id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(read_only=True)
    level = serializers.CharField(read_only=True)


class ApprovalWaitingSerializer(BillingSerializer):
    """What waits for the caller; `on_behalf_of` is whom they stand for, and `why` says it in words."""

    task_id = serializers.IntegerField(source="task.pk", read_only=True)
    level = serializers.CharField(source="task.step.name", read_only=True)
    why = serializers.SerializerMethodField()
    since = UTCDateTimeField(source="task.opened_at", read_only=True, allow_null=True)
    due_at = UTCDateTimeField(read_only=True, allow_null=True)
    on_behalf_of_id = serializers.IntegerField(source="on_behalf_of.pk", read_only=True, allow_null=True)
    on_behalf_of_name = serializers.CharField(
        source="on_behalf_of.display_name", read_only=True, allow_null=True
    )

    def get_why(self, waiting: Any) -> str:
        if waiting.on_behalf_of is not None:
            return f"You stand in for {waiting.on_behalf_of.display_name}."
        origin: str = waiting.task.get_origin_display()
        rule: str = waiting.task.step.why
        return f"{origin}: {rule}" if rule else f"{origin}."


class ApprovalBudgetEffectSerializer(BillingSerializer):
    """What the request does to what the budget has available, in the budget's currency.

    `held` says that the amount is committed already. `amount` is negative where the budget rises. `available_after`
    is null where no exchange rate is known.
    """

    budget_id = serializers.IntegerField(source="budget.pk", read_only=True)
    budget_name = serializers.CharField(source="budget.name", read_only=True)
    currency = CurrencyField(source="budget.currency", read_only=True)
    allocated_amount = MoneyStringField(
        source="budget.allocated_amount", currency_source="budget.currency", read_only=True
    )
    available_before = MoneyStringField(source="before", currency_source="budget.currency", read_only=True)
    amount = MoneyStringField(currency_source="budget.currency", read_only=True, allow_null=True)
    available_after = MoneyStringField(
        source="after", currency_source="budget.currency", read_only=True, allow_null=True
    )
    held = serializers.BooleanField(read_only=True)
    fits = serializers.BooleanField(read_only=True, allow_null=True)


class ApprovalSerializer(BillingModelSerializer):
    """A request, how it stands, and what the caller has to do with it.

    `supplier_account` shows its last four characters only, unless it is read (GET) by who asked for it, is to decide
    on it now, or looks after payments there.
    """

    reference_number = serializers.CharField(read_only=True)
    base_amount = MoneyStringField(
        currency_source="base_currency",
        read_only=True,
        allow_null=True,
        help_text="In the currency of the group's root entity; null, as the rate, before it is submitted.",
    )
    rate = DecimalStringField(max_digits=20, decimal_places=10, read_only=True, allow_null=True)
    split_total = MoneyStringField(
        currency_source="base_currency",
        read_only=True,
        allow_null=True,
        help_text="What chose the rule: with what the same requester asked of the same supplier lately.",
    )
    approved_amount = MoneyStringField(currency_source="base_currency", read_only=True, allow_null=True)
    supplier_account = serializers.SerializerMethodField()
    requester_name = serializers.CharField(source="requester.display_name", read_only=True)
    payee_name = serializers.CharField(source="payee.display_name", read_only=True, allow_null=True)
    rules = ApprovalRoutedRuleSerializer(source="route", many=True, read_only=True)
    levels = ApprovalLevelStandingSerializer(source="chain", many=True, read_only=True)
    may_act = serializers.SerializerMethodField()
    can_decide = serializers.BooleanField(source="standing.can_decide", read_only=True)
    waiting_for_me = ApprovalWaitingSerializer(source="standing.waiting", many=True, read_only=True)
    due_at = UTCDateTimeField(source="standing.due_at", read_only=True, allow_null=True)
    actions = serializers.ListField(
        child=serializers.CharField(),
        source="standing.actions",
        read_only=True,
        help_text="What the caller may do now; taking a vote back (`recall`) is tried.",
    )
    budget_effect = ApprovalBudgetEffectSerializer(read_only=True, allow_null=True)

    class Meta:
        model = ApprovalRequest
        fields: tuple[str, ...] = (
            "id", "reference_number", "request_type", "title", "description", "amount", "currency", "status",
            "round", "entity_id", "department_id", "budget_id", "contract_id", "subject_id", "supplier",
            "supplier_account", "gl_code", "quantity", "terms", "reference", "details", "on_approval",
            "requester_id", "requester_name", "created_by_id", "edited_by_id", "payee_id", "payee_name",
            "base_amount", "base_currency", "rate", "rate_date", "split_total", "approved_amount", "content_hash",
            "rules", "flow", "levels", "may_act", "can_decide", "waiting_for_me", "due_at", "actions",
            "budget_effect", "may_exceed_budget", "commitment_id", "blocked_reason", "effect_error",
            "submitted_at", "decided_at", "expires_at", "emergency_reason", "emergency_review_due",
            "emergency_reviewed_by_id", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not instance.base_currency:
            shown |= {"base_amount": None, "split_total": None, "rate": None}
        return shown

    def get_supplier_account(self, request: Any) -> str:
        account: str = request.supplier_account
        # Answers to a POST may be kept for a retry, and bank details are stored encrypted only.
        is_read = self.context["request"].method in SAFE_METHODS
        if not account or (is_read and request.standing.sees_account):
            return account
        return f"…{account[-4:]}" if len(account) > 4 else "…"

    @extend_schema_field(ApprovalMayActSerializer(many=True))
    def get_may_act(self, request: Any) -> list[dict[str, Any]]:
        """Who is asked now; whoever stands in for them may act as well."""
        return [
            {"user_id": task.approver_id, "name": task.approver.display_name, "level": step.name}
            for step in request.chain
            for task in step.tasks.all()
            if task.status == TaskStatus.OPEN
        ]


# --- Asking ----------------------------------------------------------------------------------------------


def _text(**kwargs: Any) -> serializers.CharField:
    return serializers.CharField(**{"required": False, "allow_blank": True, **kwargs})


class ApprovalFieldsSerializer(BillingSerializer):
    """What can be said about a request at any time."""

    title = serializers.CharField(max_length=200)
    description = serializers.CharField(max_length=LONGEST_TEXT, allow_blank=True)
    amount = MoneyStringField()
    currency = CurrencyField(required=False, help_text="The budget's, or the entity's, unless given.")
    supplier = _text(max_length=200)
    supplier_account = _text(max_length=100, help_text="The supplier's bank details.")
    gl_code = _text(max_length=50)
    quantity = DecimalStringField(
        max_digits=20, decimal_places=6, min_value=SMALLEST_QUANTITY, required=False, allow_null=True
    )
    terms = _text(max_length=LONGEST_TEXT)
    reference = _text(max_length=100, help_text="Your own number for it.")
    details: serializers.DictField = serializers.DictField(
        required=False, help_text="What the type of request needs besides."
    )
    on_approval = serializers.ChoiceField(
        choices=OnApproval.choices,
        required=False,
        help_text="charge: spend the money at once; order: keep it committed for the invoices to come.",
    )
    payee_id = ScopedRelatedField(
        User.objects.all(),
        scope=colleagues,
        source="payee",
        required=False,
        allow_null=True,
        help_text="The person who gets the money, if it is one of the users.",
    )


class ApprovalChangeSerializer(ApprovalFieldsSerializer):
    """What of a request changes; where it belongs may change until it is approved."""

    budget_id = IdField(required=False, allow_null=True)
    entity_id = IdField(required=False)
    department_id = IdField(required=False, allow_null=True)


class ApprovalPreviewSerializer(ApprovalFieldsSerializer):
    """What is asked for; the place follows from the budget or the department where it is not given."""

    request_type = RequestTypeField(asked_by_people=True)
    budget_id = IdField(required=False, allow_null=True)
    entity_id = IdField(required=False, allow_null=True)
    department_id = IdField(required=False, allow_null=True)
    contract_id = IdField(required=False, allow_null=True)
    subject_id = IdField(
        required=False,
        allow_null=True,
        help_text="The record that the type of request is about, if it has one.",
    )
    requester_id = ScopedRelatedField(
        User.objects.all(),
        scope=colleagues,
        source="requester",
        required=False,
        allow_null=True,
        help_text="For connected systems, and who may override: who asks for it. You, unless given.",
    )


class ApprovalCreateSerializer(ApprovalPreviewSerializer):
    """What is asked for; `draft` keeps it without submitting it."""

    draft = serializers.BooleanField(default=False)


class ApprovalPlannedTaskSerializer(BillingSerializer):
    """Somebody who would be asked."""

    approver_id = serializers.IntegerField(read_only=True)
    approver_name = serializers.CharField(read_only=True)
    origin = serializers.CharField(read_only=True)
    for_whom_id = serializers.IntegerField(read_only=True, allow_null=True)


class ApprovalPlannedLevelSerializer(BillingSerializer):
    """A level as it would be; `missing` says in a sentence why it cannot be filled."""

    order = serializers.IntegerField(read_only=True)
    name = serializers.CharField(read_only=True)
    why = serializers.CharField(read_only=True)
    rule_id = serializers.IntegerField(read_only=True)
    required_approvals = serializers.IntegerField(read_only=True)
    missing = serializers.CharField(read_only=True)
    tasks = ApprovalPlannedTaskSerializer(many=True, read_only=True)


class ApprovalRouteSerializer(BillingSerializer):
    """Which rules would decide and whom they would ask; `base_amount` chooses the rule."""

    outcome = serializers.ChoiceField(choices=["asked", "auto_approved", "blocked"], read_only=True)
    amount = MoneyStringField(read_only=True)
    currency = CurrencyField(read_only=True)
    base_amount = MoneyStringField(currency_source="base_currency", read_only=True)
    split_total = MoneyStringField(currency_source="base_currency", read_only=True)
    base_currency = CurrencyField(read_only=True)
    rules = ApprovalRoutedRuleSerializer(many=True, read_only=True)
    flow = serializers.CharField(read_only=True)
    levels = ApprovalPlannedLevelSerializer(many=True, read_only=True)
    may_exceed_budget = serializers.BooleanField(read_only=True)
    blocked_reason = serializers.CharField(read_only=True)
    budget_effect = ApprovalBudgetEffectSerializer(read_only=True, allow_null=True)


# --- Acting ----------------------------------------------------------------------------------------------

ACTIONS = ("approve", "reject", "request_changes", "delegate", "escalate", "recall", "withdraw")


class ApprovalActSerializer(BillingSerializer):
    """What the caller does. `content_hash` is that of the content they saw: a vote on another one is refused."""

    action = serializers.ChoiceField(choices=ACTIONS)
    comment = _text(max_length=LONGEST_TEXT, default="")
    delegate_to_id = ScopedRelatedField(
        User.objects.all(), scope=colleagues, source="delegate_to", required=False, allow_null=True
    )
    content_hash = serializers.CharField(max_length=64, required=False, allow_null=True)


class ApprovalBulkItemSerializer(BillingSerializer):
    """A request, and the fingerprint of the content that was seen."""

    id = IdField()
    content_hash = serializers.CharField(max_length=64, required=False, allow_null=True)


class ApprovalBulkActionSerializer(BillingSerializer):
    """Several requests that are approved, each by itself."""

    items: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=ApprovalBulkItemSerializer(), allow_empty=False, max_length=1000
    )
    action = serializers.ChoiceField(choices=["approve"])
    comment = _text(max_length=LONGEST_TEXT, default="")


class ApprovalBulkItemResultSerializer(BillingSerializer):
    """What became of one of them: `code` is "approved", "voted", or the code of the refusal."""

    id = serializers.IntegerField(source="request_id", read_only=True)
    done = serializers.BooleanField(read_only=True)
    code = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)


class ApprovalBulkResultSerializer(BillingSerializer):
    """How many went through, and each item's own result, in the order in which they were sent."""

    done = serializers.IntegerField(read_only=True)
    refused = serializers.IntegerField(read_only=True)
    results = ApprovalBulkItemResultSerializer(many=True, read_only=True)


class ApprovalCommentSerializer(BillingSerializer):
    """Something to say."""

    comment = serializers.CharField(max_length=LONGEST_TEXT)


class ApprovalReasonSerializer(BillingSerializer):
    """Why; it stays with the request."""

    reason = serializers.CharField(max_length=500)


class ApprovalReassignSerializer(ApprovalReasonSerializer):
    """Who decides instead, and why."""

    to_user_id = ScopedRelatedField(User.objects.all(), scope=colleagues, source="to_user")


class ApprovalTrailSerializer(BillingModelSerializer):
    """One event of a request's life, never changed; `on_behalf_of` is whom the actor stood for."""

    kind_label = serializers.CharField(source="get_kind_display", read_only=True)
    level = serializers.CharField(source="step.name", read_only=True, allow_null=True)
    actor_name = serializers.CharField(source="actor.display_name", read_only=True)
    on_behalf_of_name = serializers.CharField(
        source="on_behalf_of.display_name", read_only=True, allow_null=True
    )

    class Meta:
        model = ApprovalAction
        fields = (
            "id", "kind", "kind_label", "round", "level", "actor_id", "actor_name", "on_behalf_of_id",
            "on_behalf_of_name", "comment", "content_hash", "rule_id", "rule_version", "details", "channel",
            "created_at",
        )  # fmt: skip
        read_only_fields = fields


class ApprovalAttachmentSerializer(BillingModelSerializer):
    """A file on a request; `sha256` is of its content, `size` in bytes."""

    uploaded_by_name = serializers.CharField(source="uploaded_by.display_name", read_only=True)

    class Meta:
        model = ApprovalAttachment
        fields = (
            "id", "request_id", "name", "content_type", "size", "sha256", "uploaded_by_id", "uploaded_by_name",
            "uploaded_at",
        )  # fmt: skip
        read_only_fields = fields


class ApprovalAttachmentUploadSerializer(BillingSerializer):
    """A file (multipart); its type is told by its name and must agree with its content."""

    file = serializers.FileField(max_length=255, allow_empty_file=True)


def route_body(request: ApprovalRequest, route: Route, effect: BudgetEffect | None) -> dict[str, Any]:
    """What `ApprovalRouteSerializer` shows; one query for the names of the people."""
    people = {task.user_id for step in route.steps for task in step.tasks}
    names = {user.pk: user.display_name for user in User.objects.filter(pk__in=people)}
    outcome = "blocked" if route.blocked_reason else "auto_approved" if route.auto_approve else "asked"
    return {
        "outcome": outcome,
        "amount": request.amount,
        "currency": request.currency,
        "base_amount": request.base_amount,
        "split_total": request.split_total,
        "base_currency": request.base_currency,
        "rules": route.snapshot,
        "flow": route.flow,
        "levels": list(_planned(route, names)),
        "may_exceed_budget": route.may_exceed_budget,
        "blocked_reason": route.blocked_reason,
        "budget_effect": effect,
    }


def _planned(route: Route, names: dict[int, str]) -> Iterable[dict[str, Any]]:
    for order, step in enumerate(route.steps, start=1):
        yield {
            "order": order,
            "name": step.name,
            "why": step.why,
            "rule_id": step.rule.pk,
            "required_approvals": step.required,
            "missing": step.missing,
            "tasks": [
                {
                    "approver_id": task.user_id,
                    "approver_name": names[task.user_id],
                    "origin": task.origin,
                    "for_whom_id": task.for_whom_id,
                }
                for task in step.tasks
            ],
        }
