"""Which amounts the rules leave without an approver, and which rules stand in each other's way (APR-01 to APR-03)."""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from approvals.models import ApprovalRule
from entities.models import DepartmentClosure, EntityClosure

ZERO = Decimal(0)
# The end of a band without end, so that bands compare.
ENDLESS = Decimal("Infinity")


@dataclass(frozen=True, slots=True)
class Place:
    """What a set of rules is for: a type of request (empty: all), at an entity and department (None: all)."""

    request_type: str
    entity_id: int | None
    department_id: int | None
    currency: str


@dataclass(frozen=True, slots=True)
class Band:
    """``[start, end)`` in the place's currency; ``end`` None is without limit."""

    start: Decimal
    end: Decimal | None


@dataclass(frozen=True, slots=True)
class Overlap:
    """Amounts for which two rules match: the one of the higher priority decides."""

    band: Band
    decides: ApprovalRule
    hidden: ApprovalRule


@dataclass(frozen=True, slots=True)
class Coverage:
    """The rules of a place; in ``gaps`` no rule decides, neither one of the place nor a wider one."""

    place: Place
    rules: tuple[ApprovalRule, ...]
    gaps: tuple[Band, ...]
    overlaps: tuple[Overlap, ...]


def rule_coverage(rules: Iterable[ApprovalRule], *, on: datetime.date) -> list[Coverage]:
    """Gaps and overlaps of the deciding rules in force on a day, place by place; the given rules are all there are.

    A gap is blocked at submission as "no approver configured" (APR-03). An overlap is no mistake by itself: rules
    are tried by priority, highest first.
    """
    in_force = [rule for rule in rules if _decides_on(rule, on)]
    by_place: dict[Place, list[ApprovalRule]] = defaultdict(list)
    for rule in in_force:
        by_place[place_of(rule)].append(rule)
    above = PlacesAbove(by_place)
    found = []
    for place, own in by_place.items():
        wider = [rule for other, its in by_place.items() if above.is_wider(other, place) for rule in its]
        found.append(
            Coverage(
                place=place,
                rules=tuple(sorted(own, key=lambda rule: (-rule.priority, rule.amount_from))),
                gaps=tuple(_uncovered([*own, *wider])),
                overlaps=tuple(_overlaps(own)),
            )
        )
    return sorted(found, key=lambda each: _order(each.place))


def _decides_on(rule: ApprovalRule, on: datetime.date) -> bool:
    begun = rule.valid_from is None or rule.valid_from <= on
    over = rule.valid_to is not None and rule.valid_to <= on
    return rule.is_active and not rule.also and begun and not over


def place_of(rule: ApprovalRule) -> Place:
    return Place(rule.request_type, rule.entity_id, rule.department_id, rule.currency)


def _order(place: Place) -> tuple[int, int, str, str]:
    return (place.entity_id or 0, place.department_id or 0, place.request_type, place.currency)


class PlacesAbove:
    """The entities and departments above those that the places name, read once."""

    def __init__(self, places: Iterable[Place]) -> None:
        named = list(places)
        entities = {place.entity_id for place in named if place.entity_id}
        departments = {place.department_id for place in named if place.department_id}
        self.entities = set(
            EntityClosure.objects.filter(descendant_id__in=entities).values_list(
                "ancestor_id", "descendant_id"
            )
        )
        self.departments = set(
            DepartmentClosure.objects.filter(descendant_id__in=departments).values_list(
                "ancestor_id", "descendant_id"
            )
        )

    def is_wider(self, wider: Place, place: Place) -> bool:
        """Whether rules of one place match every request of the other, too."""
        return (
            wider != place
            and wider.currency == place.currency
            and wider.request_type in ("", place.request_type)
            and (wider.entity_id is None or (wider.entity_id, place.entity_id) in self.entities)
            and (
                wider.department_id is None or (wider.department_id, place.department_id) in self.departments
            )
        )


def band_end(rule: ApprovalRule) -> Decimal:
    return ENDLESS if rule.amount_to is None else rule.amount_to


def _band(start: Decimal, end: Decimal) -> Band:
    return Band(start, None if end == ENDLESS else end)


def _uncovered(rules: Sequence[ApprovalRule]) -> list[Band]:
    reached, gaps = ZERO, []
    for rule in sorted(rules, key=lambda each: each.amount_from):
        if rule.amount_from > reached:
            gaps.append(_band(reached, rule.amount_from))
        reached = max(reached, band_end(rule))
    if reached < ENDLESS:
        gaps.append(_band(reached, ENDLESS))
    return gaps


def _overlaps(rules: Sequence[ApprovalRule]) -> list[Overlap]:
    ranked = sorted(rules, key=lambda rule: (-rule.priority, rule.pk))
    found = []
    for index, decides in enumerate(ranked):
        for hidden in ranked[index + 1 :]:
            start = max(decides.amount_from, hidden.amount_from)
            end = min(band_end(decides), band_end(hidden))
            if start < end:
                found.append(Overlap(_band(start, end), decides, hidden))
    return found
