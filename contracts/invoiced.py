"""On which document a fee stands: whoever invoices fees registers how to look it up (CON-08)."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from core.models import User


@dataclass(frozen=True, slots=True)
class FeeDocument:
    """The document on which a fee stands now. A draft has no number yet; ``url`` is empty for who may not open it."""

    fee_id: int
    number: str
    status: str
    url: str


FeeDocumentReader = Callable[[User, Collection[int]], Iterable[FeeDocument]]
"""Given who asks, and keys of fees: the documents of those that stand on one."""

_readers: list[FeeDocumentReader] = []


def register_fee_documents(reader: FeeDocumentReader) -> None:
    """Say who invoices."""
    if reader not in _readers:
        _readers.append(reader)


def fee_documents(user: User, fee_ids: Collection[int]) -> dict[int, FeeDocument]:
    """The document of each fee that stands on one, by the fee's key; the others are not invoiced yet."""
    return {found.fee_id: found for reader in _readers for found in reader(user, fee_ids)}
