"""What every write of an organisation's record goes through: field checks, a save that names its refusals."""

from collections.abc import Collection, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import ProtectedError, RestrictedError

from core.errors import BillingError, Conflict, FieldProblem, Invalid, constraint_name, from_validation_error


def field_error(field: str, code: str, detail: str) -> Invalid:
    """Invalid that names one field of the request."""
    return Invalid(code, detail, errors=[FieldProblem(f"/{field}", code, detail)])


def check_fields(record: models.Model) -> None:
    """Run the model's validators and raise Invalid with a pointer per field.

    Relations come from the caller as records, and uniqueness is the database's word: neither costs a query here.
    """
    fields = record._meta.concrete_fields
    for field in fields:
        value = getattr(record, field.attname)
        if isinstance(value, str) and "\x00" in value:
            raise field_error(
                field.name, "null_characters_not_allowed", "Text must not contain NUL characters."
            )
    try:
        # A protected state takes no value, not even its own.
        record.clean_fields(
            exclude={
                field.name for field in fields if field.is_relation or getattr(field, "protected", False)
            }
        )
    except ValidationError as error:
        raise from_validation_error(error) from error


def apply_changes(record: models.Model, changes: Mapping[str, Any], *, allowed: Collection[str]) -> list[str]:
    """Set what differs and return the names; a name outside ``allowed`` is a fault of the caller's code."""
    unknown = set(changes) - set(allowed)
    if unknown:
        raise TypeError(f"{type(record).__name__} has no changeable {', '.join(sorted(unknown))}")
    changed = [name for name, value in changes.items() if getattr(record, name) != value]
    for name in changed:
        setattr(record, name, changes[name])
    return changed


def save_record(record: models.Model, refusals: Mapping[str, BillingError]) -> None:
    """Save; a constraint that is named in ``refusals`` raises that error instead of IntegrityError."""
    try:
        with transaction.atomic():
            record.save()
    except IntegrityError as error:
        refusal = refusals.get(constraint_name(error) or "")
        if refusal is None:
            raise
        raise refusal from error


def delete_record(record: models.Model, *, name: str, instead: str) -> None:
    """Delete, or raise Conflict ``in_use`` naming what depends on the record. ``instead`` says what to do."""
    try:
        with transaction.atomic():
            record.delete()
    except (ProtectedError, RestrictedError) as error:
        held_by = error.protected_objects if isinstance(error, ProtectedError) else error.restricted_objects
        kinds = sorted({str(row._meta.verbose_name_plural) for row in held_by})
        raise Conflict(
            "in_use",
            f"{name} cannot be deleted: {', '.join(kinds)} depend on it. {instead}",
            extra={"used_by": kinds},
        ) from error
