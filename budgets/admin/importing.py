"""The pages by which next year's budgets come from Excel: template, upload, preview with errors per cell, confirm."""

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from django import forms
from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.widgets import UnfoldAdminFileFieldWidget

from budgets.models import Budget
from budgets.spreadsheet import (
    COLUMNS,
    FILE_LIMIT,
    CheckedRow,
    SheetRow,
    check_rows,
    column_letter,
    import_budgets,
    read_sheet,
    write_template,
)
from core import clock
from core.admin.base import BillingModelAdmin
from core.admin.errors import REFUSALS, add_refusal, sentences
from core.admin.export import FORMATS
from core.history import Channel, acting
from core.models import User

SALT = "budgets.import"
GOOD_FOR_SECONDS = 60 * 60
PROBLEMS_SHOWN = 200


class SheetForm(forms.Form):
    """The filled-in sheet."""

    file = forms.FileField(
        label="Excel file",
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".xlsx"}),
        help_text="One row per budget, at most 500.",
    )

    def clean_file(self) -> Any:
        """Refuse what is too large to be such a sheet."""
        file = self.cleaned_data["file"]
        if file.size > FILE_LIMIT:
            raise forms.ValidationError(f"At most {FILE_LIMIT // 1024 // 1024} MB. Split the file.")
        return file


@dataclass(frozen=True)
class ShownCell:
    """A cell of the preview: what it says and what is wrong with it."""

    text: str
    problem: str
    is_number: bool


class ImportMixin(BillingModelAdmin):
    """Adds the pages to the list of budgets."""

    list_before_template = "admin/budgets/list_before.html"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("import/", view(self.import_view), name="budgets_budget_import"),
            path("import/template.xlsx", view(self.template_view), name="budgets_budget_import_template"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        link = reverse("admin:budgets_budget_import") if self.has_add_permission(request) else ""
        return super().changelist_view(request, {**(extra_context or {}), "import_url": link})

    def _require_add(self, request: HttpRequest) -> User:
        if not self.has_add_permission(request) or not isinstance(request.user, User):
            raise PermissionDenied
        return request.user

    def template_view(self, request: HttpRequest) -> HttpResponseBase:
        """The sheet to fill in; `?from=current` has the running budgets, moved on by one year."""
        user = self._require_add(request)
        budgets: list[Budget] = []
        if request.GET.get("from") == "current":
            rows = Budget.objects.visible_to(user, "budgets.add_budget").covering(clock.today())
            budgets = list(rows.select_related("entity", "department").order_by("entity__code", "name")[:500])
        file = BytesIO()
        write_template(file, budgets=budgets)
        file.seek(0)
        return FileResponse(file, as_attachment=True, filename="budgets.xlsx", content_type=FORMATS["xlsx"])

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """GET asks for the file; POST shows what is in it, or makes what was shown."""
        user = self._require_add(request)
        if "rows" in request.POST:
            return self._confirm(request, user)
        form = SheetForm(request.POST, request.FILES) if request.method == "POST" else SheetForm()
        context: dict[str, Any] = {}
        status = 200
        if request.method == "POST":
            status = 400
            if form.is_valid():
                try:
                    rows = read_sheet(form.cleaned_data["file"])
                    checked = check_rows(rows, actor=user)
                except REFUSALS as error:
                    add_refusal(form, error)
                else:
                    context = _preview(rows, checked, user)
                    status = 400 if context["problems"] else 200
        return self._page(request, {**context, "form": form}, status)

    def _confirm(self, request: HttpRequest, user: User) -> HttpResponse:
        try:
            rows = unpack_rows(request.POST["rows"], user)
        except signing.BadSignature:
            messages.error(request, "The preview is too old, or it is not yours. Upload the file again.")
            return redirect("admin:budgets_budget_import")
        try:
            with acting(channel=Channel.IMPORT, reason="Imported from Excel"):
                made = import_budgets(rows, actor=user)
        except REFUSALS as error:
            messages.error(request, " ".join(sentences(error)))
            return redirect("admin:budgets_budget_import")
        what = "1 draft is" if len(made) == 1 else f"{len(made)} drafts are"
        messages.success(request, f"{what} made. Look them over, select them, and open them.")
        keys = ",".join(str(budget.pk) for budget in made)
        return redirect(f"{reverse('admin:budgets_budget_changelist')}?id__in={keys}")

    def _page(self, request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
        page = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Import from Excel",
            "media": self.media + context["form"].media,
            "columns": [(column_letter(column.name), column) for column in COLUMNS],
            "template_url": reverse("admin:budgets_budget_import_template"),
            "back": reverse("admin:budgets_budget_changelist"),
            **context,
        }
        return TemplateResponse(request, "admin/budgets/import.html", page, status=status)


def pack_rows(rows: list[SheetRow], user: User) -> str:
    """The rows as signed text that only this person can send back, for an hour."""
    content = {"user": user.pk, "rows": [[row.number, row.cells] for row in rows]}
    return signing.dumps(json.dumps(content), salt=SALT, compress=True)


def unpack_rows(text: str, user: User) -> list[SheetRow]:
    """What `pack_rows` packed; raises BadSignature for anything else."""
    content = json.loads(signing.loads(text, salt=SALT, max_age=GOOD_FOR_SECONDS))
    if content["user"] != user.pk:
        raise signing.BadSignature("packed by another person")
    return [
        SheetRow(number, {name: (kind, said) for name, (kind, said) in cells.items()})
        for number, cells in content["rows"]
    ]


def _preview(rows: list[SheetRow], checked: list[CheckedRow], user: User) -> dict[str, Any]:
    used = [column for column in COLUMNS if any(column.name in row.cells for row in rows) or column.required]
    problems = [problem for each in checked for problem in each.problems]
    return {
        "used_columns": used,
        "preview": [
            (
                each.row.number,
                [_shown(each, column.name) for column in used],
                each.problem_of(""),
                bool(each.problems),
            )
            for each in checked
        ],
        "problems": problems[:PROBLEMS_SHOWN],
        "problem_count": len(problems),
        "wrong_rows": sum(1 for each in checked if each.problems),
        "row_count": len(checked),
        "rows": "" if problems else pack_rows(rows, user),
    }


def _shown(checked: CheckedRow, name: str) -> ShownCell:
    kind, text = checked.row.cells.get(name, ("empty", ""))
    return ShownCell(text=text, problem=checked.problem_of(name), is_number=kind == "number")
