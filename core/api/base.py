"""Base of every API view. Doors translate and hold no rules: request → service → response.

A whole resource of an app, in `<app>/api/views.py`::

    @operations(
        create=operation(summary="Draft an invoice.", errors={409: ["nothing_to_bill"]}, example={…}),
        issue=operation(summary="Issue it.", request=None, errors={409: ["already_issued"]}),
    )
    class InvoiceViewSet(CreateMixin, UpdateMixin, BillingViewSet):           # or BillingModelViewSet for all
        queryset = Invoice.objects.select_related("entity")                   # must offer visible_to(user)
        serializer_class = InvoiceSerializer                                  # a BillingModelSerializer
        filterset_class, search_fields, ordering_fields = InvoiceFilter, ("number",), ("issue_date", "total")
        action_permissions = {"issue": "invoicing.issue_invoice"}             # else view_, add_, change_ …

        def perform_create(self, data):
            return invoice_draft(actor=self.actor, **data)                    # data is validated

        def perform_update(self, instance, data):
            return invoice_update(actor=self.actor, invoice=instance, **data)

        @action(detail=True, methods=["post"])
        def issue(self, request, pk):
            return self.answer(invoice_issue(actor=self.actor, invoice=self.get_object()))

    router = BillingRouter(); router.register("invoices", InvoiceViewSet)     # <app>/api/urls.py

What that gives: bearer tokens and sessions; 404 outside the caller's scope and 403 inside without the right
(ENT-04); filters, search, order and pages that refuse what they do not know; ETags from `version`, `If-Match`
(optional; 412 when it differs) and `If-None-Match`; `Idempotency-Key` on every POST and PUT; problem+json;
the OpenAPI entry. Other views (`/dashboard/summary`) derive from `BillingAPIView`. An `If-Match` locks the row
before the service runs; without it the service locks as it does for every door. Only `serializer_class` shows
an object; a different body is declared by `input_serializers = {"create": InvoiceDraftSerializer}`.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2s, sha256
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_cache_control
from django.utils.http import parse_etags
from rest_framework import mixins
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from core.access import require
from core.api.filters import BillingFilterSet, filtered, page_parameters, refuse_unknown_parameters
from core.errors import Invalid, Stale
from core.idempotency import run_idempotent
from core.models import User

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
IDEMPOTENT_METHODS = frozenset({"POST", "PUT"})
ETAG_PATTERN = re.compile(r'(?:W/)?"?(?P<version>[0-9]{1,9})(?:-[0-9a-f]+)?"?')
ACTION_VERBS = {
    "list": "view",
    "retrieve": "view",
    "create": "add",
    "update": "change",
    "partial_update": "change",
    "destroy": "delete",
}


# --- Rights ----------------------------------------------------------------------------------------------


class ActionPermission(BasePermission):
    """Asks for the right that the action needs: on the object where there is one, else in any membership.

    For an action on one object only the object counts, after it has been found in the caller's scope: so what
    is outside of the scope is 404 for everyone.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = view.needed_permission()  # type: ignore[attr-defined]
        if needed is not None and not getattr(view, "detail", False):
            require(request.user, needed)
        return True

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        needed = view.needed_permission()  # type: ignore[attr-defined]
        if needed is not None:
            require(request.user, needed, obj)
        return True


# --- Idempotency and versions ----------------------------------------------------------------------------


