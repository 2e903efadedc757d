"""Bank statements in the back-office: upload, proposals with reasons, accept, split, ignore, take back."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from core.admin.badges import Badge, badge_column, badge_html, register_badges
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, money_column, number_column
from core.admin.errors import REFUSALS, add_refusal, sentences
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from core.admin.upload import UploadForm, UploadResult, upload_page
from entities.admin.base import actor_of
from entities.models import Entity
from invoicing.admin.allocation import SHOWN, AmountsForm, open_documents, shown_proposal
from invoicing.bank.csv_file import FIELDS
from invoicing.models import BankStatement, BankTransaction, BankTransactionStatus
from invoicing.selectors.bank_matching import Proposal, transaction_proposals
from invoicing.selectors.receivables import payers_with_accounts
from invoicing.services.bank import (
    bank_statement_accept_certain,
    bank_statement_import,
    bank_transaction_ignore,
    bank_transaction_match,
    bank_transaction_undo,
)

register_badges(
    {
        "matched": Badge("Matched", "link", "good", "✓"),
        "ignored": Badge("Ignored", "block", "neutral", "⊘"),
    }
)


class BankUploadForm(UploadForm):
    """The file, whose account it is of, and the columns of a CSV that speaks another language."""

    issuer = forms.ModelChoiceField(Entity.objects.none(), widget=UnfoldAdminSelectWidget())
    currency = forms.CharField(
        required=False,
        max_length=3,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Of the account of a CSV file; empty: the issuer's.",
    )
    other_account = forms.BooleanField(
        required=False,
        label="It is another account of the issuer",
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Tick it if the file's IBAN is not the one on the issuer's documents.",
    )
    columns = forms.CharField(
        required=False,
        label="Columns of the CSV",
        widget=UnfoldAdminTextInputWidget(),
        help_text=f"Only if they are not recognised: date=…; amount=…. Known: {', '.join(FIELDS)}.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        issuers: Any = self.fields["issuer"]
        issuers.queryset = Entity.objects.issuers().order_by("name")

    def clean_columns(self) -> dict[str, str]:
        pairs = [part.partition("=") for part in self.cleaned_data["columns"].split(";") if part.strip()]
        found = {name.strip(): value.strip() for name, _, value in pairs}
        unknown = sorted(set(found) - set(FIELDS))
        if unknown:
            raise forms.ValidationError(f"“{unknown[0]}” is none of {', '.join(FIELDS)}.")
        return found


@admin.register(BankStatement)
class BankStatementAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """The files that were read in; each opens as the list of what is to be matched."""

    list_display = [
        "file_name", "issuer", "account_iban", "first_day", "last_day", number_column("rows_read", label="Rows"),
        number_column("open_count", label="Open"), number_column("matched_count", label="Matched"), "created_at",
    ]  # fmt: skip
    list_filter = ["issuer", "file_format", "last_day"]
    list_select_related = ["issuer"]
    search_fields = ["file_name", "account_iban"]
    quick_filters = [QuickFilter("With open transactions", "to_do=yes", icon="pending_actions")]
    empty_state = EmptyState(
        "No bank statements yet",
        "Read in what the bank sends (CAMT.053 or CSV): each payment is proposed to the invoices that it settles.",
        "Upload a bank statement",
        "admin:invoicing_bankstatement_upload",
    )

    def get_list_filter(self, request: HttpRequest) -> Any:
        return [ToDoFilter, *super().get_list_filter(request)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return rows.annotate(
            open_count=Count("transactions", filter=Q(transactions__status=BankTransactionStatus.OPEN)),
            matched_count=Count("transactions", filter=Q(transactions__status=BankTransactionStatus.MATCHED)),
        )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("upload/", view(self.upload_view), name="invoicing_bankstatement_upload"),
            path(
                "<int:pk>/accept-certain/",
                view(self.accept_view),
                name="invoicing_bankstatement_accept_certain",
            ),
            path(
                "<int:pk>/transactions/<int:row>/",
                view(self.row_view),
                name="invoicing_bankstatement_transaction",
            ),
            *super().get_urls(),
        ]

    def upload_view(self, request: HttpRequest) -> HttpResponse:
        return upload_page(
            request,
            self,
            perm="invoicing.add_bankstatement",
            form_class=BankUploadForm,
            title="Upload a bank statement",
            intro="CAMT.053 (XML) or CSV. A file and a transaction are read in once; nothing is booked by uploading.",
            run=self._upload,
        )

    @staticmethod
    def _upload(request: HttpRequest, data: Mapping[str, Any]) -> UploadResult:
        statement = bank_statement_import(
            actor=actor_of(request),
            issuer=data["issuer"],
            file_name=data["file"].name,
            content=data["file"].read(),
            mapping=data["columns"],
            currency=data["currency"].upper(),
            other_account=data["other_account"],
        )
        known = f" {statement.rows_known} were known already." if statement.rows_known else ""
        return UploadResult(
            f"{statement.rows_read} transactions were read in.{known}",
            reverse("admin:invoicing_bankstatement_change", args=[statement.pk]),
        )

    def _found(self, request: HttpRequest, pk: int) -> BankStatement:
        statement = self.get_queryset(request).select_related("issuer").filter(pk=pk).first()
        if statement is None:
            raise Http404("There is no such bank statement, or it is outside your scope.")
        return statement  # type: ignore[no-any-return]

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The transactions with their proposals; reading changes nothing."""
        if object_id is None or not str(object_id).isdigit():
            return redirect("admin:invoicing_bankstatement_upload")
        statement = self._found(request, int(object_id))
        rows = list(
            statement.transactions.select_related("payment__entity").order_by(
                F("status").desc(), "line_number"
            )[:SHOWN]
        )
        waiting = [row for row in rows if row.status == BankTransactionStatus.OPEN]
        proposals = transaction_proposals(statement.issuer_id, waiting)
        may_match = may(request.user, "invoicing.add_payment", statement.issuer)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(statement),
            "statement": statement,
            "rows": [self._shown(row, proposals.get(row.pk, [])) for row in rows],
            "certain": sum(1 for found in proposals.values() if found and found[0].certain),
            "more": statement.rows_read - statement.rows_known > SHOWN,
            "may_match": may_match,
        }
        return TemplateResponse(request, "admin/invoicing/bank_statement.html", context)

    @staticmethod
    def _shown(row: BankTransaction, proposals: Sequence[Proposal]) -> dict[str, Any]:
        return {
            "row": row,
            "amount": amount_html(row.amount, row.currency),
            "badge": badge_html(row.status),
            "url": reverse("admin:invoicing_bankstatement_transaction", args=[row.statement_id, row.pk]),
            "proposals": [shown_proposal(proposal, row.currency) for proposal in proposals],
        }

    def accept_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """POST only: match all that is certain, and say what became of each."""
        statement = self._found(request, pk)
        back = redirect("admin:invoicing_bankstatement_change", pk)
        if request.method != "POST":
            return back
        if not may(request.user, "invoicing.add_payment", statement.issuer):
            raise PermissionDenied
        results = bank_statement_accept_certain(actor=actor_of(request), statement=statement)
        matched = sum(1 for result in results if result.payment_id)
        messages.success(request, f"{matched} of {len(results)} certain matches were booked.")
        for result in results:
            if result.refusal:
                messages.error(request, f"{result.transaction}: {result.refusal}")
        return back

    def row_view(self, request: HttpRequest, pk: int, row: int) -> HttpResponse:
        """One transaction: accept a proposal, split it over documents by hand, ignore it, or take it back."""
        statement = self._found(request, pk)
        found = statement.transactions.select_related("issuer", "payment__entity").filter(pk=row).first()
        if found is None:
            raise Http404("The statement has no such transaction.")
        is_post = request.method == "POST"
        payer_id = (request.POST if is_post else request.GET).get("entity", "")
        form = SplitForm(actor_of(request), found, request.POST if is_post else None, payer_id=payer_id)
        if is_post:
            try:
                message = self._do(request, found, form)
            except REFUSALS as error:
                add_refusal(form, error) if form.is_valid() else messages.error(
                    request, " ".join(sentences(error))
                )
            else:
                if message:
                    messages.success(request, message)
                    return redirect("admin:invoicing_bankstatement_change", pk)
        waiting = found.status == BankTransactionStatus.OPEN
        proposals = transaction_proposals(statement.issuer_id, [found])[found.pk] if waiting else []
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(found),
            "statement": statement,
            "transaction": found,
            "amount": amount_html(found.amount, found.currency),
            "badge": badge_html(found.status),
            "form": form,
            "is_open": waiting,
            "is_out": found.amount <= 0,
            "may_match": may(request.user, "invoicing.add_payment", statement.issuer),
            "proposals": [shown_proposal(proposal, found.currency) for proposal in proposals],
            "back": reverse("admin:invoicing_bankstatement_change", args=[pk]),
        }
        return TemplateResponse(
            request, "admin/invoicing/bank_transaction.html", context, status=400 if is_post else 200
        )

    def _do(self, request: HttpRequest, row: BankTransaction, form: "SplitForm") -> str:
        """Do what the button says; an empty answer shows the page again."""
        actor = actor_of(request)
        wanted = request.POST.get("do", "")
        reason = request.POST.get("reason", "")
        if wanted == "ignore":
            bank_transaction_ignore(actor=actor, bank_transaction=row, reason=reason)
            return "The transaction is ignored."
        if wanted == "undo":
            bank_transaction_undo(actor=actor, bank_transaction=row, reason=reason)
            return "The transaction is open again."
        if wanted == "match" and form.is_valid():
            done = bank_transaction_match(
                actor=actor,
                bank_transaction=row,
                entity=form.cleaned_data["entity"],
                applications=form.applications(),
            )
            return f"{done} is booked as {done.payment}."
        return ""


