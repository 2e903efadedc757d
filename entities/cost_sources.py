"""Where the cost of departments comes from: each app registers what it knows, in `AppConfig.ready()`.

    register_cost_source("usage", usage_cost_rows)

`usage_cost_rows(department_ids, start, end)` yields a `CostRow` per department, month, source, GL code and currency
for the cost whose period starts within ``[start, end)``, exact and unrounded.
"""

import datetime
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class CostRow:
    """What a department bears in a month: ``month`` is its first day, ``amount`` exact in ``currency``."""

    department_id: int
    month: datetime.date
    source: str
    gl_code: str
    currency: str
    amount: Decimal


CostSource = Callable[[Collection[int], datetime.date, datetime.date], Iterable[CostRow]]
_sources: dict[str, CostSource] = {}


def register_cost_source(name: str, rows: CostSource) -> None:
    """Count the rows of ``rows`` as cost of departments; a name registered again replaces the former."""
    _sources[name] = rows


def cost_rows(department_ids: Collection[int], start: datetime.date, end: datetime.date) -> Iterator[CostRow]:
    """Yield the cost of the departments from every registered source."""
    for rows in _sources.values():
        yield from rows(department_ids, start, end)
