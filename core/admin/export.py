"""Export exactly what the filters leave, as CSV or XLSX, with typed and formula-safe cells."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import chain
from tempfile import TemporaryFile
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import label_for_field, lookup_field
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import models
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.urls import path, reverse
from django.utils.html import strip_tags
from django.utils.safestring import SafeString

from core import clock
from core.admin.filters import drop_own_parameters
from core.spreadsheets import Value, csv_lines, write_xlsx

FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
Column = tuple[str, Callable[[Any], Any]]


def _cell(value: Any) -> Value:
    """Numbers, dates and flags keep their type; anything else is its text, without HTML."""
    if value is None or isinstance(value, (bool, int, Decimal, date)):
        return value
    return strip_tags(str(value)) if isinstance(value, SafeString) else str(value)


class ExportMixin(admin.ModelAdmin):
    """Buttons above the list; `export_fields` names the columns where the list's own are not enough."""

    export_fields: Sequence[Any] = ()

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        view = self.admin_site.admin_view(self.export_view)
        return [path("export.<slug:kind>", view, name=name), *super().get_urls()]

    def export_columns(self, request: HttpRequest) -> list[Column]:
        """Return heading and reader of every column; an amount brings its currency in a column of its own."""
        columns: list[Column] = []
        for name in self.export_fields or self.get_list_display(request):
            if name == "action_checkbox":
                continue
            heading = str(label_for_field(name, self.model, model_admin=self))
            columns.append((heading[:1].upper() + heading[1:], self._reader(name)))
            currency = getattr(name, "export_currency", None)
            if currency is not None and "Currency" not in {title for title, _ in columns}:
                columns.append(("Currency", currency))
        return columns

    def _reader(self, name: Any) -> Callable[[Any], Any]:
        value_of = getattr(name, "export_value", None)
        if value_of is not None:
            return value_of  # type: ignore[no-any-return]  # columns.py gives it

        def read(obj: Any) -> Any:
            try:
                field, _attr, value = lookup_field(name, obj, self)
            except ObjectDoesNotExist:
                return ""
            if isinstance(field, models.ForeignKey):
                related = getattr(obj, field.name)
                return "" if related is None else str(related)
            choices = dict(getattr(field, "flatchoices", None) or [])
            return choices.get(value, value)

        return read

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """Answer with the file; the query string is the list's own."""
        if kind not in FORMATS:
            raise Http404("Lists are exported as csv or xlsx.")
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        drop_own_parameters(request)
        queryset = self.get_changelist_instance(request).get_queryset(request)
        columns = self.export_columns(request)
        return self.table_file(kind, [title for title, _ in columns], self._rows_of(queryset, columns))

    @staticmethod
    def _rows_of(queryset: Any, columns: Sequence[Column]) -> Iterator[list[Value]]:
        for obj in queryset.iterator(chunk_size=500):
            yield [_cell(read(obj)) for _, read in columns]

    def table_file(self, kind: str, header: Sequence[str], rows: Iterator[list[Value]]) -> HttpResponseBase:
        """Answer with rows as a file of that kind, one of FORMATS, named after the model and the day."""
        name = f"{self.opts.verbose_name_plural}-{clock.today().isoformat()}.{kind}".replace(" ", "-").lower()
        response: HttpResponseBase
        if kind == "csv":
            # The mark tells spreadsheets that the file is UTF-8.
            lines = chain(["\ufeff"], csv_lines(header, rows))
            response = StreamingHttpResponse(lines, content_type=FORMATS[kind])
            response["Content-Disposition"] = f'attachment; filename="{name}"'
            return response
        target = TemporaryFile()  # noqa: SIM115  (FileResponse closes it)
        write_xlsx(target, header, rows, title=str(self.opts.verbose_name_plural).capitalize())
        target.seek(0)
        return FileResponse(target, as_attachment=True, filename=name, content_type=FORMATS[kind])

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_export"
            query = request.GET.urlencode()
            context["export_links"] = [
                (kind.upper(), f"{reverse(name, args=[kind])}?{query}") for kind in FORMATS
            ]
        return response
