"""What the pages' templates are given for the pieces in core/templates/core/includes/."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from django.utils.safestring import SafeString

from core.money import EXACT, exact_sum

_WHOLE = Decimal(100)
_TENTH = Decimal("0.1")


@dataclass(frozen=True)
class Fact:
    """One line of a list of facts: `{% include "core/includes/facts.html" with facts=facts %}`."""

    label: str
    value: str | SafeString
    note: str = ""


@dataclass(frozen=True)
class TimelineEvent:
    """One thing that happened, or will: `{% include "core/includes/timeline.html" with events=events %}`.

    `changes` are (what, before, after). An event to come has no `when`.
    """

    what: str
    who: str = ""
    when: datetime | None = None
    note: str = ""
    tone: str = "neutral"
    icon: str = "circle"
    changes: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class LimitBar:
    """What is used of a limit now, and what one decision would add; all amounts are in `currency`.

    `{% include "core/includes/limit_bar.html" with bar=bar %}` draws it and says it in figures. The drawing is as
    long as the larger of the limit and what is used afterwards.
    """

    label: str
    limit: Decimal
    used: Decimal
    added: Decimal
    currency: str

    @property
    def after(self) -> Decimal:
        """What is used afterwards."""
        return exact_sum([self.used, self.added])

    @property
    def left(self) -> Decimal:
        """What is left of the limit afterwards; zero where it is exceeded."""
        return max(EXACT.subtract(self.limit, self.after), Decimal(0))

    @property
    def exceeded_by(self) -> Decimal:
        """By how much the limit is exceeded afterwards, or zero."""
        return max(EXACT.subtract(self.after, self.limit), Decimal(0))

    @property
    def used_width(self) -> str:
        """The part within the limit that is used now, in per cent of the drawing."""
        return self._width(min(self.used, self.limit))

    @property
    def added_x(self) -> str:
        """Where the added part begins."""
        return self.used_width

    @property
    def added_width(self) -> str:
        """The part within the limit that is added."""
        within = max(min(self.after, self.limit), Decimal(0))
        return self._width(EXACT.subtract(within, max(min(self.used, self.limit), Decimal(0))))

    @property
    def limit_x(self) -> str:
        """Where the limit stands."""
        return self._width(self.limit)

    @property
    def exceeded_width(self) -> str:
        """The part beyond the limit."""
        return self._width(self.exceeded_by)

    def _width(self, amount: Decimal) -> str:
        scale = max(self.limit, self.after, self.used)
        if scale <= 0 or amount <= 0:
            return "0"
        percent = EXACT.divide(EXACT.multiply(min(amount, scale), _WHOLE), scale)
        return str(percent.quantize(_TENTH, rounding=ROUND_HALF_UP))
