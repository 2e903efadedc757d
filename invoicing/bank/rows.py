"""What every reader of bank files returns, and how it refuses."""

import datetime
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.errors import FieldProblem, Invalid
from core.money import minor_units, round_money

MOST_BYTES = 20 * 1024 * 1024
MOST_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class BankRow:
    """A booked movement: positive for money that arrived. ``line`` is where it stands in the file."""

    line: int
    booked_on: datetime.date
    amount: Decimal
    currency: str
    counterparty_name: str
    counterparty_iban: str
    text: str
    bank_reference: str


@dataclass(frozen=True, slots=True)
class BankFile:
    """The movements of one account; the IBAN is empty where the file does not name it."""

    account_iban: str
    rows: Sequence[BankRow]


def refused(code: str, message: str, line: int | None = None) -> Invalid:
    """An error that names the line; nothing of the file is kept."""
    where = f"Line {line}: " if line else ""
    text = f"{where}{message} Nothing of the file was read in."
    return Invalid(
        code,
        text,
        errors=[FieldProblem("/file", code, text)],
        extra={"line": line} if line else {},
    )


def checked_row(row: BankRow) -> BankRow:
    """The row, if its currency exists and its amount is at the minor unit."""
    try:
        minor_units(row.currency)
    except Invalid as error:
        raise refused(error.code, error.message, row.line) from error
    if round_money(row.amount, row.currency) != row.amount or abs(row.amount) >= Decimal(10) ** 15:
        raise refused("invalid_amount", f"{row.amount} is no amount in {row.currency}.", row.line)
    return row


def fingerprints(file: BankFile) -> list[str]:
    """One per row, the same whenever the row comes again: of the bank's id of it, else of its content.

    Rows alike are told apart by how often they stood in the file before, so that two equal payments of a day count
    twice, and an overlapping file brings neither again.
    """
    seen: Counter[str] = Counter()
    found = []
    for row in file.rows:
        parts: tuple[object, ...] = (row.booked_on, f"{row.amount.normalize():f}", row.currency)
        if row.bank_reference:
            parts = ("id", row.bank_reference, *parts)
        else:
            parts = ("content", *parts, row.counterparty_name, row.counterparty_iban, row.text)
        content = "\x1f".join(str(part) for part in (file.account_iban, *parts))
        seen[content] += 1
        found.append(hashlib.sha256(f"{content}\x1f{seen[content]}".encode()).hexdigest())
    return found
