"""The QR code that a banking app reads as a filled-in SEPA credit transfer (EPC069-12, version 2)."""

from decimal import Decimal
from io import BytesIO
from typing import Any

import segno.helpers
from schwifty import IBAN

from core.money import plain_amount

LEAST, MOST = Decimal("0.01"), Decimal("999999999.99")
_LONGEST_NAME = 70


def payment_code(*, bank: dict[str, Any], currency: str, amount: Decimal, reference: str) -> bytes | None:
    """Return the code as SVG, or None where the scheme does not apply.

    It applies to euros, to an account in the SEPA area, and to amounts from 0.01 to 999,999,999.99. The reference is
    the document's number as text, as it is printed beside the code.
    """
    if currency != "EUR" or not LEAST <= amount <= MOST or not _in_sepa(bank["iban"]):
        return None
    code = segno.helpers.make_epc_qr(
        name=bank["holder"][:_LONGEST_NAME],
        iban=bank["iban"],
        bic=bank["bic"] or None,
        amount=Decimal(plain_amount(amount, currency)),
        text=reference,
        encoding="utf-8",
    )
    drawn = BytesIO()
    code.save(drawn, kind="svg", xmldecl=False, svgns=True, omitsize=True, nl=False)
    return drawn.getvalue()


def _in_sepa(iban: str) -> bool:
    return bool(iban) and bool(IBAN(iban, allow_invalid=True).in_sepa_zone)
