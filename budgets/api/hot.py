"""The two addresses that other systems call all day: may this be spent, and spend it.

A call as machines make it (bearer token, JSON in, JSON out) is answered by a plain function: whose token is it, is
the caller within the rate limit, parse, call the service, write JSON. Everything else (a browser's session, an odd
`Accept`, another method) takes the usual way of REST framework through `post`, which calls the same `handle`: both
give the same answers. The short way halves the cost of a call.
"""

from abc import abstractmethod
from functools import wraps
from io import BytesIO
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from budgets.api.bodies import Body, availability_body, charged_budget_body, entry_body
from budgets.api.serializers import (
    BudgetAvailabilitySerializer,
    BudgetChargedSerializer,
    BudgetChargeSerializer,
    BudgetCheckSerializer,
)
from budgets.services.changes import charge_with_override
from budgets.services.charges import ChargeLine, budget_charge, budget_check_availability
from budgets.services.ledger import Source
from core.api.base import BillingAPIView
from core.api.parsers import StrictJSONParser
from core.api.plain_calls import (
    REFUSALS,
    idempotency_key,
    is_plain_call,
    json_answer,
    plain_caller,
    refusal_answer,
)
from core.api.schema import operation
from core.errors import FieldProblem, Invalid
from core.idempotency import run_idempotent
from core.models import User

LARGEST_KEY = 2**63 - 1

Answer = tuple[int, dict[str, Any]]


class HotView(BillingAPIView):
    """Derive, write `handle`, and `post` for the OpenAPI document."""

    http_method_names = ["post", "options"]
    #: Whether it changes something, so that an idempotency key counts.
    writes: ClassVar[bool] = True

    @staticmethod
    @abstractmethod
    def handle(actor: User, pk: int, data: Any) -> Answer:
        """Do what is asked with the parsed body; return status and body."""

    def takes_idempotency_key(self, method: str) -> bool:
        return self.writes and super().takes_idempotency_key(method)

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        whole: Any = super().as_view(**initkwargs)

        @wraps(whole)
        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if is_plain_call(request):
                return cls._answer_plainly(request, kwargs["pk"])
            answer: HttpResponseBase = whole(request, *args, **kwargs)
            return answer

        return view

    @classmethod
    def _answer_plainly(cls, request: HttpRequest, pk: int) -> HttpResponse:
        try:
            return cls._plain_answer(request, pk)
        except REFUSALS as error:
            return refusal_answer(request, error)

    @classmethod
    def _plain_answer(cls, request: HttpRequest, pk: int) -> HttpResponse:
        user = plain_caller(request)
        body = request.body
        key = idempotency_key(request) if cls.writes else None
        if key is None:
            status, answer = cls.handle(user, pk, StrictJSONParser().parse(BytesIO(body)))
            return json_answer(status, answer)
        done = run_idempotent(
            user=user,
            key=key,
            scope=f"POST {request.path}",
            body=body,
            handler=lambda: cls.handle(user, pk, StrictJSONParser().parse(BytesIO(body))),
        )
        response = json_answer(done.status, done.body)
        if done.replayed:
            response["Idempotency-Replayed"] = "true"
        return response


# --- Checking --------------------------------------------------------------------------------------------


