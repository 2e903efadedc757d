"""What the rules in force lack: gaps, rules that never decide, levels that nobody can fill (APR-01 to APR-03)."""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from approvals.models import ApprovalLevel, ApprovalRule, ApproverKind
from approvals.registry import approval_types, type_label
from approvals.selectors.coverage import Band, PlacesAbove, band_end, place_of, rule_coverage
from approvals.services.people import DECIDE
from core.models import User
from core.money import format_money
from entities.access import roles_granting
from entities.models import Department, DepartmentClosure, Entity, EntityClosure, Membership, Role


@dataclass(frozen=True, slots=True)
class RuleWarning:
    """One thing to look at; ``tone`` is "bad" where requests would be blocked, else "warn"."""

    code: str
    text: str
    tone: str
    rule: ApprovalRule | None = None


def rule_warnings(user: User, *, on: datetime.date) -> list[RuleWarning]:
    """What the rules in force on a day lack, among the rules that the user sees; the grave ones first."""
    rules = list(
        ApprovalRule.objects.visible_to(user)
        .in_force(on)
        .select_related("entity", "department")
        .prefetch_related("levels__users", "levels__entity")
    )
    roots = list(Entity.objects.visible_to(user).filter(parent__isnull=True, is_active=True).order_by("name"))
    found = [*_gaps(rules, roots, on), *_never_deciding(rules), *_empty_levels(rules, roots)]
    return sorted(found, key=lambda each: each.tone != "bad")


def band_words(band: Band, currency: str) -> str:
    """ "from 0.00 EUR to below 250.00 EUR"; "from 25,000.00 EUR up"."""
    start = format_money(band.start, currency)
    return (
        f"from {start} up"
        if band.end is None
        else f"from {start} to below {format_money(band.end, currency)}"
    )


# --- Gaps ------------------------------------------------------------------------------------------------


def _gaps(rules: Sequence[ApprovalRule], roots: Sequence[Entity], on: datetime.date) -> Iterable[RuleWarning]:
    """Amounts without a rule between, below or above bands, and whole types without one."""
    coverage = rule_coverage(rules, on=on)
    for each in coverage:
        first = each.rules[0]
        what = type_label(first.request_type).lower() if first.request_type else "any request"
        where = first.department or first.entity
        for gap in each.gaps:
            yield RuleWarning(
                "gap",
                f"No rule for {what} {band_words(gap, first.currency)}{f' at {where}' if where else ''}: "
                "such a request is blocked.",
                "bad",
                first,
            )
    places = [each.place for each in coverage]
    for root in roots:
        whole = [
            place
            for place in places
            if place.entity_id in (None, root.pk)
            and place.department_id is None
            and place.currency == root.currency
        ]
        for kind in approval_types():
            if not any(place.request_type in ("", kind.code) for place in whole):
                yield RuleWarning(
                    "no_rule",
                    f"No rule for {kind.label.lower()} at {root.name} as a whole: such a request is blocked where no "
                    "rule of an entity or department below covers it.",
                    "bad",
                )


# --- Rules that never decide -----------------------------------------------------------------------------


def _never_deciding(rules: Sequence[ApprovalRule]) -> Iterable[RuleWarning]:
    """Rules all of whose requests a rule of a higher priority takes first."""
    deciding = [rule for rule in rules if not rule.also]
    places = {rule.pk: place_of(rule) for rule in deciding}
    above = PlacesAbove(places.values())
    for rule in deciding:
        own = places[rule.pk]
        first = [
            other
            for other in deciding
            if other.priority > rule.priority
            and (places[other.pk] == own or above.is_wider(places[other.pk], own))
        ]
        hiding = _covering(rule, first)
        if hiding:
            names = ", ".join(f"“{other.name}”" for other in hiding)
            yield RuleWarning(
                "never_decides",
                f"“{rule.name}” never decides: {names} of a higher priority "
                f"cover{'s' if len(hiding) == 1 else ''} all its amounts.",
                "warn",
                rule,
            )


def _covering(rule: ApprovalRule, others: Iterable[ApprovalRule]) -> list[ApprovalRule]:
    """Those that together cover the rule's band, or none where they leave some of it."""
    reached, end = Decimal(rule.amount_from), band_end(rule)
    used = []
    for other in sorted(others, key=lambda each: each.amount_from):
        if other.amount_from > reached:
            break
        if band_end(other) > reached:
            used.append(other)
            reached = band_end(other)
        if reached >= end:
            return used
    return []


# --- Levels that nobody can fill -------------------------------------------------------------------------


