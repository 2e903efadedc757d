"""The organisation's addresses: entities, departments, memberships, links, allocations and their rules."""

from typing import Any

from django.db.models import Prefetch, QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.base import BillingModelViewSet, BillingViewSet, CreateMixin, UpdateMixin
from core.api.schema import operation, operations
from core.errors import NotFound
from entities.api.filters import (
    AllocationPostingFilter,
    AllocationRuleFilter,
    CostAllocationFilter,
    DepartmentFilter,
    EntityFilter,
    EntityLinkFilter,
    MembershipFilter,
)
from entities.api.serializers import (
    AllocatedSerializer,
    AllocateSerializer,
    AllocationPostingSerializer,
    AllocationRuleChangeSerializer,
    AllocationRuleCreateSerializer,
    AllocationRuleSerializer,
    CostAllocationSerializer,
    CostQuerySerializer,
    CreditSerializer,
    DepartmentChangeSerializer,
    DepartmentCostsSerializer,
    DepartmentCreateSerializer,
    DepartmentSerializer,
    EndSerializer,
    EntityChangeSerializer,
    EntityCreateSerializer,
    EntityDetailSerializer,
    EntityLinkChangeSerializer,
    EntityLinkSerializer,
    EntitySerializer,
    MembershipChangeSerializer,
    MembershipCreateSerializer,
    MembershipSerializer,
    PeriodSerializer,
    ReverseSerializer,
    RunPlanSerializer,
    RunSerializer,
    TermsSerializer,
)
from entities.models import (
    AllocationPosting,
    AllocationRule,
    AllocationRuleVersion,
    CostAllocation,
    Department,
    Entity,
    EntityLink,
    Membership,
)
from entities.periods import FIRST_DAY, LAST_DAY, check_period, period_warnings
from entities.selectors import department_costs
from entities.services import (
    Split,
    Target,
    VersionTerms,
    allocation_rule_create,
    allocation_rule_delete,
    allocation_rule_preview,
    allocation_rule_run,
    allocation_rule_update,
    allocation_rule_version_create,
    allocation_rule_version_delete,
    cost_allocate,
    department_create,
    department_delete,
    department_update,
    entity_create,
    entity_delete,
    entity_link_end,
    entity_link_set,
    entity_update,
    membership_end,
    membership_grant,
    membership_update,
    posting_credit,
    posting_reverse,
)

CODES_OF_ENTITY = {
    400: ["invalid", "unknown_currency", "root_has_parent", "invalid_tax_id", "does_not_exist"],
    409: ["already_exists", "entity_cycle", "currency_in_use", "parent_inactive"],
}
PERIOD_EXAMPLE = {"period_start": "2024-09-01", "period_end": "2024-10-01"}


@operations(
    list=operation(summary="List the entities you see."),
    retrieve=operation(summary="Get an entity with its ancestors and the tree below it."),
    create=operation(
        summary="Create an entity.",
        description="Without `parent_id` it is the root of a new group, whose administrator you become.",
        errors=CODES_OF_ENTITY,
        example={
            "name": "Northwind France",
            "entity_type": "subsidiary",
            "parent_id": 1,
            "currency": "EUR",
            "country": "FR",
            "payment_terms_days": 30,
            "credit_limit": "250000.00",
            "consolidated_billing": True,
        },
    ),
    partial_update=operation(
        summary="Change an entity, or move it by a new parent_id.",
        errors=CODES_OF_ENTITY,
        example={"payment_terms_days": 45, "reason": "New terms agreed"},
    ),
    destroy=operation(summary="Delete an entity on which nothing depends.", errors={409: ["in_use"]}),
)
class EntityViewSet(BillingModelViewSet):
    queryset = Entity.objects.all()
    serializer_class = EntitySerializer
    # Being in scope is enough to read; how much is shown depends on the membership.
    action_permissions = {"retrieve": None}
    output_serializers = {"retrieve": EntityDetailSerializer}
    input_serializers = {"create": EntityCreateSerializer, "partial_update": EntityChangeSerializer}
    filterset_class = EntityFilter
    search_fields = ("name", "code", "legal_name", "tax_id", "city")
    ordering_fields = (
        "name",
        "code",
        "entity_type",
        "currency",
        "country",
        "credit_limit",
        "created_at",
        "updated_at",
        "id",
    )
    ordering = ("name",)

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return Entity.objects.none()
        return Entity.objects.visible_to(self.actor).marked_for(self.actor)

    def perform_create(self, data: dict[str, Any]) -> Entity:
        return entity_create(actor=self.actor, **data)

    def perform_update(self, instance: Entity, data: dict[str, Any]) -> Entity:
        return entity_update(actor=self.actor, entity=instance, **data)

    def perform_destroy(self, instance: Entity) -> None:
        entity_delete(actor=self.actor, entity=instance)


