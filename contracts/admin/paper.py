"""Signatories with their signatures, and documents: reached from the page of their contract."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.http import content_disposition_header
from django.utils.safestring import SafeString

from contracts.admin.forms import SignatureForm, given
from contracts.models import ContractDocument, DocumentKind, RequiredSignatory
from contracts.services.documents import document_read
from contracts.services.signing import signature_record
from core.admin.actions import ActionCall, ObjectAction
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.errors import REFUSALS, sentences
from core.admin.scoping import may, visible
from entities.admin.base import actor_of


def _sign(call: ActionCall) -> Any:
    document = call.data.get("document")
    return signature_record(
        actor=call.actor,
        signatory_id=call.obj.pk,
        document_id=document.pk if document else None,
        **given(call.data, "document_sha256", "method", "signed_at"),
    )


def _latest_document(signatory: RequiredSignatory, user: Any) -> dict[str, Any]:
    """The paper that was uploaded last, if the reader may know of it."""
    rows = ContractDocument.objects.filter(contract=signatory.contract_id, amendment=signatory.amendment_id)
    newest = visible(rows, user).exclude(kind=DocumentKind.ATTACHMENT).order_by("-pk").first()
    return {"document": newest.pk} if newest else {}


def _signable(signatory: RequiredSignatory, user: Any) -> str | None:
    paper = signatory.amendment or signatory.contract
    if signatory.signatures.standing().exists():  # type: ignore[attr-defined]
        return "They have signed already."
    if paper.status != "awaiting_signature":
        return f"It is {paper.get_status_display().lower()}: signatures are recorded while it awaits them."
    return None


@admin.register(RequiredSignatory)
class RequiredSignatoryAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """Who must sign what; the signature is recorded here."""

    list_display = ["name", "side", "contract", "amendment", "job_title", "email", "position"]
    list_filter = ["side", "contract"]
    list_select_related = ["contract", "amendment"]
    search_fields = ["name", "email", "contract__title"]
    fields = ["contract", "amendment", "side", "name", "job_title", "email", "user", "position"]
    empty_state = EmptyState(
        "Nobody has to sign anything", "Signatories are named in the form of a contract."
    )
    actions_bar = [
        ObjectAction(
            name="sign",
            label="Record the signature",
            main=True,
            perm="contracts.sign_contract",
            icon="draw",
            form=SignatureForm,
            initial=_latest_document,
            possible=_signable,
            consequence="It is kept with the hash of what was signed. Any change of the text afterwards makes it void.",
            run=_sign,
            done=lambda signature: f"Recorded: {signature}.",
        )
    ]

    def _after(self, request: HttpRequest, obj: Any) -> str:
        """Back to what was signed."""
        if obj.amendment_id:
            return reverse("admin:contracts_contractamendment_change", args=[obj.amendment_id])
        return reverse("admin:contracts_contract_change", args=[obj.contract_id])


@admin.register(ContractDocument)
class ContractDocumentAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """The files of contracts: their names to everybody who may know, their content to download, which is recorded."""

    list_display = ["name", "kind", "contract", "amendment", "size", "uploaded_by", "created_at", "download"]
    export_fields = ["name", "kind", "contract", "amendment", "size", "sha256", "uploaded_by", "created_at"]
    list_filter = ["kind", "contract", "created_at"]
    list_select_related = ["contract", "amendment", "uploaded_by"]
    search_fields = ["name", "contract__title", "sha256"]
    ordering = ["-id"]
    fields = [
        "name",
        "kind",
        "contract",
        "amendment",
        "size",
        "sha256",
        "uploaded_by",
        "created_at",
        "download",
    ]
    readonly_fields = ["download"]
    empty_state = EmptyState(
        "No documents yet", "Files are added on the page of a contract. They are kept encrypted."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("data_key")

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.download_view)
        return [
            path("<int:pk>/download/", view, name="contracts_contractdocument_download"),
            *super().get_urls(),
        ]

    def download_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The file as it was uploaded; always saved, never shown by the browser."""
        document = self.get_object(request, str(pk))
        if document is None or not may(request.user, "contracts.view_contractdocument", document):
            raise PermissionDenied
        try:
            content = document_read(actor=actor_of(request), document_id=pk)
        except REFUSALS as error:
            messages.error(request, " ".join(sentences(error)))
            return redirect("admin:contracts_contract_change", document.contract_id)
        response = HttpResponse(content, content_type="application/octet-stream")
        response.headers["Content-Disposition"] = str(content_disposition_header(True, document.name))
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @admin.display(description="File")
    def download(self, document: ContractDocument) -> SafeString:
        url = reverse("admin:contracts_contractdocument_download", args=[document.pk])
        return format_html('<a class="eb-link" href="{}">Download</a>', url)
