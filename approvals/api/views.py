"""Requests, their tasks and their files."""

from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.api.filters import (
    ApprovalAttachmentFilter,
    ApprovalFilter,
    ApprovalTaskFilter,
    ApprovalTrailFilter,
)
from approvals.api.serializers import (
    ApprovalActSerializer,
    ApprovalAttachmentSerializer,
    ApprovalAttachmentUploadSerializer,
    ApprovalBulkActionSerializer,
    ApprovalBulkResultSerializer,
    ApprovalChangeSerializer,
    ApprovalCommentSerializer,
    ApprovalCreateSerializer,
    ApprovalPreviewSerializer,
    ApprovalReasonSerializer,
    ApprovalReassignSerializer,
    ApprovalRouteSerializer,
    ApprovalSerializer,
    ApprovalTaskSerializer,
    ApprovalTrailSerializer,
    route_body,
)
from approvals.models import ActionKind, ApprovalAction, ApprovalAttachment, ApprovalRequest, ApprovalTask
from approvals.registry import approval_type
from approvals.selectors.requests import Rates, budget_effect, standings, with_chain
from approvals.services.attachments import attachment_add, attachment_remove
from approvals.services.bulk import requests_approve_in_bulk
from approvals.services.drafts import draft_delete
from approvals.services.escalation import request_escalate
from approvals.services.recall import vote_recall
from approvals.services.requests import (
    comment_add,
    draft_submit,
    emergency_review,
    request_approve_in_emergency,
    request_preview,
    request_recalculate,
    request_submit,
    request_update,
    request_withdraw,
    task_reassign,
)
from approvals.services.votes import (
    request_approve,
    request_reject,
    request_send_back,
    task_pass_on,
)
from core.api.base import BillingModelViewSet, BillingViewSet, DestroyMixin
from core.api.downloads import AnyNegotiation, FileRenderer
from core.api.pagination import AppendOnlyPagination
from core.api.parsers import StrictJSONParser
from core.api.schema import operation, operations
from core.files import SIGNATURES, download
from entities.services.records import field_error

BELOW: dict[str, Any] = {"detail": True, "search_fields": (), "ordering_fields": ()}
# What writes nothing, so that a stored answer would be wrong the next day, and what has a transaction per item.
WITHOUT_KEY = frozenset({"preview", "bulk_action"})

MONEY_CODES = [
    "insufficient_budget", "budget_not_open", "budget_closed", "outside_budget_period", "no_exchange_rate",
]  # fmt: skip
CONTENT_CODES = {
    400: ["amount_not_positive", "amount_too_precise", "required", "other_entity", "other_department",
          "other_currency", "unknown_currency"],
    403: ["requester_is_another"],
    404: ["not_found"],
    409: MONEY_CODES,
}  # fmt: skip
DECIDED = ["already_decided", "not_submitted", "request_blocked", "request_expired"]
OWN = ["not_the_requester"]
EXAMPLE = {
    "request_type": "purchase",
    "title": "Monitors for the design team",
    "description": "Six 27-inch monitors; the old ones are out of warranty.",
    "amount": "2400.00",
    "department_id": 1,
    "supplier": "Halden Computer",
    "quantity": 6,
}


