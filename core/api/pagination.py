"""Pages of lists. They stand in a module of their own: viewsets and settings both import them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError as FieldValidationError
from django.core.paginator import InvalidPage
from django.db.models import QuerySet
from rest_framework import pagination
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request

# REST framework's settings name this module, so its views cannot be imported while it loads.
if TYPE_CHECKING:
    from rest_framework.views import APIView

PAGE_SIZE = 25
MAX_PAGE_SIZE = 200
# More digits than any page has; longer ones are not worth turning into a number.
MAX_DIGITS = 18


def positive_integer(request: Request, name: str, default: int) -> int:
    """Return a query parameter as a whole number of at least 1, or refuse it with 400."""
    text = request.query_params.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise ValidationError({name: [f"{name} must be a whole number of at least 1."]}, code="invalid")
    digits = text.lstrip("0")
    return int(digits) if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS


class PageNumberPagination(pagination.PageNumberPagination):
    """`page` and `page_size` (25, at most 200); a page beyond the end is 404."""

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE

    def get_page_size(self, request: Request) -> int:
        return min(positive_integer(request, "page_size", PAGE_SIZE), MAX_PAGE_SIZE)

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: "APIView | None" = None
    ) -> list[Any] | None:
        self.request = request
        number = positive_integer(request, "page", 1)
        paginator = self.django_paginator_class(queryset, self.get_page_size(request))
        try:
            self.page = paginator.page(number)
        except InvalidPage as error:
            message = f"There is no page {number}; the last one is {paginator.num_pages}."
            raise NotFound(message, code="page_not_found") from error
        return list(self.page)

    def get_schema_operation_parameters(self, view: "APIView") -> list[dict[str, Any]]:
        return [
            {
                "name": "page",
                "in": "query",
                "required": False,
                "description": "Which page, from 1. A page beyond the end is 404.",
                "schema": {"type": "integer", "minimum": 1},
            },
            {
                "name": "page_size",
                "in": "query",
                "required": False,
                "description": "How many on a page; more than 200 gives 200.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
            },
        ]


class AppendOnlyPagination(pagination.CursorPagination):
    """For long append-only lists: newest first by cursor, without counting, stable while rows arrive."""

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE
    ordering = "-id"

    def get_page_size(self, request: Request) -> int:
        return min(positive_integer(request, "page_size", PAGE_SIZE), MAX_PAGE_SIZE)

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: "APIView") -> tuple[str, ...]:
        """The order is the list's own: a cursor made for one order means nothing in another."""
        ordering = getattr(view, "cursor_ordering", self.ordering)
        return (ordering,) if isinstance(ordering, str) else tuple(ordering)

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: "APIView | None" = None
    ) -> list[Any] | None:
        assert view is not None
        assert isinstance(queryset, QuerySet)
        cursor = self.decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            name = self.get_ordering(request, queryset, view)[0].lstrip("-")
            try:
                queryset.model._meta.get_field(name).to_python(cursor.position)
            except FieldValidationError as error:
                raise NotFound(self.invalid_cursor_message, code="page_not_found") from error
        return super().paginate_queryset(queryset, request, view)

    def get_schema_operation_parameters(self, view: "APIView") -> list[dict[str, Any]]:
        return [
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "description": "Where to go on; taken from `next` or `previous` of an earlier answer.",
                "schema": {"type": "string"},
            },
            PageNumberPagination().get_schema_operation_parameters(view)[1],
        ]
