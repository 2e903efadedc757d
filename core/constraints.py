"""Equality inside exclusion constraints, without the contrib extension btree_gist that embedded servers lack."""

from django.db import models
from django.db.models import Expression, F, Func, Value


def same_number(number: Expression | F) -> Func:
    """Equality of whole numbers, as overlapping ranges [n, n]."""
    return Func(number, number, Value("[]", output_field=models.CharField()), function="int8range")


def same_text(text: Expression | F) -> Func:
    """Equality of texts, by a 64-bit hash of each; halved, because the range [n, n] is stored as [n, n + 1)."""
    return same_number(
        Func(text, Value(0), function="hashtextextended", output_field=models.BigIntegerField()) / 2
    )
