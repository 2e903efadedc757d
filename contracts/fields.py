"""Columns that several records of contracts have."""

from typing import Any

from django.db import models


class PercentField(models.DecimalField):
    """A percentage with four decimals: 4.2 is 4.2 %."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 7)
        kwargs.setdefault("decimal_places", 4)
        super().__init__(*args, **kwargs)


class QuantityField(models.DecimalField):
    """A number of units, or a measured value, with six decimals."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 20)
        kwargs.setdefault("decimal_places", 6)
        super().__init__(*args, **kwargs)
