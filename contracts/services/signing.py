"""Who must sign, and who has (CON-02)."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from contracts.models import (
    BEFORE_ACTIVATION,
    AmendmentStatus,
    Contract,
    ContractAmendment,
    ContractDocument,
    ContractStatus,
    RequiredSignatory,
    Side,
    Signature,
    SignatureMethod,
)
from contracts.services.decisions import require_authority
from contracts.services.fingerprint import amendment_fingerprint, contract_fingerprint
from contracts.services.status import lock_contract, require_status
from core import clock
from core.access import get_visible
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.outbox import publish
from entities.services.records import apply_changes, check_fields, field_error

SIGNATORY_FIELDS = frozenset({"side", "name", "job_title", "email", "user", "position"})
OPEN_AMENDMENTS = (
    AmendmentStatus.DRAFT,
    AmendmentStatus.PENDING_APPROVAL,
    AmendmentStatus.AWAITING_SIGNATURE,
)


@transaction.atomic
def signatory_add(
    *, actor: User, contract_id: int, amendment_id: int | None = None, **fields: Any
) -> RequiredSignatory:
    """Name somebody who must sign a contract, or one of its amendments, before it takes effect.

    ``side``, ``name``; and ``job_title``, ``email``, ``user`` (an internal signatory), ``position`` (signing order).
    """
    contract = lock_contract(actor, contract_id, "contracts.change_contract")
    amendment = _open_amendment(contract, amendment_id)
    with record_as(actor):
        return signatory_save(contract, amendment, fields)


def signatory_save(
    contract: Contract, amendment: ContractAmendment | None, fields: Mapping[str, Any]
) -> RequiredSignatory:
    """Write a required signatory; the caller has asked for the right and holds the lock."""
    signatory = RequiredSignatory(contract=contract, amendment=amendment)
    apply_changes(signatory, dict(fields), allowed=SIGNATORY_FIELDS)
    if not signatory.name and signatory.user is not None:
        signatory.name = signatory.user.display_name
    check_fields(signatory)
    signatory.save()
    return signatory


@transaction.atomic
def signatory_remove(*, actor: User, signatory_id: int) -> None:
    """Take back that somebody must sign, unless they ever have. Raises Conflict ``signatory_has_signed``."""
    seen: RequiredSignatory = get_visible(
        RequiredSignatory.objects.all(), actor, signatory_id, name="signatory"
    )
    contract = lock_contract(actor, seen.contract_id, "contracts.change_contract")
    _open_amendment(contract, seen.amendment_id)
    if Signature.objects.filter(signatory=seen).exists():
        raise Conflict(
            "signatory_has_signed", f"{seen} has signed: that stays on record. Add another signatory instead."
        )
    with record_as(actor):
        seen.delete()


def _open_amendment(contract: Contract, amendment_id: int | None) -> ContractAmendment | None:
    if amendment_id is None:
        require_status(contract, BEFORE_ACTIVATION, "given other signatories")
        return None
    amendment = ContractAmendment.objects.filter(contract=contract, pk=amendment_id).first()
    if amendment is None:
        raise field_error("amendment_id", "does_not_exist", f"“{contract}” has no amendment {amendment_id}.")
    if amendment.status not in OPEN_AMENDMENTS:
        raise Conflict(
            "amendment_decided", f"{amendment} is {amendment.get_status_display().lower()} already."
        )
    return amendment


@dataclass(frozen=True, slots=True)
class SigningPlace:
    """A required signatory, and the standing signature if there is one."""

    signatory: RequiredSignatory
    signature: Signature | None


def signing_places(contract: Contract, amendment: ContractAmendment | None = None) -> list[SigningPlace]:
    """Who must sign a contract, or one of its amendments, in order, and who has (two queries)."""
    required = list(
        RequiredSignatory.objects.of(contract.pk, amendment.pk if amendment else None).select_related("user")
    )
    standing = Signature.objects.standing().filter(signatory__in=[each.pk for each in required])
    given = {signature.signatory_id: signature for signature in standing}
    return [SigningPlace(each, given.get(each.pk)) for each in required]


@transaction.atomic
def signature_record(
    *,
    actor: User,
    signatory_id: int,
    document_sha256: str = "",
    document_id: int | None = None,
    signed_at: datetime.datetime | None = None,
    method: str = SignatureMethod.ELECTRONIC,
) -> Signature:
    """Record that a signatory has signed: the hash of the signed file, or the file itself, is kept (CON-02).

    ``document_id`` names an uploaded document; its hash is used. Raises Conflict ``not_awaiting_signature``,
    ``already_signed``, ``signing_order``; Forbidden ``authority_too_low`` if an internal signatory's limit is below the
    total value; Invalid for hash, time or document.
    """
    seen: RequiredSignatory = get_visible(
        RequiredSignatory.objects.all(), actor, signatory_id, name="signatory"
    )
    contract = lock_contract(actor, seen.contract_id, "contracts.sign_contract")
    amendment = seen.amendment
    _require_awaiting(contract, amendment)
    _require_turn(seen, contract, amendment)
    require_authority(seen, contract, amendment)
    moment = signed_at or clock.now()
    if moment > clock.now():
        raise field_error(
            "signed_at", "signed_in_the_future", "A signature cannot be of a later moment than now."
        )
    document = _document(contract, document_id)
    if document is not None:
        if document_sha256 and document_sha256.lower() != document.sha256:
            detail = "The document has another hash. Upload the file that was signed."
            raise field_error("document_sha256", "hash_differs", detail)
        document_sha256 = document.sha256
    content = amendment_fingerprint(amendment) if amendment else contract_fingerprint(contract)
    signature = Signature(
        signatory=seen,
        signed_at=moment,
        method=method,
        document_sha256=document_sha256.lower(),
        document=document,
        content_sha256=content,
        recorded_by=actor,
    )
    check_fields(signature)
    signature.save()
    publish(
        "contract.signed",
        {"contract_id": contract.pk, "signatory_id": seen.pk, "amendment_id": seen.amendment_id},
        key=f"contract:{contract.pk}",
    )
    return signature


def _require_awaiting(contract: Contract, amendment: ContractAmendment | None) -> None:
    awaits = (
        contract.status == ContractStatus.AWAITING_SIGNATURE
        if amendment is None
        else amendment.status == AmendmentStatus.AWAITING_SIGNATURE
    )
    if not awaits:
        paper = contract if amendment is None else amendment
        raise Conflict(
            "not_awaiting_signature",
            f"“{paper}” is {paper.get_status_display().lower()}. It is signed after it was approved.",
            extra={"status": paper.status},
        )


def _require_turn(
    signatory: RequiredSignatory, contract: Contract, amendment: ContractAmendment | None
) -> None:
    places = signing_places(contract, amendment)
    if any(place.signatory.pk == signatory.pk and place.signature for place in places):
        raise Conflict("already_signed", f"{signatory} has signed already.")
    if signatory.position is None:
        return
    before = [
        place.signatory
        for place in places
        if place.signatory.position is not None
        and place.signatory.position < signatory.position
        and place.signature is None
    ]
    if before:
        names = ", ".join(str(each) for each in before)
        raise Conflict(
            "signing_order",
            f"The signing order is agreed: first {names}.",
            extra={"waiting_for": [each.pk for each in before]},
        )


def _document(contract: Contract, document_id: int | None) -> ContractDocument | None:
    if document_id is None:
        return None
    document = ContractDocument.objects.filter(contract=contract, pk=document_id).first()
    if document is None:
        raise field_error("document_id", "does_not_exist", f"“{contract}” has no document {document_id}.")
    return document


def last_signed_on(contract: Contract, amendment: ContractAmendment | None = None) -> datetime.date | None:
    """The business day of the last standing signature, in the contract's zone."""
    last = (
        Signature.objects.standing()
        .filter(signatory__contract=contract, signatory__amendment=amendment)
        .order_by("-signed_at")
        .values_list("signed_at", flat=True)
        .first()
    )
    return clock.business_date(last, contract.time_zone) if last else None


def missing_signatures(
    contract: Contract, amendment: ContractAmendment | None = None
) -> list[tuple[str, str]]:
    """What is missing for both sides to have signed, as (code, sentence): signatories of a side, and signatures."""
    places = signing_places(contract, amendment)
    content = amendment_fingerprint(amendment) if amendment else contract_fingerprint(contract)
    missing = [
        ("no_signatory", f"Nobody is named to sign for the {Side(side).label.lower()}.")
        for side in Side.values
        if not any(place.signatory.side == side for place in places)
    ]
    for place in places:
        if place.signature is None:
            missing.append(("signature_missing", f"{place.signatory} has not signed."))
        elif place.signature.content_sha256 != content:
            missing.append(("other_content_signed", f"{place.signatory} signed another version."))
    return missing
