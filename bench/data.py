"""The data set of budgets: groups of entities, people who work for one group each, budgets with money in them.

Everything is numbered so that arithmetic says who reaches what: user `first_user + group + clients × n` works for a
group, and budgets `first_budget + group × budgets_per_group …` are the group's. pgbench can so choose a budget
and one of its users as the load generator does.
"""

import datetime
from dataclasses import dataclass

from bench.options import Options
from bench.tables import execute, insert, one
from budgets.models import Budget, BudgetEntry
from core import clock
from core.models import User
from entities.models import Department, Entity, Membership

ALLOCATED = 1_000_000_000
CHILDREN = 10


@dataclass(frozen=True, slots=True)
class Dataset:
    """Where the numbers begin."""

    options: Options
    first_user: int
    first_entity: int
    first_budget: int

    def users_of(self, group: int) -> list[int]:
        """The users who reach the budgets of a group."""
        step = self.options.clients
        return [self.first_user + group + step * number for number in range(self.options.users_per_group)]

    def budgets_of(self, group: int) -> range:
        """The budgets of a group."""
        first = self.first_budget + group * self.options.budgets_per_group
        return range(first, first + self.options.budgets_per_group)


def load(options: Options) -> Dataset:
    """Fill an empty database."""
    _entities(options)
    first_entity = one("SELECT min(id) FROM billing_entities WHERE code LIKE 'BENCH-%%'")
    _departments()
    first_department = one(
        "SELECT min(id) FROM departments WHERE entity_id = %(entity)s", entity=first_entity
    )
    first_user = _users(options)
    _memberships(options, first_user, first_entity, first_department)
    first_budget = _budgets(options, first_user, first_entity, first_department)
    return Dataset(options, first_user, first_entity, first_budget)


def _entities(options: Options) -> None:
    """Groups of three levels: the root, ten below it, the rest below those."""
    size = options.entities_per_group
    common = {
        "name": "'Entity ' || number",
        "code": "'BENCH-' || number",
        "currency": "'USD'",
    }
    numbers = f"FROM generate_series(0, {options.clients * size - 1}) AS number"
    # The root of a group stands first in it, and what is above stands before what is below.
    first = int(one("SELECT coalesce(max(id), 0) + 1 FROM billing_entities"))
    place = f"(number %% {size})"
    parent = (
        f"CASE WHEN {place} = 0 THEN NULL "
        f"WHEN {place} <= {CHILDREN} THEN {first} + number - {place} "
        f"ELSE {first} + number - {place} + 1 + ({place} - 1) %% {CHILDREN} END"
    )
    insert(
        Entity,
        common
        | {
            "id": f"{first} + number",
            "parent_id": f"({parent})::bigint",
            "entity_type": f"CASE WHEN {place} = 0 THEN 'root' ELSE 'subsidiary' END",
        },
        f"{numbers} ORDER BY number",
    )
    execute("SELECT setval(pg_get_serial_sequence('billing_entities', 'id'), max(id)) FROM billing_entities")


def _departments() -> None:
    insert(
        Department,
        {"entity_id": "entity.id", "name": "'Department'", "code": "'D1'"},
        "FROM billing_entities AS entity WHERE code LIKE 'BENCH-%%' ORDER BY entity.id",
    )


def _users(options: Options) -> int:
    insert(
        User,
        {
            "username": "'bench-' || number",
            "password": "'!' || md5(number::text)",
            "is_service_account": "true",
        },
        "FROM generate_series(0, %(last)s) AS number ORDER BY number",
        last=options.users_per_group * options.clients - 1,
    )
    return int(one("SELECT id FROM users WHERE username = 'bench-0'"))


def _memberships(options: Options, first_user: int, first_entity: int, first_department: int) -> None:
    """Each user works for a whole group, and looks after one department in it besides."""
    users = f"FROM users WHERE id >= {first_user} ORDER BY id"
    group = f"((id - {first_user}) %% {options.clients}) * {options.entities_per_group}"
    insert(
        Membership,
        {"user_id": "id", "entity_id": f"{first_entity} + {group}", "role": "'service_account'"},
        users,
    )
    insert(
        Membership,
        {
            "user_id": "id",
            "entity_id": f"{first_entity} + {group}",
            "department_id": f"{first_department} + {group}",
            "role": "'department_manager'",
        },
        users,
    )


def _budgets(options: Options, first_user: int, first_entity: int, first_department: int) -> int:
    """Open budgets of this year; of each entity's, every second one is its department's. None is a control point."""
    today = clock.today()
    first = int(one("SELECT coalesce(max(id), 0) + 1 FROM budgets"))
    entity = f"(number / {options.budgets_per_entity})"
    insert(
        Budget,
        {
            "id": f"{first} + number",
            "counted_by": f"ARRAY[{first}::bigint + number]",
            "name": "'Budget ' || number",
            "entity_id": f"{first_entity} + {entity}",
            "department_id": f"CASE WHEN number %% 2 = 1 THEN {first_department} + {entity} END",
            "currency": "'USD'",
            "period_start": "%(start)s::date",
            "period_end": "%(end)s::date",
            "status": "'open'",
            "planned_amount": "%(allocated)s::numeric",
            "allocated_amount": "%(allocated)s::numeric",
        },
        f"FROM generate_series(0, {options.all_budgets - 1}) AS number ORDER BY number",
        start=today.replace(month=1, day=1),
        end=datetime.date(today.year + 1, 1, 1),
        allocated=ALLOCATED,
    )
    execute("SELECT setval(pg_get_serial_sequence('budgets', 'id'), max(id)) FROM budgets")
    insert(
        BudgetEntry,
        {
            "budget_id": "id",
            "kind": "'allocation'",
            "allocated_delta": "allocated_amount",
            "document_amount": "allocated_amount",
            "document_currency": "currency",
            "posting_date": "period_start",
            "description": "'Opened'",
            "actor_id": "%(actor)s::bigint",
            "created_at": "now()",
        },
        "FROM budgets WHERE id >= %(first)s ORDER BY id",
        actor=first_user,
        first=first,
    )
    return first