@operations(
    list=operation(summary="List the dated links: who uses, who is billed, who pays."),
    retrieve=operation(summary="Get a link."),
    create=operation(
        summary="Set the owner, invoice owner or payer of an entity from a day on.",
        description="An open link of the same kind ends on the day the new one begins.",
        errors={400: ["other_group", "dates_not_ordered"], 409: ["link_overlaps", "entity_inactive"]},
        example={"entity_id": 3, "kind": "payer", "target_id": 3, "valid_from": "2025-01-01"},
    ),
    partial_update=operation(
        summary="End a link.",
        errors={400: ["dates_not_ordered"], 409: ["already_ended"]},
        example={"valid_to": "2030-01-01"},
    ),
)
class EntityLinkViewSet(CreateMixin, UpdateMixin, BillingViewSet):
    queryset = EntityLink.objects.all()
    serializer_class = EntityLinkSerializer
    input_serializers = {"partial_update": EntityLinkChangeSerializer}
    filterset_class = EntityLinkFilter
    search_fields = ("entity__name", "target__name")
    ordering_fields = ("valid_from", "valid_to", "kind", "created_at", "id")
    ordering = ("-id",)

    def perform_create(self, data: dict[str, Any]) -> EntityLink:
        return entity_link_set(actor=self.actor, **data)

    def perform_update(self, instance: EntityLink, data: dict[str, Any]) -> EntityLink:
        end = data.get("valid_to") or instance.valid_from
        link = entity_link_end(actor=self.actor, link=instance, on=end, reason=data.get("reason", ""))
        return link or instance


CODES_OF_DEPARTMENT = {
    400: ["invalid", "parent_of_other_entity", "does_not_exist"],
    409: ["already_exists", "department_cycle", "entity_inactive", "open_children"],
}


@operations(
    list=operation(summary="List the departments you see."),
    retrieve=operation(summary="Get a department."),
    create=operation(
        summary="Create a department (cost centre) of an entity.",
        errors=CODES_OF_DEPARTMENT,
        example={
            "entity_id": 1,
            "name": "Data Science",
            "code": "DS-100",
            "cost_center_type": "cost",
            "gl_code": "6200",
        },
    ),
    partial_update=operation(
        summary="Change, move, close or reopen a department.",
        errors=CODES_OF_DEPARTMENT,
        example={"gl_code": "6250", "reason": "New chart of accounts"},
    ),
    destroy=operation(summary="Delete a department on which nothing depends.", errors={409: ["in_use"]}),
    allocations=operation(
        summary="Allocate a cost to a department, or spread it over several.",
        description=(
            "Without `splits` the whole amount goes to the department. Splits are all in percent (summing to "
            "100), all amounts (summing to the total) or all ratios; the largest remainder decides over minor "
            "units. The period is half-open: `period_end` is the first day after it."
        ),
        errors={
            400: [
                "amount_zero",
                "amount_not_at_minor_unit",
                "splits_mixed",
                "split_negative",
                "split_duplicate",
                "percent_not_100",
                "amounts_not_total",
                "ratio_not_positive",
                "period_not_ordered",
                "other_group",
                "usage_not_billable",
            ],
            409: ["department_closed", "department_inactive", "entity_inactive"],
        },
        example={
            "amount": "15000.00",
            "description": "Analytics platform, September",
            **PERIOD_EXAMPLE,
            "splits": [{"department_id": 1, "percent": "60"}, {"department_id": 2, "percent": "40"}],
        },
    ),
    costs=operation(
        summary="Get what a department costs, itself and with the departments below it.",
        description="Totals by month, source, GL code and currency, exact; never one sum over currencies.",
        parameters=[CostQuerySerializer],
        errors={400: ["period_not_ordered"]},
    ),
)
class DepartmentViewSet(BillingModelViewSet):
    queryset = Department.objects.select_related("entity")
    serializer_class = DepartmentSerializer
    input_serializers = {
        "create": DepartmentCreateSerializer,
        "partial_update": DepartmentChangeSerializer,
        "allocations": AllocateSerializer,
    }
    output_serializers = {"allocations": AllocatedSerializer, "costs": DepartmentCostsSerializer}
    action_permissions = {
        "allocations": "entities.add_costallocation",
        "costs": "entities.view_department_costs",
    }
    filterset_class = DepartmentFilter
    search_fields = ("name", "code", "gl_code")
    ordering_fields = (
        "code",
        "name",
        "entity_id",
        "gl_code",
        "cost_center_type",
        "created_at",
        "updated_at",
        "id",
    )
    ordering = ("entity_id", "code")

    def perform_create(self, data: dict[str, Any]) -> Department:
        return department_create(actor=self.actor, **data)

    def perform_update(self, instance: Department, data: dict[str, Any]) -> Department:
        return department_update(actor=self.actor, department=instance, **data)

    def perform_destroy(self, instance: Department) -> None:
        department_delete(actor=self.actor, department=instance)

    @action(detail=True, methods=["post"])
    def allocations(self, request: Request, pk: str) -> Response:
        """POST /departments/{id}/allocations"""
        department = self.get_object()
        data = self.validated()
        splits = [Split(**split) for split in data.pop("splits", [])]
        posting = cost_allocate(actor=self.actor, department=department, splits=splits, **data)
        shown = postings_shown_to(self.actor).get(pk=posting.pk)
        return Response(AllocatedSerializer(shown, context=self.get_serializer_context()).data, status=201)

    @action(detail=True, methods=["get"], filter_backends=[], pagination_class=None)
    def costs(self, request: Request, pk: str) -> Response:
        """GET /departments/{id}/costs"""
        department = self.get_object()
        query = CostQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        start = query.validated_data.get("period_start", FIRST_DAY)
        end = query.validated_data.get("period_end", LAST_DAY)
        check_period(start, end)
        costs = department_costs(department, start=start, end=end)
        shown = DepartmentCostsSerializer(costs, context=self.get_serializer_context()).data
        return Response({"department_id": department.pk, **shown})


