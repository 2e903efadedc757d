"""Rules proposed from what a file says of itself, and rows mapped anew (USE-03)."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import IO, Any

from django.db import connection, models, transaction

from core.access import Actor, require
from core.errors import Conflict, Invalid
from core.locks import advisory_lock
from core.money import EXACT
from core.outbox import publish
from entities.models import Department, Entity, EntityClosure
from entities.services import department_create
from invoicing.focus.reader import FocusReader, RejectedLine
from invoicing.focus.rows import STAGED_FIELDS
from invoicing.focus.source import FocusSource
from invoicing.models import MappingSource, UsageImport, UsageMappingRule
from invoicing.selectors.usage import group_root
from invoicing.services.usage_rules import usage_mapping_rule_create
from invoicing.services.usage_storage import MappingJoin, Sums

DEFAULT_TAG = "business_unit"
_MOST_VALUES = 10_000
_LONGEST_CODE = 50
_LONGEST_NAME = 200
_LONGEST_VALUE = 255
_TAGS, _CURRENCY, _COST = (STAGED_FIELDS.index(name) for name in ("tags", "currency", "billed_cost"))


@dataclass(slots=True)
class _Counted:
    rows: int = 0
    cost: Sums = field(default_factory=dict)

    def add(self, rows: int, currency: str, cost: Decimal) -> None:
        self.rows += rows
        self.cost[currency] = EXACT.add(self.cost.get(currency, Decimal(0)), cost)


@dataclass(frozen=True, slots=True)
class MappingProposal:
    """A value of the tag, and the department that its rows could go to: an existing one, or a new one."""

    value: str
    rows: int
    cost: Sums
    department: Department | None
    entity: Entity
    code: str
    name: str
    rule: UsageMappingRule | None

    @property
    def is_mapped(self) -> bool:
        """A rule for this value exists already."""
        return self.rule is not None


@dataclass(frozen=True, slots=True)
class MappingProposals:
    """What `usage_mappings_propose` found; `untagged` rows have no such tag and would stay unallocated."""

    entity: Entity
    tag_key: str
    proposals: list[MappingProposal]
    untagged_rows: int
    untagged_cost: Sums
    tag_keys: dict[str, int]

    @property
    def open(self) -> list[MappingProposal]:
        """Those for which there is no rule yet."""
        return [proposal for proposal in self.proposals if not proposal.is_mapped]


@dataclass(frozen=True, slots=True)
class MappingChoice:
    """One proposal as it was accepted: into `department`, or into a new one of `entity` with `code` and `name`."""

    value: str
    department: Department | None = None
    entity: Entity | None = None
    code: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class MappingsApplied:
    """What `usage_mappings_apply` created."""

    departments: list[Department]
    rules: list[UsageMappingRule]


def usage_mappings_propose(
    *,
    actor: Actor,
    entity: Entity,
    file: IO[bytes] | None = None,
    usage_import: UsageImport | None = None,
    tag_key: str = DEFAULT_TAG,
    into: Entity | None = None,
) -> MappingProposals:
    """Propose a rule and a department for each value of a tag; writes nothing.

    The values come from a file, from the records of an import, or else from all unallocated records of the
    entity. Departments that exist anywhere in the entity or below it are found by code or name; new ones are
    proposed for `into` (the entity itself if left out), the value with the highest cost first.
    """
    require(actor, "invoicing.view_usageimport", entity)
    target = into or entity
    _require_within(entity, target)
    if file is not None:
        counted, keys = _count_file(file, tag_key)
    else:
        counted, keys = _count_records(entity, usage_import, tag_key)
    untagged = counted.pop("", _Counted())
    naming = _Naming(entity, target)
    rules = {
        rule.value: rule
        for rule in UsageMappingRule.objects.select_related("department__entity").filter(
            entity=entity, source=MappingSource.TAG, tag_key=tag_key
        )
    }
    ordered = sorted(counted.items(), key=lambda item: (-sum(item[1].cost.values()), item[0]))
    proposals = [naming.proposal(value, found, rules.get(value)) for value, found in ordered]
    most_used = dict(sorted(keys.items(), key=lambda item: (-item[1], item[0]))[:50])
    return MappingProposals(entity, tag_key, proposals, untagged.rows, untagged.cost, most_used)


def _require_within(entity: Entity, below: Entity) -> None:
    if not EntityClosure.objects.filter(ancestor=entity, descendant=below).exists():
        raise Invalid(
            "entity_outside", f"{below} is neither {entity} nor below it. Choose one of its entities."
        )


def _count_file(file: IO[bytes], tag_key: str) -> tuple[dict[str, _Counted], dict[str, int]]:
    counted: dict[str, _Counted] = {}
    keys: dict[str, int] = {}
    read: dict[str, dict[str, Any]] = {}
    file.seek(0)
    for row in FocusReader(FocusSource(file)):
        if isinstance(row, RejectedLine):
            continue
        text = row[_TAGS]
        tags = read.get(text)
        if tags is None:
            if len(read) > _MOST_VALUES:
                read.clear()
            tags = read[text] = json.loads(text)
        for key in tags:
            keys[key] = keys.get(key, 0) + 1
        _add(counted, _tag_text(tags.get(tag_key)), 1, row[_CURRENCY], Decimal(row[_COST]))
    return counted, keys


def _tag_text(value: Any) -> str:
    """The tag's value as PostgreSQL's ->> gives it, which is what rules are compared with."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _add(counted: dict[str, _Counted], value: str, rows: int, currency: str, cost: Decimal) -> None:
    if value not in counted and len(counted) >= _MOST_VALUES:
        raise Invalid(
            "too_many_values",
            f"The tag has more than {_MOST_VALUES:,} values: it does not name departments. Choose another tag.",
        )
    counted.setdefault(value, _Counted()).add(rows, currency, cost)


