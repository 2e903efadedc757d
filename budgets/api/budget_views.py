"""Budgets: what they are, what happens to them, what they hold."""

from typing import Any

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from budgets.api.filters import BudgetAlertFilter, BudgetCommitmentFilter, BudgetEntryFilter, BudgetFilter
from budgets.api.serializers import (
    BudgetAlertSerializer,
    BudgetChangeSerializer,
    BudgetChargedSerializer,
    BudgetCreateSerializer,
    BudgetDetailSerializer,
    BudgetEntrySerializer,
    BudgetMonthSerializer,
    BudgetPeriodChangeSerializer,
    BudgetReasonSerializer,
    BudgetRefundSerializer,
    BudgetRemarkSerializer,
    BudgetReopeningSerializer,
    BudgetRolloverSerializer,
    BudgetSerializer,
    CommitmentCreateSerializer,
    CommitmentSerializer,
    DocumentChargedSerializer,
    DocumentChargeSerializer,
    RolloverPreviewSerializer,
    RolloverTargetSerializer,
)
from budgets.models import Budget, BudgetAlert, BudgetEntry, BudgetStatus, Commitment, PeriodChange
from budgets.services.budget import (
    budget_close,
    budget_create,
    budget_delete,
    budget_open,
    budget_reopen_approve,
    budget_reopen_request,
    budget_soft_close,
    budget_update,
)
from budgets.services.charges import ChargeLine, budget_charge_lines, budget_refund
from budgets.services.commitments import budget_commit
from budgets.services.ledger import Posting, Source
from budgets.services.rollover import rollover_preview, rollover_run
from core.api.base import BillingModelViewSet
from core.api.pagination import AppendOnlyPagination
from core.api.schema import operation, operations
from core.errors import Conflict

BELOW: dict[str, Any] = {"detail": True, "search_fields": (), "ordering_fields": ()}
BUDGET_ERRORS = {
    400: ["budget_without_owner", "period_not_ordered", "invalid_allocation", "contradicting_control",
          "department_of_other_entity", "parent_of_another_currency", "parent_of_another_period", "budget_cycle"],
    409: ["budget_overlaps", "children_exceed_parent", "parent_closed"],
}  # fmt: skip
STATE_ERRORS = {409: ["budget_status"]}


