"""What the usage commands share: who acts, which entity, and figures on a terminal."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.management.base import CommandError

from core.access import system_actor
from core.models import User
from entities.models import Entity
from invoicing.services.usage_imports import ImportProgress

_BAR_WIDTH = 30
_SECONDS_BETWEEN_LINES = 2.0
_SECONDS_BETWEEN_BARS = 0.1


def actor_named(name: str | None) -> User:
    """The user of that name, or the system."""
    if name is None:
        return system_actor()
    user = User.objects.filter(username__iexact=name, is_active=True).first()
    if user is None:
        raise CommandError(f'There is no active user "{name}".')
    return user


def entity_named(actor: User, name: str) -> Entity:
    """The entity with that code or number, among those the actor may see."""
    visible = Entity.objects.visible_to(actor)
    entity = visible.filter(code__iexact=name).first()
    if entity is None and name.isdecimal():
        entity = visible.filter(pk=int(name)).first()
    if entity is None:
        codes = ", ".join(visible.order_by("code").values_list("code", flat=True)[:10])
        raise CommandError(
            f'There is no entity "{name}". Give the code or number of one, such as: {codes or "none yet"}.'
        )
    return entity


class TerminalProgress:
    """A bar on a terminal; elsewhere a plain line every two seconds."""

    def __init__(self, stream: Any = None) -> None:
        self.stream = stream or sys.stderr
        self.is_terminal = bool(getattr(self.stream, "isatty", lambda: False)())
        self.started = time.monotonic()
        self._last = float("-inf")
        self._open_bar = False

    def __call__(self, progress: ImportProgress) -> None:
        now = time.monotonic()
        pause = _SECONDS_BETWEEN_BARS if self.is_terminal else _SECONDS_BETWEEN_LINES
        if now - self._last < pause:
            return
        self._last = now
        percent = progress.done * 100 // progress.total
        speed = f"{progress.rows / (now - self.started):,.0f} rows/s" if progress.rows else ""
        if self.is_terminal:
            full = progress.done * _BAR_WIDTH // progress.total
            bar = "█" * full + "░" * (_BAR_WIDTH - full)
            self.stream.write(f"\r\033[K{bar} {percent:3d} %  {progress.message}  {speed}")
            self._open_bar = True
        else:
            self.stream.write(f"{percent:3d} %  {progress.message}  {speed}".rstrip() + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Clear the bar, so that what follows begins on an empty line."""
        if self._open_bar:
            self.stream.write("\r\033[K")
            self.stream.flush()


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = ()) -> str:
    """Lay texts out in columns; `right` are the columns that are aligned to the right."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(header))]
    laid_out = [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    laid_out.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(laid_out)