class CheckAvailabilityView(HotView):
    """POST /budgets/{id}/check-availability"""

    writes = False

    @operation(
        operation_id="budgets_check_availability",
        summary="Ask whether an amount could be charged now; writes nothing.",
        description=(
            "`available_amount` is the least that the budget and every control point above it have; promises past "
            "their expiry count as free. `reason` is `ok`, `overspend_allowed`, or the code of the refusal that a "
            "charge would meet: `insufficient_budget`, `approval_required`, `budget_not_open`, `budget_closed`, "
            "`budget_soft_closed`, `outside_budget_period`."
        ),
        request=BudgetCheckSerializer,
        responses={200: BudgetAvailabilitySerializer},
        errors={
            400: ["amount_not_positive", "amount_not_finite", "amount_too_precise", "amount_too_large",
                  "invalid_amount", "other_currency", "number_out_of_range", "not_finite"],
        },
        example={"amount": "5000.00"},
        response_example={
            "available": True,
            "available_amount": "12500.00",
            "requires_approval": False,
            "would_overspend": False,
            "reason": "ok",
            "currency": "USD",
        },
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        status, body = self.handle(self.actor, pk, request.data)
        return Response(body, status=status)

    @staticmethod
    def handle(actor: User, pk: int, data: Any) -> Answer:
        body = Body(data)
        amount = body.amount("amount")
        currency = body.currency("currency")
        body.done()
        answer = budget_check_availability(actor=actor, budget_id=pk, amount=amount)
        if currency is not None and currency != answer.currency:
            detail = f"This budget is kept in {answer.currency}. Ask in that currency."
            raise Invalid(
                "other_currency", detail, errors=[FieldProblem("/currency", "other_currency", detail)]
            )
        return 200, availability_body(answer)


# --- Charging --------------------------------------------------------------------------------------------


CHARGE_ERRORS = {
    400: ["amount_not_positive", "amount_not_finite", "amount_too_precise", "amount_too_large", "invalid_amount",
          "unknown_currency", "number_out_of_range", "not_finite"],
    403: ["budget_soft_closed"],
    409: ["insufficient_budget", "approval_required", "budget_not_open", "budget_closed", "outside_budget_period",
          "no_exchange_rate", "stale_exchange_rate", "override_not_usable", "override_too_small"],
    422: ["source_reused"],
}  # fmt: skip


class ChargeView(HotView):
    """POST /budgets/{id}/charge"""

    @operation(
        operation_id="budgets_charge",
        summary="Spend from a budget.",
        description=(
            "201 with the ledger entry and the budget's new figures. 409 `insufficient_budget` lists every budget "
            "that is short, by how much; `approval_required` says from which amount on a request is needed. A "
            "refusal writes nothing. `currency` may differ from the budget's: the rate of the posting date is used. "
            "The same `source_type` and `source_id` (with line and revision) are charged once: a repetition gets "
            "200 with the first entry. `override_id` spends a granted override."
        ),
        request=BudgetChargeSerializer,
        responses={200: BudgetChargedSerializer, 201: BudgetChargedSerializer},
        errors=CHARGE_ERRORS,
        example={"amount": "1250.00", "description": "Analytics licences, March", "reference": "PO-2041"},
    )
    def post(self, request: Request, pk: int) -> Response:
        status, body = self.handle(self.actor, pk, request.data)
        return Response(body, status=status)

    @staticmethod
    def handle(actor: User, pk: int, data: Any) -> Answer:
        body = Body(data)
        override_id = body.number("override_id", None, LARGEST_KEY)
        line = read_charge_line(body, pk)
        body.done()
        if override_id is not None:
            posting = charge_with_override(actor=actor, line=line, override_id=override_id)
        else:
            posting = budget_charge(actor=actor, line=line)
        entry = posting.entries[0]
        budget = posting.budgets[entry.budget_id]
        return (
            200 if posting.replayed else 201,
            {"entry": entry_body(entry, budget.currency), "budget": charged_budget_body(budget)},
        )


def read_charge_line(body: Body, budget_id: int) -> ChargeLine:
    """Read the members of one charged line; `body.done` says afterwards whether they are right."""
    source_type = body.text("source_type", 50, "")
    source_id = body.text("source_id", 64, "")
    line, revision = body.number("source_line", 0), body.number("source_revision", 0)
    return ChargeLine(
        budget_id=budget_id,
        amount=body.amount("amount"),
        description=body.text("description", 500),
        currency=body.currency("currency"),
        tax=body.amount("tax", 0, zero=True),
        tax_recoverable=body.flag("tax_recoverable", True),
        reference=body.text("reference", 100, ""),
        posting_date=body.date("posting_date"),
        source=Source(source_type, source_id, line, revision) if source_type else None,
    )