def _empty_levels(rules: Sequence[ApprovalRule], roots: Sequence[Entity]) -> Iterable[RuleWarning]:
    """Levels whose people no longer suffice today; the fallback is asked instead, or the request is blocked."""
    people = _People(rules, roots)
    for rule in rules:
        for level in rule.levels.all():
            problem = people.problem_of(rule, level)
            if not problem:
                continue
            backed = level.fallback_role and people.holders(level.fallback_role, people.place_of(rule))
            then = (
                f"the fallback, {Role(level.fallback_role).label.lower()}, is asked instead"
                if backed
                else "requests that come there are blocked"
            )
            yield RuleWarning(
                "empty_level",
                f"{level} of “{rule.name}”: {problem}; {then}.",
                "warn" if backed else "bad",
                rule,
            )


class _People:
    """Who may act where, of the roles that levels ask for, read once for all rules."""

    def __init__(self, rules: Sequence[ApprovalRule], roots: Sequence[Entity]) -> None:
        levels = [level for rule in rules for level in rule.levels.all()]
        self.roots = frozenset(root.pk for root in roots)
        places = {key for rule in rules for key in (rule.entity_id,) if key} | self.roots
        places |= {level.entity_id for level in levels if level.entity_id}
        lines: dict[int, set[int]] = defaultdict(set)
        # A role counts where it reaches the place, and where it is held at an entity below it.
        for up, down in EntityClosure.objects.filter(descendant_id__in=places).values_list(
            "ancestor_id", "descendant_id"
        ):
            lines[down].add(up)
        for up, down in EntityClosure.objects.filter(ancestor_id__in=places).values_list(
            "ancestor_id", "descendant_id"
        ):
            lines[up].add(down)
        self.lines = lines
        roles = {level.role for level in levels} | {level.fallback_role for level in levels}
        named = {user.pk for level in levels for user in level.users.all()}
        deciding = set(roles_granting(DECIDE))
        self.deciders: set[tuple[int, int]] = set()
        self.held: dict[str, set[tuple[int, int]]] = defaultdict(set)
        for user_id, role, entity_id in (
            Membership.objects.in_force()
            .filter(role__in=(roles & deciding) | (deciding if named else set()))
            .filter(user__is_active=True, user__is_service_account=False)
            .values_list("user_id", "role", "entity_id")
        ):
            self.held[role].add((user_id, entity_id))
            self.deciders.add((user_id, entity_id))
        wanted = [
            rule
            for rule in rules
            if any(level.approver_kind == ApproverKind.DEPARTMENT_MANAGER for level in rule.levels.all())
        ]
        self.unmanaged = _unmanaged_departments() if wanted else {}

    def place_of(self, rule: ApprovalRule) -> frozenset[int]:
        return frozenset({rule.entity_id}) if rule.entity_id else self.roots

    def holders(self, role: str, places: Iterable[int]) -> set[int]:
        """Who may decide by the role at, above or below one of the places."""
        reached = {entity for place in places for entity in self.lines[place]}
        return {user for user, entity in self.held[role] if entity in reached}

    def problem_of(self, rule: ApprovalRule, level: ApprovalLevel) -> str:
        """What is missing, in words; empty where there are enough."""
        places = frozenset({level.entity_id}) if level.entity_id else self.place_of(rule)
        needed = level.required_approvals or 1
        if level.approver_kind == ApproverKind.USERS:
            reached = {entity for place in places for entity in self.lines[place]}
            able = {user for user, entity in self.deciders if entity in reached}
            lost = [user for user in level.users.all() if user.pk not in able]
            left = len(level.users.all()) - len(lost)
            if left >= (level.required_approvals or len(level.users.all())):
                return ""
            return f"{', '.join(user.display_name for user in lost)} may not decide there any more"
        if level.approver_kind == ApproverKind.ROLE:
            count = len(self.holders(level.role, places))
            label = Role(level.role).label.lower()
            if count >= needed:
                return ""
            return (
                f"nobody who may decide is {label} there"
                if not count
                else f"only {count} of {needed} are {label} there"
            )
        if level.approver_kind == ApproverKind.DEPARTMENT_MANAGER:
            return self._unmanaged_words(rule)
        return ""

    def _unmanaged_words(self, rule: ApprovalRule) -> str:
        if rule.department_id is not None:
            return f"{rule.department} has no manager" if rule.department_id in self.unmanaged else ""
        reached = {entity for place in self.place_of(rule) for entity in self.lines[place]}
        without = [name for name, entity in self.unmanaged.values() if entity in reached]
        if not without:
            return ""
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        return f"{', '.join(sorted(without)[:3])}{more} {'has' if len(without) == 1 else 'have'} no manager"


def _unmanaged_departments() -> dict[int, tuple[str, int]]:
    """Active departments without a manager of their own or above them: name and entity by id."""
    managed = DepartmentClosure.objects.filter(
        ancestor__manager__isnull=False, ancestor__manager__is_active=True
    ).values("descendant_id")
    rows = Department.objects.filter(is_active=True).exclude(pk__in=managed)
    return {pk: (name, entity) for pk, name, entity in rows.values_list("pk", "name", "entity_id")}
