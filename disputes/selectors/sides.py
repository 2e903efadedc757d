"""On which side of each dispute somebody reads (DSP-18)."""

from typing import Any

from django.db.models import BooleanField, Case, Value, When

from core.models import User
from disputes.querysets import INTERNAL
from entities.querysets import entity_ids_visible_to, sees_everything


def with_side(rows: Any, user: User, path: str = "") -> Any:
    """Add ``for_staff``, whether the user reads what is internal, to disputes or to what has one at ``path``."""
    if sees_everything(user):
        return rows.annotate(for_staff=Value(True))
    handled = When(**{f"{path}issuer_id__in": entity_ids_visible_to(user, INTERNAL)}, then=Value(True))
    return rows.annotate(for_staff=Case(handled, default=Value(False), output_field=BooleanField()))
