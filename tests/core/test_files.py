"""Uploads: what name and content may be, and what is known of a file that is kept."""

import hashlib
from pathlib import Path

import pytest
from django.core.files.base import ContentFile, File

from core.errors import Invalid
from core.files import MEGABYTE, TYPES_BY_ENDING, checked_file, checked_size, download, sha256_of

PDF = b"%PDF-1.7 offer"
PNG = b"\x89PNG\r\n\x1a\n rest"
ZIP = b"PK\x03\x04 rest"


def upload(content: bytes) -> File:
    return ContentFile(content)


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("offer.pdf", PDF, "application/pdf"),
        ("Photo.PNG", PNG, "image/png"),
        ("photo.jpeg", b"\xff\xd8\xff rest", "image/jpeg"),
        ("list.xlsx", ZIP, TYPES_BY_ENDING[".xlsx"]),
        ("letter.docx", ZIP, TYPES_BY_ENDING[".docx"]),
        ("note.txt", b"Hello", "text/plain"),
        ("rows.csv", b"a,b\n1,2\n", "text/csv"),
    ],
)
def test_the_type_is_told_by_the_name_and_the_content(name: str, content: bytes, content_type: str) -> None:
    checked = checked_file(name, upload(content), 1)
    assert (checked.name, checked.content_type, checked.size) == (name, content_type, len(content))
    assert checked.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("run.exe", b"MZ", "file_type_not_allowed"),
        ("page.html", b"<script>", "file_type_not_allowed"),
        ("picture.svg", b"<svg/>", "file_type_not_allowed"),
        (".pdf", PDF, "file_type_not_allowed"),
        ("none", PDF, "file_type_not_allowed"),
        ("empty.pdf", b"", "file_empty"),
        ("large.pdf", PDF.ljust(MEGABYTE + 1), "file_too_large"),
        ("offer.pdf", b"<script>alert(1)</script>", "file_content_differs"),
        ("photo.png", PDF, "file_content_differs"),
        ("note.txt", b"MZ\x00\x01", "file_content_differs"),
    ],
)
def test_what_is_something_else_than_it_says_is_refused(name: str, content: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked_file(name, upload(content), 1)
    assert refusal.value.code == code


def test_a_file_of_exactly_the_limit_is_taken() -> None:
    assert checked_file("large.pdf", upload(PDF.ljust(MEGABYTE)), 1).size == 1_048_576


def test_a_path_in_the_name_leads_nowhere() -> None:
    for name in ("../../etc/offer.pdf", "C:\\Users\\me\\offer.pdf", "/offer.pdf", " offer.pdf "):
        assert checked_file(name, upload(PDF), 1).name == "offer.pdf"
    checked = checked_file("x" * 300 + ".pdf", upload(PDF), 1)
    assert len(checked.name) == 255
    assert checked.stored_name == f"{hashlib.sha256(PDF).hexdigest()[:16]}.pdf"


def test_the_codes_of_sizes_are_the_callers() -> None:
    for size, code in ((0, "nothing_in_it"), (2 * MEGABYTE, "heavy")):
        with pytest.raises(Invalid) as refusal:
            checked_size(size, 1, empty="nothing_in_it", too_large="heavy")
        assert [problem.pointer for problem in refusal.value.errors] == ["/file"]
        assert refusal.value.code == code


def test_a_file_can_be_read_after_its_fingerprint_was_taken() -> None:
    file = upload(PDF)
    assert sha256_of(file) == hashlib.sha256(PDF).hexdigest()
    assert file.read() == PDF


def test_a_kept_file_is_saved_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "kept.pdf"
    path.write_bytes(PDF)
    with path.open("rb") as opened:
        answer = download(File(opened, name=str(path)), name="offer.pdf", content_type="application/pdf")
    assert answer["Content-Disposition"] == 'attachment; filename="offer.pdf"'
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == ("application/pdf", "nosniff")
