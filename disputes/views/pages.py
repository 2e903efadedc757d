"""The customers' pages: their disputes, opening one, and what they can do with it (DSP-18)."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from core.access import get_visible
from core.money import format_money
from core.pages.base import PageFormView, PageView
from core.pages.files import PREVIEWED, attached_file
from disputes.access import OPEN
from disputes.forms import DisputeForm, FileForm, ReopenForm, WordForm
from disputes.models import DisputeAttachment, Visibility
from disputes.selectors.customer import (
    LISTS,
    Disputable,
    customer_sheet,
    disputable,
    disputable_invoice,
    disputable_invoices,
    lines_offered,
    list_counts,
    may_dispute_whole,
    own_disputes,
)
from disputes.services.attachments import attachment_add, attachment_remove
from disputes.services.comments import comment_add
from disputes.services.ending import dispute_close, dispute_reopen, dispute_withdraw
from disputes.services.opening import dispute_open
from disputes.views.base import ActionPage, DisputesPage, OneDisputePage
from disputes.views.timeline import timeline_of

SHOWN = 50


class ListPage(DisputesPage, PageView):
    """GET /disputes/?show=open"""

    template_name = "disputes/list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        shown = self.request.GET.get("show", "")
        shown = shown if shown in LISTS else "open"
        page = self.request.GET.get("page", "1")
        number = max(int(page), 1) if page.isdecimal() and len(page) < 9 else 1
        counts = list_counts(self.actor)
        start = (number - 1) * SHOWN
        rows = list(own_disputes(self.actor).filter(status__in=LISTS[shown][1])[start : start + SHOWN + 1])
        return super().get_context_data(
            shown=shown,
            lists=[(name, words, counts[name]) for name, (words, _) in LISTS.items()],
            list_name=LISTS[shown][0],
            rows=rows[:SHOWN],
            next_page=number + 1 if len(rows) > SHOWN else 0,
            may_open=self.actor.has_perm(OPEN),
            **kwargs,
        )


class ChoosePage(DisputesPage, PageView):
    """GET /disputes/new/ offers invoices; /disputes/new/17/ the lines of one."""

    template_name = "disputes/choose.html"
    permission = OPEN

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        invoice_id = self.kwargs.get("invoice_id")
        if invoice_id is None:
            return super().get_context_data(invoices=disputable_invoices(self.actor), **kwargs)
        invoice = disputable_invoice(self.actor, invoice_id)
        search = self.request.GET.get("q", "").strip()[:100]
        return super().get_context_data(
            invoice=invoice,
            about=disputable(self.actor, invoice, None),
            search=search,
            lines=lines_offered(self.actor, invoice, search),
            may_whole=may_dispute_whole(self.actor, invoice),
            **kwargs,
        )


class OpenPage(DisputesPage, PageFormView):
    """GET and POST /disputes/new/17/99/ for a line, /disputes/new/17/whole/ for the invoice."""

    template_name = "disputes/open.html"
    form_class = DisputeForm
    permission = OPEN

    def about(self) -> Disputable:
        if not hasattr(self, "_about"):
            invoice = disputable_invoice(self.actor, self.kwargs["invoice_id"])
            self._about = disputable(self.actor, invoice, self.kwargs.get("line_id"))
        return self._about

    def again_url(self) -> str:
        return reverse("disputes:choose_line", args=[self.kwargs["invoice_id"]])

    def get_form_kwargs(self) -> dict[str, Any]:
        about = self.about()
        left = format_money(about.left, about.invoice.currency)
        return {**super().get_form_kwargs(), "left": left}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(about=self.about(), **kwargs)

    def perform(self, form: DisputeForm) -> str:
        about = self.about()
        self.made = dispute_open(
            actor=self.actor, invoice=about.invoice, invoice_line=about.line, **form.values()
        )
        return f"{self.made.number} is open. Add files or a message if something is missing."

    def get_success_url(self) -> str:
        return reverse("disputes:dispute", args=[self.made.pk])


class DisputePage(OneDisputePage, PageView):
    """GET /disputes/17/"""

    template_name = "disputes/dispute.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        sheet = customer_sheet(self.actor, self.dispute_id)
        files = [file for said in sheet.thread for file in said.files] + sheet.files
        return super().get_context_data(
            sheet=sheet,
            shown=sheet.dispute,
            files=[(file, PREVIEWED.get(file.content_type, "")) for file in files],
            events=timeline_of(sheet),
            word_form=WordForm(auto_id="say_%s"),
            file_form=FileForm(),
            **kwargs,
        )


class SayPage(ActionPage):
    """GET and POST /disputes/17/say/"""

    heading, button = "Write to staff", "Send"
    text = "Whoever handles the dispute reads it at once."

    def perform(self, form: WordForm) -> str:
        comment_add(
            actor=self.actor,
            dispute_id=self.dispute_id,
            body=form.cleaned_data["comment"],
            visibility=Visibility.CUSTOMER,
        )
        return "Your message is sent."

    def get_success_url(self) -> str:
        return f"{self.dispute_url()}#thread"


class WithdrawPage(ActionPage):
    """GET and POST /disputes/17/withdraw/"""

    heading, button, tone = "Withdraw the dispute?", "Withdraw", "danger"
    text = "What was held back is to be paid as before. A withdrawn dispute is not reopened."
    label = "Why (you may leave it empty)"
    needed = False

    def perform(self, form: WordForm) -> str:
        dispute = dispute_withdraw(
            actor=self.actor,
            dispute_id=self.dispute_id,
            reason=form.cleaned_data["comment"],
            expected_version=self.version(),
        )
        return f"{dispute.number} is withdrawn."


class ReopenPage(ActionPage):
    """GET and POST /disputes/17/reopen/"""

    form_class = ReopenForm
    heading, button = "Reopen the dispute?", "Reopen"
    text = "It is looked at again from the beginning, with a new time to answer."
    label = "Why the decision is not right"

    def perform(self, form: ReopenForm) -> str:
        dispute = dispute_reopen(
            actor=self.actor,
            dispute_id=self.dispute_id,
            reason=form.cleaned_data["comment"],
            amount=form.cleaned_data["amount"],
            expected_version=self.version(),
        )
        return f"{dispute.number} is open again."


class ClosePage(OneDisputePage):
    """POST /disputes/17/close/: the customer agrees."""

    def post(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        dispute = dispute_close(actor=self.actor, dispute_id=pk, expected_version=self.version())
        return self.done(f"{dispute.number} is closed. Thank you.", self.dispute_url())


class AttachPage(ActionPage):
    """GET and POST /disputes/17/attach/"""

    template_name = "disputes/attach.html"
    form_class = FileForm
    heading, button = "Attach a file", "Attach"

    def get_form_kwargs(self) -> dict[str, Any]:
        # A file says what it is by its name: no word is asked for.
        kwargs = super().get_form_kwargs()
        return {name: value for name, value in kwargs.items() if name not in ("label", "needed")}

    def perform(self, form: FileForm) -> str:
        file = form.cleaned_data["file"]
        attachment_add(
            actor=self.actor,
            dispute_id=self.dispute_id,
            name=file.name,
            file=file,
            visibility=Visibility.CUSTOMER,
        )
        return f"“{file.name}” is attached."

    def get_success_url(self) -> str:
        return f"{self.dispute_url()}#files"


class FilePage(DisputesPage):
    """GET /disputes/files/5/ to those who may see it; ``?download`` saves it. POST takes it off."""

    def get(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        return attached_file(self._attachment(pk), download="download" in request.GET)

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        attachment = attachment_remove(actor=self.actor, attachment_id=pk)
        back = reverse("disputes:dispute", args=[attachment.dispute_id])
        return self.done(f"“{attachment.name}” is taken off.", f"{back}#files")

    def again_url(self) -> str:
        return reverse("disputes:list")

    def _attachment(self, pk: int) -> DisputeAttachment:
        attachment: DisputeAttachment = get_visible(
            DisputeAttachment.objects.attached(), self.actor, pk, name="file"
        )
        return attachment