@operations(
    list=operation(summary="List who acts where."),
    retrieve=operation(summary="Get a membership."),
    create=operation(
        summary="Give a user a role at an entity or at one department.",
        errors={
            400: [
                "department_of_other_entity",
                "role_of_service_accounts",
                "role_of_people",
                "user_inactive",
            ],
            403: ["role_above_own"],
            409: ["already_granted"],
        },
        example={"user_id": 5, "entity_id": 1, "role": "auditor", "include_descendants": True},
    ),
    partial_update=operation(
        summary="Change how far and how long a membership reaches.",
        errors={409: ["last_administrator"]},
        example={"valid_to": "2030-01-01", "reason": "Contract ends"},
    ),
    end=operation(
        summary="End a membership, today unless another day is given.",
        responses={200: MembershipSerializer, 204: None},
        errors={409: ["last_administrator", "already_ended"]},
        example={"reason": "Left the company"},
    ),
)
class MembershipViewSet(CreateMixin, UpdateMixin, BillingViewSet):
    queryset = Membership.objects.all()
    serializer_class = MembershipSerializer
    input_serializers = {
        "create": MembershipCreateSerializer,
        "partial_update": MembershipChangeSerializer,
        "end": EndSerializer,
    }
    action_permissions = {
        "create": "entities.manage_membership",
        "partial_update": "entities.manage_membership",
        "end": "entities.manage_membership",
    }
    filterset_class = MembershipFilter
    search_fields = ("user__username", "user__email", "user__first_name", "user__last_name", "entity__name")
    ordering_fields = ("role", "entity_id", "user_id", "valid_from", "valid_to", "created_at", "id")
    ordering = ("-id",)

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return Membership.objects.none()
        # Roles that may not see who acts at an entity do not see it in lists either.
        return Membership.objects.visible_to(self.actor, "entities.view_membership").select_related(
            "user", "entity", "department"
        )

    def perform_create(self, data: dict[str, Any]) -> Membership:
        return membership_grant(actor=self.actor, **data)

    def perform_update(self, instance: Membership, data: dict[str, Any]) -> Membership:
        dates = {"valid_from": instance.valid_from, "valid_to": instance.valid_to}
        return membership_update(actor=self.actor, membership=instance, **{**dates, **data})

    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """POST /memberships/{id}/end"""
        instance = self.get_object()
        ended = membership_end(actor=self.actor, membership=instance, **self.validated())
        return Response(status=204) if ended is None else self.answer(ended)