def _count_records(
    entity: Entity, usage_import: UsageImport | None, tag_key: str
) -> tuple[dict[str, _Counted], dict[str, int]]:
    where, params = "usage_imports.entity_id = %s", [entity.pk]
    if usage_import is not None:
        where, params = f"{where} AND record.usage_import_id = %s", [*params, usage_import.pk]
    else:
        where += " AND record.department_id IS NULL"
    source = (
        "FROM usage_records AS record JOIN usage_imports ON usage_imports.id = record.usage_import_id "
        f"WHERE {where}"
    )
    counted: dict[str, _Counted] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(record.tags ->> %s::text, ''), record.currency, count(*), sum(record.billed_cost) "
            f"{source} GROUP BY 1, 2",
            [tag_key, *params],
        )
        for value, currency, rows, cost in cursor.fetchall():
            _add(counted, value, rows, currency, cost)
        cursor.execute(
            "SELECT key, count(*) FROM (SELECT jsonb_object_keys(record.tags) AS key "
            f"{source}) AS keys GROUP BY key ORDER BY 2 DESC LIMIT 50",
            params,
        )
        keys = dict(cursor.fetchall())
    return counted, keys


class _Naming:
    """Finds a department for a value, or a code and a name that are free."""

    def __init__(self, entity: Entity, target: Entity) -> None:
        self.target = target
        below = EntityClosure.objects.filter(ancestor=entity).values("descendant_id")
        existing = Department.objects.select_related("entity").filter(entity_id__in=below, is_active=True)
        self.by_code: dict[str, Department] = {}
        self.by_name: dict[str, Department] = {}
        # Of several departments with one code, the one of the target entity, then the oldest.
        for department in sorted(
            existing, key=lambda row: (row.entity_id != target.pk, row.pk), reverse=True
        ):
            self.by_code[department.code.casefold()] = department
            self.by_name[department.name.casefold()] = department
        self.taken = set(
            Department.objects.filter(entity=target).values_list(models.functions.Upper("code"), flat=True)
        )

    def proposal(self, value: str, found: _Counted, rule: UsageMappingRule | None) -> MappingProposal:
        code = self._code(value)
        department = rule.department if rule is not None else self._existing(value, code)
        if department is not None:
            return MappingProposal(
                value,
                found.rows,
                found.cost,
                department,
                department.entity,
                department.code,
                department.name,
                rule,
            )
        free = self._free(code)
        self.taken.add(free.upper())
        return MappingProposal(
            value,
            found.rows,
            found.cost,
            None,
            self.target,
            free,
            value.strip()[:_LONGEST_NAME] or free,
            None,
        )

    def _existing(self, value: str, code: str) -> Department | None:
        wanted = value.strip().casefold()
        return self.by_code.get(wanted) or self.by_code.get(code.casefold()) or self.by_name.get(wanted)

    @staticmethod
    def _code(value: str) -> str:
        """PeoriaData → PEORIA-DATA, "R & D (Basel)" → R-D-BASEL."""
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", value)
        return re.sub(r"[\W_]+", "-", spaced).strip("-").upper()[:_LONGEST_CODE].rstrip("-") or "DEPARTMENT"

    def _free(self, code: str) -> str:
        if code.upper() not in self.taken:
            return code
        numbers = (f"{code[: _LONGEST_CODE - 6]}-{number}" for number in range(2, _MOST_VALUES + 2))
        return next(numbered for numbered in numbers if numbered.upper() not in self.taken)


