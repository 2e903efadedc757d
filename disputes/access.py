"""On whose side somebody stands in a dispute, and what that lets them do (ENT-04, DSP-18).

Staff is who holds the rights of handling at the issuer; everybody else who sees the dispute is on the customer's side.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from core.access import get_visible, has, require
from core.errors import Forbidden
from core.models import User
from disputes.models import BillingDispute, Speaker
from disputes.querysets import INTERNAL
from entities.models import Entity
from invoicing.models import Invoice, InvoiceLine

HANDLE = "disputes.handle_billingdispute"
OPEN = "disputes.add_billingdispute"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a right is asked for."""

    name: str
    access_entity_id: int
    access_department_id: int | None

    def __str__(self) -> str:
        return self.name


def customer_places(invoice: Invoice, line: InvoiceLine | None) -> list[Place]:
    """Where the customer's people are: at the payer, and at the entity and department that the line is for."""
    places = [Place(invoice.entity.name, invoice.entity_id, None)]
    if line is not None:
        places.append(Place(line.department_name or line.entity_name, line.entity_id, line.department_id))
    return places


def opens_at(user: User, places: Iterable[Place]) -> bool:
    """Whether the user may open disputes at one of the places."""
    return any(has(user, OPEN, place) for place in places)  # type: ignore[arg-type]


def reads_internal(user: User, issuer: Entity) -> bool:
    """Whether the user is on the staff's side at the issuer."""
    return has(user, INTERNAL, issuer)


def speaks_as(user: User, dispute: BillingDispute) -> Speaker:
    """Staff where the user handles disputes of the issuer, else the customer.

    Raises Forbidden ``takes_no_part`` for who only reads: an auditor, say.
    """
    if has(user, HANDLE, dispute.issuer):
        return Speaker.STAFF
    if opens_at(user, customer_places(dispute.invoice, dispute.invoice_line)):
        return Speaker.CUSTOMER
    raise Forbidden(
        "takes_no_part",
        f"You can read {dispute} but take no part in it. Ask an administrator for a role that opens or handles "
        "disputes.",
        extra={"permission": OPEN},
    )


def require_handler(user: User, dispute: BillingDispute) -> None:
    """Refuse who does not handle disputes of the issuer."""
    require(user, HANDLE, dispute.issuer)


def dispute_seen(user: User, dispute_id: int) -> BillingDispute:
    """The dispute, with what is asked of it most often; raises NotFound."""
    found: BillingDispute = get_visible(
        BillingDispute.objects.select_related("invoice__entity", "invoice_line", "issuer", "entity", "hold"),
        user,
        dispute_id,
        name="dispute",
    )
    return found
