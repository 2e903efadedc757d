"""An entity with an issuer and people, and contracts of it built through the services."""

import datetime
from dataclasses import dataclass
from typing import Any

from approvals.selectors import request_for
from approvals.services.requests import request_withdraw
from contracts.models import (
    Contract,
    ContractAmendment,
    ContractEvent,
    ContractStatus,
    EventKind,
    RequiredSignatory,
    Signature,
)
from contracts.selectors.contract import business_today
from contracts.services.activation import contract_activate
from contracts.services.amendments import (
    amendment_approved,
    amendment_bring_into_force,
    amendment_create,
)
from contracts.services.contract import contract_approved, contract_create, contract_submit
from contracts.services.fingerprint import amendment_fingerprint, contract_fingerprint
from contracts.services.signing import signature_record, signing_places
from core import clock
from core.access import system_actor
from core.models import User
from entities.models import Entity, Role
from tests.entities import factories

START = datetime.date(2026, 1, 1)
END = datetime.date(2027, 1, 1)
HASH = "0" * 64
PLATFORM = {"code": "platform", "name": "Platform", "price": "1000.00"}
SEATS = {
    "code": "seats",
    "name": "Seats",
    "pricing": "per_unit",
    "price": "25.00",
    "quantity_source": "fixed",
    "quantity": "10",
}
UPTIME = {
    "code": "uptime",
    "metric": "Availability",
    "target": "99.9",
    "tiers": [
        {"threshold": "99.9", "credit_percent": "5"},
        {"threshold": "99", "credit_percent": "10"},
    ],
    "credit_cap_percent": "10",
}
SIGNATORIES = ({"side": "issuer", "name": "Ida Issuer"}, {"side": "customer", "name": "Carl Customer"})


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


@dataclass
class Place:
    """An entity in USD below a root that issues, with a finance manager, a member of finance and an outsider."""

    root: Entity
    issuer: Entity
    entity: Entity
    finance: User
    staff: User
    outsider: User

    def draft(self, **fields: Any) -> Contract:
        """A draft for 2026 worth 12 000 with one recurring price and a signatory on each side."""
        values: dict[str, Any] = {
            "entity": self.entity,
            "title": "Platform agreement",
            "start_date": START,
            "end_date": END,
            "value": "12000.00",
            "prices": [PLATFORM],
            "signatories": SIGNATORIES,
            "is_retroactive": True,
            **fields,
        }
        return contract_create(actor=self.staff, **values)

    def approved(self, **fields: Any) -> Contract:
        """A contract that awaits its signatures, by way of its approval."""
        contract = self.draft(**fields)
        contract_submit(actor=self.staff, contract_id=contract.pk)
        return contract_approved(actor=system_actor(), contract_id=contract.pk)

    def sign(self, contract: Contract, amendment: ContractAmendment | None = None) -> None:
        """Everybody who has not signed does so: as `signature_record` leaves it, in one statement."""
        current = Contract.objects.get(pk=contract.pk)
        content = amendment_fingerprint(amendment) if amendment else contract_fingerprint(current)
        Signature.objects.bulk_create(
            Signature(
                signatory=place.signatory,
                signed_at=clock.now(),
                document_sha256=HASH,
                content_sha256=content,
                recorded_by=self.staff,
            )
            for place in signing_places(contract, amendment)
            if place.signature is None
        )

    def signature(self, signatory: RequiredSignatory, **fields: Any) -> Any:
        values: dict[str, Any] = {"document_sha256": HASH, **fields}
        return signature_record(actor=self.staff, signatory_id=signatory.pk, **values)

    def active(self, **fields: Any) -> Contract:
        """An activated contract; that it was submitted and approved stands in its rows, and nobody was asked.

        Going through the approvers takes three times as long; the tests of approvals and signatures do that.
        """
        contract = self.draft(**fields)
        Contract.objects.filter(pk=contract.pk).update(
            status=ContractStatus.AWAITING_SIGNATURE, approved_at=clock.now()
        )
        ContractEvent.objects.bulk_create(
            ContractEvent(
                contract=contract, kind=kind, effective_on=business_today(contract), actor=self.staff
            )
            for kind in (EventKind.SUBMITTED, EventKind.APPROVED)
        )
        self.sign(contract)
        return contract_activate(actor=self.finance, contract_id=contract.pk)

    def amendment(self, contract: Contract, effective_from: str, **changes: Any) -> ContractAmendment:
        """A draft amendment."""
        return amendment_create(
            actor=self.staff,
            contract_id=contract.pk,
            title="Change",
            effective_from=day(effective_from),
            changes=changes,
            is_retroactive=True,
        )

    def ready(self, contract: Contract, effective_from: str, **changes: Any) -> ContractAmendment:
        """An approved amendment that everybody has signed; as with `active`, nobody was asked."""
        amendment = self.amendment(contract, effective_from, **changes)
        amendment = amendment_approved(actor=system_actor(), amendment_id=amendment.pk)
        self.sign(contract, amendment)
        return amendment

    def amend(self, contract: Contract, effective_from: str, **changes: Any) -> ContractAmendment:
        """An amendment in force."""
        amendment = self.ready(contract, effective_from, **changes)
        return amendment_bring_into_force(actor=self.finance, amendment_id=amendment.pk)


def place() -> Place:
    root = factories.entity("Contoso", currency="USD")
    issuer = factories.entity("Contoso Services", parent=root, is_issuer=True, is_default_issuer=True)
    return Place(
        root=root,
        issuer=issuer,
        entity=factories.entity("Contoso Retail", parent=root),
        finance=factories.member(root, Role.FINANCE_MANAGER),
        staff=factories.member(root, Role.FINANCE_STAFF),
        outsider=factories.member(factories.entity("Fabrikam"), Role.ADMINISTRATOR),
    )


def kinds(contract: Contract) -> list[EventKind]:
    """What has happened, in the order in which it was recorded."""
    return [EventKind(kind) for kind in contract.events.order_by("pk").values_list("kind", flat=True)]


def withdraw(here: Place, request_type: str, subject_id: int) -> None:
    """Whoever asked for the approval takes the request back."""
    request = request_for(request_type=request_type, subject_id=subject_id)
    assert request is not None
    request_withdraw(actor=here.staff, request_id=request.pk)
