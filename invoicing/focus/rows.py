"""One row: from the texts of a file to what a usage record keeps, or to the list of what is wrong with it.

`RowParser.parse` is the fast path and gives up at the first trouble; `RowParser.problems` then names everything
that is wrong. Both read single values with the same functions.
"""

from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from operator import itemgetter

from invoicing.focus import values
from invoicing.focus.columns import BY_KEY, COLUMNS, Column, Kind, column_key
from invoicing.focus.errors import BadValue, Problem
from invoicing.focus.values import Remembered, compact_json, shortened

StagedRow = list[str]

# The order of COLUMNS: costs and moments first, then numbers, tags, and texts to the end.
_NUMBERS = slice(6, 12)
_TAGS = 12
_TEXTS = slice(13, None)
_TEXT_COLUMNS = COLUMNS[_TEXTS]
_TEXT_LIMITS = tuple(column.limit for column in _TEXT_COLUMNS)
_LONGEST_SHORT_NUMBER = 17
_MANDATORY_TEXTS = itemgetter(*(number for number, column in enumerate(_TEXT_COLUMNS) if column.mandatory))

STAGED_FIELDS: tuple[str, ...] = (
    "line_number",
    "row_hash",
    "charge_date",
    *(column.field for column in COLUMNS),
    "extra",
)
"""What a parsed row holds, in this order, as PostgreSQL reads it in CSV; an empty number is NULL."""


class RowRefused(Exception):
    """The row cannot be taken as it is; `RowParser.problems` says why."""


