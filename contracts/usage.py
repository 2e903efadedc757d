"""Usage that contracts price: whoever keeps usage registers how to read it (INV-05).

A usage row belongs to at most one line of one contract of its entity. Where several match, the one that names more
(provider, service, category) has it, then the older contract, then the code that comes first.
"""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class UsageTerm:
    """Usage of ``entity_id`` on the days ``[start, end)`` that a line of a contract prices; empty names match all."""

    contract_id: int
    code: str
    entity_id: int
    provider: str
    service: str
    category: str
    start: datetime.date
    end: datetime.date

    @property
    def place(self) -> tuple[int, int, str]:
        """Where it comes among terms that match the same usage: the first has it."""
        named = sum(1 for name in (self.provider, self.service, self.category) if name)
        return -named, self.contract_id, self.code


@dataclass(frozen=True, slots=True)
class UsedOnDay:
    """How much of what a line prices was used on a day."""

    code: str
    day: datetime.date
    quantity: Decimal


UsageReader = Callable[[int, Sequence[UsageTerm]], list[UsedOnDay]]
"""Given a contract and all terms of its entity: what its lines have to price, per line and day."""

_readers: list[UsageReader] = []


def register_usage_reader(reader: UsageReader) -> None:
    """Say who keeps the usage."""
    if reader not in _readers:
        _readers.append(reader)


def usage_to_price(contract_id: int, terms: Sequence[UsageTerm]) -> list[UsedOnDay]:
    """What the lines of a contract have to price; nothing where nobody keeps usage."""
    return [used for reader in _readers for used in reader(contract_id, terms)]