class RequestHabitsMixin(APIView):
    """What a request may ask for by headers: idempotency, and a certain version."""

    def takes_idempotency_key(self, method: str) -> bool:
        """Say whether `Idempotency-Key` counts for requests of that method."""
        return method.upper() in IDEMPOTENT_METHODS

    @property
    def actor(self) -> User:
        """Who calls; services take it as `actor`."""
        user = self.request.user
        assert isinstance(user, User)
        return user

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """After the checks, wrap the handler of this request in what its headers ask for."""
        super().initial(request, *args, **kwargs)
        method = (request.method or "").lower()
        handler = getattr(self, method, None)
        if handler is None or method.upper() in SAFE_METHODS:
            return
        if "If-Match" in request.headers:
            # get_object() locks the row; the lock must hold until the service has written.
            handler = transaction.atomic(handler)
        if "Idempotency-Key" in request.headers and self.takes_idempotency_key(method):
            handler = partial(self._answer_once, handler)
        setattr(self, method, handler)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if "Cache-Control" not in response:
            patch_cache_control(response, private=True, no_cache=True)
        data = getattr(response, "data", None)
        if response.status_code in (200, 201) and isinstance(data, Mapping) and "version" in data:
            response.add_post_render_callback(partial(self._tag, request, data["version"]))
        if response.status_code == 201 and isinstance(data, Mapping) and "id" in data:
            response.setdefault("Location", f"{request.path.rstrip('/')}/{data['id']}")
        return response

    def _answer_once(
        self, handler: Callable[..., Response], request: Request, *args: Any, **kwargs: Any
    ) -> Response:
        key = request.headers["Idempotency-Key"].strip()
        if not key:
            raise Invalid(
                "invalid_idempotency_key", "The idempotency key is empty. A random UUID is a good one."
            )

        def run() -> tuple[int, Any]:
            response = handler(request, *args, **kwargs)
            return response.status_code, response.data

        status, body, replayed = run_idempotent(
            user=self.actor,
            key=key,
            scope=f"{request.method} {request.path}",
            body=_body_fingerprint(request),
            handler=run,
        )
        headers = {"Idempotency-Replayed": "true"} if replayed else None
        return Response(body, status=status, headers=headers)

    @staticmethod
    def _tag(request: Request, version: int, response: HttpResponse) -> HttpResponse | None:
        """Set the ETag: the version, which If-Match compares, and a digest of what else the answer shows."""
        etag = f'"{version}-{blake2s(response.content, digest_size=6).hexdigest()}"'
        response["ETag"] = etag
        known = parse_etags(request.headers.get("If-None-Match", ""))
        if request.method in ("GET", "HEAD") and (
            etag in {tag.removeprefix("W/") for tag in known} or "*" in known
        ):
            unchanged = HttpResponseNotModified()
            unchanged["ETag"] = etag
            return unchanged
        return None


def _body_fingerprint(request: Request) -> bytes:
    """Return what must be equal for two requests to be the same one; files count by their content."""
    assert request.negotiator is not None
    parser = request.negotiator.select_parser(request, request.parsers or ())
    if not isinstance(parser, MultiPartParser):
        return request._request.body
    digest = sha256()
    for name, values in sorted(request._request.POST.lists()):
        digest.update(repr((name, values)).encode())
    for name, files in sorted(request._request.FILES.lists()):
        for file in files:
            digest.update(repr((name, file.name, file.size)).encode())
            for chunk in file.chunks():
                digest.update(chunk)
            file.seek(0)
    return digest.digest()


# --- Views -----------------------------------------------------------------------------------------------


class BillingAPIView(RequestHabitsMixin, APIView):
    """A single address that is no resource: derive and write `get`, `post` …

    `permissions_needed` names the right per method ({"GET": "reporting.view_dashboard"}); without an entry
    everyone who is signed in may call.
    """

    permission_classes = [IsAuthenticated, ActionPermission]
    permissions_needed: ClassVar[Mapping[str, str]] = {}

    def needed_permission(self) -> str | None:
        """Return the right that this request needs."""
        return self.permissions_needed.get(self.request.method or "")


