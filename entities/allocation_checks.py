"""Who has a say before cost is allocated: apps above register a check, in `AppConfig.ready()` (ALC-06).

    register_allocation_check(check_against_budgets)

`check(parts, actor)` is called inside the transaction of the allocation with all of its parts together, before
anything is posted, and raises to refuse it. It writes nothing that the allocation needs.
"""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.models import User
from entities.models import Department


@dataclass(frozen=True, slots=True)
class AllocatedPart:
    """What a target is about to bear on a day: ``amount`` in ``currency``; a negative one gives back."""

    department: Department
    day: datetime.date
    amount: Decimal
    currency: str
    description: str


AllocationCheck = Callable[[Sequence[AllocatedPart], User], None]
_checks: list[AllocationCheck] = []


def register_allocation_check(check: AllocationCheck) -> None:
    """Have `check(parts, actor)` asked before every allocation."""
    if check not in _checks:
        _checks.append(check)


def check_allocation(parts: Sequence[AllocatedPart], actor: User) -> None:
    """Ask every registered check."""
    for check in _checks:
        check(parts, actor)
