"""The addresses of billing runs and their schedules."""

from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.base import BillingModelViewSet, BillingViewSet, CreateMixin
from core.api.schema import operation, operations
from core.errors import FieldProblem, Invalid
from invoicing.api.billing_run_filters import (
    BillingRunFilter,
    BillingRunItemFilter,
    BillingScheduleFilter,
)
from invoicing.api.billing_run_serializers import (
    BillingRunCreateSerializer,
    BillingRunDetailSerializer,
    BillingRunItemSerializer,
    BillingRunSerializer,
    BillingScheduleChangeSerializer,
    BillingScheduleCreateSerializer,
    BillingScheduleSerializer,
    RunCancelSerializer,
    RunCheckSerializer,
    RunIssueSerializer,
    RunResumeSerializer,
)
from invoicing.models import BillingRun, BillingRunItem, BillingSchedule
from invoicing.services.billing_runs import run_cancel, run_check, run_create, run_issue, run_resume
from invoicing.services.billing_schedules import schedule_create, schedule_delete, schedule_update
from invoicing.tasks import work_on_billing_run_after_commit


@operations(
    list=operation(summary="List the billing runs you see."),
    retrieve=operation(
        summary="Get a billing run: how far it is, its counts and totals.",
        description="`progress` is worked out from the payers' states, so polling it shows the work going on.",
    ),
    create=operation(
        summary="Start a billing run: the invoices of all payers of a scope for a period.",
        description=(
            "A worker prepares a draft per payer and lists what is unusual about it; nothing is issued before the run "
            "is checked. A payer that fails is kept with its reason and stops no other."
        ),
        errors={
            400: ["period_not_ordered", "not_an_issuer"],
            409: ["run_open", "no_payers", "too_many_payers"],
        },
        example={"scope_id": 1, "period_start": "2031-01-01", "period_end": "2031-02-01"},
    ),
)
class BillingRunViewSet(CreateMixin, BillingViewSet):
    """Billing runs: prepared by a worker, checked by a person, then issued exactly as previewed."""

    queryset = BillingRun.objects.select_related("scope")
    serializer_class = BillingRunDetailSerializer
    output_serializers = {"list": BillingRunSerializer, "items": BillingRunItemSerializer}
    input_serializers = {
        "create": BillingRunCreateSerializer,
        "check": RunCheckSerializer,
        "issue": RunIssueSerializer,
        "resume": RunResumeSerializer,
        "cancel": RunCancelSerializer,
    }
    # The services ask for the rights that these need.
    action_permissions = {
        "check": "invoicing.view_billingrun",
        "issue": "invoicing.view_billingrun",
        "resume": "invoicing.view_billingrun",
        "cancel": "invoicing.view_billingrun",
    }
    filterset_class = BillingRunFilter
    search_fields = ("scope__name", "scope__code")
    ordering_fields = ("period_start", "started_at", "status", "id")

    def get_queryset(self) -> Any:
        queryset: Any = super().get_queryset()
        return queryset.counted()

    def perform_create(self, data: dict[str, Any]) -> BillingRun:
        return self._to_be_worked_on(run_create(actor=self.actor, **data))

    @staticmethod
    def _to_be_worked_on(run: BillingRun) -> BillingRun:
        work_on_billing_run_after_commit(run)
        return run

    @operation(
        summary="List the payers of a run: totals, anomalies, failures.",
        responses=BillingRunItemSerializer(many=True),
    )
    @action(
        detail=True,
        methods=["get"],
        filterset_class=BillingRunItemFilter,
        search_fields=(),
        ordering_fields=(),
    )
    def items(self, request: Request, pk: str) -> Response:
        rows = (
            BillingRunItem.objects.filter(run=self.get_object())
            .select_related("entity", "invoice")
            .order_by("position")
        )
        return self.answer_list(rows, BillingRunItemSerializer, BillingRunItemFilter)

    @operation(
        summary="Confirm a prepared run, so that it can be issued; leave payers out with a reason.",
        request=RunCheckSerializer,
        responses=BillingRunDetailSerializer,
        errors={
            400: ["reason_required", "unknown_item"],
            409: ["run_not_prepared", "nothing_to_check", "already_issued"],
        },
        example={"leave_out": []},
    )
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str) -> Response:
        run = self.get_object()
        reasons = {row["item_id"]: row["reason"] for row in self.validated().get("leave_out", [])}
        return self.answer(run_check(actor=self.actor, run=run, leave_out=reasons))

    @operation(
        summary="Issue a checked run: a worker issues exactly the drafts that were previewed.",
        description="A draft that was changed since is not issued; its payer is `failed` with `draft_changed`.",
        request=RunIssueSerializer,
        responses=BillingRunDetailSerializer,
        errors={400: ["issue_date_in_future"], 409: ["run_not_checked"]},
        example={},
    )
    @action(detail=True, methods=["post"])
    def issue(self, request: Request, pk: str) -> Response:
        run = self.get_object()
        issue_date = self.validated().get("issue_date")
        return self.answer(self._to_be_worked_on(run_issue(actor=self.actor, run=run, issue_date=issue_date)))

    @operation(
        summary="Go on with an interrupted run, or prepare failed (or the given) payers again.",
        request=RunResumeSerializer,
        responses=BillingRunDetailSerializer,
        errors={400: ["unknown_item"], 409: ["run_over", "nothing_to_resume", "already_issued"]},
        example={},
    )
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        run = self.get_object()
        item_ids = self.validated().get("item_ids")
        items = None if item_ids is None else self._items(run, item_ids)
        return self.answer(self._to_be_worked_on(run_resume(actor=self.actor, run=run, items=items)))

    @staticmethod
    def _items(run: BillingRun, item_ids: list[int]) -> list[BillingRunItem]:
        items = list(BillingRunItem.objects.filter(run=run, pk__in=item_ids))
        if len(items) != len(set(item_ids)):
            detail = "The run has no such payer. Give the ids of its own items."
            raise Invalid("unknown_item", detail, errors=[FieldProblem("/item_ids", "unknown_item", detail)])
        return items

    @operation(
        summary="Give a run up: its drafts are discarded, what it issued stays.",
        request=RunCancelSerializer,
        responses=BillingRunDetailSerializer,
        errors={400: ["reason_required"], 409: ["run_over"]},
        example={"reason": "Started for the wrong month"},
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        run = run_cancel(actor=self.actor, run=self.get_object(), reason=self.validated()["reason"])
        return self.answer(self._to_be_worked_on(run))


@operations(
    list=operation(summary="List the billing schedules you see."),
    create=operation(
        summary="Have a scope invoiced every month for the month before.",
        errors={400: ["not_an_issuer", "not_first_of_month"], 409: ["schedule_exists"]},
        example={"scope_id": 1, "day_of_month": 5, "issue_mode": "by_hand", "is_active": False},
    ),
    partial_update=operation(
        summary="Change a schedule; the runs that it has started stay.",
        errors={400: ["not_an_issuer", "not_first_of_month"], 409: ["schedule_exists"]},
        example={"day_of_month": 6},
    ),
    destroy=operation(summary="Delete a schedule that has started no run.", errors={409: ["in_use"]}),
)
class BillingScheduleViewSet(BillingModelViewSet):
    """When runs start by themselves."""

    queryset = BillingSchedule.objects.select_related("scope")
    serializer_class = BillingScheduleSerializer
    input_serializers = {
        "create": BillingScheduleCreateSerializer,
        "partial_update": BillingScheduleChangeSerializer,
    }
    filterset_class = BillingScheduleFilter
    search_fields = ("scope__name", "scope__code")
    ordering_fields = ("day_of_month", "next_period", "id")

    def perform_create(self, data: dict[str, Any]) -> BillingSchedule:
        return schedule_create(actor=self.actor, **data)

    def perform_update(self, instance: BillingSchedule, data: dict[str, Any]) -> BillingSchedule:
        return schedule_update(actor=self.actor, schedule=instance, **data) if data else instance

    def perform_destroy(self, instance: BillingSchedule) -> None:
        schedule_delete(actor=self.actor, schedule=instance)
