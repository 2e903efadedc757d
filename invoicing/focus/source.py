"""Opening a file as text without reading it whole: plain or gzip, UTF-8 or UTF-16, or a clear refusal."""

import codecs
import gzip
import io
import zlib
from typing import IO, BinaryIO

from invoicing.focus.errors import FileRefused

LONGEST_LINE = 1 << 20
_BUFFER = 1 << 18
_HEAD = 4096

_ARCHIVES = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
)
_BINARIES = (
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite format 3", "a database"),
    (b"\x7fELF", "a program"),
)
_TODO = "Export the data as CSV (plain or gzip) and take that file."


class _CountedFile(io.RawIOBase):
    """Hands on what is read from a file and counts its bytes, for the progress bar."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # any buffer, as RawIOBase has it
        data = self.file.read(len(view))
        view[: len(data)] = data
        self.count += len(data)
        return len(data)


class FocusSource:
    """A FOCUS file opened for reading line by line; `bytes_read` of the file as it lies on disk."""

    def __init__(self, file: BinaryIO | IO[bytes]) -> None:
        self._counted = _CountedFile(file)
        raw = io.BufferedReader(self._counted, _BUFFER)
        try:
            head = raw.peek(_HEAD)[:_HEAD]
            if head.startswith(b"\x1f\x8b"):
                raw = io.BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER)  # type: ignore[arg-type]  # a raw stream
                head = raw.peek(_HEAD)[:_HEAD]
        except (EOFError, OSError, zlib.error) as error:
            raise _bad_gzip(error, None) from error
        _refuse_other_formats(head)
        self.encoding = _encoding(head)
        errors = "surrogateescape" if self.encoding.startswith("utf-8") else "strict"
        self._text = io.TextIOWrapper(raw, encoding=self.encoding, errors=errors, newline="")
        self.line = 0

    @property
    def bytes_read(self) -> int:
        return self._counted.count

    def readline(self) -> str:
        """Return the next line with its end, or "" at the end of the file."""
        try:
            line = self._text.readline(LONGEST_LINE)
        except (EOFError, OSError, zlib.error) as error:
            raise _bad_gzip(error, self.line + 1) from error
        except UnicodeError as error:
            raise FileRefused(
                "not_text", f"The file is not {self.encoding.upper()} throughout. {_TODO}", line=self.line + 1
            ) from error
        if len(line) >= LONGEST_LINE:
            raise FileRefused(
                "line_too_long",
                f"This line is longer than {LONGEST_LINE:,} characters. {_TODO}",
                line=self.line + 1,
            )
        self.line += 1
        return line


def _bad_gzip(error: Exception, line: int | None) -> FileRefused:
    if isinstance(error, EOFError):
        return FileRefused(
            "truncated_gzip",
            "The compressed file ends too early: it was cut off on its way. Nothing of it was taken in; "
            "fetch it again.",
            line=line,
        )
    if isinstance(error, (gzip.BadGzipFile, zlib.error)):
        return FileRefused(
            "bad_gzip", f"The compressed file is damaged ({error}). Fetch it again.", line=line
        )
    return FileRefused("unreadable_file", f"The file cannot be read: {error}.", line=line)


def _refuse_other_formats(head: bytes) -> None:
    if not head:
        raise FileRefused("empty_file", "The file is empty. Export it again.")
    if head.startswith(b"PK\x03\x04") and (b"xl/" in head or b"[Content_Types]" in head):
        raise FileRefused("not_csv", f"This is an Excel workbook. {_TODO}")
    for magic, what in _ARCHIVES:
        if head.startswith(magic):
            raise FileRefused("not_csv", f"This is {what}. Unpack it, or compress the CSV with gzip.")
    for magic, what in _BINARIES:
        if head.startswith(magic):
            raise FileRefused("not_csv", f"This is {what}. {_TODO}")


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first_line = head.partition(b"\n")[0]
    if b"\0" in first_line:
        raise FileRefused(
            "not_csv",
            "This is no text: its first line has NUL bytes. If it is UTF-16, save it with a byte order mark or as "
            f"UTF-8. {_TODO}",
            line=1,
        )
    return "utf-8-sig"
