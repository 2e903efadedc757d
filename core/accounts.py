"""Taking users out of service and back: what they did keeps their name, what waits for them goes to others (APR-21).

An app that must not lose a person registers a check, which raises a BillingError:

    register_deactivation_check(refuse_last_administrator)
"""

from collections.abc import Callable

from django.db import transaction

from core import clock
from core.access import require
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.outbox import publish

DeactivationCheck = Callable[[User], None]
_checks: list[DeactivationCheck] = []


def register_deactivation_check(check: DeactivationCheck) -> None:
    """Have ``check(user)`` asked before somebody is deactivated, in the same transaction."""
    if check not in _checks:
        _checks.append(check)


def user_deactivate(*, actor: User, user: User, reason: str = "") -> User:
    """Let somebody sign in no more; who knows of their open work hears of it by "user.deactivated".

    Needs core.change_user. Raises Conflict ``already_inactive`` and what the registered checks refuse, such as
    ``last_administrator``.
    """
    require(actor, "core.change_user", user)
    with transaction.atomic():
        for check in _checks:
            check(user)
        return _set_active(actor, user, False, reason)


def user_activate(*, actor: User, user: User, reason: str = "") -> User:
    """Let somebody in again. Needs core.change_user. Raises Conflict ``already_active``, ``system_user``."""
    require(actor, "core.change_user", user)
    with transaction.atomic():
        return _set_active(actor, user, True, reason)


def _set_active(actor: User, user: User, active: bool, reason: str) -> User:
    locked: User = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if locked.is_system:
        raise Conflict("system_user", "That is the user in whose name jobs act: it never signs in.")
    if locked.is_active == active:
        state = "active" if active else "inactive"
        raise Conflict(f"already_{state}", f"{locked.display_name} is {state} already.")
    locked.is_active = active
    with record_as(actor, reason):
        locked.save(update_fields=["is_active"])
    publish(
        "user.activated" if active else "user.deactivated",
        {"user_id": locked.pk, "at": clock.now().isoformat()},
        key=f"user:{locked.pk}",
    )
    return locked
