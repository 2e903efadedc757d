"""Constraints shared by dated records."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db.models import DateField, F, Func, Q, Value
from django.db.models.fields import CharField


def no_overlapping_dates(owner: str, *, name: str, condition: Q | None = None) -> ExclusionConstraint:
    """Refuse two rows of the same ``owner`` whose ``[valid_from, valid_to)`` overlap.

    The owner's id is compared as the range [id, id], because equality inside a GiST index would need the
    contrib extension btree_gist, and the embedded PostgreSQL has none.
    """
    return ExclusionConstraint(
        name=name,
        expressions=[
            (
                Func(
                    F(owner),
                    F(owner),
                    Value("[]", output_field=CharField()),
                    function="int8range",
                ),
                RangeOperators.OVERLAPS,
            ),
            (
                Func(
                    F("valid_from"),
                    F("valid_to"),
                    function="daterange",
                    output_field=DateField(),
                ),
                RangeOperators.OVERLAPS,
            ),
        ],
        condition=condition,
    )
