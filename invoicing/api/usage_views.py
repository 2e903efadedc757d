"""Usage: imports, the charges they brought, rows to repair, and the rules that map them."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.base import BillingModelViewSet, BillingViewSet, UpdateMixin
from core.api.filters import refuse_unknown_parameters
from core.api.pagination import AppendOnlyPagination
from core.api.parsers import StrictJSONParser
from core.api.schema import operation, operations
from core.errors import NotFound
from invoicing.api.usage_filters import (
    RejectedRowFilter,
    UsageBudgetChargeFilter,
    UsageImportFilter,
    UsageMappingRuleFilter,
    UsageRecordFilter,
)
from invoicing.api.usage_parsers import RawBinaryParser, RawFileParser, RawGzipParser
from invoicing.api.usage_serializers import (
    AppliedSerializer,
    ApplySerializer,
    EntityRemapSerializer,
    ProposalsSerializer,
    ProposeSerializer,
    ReasonSerializer,
    RejectedRowSerializer,
    RemappedSerializer,
    RemapSerializer,
    ReorderedSerializer,
    ReorderSerializer,
    RetriedSerializer,
    RowValuesSerializer,
    UsageBudgetChargeSerializer,
    UsageChargedSerializer,
    UsageImportDetailSerializer,
    UsageImportSerializer,
    UsageMappingRuleChangeSerializer,
    UsageMappingRuleSerializer,
    UsageQuerySerializer,
    UsageRecordSerializer,
    UsageUploadSerializer,
)
from invoicing.models import RejectedRow, UsageBudgetCharge, UsageImport, UsageMappingRule, UsageRecord
from invoicing.services.usage_charging import usage_budgets_charge
from invoicing.services.usage_imports import (
    ImportResult,
    usage_import_register,
    usage_import_retry,
    usage_import_undo,
)
from invoicing.services.usage_mapping import (
    MappingChoice,
    RemapScope,
    usage_mappings_apply,
    usage_mappings_propose,
    usage_remap,
    usage_remap_preview,
)
from invoicing.services.usage_rejected import (
    rejected_row_discard,
    rejected_row_edit,
    rejected_row_repair,
    rejected_rows_retry,
)
from invoicing.services.usage_rules import (
    usage_mapping_rule_create,
    usage_mapping_rule_delete,
    usage_mapping_rule_update,
    usage_mapping_rules_reorder,
)
from invoicing.tasks import import_usage_after_commit

UPLOAD = {"multipart/form-data": UsageUploadSerializer, "text/csv": OpenApiTypes.BINARY}
ROW_CODES = {
    400: ["row_still_wrong", "unknown_column"],
    409: ["row_not_open", "duplicate_row", "import_not_completed"],
}


def _remap(actor: Any, data: dict[str, Any], **where: Any) -> Response:
    work = usage_remap_preview if data["preview"] else usage_remap
    return Response(RemappedSerializer(work(actor=actor, scope=RemapScope(data["scope"]), **where)).data)


@operations(
    list=operation(summary="List the usage imports you see."),
    retrieve=operation(summary="Get an import: how far it is, or what it brought, allocated and not."),
    create=operation(
        summary="Import a FOCUS cost and usage file.",
        description=(
            "A FOCUS 1.0 to 1.2 export as CSV, plain or gzip: as `multipart/form-data` with `file` and "
            "`entity_id`, or as the body itself (`text/csv`, `application/gzip` or `application/octet-stream`) "
            "with both in the query. 202: a worker takes it in; ask the import for `status` and "
            "`progress_percent`. 200: the same file was imported before; nothing is added and `message` says so. "
            "Malformed rows are kept at /rejected-rows, the others go in. A file that cannot be read at all "
            "leaves an import with the status `failed` and `error_code`, `error_message`, `error_line`."
        ),
        request=UPLOAD,
        responses={200: UsageImportDetailSerializer, 202: UsageImportDetailSerializer},
        parameters=[
            OpenApiParameter("entity_id", OpenApiTypes.INT, description="Where the body is the file itself."),
            OpenApiParameter("file_name", OpenApiTypes.STR, description="Where the body is the file itself."),
        ],
        errors={409: ["already_imported"]},
    ),
    retry=operation(
        summary="Start a failed or interrupted import again.",
        request=None,
        responses={202: UsageImportDetailSerializer},
        errors={409: ["import_running", "import_not_retryable"]},
    ),
    undo=operation(
        summary="Take out again what an import brought.",
        responses=UsageImportDetailSerializer,
        errors={409: ["import_billed", "import_overlapped", "import_not_completed"]},
        example={"reason": "The wrong month"},
    ),
    remap=operation(
        summary="Map the unbilled rows of an import by the rules as they are now.",
        errors={409: ["rows_changed_meanwhile"]},
        example={"scope": "unallocated", "preview": True},
    ),
    retry_rejected=operation(
        summary="Try the rejected rows again that waited for an exchange rate.",
        request=None,
        errors={409: ["import_not_completed"]},
    ),
    charge_budgets=operation(
        summary="Charge the budgets of the departments with the allocated usage of an import.",
        description=(
            "Only what changed since the last time is booked. What a budget refuses is listed at "
            "/usage-budget-charges?status=refused; send this again once the budget was raised."
        ),
        request=None,
        responses=UsageChargedSerializer,
        errors={409: ["import_not_completed"]},
    ),
)
class UsageImportViewSet(BillingViewSet):
    queryset = UsageImport.objects.all()
    serializer_class = UsageImportSerializer
    input_serializers = {"create": UsageUploadSerializer, "undo": ReasonSerializer, "remap": RemapSerializer}
    output_serializers = {
        "retrieve": UsageImportDetailSerializer,
        "create": UsageImportDetailSerializer,
        "retry": UsageImportDetailSerializer,
        "undo": UsageImportDetailSerializer,
        "remap": RemappedSerializer,
        "retry_rejected": RetriedSerializer,
        "charge_budgets": UsageChargedSerializer,
    }
    action_permissions = {
        "retry": "invoicing.add_usageimport",
        "undo": "invoicing.change_usageimport",
        "remap": "invoicing.change_usagemappingrule",
        "retry_rejected": "invoicing.change_rejectedrow",
        "charge_budgets": "invoicing.change_usageimport",
    }
    filterset_class = UsageImportFilter
    search_fields = ("file_name", "error_message")
    ordering_fields = ("id", "created_at", "finished_at", "file_name", "rows_read", "rows_rejected", "status")
    ordering = ("-id",)

    def get_parsers(self) -> list[Any]:
        """Files are taken here only; everywhere else the API speaks JSON."""
        if getattr(self, "action_map", {}).get("post") == "create":
            return [MultiPartParser(), RawFileParser(), RawGzipParser(), RawBinaryParser()]
        return [StrictJSONParser()]

    def takes_idempotency_key(self, method: str) -> bool:
        """A file is its own key where it is the body: reading it twice would mean keeping it in memory."""
        content_type = (
            (getattr(self.request, "content_type", "") or "multipart/") if self.request else "multipart/"
        )
        is_file = getattr(self, "action", "") == "create" and not content_type.startswith("multipart/")
        return not is_file and super().takes_idempotency_key(method)

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """POST /usage-imports"""
        data = self._uploaded(request)
        result = usage_import_register(actor=self.actor, **data)
        if result.already_imported:
            return self._shown(result, 200)
        import_usage_after_commit(result.usage_import, self.actor)
        return self._shown(result, 202)

    def _uploaded(self, request: Request) -> dict[str, Any]:
        if not self._is_multipart(request):
            refuse_unknown_parameters(request, {"entity_id", "file_name"})
            query = UsageQuerySerializer(data=request.query_params, context=self.get_serializer_context())
            query.is_valid(raise_exception=True)
            body: Any = request.data
            return {**query.validated_data, "file": body["file"]}
        data = self.validated()
        return {**data, "file_name": data["file"].name or "usage.csv"}

    @staticmethod
    def _is_multipart(request: Request) -> bool:
        return bool(request.content_type) and request.content_type.startswith("multipart/")

    def _shown(self, result: ImportResult, status: int) -> Response:
        usage_import = self.get_queryset().filter(pk=result.usage_import.pk).first()
        if usage_import is None:
            raise NotFound("not_found", "The import is not among those you can see.")
        context = {**self.get_serializer_context(), "message": result.message}
        return Response(UsageImportDetailSerializer(usage_import, context=context).data, status=status)

    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """POST /usage-imports/{id}/retry"""
        usage_import = usage_import_retry(actor=self.actor, usage_import=self.get_object())
        import_usage_after_commit(usage_import, self.actor)
        return self.answer(usage_import, status=202)

    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """POST /usage-imports/{id}/undo"""
        usage_import = self.get_object()
        return self.answer(usage_import_undo(actor=self.actor, usage_import=usage_import, **self.validated()))

    @action(detail=True, methods=["post"])
    def remap(self, request: Request, pk: str) -> Response:
        """POST /usage-imports/{id}/remap"""
        usage_import = self.get_object()
        return _remap(self.actor, self.validated(), entity=usage_import.entity, usage_import=usage_import)

    @action(detail=True, methods=["post"], url_path="retry-rejected")
    def retry_rejected(self, request: Request, pk: str) -> Response:
        """POST /usage-imports/{id}/retry-rejected"""
        result = rejected_rows_retry(actor=self.actor, usage_import=self.get_object())
        return Response(RetriedSerializer(result).data)

    @action(detail=True, methods=["post"], url_path="charge-budgets")
    def charge_budgets(self, request: Request, pk: str) -> Response:
        """POST /usage-imports/{id}/charge-budgets"""
        done = usage_budgets_charge(actor=self.actor, import_id=self.get_object().pk)
        return Response(UsageChargedSerializer(done).data)


@operations(
    list=operation(
        summary="List what usage has charged to budgets, and what budgets refused.",
        description="A department's manager sees those of the department.",
    ),
    retrieve=operation(summary="Get what a department's usage of a month has charged."),
)
class UsageBudgetChargeViewSet(BillingViewSet):
    queryset = UsageBudgetCharge.objects.all()
    serializer_class = UsageBudgetChargeSerializer
    filterset_class = UsageBudgetChargeFilter
    ordering_fields = ("month", "charged_amount", "created_at")


@operations(
    list=operation(
        summary="List the charges you see, newest first.",
        description="A department's manager sees the charges of the department.",
    ),
    retrieve=operation(summary="Get a charge."),
)
class UsageRecordViewSet(BillingViewSet):
    queryset = UsageRecord.objects.all()
    serializer_class = UsageRecordSerializer
    pagination_class = AppendOnlyPagination
    filterset_class = UsageRecordFilter
    search_fields = ("charge_description", "resource_id", "resource_name", "service_name")


@operations(
    list=operation(summary="List the rows that could not be taken in."),
    retrieve=operation(summary="Get a rejected row with what is wrong with it."),
    partial_update=operation(
        summary="Keep corrected values without taking the row in yet.",
        errors=ROW_CODES,
        example={"values": {"BilledCost": "1.25"}},
    ),
    repair=operation(
        summary="Take the row in, with corrected values.",
        description="What is still wrong is 400 `row_still_wrong` with a problem per column; nothing changes then.",
        errors=ROW_CODES,
        example={"values": {"BilledCost": "1.25"}},
    ),
    discard=operation(
        summary="Decide that the row will not go in.",
        errors=ROW_CODES,
        example={"reason": "A test of the provider"},
    ),
)
class RejectedRowViewSet(UpdateMixin, BillingViewSet):
    queryset = RejectedRow.objects.select_related("usage_import__entity")
    serializer_class = RejectedRowSerializer
    input_serializers = {
        "partial_update": RowValuesSerializer,
        "repair": RowValuesSerializer,
        "discard": ReasonSerializer,
    }
    action_permissions = {"repair": "invoicing.change_rejectedrow", "discard": "invoicing.change_rejectedrow"}
    filterset_class = RejectedRowFilter
    search_fields = ("raw_text",)
    ordering_fields = ("id", "line_number", "usage_import_id", "status", "updated_at")
    ordering = ("-usage_import_id", "line_number")

    def perform_update(self, instance: RejectedRow, data: dict[str, Any]) -> RejectedRow:
        return rejected_row_edit(actor=self.actor, rejected_row=instance, **data)

    @action(detail=True, methods=["post"])
    def repair(self, request: Request, pk: str) -> Response:
        """POST /rejected-rows/{id}/repair"""
        row = self.get_object()
        return self.answer(rejected_row_repair(actor=self.actor, rejected_row=row, **self.validated()))

    @action(detail=True, methods=["post"])
    def discard(self, request: Request, pk: str) -> Response:
        """POST /rejected-rows/{id}/discard"""
        row = self.get_object()
        return self.answer(rejected_row_discard(actor=self.actor, rejected_row=row, **self.validated()))


RULE_CODES = {400: ["department_of_other_entity", "required", "not_allowed"], 409: ["already_exists"]}


@operations(
    list=operation(summary="List the mapping rules, in the order in which they are tried."),
    retrieve=operation(summary="Get a mapping rule."),
    create=operation(
        summary="Send rows that have a value to a department.",
        description="It counts from the next import or remap on. The lowest priority wins, then the older rule.",
        errors=RULE_CODES,
        example={
            "entity_id": 1,
            "source": "tag",
            "tag_key": "cost-center",
            "value": "4711",
            "department_id": 1,
            "priority": 50,
        },
    ),
    partial_update=operation(summary="Change a mapping rule.", errors=RULE_CODES, example={"priority": 10}),
    destroy=operation(summary="Delete a mapping rule; rows that it mapped keep their department."),
    propose=operation(
        summary="Propose rules and departments from the values of a tag.",
        description="Writes nothing. Without `usage_import_id` all unallocated rows of the entity are looked at.",
        errors={400: ["entity_outside", "too_many_values"]},
        example={"entity_id": 1, "tag_key": "business_unit"},
    ),
    apply=operation(
        summary="Create the departments and rules of accepted proposals, all or none.",
        errors={400: RULE_CODES[400], 409: ["already_exists", "entity_inactive"]},
        example={
            "entity_id": 1,
            "tag_key": "business_unit",
            "choices": [{"value": "PeoriaData", "code": "PEORIA-DATA", "name": "Peoria Data"}],
        },
    ),
    reorder=operation(
        summary="Put all rules of an entity into another order.",
        errors={400: ["not_all_rules"]},
        example={"entity_id": 1, "rule_ids": [2, 1]},
    ),
    remap=operation(
        summary="Map the unbilled rows of an entity by the rules as they are now.",
        errors={409: ["rows_changed_meanwhile"]},
        example={"entity_id": 1, "scope": "unallocated", "preview": True},
    ),
)
class UsageMappingRuleViewSet(BillingModelViewSet):
    queryset = UsageMappingRule.objects.select_related("entity")
    serializer_class = UsageMappingRuleSerializer
    input_serializers = {
        "partial_update": UsageMappingRuleChangeSerializer,
        "propose": ProposeSerializer,
        "apply": ApplySerializer,
        "reorder": ReorderSerializer,
        "remap": EntityRemapSerializer,
    }
    output_serializers = {
        "propose": ProposalsSerializer,
        "apply": AppliedSerializer,
        "reorder": ReorderedSerializer,
        "remap": RemappedSerializer,
    }
    action_permissions = {
        "propose": "invoicing.view_usageimport",
        "apply": "invoicing.add_usagemappingrule",
        "reorder": "invoicing.change_usagemappingrule",
        "remap": "invoicing.change_usagemappingrule",
    }
    filterset_class = UsageMappingRuleFilter
    search_fields = ("value", "tag_key", "department__name", "department__code")
    ordering_fields = ("priority", "value", "entity_id", "department_id", "created_at", "id")
    ordering = ("entity_id", "priority", "id")

    def perform_create(self, data: dict[str, Any]) -> UsageMappingRule:
        return usage_mapping_rule_create(actor=self.actor, **data)

    def perform_update(self, instance: UsageMappingRule, data: dict[str, Any]) -> UsageMappingRule:
        return usage_mapping_rule_update(actor=self.actor, rule=instance, **data)

    def perform_destroy(self, instance: UsageMappingRule) -> None:
        usage_mapping_rule_delete(actor=self.actor, rule=instance)

    @action(detail=False, methods=["post"])
    def propose(self, request: Request) -> Response:
        """POST /usage-mapping-rules/propose"""
        proposed = usage_mappings_propose(actor=self.actor, **self.validated())
        return Response(ProposalsSerializer(proposed).data)

    @action(detail=False, methods=["post"])
    def apply(self, request: Request) -> Response:
        """POST /usage-mapping-rules/apply"""
        data = self.validated()
        choices = [MappingChoice(**choice) for choice in data["choices"]]
        applied = usage_mappings_apply(
            actor=self.actor, entity=data["entity"], tag_key=data["tag_key"], choices=choices
        )
        mapped = usage_remap(actor=self.actor, entity=data["entity"]).rows if data["remap"] else 0
        return Response(
            {
                "departments_created": len(applied.departments),
                "rules_created": len(applied.rules),
                "rule_ids": [rule.pk for rule in applied.rules],
                "rows_mapped": mapped,
            }
        )

    @action(detail=False, methods=["post"])
    def reorder(self, request: Request) -> Response:
        """POST /usage-mapping-rules/reorder"""
        changed = usage_mapping_rules_reorder(actor=self.actor, **self.validated())
        return Response({"changed": changed})

    @action(detail=False, methods=["post"])
    def remap(self, request: Request) -> Response:
        """POST /usage-mapping-rules/remap"""
        data = self.validated()
        return _remap(self.actor, data, entity=data["entity"])
