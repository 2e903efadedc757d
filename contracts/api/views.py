"""Contracts, their amendments, signatures and documents."""

from io import BytesIO
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from contracts.api.days import DAY, day_parameter
from contracts.api.filters import AmendmentFilter, ContractFilter
from contracts.api.serializers import (
    AmendmentChangeSerializer,
    AmendmentInputSerializer,
    AmendmentSerializer,
    AmendmentVoidSerializer,
    ConfidentialTermsSerializer,
    ContractChangeSerializer,
    ContractDetailSerializer,
    ContractInputSerializer,
    ContractReadinessSerializer,
    ContractReasonSerializer,
    ContractSerializer,
    ContractTermsSerializer,
    ContractTimelineSerializer,
    DifferenceSerializer,
    DocumentInputSerializer,
    DocumentSerializer,
    PriceInputSerializer,
    ResumptionSerializer,
    SignatoryInputSerializer,
    SignatorySerializer,
    SignatureInputSerializer,
    SlaInputSerializer,
    SuspensionSerializer,
    TerminationPreviewSerializer,
    TerminationSerializer,
)
from contracts.api.supply_serializers import (
    ComplianceSerializer,
    FeeSerializer,
    FundedPeriodSerializer,
    MeasurementInputSerializer,
    MeasurementSerializer,
    NoticeInputSerializer,
    RenewalCheckSerializer,
    RenewalNoticeSerializer,
    RenewSerializer,
)
from contracts.models import (
    Contract,
    ContractAmendment,
    ContractDocument,
    RenewalType,
    RequiredSignatory,
    Signature,
)
from contracts.selectors.compliance import sla_compliance
from contracts.selectors.contract import (
    amendment_difference,
    business_today,
    contract_timeline,
    status_on,
    terms_on,
)
from contracts.selectors.renewals import renewal_check
from contracts.services.activation import Problem, activation_problems, contract_activate
from contracts.services.amendments import (
    amendment_bring_into_force,
    amendment_create,
    amendment_delete,
    amendment_problems,
    amendment_submit,
    amendment_update,
    amendment_void,
)
from contracts.services.billing import fees_preview
from contracts.services.commitments import budget_outlook
from contracts.services.contract import (
    contract_create,
    contract_delete,
    contract_submit,
    contract_update,
)
from contracts.services.documents import confidential_terms_read, document_add, document_read
from contracts.services.prices import price_term_set, sla_term_set
from contracts.services.renewals import contract_renew, notice_record
from contracts.services.signing import signatory_add, signatory_remove, signature_record
from contracts.services.sla import measurement_record
from contracts.services.suspension import contract_resume, contract_suspend
from contracts.services.termination import contract_terminate, termination_preview
from core.api.base import BillingModelViewSet, BillingViewSet, DestroyMixin, UpdateMixin
from core.api.schema import operation, operations

RECEIVED = OpenApiParameter(
    "received_on", OpenApiTypes.DATE, description="When the notice is received; today by default."
)
STANDING_SIGNATURES = Prefetch(
    "signatories", RequiredSignatory.objects.prefetch_related("signatures").order_by("position", "pk")
)
MONTHS_OF_A_TERM = 12
# A list below one contract: whole, and without the filters of contracts.
BELOW: dict[str, Any] = {
    "detail": True,
    "methods": ["get"],
    "filterset_class": None,
    "search_fields": (),
    "ordering_fields": (),
    "pagination_class": None,
}

CONTRACT = {
    "entity_id": 1,
    "title": "Cloud platform",
    "contract_type": "enterprise",
    "start_date": "2027-01-01",
    "end_date": "2028-01-01",
    "value": "120000.00",
    "currency": "USD",
    "auto_renew": True,
    "renewal_notice_days": 60,
    "prices": [{"code": "platform", "name": "Platform fee", "price": "10000.00"}],
    "signatories": [
        {"side": "issuer", "name": "Aoife Brennan"},
        {"side": "customer", "name": "Daniel Reyes"},
    ],
}


def readiness(problems: list[Problem]) -> dict[str, Any]:
    """What is missing, for the answer."""
    return {"ready": not problems, "missing": problems}


def _with_renewal(data: dict[str, Any]) -> dict[str, Any]:
    """The short words of the body in the contract's own: auto_renew and renewal_notice_days."""
    auto, notice = data.pop("auto_renew", None), data.pop("renewal_notice_days", None)
    if auto:
        data.setdefault("renewal_type", RenewalType.AUTO)
        data.setdefault("renewal_term_months", MONTHS_OF_A_TERM)
    if notice is not None:
        data.setdefault("notice_period", notice)
        data.setdefault("notice_unit", "days")
    return data


