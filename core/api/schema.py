"""The OpenAPI document: what is true of every operation is written once, here.

Every operation gets the tag, a summary, the headers it understands and the problems it can answer with.
Authors add what only they know, in one line::

    @operations(
        list=operation(summary="List invoices."),
        create=operation(summary="Draft an invoice.", errors={409: ["nothing_to_bill"]}, example={...}),
    )
    class InvoiceViewSet(BillingModelViewSet): ...
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from drf_spectacular.contrib.django_filters import DjangoFilterExtension
from drf_spectacular.drainage import add_trace_message
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import permissions

TAG = "enterprise-billing"
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Further members carry data: amounts, states, who can lift a refusal.",
    "properties": {
        "type": {"type": "string", "example": "/problems/invalid"},
        "title": {"type": "string", "example": "Bad Request"},
        "status": {"type": "integer", "example": 400},
        "detail": {"type": "string", "description": "A sentence for people that says what to do next."},
        "code": {"type": "string", "description": "For machines; it never changes.", "example": "invalid"},
        "instance": {"type": "string", "description": "The path that was asked for."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "JSON Pointer.",
                        "example": "/splits/0/percent",
                    },
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "code", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "code", "instance", "errors"],
    "additionalProperties": True,
}

# What each status means in this API, with the codes that any operation may give.
PROBLEMS: dict[int, tuple[str, tuple[str, ...]]] = {
    400: (
        "The request is invalid; `errors` names each value.",
        ("invalid", "unknown_field", "unknown_parameter"),
    ),
    401: ("Nobody is signed in, or the token no longer holds.", ("not_authenticated", "token_not_valid")),
    403: ("You see it, but have no right to do this.", ("permission_denied",)),
    404: ("It does not exist, or you cannot see it.", ("not_found",)),
    406: ("This address answers in another format.", ("not_acceptable",)),
    409: ("The present state, or the money, does not allow it.", ("conflict", "concurrent_change")),
    412: ("Somebody changed it since you fetched it.", ("stale_version",)),
    413: ("The body is too large.", ("too_large",)),
    415: ("The body is of another type.", ("unsupported_media_type",)),
    422: ("The idempotency key was used with another body.", ("idempotency_key_reused",)),
    429: ("Too many requests; see Retry-After.", ("throttled",)),
    503: ("The service is not ready just now; see Retry-After.", ("unavailable",)),
}
CODES_ATTRIBUTE = "problem_codes"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Errors = Mapping[int, Iterable[str]] | Iterable[int]


def operation(
    *,
    summary: str,
    description: str | None = None,
    errors: Errors = (),
    example: Any = None,
    response_example: Any = None,
    **kwargs: Any,
) -> Callable[[Decorated], Decorated]:
    """Describe one operation: `extend_schema` with examples and problem codes in one line.

    `errors` maps a status to the codes of its own ({409: ["insufficient_budget"]}) or lists statuses.
    `example` is a request body that runs on the sample data, `response_example` the answer (one item, for a list).
    `kwargs` are those of drf-spectacular's `extend_schema`: request, responses, parameters, operation_id.
    """
    examples = list(kwargs.pop("examples", None) or [])
    if example is not None:
        examples.append(OpenApiExample("Example", value=example, request_only=True))
    if response_example is not None:
        examples.append(OpenApiExample("Example answer", value=response_example, response_only=True))
    codes = {int(status): tuple(errors[status]) if isinstance(errors, Mapping) else () for status in errors}
    described = extend_schema(summary=summary, description=description, examples=examples or None, **kwargs)

    def decorate(function: Decorated) -> Decorated:
        decorated = described(function)
        setattr(decorated, CODES_ATTRIBUTE, codes)
        return decorated

    return decorate


def operations(**by_action: Callable[[Any], Any]) -> Callable[[type], type]:
    """Describe the operations of a viewset by action, inherited ones included, each by `operation(...)`."""
    return extend_schema_view(**by_action)


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the document describes the bearer token."""

    target_class = "core.api.authentication.TokenAuthentication"
    name = "bearerToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the document describes the session of a browser that is signed in to the back-office."""

    target_class = "core.api.authentication.BrowserSessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class FieldFilterExtension(DjangoFilterExtension):
    """Describes filters by the filter set's own model, which for lists below an object is not the view's."""

    target_class = "core.api.filters.FieldFilterBackend"
    priority = 1

    def get_schema_operation_parameters(self, auto_schema: Any, *args: Any, **kwargs: Any) -> list[Any]:
        filterset_class = getattr(auto_schema.view, "filterset_class", None)
        if filterset_class is None:
            return []
        model = filterset_class._meta.model
        found: list[Any] = []
        with add_trace_message(filterset_class):
            for name, item in filterset_class.base_filters.items():
                found += self.resolve_filter_field(auto_schema, model, filterset_class, name, item)
        return found


