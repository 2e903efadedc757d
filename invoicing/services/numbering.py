"""Gap-free numbers (INV-02): one counter row per issuer, document type and fiscal year, locked last, at issue."""

import datetime
from dataclasses import dataclass

from django.db import connection

from core.errors import Conflict
from entities.models import Entity
from invoicing.models import NumberSeries

# The prefix that a series gets on first use; an administrator may choose another before the year's first number.
_PREFIX = {"invoice": "{code}-INV-"}
DIGITS = 6

_TAKE_NEXT = """
UPDATE number_series SET last_number = last_number + 1, last_issue_date = %(issue_date)s, updated_at = now()
WHERE id = %(series)s AND (last_issue_date IS NULL OR last_issue_date <= %(issue_date)s)
RETURNING prefix, last_number
"""


@dataclass(frozen=True, slots=True)
class AssignedNumber:
    """A number that is taken when the transaction commits, and free again when it does not."""

    fiscal_year: int
    sequence: int
    number: str


def fiscal_year_of(issuer: Entity, day: datetime.date) -> int:
    """The calendar year in which the issuer's fiscal year that contains ``day`` ends."""
    starts_in = issuer.fiscal_year_start_month
    return day.year + 1 if starts_in > 1 and day.month >= starts_in else day.year


def number_text(prefix: str, fiscal_year: int, sequence: int) -> str:
    """SHS-INV-2024-000001 for the prefix "SHS-INV-"."""
    return f"{prefix}{fiscal_year}-{sequence:0{DIGITS}d}"


def series_for(*, issuer: Entity, document_type: str, fiscal_year: int) -> NumberSeries:
    """Return the counter row, made on first use with the prefix of the year before."""
    previous = (
        NumberSeries.objects.filter(issuer=issuer, document_type=document_type).order_by("-fiscal_year").first()
    )
    prefix = previous.prefix if previous else _PREFIX[document_type].format(code=issuer.code)
    series, _ = NumberSeries.objects.get_or_create(
        issuer=issuer, document_type=document_type, fiscal_year=fiscal_year, defaults={"prefix": prefix}
    )
    return series


def number_take(*, series: NumberSeries, issue_date: datetime.date) -> AssignedNumber:
    """Take the next number of the series: one UPDATE, after which the row is locked until the transaction ends.

    Call it last. Raises Conflict ``issue_date_before_last`` if a document of the series has a later date.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_NEXT, {"series": series.pk, "issue_date": issue_date})
        row = cursor.fetchone()
    if row is None:
        last = NumberSeries.objects.values_list("last_issue_date", flat=True).get(pk=series.pk)
        raise Conflict(
            "issue_date_before_last",
            f"The last document of the series {series} is dated {last}. Numbers follow dates: give that day or a later "
            "one.",
            extra={"last_issue_date": str(last), "series": str(series)},
        )
    prefix, sequence = row
    return AssignedNumber(series.fiscal_year, sequence, number_text(prefix, series.fiscal_year, sequence))
