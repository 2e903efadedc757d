"""Which policy holds for a dispute, and what the product does without one (DSP-05, DSP-09)."""

from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any

from django.db.models import Q, Subquery

from disputes.models import DisputePolicy, Severity
from entities.models import Entity, EntityClosure
from invoicing.models import Invoice, InvoiceLine

HOUR = 60
DAY = 24 * HOUR

DEFAULT_RESPONSE = dict.fromkeys(Severity.values, DAY)
DEFAULT_RESOLUTION = {
    Severity.LOW: 15 * DAY,
    Severity.MEDIUM: 10 * DAY,
    Severity.HIGH: 5 * DAY,
    Severity.CRITICAL: 2 * DAY,
}
"""Minutes around the clock, for whoever has set nothing up."""


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """What of a policy is frozen on a round besides its clocks; amounts in the issuer's currency."""

    name: str = "Defaults"
    window_days: int = 90
    silence_days: int = 10
    collectible_days: int = 14
    reopen_days: int = 30
    small_claims_amount: Decimal = Decimal(0)
    small_claims_currency: str = ""
    late_fees_from_original_date: bool = False
    lead_id: int | None = None

    def as_stored(self) -> dict[str, Any]:
        """The form in which a round keeps it."""
        return asdict(self) | {"small_claims_amount": str(self.small_claims_amount)}


def policy_terms(policy: DisputePolicy | None, issuer: Entity) -> PolicyTerms:
    """What the policy says, or the defaults."""
    if policy is None:
        return PolicyTerms(small_claims_currency=issuer.currency)
    own = {field.name for field in fields(PolicyTerms)} - {"small_claims_currency"}
    return PolicyTerms(small_claims_currency=issuer.currency, **{name: getattr(policy, name) for name in own})


def stored_terms(stored: dict[str, Any]) -> PolicyTerms:
    """Read what ``as_stored`` wrote."""
    known = {field.name for field in fields(PolicyTerms)}
    values = {name: value for name, value in stored.items() if name in known}
    return PolicyTerms(**values | {"small_claims_amount": Decimal(stored["small_claims_amount"])})


def policy_for(invoice: Invoice, line: InvoiceLine | None) -> DisputePolicy | None:
    """The most particular active policy: of the line's contract, of the nearest customer, of the issuer.

    None where the issuer has none. Two queries.
    """
    above = EntityClosure.objects.filter(descendant_id=invoice.entity_id)
    active = DisputePolicy.objects.active().filter(issuer_id=invoice.issuer_id)
    fitting = active.filter(
        Q(contract_id=line.contract_id if line and line.contract_id else 0)
        | Q(contract__isnull=True, customer__isnull=True)
        | Q(customer_id__in=Subquery(above.values("ancestor_id")))
    )
    depths = dict(above.values_list("ancestor_id", "depth"))

    def particularity(policy: DisputePolicy) -> tuple[int, int]:
        if policy.contract_id:
            return (0, 0)
        return (1, depths[policy.customer_id]) if policy.customer_id else (2, 0)

    return min(
        fitting.select_related("calendar").prefetch_related("targets"), key=particularity, default=None
    )
