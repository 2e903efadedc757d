"""Allocated usage charges the budgets of its departments, with their controls (USE-05).

Per import, department, month and currency the exact cost is summed, rounded once, and compared with what has been
charged before: only the difference is booked, so a second run books nothing, and rows that were repaired, remapped
or undone since are corrected. What a budget refuses is listed with its reason and can be tried again.

It begins by hand, for an import, or when the usage is invoiced, whichever comes first, and stays while the usage is
there: an invoice that becomes void is followed by another. Usage that a contract prices costs its departments what the
fee on the invoice says, not what the provider asks: while such a line holds it, it is left out here.
"""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet, Sum
from django.db.models.functions import TruncMonth

from budgets.services.charges import ChargeLine, budget_charge, budget_refund
from budgets.services.ledger import Posting, Source
from budgets.services.periods import budget_for
from core import clock
from core.access import get_visible, require, system_actor
from core.errors import BillingError, Conflict
from core.models import User
from core.money import round_money
from core.outbox import publish
from core.prepared import PreparedStatement
from core.row_sql import as_json, columns_of, insert, stored
from invoicing.models import (
    BilledItem,
    ImportStatus,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    LineKind,
    UsageBudgetCharge,
    UsageChargeStatus,
    UsageImport,
    UsageRecord,
)

_CHARGE = PreparedStatement(f"""
{insert(UsageBudgetCharge, "charge")}
ON CONFLICT (usage_import_id, department_id, month, currency)
DO UPDATE SET last_tried_by_id = excluded.last_tried_by_id
RETURNING {", ".join(f"usage_budget_charges.{column}" for column in columns_of(UsageBudgetCharge))}
""")

ZERO = Decimal(0)
CHARGED, UNCHANGED, REFUSED = "charged", "unchanged", "refused"


@dataclass(frozen=True, slots=True)
class UsageCharged:
    """What a run did: how many groups it charged, left as they were, and had refused."""

    charged: int
    unchanged: int
    refused: int


@dataclass(frozen=True, slots=True)
class _Group:
    """The exact cost of one department in one month and currency; ``last_day`` is that of its latest row."""

    import_id: int
    entity_id: int
    department_id: int
    month: datetime.date
    currency: str
    cost: Decimal
    last_day: datetime.date

    @property
    def key(self) -> tuple[int, int, datetime.date, str]:
        """What is charged together."""
        return self.import_id, self.department_id, self.month, self.currency


def usage_budgets_charge(*, actor: User, import_id: int) -> UsageCharged:
    """Charge the budgets with the allocated usage of an import; what is refused is listed, not lost.

    Raises NotFound for an import that the actor does not see, Forbidden without the right to change it, Conflict
    ``import_not_completed``. A refusal of one budget does not hold up the others.
    """
    seen: UsageImport = get_visible(UsageImport.objects.all(), actor, import_id, name="import")
    require(actor, "invoicing.change_usageimport", seen)
    if seen.status not in {ImportStatus.COMPLETED, ImportStatus.UNDONE}:
        raise Conflict("import_not_completed", "Only the usage of a completed import can be charged.")
    charged = UsageBudgetCharge.objects.filter(usage_import=seen)
    return _charge_groups(actor, _groups(charged, UsageRecord.objects.filter(usage_import=seen)))


def usage_charges_retry(*, actor: User, import_id: int) -> UsageCharged:
    """Try again what budgets had refused, after an increase or a new budget."""
    return usage_budgets_charge(actor=actor, import_id=import_id)


def invoice_usage_charge(*, invoice: Invoice, may_charge: Callable[[set[int]], set[int]]) -> UsageCharged:
    """Bring the charges of the usage on an invoice up to date: its imports' usage of those departments and months.

    Of the departments in question those that ``may_charge`` returns are charged; of the others only what was charged
    before is corrected. Charging the import and issuing the invoice never charge twice: both book the difference.
    """
    held = (
        BilledItem.objects.filter(invoice_line__invoice=invoice, usage_record__department__isnull=False)
        .annotate(month=TruncMonth("usage_record__charge_date"))
        .order_by()
        .values_list(
            "invoice_line__kind",
            "usage_record__usage_import_id",
            "usage_record__department_id",
            "month",
            "usage_record__currency",
        )
        .distinct()
    )
    keys = [(kind, tuple(key)) for kind, *key in held]
    if not keys:
        return UsageCharged(0, 0, 0)
    imports, departments = {key[0] for _, key in keys}, {key[1] for _, key in keys}
    charged = UsageBudgetCharge.objects.filter(usage_import__in=imports, department__in=departments)
    before = set(charged.values_list("usage_import_id", "department_id", "month", "currency"))
    allowed = may_charge({key[1] for kind, key in keys if kind == LineKind.USAGE})
    wanted = {key for kind, key in keys if key in before or (kind == LineKind.USAGE and key[1] in allowed)}
    rows = UsageRecord.objects.filter(usage_import__in=imports, department__in=departments)
    return _charge_groups(system_actor(), (each for each in _groups(charged, rows) if each.key in wanted))


