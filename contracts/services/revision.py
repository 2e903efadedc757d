"""A change of what is agreed, after somebody approved or signed it (CON-02)."""

from collections.abc import Iterator
from contextlib import contextmanager

from contracts.models import Contract, ContractAmendment, ContractStatus, EventKind, Signature
from contracts.services.decisions import contract_changed
from contracts.services.fingerprint import contract_fingerprint
from contracts.services.status import contract_status_refresh, event_record
from core import clock
from core.history import record_as
from core.models import User
from core.outbox import publish

CHANGED = "The content was changed after it was signed."


@contextmanager
def content_may_change(contract: Contract, *, actor: User) -> Iterator[None]:
    """Around a change of a contract that is not active yet: what it voids is voided, if the content does change.

    Signatures become void, and a contract that awaits signature goes back to its approvers. The contract is locked
    and is saved by whoever changes it.
    """
    before = contract_fingerprint(contract)
    yield
    current = Contract.objects.get(pk=contract.pk)
    if contract_fingerprint(current) == before or current.status == ContractStatus.DRAFT:
        return
    signatures_void(current, actor=actor, reason=CHANGED)
    with record_as(actor, "The content was changed."):
        if current.status == ContractStatus.AWAITING_SIGNATURE:
            current.revise()
            current.approved_at = None
            current.save()
            event_record(current, EventKind.REVISED, actor=actor)
            contract_status_refresh(current)
        contract_changed(current, actor=actor)
    publish("contract.changed", {"contract_id": current.pk}, key=f"contract:{current.pk}")


def signatures_void(
    contract: Contract, *, actor: User, reason: str, amendment: ContractAmendment | None = None
) -> int:
    """Make the standing signatures of a contract, or of one of its amendments, void; return how many there were.

    Each is kept as it was given, with the reason (CON-02).
    """
    standing = Signature.objects.standing().filter(
        signatory__contract=contract, signatory__amendment=amendment
    )
    return standing.update(voided_at=clock.now(), void_reason=f"{reason} ({actor.display_name})"[:1000])
