"""The addresses of disputes, their threads and their files."""

from typing import Any

from django.db import transaction
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from core import clock
from core.access import get_visible
from core.api.base import BillingViewSet, CreateMixin, DestroyMixin, UpdateMixin
from core.api.downloads import AnyNegotiation, FileRenderer
from core.api.filters import refuse_unknown_parameters
from core.api.pagination import AppendOnlyPagination
from core.api.parsers import StrictJSONParser
from core.api.schema import operation, operations
from core.files import SIGNATURES, download
from disputes.api.filters import (
    DisputeAttachmentFilter,
    DisputeCommentFilter,
    DisputeEventFilter,
    DisputeFilter,
)
from disputes.api.serializers import (
    DisputeAttachmentSerializer,
    DisputeAttachmentUploadSerializer,
    DisputeChangeSerializer,
    DisputeClocksSerializer,
    DisputeCommentChangeSerializer,
    DisputeCommentCreateSerializer,
    DisputeCommentSerializer,
    DisputeDetailSerializer,
    DisputeEventSerializer,
    DisputeMergeSerializer,
    DisputeOpenSerializer,
    DisputeReasonSerializer,
    DisputeReasonsSerializer,
    DisputeReopenSerializer,
    DisputeResolveSerializer,
    DisputeSerializer,
    DisputeWaitSerializer,
    DisputeWithdrawSerializer,
    ReasonsQuerySerializer,
)
from disputes.models import (
    BillingDispute,
    DisputeAttachment,
    DisputeComment,
    DisputeEvent,
    DisputeResolution,
)
from disputes.querysets import INTERNAL
from disputes.selectors.clocks import clock_standings
from disputes.selectors.disputable import disputable
from disputes.selectors.reasons import dispute_reasons
from disputes.selectors.sides import with_side
from disputes.services.attachments import attachment_add, attachment_remove
from disputes.services.comments import comment_add, comment_edit
from disputes.services.ending import dispute_close, dispute_merge, dispute_reopen, dispute_withdraw
from disputes.services.handling import (
    dispute_acknowledge,
    dispute_change_severity,
    dispute_escalate,
    dispute_investigate,
    dispute_update,
    dispute_wait_for_customer,
    dispute_wait_for_third_party,
)
from disputes.services.log import lock_dispute
from disputes.services.opening import dispute_open
from disputes.services.proposals import Proposal, dispute_resolve, proposal_withdraw
from entities.services.records import field_error

# A list below one dispute has none of the filters of disputes.
BELOW: dict[str, Any] = {"detail": True, "filterset_class": None, "search_fields": (), "ordering_fields": ()}
COMMENT = r"comments/(?P<comment_id>[0-9]{1,18})"
COMMENT_ID = OpenApiParameter("comment_id", OpenApiTypes.INT, OpenApiParameter.PATH)

OVER = ["dispute_over"]
MOVES = {409: [*OVER, "dispute_status"]}
OPEN_CODES = {
    400: ["reason_required", "amount_not_positive", "amount_too_precise", "line_of_another_invoice",
          "scheme_required", "day_out_of_range"],
    404: ["not_found"],
    409: [
        "not_disputable", "dispute_window_closed", "disputed_already", "hold_exceeds_line", "hold_exceeds_invoice",
    ],
}  # fmt: skip
RESOLVE_CODES = {
    400: ["note_required", "unknown_resolution", "amount_without_money", "amount_not_positive",
          "amount_too_precise", "amendment_required"],
    409: [*OVER, "proposal_pending", "exceeds_disputed", "exceeds_creditable", "refund_exceeds_cash",
          "undercharge_is_not_credited", "overcharge_is_not_debited", "not_disputable", "no_exchange_rate"],
}  # fmt: skip
FILE_CODES = ["file_type_not_allowed", "file_content_differs", "file_too_large", "file_empty"]


