"""Commitments, entries, and the changes that people decide: transfers, revisions, overrides, rollovers."""

from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from budgets.api.filters import (
    BudgetOverrideFilter,
    BudgetRevisionFilter,
    BudgetRolloverFilter,
    BudgetTransferFilter,
    CommitmentFilter,
    LedgerFilter,
)
from budgets.api.serializers import (
    BudgetApprovalSerializer,
    BudgetChargedSerializer,
    BudgetEntrySerializer,
    BudgetOverrideSerializer,
    BudgetReasonSerializer,
    BudgetRejectionSerializer,
    BudgetRevisionSerializer,
    BudgetRolloverSerializer,
    BudgetTransferSerializer,
    CommitmentChangeSerializer,
    CommitmentConsumedSerializer,
    CommitmentConsumeSerializer,
    CommitmentDecisionSerializer,
    CommitmentReleaseSerializer,
    CommitmentReopenSerializer,
    CommitmentSerializer,
    OverrideProposalSerializer,
    RevisionProposalSerializer,
    TransferProposalSerializer,
)
from budgets.models import (
    BudgetEntry,
    BudgetOverride,
    BudgetRevision,
    BudgetRollover,
    BudgetTransfer,
    Commitment,
)
from budgets.services.budget import commitment_decide
from budgets.services.changes import (
    override_approve,
    override_propose,
    override_reject,
    revision_approve,
    revision_propose,
    revision_reject,
    transfer_approve,
    transfer_propose,
    transfer_reject,
)
from budgets.services.charges import entry_correct
from budgets.services.commitments import (
    commitment_change,
    commitment_consume,
    commitment_release,
    commitment_reopen,
)
from budgets.services.ledger import Posting
from budgets.services.rollover import rollover_undo
from core.api.base import BillingViewSet, CreateMixin
from core.api.pagination import AppendOnlyPagination
from core.api.schema import operation, operations

CLOSED = ["commitment_closed", "commitment_expired"]
DECIDED = {403: ["second_person_needed"], 409: ["already_decided"]}


# --- Commitments -----------------------------------------------------------------------------------------