class RowParser:
    """Reads rows under one header.

    `convertible` are the currencies that can be converted into `into`; None takes every known currency.
    """

    def __init__(
        self, header: Sequence[str], *, convertible: Collection[str] | None = None, into: str = ""
    ) -> None:
        self.header = list(header)
        self.into = into
        self.convertible = convertible
        position = {column_key(name): number for number, name in enumerate(header)}
        missing = len(header)
        self.positions = [position.get(column_key(column.name), missing) for column in COLUMNS]
        self._take = itemgetter(*self.positions)
        self.extra_positions = [n for n, name in enumerate(header) if column_key(name) not in BY_KEY]
        self.extra_names = [header[n] for n in self.extra_positions]
        self._prefixes, self._in_order = self._identity_order()
        self._costs = Remembered(values.read_cost, most=50_000)
        self._numbers = Remembered(values.read_number, most=50_000)
        self._moments = Remembered(values.read_moment, most=10_000)
        self._currencies = Remembered(self._read_currency, most=200)
        self._tags = Remembered(values.read_tags, most=5_000)

    def _identity_order(self) -> tuple[list[str], Callable[[Sequence[str]], tuple[str, ...]]]:
        """Return how a row's content is ordered for its identity: by name, whatever the file's order is."""
        keys = [column_key(column.name) for column in COLUMNS] + [
            column_key(name) for name in self.extra_names
        ]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return [f"{keys[number]}\0" for number in order], itemgetter(*order)

    def parse(self, row: Sequence[str], line_number: int) -> StagedRow:
        """Return the row as STAGED_FIELDS; raises RowRefused."""
        if len(row) != len(self.header):
            raise RowRefused
        cells = ["" if text == "NULL" else text for text in row]
        cells.append("")  # what a column that the file lacks holds
        taken = self._take(cells)
        texts = taken[_TEXTS]
        if not all(map(str.strip, _MANDATORY_TEXTS(texts))):
            raise RowRefused
        for text, limit in zip(texts, _TEXT_LIMITS, strict=True):
            if len(text) > limit:
                raise RowRefused
        try:
            cost = self._costs[taken[0]]
            currency = self._currencies[taken[1]]
            moments = self._moments
            charge_start, charge_end = moments[taken[2]], moments[taken[3]]
            billing_start, billing_end = moments[taken[4]], moments[taken[5]]
            numbers = [text and self._numbers[text] for text in taken[_NUMBERS]]
            tags = self._tags[taken[_TAGS]] if taken[_TAGS] else "{}"
        except BadValue as error:
            raise RowRefused from error
        if charge_end < charge_start or billing_end < billing_start:
            raise RowRefused
        extras = [cells[number] for number in self.extra_positions]
        canonical = [
            cost, currency, charge_start, charge_end, billing_start, billing_end,
            *numbers, "" if tags == "{}" else tags, *texts, *extras,
        ]  # fmt: skip
        digest = self._digest(canonical)
        extra = {name: text for name, text in zip(self.extra_names, extras, strict=True) if text}
        for number, text in enumerate(numbers):
            if len(text) > _LONGEST_SHORT_NUMBER and values.needs_rounding(text):
                extra[COLUMNS[_NUMBERS.start + number].name] = text
                numbers[number] = values.stored_number(text)
        return [
            str(line_number), digest, charge_start[:10],
            cost, currency, charge_start, charge_end, billing_start, billing_end,
            *numbers, tags, *texts, compact_json(extra) if extra else "{}",
        ]  # fmt: skip

    def _digest(self, canonical: Sequence[str]) -> str:
        """Return the row's content as one number (USE-02): sha256 over its named values, in PostgreSQL's spelling.

        NUL separates names and values, so no two contents read alike; a row that itself has one is refused.
        """
        parts = [
            prefix + text
            for prefix, text in zip(self._prefixes, self._in_order(canonical), strict=True)
            if text
        ]
        content = "\0".join(parts)
        if content.count("\0") != 2 * len(parts) - 1:
            raise RowRefused
        try:
            return "\\x" + sha256(content.encode()).hexdigest()
        except UnicodeEncodeError as error:
            raise RowRefused from error

    def _read_currency(self, text: str) -> str:
        code = values.read_currency(text)
        if self.convertible is not None and code not in self.convertible:
            raise BadValue(
                "no_exchange_rate",
                f"There is no exchange rate from {code} to {self.into}, the currency of the entity. "
                "Add one under Exchange rates, then try this row again.",
            )
        return code

    # --- what is wrong -----------------------------------------------------------------------------------

    def problems(self, row: Sequence[str]) -> list[Problem]:
        """Return everything that is wrong with the row; an empty list says that `parse` takes it."""
        if len(row) != len(self.header):
            return [self._wrong_width(row)]
        cells = ["" if text == "NULL" else text for text in row] + [""]
        found: list[Problem] = []
        read: dict[str, str] = {}
        for column, position in zip(COLUMNS, self.positions, strict=True):
            text = cells[position]
            try:
                read[column.field] = self._read(column, text)
            except BadValue as error:
                found.append(Problem(column.name, error.code, error.detail))
        for name, position in zip(self.extra_names, self.extra_positions, strict=True):
            try:
                _storable(cells[position])
            except BadValue as error:
                found.append(Problem(name, error.code, error.detail))
        for start, end, name in (
            ("charge_period_start", "charge_period_end", "ChargePeriodEnd"),
            ("billing_period_start", "billing_period_end", "BillingPeriodEnd"),
        ):
            if start in read and end in read and read[end] < read[start]:
                found.append(
                    Problem(
                        name, "end_before_start", f"{name} {read[end]} is before its start, {read[start]}."
                    )
                )
        return found

    def _read(self, column: Column, text: str) -> str:
        _storable(text)
        if not text.strip():
            if column.mandatory:
                raise BadValue("missing_value", f"{column.name} is empty. Every row needs a value here.")
            if column.kind is not Kind.TEXT and text:
                raise BadValue("invalid_value", f"{column.name} holds blanks only. Clear it or give a value.")
            return ""
        if column.kind is Kind.TEXT and len(text) > column.limit:
            raise BadValue(
                "too_long",
                f"{column.name} has {len(text):,} characters; at most {column.limit:,} are kept. Shorten it.",
            )
        return self._readers()[column.kind](text)

    def _readers(self) -> dict[Kind, Callable[[str], str]]:
        return {
            Kind.TEXT: str,
            Kind.COST: values.read_cost,
            Kind.NUMBER: values.read_number,
            Kind.MOMENT: values.read_moment,
            Kind.CURRENCY: self._read_currency,
            Kind.TAGS: values.read_tags,
        }

    def _wrong_width(self, row: Sequence[str]) -> Problem:
        detail = f"The row has {len(row)} fields, the header has {len(self.header)}."
        if len(row) > len(self.header):
            surplus = ", ".join(f'"{shortened(text, 30)}"' for text in row[len(self.header) :][:3])
            return Problem(
                "", "wrong_field_count", f"{detail} Too many are: {surplus}. A comma may lack its quotes."
            )
        return Problem("", "wrong_field_count", f"{detail} The line may have been cut off.")

    def values_of(self, row: Sequence[str]) -> dict[str, str]:
        """Return the row's texts by column, for keeping: what has no column is named "Field 45"."""
        names = self.header + [f"Field {number}" for number in range(len(self.header) + 1, len(row) + 1)]
        padded = [*row, *[""] * (len(self.header) - len(row))]
        return {name: keepable(text) for name, text in zip(names, padded, strict=True)}


def _storable(text: str) -> None:
    """Raise BadValue for what PostgreSQL cannot keep as text."""
    if "\0" in text:
        raise BadValue("nul_character", "The value contains a NUL character. Remove it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadValue(
            "not_utf8", f'"{keepable(shortened(text))}" contains bytes that are not UTF-8. Type it again.'
        ) from error


def keepable(text: str) -> str:
    """Return the text with a mark (U+FFFD) for each character that the database cannot keep."""
    if "\0" in text:
        text = text.replace("\0", "�")
    return text.encode("utf-8", "replace").decode() if _has_surrogates(text) else text


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