def postings_shown_to(user: Any) -> QuerySet[AllocationPosting]:
    """Postings with the lines that the user may see, in a fixed number of queries."""
    lines = CostAllocation.objects.visible_to(user).order_by("line_number")
    return AllocationPosting.objects.select_related("rule_version", "reversed_by").prefetch_related(
        Prefetch("lines", queryset=lines)
    )


@operations(
    list=operation(summary="List allocation postings: each act of allocating with its lines."),
    retrieve=operation(summary="Get an allocation posting."),
    reverse=operation(
        summary="Reverse an allocation: its lines are negated as they stand.",
        errors={409: ["already_reversed", "not_reversible", "partly_credited", "later_step_posted"]},
        example={"reason": "Booked to the wrong month"},
    ),
    credit=operation(
        summary="Take back a part of an allocation, spread by what remains of its lines.",
        errors={
            400: ["amount_not_positive", "amount_not_at_minor_unit"],
            409: ["credit_exceeds_remaining", "already_reversed", "not_reversible", "later_step_posted"],
        },
        example={"amount": "100.00", "reason": "Discount received afterwards"},
    ),
)
class AllocationPostingViewSet(BillingViewSet):
    queryset = AllocationPosting.objects.all()
    serializer_class = AllocationPostingSerializer
    input_serializers = {"reverse": ReverseSerializer, "credit": CreditSerializer}
    action_permissions = {
        "reverse": "entities.reverse_allocationposting",
        "credit": "entities.reverse_allocationposting",
    }
    filterset_class = AllocationPostingFilter
    search_fields = ("description", "reason")
    ordering_fields = ("id", "period_start", "amount", "created_at")
    ordering = ("-id",)

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return AllocationPosting.objects.none()
        return postings_shown_to(self.actor).visible_to(self.actor)  # type: ignore[attr-defined]

    @action(detail=True, methods=["post"])
    def reverse(self, request: Request, pk: str) -> Response:
        """POST /allocation-postings/{id}/reverse"""
        posting = self.get_object()
        return self.answer(posting_reverse(actor=self.actor, posting=posting, **self.validated()), status=201)

    @action(detail=True, methods=["post"])
    def credit(self, request: Request, pk: str) -> Response:
        """POST /allocation-postings/{id}/credit"""
        posting = self.get_object()
        return self.answer(posting_credit(actor=self.actor, posting=posting, **self.validated()), status=201)


@operations(
    list=operation(summary="List cost allocations: what each department bears."),
    retrieve=operation(summary="Get a cost allocation."),
)
class CostAllocationViewSet(BillingViewSet):
    queryset = CostAllocation.objects.all()
    serializer_class = CostAllocationSerializer
    filterset_class = CostAllocationFilter
    search_fields = ("description", "gl_code", "department__code", "department__name")
    ordering_fields = ("id", "period_start", "amount", "department_id", "gl_code", "created_at")
    ordering = ("-id",)


CODES_OF_RULE = {
    400: [
        "target_is_source",
        "allocation_cycle",
        "allocation_step_order",
        "percent_not_100",
        "ratio_not_positive",
        "split_duplicate",
        "driver_missing",
        "targets_missing",
    ],
    409: ["already_exists", "source_has_rule", "version_overlaps", "version_in_use", "department_closed"],
}
TERMS_EXAMPLE = {
    "basis": "driver",
    "driver": "headcount",
    "valid_from": "2025-01-01",
    "targets": [{"department_id": 2, "weight": "40"}, {"department_id": 3, "weight": "25"}],
}
CODES_OF_RUN = {
    409: [
        "already_run",
        "nothing_to_allocate",
        "no_version",
        "rule_inactive",
        "earlier_step_not_run",
        "later_step_posted",
        "amounts_not_total",
        "department_closed",
    ]
}


