"""States that only transitions move."""

from collections.abc import Sequence
from typing import Any

from django_fsm import FSMField


class StateField(FSMField):
    """A state machine's column; with ``protected`` assigning to it is refused.

    Migrations know it as the text that it is: they render each model many times over, and the library would collect
    the transitions of every one of them, for a third of the time that all migrations take.
    """

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _, args, kwargs = super().deconstruct()
        kwargs.pop("protected", None)
        return name, "django.db.models.CharField", args, kwargs