@operations(
    list=operation(summary="List the commitments you see."),
    retrieve=operation(summary="Get a commitment with what remains of it."),
)
class CommitmentViewSet(BillingViewSet):
    """Made by `POST /budgets/{id}/commitments`."""

    queryset = Commitment.objects.select_related("budget")
    serializer_class = CommitmentSerializer
    input_serializers = {
        "consume": CommitmentConsumeSerializer,
        "release": CommitmentReleaseSerializer,
        "change": CommitmentChangeSerializer,
        "reopen": CommitmentReopenSerializer,
        "decide": CommitmentDecisionSerializer,
    }
    action_permissions = {
        "consume": "budgets.charge_budget",
        "release": "budgets.charge_budget",
        "change": "budgets.charge_budget",
        "reopen": "budgets.charge_budget",
        "decide": "budgets.close_budget",
    }
    filterset_class = CommitmentFilter
    search_fields = ("description", "reference", "budget__name")
    ordering_fields = ("amount", "commitment_date", "expires_at", "status", "created_at", "id")

    @operation(
        summary="Spend what an invoice takes of a commitment.",
        description=(
            "Part by part, until nothing remains; `final` frees the rest. An excess over the remainder must be "
            "available, and within the budget's tolerance. An invoice dated in another period is borne by that "
            "period's budget."
        ),
        request=CommitmentConsumeSerializer,
        responses={201: CommitmentConsumedSerializer},
        errors={
            400: ["amount_not_positive", "amount_too_precise"],
            409: ["commitment_pending", *CLOSED, "commitment_exceeded", "insufficient_budget", "period_mismatch",
                  "no_budget", "ambiguous_budget"],
        },
        example={"amount": "1200.00", "description": "Invoice 4711", "reference": "4711"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def consume(self, request: Request, pk: str) -> Response:
        commitment = self.get_object()
        return self._posted(
            commitment,
            commitment_consume(actor=self.actor, commitment_id=commitment.pk, **self.validated()),
        )

    @operation(
        summary="Give back a part of what remains, or all of it.",
        request=CommitmentReleaseSerializer,
        responses={201: CommitmentConsumedSerializer},
        errors={400: ["amount_not_positive"], 409: ["release_exceeds_remainder", *CLOSED]},
        example={"reason": "Order cancelled"},
    )
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        commitment = self.get_object()
        return self._posted(
            commitment,
            commitment_release(actor=self.actor, commitment_id=commitment.pk, **self.validated()),
        )

    @operation(
        summary="Change the order's total: a rise tests the difference only.",
        request=CommitmentChangeSerializer,
        responses=CommitmentSerializer,
        errors={
            400: ["amount_not_positive", "amount_too_precise"],
            409: ["commitment_below_consumed", "insufficient_budget", *CLOSED],
        },
        example={"amount": "5200.00", "reason": "One more workstation"},
    )
    @action(detail=True, methods=["post"])
    def change(self, request: Request, pk: str) -> Response:
        commitment = self.get_object()
        return self.answer(
            commitment_change(actor=self.actor, commitment_id=commitment.pk, **self.validated())
        )

    @operation(
        summary="Promise again what was released or has expired, if the funds allow it.",
        request=CommitmentReopenSerializer,
        responses=CommitmentSerializer,
        errors={
            400: ["expires_in_the_past"],
            409: ["commitment_not_reopenable", "insufficient_budget", "budget_closed"],
        },
        example={"reason": "The supplier delivers after all"},
    )
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, pk: str) -> Response:
        commitment = self.get_object()
        return self.answer(
            commitment_reopen(actor=self.actor, commitment_id=commitment.pk, **self.validated())
        )

    @operation(
        summary="Decide what becomes of an open commitment when its budget closes.",
        request=CommitmentDecisionSerializer,
        responses=CommitmentSerializer,
        errors={409: ["commitment_closed", "carry_not_allowed"]},
        example={"decision": "carry"},
    )
    @action(detail=True, methods=["post"])
    def decide(self, request: Request, pk: str) -> Response:
        commitment = self.get_object()
        return self.answer(
            commitment_decide(actor=self.actor, commitment_id=commitment.pk, **self.validated())
        )

    def _posted(self, commitment: Commitment, posting: Posting) -> Response:
        for entry in posting.entries:
            entry.budget = posting.budgets[entry.budget_id]
        now = self.get_queryset().get(pk=commitment.pk)
        bearing = posting.entries[0].budget if posting.entries else now.budget
        answer = {"entries": posting.entries, "commitment": now, "budget": bearing}
        return Response(
            CommitmentConsumedSerializer(answer, context=self.get_serializer_context()).data, status=201
        )


# --- The ledger ------------------------------------------------------------------------------------------


@operations(
    list=operation(summary="List the ledger entries of the budgets you see, newest first."),
    retrieve=operation(summary="Get a ledger entry."),
)
class BudgetEntryViewSet(BillingViewSet):
    """Append-only: corrections are opposite entries."""

    queryset = BudgetEntry.objects.select_related("budget")
    serializer_class = BudgetEntrySerializer
    pagination_class = AppendOnlyPagination
    filterset_class = LedgerFilter
    search_fields = ("description", "reference")
    input_serializers = {"correct": BudgetReasonSerializer}
    action_permissions = {"correct": "budgets.charge_budget"}

    @operation(
        summary="Take back a charge or refund that was a mistake, by an opposite entry.",
        request=BudgetReasonSerializer,
        responses={201: BudgetChargedSerializer},
        errors={409: ["entry_not_correctable", "budget_closed", "insufficient_budget"]},
        example={"reason": "Charged to the wrong department"},
    )
    @action(detail=True, methods=["post"])
    def correct(self, request: Request, pk: str) -> Response:
        wrong = self.get_object()
        posting = entry_correct(actor=self.actor, entry_id=wrong.pk, **self.validated())
        entry = posting.entries[0]
        entry.budget = posting.budgets[entry.budget_id]
        shown = BudgetChargedSerializer(
            {"entry": entry, "budget": entry.budget}, context=self.get_serializer_context()
        )
        return Response(shown.data, status=201)


# --- Transfers, revisions, overrides ---------------------------------------------------------------------


@operations(
    list=operation(summary="List the transfers between budgets you see."),
    retrieve=operation(summary="Get a transfer."),
    create=operation(
        summary="Ask to move money from one budget to another of the same currency and period.",
        errors={
            400: ["transfer_to_itself", "transfer_across_currencies", "transfer_across_periods",
                  "amount_not_positive", "amount_too_precise", "reason_required"],
            404: ["not_found"],
        },
        example={"from_budget_id": 1, "to_budget_id": 2, "amount": "500.00", "reason": "Shared licence"},
    ),
)  # fmt: skip
class BudgetTransferViewSet(CreateMixin, BillingViewSet):
    queryset = BudgetTransfer.objects.select_related("from_budget")
    serializer_class = BudgetTransferSerializer
    input_serializers = {
        "create": TransferProposalSerializer,
        "approve": BudgetApprovalSerializer,
        "reject": BudgetRejectionSerializer,
    }
    # Whose approval it needs (the owner's, finance's) is for the service to say.
    action_permissions = {"create": "budgets.transfer_budget", "approve": None, "reject": None}
    filterset_class = BudgetTransferFilter
    search_fields = ("reason", "from_budget__name", "to_budget__name")
    ordering_fields = ("amount", "status", "created_at", "decided_at", "id")
    ordering = ("-id",)

    def perform_create(self, data: dict[str, Any]) -> BudgetTransfer:
        return transfer_propose(actor=self.actor, **data)

    @operation(
        summary="Approve a transfer, as the giving budget's owner or as finance.",
        description="The approval that completes it moves the money; until then `status` stays proposed.",
        request=BudgetApprovalSerializer,
        responses=BudgetTransferSerializer,
        errors={
            403: ["second_person_needed", "not_the_approver"],
            409: ["already_decided", "insufficient_budget", "budget_closed", "children_exceed_parent"],
        },
        example={"comment": "Agreed"},
    )
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        transfer = self.get_object()
        return self.answer(transfer_approve(actor=self.actor, transfer_id=transfer.pk, **self.validated()))

    @operation(
        summary="Refuse a transfer.",
        request=BudgetRejectionSerializer,
        responses=BudgetTransferSerializer,
        errors=DECIDED,
        example={"comment": "We need it ourselves"},
    )
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        transfer = self.get_object()
        return self.answer(transfer_reject(actor=self.actor, transfer_id=transfer.pk, **self.validated()))


@operations(
    list=operation(summary="List the revisions of budgets you see."),
    retrieve=operation(summary="Get a revision."),
    create=operation(
        summary="Ask to raise or lower a budget's allocation.",
        errors={
            400: ["revision_changes_nothing", "amount_too_precise", "reason_required"],
            404: ["not_found"],
        },
        example={"budget_id": 1, "delta": "-2500.00", "reason": "Hiring postponed"},
    ),
)
class BudgetRevisionViewSet(CreateMixin, BillingViewSet):
    queryset = BudgetRevision.objects.select_related("budget")
    serializer_class = BudgetRevisionSerializer
    input_serializers = {
        "create": RevisionProposalSerializer,
        "approve": BudgetApprovalSerializer,
        "reject": BudgetRejectionSerializer,
    }
    action_permissions = {
        "create": "budgets.change_budget",
        "approve": "budgets.approve_budget_change",
        "reject": "budgets.approve_budget_change",
    }
    filterset_class = BudgetRevisionFilter
    search_fields = ("reason", "budget__name")
    ordering_fields = ("delta", "number", "status", "created_at", "decided_at", "id")
    ordering = ("-id",)

    def perform_create(self, data: dict[str, Any]) -> BudgetRevision:
        return revision_propose(actor=self.actor, **data)

    @operation(
        summary="Put a revision in force.",
        request=BudgetApprovalSerializer,
        responses=BudgetRevisionSerializer,
        errors={
            403: ["second_person_needed"],
            409: ["already_decided", "insufficient_budget", "budget_closed", "budget_not_open",
                  "children_exceed_parent"],
        },
        example={"comment": "Agreed in the steering committee"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        revision = self.get_object()
        return self.answer(revision_approve(actor=self.actor, revision_id=revision.pk, **self.validated()))

    @operation(
        summary="Refuse a revision; the old allocation stays in force.",
        request=BudgetRejectionSerializer,
        responses=BudgetRevisionSerializer,
        errors=DECIDED,
        example={"comment": "Not this year"},
    )
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        revision = self.get_object()
        return self.answer(revision_reject(actor=self.actor, revision_id=revision.pk, **self.validated()))


@operations(
    list=operation(summary="List the overrides of budgets you see."),
    retrieve=operation(summary="Get an override."),
    create=operation(
        summary="Ask for leave to exceed a budget once, up to a limit.",
        description="Granted by somebody else, it is used up by one charge that names it as `override_id`.",
        errors={400: ["amount_not_positive", "amount_too_precise", "reason_required"], 404: ["not_found"]},
        example={"budget_id": 1, "limit": "750.00", "reason": "Repair of the cooling"},
    ),
)
class BudgetOverrideViewSet(CreateMixin, BillingViewSet):
    queryset = BudgetOverride.objects.select_related("budget")
    serializer_class = BudgetOverrideSerializer
    input_serializers = {
        "create": OverrideProposalSerializer,
        "approve": BudgetApprovalSerializer,
        "reject": BudgetRejectionSerializer,
    }
    action_permissions = {
        "create": "budgets.charge_budget",
        "approve": "budgets.override_budget",
        "reject": "budgets.override_budget",
    }
    filterset_class = BudgetOverrideFilter
    search_fields = ("reason", "budget__name")
    ordering_fields = ("limit", "status", "created_at", "decided_at", "id")
    ordering = ("-id",)

    def perform_create(self, data: dict[str, Any]) -> BudgetOverride:
        return override_propose(actor=self.actor, **data)

    @operation(
        summary="Grant an override, within the limit of your role.",
        request=BudgetApprovalSerializer,
        responses=BudgetOverrideSerializer,
        errors={403: ["second_person_needed", "override_above_authority"], 409: ["already_decided"]},
        example={"comment": "Urgent"},
    )
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        override = self.get_object()
        return self.answer(override_approve(actor=self.actor, override_id=override.pk, **self.validated()))

    @operation(
        summary="Refuse an override.",
        request=BudgetRejectionSerializer,
        responses=BudgetOverrideSerializer,
        errors=DECIDED,
        example={"comment": "It can wait"},
    )
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        override = self.get_object()
        return self.answer(override_reject(actor=self.actor, override_id=override.pk, **self.validated()))


# --- Rollovers -------------------------------------------------------------------------------------------


@operations(
    list=operation(summary="List the rollovers you see."),
    retrieve=operation(summary="Get a rollover with its rows."),
)
class BudgetRolloverViewSet(BillingViewSet):
    """Made by `POST /budgets/{id}/rollover`."""

    queryset = BudgetRollover.objects.select_related("from_budget")
    serializer_class = BudgetRolloverSerializer
    input_serializers = {"undo": BudgetReasonSerializer}
    action_permissions = {"undo": "budgets.close_budget"}
    filterset_class = BudgetRolloverFilter
    ordering_fields = ("created_at", "status", "id")
    ordering = ("-id",)

    @operation(
        summary="Take a rollover back, while the target has not been used since.",
        request=BudgetReasonSerializer,
        responses=BudgetRolloverSerializer,
        errors={409: ["already_undone", "rollover_used", "budget_closed"]},
        example={"reason": "Rolled over too early"},
    )
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        rollover = self.get_object()
        return self.answer(rollover_undo(actor=self.actor, rollover_id=rollover.pk, **self.validated()))