@operations(
    list=operation(
        summary="List the disputes you see; inbox=mine lists what waits for you.",
        description=(
            "`inbox=mine` lists what you handle and, of your own side's, what waits for your answer, the nearest "
            "deadline first; `inbox=unassigned` what nobody handles yet. Owner, escalation and root cause are known to "
            "the issuer's staff only: to customers they are null, and filtering by them finds nothing."
        ),
    ),
    retrieve=operation(
        summary="Get a dispute with its resolutions.",
        description="Customers see resolutions that are carried out; what is proposed is the staff's.",
    ),
    create=operation(
        summary="Dispute an issued invoice, or one of its lines.",
        description=(
            "Customers do so, and staff for them. The amount includes tax; at most what is left of the line or "
            "invoice, else 409 says how much that is. What is billed too much is held back from collection until it is "
            "decided."
        ),
        errors=OPEN_CODES,
        example={
            "invoice_id": 1,
            "category": "pricing",
            "severity": "medium",
            "amount": "100.00",
            "reason": "The agreed price is 5 percent lower.",
            "customer_reference": "AP-2291",
        },
    ),
    partial_update=operation(
        summary="Change what staff keeps about a dispute.",
        description=(
            "A new severity needs a `reason`, and works the deadlines out anew from the beginning. Root causes may be "
            "noted after the decision too. Amount and claim never change."
        ),
        errors={
            400: ["reason_required", "scheme_required", "day_out_of_range"],
            403: ["owner_cannot_handle"],
            409: OVER,
        },
        example={"category": "usage_discrepancy", "root_cause": "wrong_quantity"},
    ),
)
class DisputeViewSet(CreateMixin, UpdateMixin, BillingViewSet):
    """Claims on invoices. A dispute is never deleted: it is withdrawn."""

    queryset = BillingDispute.objects.select_related(
        "invoice", "invoice_line", "issuer", "entity", "owner", "opened_by"
    )
    serializer_class = DisputeDetailSerializer
    output_serializers = {"list": DisputeSerializer}
    input_serializers = {
        "create": DisputeOpenSerializer,
        "partial_update": DisputeChangeSerializer,
        "resolve": DisputeResolveSerializer,
        "wait": DisputeWaitSerializer,
        "escalate": DisputeReasonSerializer,
        "withdraw": DisputeWithdrawSerializer,
        "reopen": DisputeReopenSerializer,
        "merge": DisputeMergeSerializer,
        "withdraw_proposal": DisputeReasonSerializer,
        "add_comment": DisputeCommentCreateSerializer,
        "edit_comment": DisputeCommentChangeSerializer,
        "attach": DisputeAttachmentUploadSerializer,
    }
    # Rights are asked for where each side is, at the payer or at the issuer: the services do.
    action_permissions = {
        **dict.fromkeys(
            (
                "list", "retrieve", "create", "partial_update", "resolve", "acknowledge", "investigate", "wait",
                "escalate", "withdraw", "reopen", "close", "merge", "withdraw_proposal", "comments", "add_comment",
                "comment", "edit_comment", "comment_versions", "attachments", "attach", "events", "clocks",
            )
        ),
        "reasons": INTERNAL,
    }  # fmt: skip
    filterset_class = DisputeFilter
    search_fields = (
        "reason", "customer_reference", "chargeback_reference", "invoice__number", "entity__name", "issuer__name",
    )  # fmt: skip
    ordering_fields = ("id", "opened_at", "amount", "status", "next_deadline_at", "resolved_at", "updated_at")
    ordering = ("-id",)

    # --- Reading ---

    def get_queryset(self) -> QuerySet[Any]:
        rows = with_side(super().get_queryset(), self.actor)
        if self.action == "list":
            return rows  # type: ignore[no-any-return]
        resolutions = DisputeResolution.objects.visible_to(self.actor).select_related("round", "proposed_by")
        merged = BillingDispute.objects.visible_to(self.actor).order_by("pk")
        return rows.prefetch_related(  # type: ignore[no-any-return]
            Prefetch(
                "resolutions",
                with_side(resolutions, self.actor, "dispute__").order_by("pk"),
                to_attr="seen_resolutions",
            ),
            Prefetch("merged", merged, to_attr="seen_merged"),
        )

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Of an inbox what is due first comes first, unless another order is asked for."""
        rows: Any = super().filter_queryset(queryset)
        asked = self.request.query_params
        return rows.by_deadline() if asked.get("inbox") and not asked.get("ordering") else rows

    def get_parsers(self) -> list[BaseParser]:
        """Files are taken at one address only; everywhere else the API speaks JSON."""
        if getattr(self, "action_map", {}).get("post") == "attach":
            return [MultiPartParser()]
        return [StrictJSONParser()]

    def _dispute_id(self) -> int:
        """The id in the address; the service looks for it among what the caller sees."""
        if "If-Match" in self.request.headers:
            found: int = self.get_object().pk
            return found
        return int(self.kwargs["pk"])

    # --- Opening and keeping ---

    def perform_create(self, data: dict[str, Any]) -> BillingDispute:
        invoice, line = disputable(self.actor, data.pop("invoice_id"), data.pop("invoice_line_id", None))
        return dispute_open(actor=self.actor, invoice=invoice, invoice_line=line, **data)

    def perform_update(self, instance: BillingDispute, data: dict[str, Any]) -> BillingDispute:
        reason, severity = data.pop("reason", ""), data.pop("severity", None)
        with transaction.atomic():
            dispute = dispute_update(actor=self.actor, dispute_id=instance.pk, changes=data, reason=reason)
            if severity is not None and severity != dispute.severity:
                dispute = dispute_change_severity(
                    actor=self.actor, dispute_id=instance.pk, severity=severity, reason=reason
                )
        return dispute

    # --- Life ---

    @operation(
        summary="Say that staff has taken note of it.",
        description="The response clock runs on until the customer is answered.",
        request=None,
        responses=DisputeDetailSerializer,
        errors=MOVES,
    )
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, pk: str) -> Response:
        return self.answer(dispute_acknowledge(actor=self.actor, dispute_id=self._dispute_id()))

    @operation(
        summary="Begin to work on it, or go on after waiting.",
        request=None,
        responses=DisputeDetailSerializer,
        errors=MOVES,
    )
    @action(detail=True, methods=["post"])
    def investigate(self, request: Request, pk: str) -> Response:
        return self.answer(dispute_investigate(actor=self.actor, dispute_id=self._dispute_id()))

    @operation(
        summary="Wait for the customer, or for somebody else.",
        description=(
            "Waiting for the customer stops the resolution clock until they write; without a word of theirs they are "
            "reminded twice, then it is withdrawn. `question` is sent to them first."
        ),
        request=DisputeWaitSerializer,
        responses=DisputeDetailSerializer,
        errors={400: ["question_is_for_the_customer", "note_is_not_for_the_customer"], **MOVES},
        example={"waiting_for": "customer", "question": "Which price does your order confirmation name?"},
    )
    @action(detail=True, methods=["post"])
    def wait(self, request: Request, pk: str) -> Response:
        data, dispute_id = self.validated(), self._dispute_id()
        if data["waiting_for"] == "customer":
            if data["note"]:
                raise field_error(
                    "note",
                    "note_is_not_for_the_customer",
                    "A note is for staff, about somebody else. Ask the customer by `question`.",
                )
            waiting = dispute_wait_for_customer(
                actor=self.actor, dispute_id=dispute_id, question=data["question"]
            )
            return self.answer(waiting)
        if data["question"]:
            raise field_error(
                "question", "question_is_for_the_customer", "Only the customer is asked a question here."
            )
        return self.answer(
            dispute_wait_for_third_party(actor=self.actor, dispute_id=dispute_id, note=data["note"])
        )

    @operation(
        summary="Ask for help from above; the next on the ladder is told.",
        request=DisputeReasonSerializer,
        responses=DisputeDetailSerializer,
        errors={400: ["reason_required"], 409: OVER},
        example={"reason": "The customer threatens to end the contract"},
    )
    @action(detail=True, methods=["post"])
    def escalate(self, request: Request, pk: str) -> Response:
        reason = self.validated()["reason"]
        return self.answer(dispute_escalate(actor=self.actor, dispute_id=self._dispute_id(), reason=reason))

    @operation(
        summary="Give a dispute up; what was held back is collected again.",
        request=DisputeWithdrawSerializer,
        responses=DisputeDetailSerializer,
        errors={400: ["reason_required"], 403: ["takes_no_part"], 409: OVER},
        example={"reason": "Our order confirmation names the billed price"},
    )
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        reason = self.validated()["reason"]
        return self.answer(dispute_withdraw(actor=self.actor, dispute_id=self._dispute_id(), reason=reason))

    @operation(
        summary="Dispute a decision: a new round with new clocks, at most twice.",
        request=DisputeReopenSerializer,
        responses=DisputeDetailSerializer,
        errors={
            400: ["reason_required", "amount_not_positive", "amount_too_precise"],
            403: ["takes_no_part"],
            409: [
                "not_decided", "reopen_window_closed", "reopened_too_often", "not_disputable", "disputed_already",
                "nothing_to_dispute", "hold_exceeds_line", "hold_exceeds_invoice",
            ],
        },
        example={"reason": "The credit leaves out the second month"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, pk: str) -> Response:
        data = self.validated()
        return self.answer(dispute_reopen(actor=self.actor, dispute_id=self._dispute_id(), **data))

    @operation(
        summary="File a resolved dispute.",
        request=None,
        responses=DisputeDetailSerializer,
        errors={403: ["takes_no_part"], 409: ["dispute_status"]},
    )
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: str) -> Response:
        return self.answer(dispute_close(actor=self.actor, dispute_id=self._dispute_id()))

    @operation(
        summary="Make one dispute of two about the same invoice; answers with the older, which stays.",
        request=DisputeMergeSerializer,
        responses=DisputeDetailSerializer,
        errors={
            400: ["reason_required"],
            409: [
                "merge_with_itself", "other_invoice", "other_direction", "proposal_pending", "more_disputed_lines",
                *OVER,
            ],
        },
        example={"other_id": 2, "reason": "Both are about the same price list"},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def merge(self, request: Request, pk: str) -> Response:
        data = self.validated()
        if "If-Match" in request.headers:
            # The service locks the older one first: so does who compares versions before it.
            for dispute_id in sorted({int(pk), data["other_id"]}):
                lock_dispute(self.actor, dispute_id)
        return self.answer(dispute_merge(actor=self.actor, dispute_id=self._dispute_id(), **data))

    # --- Deciding ---

    @operation(
        summary="Resolve a dispute, or propose how: what costs money may need somebody else's approval.",
        description=(
            "Answers with the dispute: `resolved` where it was carried out at once, `proposed` where it waits for "
            "approval; `resolution` says what it came to. Each type has its outcomes: credit (credit_note, goodwill), "
            "refund (refund), adjustment (credit_and_rebill, debit_note, write_off, price_fix), no_action (rejected); "
            "the first is meant where none is named."
        ),
        request=DisputeResolveSerializer,
        responses=DisputeDetailSerializer,
        errors=RESOLVE_CODES,
        example={
            "resolution_type": "no_action",
            "note": "The order confirmation of 3 March names the billed price.",
        },
    )
    @action(detail=True, methods=["put"])
    def resolve(self, request: Request, pk: str) -> Response:
        proposal = Proposal(**self.validated())
        resolution = dispute_resolve(actor=self.actor, dispute_id=self._dispute_id(), proposal=proposal)
        return self.answer(resolution.dispute)

    @operation(
        operation_id="disputes_withdraw_proposal",
        summary="Take a proposed resolution back, to work on the dispute again.",
        request=DisputeReasonSerializer,
        responses=DisputeDetailSerializer,
        errors={400: ["reason_required"], 409: ["nothing_proposed"]},
        example={"reason": "The amount leaves out the tax"},
    )
    @action(detail=True, methods=["post"], url_path="withdraw-proposal")
    def withdraw_proposal(self, request: Request, pk: str) -> Response:
        reason = self.validated()["reason"]
        return self.answer(proposal_withdraw(actor=self.actor, dispute_id=self._dispute_id(), reason=reason))

    # --- The thread ---

    def _comments(self, dispute: BillingDispute) -> Any:
        rows = DisputeComment.objects.filter(dispute=dispute).visible_to(self.actor)
        return with_side(rows, self.actor, "dispute__").select_related("author").prefetch_related("mentions")

    def _show_comment(self, comment: DisputeComment, status: int = 200) -> Response:
        shown = self._comments(comment.dispute).get(pk=comment.pk)
        data = DisputeCommentSerializer(shown, context=self.get_serializer_context()).data
        where = f"{self.request.path.partition('/comments')[0]}/comments/{comment.pk}"
        return Response(data, status=status, headers={"Location": where} if status == 201 else None)

    @operation(
        operation_id="disputes_comments",
        summary="List the comments of a dispute, each in its newest version, in the order of their beginning.",
        description="Customers see those that are for them.",
        responses=DisputeCommentSerializer(many=True),
    )
    @action(**{**BELOW, "filterset_class": DisputeCommentFilter}, methods=["get"])
    def comments(self, request: Request, pk: str) -> Response:
        first = DisputeComment.objects.filter(thread_key=OuterRef("thread_key"), version=1).values("pk")
        rows = self._comments(self.get_object()).newest_versions().annotate(first_id=Subquery(first))
        return self.answer_list(rows.order_by("first_id"), DisputeCommentSerializer, DisputeCommentFilter)

    @operation(
        operation_id="disputes_comment",
        summary="Write a comment: to the customer, or for staff only.",
        description=(
            "Customers write with visibility `customer`, which ends the waiting for them. Staff's first comment to the "
            "customer stops the response clock. `@username` tells a colleague."
        ),
        request=DisputeCommentCreateSerializer,
        responses={201: DisputeCommentSerializer},
        errors={
            400: ["body_required", "body_too_long"],
            403: ["takes_no_part", "internal_is_for_staff"],
            409: OVER,
        },
        example={"body": "We compare it with the price list and answer by Friday.", "visibility": "customer"},
    )
    @comments.mapping.post
    def add_comment(self, request: Request, pk: str) -> Response:
        data = self.validated()
        return self._show_comment(
            comment_add(actor=self.actor, dispute_id=self._dispute_id(), **data), status=201
        )

    @operation(
        operation_id="disputes_comment_get",
        summary="Get one version of a comment.",
        parameters=[COMMENT_ID],
        responses=DisputeCommentSerializer,
    )
    @action(**BELOW, methods=["get"], url_path=COMMENT)
    def comment(self, request: Request, pk: str, comment_id: str) -> Response:
        return self._show_comment(self._seen_comment(comment_id))

    @operation(
        operation_id="disputes_comment_edit",
        summary="Correct your own comment: a further version, with an id of its own; the earlier ones stay.",
        parameters=[COMMENT_ID],
        request=DisputeCommentChangeSerializer,
        responses={200: DisputeCommentSerializer},
        errors={
            400: ["body_required", "body_too_long"],
            403: ["not_the_author"],
            409: ["not_the_latest_version"],
        },
        example={"body": "We compare it with the price list and answer by Thursday."},
    )
    @comment.mapping.patch
    def edit_comment(self, request: Request, pk: str, comment_id: str) -> Response:
        data = self.validated()
        comment = self._seen_comment(comment_id)
        if "If-Match" in request.headers:
            # The dispute is locked before what belongs to it, as the services do.
            lock_dispute(self.actor, comment.dispute_id)
            self._expect_version(comment)
        return self._show_comment(comment_edit(actor=self.actor, comment_id=comment.pk, **data))

    @operation(
        operation_id="disputes_comment_versions",
        summary="List all versions of a comment, the newest first.",
        parameters=[COMMENT_ID],
        responses=DisputeCommentSerializer(many=True),
    )
    @action(**BELOW, methods=["get"], url_path=f"{COMMENT}/versions")
    def comment_versions(self, request: Request, pk: str, comment_id: str) -> Response:
        comment = self._seen_comment(comment_id)
        rows = self._comments(comment.dispute).filter(thread_key=comment.thread_key).order_by("-version")
        return self.answer_list(rows, DisputeCommentSerializer)

    def _seen_comment(self, comment_id: str) -> DisputeComment:
        """The comment in the address: of that dispute, and among those that the caller sees."""
        dispute = get_visible(BillingDispute.objects.all(), self.actor, self.kwargs["pk"], name="dispute")
        comments = DisputeComment.objects.filter(dispute=dispute).select_related("dispute")
        found: DisputeComment = get_visible(comments, self.actor, comment_id, name="comment")
        return found

    @operation(
        operation_id="disputes_events",
        summary="List everything that happened to a dispute, newest first.",
        description="Append-only. Customers see what is public.",
        responses=DisputeEventSerializer(many=True),
    )
    @action(
        **{**BELOW, "filterset_class": DisputeEventFilter},
        methods=["get"],
        pagination_class=AppendOnlyPagination,
    )
    def events(self, request: Request, pk: str) -> Response:
        rows = DisputeEvent.objects.filter(dispute=self.get_object()).visible_to(self.actor)
        rows = with_side(rows, self.actor, "dispute__").select_related("actor", "round")
        return self.answer_list(rows, DisputeEventSerializer, DisputeEventFilter)

    @operation(
        operation_id="disputes_clocks",
        summary="Show how the clocks of a dispute stand now, round by round.",
        description=(
            "The response clock ends with the first word of staff to the customer and never pauses; the resolution "
            "clock ends with the resolution and stands still while the customer is waited for. At the deadline itself "
            "it is in time."
        ),
        responses={200: DisputeClocksSerializer},
    )
    @action(**BELOW, methods=["get"], pagination_class=None)
    def clocks(self, request: Request, pk: str) -> Response:
        dispute = self.get_object()
        refuse_unknown_parameters(request, set())
        body = {
            "dispute_id": dispute.pk,
            "status": dispute.status,
            "as_of": clock.now(),
            "next_deadline_at": dispute.next_deadline_at,
            "rounds": clock_standings(dispute),
        }
        context = {**self.get_serializer_context(), "for_staff": dispute.for_staff}
        return Response(DisputeClocksSerializer(body, context=context).data)

    # --- Files ---

    @operation(
        operation_id="disputes_attachments",
        summary="List the files of a dispute.",
        description="Customers see those that are for them.",
        responses=DisputeAttachmentSerializer(many=True),
    )
    @action(**BELOW, methods=["get"])
    def attachments(self, request: Request, pk: str) -> Response:
        rows = DisputeAttachment.objects.attached().filter(dispute=self.get_object()).visible_to(self.actor)
        return self.answer_list(
            rows.select_related("uploaded_by").order_by("id"), DisputeAttachmentSerializer
        )

    @operation(
        operation_id="disputes_attach",
        summary="Attach a file to a dispute, for both sides or for staff only.",
        description=(
            "PDF, PNG, JPEG, Excel, Word, text or CSV, as `multipart/form-data` with the parts `file` and "
            "`visibility`. What customers send ends the waiting for them."
        ),
        request={"multipart/form-data": DisputeAttachmentUploadSerializer},
        responses={201: DisputeAttachmentSerializer},
        errors={
            400: [*FILE_CODES, "does_not_exist", "comment_visibility_differs"],
            403: ["takes_no_part", "internal_is_for_staff", "not_the_author"],
            409: ["attached_before", *OVER],
        },
    )
    @attachments.mapping.post
    def attach(self, request: Request, pk: str) -> Response:
        data = self.validated()
        attachment = attachment_add(
            actor=self.actor, dispute_id=self._dispute_id(), name=data["file"].name, **data
        )
        shown = DisputeAttachmentSerializer(attachment, context=self.get_serializer_context()).data
        location = f"{request.path.partition('/disputes/')[0]}/dispute-attachments/{attachment.pk}"
        return Response(shown, status=201, headers={"Location": location})

    # --- Reports ---

    @operation(
        operation_id="disputes_reasons",
        summary="Report why invoices are disputed and what came of it: by category, root cause and outcome.",
        description=(
            "Of the disputes that you handle, with amounts per currency, and the share of those decided that were "
            "decided in time. What was merged counts once."
        ),
        parameters=[ReasonsQuerySerializer],
        responses={200: DisputeReasonsSerializer},
        errors={400: ["period_not_ordered"]},
    )
    @action(
        detail=False,
        methods=["get"],
        pagination_class=None,
        filterset_class=None,
        search_fields=(),
        ordering_fields=(),
    )
    def reasons(self, request: Request) -> Response:
        refuse_unknown_parameters(request, set(ReasonsQuerySerializer().fields))
        query = ReasonsQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return Response(DisputeReasonsSerializer(dispute_reasons(self.actor, **query.validated_data)).data)


@operations(
    list=operation(
        summary="List the files of the disputes you see.",
        description="Customers see those that are for them.",
    ),
    retrieve=operation(summary="Get what is known of a file; its content is one address further."),
    destroy=operation(
        summary="Take a file off a dispute that is open.",
        description="Only who attached it; the log keeps its name and fingerprint.",
        errors={403: ["not_the_uploader"], 409: ["attachment_kept"]},
    ),
)
class DisputeAttachmentViewSet(DestroyMixin, BillingViewSet):
    """Files on disputes; made by `POST /disputes/{id}/attachments`."""

    queryset = DisputeAttachment.objects.attached().select_related("uploaded_by")
    serializer_class = DisputeAttachmentSerializer
    action_permissions = {"list": None, "retrieve": None, "destroy": None, "content": None}
    filterset_class = DisputeAttachmentFilter
    search_fields = ("name",)
    ordering_fields = ("id", "name", "size", "uploaded_at")

    def perform_destroy(self, instance: DisputeAttachment) -> None:
        attachment_remove(actor=self.actor, attachment_id=instance.pk)

    @operation(
        operation_id="dispute_attachments_content",
        summary="Download a file.",
        responses={(200, kind): OpenApiResponse(OpenApiTypes.BINARY) for kind in SIGNATURES},
        errors={409: ["file_missing"]},
    )
    @action(
        **BELOW,
        methods=["get"],
        renderer_classes=[FileRenderer],
        content_negotiation_class=AnyNegotiation,
    )
    def content(self, request: Request, pk: str) -> FileResponse:
        attachment = self.get_object()
        return download(attachment.file, name=attachment.name, content_type=attachment.content_type)