@operations(
    list=operation(
        summary="List the contracts you see, with their state today.",
        responses=ContractSerializer(many=True),
    ),
    retrieve=operation(summary="Get a contract with its base terms, prices, service levels and signatories."),
    create=operation(
        summary="Write a draft contract.",
        description=(
            "`end_date` is the first day after it. Prices, service levels and signatories can be given at once. "
            "It takes effect by `submit`, the approval, the signatures of both sides, and `activate`."
        ),
        errors={400: ["line_given_twice", "amount_not_at_minor_unit"], 409: ["no_issuer"]},
        example=CONTRACT,
    ),
    partial_update=operation(
        summary="Change a contract.",
        description=(
            "Anything before activation: after the approval a change of content sends it back to the approvers and "
            "voids the signatures. After activation only what was not signed; terms change by amendments."
        ),
        errors={409: ["contract_is_signed"]},
        example={"title": "Cloud platform, group"},
    ),
    destroy=operation(
        summary="Delete a draft on which nothing has happened.", errors={409: ["contract_status", "in_use"]}
    ),
)
class ContractViewSet(BillingModelViewSet):
    """Agreements with the entities of the group."""

    queryset = Contract.objects.with_status().select_related("entity", "department")
    serializer_class = ContractDetailSerializer
    output_serializers = {"list": ContractSerializer}
    input_serializers = {
        "create": ContractInputSerializer,
        "partial_update": ContractChangeSerializer,
        "submit": ContractReasonSerializer,
        "activate": ContractReasonSerializer,
        "suspend": SuspensionSerializer,
        "resume": ResumptionSerializer,
        "terminate": TerminationSerializer,
        "price": PriceInputSerializer,
        "service_level": SlaInputSerializer,
        "signatories": SignatoryInputSerializer,
        "amendments": AmendmentInputSerializer,
        "documents": DocumentInputSerializer,
        "notices": NoticeInputSerializer,
        "renew": RenewSerializer,
        "measurements": MeasurementInputSerializer,
    }
    action_permissions = {
        "submit": "contracts.change_contract",
        "activate": "contracts.activate_contract",
        "suspend": "contracts.suspend_contract",
        "resume": "contracts.suspend_contract",
        "terminate": "contracts.terminate_contract",
        "termination_preview": "contracts.terminate_contract",
        "price": "contracts.change_contract",
        "service_level": "contracts.change_contract",
        "signatories": "contracts.change_contract",
        "amendments": "contracts.add_contractamendment",
        "documents": None,
        "notices": "contracts.renew_contract",
        "renew": "contracts.renew_contract",
        "measurements": "contracts.add_slameasurement",
        "fees_preview": "contracts.view_billablefee",
        "confidential_terms": "contracts.view_confidential_terms",
    }
    filterset_class = ContractFilter
    search_fields = ("title", "reference", "entity__name")
    ordering_fields = ("title", "start_date", "end_date", "value", "created_at", "id")

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset()
        if self.action == "list":
            return rows
        return rows.prefetch_related("price_terms__tiers", "sla_terms__tiers", STANDING_SIGNATURES)

    def perform_create(self, data: dict[str, Any]) -> Contract:
        return contract_create(actor=self.actor, **_with_renewal(data))

    def perform_update(self, instance: Contract, data: dict[str, Any]) -> Contract:
        reason = data.pop("reason", "")
        return contract_update(actor=self.actor, contract_id=instance.pk, changes=data, reason=reason)

    def perform_destroy(self, instance: Contract) -> None:
        contract_delete(actor=self.actor, contract_id=instance.pk)

    # --- Life ---

    @operation(
        summary="Ask for approval of a draft.",
        request=ContractReasonSerializer,
        responses=ContractDetailSerializer,
        errors={409: ["contract_status"]},
        example={"reason": "As agreed with the supplier"},
    )
    @action(detail=True, methods=["post"])
    def submit(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        return self.answer(contract_submit(actor=self.actor, contract_id=contract.pk, **self.validated()))

    @operation(
        summary="Put an approved and signed contract into force.",
        description="409 `not_ready` lists all that is missing: the approval, signatories, signatures.",
        request=ContractReasonSerializer,
        responses=ContractDetailSerializer,
        errors={409: ["not_ready", "contract_status"]},
        example={"reason": ""},
    )
    @action(detail=True, methods=["put"])
    def activate(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        return self.answer(contract_activate(actor=self.actor, contract_id=contract.pk, **self.validated()))

    @operation(
        summary="Ask what is missing before it can be activated.",
        responses=ContractReadinessSerializer,
    )
    @action(detail=True, methods=["get"], url_path="activation-check")
    def activation_check(self, request: Request, pk: str) -> Response:
        return Response(ContractReadinessSerializer(readiness(activation_problems(self.get_object()))).data)

    @operation(
        summary="Suspend an active contract.",
        request=SuspensionSerializer,
        responses=ContractDetailSerializer,
        errors={400: ["reason_required", "day_in_the_past"], 409: ["contract_status"]},
        example={"reason": "Relocation of the laboratory", "billing_continues": False},
    )
    @action(detail=True, methods=["post"])
    def suspend(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        return self.answer(contract_suspend(actor=self.actor, contract_id=contract.pk, **self.validated()))

    @operation(
        summary="Resume a suspended contract.",
        request=ResumptionSerializer,
        responses=ContractDetailSerializer,
        errors={409: ["contract_status"]},
        example={"reason": "The laboratory works again"},
    )
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        return self.answer(contract_resume(actor=self.actor, contract_id=contract.pk, **self.validated()))

    @operation(
        summary="Terminate a contract for convenience.",
        description=(
            "Effective the notice days after the receipt, yet not before the minimum term ends; the fee is what the "
            "contract's schedule says. Billing stops on that day, and what was prepaid beyond it is credited."
        ),
        request=TerminationSerializer,
        responses=ContractDetailSerializer,
        errors={400: ["reason_required", "day_in_the_future"],
                409: ["contract_status", "no_convenience_clause", "ends_before"]},
        example={"reason": "Replaced by the group's own platform"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def terminate(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        return self.answer(contract_terminate(actor=self.actor, contract_id=contract.pk, **self.validated()))

    @operation(
        summary="Ask what a termination for convenience would come to; writes nothing.",
        parameters=[RECEIVED],
        responses=TerminationPreviewSerializer,
        errors={400: ["day_in_the_future"], 409: ["no_convenience_clause", "ends_before"]},
    )
    @action(detail=True, methods=["get"], url_path="termination-preview")
    def termination_preview(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        received = day_parameter(request, "received_on") or business_today(contract)
        return Response(TerminationPreviewSerializer(termination_preview(contract, received)).data)

    # --- What it says ---

    @operation(
        summary="Ask what the terms are on a day, past or future.",
        description=(
            "Base terms, renewals and amendments in force by then, later ones over earlier ones. The same question "
            "about a past day always has the same answer. `is_projected` marks terms after a renewal that is "
            "expected and not locked yet."
        ),
        parameters=[DAY],
        responses=ContractTermsSerializer,
    )
    @action(detail=True, methods=["get"])
    def terms(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        day = day_parameter(request, "on") or business_today(contract)
        terms = terms_on(contract, day)
        return Response(
            ContractTermsSerializer(
                {
                    "on": day,
                    "status": status_on(contract, day),
                    "term_number": terms.term.number,
                    "term_start": terms.term.start,
                    "term_end": terms.term.end,
                    "amendments": list(terms.amendments),
                    "is_projected": terms.is_projected,
                    "conditions": terms.conditions.as_json(),
                    "prices": [line.as_json() for line in terms.prices.values()],
                    "sla_terms": [line.as_json() for line in terms.sla.values()],
                }
            ).data
        )

    @operation(
        summary="List what has happened to a contract, latest first.",
        responses=ContractTimelineSerializer(many=True),
    )
    @action(**BELOW)
    def timeline(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        entries = contract_timeline(actor=self.actor, contract_id=contract.pk)
        return Response(ContractTimelineSerializer(entries, many=True).data)

    @operation(
        summary="Read the confidential terms; the reading is recorded.", responses=ConfidentialTermsSerializer
    )
    @action(detail=True, methods=["get"], url_path="confidential-terms")
    def confidential_terms(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        text = confidential_terms_read(actor=self.actor, contract_id=contract.pk)
        return Response(ConfidentialTermsSerializer({"confidential_terms": text}).data)

    @operation(
        summary="Set a price before activation; later by an amendment.",
        request=PriceInputSerializer,
        responses=ContractDetailSerializer,
        errors={400: ["price_tiers", "price_quantity"], 409: ["contract_status", "contract_is_signed"]},
        example={"price": {"code": "support", "name": "Support", "price": "800.00"}},
    )
    @action(detail=True, methods=["put"], url_path="price-terms")
    def price(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        price_term_set(actor=self.actor, contract_id=contract.pk, **self.validated())
        return self.answer(contract)

    @operation(
        summary="Set a service level before activation; later by an amendment.",
        request=SlaInputSerializer,
        responses=ContractDetailSerializer,
        errors={400: ["sla_tiers_not_ordered"], 409: ["contract_status", "contract_is_signed"]},
        example={
            "sla_term": {
                "code": "uptime",
                "metric": "Availability",
                "target": "99.9",
                "tiers": [{"threshold": "99.5", "credit_percent": "10"}],
            }
        },
    )
    @action(detail=True, methods=["put"], url_path="sla-terms")
    def service_level(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        sla_term_set(actor=self.actor, contract_id=contract.pk, sla=self.validated()["sla_term"])
        return self.answer(contract)

    # --- Renewal, service levels, money ---

    @operation(
        operation_id="contracts_renewal_check",
        summary="Ask what happens at the end of the term, and until when that can be changed.",
        parameters=[DAY],
        responses=RenewalCheckSerializer,
    )
    @action(detail=True, methods=["get"], url_path="renewal-check")
    def renewal_check(self, request: Request, pk: str) -> Response:
        return Response(
            RenewalCheckSerializer(renewal_check(self.get_object(), day_parameter(request, "on"))).data
        )

    @operation(
        summary="Record a notice as it was received.",
        description="A late notice works at the end of the following term (CON-11).",
        request=NoticeInputSerializer,
        responses={201: RenewalNoticeSerializer},
        errors={
            409: [
                "contract_status",
                "ends_by_itself",
                "no_index",
                "no_option",
                "option_lapsed",
                "term_has_begun",
            ]
        },
        example={"kind": "end", "side": "customer", "method": "registered"},
    )
    @action(detail=True, methods=["post"])
    def notices(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        notice = notice_record(actor=self.actor, contract_id=contract.pk, **self.validated())
        return Response(
            RenewalNoticeSerializer(notice, context=self.get_serializer_context()).data, status=201
        )

    @operation(
        summary="Exercise the option to renew.",
        request=RenewSerializer,
        responses={201: RenewalNoticeSerializer},
        errors={409: ["contract_status", "ends_by_itself", "no_option", "option_lapsed"]},
        example={},
    )
    @action(detail=True, methods=["post"])
    def renew(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        notice = contract_renew(actor=self.actor, contract_id=contract.pk, **self.validated())
        return Response(
            RenewalNoticeSerializer(notice, context=self.get_serializer_context()).data, status=201
        )

    @operation(
        summary="Record a measurement of a service level.",
        request=MeasurementInputSerializer,
        responses={201: MeasurementSerializer},
        errors={400: ["invalid_moment"], 409: ["measurement_differs", "measurements_overlap"]},
        example={
            "sla_code": "uptime",
            "measured_from": "2027-01-01T00:00:00Z",
            "measured_to": "2027-02-01T00:00:00Z",
            "value": "99.72",
            "source": "monitoring",
            "external_id": "2027-01",
        },
    )
    @action(detail=True, methods=["post"])
    def measurements(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        made = measurement_record(actor=self.actor, contract_id=contract.pk, **self.validated())
        return Response(MeasurementSerializer(made, context=self.get_serializer_context()).data, status=201)

    @operation(
        summary="List how service levels were kept in the periods that are over.",
        responses=ComplianceSerializer(many=True),
    )
    @action(**BELOW)
    def compliance(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        found = sla_compliance(actor=self.actor, contract_id=contract.pk)
        return Response(ComplianceSerializer(found, many=True).data)

    @operation(
        summary="Preview what the contract would bill until a day; writes nothing.",
        parameters=[DAY],
        responses=FeeSerializer(many=True),
    )
    @action(**BELOW, url_path="fees-preview")
    def fees_preview(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        until = day_parameter(request, "on") or business_today(contract)
        fees = fees_preview(actor=self.actor, contract_id=contract.pk, until=until)
        return Response(FeeSerializer(fees, many=True, context=self.get_serializer_context()).data)

    @operation(
        summary="Ask what it commits of budgets, and what later years are forecast to cost.",
        responses=FundedPeriodSerializer(many=True),
    )
    @action(**BELOW, url_path="budget-outlook")
    def budget_outlook(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        return Response(
            FundedPeriodSerializer(budget_outlook(actor=self.actor, contract_id=contract.pk), many=True).data
        )

    # --- What belongs to it ---

    @operation(
        summary="Name somebody who must sign.",
        request=SignatoryInputSerializer,
        responses={201: SignatorySerializer},
        errors={409: ["contract_status", "contract_is_signed"]},
        example={"side": "customer", "name": "Daniel Reyes", "job_title": "Head of the Americas"},
    )
    @action(detail=True, methods=["post"])
    def signatories(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        signatory = signatory_add(actor=self.actor, contract_id=contract.pk, **self.validated())
        return Response(
            SignatorySerializer(signatory, context=self.get_serializer_context()).data, status=201
        )

    @operation(
        summary="Draft an amendment.",
        description=(
            "`changes` is `{fields: {…}, prices: {set: […], remove: [code]}, sla: {…}, reinstate: true}`. It gets its "
            "number with its approval and takes effect, signed by both sides, from `effective_from` on."
        ),
        request=AmendmentInputSerializer,
        responses={201: AmendmentSerializer},
        errors={
            400: ["amendment_changes_nothing", "unknown_field", "line_changed_twice"],
            409: ["contract_status"],
        },
        example={
            "title": "Two more years",
            "effective_from": "2027-07-01",
            "changes": {"fields": {"end_date": "2030-01-01"}},
        },
    )
    @action(detail=True, methods=["post"])
    def amendments(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        amendment = amendment_create(actor=self.actor, contract_id=contract.pk, **self.validated())
        return Response(
            AmendmentSerializer(amendment, context=self.get_serializer_context()).data, status=201
        )

    @operation(
        summary="Keep a file with a contract, encrypted.",
        request={"multipart/form-data": DocumentInputSerializer},
        responses={201: DocumentSerializer},
        errors={400: ["file_too_large", "file_type_not_allowed", "file_empty"]},
    )
    @action(detail=True, methods=["post"], parser_classes=[MultiPartParser])
    def documents(self, request: Request, pk: str) -> Response:
        contract = self.get_object()
        data = self.validated()
        file = data.pop("file")
        document = document_add(
            actor=self.actor,
            contract_id=contract.pk,
            name=file.name,
            content=file.read(),
            content_type=file.content_type or "application/octet-stream",
            **data,
        )
        return Response(DocumentSerializer(document, context=self.get_serializer_context()).data, status=201)


AMENDMENT_STATUS = {409: ["amendment_status"]}


@operations(
    list=operation(summary="List the amendments of the contracts you see."),
    retrieve=operation(summary="Get an amendment."),
    partial_update=operation(
        summary="Change an amendment that is not in force.",
        description="Approvers who have it decide anew; what was approved becomes void and is written anew.",
        errors=AMENDMENT_STATUS,
        example={"title": "Two more years, at the old price"},
    ),
    destroy=operation(summary="Delete a draft amendment.", errors=AMENDMENT_STATUS),
)
class AmendmentViewSet(UpdateMixin, DestroyMixin, BillingViewSet):
    """Made by `POST /contracts/{id}/amendments`."""

    queryset = ContractAmendment.objects.select_related("contract").prefetch_related(STANDING_SIGNATURES)
    serializer_class = AmendmentSerializer
    input_serializers = {
        "partial_update": AmendmentChangeSerializer,
        "submit": ContractReasonSerializer,
        "bring_into_force": ContractReasonSerializer,
        "void": AmendmentVoidSerializer,
    }
    action_permissions = {
        "submit": "contracts.change_contractamendment",
        "bring_into_force": "contracts.activate_contract",
        "void": "contracts.change_contractamendment",
    }
    filterset_class = AmendmentFilter
    search_fields = ("title", "contract__title")
    ordering_fields = ("effective_from", "number", "created_at", "id")

    def perform_update(self, instance: ContractAmendment, data: dict[str, Any]) -> ContractAmendment:
        reason = data.pop("reason", "")
        return amendment_update(actor=self.actor, amendment_id=instance.pk, changes=data, reason=reason)

    def perform_destroy(self, instance: ContractAmendment) -> None:
        amendment_delete(actor=self.actor, amendment_id=instance.pk)

    @operation(
        summary="Ask for approval of a draft amendment.",
        request=ContractReasonSerializer,
        responses=AmendmentSerializer,
        errors=AMENDMENT_STATUS,
        example={"reason": ""},
    )
    @action(detail=True, methods=["post"])
    def submit(self, request: Request, pk: str) -> Response:
        amendment = self.get_object()
        return self.answer(amendment_submit(actor=self.actor, amendment_id=amendment.pk, **self.validated()))

    @operation(
        summary="Put an approved and signed amendment into force.",
        description="409 `not_ready` lists all that is missing.",
        request=ContractReasonSerializer,
        responses=AmendmentSerializer,
        errors={409: ["not_ready", "amendment_status"]},
        example={"reason": ""},
    )
    @action(detail=True, methods=["put"], url_path="activate")
    def bring_into_force(self, request: Request, pk: str) -> Response:
        amendment = self.get_object()
        return self.answer(
            amendment_bring_into_force(actor=self.actor, amendment_id=amendment.pk, **self.validated())
        )

    @operation(
        summary="Give up an amendment that is not in force; its number, if it has one, stays taken.",
        request=AmendmentVoidSerializer,
        responses=AmendmentSerializer,
        errors=AMENDMENT_STATUS,
        example={"reason": "The supplier withdrew the offer"},
    )
    @action(detail=True, methods=["post"])
    def void(self, request: Request, pk: str) -> Response:
        amendment = self.get_object()
        return self.answer(amendment_void(actor=self.actor, amendment_id=amendment.pk, **self.validated()))

    @operation(
        summary="Ask what is missing before it can be in force.", responses=ContractReadinessSerializer
    )
    @action(detail=True, methods=["get"], url_path="activation-check")
    def activation_check(self, request: Request, pk: str) -> Response:
        return Response(ContractReadinessSerializer(readiness(amendment_problems(self.get_object()))).data)

    @operation(
        summary="Get what it changes, before and after, in words.", responses=DifferenceSerializer(many=True)
    )
    @action(**BELOW)
    def difference(self, request: Request, pk: str) -> Response:
        return Response(DifferenceSerializer(amendment_difference(self.get_object()), many=True).data)


@operations(
    list=operation(summary="List who must sign the contracts you see."),
    retrieve=operation(summary="Get a signatory with the standing signature."),
    destroy=operation(summary="Take back that somebody must sign.", errors={409: ["signatory_has_signed"]}),
)
class SignatoryViewSet(DestroyMixin, BillingViewSet):
    """Made by `POST /contracts/{id}/signatories`."""

    queryset = RequiredSignatory.objects.select_related("contract").prefetch_related("signatures")
    serializer_class = SignatorySerializer
    input_serializers = {"sign": SignatureInputSerializer}
    action_permissions = {
        "sign": "contracts.sign_contract",
        "destroy": "contracts.change_contract",
    }
    search_fields = ("name", "contract__title")
    ordering_fields = ("name", "id")

    def perform_destroy(self, instance: RequiredSignatory) -> None:
        signatory_remove(actor=self.actor, signatory_id=instance.pk)

    @operation(
        summary="Record that a signatory has signed.",
        description=(
            "The hash of the signed file is kept. A change of the content afterwards voids the signatures. An "
            "internal signatory's authority must cover the contract's value."
        ),
        request=SignatureInputSerializer,
        responses=SignatorySerializer,
        errors={409: ["already_signed", "not_approved", "signing_order", "authority_too_small"]},
        example={"document_sha256": "0" * 64},
    )
    @action(detail=True, methods=["post"])
    def sign(self, request: Request, pk: str) -> Response:
        signatory = self.get_object()
        signature: Signature = signature_record(
            actor=self.actor, signatory_id=signatory.pk, **self.validated()
        )
        return self.answer(signature.signatory)


@operations(
    list=operation(summary="List the files of the contracts you see."),
    retrieve=operation(summary="Get what is known of a file."),
)
class ContractDocumentViewSet(BillingViewSet):
    """Made by `POST /contracts/{id}/documents`."""

    queryset = ContractDocument.objects.defer("data_key")
    serializer_class = DocumentSerializer
    action_permissions = {"content": "contracts.view_contractdocument"}
    search_fields = ("name",)
    ordering_fields = ("name", "created_at", "id")

    @operation(
        summary="Get the file, decrypted; the reading is recorded.",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    @action(detail=True, methods=["get"])
    def content(self, request: Request, pk: str) -> FileResponse:
        document = self.get_object()
        data = document_read(actor=self.actor, document_id=document.pk)
        return FileResponse(
            BytesIO(data), as_attachment=True, filename=document.name, content_type=document.content_type
        )