@transaction.atomic
def usage_mappings_apply(
    *, actor: Actor, entity: Entity, choices: Sequence[MappingChoice], tag_key: str = DEFAULT_TAG
) -> MappingsApplied:
    """Create the departments and rules that were chosen, all or none; what exists already is used as it is.

    Rows that are in do not move yet: `usage_remap` does that. Raises Forbidden (`invoicing.add_usagemappingrule`
    at the entity; `entities.add_department` where a department is new), Invalid, Conflict.
    """
    require(actor, "invoicing.add_usagemappingrule", entity)
    applied = MappingsApplied([], [])
    mapped = set(
        UsageMappingRule.objects.filter(entity=entity, source=MappingSource.TAG, tag_key=tag_key).values_list(
            "value", flat=True
        )
    )
    for choice in choices:
        if choice.value in mapped:
            continue
        if len(choice.value) > _LONGEST_VALUE:
            raise Invalid(
                "value_too_long", f"A value may have {_LONGEST_VALUE} characters: {choice.value[:60]}…"
            )
        department = choice.department or _department_for(actor, entity, choice, applied)
        rule = usage_mapping_rule_create(
            actor=actor,
            entity=entity,
            source=MappingSource.TAG,
            tag_key=tag_key,
            value=choice.value,
            department=department,
        )
        mapped.add(choice.value)
        applied.rules.append(rule)
    return applied


def _department_for(
    actor: Actor, entity: Entity, choice: MappingChoice, applied: MappingsApplied
) -> Department:
    target = choice.entity or entity
    existing = Department.objects.filter(entity=target, code__iexact=choice.code.strip()).first()
    if existing is not None:
        return existing
    department = department_create(
        actor=actor, entity=target, name=choice.name or choice.value, code=choice.code
    )
    applied.departments.append(department)
    return department


# --- mapping anew -----------------------------------------------------------------------------------------


class RemapScope(models.TextChoices):
    """Which rows are asked anew; billed ones never."""

    UNALLOCATED = "unallocated", "Rows without a department"
    UNBILLED = "unbilled", "All rows that are not billed"


@dataclass(frozen=True, slots=True)
class RemapMove:
    """Rows that would move, or have moved, from one department to another (None: unallocated)."""

    from_department_id: int | None
    to_department_id: int | None
    currency: str
    rows: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Remap:
    """What a remap moves; the sums of an entity's records as a whole never change by it (USE-03)."""

    moves: list[RemapMove]

    @property
    def rows(self) -> int:
        """How many rows move."""
        return sum(move.rows for move in self.moves)

    @property
    def cost(self) -> Sums:
        """Their exact cost per currency."""
        total = _Counted()
        for move in self.moves:
            total.add(move.rows, move.currency, move.cost)
        return total.cost


