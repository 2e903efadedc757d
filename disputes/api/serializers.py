"""What the API of disputes reads and shows.

Who stands on the customer's side gets the same members as staff, with null in those that are internal (DSP-18); rows
that are internal as a whole are not among theirs at all. An object without the mark `for_staff` is shown as to a
customer.
"""

from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from approvals.api.serializers import IdField, colleagues
from contracts.models import ContractAmendment
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
from disputes.access import HANDLE
from disputes.models import (
    BillingDispute,
    Category,
    Direction,
    DisputeAttachment,
    DisputeComment,
    DisputeEvent,
    DisputeResolution,
    Outcome,
    ResolutionType,
    RootCause,
    Severity,
    Visibility,
)
from disputes.services.comments import LONGEST
from entities.querysets import entity_ids_visible_to, sees_everything

STAMPS = ("created_at", "updated_at")
LONGEST_REASON = 500
LONGEST_NOTE = 2000
PUBLIC_DETAILS = frozenset(
    {
        "amount",
        "outcome",
        "round",
        "comment_id",
        "version",
        "attachment_id",
        "name",
        "dispute_id",
        "merged_into",
    }
)
"""What of an event's details the customer's side sees."""


def amendments_at_hand(queryset: QuerySet[Any], user: User) -> QuerySet[Any]:
    """Amendments that the user sees, and those of contracts of the issuers whose disputes they handle."""
    if sees_everything(user):
        return queryset
    seen = ContractAmendment.objects.visible_to(user).values("pk")
    return queryset.filter(Q(pk__in=seen) | Q(contract__issuer_id__in=entity_ids_visible_to(user, HANDLE)))


def name_of(path: str, **kwargs: Any) -> serializers.CharField:
    """Somebody's name, read through a foreign key."""
    return serializers.CharField(source=f"{path}.display_name", read_only=True, **kwargs)


class SidedSerializer(BillingModelSerializer):
    """Shows null for what is internal unless the object says ``for_staff``."""

    internal: ClassVar[tuple[str, ...]] = ()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not getattr(instance, "for_staff", False):
            shown |= dict.fromkeys(self.internal)
        return shown


# --- Disputes --------------------------------------------------------------------------------------------


class DisputeResolutionSerializer(SidedSerializer):
    """How it is resolved. `note` is for the customer; what is proposed and not carried out, only staff sees."""

    internal = (
        "internal_note", "proposed_by_id", "proposed_by_name", "proposed_at", "decided_by_id",
        "approval_request_id", "return_reason",
    )  # fmt: skip
    amount = MoneyStringField(currency_source="dispute.currency", read_only=True)
    round = serializers.IntegerField(source="round.number", read_only=True)
    proposed_by_id = serializers.IntegerField(read_only=True, allow_null=True)
    proposed_by_name = name_of("proposed_by", allow_null=True)
    proposed_at = UTCDateTimeField(read_only=True, allow_null=True)
    internal_note = serializers.CharField(read_only=True, allow_null=True)
    return_reason = serializers.CharField(read_only=True, allow_null=True)

    class Meta:
        model = DisputeResolution
        fields = (
            "id", "round", "resolution_type", "outcome", "amount", "note", "internal_note", "status",
            "proposed_by_id", "proposed_by_name", "proposed_at", "approval_request_id", "decided_at",
            "decided_by_id", "return_reason", "credit_note_id", "debit_note_id", "rebilled_as_id", "refund_id",
            "write_off_id", "amendment_id",
        )  # fmt: skip
        read_only_fields = fields


