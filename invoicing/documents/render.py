"""Setting an invoice as HTML and as PDF. The same content gives the same bytes.

Where a machine cannot make PDFs (`core.pdf`) everything else works, the HTML print view included.
"""

from base64 import b64encode
from typing import Any

from django.core.files.storage import default_storage
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.safestring import SafeString

from core.pdf import Attachment, Loader, html_to_archive, html_to_pdf
from invoicing.documents.content import InvoiceContent, invoice_content
from invoicing.models import Invoice

TEMPLATE = "documents/invoice.html"
SCREEN_FONT = "core/fonts/InterVariable.woff2"
_SVG = "image/svg+xml"
_LOGO_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "svg": _SVG}


def invoice_html(invoice: Invoice, *, marked_void: bool = True, for_screen: bool = False) -> SafeString:
    """Return the document as one HTML page; for the screen it carries its font and logo in itself."""
    return _html(invoice_content(invoice, marked_void=marked_void), for_screen=for_screen)


def render_invoice(invoice: Invoice, *, marked_void: bool = True) -> bytes:
    """Return the PDF of an invoice: tagged for screen readers (PDF/UA-1), dates and identity from the snapshot."""
    content = invoice_content(invoice, marked_void=marked_void)
    return html_to_pdf(_html(content, for_screen=False), load=_loader(content))


def render_hybrid(invoice: Invoice, *, attachment: Attachment, rdf: str) -> bytes:
    """Return the invoice as PDF/A-3 with its data as XML within: a Factur-X document."""
    content = invoice_content(invoice, marked_void=False)
    html = _html(content, for_screen=False)
    return html_to_archive(html, load=_loader(content), attachment=attachment, rdf=rdf)


def _html(content: InvoiceContent, *, for_screen: bool) -> SafeString:
    logo_url = ""
    if content.logo is not None:
        name = content.logo["file"]
        logo_url = _data_url(_logo(name), _logo_type(name)) if for_screen else f"document:logo/{name}"
    code_url = ""
    if content.payment_code is not None:
        code_url = _data_url(content.payment_code.svg, _SVG) if for_screen else "document:payment-code/svg"
    context: dict[str, Any] = {
        "doc": content,
        "words": content.words,
        "for_screen": for_screen,
        "logo_url": logo_url,
        "code_url": code_url,
        "font_url": static(SCREEN_FONT) if for_screen else "",
    }
    return render_to_string(TEMPLATE, context)


def _data_url(content: bytes, content_type: str) -> str:
    return f"data:{content_type};base64,{b64encode(content).decode()}"


def _logo(name: str) -> bytes:
    with default_storage.open(name, "rb") as file:
        content: bytes = file.read()
    return content


def _logo_type(name: str) -> str:
    return _LOGO_TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def _loader(content: InvoiceContent) -> Loader:
    """Give the document its issuer's logo and its payment code, and nothing else."""

    def load(kind: str, name: str) -> tuple[bytes, str] | None:
        if kind == "logo" and name.startswith("documents/logos/"):
            return _logo(name), _logo_type(name)
        if kind == "payment-code" and content.payment_code is not None:
            return content.payment_code.svg, _SVG
        return None

    return load
