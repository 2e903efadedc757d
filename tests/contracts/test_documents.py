"""Documents and confidential terms: encrypted at rest, every reading on record (SEC-02, SEC-03)."""

from pathlib import Path

import pytest
from django.db import connection

from contracts.models import Contract, ContractAccess, ContractDocument
from contracts.services.contract import contract_update
from contracts.services.documents import confidential_terms_read, document_add, document_read
from core.errors import Conflict, Forbidden, Invalid, NotFound
from entities.models import Role
from tests.contracts.builders import Place
from tests.entities import factories

SECRET = b"%PDF-1.7 secret price list"


def add(here: Place, contract: Contract, content: bytes = SECRET) -> ContractDocument:
    return document_add(
        actor=here.staff,
        contract_id=contract.pk,
        name="Agreement.pdf",
        content=content,
        content_type="application/pdf",
    )


def accesses() -> list[tuple[str, str, int]]:
    return list(ContractAccess.objects.order_by("pk").values_list("part", "action", "actor_id"))


def test_sec_03_a_document_is_encrypted_on_disk_and_its_reading_is_recorded(here: Place) -> None:
    document = add(here, here.draft())
    stored = Path(document.file.path).read_bytes()
    assert b"secret" not in stored and document.size == len(SECRET)
    assert document_read(actor=here.finance, document_id=document.pk) == SECRET
    assert accesses() == [("document", "opened", here.finance.pk)]


def test_sec_03_who_may_not_read_a_document_leaves_no_trace_of_reading(here: Place) -> None:
    document = add(here, here.draft())
    approver = factories.member(here.root, Role.APPROVER)
    with pytest.raises(Forbidden):
        document_read(actor=approver, document_id=document.pk)
    with pytest.raises(NotFound):
        document_read(actor=here.outsider, document_id=document.pk)
    assert accesses() == []


def test_a_stored_file_that_was_altered_is_not_handed_out(here: Place) -> None:
    document = add(here, here.draft())
    Path(document.file.path).write_bytes(b"other")
    with pytest.raises(Conflict) as refusal:
        document_read(actor=here.finance, document_id=document.pk)
    assert refusal.value.code == "document_missing"


def test_an_empty_document_is_refused(here: Place) -> None:
    with pytest.raises(Invalid):
        add(here, here.draft(), b"")
    assert not ContractDocument.objects.exists()


def test_con_02_a_signature_takes_the_hash_of_the_uploaded_document(here: Place) -> None:
    contract = here.approved()
    document = add(here, contract)
    signatory = contract.signatories.order_by("pk")[0]
    with pytest.raises(Invalid) as refusal:
        here.signature(signatory, document_id=document.pk)
    assert refusal.value.code == "hash_differs"
    signature = here.signature(signatory, document_id=document.pk, document_sha256="")
    assert (signature.document_sha256, signature.document) == (document.sha256, document)


def test_sec_03_confidential_terms_are_encrypted_and_their_reading_is_recorded(here: Place) -> None:
    contract = here.draft()
    contract_update(actor=here.staff, contract_id=contract.pk, changes={"confidential_terms": "Rebate 12 %"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT confidential_terms FROM billing_contracts")
        assert "Rebate" not in cursor.fetchone()[0]
    assert confidential_terms_read(actor=here.finance, contract_id=contract.pk) == "Rebate 12 %"
    assert accesses() == [
        ("confidential_terms", "changed", here.staff.pk),
        ("confidential_terms", "opened", here.finance.pk),
    ]
    assert not any(field.name == "confidential_terms" for field in Contract.history.model._meta.fields)
