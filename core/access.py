"""Asking for rights and finding what may be seen (ENT-04): outside scope is 404, inside without the right is 403.

`core` knows no memberships: whether a user has a permission on an object is the answer of the authentication
backend (`user.has_perm(perm, obj)`), and what a user may see is the answer of each queryset's `visible_to(user)`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import models

from core.errors import Forbidden, NotFound, Unauthenticated
from core.models import SYSTEM_USERNAME, User

Actor = User

PermissionExplainer = Callable[[str], Iterable[str]]
_explainers: list[PermissionExplainer] = []


def register_permission_explainer(explainer: PermissionExplainer) -> None:
    """Register a function that names the roles granting a permission, for the sentence of a refusal."""
    if explainer not in _explainers:
        _explainers.append(explainer)


def is_system(user: Any) -> bool:
    """Say whether this is the system actor of jobs; `visible_to(user)` shows it everything."""
    return bool(getattr(user, "is_system", False))


def has(actor: Any, perm: str, obj: models.Model | None = None) -> bool:
    """Say whether the actor has the permission ("invoicing.issue_invoice"), on the object if one is given."""
    return is_system(actor) or bool(actor.has_perm(perm, obj))


def require(actor: Any, perm: str, obj: models.Model | None = None) -> None:
    """Return if the actor has the permission, else raise Forbidden with a sentence saying who has it."""
    if has(actor, perm, obj):
        return
    if not getattr(actor, "is_authenticated", False):
        raise Unauthenticated("not_authenticated", "Sign in first.")
    name = permission_name(perm)
    roles = sorted({role for explainer in _explainers for role in explainer(perm)})
    where = f' on "{obj}"' if obj is not None else ""
    who = f" Roles that have it: {', '.join(roles)}." if roles else ""
    raise Forbidden(
        "permission_denied",
        f'You need the permission "{name}"{where}.{who} Ask an administrator of the entity for such a role.',
        extra={"permission": perm, "roles": roles},
    )


def permission_name(perm: str) -> str:
    """Return the permission's name for people: "Can issue invoice"; its code where none is stored."""
    app_label, _, codename = perm.partition(".")
    stored = Permission.objects.filter(content_type__app_label=app_label, codename=codename)
    return stored.values_list("name", flat=True).first() or perm


def get_visible(queryset: Any, actor: Any, pk: Any, *, name: str) -> Any:
    """Return the object with that key among those the actor may see.

    Raises NotFound `not_found`, in the same words whether it is hidden, absent or no key at all. `queryset` offers
    `visible_to(user)`, and may be locked (`select_for_update`). `name` is the record's name in a sentence.
    """
    try:
        found = queryset.visible_to(actor).filter(pk=pk).first()
    except (TypeError, ValueError, OverflowError, ValidationError):
        found = None
    if found is None:
        raise NotFound(
            "not_found",
            f"There is no {name} {pk} among those you can see. Check the number, or ask for access to its entity.",
        )
    return found


def system_actor() -> User:
    """Return the user in whose name jobs act: it cannot sign in, and every permission check passes."""
    user, created = User.objects.get_or_create(
        is_system=True,
        defaults={
            "username": SYSTEM_USERNAME,
            "first_name": "System",
            "is_active": False,
            "is_service_account": True,
        },
    )
    if created:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user
