"""Documents and confidential terms: encrypted at rest, every reading on record (SEC-02, SEC-03)."""

import hashlib

from cryptography.fernet import Fernet, InvalidToken
from django.core.files.base import ContentFile
from django.db import transaction

from contracts.models import (
    AccessAction,
    AccessedPart,
    Contract,
    ContractAccess,
    ContractAmendment,
    ContractDocument,
    DocumentKind,
)
from contracts.services.status import lock_contract
from core.access import get_visible, require
from core.errors import Conflict
from core.files import checked_size, sha256_of
from core.models import User
from entities.services.records import check_fields, field_error

LARGEST_DOCUMENT = 25
"""Megabytes: a document is encrypted and read in one piece."""


@transaction.atomic
def document_add(
    *,
    actor: User,
    contract_id: int,
    name: str,
    content: bytes,
    content_type: str,
    kind: str = DocumentKind.ATTACHMENT,
    amendment_id: int | None = None,
) -> ContractDocument:
    """Keep a file with a contract, or with one of its amendments, encrypted with a key of its own.

    Raises Invalid ``empty_document``, ``document_too_large``, ``does_not_exist`` (amendment).
    """
    contract = lock_contract(actor, contract_id, "contracts.add_contractdocument")
    amendment = None
    if amendment_id is not None:
        amendment = ContractAmendment.objects.filter(contract=contract, pk=amendment_id).first()
        if amendment is None:
            raise field_error(
                "amendment_id", "does_not_exist", f"“{contract}” has no amendment {amendment_id}."
            )
    file = ContentFile(content)
    size = checked_size(file.size, LARGEST_DOCUMENT, empty="empty_document", too_large="document_too_large")
    key = Fernet.generate_key()
    digest = sha256_of(file)
    document = ContractDocument(
        contract=contract,
        amendment=amendment,
        kind=kind,
        name=name,
        content_type=content_type,
        size=size,
        sha256=digest,
        data_key=key.decode(),
        uploaded_by=actor,
    )
    document.file.save(
        f"{contract.pk}-{digest[:16]}.bin", ContentFile(Fernet(key).encrypt(content)), save=False
    )
    check_fields(document)
    document.save()
    return document


def document_read(*, actor: User, document_id: int) -> bytes:
    """Return the file as it was uploaded, and note who read it.

    Raises NotFound, Forbidden; Conflict ``document_missing`` if the stored file is lost or was altered.
    """
    document: ContractDocument = get_visible(
        ContractDocument.objects.select_related("contract"), actor, document_id, name="document"
    )
    require(actor, "contracts.view_contractdocument", document)
    content = _decrypted(document)
    ContractAccess.objects.create(
        contract=document.contract,
        document=document,
        part=AccessedPart.DOCUMENT,
        action=AccessAction.OPENED,
        actor=actor,
    )
    return content


def _decrypted(document: ContractDocument) -> bytes:
    try:
        with document.file.open("rb") as file:
            content = Fernet(document.data_key.encode()).decrypt(file.read())
    except (FileNotFoundError, InvalidToken):
        content = b""
    if hashlib.sha256(content).hexdigest() != document.sha256:
        raise Conflict(
            "document_missing",
            f"The stored file of “{document}” is lost or was altered. Restore {document.file.name} from the backup.",
            extra={"file": document.file.name, "sha256": document.sha256},
        )
    return content


def confidential_terms_read(*, actor: User, contract_id: int) -> str:
    """Return the confidential terms, and note who read them. Raises NotFound, Forbidden."""
    contract: Contract = get_visible(Contract.objects.all(), actor, contract_id, name="contract")
    require(actor, "contracts.view_confidential_terms", contract)
    ContractAccess.objects.create(
        contract=contract,
        part=AccessedPart.CONFIDENTIAL_TERMS,
        action=AccessAction.OPENED,
        actor=actor,
    )
    return contract.confidential_terms