class BillingAutoSchema(AutoSchema):
    """drf-spectacular's AutoSchema with the habits of this API."""

    SUMMARIES = {
        "list": "List {many}.",
        "retrieve": "Get one {one}.",
        "create": "Create one {one}.",
        "partial_update": "Change one {one}.",
        "destroy": "Delete one {one}.",
    }

    def get_tags(self) -> list[str]:
        return [TAG]

    def get_summary(self) -> str | None:
        action = getattr(self.view, "action", None)
        queryset = getattr(self.view, "queryset", None)
        template = self.SUMMARIES.get(action or "")
        if template and queryset is not None:
            meta = queryset.model._meta
            return template.format(one=meta.verbose_name, many=meta.verbose_name_plural)
        doc = (getattr(self._handler(), "__doc__", "") or "").strip()
        return doc.splitlines()[0] if doc else None

    def get_request_serializer(self) -> Any:
        chosen = getattr(self.view, "input_serializer_class", None)
        return chosen() if callable(chosen) else super().get_request_serializer()

    def get_response_serializers(self) -> Any:
        chosen = getattr(self.view, "output_serializer_class", None)
        return chosen() if callable(chosen) else super().get_response_serializers()

    def get_override_parameters(self) -> list[Any]:
        parameters = []
        if self._takes_idempotency_key():
            parameters.append(
                OpenApiParameter(
                    "Idempotency-Key",
                    OpenApiTypes.STR,
                    OpenApiParameter.HEADER,
                    description="A key of your choice; a retry with it gets the first answer.",
                    pattern="^[!-~]{1,255}$",
                )
            )
        if self._is_versioned():
            header = "If-None-Match" if self.method == "GET" else "If-Match"
            meaning = (
                "304 if the ETag is still the same."
                if self.method == "GET"
                else "412 unless the ETag is this."
            )
            parameters.append(
                OpenApiParameter(header, OpenApiTypes.STR, OpenApiParameter.HEADER, description=meaning)
            )
            parameters.append(
                OpenApiParameter(
                    "ETag",
                    OpenApiTypes.STR,
                    OpenApiParameter.HEADER,
                    response=[200, 201],
                    description="Its version.",
                )
            )
        return parameters

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        described = super().get_operation(*args, **kwargs)
        if described is not None:
            own = getattr(self._handler(), CODES_ATTRIBUTE, {})
            for status in sorted({*self._usual_statuses(described), *own}):
                described["responses"].setdefault(str(status), self._problem(status, own.get(status, ())))
            if self.method == "GET" and self._is_versioned():
                described["responses"].setdefault("304", {"description": "Unchanged since that ETag."})
        return described

    # --- What an operation answers ---

    def _handler(self) -> Any:
        return getattr(self.view, getattr(self.view, "action", None) or self.method.lower(), None)

    def _is_versioned(self) -> bool:
        if not getattr(self.view, "detail", False) or self.method not in ("GET", "PATCH", "DELETE"):
            return False
        queryset = getattr(self.view, "queryset", None)
        names = {field.name for field in queryset.model._meta.fields} if queryset is not None else set()
        return "version" in names and getattr(self.view, "action", None) in (
            "retrieve",
            "partial_update",
            "destroy",
        )

    def _takes_idempotency_key(self) -> bool:
        takes = getattr(self.view, "takes_idempotency_key", None)
        return bool(callable(takes) and takes(self.method))

    def _is_open(self) -> bool:
        return any(isinstance(item, permissions.AllowAny) for item in self.view.get_permissions())

    def _usual_statuses(self, described: Mapping[str, Any]) -> set[int]:
        statuses = {400, 406, 429}
        changes = self.method not in SAFE_METHODS
        if not self._is_open():
            statuses |= {401, 403}
            if changes:
                statuses |= {409}
        if "{" in self.path or getattr(self.view, "action", None) == "list":
            statuses |= {404}
        if "requestBody" in described:
            statuses |= {413, 415}
        if changes and self._is_versioned():
            statuses |= {412}
        if self._takes_idempotency_key():
            statuses |= {422}
        return statuses

    def _problem(self, status: int, own_codes: Iterable[str]) -> dict[str, Any]:
        component = ResolvedComponent(
            name="Problem", type=ResolvedComponent.SCHEMA, object="Problem", schema=PROBLEM_SCHEMA
        )
        self.registry.register_on_missing(component)
        meaning, usual = PROBLEMS.get(status, (HTTPStatus(status).phrase, ()))
        codes = tuple(dict.fromkeys((*own_codes, *usual)))
        example = {
            "type": f"/problems/{codes[0]}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": meaning,
            "code": codes[0],
            "instance": self.path,
            "errors": [],
        }
        response: dict[str, Any] = {
            "description": f"{meaning} Codes: {', '.join(f'`{code}`' for code in codes)}.",
            "content": {"application/problem+json": {"schema": component.ref, "example": example}},
        }
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
        return response


def close_request_bodies(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Postprocessing: request bodies take no members but the documented ones (`unknown_field`)."""
    for name, schema in result.get("components", {}).get("schemas", {}).items():
        if name.endswith("Request") and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return result


def allow_blank_answers(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Postprocessing: in answers an address that nobody gave is "", which no email or URI format allows."""
    for name, schema in result.get("components", {}).get("schemas", {}).items():
        if not name.endswith("Request"):
            for member in schema.get("properties", {}).values():
                if member.get("format") in ("email", "uri"):
                    del member["format"]
    return result


def drop_enum_marks(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Postprocessing: take out the marks by which drf-spectacular would make components of choices."""
    _drop(result, "x-spec-enum-id")
    return result


def _drop(node: Any, name: str) -> None:
    if isinstance(node, dict):
        node.pop(name, None)
        for value in node.values():
            _drop(value, name)
    elif isinstance(node, list):
        for item in node:
            _drop(item, name)