@operations(
    list=operation(
        summary="List the budgets you see, with their figures.",
        description="Promises past their expiry are not committed any more; a draft shows what opening it will book.",
    ),
    retrieve=operation(summary="Get a budget with its figures.", responses=BudgetDetailSerializer),
    create=operation(
        summary="Make a budget of a department, or of an entity as a whole, and open it.",
        description=(
            "The period is half-open: `period_end` is the first day after it. Open, it books its allocation and takes "
            "charges; `status: draft` leaves it to be opened later. Two budgets of one department or entity may "
            "overlap in time only if their categories differ (or their names, where neither has a category)."
        ),
        responses={201: BudgetDetailSerializer},
        errors=BUDGET_ERRORS,
        example={
            "name": "Cloud 2031",
            "allocated_amount": "120000.00",
            "period_start": "2031-01-01",
            "period_end": "2032-01-01",
            "department_id": 1,
            "category": "cloud",
            "allow_overspend": False,
            "approval_threshold": "10000.00",
            "alert_threshold_percent": 75,
            "warning_threshold_percent": 90,
            "critical_threshold_percent": 100,
            "rollover_policy": "commitments",
        },
    ),
    partial_update=operation(
        summary="Change what a budget is; amounts of an open one change by revision or transfer.",
        errors={
            **BUDGET_ERRORS,
            409: [*BUDGET_ERRORS[409], "budget_not_draft", "budget_closed", "budget_overspent",
                  "control_point_exceeded", "budget_tree_changed"],
        },
        responses={200: BudgetDetailSerializer},
        example={"approval_threshold": "5000.00", "warning_threshold_percent": 85},
    ),
    destroy=operation(summary="Delete a draft.", errors={409: ["budget_status", "in_use"]}),
)  # fmt: skip
class BudgetViewSet(BillingModelViewSet):
    queryset = Budget.objects.all()
    serializer_class = BudgetSerializer
    input_serializers = {
        "create": BudgetCreateSerializer,
        "partial_update": BudgetChangeSerializer,
        "soft_close": BudgetRemarkSerializer,
        "close": BudgetRemarkSerializer,
        "reopen": BudgetReasonSerializer,
        "reopen_approve": BudgetReopeningSerializer,
        "commit": CommitmentCreateSerializer,
        "charges": DocumentChargeSerializer,
        "refund": BudgetRefundSerializer,
        "rollover": RolloverTargetSerializer,
        "rollover_preview": RolloverTargetSerializer,
    }
    output_serializers = {
        "retrieve": BudgetDetailSerializer,
        "create": BudgetDetailSerializer,
        "partial_update": BudgetDetailSerializer,
        "open": BudgetDetailSerializer,
        "soft_close": BudgetDetailSerializer,
        "close": BudgetDetailSerializer,
        "reopen_approve": BudgetDetailSerializer,
    }
    action_permissions = {
        "open": "budgets.add_budget",
        "soft_close": "budgets.close_budget",
        "close": "budgets.close_budget",
        "reopen": "budgets.close_budget",
        "reopen_approve": "budgets.approve_budget_change",
        "entries": "budgets.view_budgetentry",
        "alerts": "budgets.view_budgetalert",
        "commitments": "budgets.view_commitment",
        "commit": "budgets.charge_budget",
        "charges": "budgets.charge_budget",
        "refund": "budgets.charge_budget",
        "rollover": "budgets.close_budget",
        "rollover_preview": "budgets.view_budget",
    }
    filterset_class = BudgetFilter
    search_fields = (
        "name",
        "category",
        "entity__name",
        "entity__code",
        "department__name",
        "department__code",
    )
    ordering_fields = (
        "name", "category", "period_start", "period_end", "allocated_amount", "spent_amount", "committed_amount",
        "status", "created_at", "updated_at", "id",
    )  # fmt: skip
    ordering = ("-period_start", "name")

    def get_queryset(self) -> QuerySet[Any]:
        queryset: Any = super().get_queryset()
        return queryset.with_expired()

    def perform_create(self, data: dict[str, Any]) -> Budget:
        return budget_create(actor=self.actor, **data)

    def perform_update(self, instance: Budget, data: dict[str, Any]) -> Budget:
        return budget_update(actor=self.actor, budget_id=instance.pk, changes=data)

    def perform_destroy(self, instance: Budget) -> None:
        budget_delete(actor=self.actor, budget_id=instance.pk)

    # --- Life ---

    @operation(
        summary="Open a draft: its allocation is booked and charges are taken.",
        request=None,
        responses=BudgetDetailSerializer,
        errors={409: ["budget_status", "children_exceed_parent"]},
    )
    @action(detail=True, methods=["post"])
    def open(self, request: Request, pk: str) -> Response:
        return self.answer(budget_open(actor=self.actor, budget_id=self.get_object().pk))

    @operation(
        summary="Begin to close: only finance posts from now on.",
        request=BudgetRemarkSerializer,
        responses=BudgetDetailSerializer,
        errors=STATE_ERRORS,
        example={"reason": "Year end"},
    )
    @action(detail=True, methods=["post"], url_path="soft-close")
    def soft_close(self, request: Request, pk: str) -> Response:
        budget = self.get_object()
        data = self.validated()
        return self.answer(budget_soft_close(actor=self.actor, budget_id=budget.pk, **data))

    @operation(
        summary="Close for good: nothing is posted any more.",
        description="Every open commitment needs a decision first; carried ones need the rollover.",
        request=BudgetRemarkSerializer,
        responses=BudgetDetailSerializer,
        errors={
            409: ["budget_status", "commitments_undecided", "commitments_not_carried", "children_open"],
        },
        example={"reason": "Year end"},
    )
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: str) -> Response:
        budget = self.get_object()
        data = self.validated()
        return self.answer(budget_close(actor=self.actor, budget_id=budget.pk, **data))

    @operation(
        summary="Ask for a closed budget to be reopened; a second person approves.",
        request=BudgetReasonSerializer,
        responses={201: BudgetPeriodChangeSerializer},
        errors=STATE_ERRORS,
        example={"reason": "A credit note of last year arrived"},
    )
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, pk: str) -> Response:
        budget = self.get_object()
        data = self.validated()
        change = budget_reopen_request(actor=self.actor, budget_id=budget.pk, **data)
        return Response(
            BudgetPeriodChangeSerializer(change, context=self.get_serializer_context()).data, status=201
        )

    @operation(
        summary="Approve the reopening that somebody else asked for.",
        request=BudgetReopeningSerializer,
        responses=BudgetDetailSerializer,
        errors={
            403: ["second_person_needed"],
            409: ["no_reopening_asked", "already_decided", "budget_status_changed", "parent_closed"],
        },
        example={},
    )
    @action(detail=True, methods=["post"], url_path="reopen/approve")
    def reopen_approve(self, request: Request, pk: str) -> Response:
        budget = self.get_object()
        wanted = self.validated().get("change_id")
        asked = PeriodChange.objects.filter(budget=budget, to_status=BudgetStatus.OPEN)
        if wanted is not None:
            change = asked.filter(pk=wanted).first()
        else:
            change = asked.filter(approved_by=None, from_status=budget.status).order_by("-pk").first()
        if change is None:
            raise Conflict(
                "no_reopening_asked", "Nobody has asked for this reopening. Ask for it with a reason first."
            )
        return self.answer(budget_reopen_approve(actor=self.actor, change_id=change.pk))

    @operation(
        summary="List who opened, closed and reopened a budget, and why.",
        responses=BudgetPeriodChangeSerializer(many=True),
    )
    @action(**BELOW, methods=["get"], url_path="period-changes", filterset_class=None)
    def period_changes(self, request: Request, pk: str) -> Response:
        rows = PeriodChange.objects.filter(budget=self.get_object()).order_by("-pk")
        return self.answer_list(rows, BudgetPeriodChangeSerializer)

    # --- What it holds ---

    @operation(
        summary="List the entries of a budget's ledger, newest first.",
        responses=BudgetEntrySerializer(many=True),
    )
    @action(
        **BELOW, methods=["get"], pagination_class=AppendOnlyPagination, filterset_class=BudgetEntryFilter
    )
    def entries(self, request: Request, pk: str) -> Response:
        rows = BudgetEntry.objects.filter(budget=self.get_object()).select_related("budget")
        return self.answer_list(rows, BudgetEntrySerializer, BudgetEntryFilter)

    @operation(
        summary="List the thresholds that a budget has crossed, newest first.",
        responses=BudgetAlertSerializer(many=True),
    )
    @action(**BELOW, methods=["get"], filterset_class=BudgetAlertFilter)
    def alerts(self, request: Request, pk: str) -> Response:
        rows = BudgetAlert.objects.filter(budget=self.get_object()).select_related("budget").order_by("-pk")
        return self.answer_list(rows, BudgetAlertSerializer, BudgetAlertFilter)

    @operation(summary="List the monthly profile of a budget.", responses=BudgetMonthSerializer(many=True))
    @action(**BELOW, methods=["get"], filterset_class=None)
    def months(self, request: Request, pk: str) -> Response:
        rows = self.get_object().months.select_related("budget").order_by("month")
        return self.answer_list(rows, BudgetMonthSerializer)

    @operation(summary="List the commitments of a budget.", responses=CommitmentSerializer(many=True))
    @action(**BELOW, methods=["get"], filterset_class=BudgetCommitmentFilter)
    def commitments(self, request: Request, pk: str) -> Response:
        rows = Commitment.objects.filter(budget=self.get_object()).select_related("budget").order_by("-pk")
        return self.answer_list(rows, CommitmentSerializer, BudgetCommitmentFilter)

    @operation(
        summary="Promise money of a budget: an order that invoices will consume.",
        request=CommitmentCreateSerializer,
        responses={201: CommitmentSerializer},
        errors={
            400: ["amount_not_positive", "amount_too_precise", "expires_in_the_past"],
            403: ["budget_soft_closed"],
            409: ["insufficient_budget", "budget_not_open", "budget_closed", "outside_budget_period",
                  "no_exchange_rate"],
        },
        example={"amount": "4800.00", "description": "Workstations, second half", "reference": "PO-2042"},
    )  # fmt: skip
    @commitments.mapping.post
    def commit(self, request: Request, pk: str) -> Response:
        budget = self.get_object()
        commitment = budget_commit(actor=self.actor, budget_id=budget.pk, **self.validated())
        shown = Commitment.objects.select_related("budget").get(pk=commitment.pk)
        body = CommitmentSerializer(shown, context=self.get_serializer_context()).data
        return Response(body, status=201, headers={"Location": _beside(request, f"commitments/{shown.pk}")})

    # --- Money ---

    @operation(
        summary="Charge a document of several lines: all of them or none.",
        description=(
            "Lines on one budget are summed first. A refusal lists every budget that is short (`shortfalls`). With "
            "`source_type` and `source_id` the document is charged once; line numbers are the positions."
        ),
        request=DocumentChargeSerializer,
        responses={200: DocumentChargedSerializer, 201: DocumentChargedSerializer},
        errors={
            404: ["not_found"],
            400: ["amount_not_positive", "amount_too_precise"],
            409: ["insufficient_budget", "approval_required", "budget_not_open", "budget_closed",
                  "outside_budget_period", "no_exchange_rate"],
            422: ["source_reused"],
        },
        example={
            "lines": [
                {"budget_id": 1, "amount": "800.00", "description": "Licences"},
                {"budget_id": 1, "amount": "120.50", "description": "Support"},
            ]
        },
    )  # fmt: skip
    @action(detail=False, methods=["post"])
    def charges(self, request: Request) -> Response:
        data = self.validated()
        kind, key, revision = data["source_type"], data["source_id"], data["source_revision"]
        lines = [
            ChargeLine(**line, source=Source(kind, key, number, revision) if kind else None)
            for number, line in enumerate(data["lines"], start=1)
        ]
        return self._posted(budget_charge_lines(actor=self.actor, lines=lines))

    @operation(
        summary="Take a credit note: it lowers what is spent.",
        request=BudgetRefundSerializer,
        responses={200: BudgetChargedSerializer, 201: BudgetChargedSerializer},
        errors={
            400: ["amount_not_positive", "entry_of_another_budget", "nothing_to_reinstate"],
            409: ["refund_exceeds_charge", "commitment_not_reinstatable", "budget_not_open", "budget_closed"],
        },
        example={"amount": "25.00", "description": "Credit note 88 of the cloud provider"},
    )
    @action(detail=True, methods=["post"])
    def refund(self, request: Request, pk: str) -> Response:
        budget = self.get_object()
        posting = budget_refund(actor=self.actor, budget_id=budget.pk, **self.validated())
        entry = posting.entries[0]
        entry.budget = posting.budgets[entry.budget_id]
        body = BudgetChargedSerializer(
            {"entry": entry, "budget": entry.budget}, context=self.get_serializer_context()
        ).data
        return Response(body, status=200 if posting.replayed else 201)

    def _posted(self, posting: Posting) -> Response:
        for entry in posting.entries:
            entry.budget = posting.budgets[entry.budget_id]
        touched = {entry.budget_id: entry.budget for entry in posting.entries}
        answer = {"entries": posting.entries, "budgets": list(touched.values())}
        body = DocumentChargedSerializer(answer, context=self.get_serializer_context()).data
        return Response(body, status=200 if posting.replayed else 201)

    # --- Rollover ---

    @operation(
        operation_id="budgets_rollover_preview",
        summary="Show what would pass to the next period; writes nothing.",
        request=RolloverTargetSerializer,
        responses={200: RolloverPreviewSerializer},
        errors={
            400: ["rollover_across_currencies", "rollover_across_departments", "rollover_backwards"],
        },
        example={"to_budget_id": 2},
    )
    @action(detail=True, methods=["post"], url_path="rollover-preview")
    def rollover_preview(self, request: Request, pk: str) -> Response:
        source = self.get_object()
        target = self.validated()["to_budget_id"]
        preview = rollover_preview(actor=self.actor, from_budget_id=source.pk, to_budget_id=target)
        return Response(RolloverPreviewSerializer(preview, context=self.get_serializer_context()).data)

    @operation(
        operation_id="budgets_rollover",
        summary="Pass on to the next period what the policy says, once.",
        description="A second run returns the first rollover and posts nothing.",
        request=RolloverTargetSerializer,
        responses={201: BudgetRolloverSerializer},
        errors={409: ["rollover_source_open", "rolled_over_elsewhere", "insufficient_budget"]},
        example={"to_budget_id": 2},
    )
    @action(detail=True, methods=["post"])
    def rollover(self, request: Request, pk: str) -> Response:
        source = self.get_object()
        target = self.validated()["to_budget_id"]
        done = rollover_run(actor=self.actor, from_budget_id=source.pk, to_budget_id=target)
        body = BudgetRolloverSerializer(done, context=self.get_serializer_context()).data
        location = _beside(request, f"budget-rollovers/{done.pk}")
        return Response(body, status=201, headers={"Location": location})


def _beside(request: Request, path: str) -> str:
    """The address of a record of another resource, next to /budgets."""
    return f"{request.path.partition('/budgets/')[0]}/{path}"