def usage_remap_preview(
    *,
    actor: Actor,
    entity: Entity,
    scope: RemapScope = RemapScope.UNALLOCATED,
    usage_import: UsageImport | None = None,
) -> Remap:
    """Say what `usage_remap` would move now; writes nothing."""
    require(actor, "invoicing.view_usagemappingrule", entity)
    with transaction.atomic():
        return _moves(entity, scope, usage_import)


def usage_remap(
    *,
    actor: Actor,
    entity: Entity,
    scope: RemapScope = RemapScope.UNALLOCATED,
    usage_import: UsageImport | None = None,
) -> Remap:
    """Give the unbilled rows that were imported for an entity the department which its rules name now (USE-03).

    Rows on an invoice, drafts included, stay where they are billed. Works on one import, or on all of the entity.
    """
    require(actor, "invoicing.change_usagemappingrule", entity)
    with transaction.atomic():
        advisory_lock(f"usage-group:{group_root(entity).pk}")
        moved = _moves(entity, scope, usage_import)
        if not moved.moves:
            return moved
        selected, params = _selected(entity, scope, usage_import)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE usage_records AS record SET department_id = target.department_id, "
                "entity_id = target.entity_id, mapping_rule_id = target.rule_id "
                f"FROM ({selected}) AS target WHERE record.id = target.id",
                params,
            )
            if cursor.rowcount != moved.rows:
                raise Conflict(
                    "rows_changed_meanwhile", "An invoice took up some of these rows meanwhile. Try again."
                )
        publish(
            "usage.remapped",
            {
                "entity_id": entity.pk,
                "rows": moved.rows,
                "usage_import_id": None if usage_import is None else usage_import.pk,
            },
            key=f"entity:{entity.pk}",
        )
    return moved


def _selected(entity: Entity, scope: RemapScope, usage_import: UsageImport | None) -> tuple[str, list[Any]]:
    """Return a SELECT of the rows that change, with their new department, entity and rule."""
    mapping = MappingJoin.of_entity(entity.pk)
    where = ["imports.entity_id = %s", "imports.status = 'completed'"]
    params: list[Any] = [*mapping.params, entity.pk]
    if usage_import is not None:
        where.append("staged.usage_import_id = %s")
        params.append(usage_import.pk)
    if scope == RemapScope.UNALLOCATED:
        where.append("staged.department_id IS NULL AND rule.department_id IS NOT NULL")
    else:
        where.append("staged.department_id IS DISTINCT FROM rule.department_id")
    return (
        f"""
        SELECT staged.id, staged.currency, staged.billed_cost, staged.department_id AS from_id,
            rule.department_id, coalesce(rule.entity_id, imports.entity_id) AS entity_id, rule.rule_id
        FROM usage_records AS staged
        JOIN usage_imports AS imports ON imports.id = staged.usage_import_id
        {mapping.joins}
        WHERE {" AND ".join(where)} AND NOT EXISTS (
            SELECT 1 FROM billed_items
            WHERE billed_items.usage_record_id = staged.id AND billed_items.released_at IS NULL
        )
        """,
        params,
    )


def _moves(entity: Entity, scope: RemapScope, usage_import: UsageImport | None) -> Remap:
    selected, params = _selected(entity, scope, usage_import)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT from_id, department_id, currency, count(*), sum(billed_cost) "
            f"FROM ({selected}) AS changing GROUP BY 1, 2, 3 ORDER BY 5 DESC",
            params,
        )
        return Remap([RemapMove(*row) for row in cursor.fetchall()])


def departments_of(moves: Iterable[RemapMove]) -> dict[int, Department]:
    """The departments that moves name, by key."""
    keys = {
        key for move in moves for key in (move.from_department_id, move.to_department_id) if key is not None
    }
    return Department.objects.select_related("entity").in_bulk(keys)
