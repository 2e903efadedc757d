"""Setting HTML as PDF (WeasyPrint), tagged for screen readers (PDF/UA-1). The same HTML gives the same bytes.

WeasyPrint needs the system libraries pango and harfbuzz, which no wheel carries: it is imported when a PDF is made,
and where they are missing everything else works.
"""

import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from core.errors import BillingError

FONTS = Path(__file__).parent / "fonts"
PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
INSTALL = f"Debian and Ubuntu: apt-get install {PACKAGES}; macOS: brew install pango"
Loader = Callable[[str, str], tuple[bytes, str] | None]


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


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file within a PDF, with its relationship to it (`Data`, `Alternative`, `Source`, `Supplement`)."""

    name: str
    content: bytes
    description: str
    relationship: str
    dated: datetime.datetime


def html_to_pdf(html: str, *, load: Loader = lambda kind, name: None) -> bytes:
    """Return the PDF of a page that names its fonts ``document:font/<file>``.

    Other ``document:<kind>/<name>`` addresses come from ``load(kind, name)`` as bytes and content type; nothing else
    is fetched: no network, no other file. Raises PDFUnavailable.
    """
    made: bytes = _page(html, load).write_pdf(pdf_variant="pdf/ua-1", pdf_identifier=_identifier(html))
    return made


def html_to_archive(html: str, *, load: Loader, attachment: Attachment, rdf: str) -> bytes:
    """Return the page as PDF/A-3a, tagged and fit for archives, with a file within (ISO 19005-3).

    ``rdf`` are descriptions for the metadata, such as ``<rdf:Description …>``. Raises PDFUnavailable.
    """
    weasyprint = load_weasyprint()
    document = _page(html, load).render(pdf_variant="pdf/a-3a")
    document.metadata.attachments = [
        weasyprint.Attachment(
            string=attachment.content,
            name=attachment.name,
            description=attachment.description,
            relationship=attachment.relationship,
            created=attachment.dated,
            modified=attachment.dated,
        )
    ]
    # XMP knows one rdf:RDF: WeasyPrint's own option would write a second one beside it, which readers skip.
    own = document.metadata.generate_rdf_metadata

    def with_descriptions(*args: Any) -> bytes:
        rdf_end = b"</rdf:RDF>"
        made: bytes = own(*args)
        return made.replace(rdf_end, rdf.encode() + rdf_end)

    document.metadata.generate_rdf_metadata = with_descriptions
    made: bytes = document.write_pdf(pdf_variant="pdf/a-3a", pdf_identifier=_identifier(html))
    return made


def _identifier(html: str) -> bytes:
    return hashlib.sha256(html.encode()).hexdigest()[:32].encode()


def _page(html: str, load: Loader) -> Any:
    weasyprint = load_weasyprint()

    def fetch(url: str, **_: Any) -> Any:
        from weasyprint.urls import FatalURLFetchingError, URLFetcherResponse

        kind, _sign, name = url.removeprefix("document:").partition("/")
        if kind == "font" and name in ("Inter-Regular.ttf", "Inter-SemiBold.ttf"):
            return URLFetcherResponse(url, _font(name), {"Content-Type": "font/ttf"})
        found = load(kind, name)
        if found is None:
            raise FatalURLFetchingError(f"A document may not load {url}")
        content, content_type = found
        return URLFetcherResponse(url, content, {"Content-Type": content_type})

    return weasyprint.HTML(string=html, base_url="document:", url_fetcher=fetch)


@cache
def _font(name: str) -> bytes:
    return (FONTS / name).read_bytes()
