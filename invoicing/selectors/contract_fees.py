"""Contract fees that an invoice may hold, and the usage that contracts price (INV-03, INV-05, CON-08)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from contracts.models import BillableFee, Contract
from contracts.services.billing import usage_terms
from contracts.usage import UsageTerm, UsedOnDay
from core.prepared import PreparedStatement
from invoicing.models import BilledItem
from invoicing.selectors.billing_scope import BillingHierarchy, BillingScope

FIRST_DAY = datetime.date(1990, 1, 1)

# The terms of contracts that price usage as a table; a row belongs to the first by rank that matches it.
TERMS = """
SELECT * FROM unnest(
    %(term_contracts)s::bigint[], %(term_codes)s::text[], %(term_entities)s::bigint[], %(term_providers)s::text[],
    %(term_services)s::text[], %(term_categories)s::text[], %(term_starts)s::date[], %(term_ends)s::date[]
) WITH ORDINALITY
    AS term (contract_id, code, entity_id, provider, service, category, first_day, end_day, rank)
"""

QUANTITY = "coalesce(usage.pricing_quantity, usage.consumed_quantity)"

_MATCHES = """
term.entity_id = usage.entity_id AND usage.charge_date >= term.first_day AND usage.charge_date < term.end_day
AND (term.provider = '' OR term.provider = usage.provider_name)
AND (term.service = '' OR term.service = usage.service_name)
AND (term.category = '' OR term.category = usage.charge_category)
"""

# Usage without a quantity has nothing that a price could be put on: its cost is passed through.
HAS_NO_PRICE = f"({QUANTITY} IS NULL OR NOT EXISTS (SELECT 1 FROM ({TERMS}) term WHERE {_MATCHES}))"

PRICED_USAGE = f"""
usage_records usage CROSS JOIN LATERAL (
    SELECT term.contract_id, term.code FROM ({TERMS}) term WHERE {_MATCHES} ORDER BY term.rank LIMIT 1
) priced
WHERE usage.entity_id = ANY(%(term_entities)s::bigint[]) AND {QUANTITY} IS NOT NULL
  AND usage.charge_date >= %(first_term_day)s AND usage.charge_date < %(last_term_day)s
"""

# What was billed otherwise before the contract priced it, at cost or by another line, stays as it is.
_TO_PRICE = f"""
SELECT priced.code, usage.charge_date, sum({QUANTITY})
FROM {PRICED_USAGE}
  AND priced.contract_id = %(contract)s
  AND NOT EXISTS (
    SELECT 1 FROM billed_items held JOIN invoice_lines line ON line.id = held.invoice_line_id
    WHERE held.usage_record_id = usage.id AND held.released_at IS NULL
      AND (line.contract_id IS DISTINCT FROM priced.contract_id OR line.contract_line <> priced.code)
  )
GROUP BY 1, 2
"""

_FREE_PRICED = f"""
SELECT priced.contract_id, priced.code, usage.department_id, usage.charge_date, count(*), sum({QUANTITY})
FROM {PRICED_USAGE}
  AND priced.contract_id = ANY(%(contracts)s::bigint[])
  AND NOT EXISTS (
    SELECT 1 FROM billed_items held WHERE held.usage_record_id = usage.id AND held.released_at IS NULL
      AND held.invoice_line_id NOT IN (SELECT id FROM invoice_lines WHERE invoice_id = %(draft)s)
  )
GROUP BY 1, 2, 3, 4
"""


# Most payers have none: their keys alone are looked for.
_CONTRACTS = PreparedStatement("""
SELECT id FROM billing_contracts
WHERE activated_at IS NOT NULL AND entity_id = ANY(%(entities)s::bigint[])
UNION
SELECT contract.id FROM billing_contracts contract
JOIN subscriptions subscription ON subscription.contract_id = contract.id
WHERE contract.activated_at IS NOT NULL AND subscription.entity_id = ANY(%(entities)s::bigint[])
""")


@dataclass(frozen=True, slots=True)
class PricedUsage:
    """Charges of a day, of one department, that a line of a contract prices and no invoice holds."""

    contract_id: int
    code: str
    department_id: int | None
    day: datetime.date
    item_count: int
    quantity: Decimal


def term_parameters(terms: Sequence[UsageTerm]) -> dict[str, Any]:
    """Parameters of the statements above."""
    return {
        "term_contracts": [term.contract_id for term in terms],
        "term_codes": [term.code for term in terms],
        "term_entities": [term.entity_id for term in terms],
        "term_providers": [term.provider for term in terms],
        "term_services": [term.service for term in terms],
        "term_categories": [term.category for term in terms],
        "term_starts": [term.start for term in terms],
        "term_ends": [term.end for term in terms],
        "first_term_day": min((term.start for term in terms), default=datetime.date.max),
        "last_term_day": max((term.end for term in terms), default=datetime.date.min),
    }


def contract_usage(contract_id: int, terms: Sequence[UsageTerm]) -> list[UsedOnDay]:
    """What the lines of a contract have to price, per day: what `contracts.usage` asks for."""
    if not terms:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_TO_PRICE, term_parameters(terms) | {"contract": contract_id})
        return [UsedOnDay(*row) for row in cursor.fetchall()]


def free_priced_usage(
    contract_ids: Sequence[int], terms: Sequence[UsageTerm], draft_id: int | None
) -> list[PricedUsage]:
    """What of it no invoice holds; what the draft that is being refreshed holds counts as free."""
    if not terms or not contract_ids:
        return []
    with connection.cursor() as cursor:
        parameters = term_parameters(terms) | {"contracts": list(contract_ids), "draft": draft_id or 0}
        cursor.execute(_FREE_PRICED, parameters)
        return [PricedUsage(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class ContractScope:
    """The entities that a payer paid for on any day before ``end``, and the contracts that may have fees for them.

    The contracts are in the order in which they are locked.
    """

    scope: BillingScope
    contracts: tuple[Contract, ...]
    end: datetime.date

    def usage_terms(self) -> list[UsageTerm]:
        """The terms that price usage of the entities, as they are now."""
        return usage_terms(self.scope.entity_ids, until=self.end) if self.contracts else []


def contract_scope(hierarchy: BillingHierarchy) -> ContractScope:
    """Whose fees an invoice of the payer may hold, however old they are, by the end of the hierarchy's span."""
    scope = hierarchy.scope(hierarchy.start, hierarchy.end)
    ids = [row[0] for row in _CONTRACTS.rows({"entities": list(scope.entity_ids)})]
    found = Contract.objects.filter(pk__in=ids).order_by("pk") if ids else ()
    return ContractScope(scope, tuple(found), hierarchy.end)


def unbilled_fees(
    contract_ids: Sequence[int], until: datetime.date, draft_id: int | None
) -> QuerySet[BillableFee]:
    """Fees that may be invoiced by ``until`` and are on no invoice, in the order in which they were written."""
    held = BilledItem.objects.filter(contract_fee=OuterRef("pk"), released_at__isnull=True).exclude(
        invoice_line__invoice_id=draft_id or 0
    )
    fees: QuerySet[BillableFee] = BillableFee.objects.filter(contract_id__in=contract_ids, bill_on__lte=until)
    return fees.filter(~Exists(held)).order_by("pk")