@operations(
    list=operation(
        summary="List the requests you see; inbox=mine lists what waits for you.",
        description=(
            "`inbox=mine` lists what you may decide now, in your own name or for whom you stand in, the most urgent "
            "first: `waiting_for_me` says why and until when. `inbox=overdue`, `delegated` and `decided` narrow it, "
            "or tell what you have decided."
        ),
    ),
    retrieve=operation(summary="Get a request: how it stands, who may act, what you may do."),
    create=operation(
        summary="Ask for a decision; the rules choose who decides.",
        description=(
            "The amount is committed on the budget at once, and what does not fit is 409 `insufficient_budget`. "
            "Without a matching rule the request is `blocked`, and those who keep the rules are told. `draft: true` "
            "only keeps it, to be submitted later."
        ),
        errors=CONTENT_CODES,
        example=EXAMPLE,
    ),
    partial_update=operation(
        summary="Change a request; a material change while it is decided starts a new round.",
        description=(
            "Amount, currency, supplier, bank details, account, quantity, terms and the like are material: votes given "
            "so far are void, except for a lower amount, or a rise within the tolerance over the last approved total. "
            "What was charged cannot change; an approved order can."
        ),
        errors={
            **CONTENT_CODES,
            403: OWN,
            409: [*MONEY_CODES, *DECIDED, "already_booked", "order_closed"],
        },
        example={"amount": "2350.00", "description": "Six monitors, cheaper model."},
    ),
    destroy=operation(
        summary="Delete a draft.", errors={403: OWN, 409: ["not_a_draft", "draft_has_history"]}
    ),
)
class ApprovalViewSet(BillingModelViewSet):
    """Requests for approval."""

    queryset = ApprovalRequest.objects.all()
    serializer_class = ApprovalSerializer
    input_serializers = {
        "create": ApprovalCreateSerializer,
        "partial_update": ApprovalChangeSerializer,
        "preview": ApprovalPreviewSerializer,
        "act": ApprovalActSerializer,
        "bulk_action": ApprovalBulkActionSerializer,
        "comments": ApprovalCommentSerializer,
        "recalculate": ApprovalReasonSerializer,
        "emergency_approval": ApprovalReasonSerializer,
        "emergency_review": ApprovalCommentSerializer,
        "attach": ApprovalAttachmentUploadSerializer,
    }
    # Who sees a request takes part in it by more than a role: as requester, approver or stand-in. The services say
    # who may do what.
    action_permissions = {
        "list": None,
        "retrieve": None,
        "partial_update": None,
        "destroy": None,
        "preview": "approvals.add_approvalrequest",
        "submit": None,
        "act": None,
        "bulk_action": None,
        "history": None,
        "comments": None,
        "recalculate": None,
        "emergency_approval": None,
        "emergency_review": None,
        "attachments": None,
        "attach": None,
    }
    filterset_class = ApprovalFilter
    search_fields = (
        "title", "description", "reference", "supplier", "requester__first_name", "requester__last_name",
        "requester__username",
    )  # fmt: skip
    ordering_fields = (
        "id", "title", "amount", "base_amount", "status", "request_type", "created_at", "updated_at",
        "submitted_at", "decided_at", "expires_at",
    )  # fmt: skip
    ordering = ("-id",)

    # --- Reading ---

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset()
        if self.action in ("list", "retrieve"):
            return with_chain(rows, self.actor)  # type: ignore[no-any-return]
        return rows

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        rows = super().filter_queryset(queryset)
        if "waits_until" in rows.query.annotations and not self.request.query_params.get("ordering"):
            return rows.order_by("waits_until", "id")
        return rows

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        return page if self.action != "list" or page is None else self._with_standing(page)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(self.get_serializer(*self._with_standing([self.get_object()])).data)

    def answer(self, instance: Any, status: int = 200) -> Response:
        """Show a request as it stands after what the caller did to it."""
        rows = with_chain(ApprovalRequest.objects.filter(pk=instance.pk), self.actor)
        return Response(self.get_serializer(*self._with_standing(list(rows))).data, status=status)

    def _with_standing(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Add what the serializer shows of each: how it stands for the caller, and what it does to its budget."""
        found = standings(rows, self.actor)
        rates: Rates = {}
        for row in rows:
            row.standing = found[row.pk]
            row.budget_effect = budget_effect(row, rates)
            for step in row.chain:
                for task in step.tasks.all():
                    task.request = row
        return rows

    def takes_idempotency_key(self, method: str) -> bool:
        return getattr(self, "action", "") not in WITHOUT_KEY and super().takes_idempotency_key(method)

    def get_parsers(self) -> list[BaseParser]:
        """Files are taken at one address only; everywhere else the API speaks JSON."""
        if getattr(self, "action_map", {}).get("post") == "attach":
            return [MultiPartParser()]
        return [StrictJSONParser()]

    def _expect_version(self, instance: Any) -> None:
        # The subject of an upper app is locked before the request, as the services do.
        approval_type(instance.request_type).lock(instance)
        super()._expect_version(instance)

    def _request_id(self) -> int:
        """The id in the address; the service looks for it among what the caller sees."""
        if "If-Match" in self.request.headers:
            found: int = self.get_object().pk
            return found
        return int(self.kwargs["pk"])

    # --- Asking ---

    def perform_create(self, data: dict[str, Any]) -> ApprovalRequest:
        return request_submit(actor=self.actor, **data)

    def perform_update(self, instance: ApprovalRequest, data: dict[str, Any]) -> ApprovalRequest:
        return request_update(actor=self.actor, request_id=instance.pk, changes=data)

    def perform_destroy(self, instance: ApprovalRequest) -> None:
        draft_delete(actor=self.actor, request_id=instance.pk)

    @operation(
        summary="Show who would decide on a request, and what it would do to the budget; writes nothing.",
        request=ApprovalPreviewSerializer,
        responses={200: ApprovalRouteSerializer},
        errors={**CONTENT_CODES, 409: ["no_exchange_rate"]},
        example=EXAMPLE,
    )
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        asked, route = request_preview(actor=self.actor, **self.validated())
        body = route_body(asked, route, budget_effect(asked))
        return Response(ApprovalRouteSerializer(body).data)

    @operation(
        summary="Submit a draft, or submit again what was sent back.",
        description=(
            "What was sent back starts at the first level again; where nothing material changed, at the level that "
            "sent it back."
        ),
        request=None,
        responses=ApprovalSerializer,
        errors={403: OWN, 409: ["already_submitted", *MONEY_CODES, *DECIDED]},
    )
    @action(detail=True, methods=["post"])
    def submit(self, request: Request, pk: str) -> Response:
        return self.answer(draft_submit(actor=self.actor, request_id=self._request_id()))

    # --- Deciding ---

    @operation(
        operation_id="approvals_action",
        summary="Approve, reject, ask for changes, pass on, escalate, take a vote back, or withdraw.",
        description=(
            "`reject` and `request_changes` need a `comment`, `delegate` needs `delegate_to_id`. With `content_hash` a "
            "vote counts only for the content that was seen: 409 `content_changed` otherwise. The last approval that "
            "is needed books the effect in the same transaction; where the effect is refused, nothing of the vote "
            "stays, the request is `pending` as before, and `effect_error` says why. `recall` takes the caller's own "
            "vote back until the next level has been acted on; a decision that has had its effect stays."
        ),
        request=ApprovalActSerializer,
        responses=ApprovalSerializer,
        errors={
            400: ["comment_required", "delegate_to_self", "delegate_may_not_decide", "required"],
            403: ["separation_of_duties", "not_an_approver", "not_your_turn", "role_lost", *OWN,
                  "not_yours_to_escalate"],
            409: [*DECIDED, "content_changed", "already_voted", "redelegation", "already_asked",
                  "escalated_enough", "nobody_to_escalate_to", "nothing_to_recall", "too_late_to_recall"],
        },
        example={"action": "approve", "comment": "Within the plan for this quarter."},
    )  # fmt: skip
    @action(detail=True, methods=["post"], url_path="action")
    def act(self, request: Request, pk: str) -> Response:
        data = self.validated()
        perform = self._acts[data["action"]]
        return self.answer(perform(self, self._request_id(), data))

    def _approve(self, request_id: int, data: dict[str, Any]) -> ApprovalRequest:
        return request_approve(actor=self.actor, request_id=request_id, **_vote(data))

    def _reject(self, request_id: int, data: dict[str, Any]) -> ApprovalRequest:
        return request_reject(actor=self.actor, request_id=request_id, **_vote(data))

    def _send_back(self, request_id: int, data: dict[str, Any]) -> ApprovalRequest:
        return request_send_back(actor=self.actor, request_id=request_id, **_vote(data))

    def _delegate(self, request_id: int, data: dict[str, Any]) -> ApprovalRequest:
        to_user = data.get("delegate_to")
        if to_user is None:
            raise field_error("delegate_to_id", "required", "Name who is to decide in your place.")
        return task_pass_on(actor=self.actor, request_id=request_id, to_user=to_user, comment=data["comment"])

    def _escalate(self, request_id: int, data: dict[str, Any]) -> ApprovalRequest:
        return request_escalate(actor=self.actor, request_id=request_id, comment=data["comment"])

    def _recall(self, request_id: int, data: dict[str, Any]) -> ApprovalRequest:
        return vote_recall(actor=self.actor, request_id=request_id, comment=data["comment"])

    def _withdraw(self, request_id: int, data: dict[str, Any]) -> ApprovalRequest:
        return request_withdraw(actor=self.actor, request_id=request_id, comment=data["comment"])

    _acts: dict[str, Callable[["ApprovalViewSet", int, dict[str, Any]], ApprovalRequest]] = {
        "approve": _approve,
        "reject": _reject,
        "request_changes": _send_back,
        "delegate": _delegate,
        "escalate": _escalate,
        "recall": _recall,
        "withdraw": _withdraw,
    }

    @operation(
        operation_id="approvals_bulk_action",
        summary="Approve several requests, each by itself, with a result for each.",
        description=(
            "Every item has the tests of a single vote and a transaction of its own: what one is refused does not "
            "touch the others, so the answer is 200 with a result per item. For the same reason it takes no "
            "`Idempotency-Key`; sending it again is safe, as nobody votes twice. Requests above the bulk cap are left "
            "out, as are those that want a comment or have something to be looked at: decide them one by one."
        ),
        request=ApprovalBulkActionSerializer,
        responses={200: ApprovalBulkResultSerializer},
        errors={400: ["too_many_items"]},
        example={"items": [{"id": 1}, {"id": 2}], "action": "approve", "comment": "As planned"},
    )
    @action(detail=False, methods=["post"], url_path="bulk-action")
    def bulk_action(self, request: Request) -> Response:
        data = self.validated()
        items = [(item["id"], item.get("content_hash")) for item in data["items"]]
        results = requests_approve_in_bulk(actor=self.actor, items=items, comment=data["comment"])
        done = sum(result.done for result in results)
        body = {"done": done, "refused": len(results) - done, "results": results}
        return Response(ApprovalBulkResultSerializer(body).data)

    # --- The trail ---

    @operation(
        summary="List everything that happened to a request, newest first.",
        description="Append-only. Who acted for somebody else is `actor` on behalf of `on_behalf_of`.",
        responses=ApprovalTrailSerializer(many=True),
    )
    @action(
        **BELOW, methods=["get"], pagination_class=AppendOnlyPagination, filterset_class=ApprovalTrailFilter
    )
    def history(self, request: Request, pk: str) -> Response:
        rows = ApprovalAction.objects.filter(request=self.get_object())
        rows = rows.select_related("actor", "on_behalf_of", "step")
        return self.answer_list(rows, ApprovalTrailSerializer, ApprovalTrailFilter)

    @operation(
        summary="Say something on a request without deciding; everyone who takes part is told.",
        request=ApprovalCommentSerializer,
        responses={201: ApprovalTrailSerializer},
        errors={400: ["comment_required"]},
        example={"comment": "Is the delivery included?"},
    )
    @action(detail=True, methods=["post"])
    def comments(self, request: Request, pk: str) -> Response:
        body = self.validated()["comment"]
        commented = comment_add(actor=self.actor, request_id=self._request_id(), body=body)
        said = commented.actions.filter(kind=ActionKind.COMMENTED, actor=self.actor).latest("id")
        location = f"{request.path.rstrip('/').removesuffix('/comments')}/history"
        shown = ApprovalTrailSerializer(said, context=self.get_serializer_context()).data
        return Response(shown, status=201, headers={"Location": location})

    # --- For those who may override ---

    @operation(
        summary="Work the approvers out anew by the rules as they are now.",
        description="A new round: votes given so far are void. It is how a blocked request gets its approvers.",
        request=ApprovalReasonSerializer,
        responses=ApprovalSerializer,
        errors={400: ["reason_required"], 409: [*DECIDED, *MONEY_CODES]},
        example={"reason": "The rule for the workshop was added"},
    )
    @action(detail=True, methods=["post"])
    def recalculate(self, request: Request, pk: str) -> Response:
        reason = self.validated()["reason"]
        return self.answer(
            request_recalculate(actor=self.actor, request_id=self._request_id(), reason=reason)
        )

    @operation(
        operation_id="approvals_emergency_approval",
        summary="Approve at once in an emergency; a second person reviews it within hours.",
        request=ApprovalReasonSerializer,
        responses=ApprovalSerializer,
        errors={400: ["reason_required"], 403: ["separation_of_duties"], 409: [*DECIDED, *MONEY_CODES]},
        example={"reason": "The cooling of the data centre has failed"},
    )
    @action(detail=True, methods=["post"], url_path="emergency-approval")
    def emergency_approval(self, request: Request, pk: str) -> Response:
        reason = self.validated()["reason"]
        return self.answer(
            request_approve_in_emergency(actor=self.actor, request_id=self._request_id(), reason=reason)
        )

    @operation(
        operation_id="approvals_emergency_review",
        summary="Confirm as a second person that an emergency was one.",
        request=ApprovalCommentSerializer,
        responses=ApprovalSerializer,
        errors={403: ["second_person_needed"], 409: ["nothing_to_review"]},
        example={"comment": "Confirmed with the data centre's log"},
    )
    @action(detail=True, methods=["post"], url_path="emergency-review")
    def emergency_review(self, request: Request, pk: str) -> Response:
        comment = self.validated()["comment"]
        return self.answer(emergency_review(actor=self.actor, request_id=self._request_id(), comment=comment))

    # --- Files ---

    @operation(
        operation_id="approvals_attachments",
        summary="List the files of a request.",
        responses=ApprovalAttachmentSerializer(many=True),
    )
    @action(**BELOW, methods=["get"], filterset_class=None)
    def attachments(self, request: Request, pk: str) -> Response:
        rows = ApprovalAttachment.objects.filter(request=self.get_object(), removed_at__isnull=True)
        return self.answer_list(
            rows.select_related("uploaded_by").order_by("id"), ApprovalAttachmentSerializer
        )

    @operation(
        operation_id="approvals_attach",
        summary="Attach a file to a request.",
        description="PDF, PNG, JPEG, Excel, Word, text or CSV, as `multipart/form-data` with the part `file`.",
        request={"multipart/form-data": ApprovalAttachmentUploadSerializer},
        responses={201: ApprovalAttachmentSerializer},
        errors={
            400: ["file_type_not_allowed", "file_content_differs", "file_too_large", "file_empty"],
            403: ["takes_no_part"],
            409: ["attached_before"],
        },
    )
    @attachments.mapping.post
    def attach(self, request: Request, pk: str) -> Response:
        file = self.validated()["file"]
        attachment = attachment_add(
            actor=self.actor, request_id=self._request_id(), name=file.name, file=file
        )
        shown = ApprovalAttachmentSerializer(attachment, context=self.get_serializer_context()).data
        location = f"{request.path.partition('/approvals/')[0]}/approval-attachments/{attachment.pk}"
        return Response(shown, status=201, headers={"Location": location})


def _vote(data: dict[str, Any]) -> dict[str, Any]:
    return {"comment": data["comment"], "content_hash": data.get("content_hash")}


@operations(
    list=operation(
        summary="List who is asked about the requests you see.",
        description="An approver's workload is `approver_id=7&status=open`.",
    ),
    retrieve=operation(summary="Get one person's task."),
)
class ApprovalTaskViewSet(BillingViewSet):
    """One person asked at one level of a request."""

    queryset = ApprovalTask.objects.select_related("request", "step", "approver", "for_whom", "acted_by")
    serializer_class = ApprovalTaskSerializer
    input_serializers = {"reassign": ApprovalReassignSerializer}
    action_permissions = {"list": None, "retrieve": None, "reassign": None}
    filterset_class = ApprovalTaskFilter
    ordering_fields = ("id", "opened_at", "acted_at")

    @operation(
        summary="Give somebody's open task to another person who may decide.",
        request=ApprovalReassignSerializer,
        responses=ApprovalTaskSerializer,
        errors={
            400: ["reason_required", "does_not_exist"],
            403: ["separation_of_duties"],
            409: ["task_closed", "already_asked", "approver_may_not_decide", *DECIDED],
        },
        example={"to_user_id": 2, "reason": "On leave until March"},
    )
    @action(detail=True, methods=["post"])
    def reassign(self, request: Request, pk: str) -> Response:
        task = self.get_object()
        return self.answer(task_reassign(actor=self.actor, task_id=task.pk, **self.validated()))


@operations(
    list=operation(summary="List the files of the requests you see."),
    retrieve=operation(summary="Get what is known of a file; its content is one address further."),
    destroy=operation(
        summary="Take a file off a request that is not being decided yet.",
        description="Only who attached it; the trail keeps its name and fingerprint.",
        errors={403: ["not_the_uploader"], 409: ["attachment_kept"]},
    ),
)
class ApprovalAttachmentViewSet(DestroyMixin, BillingViewSet):
    """Files on requests."""

    queryset = ApprovalAttachment.objects.filter(removed_at__isnull=True).select_related("uploaded_by")
    serializer_class = ApprovalAttachmentSerializer
    action_permissions = {"list": None, "retrieve": None, "destroy": None, "content": None}
    filterset_class = ApprovalAttachmentFilter
    search_fields = ("name",)
    ordering_fields = ("id", "name", "size", "uploaded_at")

    def perform_destroy(self, instance: ApprovalAttachment) -> None:
        attachment_remove(actor=self.actor, attachment_id=instance.pk)

    @operation(
        summary="Download a file.",
        responses={(200, kind): OpenApiResponse(OpenApiTypes.BINARY) for kind in SIGNATURES},
        errors={409: ["file_missing"]},
    )
    @action(
        **BELOW,
        methods=["get"],
        renderer_classes=[FileRenderer],
        content_negotiation_class=AnyNegotiation,
        filterset_class=None,
    )
    def content(self, request: Request, pk: str) -> FileResponse:
        attachment = self.get_object()
        return download(attachment.file, name=attachment.name, content_type=attachment.content_type)