class ToDoFilter(admin.SimpleListFilter):
    """Statements with transactions that wait for somebody."""

    title = "to do"
    parameter_name = "to_do"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "With open transactions")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(open_count__gt=0) if self.value() == "yes" else queryset


class SplitForm(AmountsForm):
    """Whose money it is, and how much of it settles each open document of that payer."""

    entity = forms.ModelChoiceField(
        Entity.objects.none(),
        label="Payer",
        empty_label="Choose who paid",
        widget=forms.Select(attrs={"class": "eb-input"}),
    )

    def __init__(
        self, user: Any, row: BankTransaction, *args: Any, payer_id: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        payers: Any = self.fields["entity"]
        payers.queryset = payers_with_accounts(user)
        self.initial.setdefault("entity", payer_id)
        if payer_id.isdigit():
            self.ask_for(
                open_documents(user, issuer_id=row.issuer_id, entity_id=int(payer_id), currency=row.currency)[
                    :SHOWN
                ]
            )


@admin.register(BankTransaction)
class BankTransactionAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """All transactions, to search, sum and export."""

    list_display = [
        "booked_on", "counterparty_name", "counterparty_iban", "text", badge_column("status"), "statement",
        money_column("amount"),
    ]  # fmt: skip
    list_filter = ["status", "issuer", "booked_on", "currency"]
    list_select_related = ["statement", "issuer"]
    search_fields = ["counterparty_name", "counterparty_iban", "text", "bank_reference"]
    quick_filters = [QuickFilter("Open", "status__exact=open", icon="pending_actions")]
    empty_state = EmptyState("No bank transactions", "They appear with the first bank statement.")

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A transaction is worked on at its statement."""
        row = self.get_queryset(request).filter(pk=object_id).first() if str(object_id).isdigit() else None
        if row is None:
            raise Http404("There is no such transaction, or it is outside your scope.")
        return redirect("admin:invoicing_bankstatement_transaction", row.statement_id, row.pk)