class BillingViewSet(RequestHabitsMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    """A resource that is listed and read; add CreateMixin, UpdateMixin, DestroyMixin for what else it has."""

    permission_classes = [IsAuthenticated, ActionPermission]
    lookup_value_regex = "[0-9]{1,18}"

    #: Rights of actions that differ from view_/add_/change_/delete_; None: everyone who is signed in.
    action_permissions: ClassVar[Mapping[str, str | None]] = {}
    #: Serializers of bodies that differ from `serializer_class`, by action.
    input_serializers: ClassVar[Mapping[str, type[BaseSerializer[Any]]]] = {}
    #: Serializers of answers that differ from `serializer_class`, by action.
    output_serializers: ClassVar[Mapping[str, type[BaseSerializer[Any]]]] = {}
    #: Query parameters of the list that no filter set, search, order or page declares.
    extra_parameters: ClassVar[tuple[str, ...]] = ()

    # --- Scope and rights ---

    def get_queryset(self) -> QuerySet[Any]:
        queryset = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        visible_to = getattr(queryset, "visible_to", None)
        if visible_to is None:
            raise ImproperlyConfigured(f"{queryset.model.__name__} needs a queryset with visible_to(user).")
        return visible_to(self.request.user)

    def needed_permission(self) -> str | None:
        """Return the right that the action needs: its own, or the model's for its kind."""
        action = self.action
        if not action:
            return None  # A method that the address does not know: 405 follows.
        if action in self.action_permissions:
            return self.action_permissions[action]
        verb = ACTION_VERBS.get(action)
        if verb is None and self.request.method in SAFE_METHODS:
            verb = "view"
        if verb is None:
            raise ImproperlyConfigured(
                f"{type(self).__name__}: name the right of {action!r} in action_permissions."
            )
        # The stubs take a manager, which queryset may be, for a descriptor of models.
        queryset: Any = self.queryset  # type: ignore[arg-type]
        meta = queryset.model._meta
        return f"{meta.app_label}.{verb}_{meta.model_name}"

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filters are for lists: one object is found by its id alone."""
        return queryset if self.detail else super().filter_queryset(queryset)

    def get_object(self) -> Any:
        instance = super().get_object()
        if self.request.method not in SAFE_METHODS and "If-Match" in self.request.headers:
            self._expect_version(instance)
        return instance

    def _expect_version(self, instance: models.Model) -> None:
        """Lock the row and raise Stale unless it has a version that If-Match names."""
        wanted = self.request.headers["If-Match"].strip()
        if wanted == "*" or not hasattr(instance, "version"):
            return
        rows = type(instance)._base_manager.select_for_update(of=("self",)).filter(pk=instance.pk)
        version = rows.values_list("version", flat=True).first()
        tags = (ETAG_PATTERN.fullmatch(tag.strip()) for tag in wanted.split(","))
        if version not in {int(tag["version"]) for tag in tags if tag}:
            raise Stale(
                "stale_version",
                "Somebody changed this record since you fetched it. Fetch it again, then repeat your change.",
                extra={"version": version},
            )

    # --- Bodies and answers ---

    def input_serializer_class(self) -> type[BaseSerializer[Any]]:
        """Return what reads the body of this action."""
        return self.input_serializers.get(self.action or "") or self.get_serializer_class()

    def output_serializer_class(self) -> type[BaseSerializer[Any]]:
        """Return what shows the answer of this action."""
        return self.output_serializers.get(self.action or "") or self.get_serializer_class()

    def get_serializer(self, *args: Any, **kwargs: Any) -> BaseSerializer[Any]:
        """REST framework's list and retrieve show by this."""
        kwargs.setdefault("context", self.get_serializer_context())
        return self.output_serializer_class()(*args, **kwargs)

    def validated(self, *, instance: Any = None, partial: bool = False) -> dict[str, Any]:
        """Return the validated body of this action, or raise what becomes 400."""
        serializer = self.input_serializer_class()(
            instance, data=self.request.data, partial=partial, context=self.get_serializer_context()
        )
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def answer_list(
        self,
        rows: QuerySet[Any],
        serializer_class: type[BaseSerializer[Any]],
        filterset_class: type[BillingFilterSet] | None = None,
    ) -> Response:
        """Show a page of the rows below an object (the lines of an invoice), which the caller may see.

        For the document: `@action(detail=True, filterset_class=…, search_fields=(), ordering_fields=())` and
        `operation(responses=LineSerializer(many=True))`.
        """
        known = page_parameters(self) | set(filterset_class.base_filters if filterset_class else ())
        refuse_unknown_parameters(self.request, known)
        if filterset_class is not None:
            rows = filtered(self.request, rows, filterset_class)
        page = self.paginate_queryset(rows)
        shown = serializer_class(page, many=True, context=self.get_serializer_context())
        return self.get_paginated_response(shown.data)

    def answer(self, instance: Any, status: int = 200) -> Response:
        """Show an object that a service returned, read anew with all that the list's queryset adds."""
        if isinstance(instance, models.Model):
            instance = self.get_queryset().filter(pk=instance.pk).first() or instance
        return Response(self.get_serializer(instance).data, status=status)


class CreateMixin:
    """POST on the list: `perform_create` calls the service and returns the new object."""

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        instance = self.perform_create(self.validated())  # type: ignore[attr-defined]
        return self.answer(instance, status=201)  # type: ignore[attr-defined, no-any-return]

    def perform_create(self, data: dict[str, Any]) -> Any:
        """Call the service that creates: `return entity_create(actor=self.actor, **data)`."""
        raise NotImplementedError


class UpdateMixin:
    """PATCH: `perform_update` calls the service with what was sent and returns the changed object."""

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        instance = self.get_object()  # type: ignore[attr-defined]
        data = self.validated(instance=instance, partial=True)  # type: ignore[attr-defined]
        return self.answer(self.perform_update(instance, data))  # type: ignore[attr-defined, no-any-return]

    def perform_update(self, instance: Any, data: dict[str, Any]) -> Any:
        """Call the service that changes: `return entity_update(actor=self.actor, entity=instance, **data)`"""
        raise NotImplementedError


class DestroyMixin:
    """DELETE: `perform_destroy` calls the service; what others depend on is 409 `in_use`."""

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.perform_destroy(self.get_object())  # type: ignore[attr-defined]
        return Response(status=204)

    def perform_destroy(self, instance: Any) -> None:
        """Call the service that deletes: `entity_delete(actor=self.actor, entity=instance)`."""
        raise NotImplementedError


class BillingModelViewSet(CreateMixin, UpdateMixin, DestroyMixin, BillingViewSet):
    """A resource that is listed, read, created, changed and deleted."""
