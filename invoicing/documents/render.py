"""Setting an invoice as HTML and as PDF (WeasyPrint). The same content gives the same bytes.

WeasyPrint needs the system libraries pango and harfbuzz, which no wheel carries: it is imported when a PDF is made,
and where they are missing everything else works, the HTML print view included.
"""

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from django.core.files.storage import default_storage
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.safestring import SafeString

from core.errors import BillingError
from invoicing.documents.content import InvoiceContent, invoice_content
from invoicing.models import Invoice

TEMPLATE = "documents/invoice.html"
SCREEN_FONT = "core/fonts/InterVariable.woff2"
FONTS = Path(__file__).parent / "fonts"
PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
INSTALL = f"Debian and Ubuntu: apt-get install {PACKAGES}; macOS: brew install pango"
_LOGO_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "svg": "image/svg+xml"}


class PDFUnavailable(BillingError):
    """503: this machine lacks the system libraries that PDFs need."""

    status: ClassVar[int] = 503


def load_weasyprint() -> Any:
    """Import WeasyPrint; raises PDFUnavailable ``pdf_unavailable``, which names what to install."""
    try:
        import weasyprint
    except OSError as error:
        raise PDFUnavailable(
            "pdf_unavailable",
            f"PDFs cannot be made on this machine: a system library is missing. {INSTALL}. Meanwhile the print view "
            "in the back-office shows the same document.",
            extra={"packages": PACKAGES.split()},
        ) from error
    return weasyprint


def invoice_html(invoice: Invoice, *, marked_void: bool = True, for_screen: bool = False) -> SafeString:
    """Return the document as one HTML page; for the screen it carries its font and logo in itself."""
    return _html(invoice_content(invoice, marked_void=marked_void), for_screen=for_screen)


def render_invoice(invoice: Invoice, *, marked_void: bool = True) -> bytes:
    """Return the PDF of an invoice: tagged for screen readers (PDF/UA-1), dates and identity from the snapshot."""
    weasyprint = load_weasyprint()
    html = _html(invoice_content(invoice, marked_void=marked_void), for_screen=False)
    document = weasyprint.HTML(string=html, base_url="document:", url_fetcher=_fetch)
    return document.write_pdf(
        pdf_variant="pdf/ua-1",
        pdf_identifier=hashlib.sha256(html.encode()).hexdigest()[:32].encode(),
    )


def _html(content: InvoiceContent, *, for_screen: bool) -> SafeString:
    logo_url = ""
    if content.logo is not None:
        name = content.logo["file"]
        logo_url = _data_url(name) if for_screen else f"document:logo/{name}"
    context: dict[str, Any] = {
        "doc": content,
        "words": content.words,
        "for_screen": for_screen,
        "logo_url": logo_url,
        "font_url": static(SCREEN_FONT) if for_screen else "",
    }
    return render_to_string(TEMPLATE, context)


def _data_url(name: str) -> str:
    with default_storage.open(name, "rb") as file:
        return f"data:{_logo_type(name)};base64,{b64encode(file.read()).decode()}"


def _logo_type(name: str) -> str:
    return _LOGO_TYPES.get(name.rpartition(".")[2], "application/octet-stream")


@cache
def _font(name: str) -> bytes:
    return (FONTS / name).read_bytes()


def _fetch(url: str, **_: Any) -> Any:
    """Give the document its font and its issuer's logo, and nothing else: no network, no other file."""
    from weasyprint.urls import FatalURLFetchingError, URLFetcherResponse

    kind, _sign, name = url.removeprefix("document:").partition("/")
    if kind == "font" and name in ("Inter-Regular.ttf", "Inter-SemiBold.ttf"):
        return URLFetcherResponse(url, _font(name), {"Content-Type": "font/ttf"})
    if kind == "logo" and name.startswith("documents/logos/"):
        with default_storage.open(name, "rb") as file:
            return URLFetcherResponse(url, file.read(), {"Content-Type": _logo_type(name)})
    raise FatalURLFetchingError(f"A document may not load {url}")
