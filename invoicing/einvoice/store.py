"""E-invoices of issued documents: checked before they are made, kept as they were first made (INV-09)."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from core.errors import Conflict, FieldProblem
from core.pdf import Attachment
from invoicing.documents.kept import keep_document, kept_document, read_document
from invoicing.documents.render import render_hybrid
from invoicing.documents.store import prepared_only
from invoicing.einvoice.cii import cii_xml
from invoicing.einvoice.mapping import e_invoice_of
from invoicing.einvoice.model import EInvoice
from invoicing.einvoice.rules import Breach, breaches
from invoicing.einvoice.schema import CII, UBL_CREDIT_NOTE, UBL_INVOICE, check_schema
from invoicing.einvoice.ubl import ubl_xml
from invoicing.models import DocumentKind, Invoice, InvoiceStatus

E_INVOICE_KINDS = (DocumentKind.FACTURX, DocumentKind.UBL, DocumentKind.CII)
XML_NAME = "factur-x.xml"
# What Factur-X 1.09 wants in the metadata of the PDF: which file is the invoice, and the schema of these properties.
_PROPERTIES = {
    "DocumentFileName": "The name of the embedded XML document",
    "DocumentType": "The type of the hybrid document in capital letters",
    "Version": "The version of the standard that the embedded XML document follows",
    "ConformanceLevel": "The conformance level of the embedded XML document",
}
_VALUES = {
    "DocumentFileName": XML_NAME,
    "DocumentType": "INVOICE",
    "Version": "1.0",
    "ConformanceLevel": "EN 16931",
}
_SCHEMA = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"


def e_invoice_breaches(invoice: Invoice, kind: str) -> list[Breach]:
    """Return what keeps a document, or a draft if it were issued now, from being an e-invoice of a kind."""
    return breaches(e_invoice_of(invoice), peppol=kind == DocumentKind.UBL)


def e_invoice(invoice: Invoice, kind: str) -> bytes:
    """Return an issued document as e-invoice; what was made once is given out ever after.

    A void document has only what was made before. Raises Conflict ``e_invoice_not_issued``, ``e_invoice_void``,
    ``e_invoice_incomplete`` with one problem per broken rule, ``e_invoice_invalid``, ``document_missing``;
    PDFUnavailable; PDFPending ``pdf_in_preparation``.
    """
    kept = kept_document(invoice, kind)
    if kept is not None:
        return read_document(kept, invoice, lambda: _make(invoice, kind))
    _check_state(invoice, kind)
    _check_rules(invoice, e_invoice_breaches(invoice, kind))
    if kind == DocumentKind.FACTURX:
        prepared_only(invoice, kind)
    return e_invoice_keep(invoice, kind)


def e_invoice_keep(invoice: Invoice, kind: str) -> bytes:
    """Make and keep the e-invoice of an issued document, however long; a second time finds it there."""
    return keep_document(invoice, kind, lambda: _make(invoice, kind))


def _check_state(invoice: Invoice, kind: str) -> None:
    if invoice.status == InvoiceStatus.DRAFT:
        missing = e_invoice_breaches(invoice, kind)
        advice = f" Before that: {_sentences(missing)}" if missing else ""
        raise Conflict(
            "e_invoice_not_issued",
            f"Only an issued document is given out as e-invoice: issue {invoice} first.{advice}",
            errors=_problems(missing),
        )
    if invoice.status == InvoiceStatus.VOID:
        raise Conflict(
            "e_invoice_void",
            f"{invoice} is void: no e-invoice is made of it any more. Its PDF shows the mark.",
        )


def _check_rules(invoice: Invoice, broken: Sequence[Breach]) -> None:
    if broken:
        raise Conflict(
            "e_invoice_incomplete",
            f"{invoice} cannot be an e-invoice as it was issued. {_sentences(broken)} Correct the details of the "
            "entity, then void this document and issue it anew.",
            errors=_problems(broken),
        )


def _sentences(broken: Sequence[Breach]) -> str:
    shown = " ".join(f"{breach.detail} ({breach.rule})" for breach in broken[:10])
    return shown if len(broken) <= 10 else f"{shown} And {len(broken) - 10} more."


def _problems(broken: Sequence[Breach]) -> list[FieldProblem]:
    return [FieldProblem("", breach.rule, breach.detail) for breach in broken[:100]]


def _make(invoice: Invoice, kind: str) -> bytes:
    document = e_invoice_of(invoice)
    _check_rules(invoice, breaches(document, peppol=kind == DocumentKind.UBL))
    return _WRITERS[DocumentKind(kind)](invoice, document)


def _cii(invoice: Invoice, document: EInvoice) -> bytes:
    xml = cii_xml(document)
    check_schema(xml, CII)
    return xml


def _ubl(invoice: Invoice, document: EInvoice) -> bytes:
    xml = ubl_xml(document)
    check_schema(xml, UBL_CREDIT_NOTE if document.is_credit_note else UBL_INVOICE)
    return xml


def _facturx(invoice: Invoice, document: EInvoice) -> bytes:
    attachment = Attachment(
        name=XML_NAME,
        content=_cii(invoice, document),
        description="Factur-X invoice data",
        relationship="Alternative",
        dated=invoice.issued_at or datetime.combine(document.issue_date, datetime.min.time(), UTC),
    )
    return render_hybrid(invoice, attachment=attachment, rdf=_rdf())


_WRITERS: dict[DocumentKind, Callable[[Invoice, EInvoice], bytes]] = {
    DocumentKind.FACTURX: _facturx,
    DocumentKind.UBL: _ubl,
    DocumentKind.CII: _cii,
}


def _rdf() -> str:
    values = "".join(f"<fx:{name}>{value}</fx:{name}>" for name, value in _VALUES.items())
    properties = "".join(
        f'<rdf:li rdf:parseType="Resource"><pdfaProperty:name>{name}</pdfaProperty:name>'
        "<pdfaProperty:valueType>Text</pdfaProperty:valueType>"
        "<pdfaProperty:category>external</pdfaProperty:category>"
        f"<pdfaProperty:description>{meaning}</pdfaProperty:description></rdf:li>"
        for name, meaning in _PROPERTIES.items()
    )
    return (
        f'<rdf:Description rdf:about="" xmlns:fx="{_SCHEMA}">{values}</rdf:Description>'
        '<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/" '
        'xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" '
        'xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#"><pdfaExtension:schemas><rdf:Bag>'
        '<rdf:li rdf:parseType="Resource"><pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>'
        f"<pdfaSchema:namespaceURI>{_SCHEMA}</pdfaSchema:namespaceURI><pdfaSchema:prefix>fx</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{properties}</rdf:Seq></pdfaSchema:property></rdf:li></rdf:Bag>"
        "</pdfaExtension:schemas></rdf:Description>"
    )
