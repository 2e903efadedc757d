"""What can be wrong with a file, and with a row."""

from dataclasses import asdict, dataclass

from core.errors import Invalid


class FileRefused(Invalid):
    """Nothing of the file can be taken in; `line` is where it is wrong, if it is wrong at a line."""

    def __init__(self, code: str, message: str, *, line: int | None = None) -> None:
        if line is not None:
            message = f"Line {line:,}: {message}"
        super().__init__(code, message, extra={} if line is None else {"line": line})
        self.line = line


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one value of a row, or with the row as a whole (`column` is empty then)."""

    column: str
    code: str
    detail: str

    def as_json(self) -> dict[str, str]:
        """Return it as RejectedRow keeps it."""
        return asdict(self)


class BadValue(Exception):
    """A value cannot be taken; turned into a Problem of its column."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail
