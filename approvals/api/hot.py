"""The two addresses that other systems call most: ask for a decision, and approve.

A plain call for a plain purchase is answered by a function of its own: read the body, one of the fast ways of the
services, show the request. Everything else takes the usual way of REST framework at the same address. Both give the
same answers: what is odd about a body is left to the usual way to refuse, and one serializer shows the request.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import ParseError

from approvals.api.serializers import LARGEST_ID, LONGEST_TEXT, ApprovalSerializer
from approvals.models import ApprovalRequest, OnApproval
from approvals.selectors.requests import budget_effect
from approvals.selectors.whole import WholeRequest, with_standing
from approvals.services import fast_path, fast_votes
from core.api.parsers import StrictJSONParser
from core.api.plain_calls import (
    REFUSALS,
    idempotency_key,
    is_plain_call,
    json_answer,
    plain_caller,
    refusal_answer,
    tagged,
)
from core.idempotency import run_idempotent
from core.models import User

# What of a body is a text, and how long it may be.
TEXTS = {"title": 200, "description": LONGEST_TEXT, "gl_code": 50, "terms": LONGEST_TEXT, "reference": 100}
ASKING = frozenset({"request_type", "amount", "budget_id", "currency", "on_approval", *TEXTS})
REQUIRED = frozenset({"request_type", "title", "description", "amount", "budget_id"})
DECIDING = frozenset({"action", "comment", "content_hash"})
PLAIN_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,4})?")
CURRENCY = re.compile(r"[A-Z]{3}")
FINGERPRINT = re.compile(r"[0-9a-f]{64}")

View = Callable[..., HttpResponseBase]
Work = Callable[[User], dict[str, Any] | None]


class _NotPlainError(Exception):
    """Nothing was written; the usual way answers."""


def creating(usual: View) -> View:
    """POST /approvals; `usual` answers everything else there."""

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        asked = _purchase(_body(request))
        if asked is None:
            return usual(request, *args, **kwargs)
        answer = _answer(request, 201, lambda user: _submitted(user, asked))
        return usual(request, *args, **kwargs) if answer is None else answer

    view.csrf_exempt = True  # type: ignore[attr-defined]  # as REST framework's own views
    return view


def approving(usual: View) -> View:
    """POST /approvals/{id}/action; `usual` answers everything else there."""

    def view(request: HttpRequest, pk: str) -> HttpResponseBase:
        vote = _approval(_body(request))
        if vote is None:
            return usual(request, pk=pk)
        answer = _answer(request, 200, lambda user: _approved(user, int(pk), vote))
        return usual(request, pk=pk) if answer is None else answer

    view.csrf_exempt = True  # type: ignore[attr-defined]
    return view


def _answer(request: HttpRequest, status: int, work: Work) -> HttpResponse | None:
    """Do it and show the request; None where it is not plain."""

    def handler() -> tuple[int, dict[str, Any]]:
        body = work(user)
        if body is None:
            raise _NotPlainError
        return status, body

    replayed = False
    try:
        user = plain_caller(request)
        key = idempotency_key(request)
        if key is None:
            _, body = handler()
        else:
            _, body, replayed = run_idempotent(
                user=user, key=key, scope=f"POST {request.path}", body=request.body, handler=handler
            )
    except _NotPlainError:
        return None
    except REFUSALS as error:
        return refusal_answer(request, error)
    response = tagged(json_answer(status, body), body["version"])
    if status == 201:
        response["Location"] = f"{request.path.rstrip('/')}/{body['id']}"
    if replayed:
        response["Idempotency-Replayed"] = "true"
    return response


# --- Bodies ----------------------------------------------------------------------------------------------


def _body(request: HttpRequest) -> dict[str, Any] | None:
    """The parsed body of a plain call; None for another call, or where there is no object to read."""
    if not is_plain_call(request) or "HTTP_IF_MATCH" in request.META or request.META.get("QUERY_STRING"):
        return None
    try:
        data = StrictJSONParser().parse(BytesIO(request.body))
    except (ParseError, *REFUSALS):
        return None
    return data if isinstance(data, dict) else None


def _purchase(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is asked for, as the serializer reads it; None for what it would refuse or read in another way."""
    if data is None or not REQUIRED <= data.keys() <= ASKING:
        return None
    texts = {name: _text(data[name], longest) for name, longest in TEXTS.items() if name in data}
    budget, currency, effect = data["budget_id"], data.get("currency", ""), data.get("on_approval", "charge")
    amount = str(data["amount"]) if _is_whole(data["amount"]) else data["amount"]
    if (
        None in texts.values()
        or not texts["title"]
        or not _is_whole(budget)
        or not 0 < budget <= LARGEST_ID
        or not isinstance(amount, str)
        or not PLAIN_AMOUNT.fullmatch(amount)
        or effect not in OnApproval.values
        or not isinstance(currency, str)
        or not (currency == "" or CURRENCY.fullmatch(currency))
        or ("currency" in data and not currency)
        or not isinstance(data["request_type"], str)
    ):
        return None
    return {
        **texts,
        "request_type": data["request_type"],
        "amount": Decimal(amount),
        "budget_id": budget,
        "currency": currency,
        "on_approval": effect,
    }


def _approval(data: dict[str, Any] | None) -> dict[str, Any] | None:
    if data is None or data.get("action") != "approve" or not data.keys() <= DECIDING:
        return None
    comment, seen = _text(data.get("comment", ""), LONGEST_TEXT), data.get("content_hash")
    if comment is None or not (seen is None or (isinstance(seen, str) and FINGERPRINT.fullmatch(seen))):
        return None
    return {"comment": comment, "content_hash": seen}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any, longest: int) -> str | None:
    text = value.strip() if isinstance(value, str) else None
    return text if text is not None and len(text) <= longest else None


# --- The work --------------------------------------------------------------------------------------------


def _submitted(user: User, asked: dict[str, Any]) -> dict[str, Any] | None:
    fields = dict(asked)
    amount, budget_id = fields.pop("amount"), fields.pop("budget_id")
    whole = fast_path.submit(
        ApprovalRequest(requester=user, created_by=user, **fields),
        actor=user,
        budget_id=budget_id,
        amount=amount,
    )
    return None if whole is None else _body_of(whole, user)


def _approved(user: User, request_id: int, vote: dict[str, Any]) -> dict[str, Any] | None:
    whole = fast_votes.approve(actor=user, request_id=request_id, **vote)
    return None if whole is None else _body_of(whole, user)


def _body_of(whole: WholeRequest, user: User) -> dict[str, Any]:
    request: Any = with_standing(whole, user)
    request.budget_effect = budget_effect(request)
    return _serialized(request)


def _serialized(request: Any) -> dict[str, Any]:
    shown: dict[str, Any] = _serializer().to_representation(request)
    return shown


@cache
def _serializer() -> ApprovalSerializer:
    """One for all answers: making it costs more than using it. It asks its context for the method only."""
    return ApprovalSerializer(context={"request": SimpleNamespace(method="POST")})
