"""Addresses for these tests: a resource with every verb, and a view that raises what it is told."""

from collections.abc import Callable
from typing import Any, ClassVar

import psycopg
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import DataError, IntegrityError, OperationalError
from django.http import Http404
from django.urls import include, path, re_path
from django_fsm import ConcurrentTransition, TransitionNotAllowed
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.base import BillingAPIView, BillingModelViewSet
from core.api.filters import BillingFilterSet, filter_fields
from core.api.problems import unknown_path
from core.api.routers import BillingRouter
from core.api.schema import operation
from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    MoneyStringField,
    ScopedRelatedField,
    UTCDateTimeField,
)
from core.errors import Conflict, FieldProblem, Forbidden, RateLimited, Stale
from core.history import record_as
from core.models import User
from entities.models import Entity


class SplitSerializer(BillingSerializer):
    percent = serializers.DecimalField(max_digits=5, decimal_places=2)


class EverythingSerializer(BillingSerializer):
    amount = MoneyStringField(required=False)
    currency = CurrencyField(required=False)
    at = UTCDateTimeField(required=False)
    splits = SplitSerializer(many=True, required=False)
    options = serializers.JSONField(required=False)
    parent_id = ScopedRelatedField(Entity.objects.all(), source="parent", required=False)


class EntitySerializer(BillingModelSerializer):
    class Meta:
        model = Entity
        fields = ["id", "name", "code", "currency", "credit_limit", "parent_id", "created_at", "version"]
        read_only_fields = ["version"]


class EntityFilter(BillingFilterSet):
    class Meta:
        model = Entity
        fields = filter_fields(
            "parent", "consolidated_billing", ranges=["credit_limit", "created_at"], lists=["currency"]
        )


class EntityViewSet(BillingModelViewSet):
    queryset = Entity.objects.all()
    serializer_class = EntitySerializer
    filterset_class = EntityFilter
    search_fields = ("name",)
    ordering_fields = ("name", "code")
    action_permissions = {"rename": "entities.change_entity"}

    def perform_create(self, data: dict[str, Any]) -> Entity:
        return self._save(Entity(**data))

    def perform_update(self, instance: Entity, data: dict[str, Any]) -> Entity:
        for name, value in data.items():
            setattr(instance, name, value)
        return self._save(instance)

    def perform_destroy(self, instance: Entity) -> None:
        with record_as(self.actor):
            instance.delete()

    @operation(summary="List what stands directly below.", responses=EntitySerializer(many=True))
    @action(detail=True, filterset_class=EntityFilter, search_fields=(), ordering_fields=())
    def children(self, request: Request, pk: str) -> Response:
        rows = self.get_object().children.order_by("pk")
        return self.answer_list(rows, EntitySerializer, EntityFilter)

    @action(detail=True, methods=["post"])
    def rename(self, request: Request, pk: str) -> Response:
        entity = self.get_object()
        entity.name += "!"
        return self.answer(self._save(entity))

    def _save(self, entity: Entity) -> Entity:
        with record_as(self.actor):
            entity.save()
        return entity


def _database(kind: type[Exception], cause: Exception) -> Exception:
    error = kind("duplicate key value violates secret_table_key")
    error.__cause__ = cause
    return error


RAISED: dict[str, Callable[[], Exception]] = {
    "conflict": lambda: Conflict(
        "insufficient_budget", "It lacks 5.00.", extra={"missing": "5.00", "status": "not this one"}
    ),
    "fields": lambda: Conflict(
        "blocked", "No.", errors=[FieldProblem("/lines/0/amount", "too_small", "Too small.")]
    ),
    "forbidden": lambda: Forbidden("permission_denied", "Not you."),
    "stale": lambda: Stale("stale_version", "Too late."),
    "limited": lambda: RateLimited("rate_limited", "Slow down.", extra={"retry_after": 7}),
    "http404": lambda: Http404("No secret_table matches."),
    "denied": lambda: PermissionDenied("secret"),
    "suspicious": lambda: SuspiciousOperation("secret"),
    "model": lambda: ModelValidationError({"name": [ModelValidationError("Bad name.", code="bad")]}),
    "transition": lambda: TransitionNotAllowed("secret", object=None, method=None),
    "concurrent": lambda: ConcurrentTransition("secret"),
    "unique": lambda: _database(IntegrityError, psycopg.errors.UniqueViolation()),
    "foreign": lambda: _database(IntegrityError, psycopg.errors.ForeignKeyViolation()),
    "check": lambda: _database(IntegrityError, psycopg.errors.CheckViolation()),
    "data": lambda: DataError("secret"),
    "deadlock": lambda: _database(OperationalError, psycopg.errors.DeadlockDetected()),
    "away": lambda: _database(OperationalError, psycopg.errors.AdminShutdown()),
    "fault": lambda: RuntimeError("secret password=hunter2"),
}


class RaiseView(BillingAPIView):
    def get(self, request: Request, name: str) -> Response:
        raise RAISED[name]()


class EchoView(BillingAPIView):
    def post(self, request: Request) -> Response:
        serializer = EverythingSerializer(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        return Response({name: repr(value) for name, value in serializer.validated_data.items()})


class UploadView(BillingAPIView):
    parser_classes = [MultiPartParser]
    calls: ClassVar[list[str]] = []

    def post(self, request: Request) -> Response:
        content = request.FILES["file"].read().decode()
        self.calls.append(content)
        return Response({"content": content, "note": request.data["note"]}, status=201)


class WhoView(BillingAPIView):
    def get(self, request: Request) -> Response:
        assert isinstance(request.user, User)
        return Response({"username": request.user.username})


def crash(request: object) -> None:
    """A plain Django view with a fault."""
    raise RuntimeError("secret password=hunter2")


router = BillingRouter()
router.register("things", EntityViewSet)

urlpatterns = [
    path(
        "api/",
        include(
            [
                path("", include(router.urls)),
                path("raise/<str:name>", RaiseView.as_view()),
                path("echo", EchoView.as_view()),
                path("upload", UploadView.as_view()),
                path("who", WhoView.as_view()),
                path("crash", crash),
                re_path(r"^(?P<path>.*)$", unknown_path),
            ]
        ),
    ),
]
