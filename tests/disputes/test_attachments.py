"""Files on disputes: who attaches, who sees, and what stays (DSP-08, DSP-18)."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction

from core.errors import Forbidden, NotFound
from core.models import User
from disputes.models import BillingDispute, DisputeAttachment
from disputes.services.attachments import attachment_add, attachment_remove
from disputes.services.comments import comment_add
from disputes.services.ending import dispute_withdraw
from disputes.services.handling import dispute_wait_for_customer
from tests.disputes.builders import Desk, log, refused

PDF = b"%PDF-1.7 order confirmation"


def attach(dispute: BillingDispute, actor: User, **fields: Any) -> DisputeAttachment:
    """A PDF for both sides, unless told."""
    values = {"name": "order.pdf", "content": PDF, "visibility": "customer", **fields}
    return attachment_add(
        actor=actor, dispute_id=dispute.pk, file=ContentFile(values.pop("content")), **values
    )


def seen_by(user: User) -> list[str]:
    rows = DisputeAttachment.objects.attached().visible_to(user).order_by("pk")
    return list(rows.values_list("name", flat=True))


def test_dsp_18_a_file_is_kept_under_the_fingerprint_of_its_content(desk: Desk) -> None:
    dispute = desk.open()
    file = attach(dispute, desk.customer, name="C:\\Orders\\order.pdf")
    digest = hashlib.sha256(PDF).hexdigest()
    assert (file.name, file.content_type, file.size, file.sha256) == (
        "order.pdf", "application/pdf", 27, digest,
    )  # fmt: skip
    assert Path(file.file.path).read_bytes() == PDF
    assert Path(file.file.path).name == f"{digest[:16]}.pdf"
    assert Path(file.file.path).is_relative_to(settings.MEDIA_ROOT)
    assert log(dispute) == ["opened", "attached"]
    event = dispute.events.get(kind="attached")
    assert (event.is_public, event.actor) == (True, desk.customer)
    assert event.details == {"attachment_id": file.pk, "name": "order.pdf", "sha256": digest}


def test_dsp_18_what_staff_keeps_to_itself_the_customer_never_sees(desk: Desk) -> None:
    dispute = desk.open()
    attach(dispute, desk.staff, name="calculation.pdf", visibility="internal")
    attach(dispute, desk.staff, name="answer.pdf", content=b"%PDF-1.7 answer")
    assert seen_by(desk.staff) == seen_by(desk.auditor) == ["calculation.pdf", "answer.pdf"]
    assert seen_by(desk.customer) == seen_by(desk.buyer) == ["answer.pdf"]
    assert seen_by(desk.neighbour) == seen_by(desk.stranger) == []
    assert list(dispute.events.filter(kind="attached").values_list("is_public", flat=True)) == [False, True]


def test_dsp_18_customers_attach_for_both_sides_only(desk: Desk) -> None:
    dispute = desk.open()
    with refused("internal_is_for_staff"):
        attach(dispute, desk.customer, visibility="internal")
    with refused("invalid_choice"):
        attach(dispute, desk.staff, visibility="everyone")
    for outsider in (desk.auditor, desk.neighbour, desk.stranger):
        with pytest.raises((Forbidden, NotFound)):
            attach(dispute, outsider)
    assert not DisputeAttachment.objects.exists()


def test_dsp_08_a_file_of_the_customer_ends_the_waiting_for_them(desk: Desk) -> None:
    dispute = desk.open()
    dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk)
    attach(dispute, desk.staff, name="form.pdf", content=b"%PDF-1.7 form")
    assert desk.again(dispute).status == "waiting_customer"
    attach(dispute, desk.customer)
    assert desk.again(dispute).status == "investigating"
    assert log(dispute) == ["opened", "status", "attached", "attached", "status"]


def test_the_same_content_is_attached_once_per_readers(desk: Desk) -> None:
    dispute = desk.open()
    attach(dispute, desk.staff, visibility="internal")
    # That staff has it already for itself is nothing that the customer learns.
    attach(dispute, desk.customer)
    with refused("attached_before"):
        attach(dispute, desk.customer, name="again.pdf")
    assert DisputeAttachment.objects.count() == 2


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("run.exe", b"MZ", "file_type_not_allowed"),
        ("order.pdf", b"<html>", "file_content_differs"),
        ("order.pdf", b"", "file_empty"),
        ("order.pdf", PDF.ljust(1024 * 1024 + 1), "file_too_large"),
    ],
)
def test_other_files_are_refused(desk: Desk, settings: Any, name: str, content: bytes, code: str) -> None:
    settings.DISPUTE_ATTACHMENT_MEGABYTES = 1
    dispute = desk.open()
    with refused(code):
        attach(dispute, desk.customer, name=name, content=content)
    assert not DisputeAttachment.objects.exists()


def test_a_file_is_part_of_ones_own_comment_with_the_same_readers(desk: Desk) -> None:
    dispute, other = desk.open(), desk.open()
    own = comment_add(actor=desk.staff, dispute_id=dispute.pk, body="See this", visibility="customer")
    note = comment_add(actor=desk.staff, dispute_id=dispute.pk, body="For us")
    theirs = comment_add(actor=desk.customer, dispute_id=dispute.pk, body="And?", visibility="customer")
    elsewhere = comment_add(actor=desk.staff, dispute_id=other.pk, body="Other", visibility="customer")
    assert attach(dispute, desk.staff, comment_id=own.pk).comment == own
    with refused("comment_visibility_differs"):
        attach(dispute, desk.staff, content=b"%PDF-1.7 b", comment_id=note.pk)
    with refused("not_the_author"):
        attach(dispute, desk.staff, content=b"%PDF-1.7 c", comment_id=theirs.pk)
    for unknown, actor in ((elsewhere, desk.staff), (note, desk.customer)):
        with refused("does_not_exist"):
            attach(dispute, actor, content=b"%PDF-1.7 d", comment_id=unknown.pk)
    assert DisputeAttachment.objects.count() == 1


def test_who_attached_a_file_takes_it_off_while_it_is_open(desk: Desk) -> None:
    dispute = desk.open()
    file, kept = attach(dispute, desk.customer), attach(dispute, desk.staff, content=b"%PDF-1.7 kept")
    with refused("not_the_uploader"):
        attachment_remove(actor=desk.second_customer, attachment_id=file.pk)
    attachment_remove(actor=desk.customer, attachment_id=file.pk, reason="The wrong order")
    row = DisputeAttachment.objects.get(pk=file.pk)
    assert (row.removed_by, row.removed_at is not None, row.sha256) == (desk.customer, True, file.sha256)
    assert seen_by(desk.customer) == ["order.pdf"] and log(dispute)[-1] == "detached"
    event = dispute.events.get(kind="detached")
    assert (event.note, event.is_public, event.details["name"]) == ("The wrong order", True, "order.pdf")
    with refused("not_found"):
        attachment_remove(actor=desk.customer, attachment_id=file.pk)
    # Taken off, it may be attached again.
    attach(dispute, desk.customer)
    dispute_withdraw(actor=desk.customer, dispute_id=dispute.pk)
    with refused("attachment_kept"):
        attachment_remove(actor=desk.staff, attachment_id=kept.pk)


def test_dsp_18_an_internal_file_is_not_found_by_customers(desk: Desk) -> None:
    file = attach(desk.open(), desk.staff, visibility="internal")
    with refused("not_found"):
        attachment_remove(actor=desk.customer, attachment_id=file.pk)


def test_customers_attach_nothing_once_it_is_over(desk: Desk) -> None:
    dispute = desk.open()
    dispute_withdraw(actor=desk.customer, dispute_id=dispute.pk)
    with refused("dispute_over"):
        attach(dispute, desk.customer)
    assert attach(dispute, desk.staff, visibility="internal").pk


def test_the_database_keeps_a_file_as_it_was_attached(desk: Desk) -> None:
    file = attach(desk.open(), desk.customer)
    rows = DisputeAttachment.objects.filter(pk=file.pk)
    for change in (
        {"name": "other.pdf"}, {"sha256": "0" * 64}, {"visibility": "internal"}, {"uploaded_by": desk.staff},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**change)
    with pytest.raises(IntegrityError), transaction.atomic():
        rows.delete()
    attachment_remove(actor=desk.customer, attachment_id=file.pk)
    with pytest.raises(IntegrityError), transaction.atomic():
        rows.update(removed_at=None)
