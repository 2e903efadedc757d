"""Who has a say before somebody is given a role: apps above register a check, in `AppConfig.ready()` (APR-15).

    register_grant_check(refuse_incompatible_duties)

`check(membership, actor)` is called inside the transaction that grants or widens the membership, before it is saved,
and raises to refuse it. It writes nothing.
"""

from collections.abc import Callable

from core.models import User
from entities.models import Membership

GrantCheck = Callable[[Membership, User], None]
_checks: list[GrantCheck] = []


def register_grant_check(check: GrantCheck) -> None:
    """Have `check(membership, actor)` asked before every grant."""
    if check not in _checks:
        _checks.append(check)


def check_grant(membership: Membership, actor: User) -> None:
    """Ask every registered check."""
    for check in _checks:
        check(membership, actor)
