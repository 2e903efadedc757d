"""Going through the rows of a FOCUS file, one at a time: what is good is parsed, what is not is named."""

import csv
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from invoicing.focus.columns import BY_KEY, MANDATORY, column_key, detect_version
from invoicing.focus.errors import FileRefused, Problem
from invoicing.focus.rows import RowParser, RowRefused, StagedRow, keepable
from invoicing.focus.source import LONGEST_LINE, FocusSource
from invoicing.focus.values import shortened

# Python's own limit (128 KiB) is below what a row with many tags may hold; a line is bounded by the source.
csv.field_size_limit(LONGEST_LINE)

_MOST_COLUMNS = 1_000
_LONGEST_KEPT_LINE = 100_000


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A row that cannot be taken in, with all that is wrong with it; `raw_text` if it is no row at all."""

    line_number: int
    values: dict[str, str]
    problems: list[Problem]
    raw_text: str = ""


class _Lines:
    """The physical lines of the file, those of the current record remembered so that they can be read again."""

    def __init__(self, source: FocusSource) -> None:
        self.source = source
        self.record: list[str] = []
        self.number = 0
        self._again: deque[str] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self.source.readline()
        if not line:
            raise StopIteration
        self.record.append(line)
        self.number += 1
        return line

    def give_up_first_line(self) -> str:
        """Take the first line out of the current record and put the others back."""
        first, *others = self.record
        self._again.extendleft(reversed(others))
        self.number -= len(others)
        self.record.clear()
        return first


class FocusReader:
    """The header and the rows of one file. Raises FileRefused when made, or while its rows are read."""

    def __init__(
        self, source: FocusSource, *, convertible: Collection[str] | None = None, into: str = ""
    ) -> None:
        self.source = source
        self._lines = _Lines(source)
        header, delimiter = self._read_header()
        self._rows = csv.reader(self._lines, delimiter=delimiter, strict=True)
        self.header = header
        self.version = detect_version(header)
        self.parser = RowParser(header, convertible=convertible, into=into)

    def _read_header(self) -> tuple[list[str], str]:
        first = ""
        while not first.strip():
            first = next(self._lines, "")
            if not first:
                raise FileRefused("empty_file", "The file has no text in it. Export it again.")
        _refuse_markup(first, self._lines.number)
        delimiter = max(",;\t|", key=lambda character: first.count(character))
        if delimiter not in first:
            delimiter = ","
        try:
            names = next(csv.reader([first], delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise FileRefused(
                "not_csv",
                f"The header is no CSV ({error}). It begins: {shortened(first)}",
                line=self._lines.number,
            ) from error
        self._lines.record.clear()
        return _checked_header([name.strip() for name in names], self._lines.number), delimiter

    def __iter__(self) -> Iterator[StagedRow | RejectedLine]:
        """Yield each row: parsed, or with what is wrong with it. Blank lines are no rows."""
        lines, record, parse = self._lines, self._lines.record, self.parser.parse
        while True:
            try:
                for row in self._rows:
                    line_number = lines.number - len(record) + 1
                    if row:
                        try:
                            parsed: StagedRow | RejectedLine | None = parse(row, line_number)
                        except RowRefused:
                            parsed = self._refused(row, line_number)
                        if parsed is not None:
                            yield parsed
                    record.clear()
                return
            except csv.Error as error:
                yield self._unreadable(error)

    def _refused(self, row: list[str], line_number: int) -> RejectedLine | None:
        if not any(map(str.strip, row)):
            return None  # spreadsheets leave lines of commas behind
        if len(row) != len(self.header) and len(self._lines.record) > 1:
            # Quotes gone wrong have swallowed the lines that follow: those are read again.
            problem = self.parser.problems(row)[0]
            return self._unreadable_line(problem.code, problem.detail)
        return RejectedLine(line_number, self.parser.values_of(row), self.parser.problems(row))

    def _unreadable(self, error: csv.Error) -> RejectedLine:
        if str(error) == "unexpected end of data" or "field limit" in str(error):
            return self._unreadable_line(
                "unterminated_quote",
                "A quotation mark opens a value here and none closes it. Add the missing one.",
            )
        return self._unreadable_line(
            "malformed_csv",
            f"The line is no CSV: {error}. A quotation mark inside of a value must be doubled.",
        )

    def _unreadable_line(self, code: str, detail: str) -> RejectedLine:
        """Refuse the first line of the current record; the others are read again as rows of their own."""
        line_number = self._lines.number - len(self._lines.record) + 1
        text = keepable(self._lines.give_up_first_line().rstrip("\r\n"))
        values = dict.fromkeys(self.header, "")
        return RejectedLine(line_number, values, [Problem("", code, detail)], text[:_LONGEST_KEPT_LINE])


def _refuse_markup(first: str, line: int) -> None:
    start = first.lstrip()[:1]
    what = {"<": "a web page or XML", "{": "JSON", "[": "JSON"}.get(start)
    if what:
        raise FileRefused("not_csv", f"This is {what}, not CSV. Export the data as CSV.", line=line)


def _checked_header(names: list[str], line: int) -> list[str]:
    if len(names) > _MOST_COLUMNS:
        raise FileRefused(
            "not_focus",
            f"The header has {len(names):,} columns; at most {_MOST_COLUMNS:,} are read.",
            line=line,
        )
    keys = [column_key(name) for name in names]
    missing = [name for name in MANDATORY if column_key(name) not in keys]
    if len(missing) == len(MANDATORY):
        raise FileRefused(
            "not_focus",
            "This is not a FOCUS export: it has none of the columns "
            f"{', '.join(MANDATORY)}. The first line reads: {shortened(', '.join(names))}",
            line=line,
        )
    if missing:
        raise FileRefused(
            "not_focus",
            f"The columns {', '.join(missing)} are missing. A FOCUS export has them: export it with all columns.",
            line=line,
        )
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise FileRefused(
                "duplicate_column",
                f'The column "{shortened(names[number])}" stands twice in the header: which one counts? Remove one.',
                line=line,
            )
    for number, name in enumerate(names):
        if not name or keepable(name) != name:
            raise FileRefused(
                "bad_header", f"Column {number + 1} of the header has no readable name.", line=line
            )
    # Known columns get FOCUS's own spelling, so that a rejected row reads the same whoever wrote the file.
    return [BY_KEY[key].name if key in BY_KEY else name for key, name in zip(keys, names, strict=True)]
