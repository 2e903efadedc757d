"""Filters of lists: by field, by range (`_gte`, `_lte`), by search, in an order.

A parameter that a list does not know is refused (400 `unknown_parameter`): a filter that is mistyped must
not silently return everything.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import django_filters
from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from django_filters.rest_framework import FilterSet as RestFilterSet
from django_filters.rest_framework.filterset import FILTER_FOR_DBFIELD_DEFAULTS
from django_filters.utils import translate_validation
from rest_framework import filters
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

# REST framework's settings name this module, so its views cannot be imported while it loads.
if TYPE_CHECKING:
    from rest_framework.views import APIView

RANGE_LOOKUPS = ("exact", "gte", "lte")
FLAT_LOOKUPS = frozenset({"gte", "lte", "in", "isnull"})


class IdFilter(django_filters.NumberFilter):
    """Filters by the id of a record; one that is out of scope or does not exist matches nothing."""

    field_class = forms.IntegerField


class StrictBooleanField(forms.Field):
    """true or false; anything else is refused instead of being taken for "not given"."""

    WORDS = {"true": True, "1": True, "false": False, "0": False}

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        try:
            return self.WORDS[str(value).lower()]
        except KeyError as error:
            raise forms.ValidationError("Give true or false.", code="invalid") from error


class BooleanFilter(django_filters.BooleanFilter):
    """Filters by true or false."""

    field_class = StrictBooleanField


def filter_fields(*exact: str, ranges: Iterable[str] = (), lists: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return `Meta.fields` of a filter set.

    `exact` gives `?field=`, `ranges` gives `?field=`, `?field_gte=` and `?field_lte=`, `lists` gives
    `?field=` and `?field_in=a,b`. A foreign key is named by the model's field ("entity") and filters as `entity_id`.
    """
    lookups: dict[str, list[str]] = {}
    for names, kinds in ((exact, ("exact",)), (ranges, RANGE_LOOKUPS), (lists, ("exact", "in"))):
        for name in names:
            own = lookups.setdefault(name, [])
            own.extend(kind for kind in kinds if kind not in own)
    return lookups


class BillingFilterSet(RestFilterSet):
    """Base of all filter sets::

    class InvoiceFilter(BillingFilterSet):
        class Meta:
            model = Invoice
            fields = filter_fields("entity", "currency", ranges=["total", "issue_date"], lists=["status"])
    """

    FILTER_DEFAULTS = {
        **FILTER_FOR_DBFIELD_DEFAULTS,
        models.BooleanField: {"filter_class": BooleanFilter},
        models.ForeignKey: {"filter_class": IdFilter},
        models.OneToOneField: {"filter_class": IdFilter},
    }

    @classmethod
    def get_filter_name(cls, field_name: str, lookup_expr: str) -> str:
        model_field = cls._meta.model and django_filters.utils.get_model_field(cls._meta.model, field_name)
        name = f"{field_name}_id" if isinstance(model_field, models.ForeignKey) else field_name
        if lookup_expr in FLAT_LOOKUPS:
            return f"{name}_{lookup_expr}"
        return super().get_filter_name(name, lookup_expr)


class FieldFilterBackend(DjangoFilterBackend):
    """django-filter's backend; only a declared `filterset_class` filters."""

    def get_filterset_class(self, view: "APIView", queryset: QuerySet[Any] | None = None) -> Any:
        if getattr(view, "filterset_fields", None):
            raise ImproperlyConfigured(
                f"{type(view).__name__}: declare a filterset_class, not filterset_fields."
            )
        return getattr(view, "filterset_class", None)


class SearchFilter(filters.SearchFilter):
    """`search`, over the view's `search_fields`; a view without them has no such parameter."""

    def get_schema_operation_parameters(self, view: "APIView") -> list[dict[str, Any]]:
        if not getattr(view, "search_fields", None):
            return []
        return super().get_schema_operation_parameters(view)


class OrderingFilter(filters.OrderingFilter):
    """`ordering`, by the view's `ordering_fields` only, with the primary key last so that pages are stable."""

    def get_valid_names(self, view: "APIView") -> tuple[str, ...]:
        """Return what the list can be ordered by."""
        return tuple(getattr(view, "ordering_fields", None) or ())

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: "APIView") -> tuple[str, ...]:
        terms = [
            term.strip()
            for term in request.query_params.get(self.ordering_param, "").split(",")
            if term.strip()
        ]
        valid = self.get_valid_names(view)
        unknown = [term for term in terms if term.removeprefix("-") not in valid]
        if unknown:
            message = f"Cannot order by {unknown[0]!r}; choose from {', '.join(valid)}."
            raise ValidationError({self.ordering_param: [ErrorDetail(message, code="unknown_ordering")]})
        ordering: Sequence[str] = terms or self.get_default_ordering(view) or ("-pk",)
        if {"pk", "-pk", "id", "-id"} & set(ordering):
            return tuple(ordering)
        return (*ordering, "-pk" if ordering[0].startswith("-") else "pk")

    def get_schema_operation_parameters(self, view: "APIView") -> list[dict[str, Any]]:
        valid = self.get_valid_names(view)
        if not valid:
            return []
        return [
            {
                "name": self.ordering_param,
                "required": False,
                "in": "query",
                "description": f"Comma separated, - for descending: {', '.join(valid)}.",
                "schema": {"type": "string", "pattern": _ordering_pattern(valid)},
            }
        ]


def _ordering_pattern(valid: Iterable[str]) -> str:
    term = f"-?({'|'.join(valid)})"
    return f"^{term}(,{term})*$"


def refuse_unknown_parameters(request: Request, known: set[str]) -> None:
    """Raise 400 `unknown_parameter` for every query parameter that is not known."""
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        choice = ", ".join(sorted(known)) or "none"
        raise ValidationError(
            {
                name: [
                    ErrorDetail(
                        f"There is no parameter {name[:80]!r}; known: {choice}.", code="unknown_parameter"
                    )
                ]
                for name in unknown
            }
        )


def page_parameters(view: "APIView") -> set[str]:
    """Return the names of the parameters by which the view's lists are paged."""
    paginator = getattr(view, "paginator", None)
    return {item["name"] for item in paginator.get_schema_operation_parameters(view)} if paginator else set()


def filtered(request: Request, rows: QuerySet[Any], filterset_class: type[BillingFilterSet]) -> QuerySet[Any]:
    """Return the rows that the query parameters leave, or raise 400 with the refused values."""
    filterset = filterset_class(request.query_params, queryset=rows, request=request)
    if not filterset.is_valid():
        raise translate_validation(filterset.errors)
    return filterset.qs


class KnownParametersBackend(filters.BaseFilterBackend):
    """Refuses query parameters that the list does not know.

    Known are those of the filter set, of the other filter backends and of the pages, and the view's
    `extra_parameters`.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: "APIView") -> QuerySet[Any]:
        if request.query_params:
            refuse_unknown_parameters(request, self.known_parameters(view, queryset))
        return queryset

    @staticmethod
    def known_parameters(view: "APIView", queryset: QuerySet[Any]) -> set[str]:
        """Return the names that `?name=` may have on this list."""
        known = set(getattr(view, "extra_parameters", ())) | page_parameters(view)
        filterset_class = FieldFilterBackend().get_filterset_class(view, queryset)
        if filterset_class is not None:
            known |= set(filterset_class.base_filters)
        for backend in (SearchFilter, OrderingFilter):
            known |= {item["name"] for item in backend().get_schema_operation_parameters(view)}
        return known