def line_usage_is_charged(line: InvoiceLine) -> bool:
    """Whether a budget bears the usage of an invoice's line, as far as it is of the line's department and months."""
    imports = BilledItem.objects.filter(invoice_line=line).values("usage_record__usage_import_id")
    return (
        UsageBudgetCharge.objects.filter(usage_import__in=imports, department_id=line.department_id)
        .filter(month__gte=line.period_start.replace(day=1), month__lt=line.period_end)
        .exclude(charged_amount=0)
        .exists()
    )


def _groups(charged: QuerySet[UsageBudgetCharge], rows: QuerySet[UsageRecord]) -> list[_Group]:
    """The usage as it stands now; a group that has lost all its rows since it was charged is there with zero."""
    found = {
        group.key: group
        for group in (
            _Group(
                each.usage_import_id,
                each.entity_id,
                each.department_id,
                each.month,
                each.currency,
                ZERO,
                each.charge_date,
            )
            for each in charged.order_by()
        )
    }
    priced = BilledItem.objects.filter(
        usage_record=OuterRef("pk"), released_at__isnull=True, invoice_line__kind=LineKind.FEE
    ).exclude(invoice_line__invoice__status=InvoiceStatus.DRAFT)
    summed = (
        rows.filter(~Exists(priced), department__isnull=False)
        .annotate(month=TruncMonth("charge_date"))
        .order_by()
        .values_list("usage_import_id", "entity_id", "department_id", "month", "currency")
        .annotate(cost=Sum("billed_cost"), last=Max("charge_date"))
    )
    for values in summed:
        group = _Group(*values)
        found[group.key] = group
    return [found[key] for key in sorted(found)]


def _charge_groups(actor: User, groups: Iterable[_Group]) -> UsageCharged:
    outcomes = [_charge_group(actor, group) for group in groups]
    return UsageCharged(*(outcomes.count(each) for each in (CHARGED, UNCHANGED, REFUSED)))


def _charge_group(actor: User, group: _Group) -> str:
    """Book the difference, in a transaction of its own: no budget stays locked while the next is charged."""
    with transaction.atomic():
        charge = _locked_charge(actor, group)
        charge.exact_amount, charge.charge_date, charge.last_tried_by = group.cost, group.last_day, actor
        difference = round_money(charge.exact_amount, charge.currency) - charge.charged_amount
        if difference == 0:
            _note(charge, None)
            return UNCHANGED
        charge.attempts += 1
        try:
            with transaction.atomic():
                posting = _book(actor, charge, difference)
        except BillingError as refusal:
            _note(charge, refusal)
            return REFUSED
        charge.charged_amount += difference
        charge.revision += 1
        charge.entry = posting.entries[0]
        charge.budget_id = charge.entry.budget_id
        _note(charge, None)
        return CHARGED


def _locked_charge(actor: User, group: _Group) -> UsageBudgetCharge:
    """The group's charge, made on first use, locked: what is there already is written over by itself."""
    made = UsageBudgetCharge(
        usage_import_id=group.import_id,
        entity_id=group.entity_id,
        department_id=group.department_id,
        month=group.month,
        currency=group.currency,
        charge_date=group.last_day,
        status=UsageChargeStatus.CHARGED,
        last_tried_by=actor,
        updated_at=clock.now(),
    )
    row = _CHARGE.row({"charge": as_json([made])})
    assert row is not None
    charge: UsageBudgetCharge = stored(UsageBudgetCharge, row)
    return charge


def _note(charge: UsageBudgetCharge, refusal: BillingError | None) -> None:
    charge.status = UsageChargeStatus.REFUSED if refusal else UsageChargeStatus.CHARGED
    charge.refusal_code = refusal.code if refusal else ""
    charge.refusal_message = refusal.message if refusal else ""
    charge.save()
    if refusal is not None:
        publish(
            "usage.budget_refused",
            {"usage_budget_charge_id": charge.pk, "code": refusal.code},
            key=f"usage_import:{charge.usage_import_id}",
        )


def _book(actor: User, charge: UsageBudgetCharge, difference: Decimal) -> Posting:
    budget = budget_for(
        entity_id=charge.entity_id,
        department_id=charge.department_id,
        category=settings.BUDGET_USAGE_CATEGORY,
        on=charge.charge_date,
    )
    description = f"Usage {charge.month:%Y-%m}: {charge.usage_import.file_name}"[:500]
    source = Source("usage_import", _source_id(charge), revision=charge.revision)
    if difference < 0:
        return budget_refund(
            actor=actor,
            budget_id=budget.pk,
            amount=-difference,
            currency=charge.currency,
            description=description,
            posting_date=charge.charge_date,
            source=source,
        )
    line = ChargeLine(
        budget_id=budget.pk,
        amount=difference,
        currency=charge.currency,
        description=description,
        posting_date=charge.charge_date,
        source=source,
    )
    return budget_charge(actor=actor, line=line)


def _source_id(charge: UsageBudgetCharge) -> str:
    month: datetime.date = charge.month
    return f"{charge.usage_import_id}:{charge.department_id}:{month:%Y-%m}:{charge.currency}"
