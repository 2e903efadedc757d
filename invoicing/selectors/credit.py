"""What a payer owes and is going to owe, against its credit limit (INV-07)."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Exists, F, OuterRef, Q, Sum

from budgets.models import Commitment, CommitmentStatus
from contracts.models import BillableFee
from contracts.services.billing import usage_terms
from core import clock
from core.exchange import convert, rate_for
from core.money import EXACT, exact_sum, round_money
from entities.models import CreditLimitPolicy, Entity
from invoicing.models import OPEN_STATUSES, BilledItem, DocumentType, Invoice, InvoiceStatus
from invoicing.selectors.billing_scope import BillingScope, billing_hierarchy
from invoicing.selectors.uninvoiced import uninvoiced_allocations, uninvoiced_usage

LOOK_BACK = datetime.timedelta(days=366)
"""Usage and allocations of the last year count as uninvoiced; contract fees and drafts of any age do."""


@dataclass(frozen=True, slots=True)
class CreditPosition:
    """Exposure = ``receivables`` + ``uninvoiced`` + ``commitments``, in the payer's ``currency``, at today's rates.

    ``receivables`` are open documents of all issuers. ``uninvoiced`` are drafts with their tax, and what no invoice
    holds yet: usage at cost, with the mark-up that it will be billed with, billable allocations and contract fees that
    may be invoiced, of the last year.
    ``commitments`` are the remainders of approved commitments of the payer's and the entities it pays for. Without
    a ``limit`` nothing is exceeded.
    """

    entity: Entity
    currency: str
    receivables: Decimal
    uninvoiced: Decimal
    commitments: Decimal
    limit: Decimal | None
    policy: str

    @property
    def exposure(self) -> Decimal:
        return exact_sum([self.receivables, self.uninvoiced, self.commitments])

    @property
    def available(self) -> Decimal | None:
        """What is left of the limit; negative when it is exceeded."""
        return None if self.limit is None else EXACT.subtract(self.limit, self.exposure)

    @property
    def exceeded_by(self) -> Decimal:
        return max(Decimal(0), -self.available) if self.available is not None else Decimal(0)

    @property
    def refuses(self) -> bool:
        """Whether the payer's policy refuses what goes beyond its limit, and it is beyond."""
        return bool(self.exceeded_by) and self.policy == CreditLimitPolicy.REFUSE

    @property
    def sentence(self) -> str:
        """How it stands, for people."""
        if self.limit is None:
            return f"{self.entity} has no credit limit; its exposure is {self.exposure:,f} {self.currency}."
        if not self.exceeded_by:
            return f"{self.available:,f} {self.currency} of the credit limit of {self.entity} are left."
        return (
            f"{self.entity} exceeds its credit limit of {self.limit.normalize():,f} {self.currency} by "
            f"{self.exceeded_by:,f}: {self.receivables:,f} open, {self.uninvoiced:,f} not invoiced yet, "
            f"{self.commitments:,f} committed."
        )


def credit_position(entity: Entity) -> CreditPosition:
    """Work out the payer's exposure; a fixed number of statements. Raises Conflict ``no_exchange_rate``."""
    today = clock.today(entity.time_zone)
    first, end = today - LOOK_BACK, today + datetime.timedelta(days=1)
    scope = billing_hierarchy(entity, first, end).scope(first, end)
    ids = {entity.pk, *scope.entity_ids}
    owed = ~Q(document_type=DocumentType.CREDIT_NOTE)
    receivables = (
        Invoice.objects.filter(owed, entity=entity, status__in=OPEN_STATUSES)
        .order_by()
        .values_list("currency")
        .annotate(sum=Sum(F("total") - F("settled_amount")))
    )
    drafts = (
        Invoice.objects.filter(owed, entity=entity, status=InvoiceStatus.DRAFT)
        .order_by()
        .values_list("currency")
        .annotate(sum=Sum("total"))
    )
    held = BilledItem.objects.filter(contract_fee=OuterRef("pk"), released_at__isnull=True)
    fees = (
        BillableFee.objects.filter(~Exists(held), entity_id__in=ids, bill_on__lte=today)
        .order_by()
        .values_list("currency")
        .annotate(sum=Sum("amount"))
    )
    usage = _usage(scope, end)
    allocations = [(one.currency, one.amount) for one in uninvoiced_allocations(scope, None)]
    commitments = (
        Commitment.objects.filter(status=CommitmentStatus.APPROVED, budget__entity_id__in=ids)
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=clock.now()))
        .order_by()
        .values_list("budget__currency")
        .annotate(sum=Sum(F("amount") - F("consumed_amount") - F("released_amount")))
    )
    return CreditPosition(
        entity=entity,
        currency=entity.currency,
        receivables=_in(entity, today, receivables),
        uninvoiced=_in(entity, today, [*drafts, *fees, *usage, *allocations]),
        commitments=_in(entity, today, commitments),
        limit=entity.credit_limit,
        policy=entity.credit_limit_policy,
    )


def _usage(scope: BillingScope, end: datetime.date) -> list[tuple[str, Decimal]]:
    """What usage is going to cost: passed through with its entity's mark-up; what contracts price, at cost."""
    groups = uninvoiced_usage(scope, None)
    found = [(group.currency, group.amount) for group in groups]
    if not any(group.entity_id in scope.markups for group in groups):
        return found
    terms = usage_terms(scope.entity_ids, until=end)
    passed_through = uninvoiced_usage(scope, None, terms) if terms else groups
    return found + [
        (group.currency, EXACT.multiply(group.amount, scope.markups[group.entity_id].scaleb(-2, EXACT)))
        for group in passed_through
        if group.entity_id in scope.markups
    ]


def _in(entity: Entity, on: datetime.date, amounts: Iterable[tuple[str, Decimal]]) -> Decimal:
    """The sum in the entity's currency, rounded once."""
    sums: dict[str, Decimal] = {}
    for currency, amount in amounts:
        sums[currency] = EXACT.add(sums.get(currency, Decimal(0)), amount)
    exact = [
        amount if currency == entity.currency else convert(amount, rate_for(currency, entity.currency, on))
        for currency, amount in sums.items()
        if amount
    ]
    return round_money(exact_sum(exact), entity.currency)
