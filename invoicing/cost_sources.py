"""What usage costs departments, for `GET /departments/{id}/costs` (registered with entities.cost_sources)."""

import datetime
from collections.abc import Collection, Iterator

from django.db.models import Sum
from django.db.models.functions import TruncMonth

from entities.cost_sources import CostRow
from invoicing.models import UsageRecord

USAGE = "usage"


def usage_cost_rows(
    department_ids: Collection[int], start: datetime.date, end: datetime.date
) -> Iterator[CostRow]:
    """Yield what the departments used, per month in which the charge period starts (USE-04), exact."""
    rows = (
        UsageRecord.objects.charged_in(start, end)
        .filter(department_id__in=department_ids)
        .order_by()
        .values("department_id", "department__gl_code", "currency", month=TruncMonth("charge_date"))
        .annotate(amount=Sum("billed_cost"))
    )
    for row in rows:
        yield CostRow(
            department_id=row["department_id"],
            month=row["month"],
            source=USAGE,
            gl_code=row["department__gl_code"],
            currency=row["currency"],
            amount=row["amount"],
        )
