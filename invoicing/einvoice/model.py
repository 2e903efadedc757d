"""The parts of EN 16931's semantic model that our documents fill; BT- and BG-numbers are the standard's.

Amounts have the decimals of the document's currency, which may be two at most.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

INVOICE, CREDIT_NOTE, DEBIT_NOTE = "380", "381", "383"
"""BT-3, from UNTDID 1001."""

ONE_UNIT = "C62"
"""BT-130, from UN/ECE Recommendation 20: a piece."""

EMAIL = "EM"
"""The scheme of an electronic address that is an e-mail address, from the list EAS."""


@dataclass(frozen=True, slots=True)
class Party:
    """Seller (BG-4) or buyer (BG-7)."""

    identifier: str
    """BT-29, BT-46: the entity's code."""
    name: str
    """BT-27, BT-44."""
    registration: str
    """BT-30, BT-47."""
    vat_id: str
    """BT-31, BT-48, with the letters of its country."""
    tax_registration: str
    """BT-32: a tax number that is no VAT id. Only a seller has it."""
    street: str
    postal_code: str
    city: str
    region: str
    country: str
    """BT-40, BT-55: ISO 3166-1."""
    email: str
    """BT-34, BT-49."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where to pay (BG-16, BG-17)."""

    means: str
    """BT-81, from UNTDID 4461: 58 is a SEPA credit transfer, 30 another one."""
    remittance: str
    """BT-83."""
    iban: str
    holder: str
    bic: str


@dataclass(frozen=True, slots=True)
class Line:
    """BG-25. Every line is one unit; of a credit the quantity is minus one, as no price may be negative (BR-27)."""

    number: str
    note: str
    amount: Decimal
    """BT-131."""
    account: str
    """BT-133: where the buyer books it."""
    start: datetime.date
    end: datetime.date
    """BT-135: the last day."""
    category: str
    rate: Decimal
    name: str
    attributes: Sequence[tuple[str, str]]
    """BG-32."""

    @property
    def quantity(self) -> int:
        """BT-129."""
        return -1 if self.amount < 0 else 1

    @property
    def price(self) -> Decimal:
        """BT-146."""
        return abs(self.amount)


@dataclass(frozen=True, slots=True)
class TaxBreakdown:
    """BG-23: one VAT category at one rate."""

    category: str
    rate: Decimal
    taxable: Decimal
    tax: Decimal
    reason: str
    """BT-120."""
    reason_code: str
    """BT-121, from the list VATEX."""


@dataclass(frozen=True, slots=True)
class Preceding:
    """BG-3: the invoice that a note corrects."""

    number: str
    issue_date: datetime.date


@dataclass(frozen=True, slots=True)
class EInvoice:
    """A whole document."""

    type_code: str
    number: str
    issue_date: datetime.date
    due_date: datetime.date | None
    currency: str
    note: str
    buyer_reference: str
    """BT-10."""
    terms: str
    """BT-20."""
    period_start: datetime.date
    period_end: datetime.date
    """BT-74: the last day."""
    preceding: Preceding | None
    seller: Party
    buyer: Party
    account: Account | None
    lines: Sequence[Line]
    taxes: Sequence[TaxBreakdown]
    net: Decimal
    """BT-106 and BT-109: there are no allowances and charges of the whole document."""
    tax: Decimal
    """BT-110."""
    total: Decimal
    """BT-112 and BT-115: what was paid before issue is never on the document."""

    @property
    def is_credit_note(self) -> bool:
        return self.type_code == CREDIT_NOTE
