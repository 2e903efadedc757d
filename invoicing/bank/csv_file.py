"""CSV exports of banks: columns by name, in the languages of their header, decimal comma or point."""

import csv
import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from core.errors import Invalid
from core.money import minor_units
from invoicing.bank.rows import BankFile, BankRow, checked_row, refused

FIELDS = ("date", "amount", "credit", "debit", "currency", "name", "iban", "text", "reference")

# What banks call their columns, in order of preference; compared without case, accents of punctuation and blanks.
_NAMES: dict[str, tuple[str, ...]] = {
    "date": (
        "date", "booking date", "bookingdate", "buchungstag", "buchungsdatum", "transaction date", "posting date",
        "date operation", "date comptable", "fecha", "fecha operacion", "fecha contable", "value date", "valuta",
    ),
    "amount": ("amount", "betrag", "montant", "importe", "umsatz", "betrag eur", "amount eur"),
    "credit": ("credit", "haben", "crédit", "abono", "paid in", "money in"),
    "debit": ("debit", "soll", "débit", "cargo", "paid out", "money out"),
    "currency": ("currency", "währung", "waehrung", "devise", "moneda", "divisa"),
    "name": (
        "counterparty", "counterparty name", "name", "payer", "payer name", "beguenstigter zahlungspflichtiger",
        "begünstigter zahlungspflichtiger", "auftraggeber", "name zahlungsbeteiligter", "debtor name", "nom",
        "ordenante", "contrepartie",
    ),
    "iban": (
        "counterparty iban", "iban", "counterparty account", "kontonummer iban", "iban zahlungsbeteiligter", "account",
        "payer iban", "compte", "cuenta",
    ),
    "text": (
        "text", "description", "verwendungszweck", "remittance information", "reference text", "details", "memo",
        "buchungstext", "libelle", "libellé", "concepto", "narrative", "payment reference",
    ),
    "reference": ("reference", "bank reference", "transaction id", "id", "referenz", "référence", "referencia"),
}  # fmt: skip
_DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y%m%d")
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,'\u00a0\u202f ]*[+-]?")


def read_csv(content: bytes, *, currency: str, mapping: Mapping[str, str] | None = None) -> BankFile:
    """Return the rows of a CSV file; ``currency`` is the account's, where no column names another.

    ``mapping`` names the file's columns by field (FIELDS) where they are not recognised. Raises Invalid
    ``malformed_file``, ``columns_unknown``, ``invalid_amount``.
    """
    lines = _decoded(content).splitlines(keepends=True)
    start, delimiter = _header_line(lines, mapping)
    reader = csv.reader(lines[start:], delimiter=delimiter)
    try:
        header = next(reader)
        columns = _columns(header, mapping)
        rows = [
            _row(values, columns, len(header), start + reader.line_num, currency)
            for values in reader
            if any(value.strip() for value in values)
        ]
    except csv.Error as error:
        raise refused("malformed_file", f"It is no CSV ({error}).", start + reader.line_num) from error
    return BankFile("", rows)


def _decoded(content: bytes) -> str:
    if b"\0" in content:
        raise refused("malformed_file", "It is no text file. Give CAMT.053 or CSV.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", name.casefold()).split())


def _header_line(lines: Sequence[str], mapping: Mapping[str, str] | None) -> tuple[int, str]:
    """Banks put lines about the account before the header: it is the first that has a date and an amount."""
    for number, line in enumerate(lines[:40]):
        for delimiter in (";", ",", "\t", "|"):
            names = next(csv.reader([line], delimiter=delimiter), [])
            found = _found(names, mapping)
            if "date" in found and ("amount" in found or "credit" in found):
                return number, delimiter
    raise refused(
        "columns_unknown",
        "No line names a column for the date and one for the amount. Give the names of your columns with the upload.",
        1,
    )


def _found(header: Sequence[str], mapping: Mapping[str, str] | None) -> dict[str, int]:
    names = [_plain(name) for name in header]
    found: dict[str, int] = {}
    for field in FIELDS:
        given = (mapping or {}).get(field, "").strip()
        wanted: Sequence[str] = (given,) if given else _NAMES[field]
        place = next((names.index(_plain(name)) for name in wanted if _plain(name) in names), None)
        if place is not None and place not in found.values():
            found[field] = place
    return found


def _columns(header: Sequence[str], mapping: Mapping[str, str] | None) -> dict[str, int]:
    found = _found(header, mapping)
    missing = [name for field, name in (mapping or {}).items() if name.strip() and field not in found]
    if missing:
        raise refused("columns_unknown", f"There is no column “{missing[0]}” in the file.", 1)
    return found


def _row(values: Sequence[str], columns: Mapping[str, int], width: int, line: int, currency: str) -> BankRow:
    if len(values) < max(columns.values()) + 1:
        raise refused("malformed_file", f"It has {len(values)} columns where the header has {width}.", line)

    def value(field: str) -> str:
        return " ".join(values[columns[field]].split()) if field in columns else ""

    in_currency = (value("currency") or currency).upper()
    return checked_row(
        BankRow(
            line=line,
            booked_on=_day(value("date"), line),
            amount=_signed(value, line, in_currency),
            currency=in_currency,
            counterparty_name=value("name")[:200],
            counterparty_iban=value("iban").replace(" ", "").upper()[:34],
            text=value("text")[:1000],
            bank_reference=value("reference")[:100],
        )
    )


def _signed(value: Callable[[str], str], line: int, currency: str) -> Decimal:
    if value("amount"):
        return read_number(value("amount"), line, currency)
    if value("credit"):
        return abs(read_number(value("credit"), line, currency))
    if value("debit"):
        return -abs(read_number(value("debit"), line, currency))
    raise refused("invalid_amount", "The amount is empty.", line)


def read_number(text: str, line: int, currency: str) -> Decimal:
    """Read 1.234,50, 1,234.50, 1 234,5 and 100- exactly.

    Of two kinds of separators the last is the decimal one. A single separator with three digits after it is one of
    thousands, unless the currency has three decimals: 1.234 EUR is 1234, 1.234 KWD is not.
    """
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        raise refused("invalid_amount", f"“{text}” is no amount.", line)
    negative = stripped.startswith("-") or stripped.endswith("-")
    digits = re.sub(r"[^0-9.,]", "", stripped)
    last = max(digits.rfind(","), digits.rfind("."))
    whole, decimals = digits, ""
    if last >= 0 and digits.count(digits[last]) == 1:
        whole, decimals = digits[:last], digits[last + 1 :]
        other = "." if digits[last] == "," else ","
        if len(decimals) == 3 and other not in whole and _places(currency) != 3:
            whole, decimals = whole + decimals, ""
    amount = Decimal(f"{re.sub('[.,]', '', whole) or '0'}.{decimals or '0'}")
    return -amount if negative else amount


def _places(currency: str) -> int:
    try:
        return minor_units(currency)
    except Invalid:
        return 2  # the row is refused for its currency


def _day(text: str, line: int) -> datetime.date:
    for form in _DATES:
        try:
            return datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC).date()
        except ValueError:
            continue
    raise refused("malformed_file", f"“{text}” is no date. Write it as 2026-11-30 or 30.11.2026.", line)