class DisputeSerializer(SidedSerializer):
    """A claim about an invoice. `side` is the caller's; for customers owner, root cause and escalation are null."""

    internal = ("owner_id", "owner_name", "root_cause", "root_cause_note", "is_escalated", "escalated_at")
    number = serializers.CharField(read_only=True)
    side = serializers.SerializerMethodField()
    invoice_number = serializers.CharField(source="invoice.number", read_only=True, allow_null=True)
    line_number = serializers.IntegerField(source="invoice_line.line_number", read_only=True, allow_null=True)
    issuer_name = serializers.CharField(source="issuer.name", read_only=True)
    entity_name = serializers.CharField(source="entity.name", read_only=True)
    amount = MoneyStringField(read_only=True, help_text="What is disputed, including tax.")
    owner_name = name_of("owner", allow_null=True)
    root_cause = serializers.ChoiceField(
        choices=RootCause.choices, allow_blank=True, allow_null=True, read_only=True
    )
    root_cause_note = serializers.CharField(read_only=True, allow_null=True)
    is_escalated = serializers.BooleanField(read_only=True, allow_null=True)
    opened_by_name = name_of("opened_by")

    class Meta:
        model = BillingDispute
        fields: tuple[str, ...] = (
            "id", "number", "side", "status", "category", "severity", "direction", "invoice_id", "invoice_number",
            "invoice_line_id", "line_number", "issuer_id", "issuer_name", "entity_id", "entity_name",
            "department_id", "amount", "approved_amount", "currency", "reason", "customer_reference",
            "chargeback_scheme", "chargeback_reference", "chargeback_deadline", "round_number",
            "next_deadline_at", "owner_id", "owner_name", "is_escalated", "escalated_at", "root_cause",
            "root_cause_note", "merged_into_id", "opened_by_id", "opened_by_name", "opened_at", "resolved_at",
            "ended_at", "end_reason", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(serializers.ChoiceField(choices=["staff", "customer"]))
    def get_side(self, dispute: Any) -> str:
        return "staff" if getattr(dispute, "for_staff", False) else "customer"


class DisputeDetailSerializer(DisputeSerializer):
    """A dispute with its resolutions, the last one also by itself, and what was merged into it."""

    resolution = serializers.SerializerMethodField()
    resolutions = DisputeResolutionSerializer(source="seen_resolutions", many=True, read_only=True)
    merged_ids = serializers.SerializerMethodField()

    class Meta(DisputeSerializer.Meta):
        fields = (*DisputeSerializer.Meta.fields, "resolution", "resolutions", "merged_ids")
        read_only_fields = fields

    @extend_schema_field(DisputeResolutionSerializer(allow_null=True))
    def get_resolution(self, dispute: Any) -> dict[str, Any] | None:
        """The last one that the caller sees."""
        seen = dispute.seen_resolutions
        return DisputeResolutionSerializer(seen[-1]).data if seen else None

    def get_merged_ids(self, dispute: Any) -> list[int]:
        """The disputes that this one took in; their threads stay with them."""
        return [each.pk for each in dispute.seen_merged]


class ChargebackMixin(serializers.Serializer[Any]):
    """Of a card chargeback: whose scheme, its number, and the last day to answer."""

    chargeback_scheme = serializers.CharField(max_length=40, required=False, allow_blank=True)
    chargeback_reference = serializers.CharField(max_length=60, required=False, allow_blank=True)
    chargeback_deadline = serializers.DateField(required=False, allow_null=True)


class DisputeOpenSerializer(ChargebackMixin, BillingSerializer):
    """What is wrong with an issued invoice, or with one of its lines, and by how much, including tax."""

    invoice_id = IdField()
    invoice_line_id = IdField(required=False, allow_null=True, help_text="Null: the invoice as a whole.")
    category = serializers.ChoiceField(choices=Category.choices)
    severity = serializers.ChoiceField(choices=Severity.choices, default=Severity.MEDIUM)
    direction = serializers.ChoiceField(
        choices=Direction.choices,
        default=Direction.OVER,
        help_text="over: too much was billed; under: too little.",
    )
    amount = MoneyStringField()
    reason = serializers.CharField(max_length=4000)
    customer_reference = serializers.CharField(max_length=100, required=False, allow_blank=True)


class DisputeChangeSerializer(ChargebackMixin, BillingSerializer):
    """What staff keeps about it; a new severity needs the reason."""

    category = serializers.ChoiceField(choices=Category.choices, required=False)
    severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    owner_id = ScopedRelatedField(
        User.objects.all(), scope=colleagues, source="owner", required=False, allow_null=True
    )
    root_cause = serializers.ChoiceField(choices=RootCause.choices, required=False, allow_blank=True)
    root_cause_note = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    customer_reference = serializers.CharField(max_length=100, required=False, allow_blank=True)
    reason = serializers.CharField(
        max_length=LONGEST_REASON,
        required=False,
        allow_blank=True,
        help_text="Why; for staff only.",
    )


class DisputeReasonSerializer(BillingSerializer):
    """Why; for staff only."""

    reason = serializers.CharField(max_length=LONGEST_REASON)


class DisputeWithdrawSerializer(BillingSerializer):
    """Why, which both sides read; staff must say how it knows that the customer gives it up."""

    reason = serializers.CharField(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")


class DisputeReopenSerializer(BillingSerializer):
    """Why the decision is not right, which both sides read, and less than all of the rest if that is meant."""

    reason = serializers.CharField(max_length=LONGEST_REASON)
    amount = MoneyStringField(required=False, allow_null=True)


class DisputeWaitSerializer(BillingSerializer):
    """For whom; `question` is sent to the customer, `note` on somebody else is for staff only."""

    waiting_for = serializers.ChoiceField(choices=["customer", "third_party"])
    question = serializers.CharField(max_length=LONGEST, required=False, allow_blank=True, default="")
    note = serializers.CharField(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")


class DisputeMergeSerializer(BillingSerializer):
    """The other dispute of the same invoice, and why they are one, which both sides read."""

    other_id = IdField()
    reason = serializers.CharField(max_length=LONGEST_REASON)


class DisputeResolveSerializer(BillingSerializer):
    """What is decided; without `amount` all that is disputed, without `outcome` the first of its type."""

    resolution_type = serializers.ChoiceField(choices=ResolutionType.choices)
    amount = MoneyStringField(required=False, allow_null=True)
    note = serializers.CharField(max_length=LONGEST_NOTE, help_text="To the customer.")
    outcome = serializers.ChoiceField(choices=Outcome.choices, required=False, allow_blank=True, default="")
    internal_note = serializers.CharField(
        max_length=LONGEST_NOTE,
        required=False,
        allow_blank=True,
        default="",
        help_text="For staff, and for who approves it.",
    )
    amendment_id = ScopedRelatedField(
        ContractAmendment.objects.all(),
        scope=amendments_at_hand,
        source="amendment",
        required=False,
        allow_null=True,
        help_text="Of a price fix: the amendment that fixes it.",
    )


# --- The thread ------------------------------------------------------------------------------------------


class DisputeCommentSerializer(SidedSerializer):
    """The version of a comment with that id; `thread_key` is the same in all of its versions."""

    internal = ("mentioned_ids",)
    author_name = name_of("author")
    mentioned_ids = serializers.SerializerMethodField(help_text="For staff: whom it names with @.")

    class Meta:
        model = DisputeComment
        fields = (
            "id", "dispute_id", "thread_key", "version", "visibility", "speaker", "body", "author_id",
            "author_name", "mentioned_ids", "created_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.IntegerField(), allow_null=True))
    def get_mentioned_ids(self, comment: Any) -> list[int]:
        return [user.pk for user in comment.mentions.all()]


class DisputeCommentCreateSerializer(BillingSerializer):
    """A comment; of customers it is always for both sides."""

    body = serializers.CharField(max_length=LONGEST)
    visibility = serializers.ChoiceField(choices=Visibility.choices)


class DisputeCommentChangeSerializer(BillingSerializer):
    """The comment anew; its readers stay the same."""

    body = serializers.CharField(max_length=LONGEST)


class DisputeEventSerializer(SidedSerializer):
    """Something that happened, with state and severity after it; never changed."""

    internal = ("channel",)
    kind_label = serializers.CharField(source="get_kind_display", read_only=True)
    round = serializers.IntegerField(source="round.number", read_only=True)
    actor_name = name_of("actor")
    channel = serializers.CharField(read_only=True, allow_null=True)
    details: Any = serializers.SerializerMethodField()

    class Meta:
        model = DisputeEvent
        fields = (
            "id", "kind", "kind_label", "round", "status", "severity", "at", "actor_id", "actor_name", "is_public",
            "note", "details", "channel",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.DictField())
    def get_details(self, event: Any) -> dict[str, Any]:
        """All of them for staff, what is harmless for customers."""
        if getattr(event, "for_staff", False):
            return dict(event.details)
        return {name: value for name, value in event.details.items() if name in PUBLIC_DETAILS}


class DisputeAttachmentSerializer(BillingModelSerializer):
    """A file on a dispute; `sha256` is of its content, `size` in bytes."""

    uploaded_by_name = name_of("uploaded_by")

    class Meta:
        model = DisputeAttachment
        fields = (
            "id", "dispute_id", "comment_id", "visibility", "name", "content_type", "size", "sha256",
            "uploaded_by_id", "uploaded_by_name", "uploaded_at",
        )  # fmt: skip
        read_only_fields = fields


class DisputeAttachmentUploadSerializer(BillingSerializer):
    """A file (multipart); its type is told by its name and must agree with its content."""

    file = serializers.FileField(max_length=255, allow_empty_file=True)
    visibility = serializers.ChoiceField(choices=Visibility.choices)
    comment_id = IdField(required=False, allow_null=True, help_text="Part of a comment of your own.")


# --- Clocks ----------------------------------------------------------------------------------------------


class ResponseClockSerializer(BillingSerializer):
    """Ends with the first word of staff to the customer; it never pauses."""

    due_at = UTCDateTimeField(source="clocks.response_due_at", read_only=True)
    met_at = UTCDateTimeField(source="clocks.response_met_at", read_only=True, allow_null=True)
    breached_at = UTCDateTimeField(source="clocks.response_breached_at", read_only=True, allow_null=True)
    remaining_seconds = serializers.IntegerField(
        source="response_remaining",
        read_only=True,
        allow_null=True,
        help_text="Working time; below zero once it is late, null once it is met.",
    )


class ResolutionClockSerializer(BillingSerializer):
    """Ends with the resolution; it stands still while the customer is waited for."""

    due_at = UTCDateTimeField(
        source="clocks.resolution_due_at",
        read_only=True,
        allow_null=True,
        help_text="Null while it stands still.",
    )
    target_seconds = serializers.SerializerMethodField()
    elapsed_seconds = serializers.SerializerMethodField()
    paused_seconds = serializers.SerializerMethodField()
    remaining_seconds = serializers.IntegerField(
        source="resolution_remaining",
        read_only=True,
        allow_null=True,
        help_text="Working time, of a chargeback real time; below zero once it is late, null once the round is over.",
    )
    paused_since = UTCDateTimeField(source="clocks.paused_since", read_only=True, allow_null=True)
    stopped_at = UTCDateTimeField(source="clocks.stopped_at", read_only=True, allow_null=True)
    breached_at = UTCDateTimeField(source="clocks.resolution_breached_at", read_only=True, allow_null=True)
    in_time = serializers.BooleanField(source="clocks.resolved_in_time", read_only=True, allow_null=True)

    def get_target_seconds(self, standing: Any) -> int:
        return int(standing.clocks.resolution_target.total_seconds())

    def get_elapsed_seconds(self, standing: Any) -> int:
        return int(standing.clocks.elapsed.total_seconds())

    def get_paused_seconds(self, standing: Any) -> int:
        return int(standing.clocks.paused.total_seconds())


class ClockWarningSerializer(BillingSerializer):
    """When the owner is warned of the resolution clock."""

    percent = serializers.IntegerField(read_only=True)
    at = UTCDateTimeField(read_only=True)


class DisputeRoundSerializer(BillingSerializer):
    """One run of the clocks; policy and warnings are null for customers."""

    number = serializers.IntegerField(source="round.number", read_only=True)
    started_at = UTCDateTimeField(source="round.started_at", read_only=True)
    ended_at = UTCDateTimeField(source="round.ended_at", read_only=True, allow_null=True)
    response = ResponseClockSerializer(source="*", read_only=True)
    resolution = ResolutionClockSerializer(source="*", read_only=True)
    policy_id = serializers.IntegerField(source="round.policy_id", read_only=True, allow_null=True)
    policy_name = serializers.SerializerMethodField()
    warnings = serializers.SerializerMethodField()

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_policy_name(self, standing: Any) -> str:
        """As it was when the round began."""
        return str(standing.round.terms["policy"]["name"])

    @extend_schema_field(ClockWarningSerializer(many=True, allow_null=True))
    def get_warnings(self, standing: Any) -> list[dict[str, Any]]:
        rows = [{"percent": percent, "at": at} for percent, at in standing.clocks.warnings]
        return list(ClockWarningSerializer(rows, many=True).data)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not self.context.get("for_staff", False):
            shown |= {"policy_id": None, "policy_name": None, "warnings": None}
        return shown


class DisputeClocksSerializer(BillingSerializer):
    """How the clocks stand at `as_of`, the current round first."""

    dispute_id = serializers.IntegerField(read_only=True)
    status = serializers.CharField(read_only=True)
    as_of = UTCDateTimeField(read_only=True)
    next_deadline_at = UTCDateTimeField(read_only=True, allow_null=True)
    rounds = DisputeRoundSerializer(many=True, read_only=True)


# --- Reasons ---------------------------------------------------------------------------------------------


class ReasonAmountsSerializer(BillingSerializer):
    """In one currency, including tax."""

    currency = CurrencyField(read_only=True)
    disputed = MoneyStringField(read_only=True)
    approved = MoneyStringField(read_only=True)


class ReasonRowSerializer(BillingSerializer):
    """The disputes of one category, root cause or outcome."""

    key = serializers.CharField(read_only=True, help_text='"" where nothing is known or decided yet.')
    label = serializers.CharField(read_only=True)  # type: ignore[assignment]
    disputes = serializers.IntegerField(read_only=True)
    decided = serializers.IntegerField(read_only=True)
    in_time = serializers.IntegerField(read_only=True, help_text="Of those decided.")
    in_time_percent = DecimalStringField(
        max_digits=5, decimal_places=1, read_only=True, allow_null=True, help_text="Null: none is decided."
    )
    median_seconds = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Working time that half of those decided took at most."
    )
    amounts = ReasonAmountsSerializer(many=True, read_only=True)


class ReasonsQuerySerializer(BillingSerializer):
    """Which disputes are counted."""

    opened_from = serializers.DateField(required=False, help_text="Opened on that day (UTC) or later.")
    opened_to = serializers.DateField(required=False, help_text="Opened before that day (UTC).")
    issuer_id = IdField(required=False)
    entity_id = IdField(required=False)


class DisputeReasonsSerializer(BillingSerializer):
    """The same disputes in three groupings, each with the most frequent first."""

    by_category = ReasonRowSerializer(many=True, read_only=True)
    by_root_cause = ReasonRowSerializer(many=True, read_only=True)
    by_outcome = ReasonRowSerializer(many=True, read_only=True)