@operations(
    list=operation(summary="List the allocation rules with their versions."),
    retrieve=operation(summary="Get an allocation rule with its versions and targets."),
    create=operation(
        summary="Create an allocation rule with its first version.",
        errors=CODES_OF_RULE,
        example={"entity_id": 1, "name": "IT by headcount", "source_id": 1, "step": 1, **TERMS_EXAMPLE},
    ),
    partial_update=operation(
        summary="Rename a rule, change its step, switch it on or off.",
        errors=CODES_OF_RULE,
        example={"step": 2},
    ),
    destroy=operation(summary="Delete a rule that has never been run.", errors={409: ["in_use"]}),
    versions=operation(
        summary="Give a rule new terms from a day on.",
        description="The version before ends that day. What was posted keeps its version.",
        errors=CODES_OF_RULE,
        example={**TERMS_EXAMPLE, "valid_from": "2026-01-01"},
    ),
    delete_version=operation(
        summary="Delete a version that was never used.", errors={409: ["in_use", "last_version"]}
    ),
    preview=operation(
        summary="Show what a run for a period would post; writes nothing.",
        errors=CODES_OF_RUN,
        example=PERIOD_EXAMPLE,
    ),
    run=operation(
        summary="Run a rule for a period: move the source's cost to the targets.",
        errors=CODES_OF_RUN,
        example=PERIOD_EXAMPLE,
    ),
)
class AllocationRuleViewSet(BillingModelViewSet):
    queryset = AllocationRule.objects.select_related("entity", "source").prefetch_related("versions__targets")
    serializer_class = AllocationRuleSerializer
    input_serializers = {
        "create": AllocationRuleCreateSerializer,
        "partial_update": AllocationRuleChangeSerializer,
        "versions": TermsSerializer,
        "preview": PeriodSerializer,
        "run": PeriodSerializer,
    }
    output_serializers = {"preview": RunPlanSerializer, "run": RunSerializer}
    action_permissions = {
        "versions": "entities.change_allocationrule",
        "delete_version": "entities.change_allocationrule",
        "preview": "entities.view_allocationrule",
        "run": "entities.run_allocationrule",
    }
    filterset_class = AllocationRuleFilter
    search_fields = ("name", "source__code", "source__name")
    ordering_fields = ("name", "step", "entity_id", "created_at", "id")
    ordering = ("entity_id", "step")

    def perform_create(self, data: dict[str, Any]) -> AllocationRule:
        own = {name: data.pop(name) for name in ("entity", "name", "source", "step")}
        return allocation_rule_create(actor=self.actor, terms=_terms(data), **own)

    def perform_update(self, instance: AllocationRule, data: dict[str, Any]) -> AllocationRule:
        return allocation_rule_update(actor=self.actor, rule=instance, **data)

    def perform_destroy(self, instance: AllocationRule) -> None:
        allocation_rule_delete(actor=self.actor, rule=instance)

    @action(detail=True, methods=["post"])
    def versions(self, request: Request, pk: str) -> Response:
        """POST /allocation-rules/{id}/versions"""
        rule = self.get_object()
        allocation_rule_version_create(actor=self.actor, rule=rule, terms=_terms(self.validated()))
        return self.answer(rule, status=201)

    @action(detail=True, methods=["delete"], url_path=r"versions/(?P<number>[0-9]{1,9})")
    def delete_version(self, request: Request, pk: str, number: str) -> Response:
        """DELETE /allocation-rules/{id}/versions/{number}"""
        version = AllocationRuleVersion.objects.filter(rule=self.get_object(), number=number).first()
        if version is None:
            raise NotFound("not_found", f"The rule has no version {number}.")
        allocation_rule_version_delete(actor=self.actor, version=version)
        return Response(status=204)

    @action(detail=True, methods=["post"])
    def preview(self, request: Request, pk: str) -> Response:
        """POST /allocation-rules/{id}/preview"""
        rule, period = self.get_object(), self.validated()
        plan = allocation_rule_preview(actor=self.actor, rule=rule, **period)
        warnings = period_warnings(period["period_start"], period["period_end"])
        shown = {"version": plan.version, "plans": plan.plans, "warnings": warnings}
        return Response(RunPlanSerializer(shown, context=self.get_serializer_context()).data)

    @action(detail=True, methods=["post"])
    def run(self, request: Request, pk: str) -> Response:
        """POST /allocation-rules/{id}/run"""
        rule, period = self.get_object(), self.validated()
        postings = allocation_rule_run(actor=self.actor, rule=rule, **period)
        warnings = period_warnings(period["period_start"], period["period_end"])
        made = (
            postings_shown_to(self.actor).filter(pk__in=[posting.pk for posting in postings]).order_by("pk")
        )
        shown = RunSerializer({"postings": made, "warnings": warnings}, context=self.get_serializer_context())
        return Response(shown.data, status=201)


def _terms(data: dict[str, Any]) -> VersionTerms:
    targets = [Target(**target) for target in data.pop("targets")]
    return VersionTerms(targets=targets, **data)
