"""Gap-free numbers (INV-02): one counter row per issuer, document type and fiscal year, locked last, at issue."""

import datetime
import re
from dataclasses import dataclass

from django.db import transaction

from core import clock
from core.access import require
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.models import User
from core.prepared import PreparedStatement
from entities.models import Entity
from entities.services.records import save_record
from invoicing.models import DocumentType, NumberSeries

_PREFIX_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_.-]{0,29}")
# The prefix that a series gets on first use; an administrator may choose another before the year's first number.
_PREFIX = {"invoice": "{code}-INV-", "credit_note": "{code}-CN-", "debit_note": "{code}-DN-"}
DIGITS = 6

_TAKE_NEXT = PreparedStatement("""
UPDATE number_series
SET last_number = last_number + 1, last_issue_date = %(issue_date)s::date, updated_at = %(now)s::timestamptz
WHERE issuer_id = %(issuer)s::bigint AND document_type = %(document_type)s::text
  AND fiscal_year = %(fiscal_year)s::smallint
  AND (last_issue_date IS NULL OR last_issue_date <= %(issue_date)s::date)
RETURNING prefix, last_number
""")


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
        NumberSeries.objects.filter(issuer=issuer, document_type=document_type)
        .order_by("-fiscal_year")
        .first()
    )
    prefix = previous.prefix if previous else _PREFIX[document_type].format(code=issuer.code)
    series, _ = NumberSeries.objects.get_or_create(
        issuer=issuer, document_type=document_type, fiscal_year=fiscal_year, defaults={"prefix": prefix}
    )
    return series


def number_take(
    *, issuer: Entity, document_type: str, fiscal_year: int, issue_date: datetime.date
) -> AssignedNumber:
    """Take the next number of the series: one UPDATE, after which the row is locked until the transaction ends.

    Call it last. Raises Conflict ``issue_date_before_last`` if a document of the series has a later date.
    """
    given = {
        "issuer": issuer.pk,
        "document_type": document_type,
        "fiscal_year": fiscal_year,
        "issue_date": issue_date,
        "now": clock.now(),
    }
    row = _TAKE_NEXT.row(given)
    if row is None:
        series = series_for(issuer=issuer, document_type=document_type, fiscal_year=fiscal_year)
        row = _TAKE_NEXT.row(given)
        if row is None:
            raise _dated_before_last(series)
    prefix, sequence = row
    return AssignedNumber(fiscal_year, sequence, number_text(prefix, fiscal_year, sequence))


def _dated_before_last(series: NumberSeries) -> Conflict:
    last = NumberSeries.objects.values_list("last_issue_date", flat=True).get(pk=series.pk)
    return Conflict(
        "issue_date_before_last",
        f"The last document of the series {series} is dated {last}. Numbers follow dates: give that day or a later "
        "one.",
        extra={"last_issue_date": str(last), "series": str(series)},
    )


# --- The administrator's part ----------------------------------------------------------------------------


def number_series_create(
    *, actor: User, issuer: Entity, fiscal_year: int, prefix: str, document_type: str = DocumentType.INVOICE
) -> NumberSeries:
    """Make a series before its first use, to choose its prefix.

    Raises Invalid ``not_an_issuer``, ``invalid_prefix``; Conflict ``series_exists``, ``prefix_taken``.
    """
    require(actor, "invoicing.add_numberseries", issuer)
    if not issuer.is_issuer:
        message = f"{issuer} issues no invoices. Mark it as issuer first."
        raise Invalid("not_an_issuer", message, errors=[FieldProblem("/issuer_id", "not_an_issuer", message)])
    series = NumberSeries(
        issuer=issuer, document_type=document_type, fiscal_year=fiscal_year, prefix=_checked(prefix)
    )
    with transaction.atomic(), record_as(actor):
        return _save(series)


def number_series_rename(*, actor: User, series: NumberSeries, prefix: str) -> NumberSeries:
    """Change the prefix of a series that has not numbered anything yet.

    Raises Invalid ``invalid_prefix``; Conflict ``series_in_use``, ``prefix_taken``.
    """
    require(actor, "invoicing.change_numberseries", series)
    with transaction.atomic(), record_as(actor):
        locked = NumberSeries.objects.select_for_update(of=("self",)).get(pk=series.pk)
        if locked.last_number:
            raise Conflict(
                "series_in_use",
                f"The series {locked} has numbered {locked.last_number:,} documents: its prefix stays. The series of "
                "the next fiscal year may have another.",
            )
        locked.prefix = _checked(prefix)
        return _save(locked)


def _checked(prefix: str) -> str:
    if not _PREFIX_PATTERN.fullmatch(prefix):
        message = (
            "A prefix has 1 to 30 letters, digits and the signs - / _ . and begins with a letter or digit."
        )
        raise Invalid("invalid_prefix", message, errors=[FieldProblem("/prefix", "invalid_prefix", message)])
    return prefix


def _save(series: NumberSeries) -> NumberSeries:
    save_record(
        series,
        {
            "number_series_once": Conflict(
                "series_exists", f"{series.issuer} has a series for {series.fiscal_year}."
            ),
            "number_series_prefix_once": Conflict(
                "prefix_taken", f"{series.issuer} uses this prefix in another series."
            ),
        },
    )
    return series
