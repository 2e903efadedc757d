"""Approval requests over HTTP, asked for and decided by two votes, beside the same writes under pgbench."""

import datetime
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import models

from approvals.models import ApprovalAction, ApprovalRequest, ApprovalStep, ApprovalTask, RequestStatus
from approvals.services.rules import LevelTerms, approval_rule_create
from bench import load
from bench.budgets import Scene, spread
from bench.load import Load, Requests
from bench.raw import pgbench
from bench.results import Results, Run
from bench.tables import column_default, one
from budgets.models import BudgetEntry, Commitment
from budgets.services.proof import ledger_differences
from core.access import system_actor
from core.api.tokens import token_pair_issue
from core.models import OutboxEvent, User
from entities.models import Entity, Membership, Role

PATH = "/api/enterprise-billing/approvals"
CREATED = frozenset({201})
RAW = "a request as SQL: BEGIN, 9 statements, COMMIT"
CREATION = "approval requests created over HTTP"
CYCLE = "full approval cycles over HTTP: create, two votes, effect"
AMOUNT = "0.01"


@dataclass(frozen=True, slots=True)
class Deciders:
    """Two approvers of one group, with the headers of their calls."""

    first: dict[str, str]
    second: dict[str, str]


def prepare(scene: Scene) -> list[Deciders]:
    """Give each group two approvers, and a rule with a level for each."""
    options = scene.data.options
    made = []
    for group in range(scene.clients):
        root = Entity.objects.get(pk=scene.data.first_entity + group * options.entities_per_group)
        people = []
        for level in (1, 2):
            person = User.objects.create(username=f"bench-approver-{group}-{level}")
            Membership.objects.create(user=person, entity=root, role=Role.APPROVER)
            people.append(person)
        approval_rule_create(
            actor=system_actor(),
            name=f"Benchmark {group}",
            currency=root.currency,
            entity=root,
            levels=[LevelTerms(approver_kind="users", users=[person]) for person in people],
        )
        made.append(Deciders(_headers(people[0]), _headers(people[1])))
    return made


def _headers(user: User) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token_pair_issue(user=user).access}",
        "Content-Type": "application/json",
        "X-Forwarded-Proto": "https",
    }


# --- What the clients send -------------------------------------------------------------------------------


def _body(budget: int) -> bytes:
    return json.dumps(
        {
            "request_type": "purchase",
            "title": "Benchmark",
            "description": "Licences for a quarter",
            "amount": AMOUNT,
            "budget_id": budget,
        }
    ).encode()


def creations(scene: Scene) -> list[Requests]:
    """Each client asks for money of the budgets of its group."""
    return [_creations(scene, group) for group in range(scene.clients)]


def _creations(scene: Scene, group: int) -> Requests:
    headers = scene.headers[scene.data.users_of(group)[0]]
    for budget in spread(scene.data.budgets_of(group)):
        yield load.request(PATH.encode(), _body(budget), headers)


def cycles(scene: Scene, deciders: list[Deciders], seconds: float) -> Load:
    """Each client asks, and its two approvers decide, one cycle after the other."""
    done, lock = Load(), threading.Lock()
    until = time.perf_counter() + seconds

    def one_client(group: int) -> None:
        connection = http.client.HTTPConnection(*scene.address, timeout=30)
        asker = _headers(User.objects.get(pk=scene.data.users_of(group)[0]))
        budgets = spread(scene.data.budgets_of(group))
        while time.perf_counter() < until:
            started = time.perf_counter()
            status, answer = _cycle(connection, asker, deciders[group], next(budgets))
            with lock:
                done.statuses[status] += 1
                done.latencies.append(time.perf_counter() - started)
                if answer.get("status") != RequestStatus.APPROVED:
                    done.errors += 1
                    done.unexpected.append(json.dumps(answer))
        connection.close()

    threads = [threading.Thread(target=one_client, args=(group,)) for group in range(scene.clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.seconds = time.perf_counter() - started
    return done


def _cycle(
    connection: http.client.HTTPConnection, asker: dict[str, str], deciders: Deciders, budget: int
) -> tuple[int, dict[str, Any]]:
    """Ask, approve, approve; the first answer that is not as it should be ends it."""
    status, answer = _post(connection, PATH, _body(budget), asker)
    for headers in (deciders.first, deciders.second):
        if status not in (200, 201):
            break
        status, answer = _post(connection, f"{PATH}/{answer['id']}/action", b'{"action":"approve"}', headers)
    return status, answer


def _post(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


# --- The same as SQL -------------------------------------------------------------------------------------


def raw_script() -> str:
    """What a submission writes: budget, commitment, entry, request, two steps, two tasks, action, event."""
    money = f"{AMOUNT}::numeric"
    parts = [
        "\\set budget_number random(0, :budgets - 1)",
        "\\set budget :first_budget + :budget_number",
        "\\set asker :first_user + :budget_number / :budgets_per_group",
        "BEGIN;",
        f"UPDATE budgets SET committed_amount = committed_amount + {money} WHERE id = :budget"
        f" AND spent_amount + committed_amount + {money} <= allocated_amount RETURNING entity_id \\gset",
        _insert(Commitment, "commitment_", budget_id=":budget", amount=money, status="'pending'",
                document_amount=money, document_currency="'USD'", commitment_date="current_date",
                created_by_id=":asker", description="'Benchmark'"),
        _insert(BudgetEntry, "entry_", budget_id=":budget", kind="'commitment'", committed_delta=money,
                document_amount=money, document_currency="'USD'", posting_date="current_date",
                description="'Benchmark'", actor_id=":asker", commitment_id=":commitment_id",
                created_at="now()"),
        _insert(ApprovalRequest, "request_", request_type="'purchase'", title="'Benchmark'", amount=money,
                currency="'USD'", base_currency="'USD'", entity_id=":entity_id", budget_id=":budget",
                requester_id=":asker", created_by_id=":asker", status="'pending'", round="1",
                submitted_at="now()", commitment_id=":commitment_id"),
    ]  # fmt: skip
    for order in (1, 2):
        parts += [
            _insert(ApprovalStep, "step_", request_id=":request_id", round="1", order=str(order), name="'Level'",
                    why="'Benchmark'", required_approvals="1", status="'open'"),
            _insert(ApprovalTask, "task_", step_id=":step_id", request_id=":request_id",
                    approver_id=":approver", status="'open'"),
        ]  # fmt: skip
    parts += [
        _insert(ApprovalAction, "action_", request_id=":request_id", round="1", kind="'submitted'",
                actor_id=":asker"),
        _insert(OutboxEvent, "event_", topic="'approval.task_opened'", published_at="now()"),
        "COMMIT;",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _insert(model: type[models.Model], prefix: str, **values: str) -> str:
    """One INSERT with the model's defaults; the new key becomes pgbench's variable `<prefix>id`."""
    columns = dict(values)
    for field in model._meta.concrete_fields:
        if field.column in columns or field.primary_key:
            continue
        default = column_default(field)
        if default is not None:
            columns[str(field.column)] = _literal(default)
    names = ", ".join(f'"{name}"' for name in columns)
    given = ", ".join(columns.values())
    return f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({given}) RETURNING id AS {prefix}id \\gset"


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, datetime.datetime):
        return "now()"
    return "'" + str(value).replace("'", "''") + "'"


# --- Measuring -------------------------------------------------------------------------------------------


def measure(scene: Scene, results: Results, say: Callable[[str], None]) -> None:
    """Creations and whole cycles in turn with the SQL; then what must hold."""
    options = scene.data.options
    deciders = prepare(scene)
    approver = str(User.objects.get(username="bench-approver-0-1").pk)
    script = raw_script()
    scene.send(creations(scene), min(1.0, options.seconds), CREATED)
    for number in range(1, options.rounds + 1):
        say(f"  approvals, round {number} of {options.rounds}")
        tps, latency = pgbench(
            scene.database_url,
            script,
            scene.variables() | {"approver": approver},
            clients=scene.clients,
            seconds=options.seconds,
        )
        results.add(RAW, "/s", Run(tps, p50=latency))
        for name, done in (
            (CREATION, scene.send(creations(scene), options.seconds, CREATED)),
            (CYCLE, cycles(scene, deciders, options.seconds)),
        ):
            for text in itertools.islice(done.unexpected, 1):
                say(f"  unexpected answer ({name}):\n{text}")
            run = Run(
                done.rate, done.percentile(50), done.percentile(95), done.percentile(99), errors=done.errors
            )
            results.add(name, "/s", run, beside=RAW)
    prove(results)


def prove(results: Results) -> None:
    """Every decided request spent its money once, every open one holds it."""
    differences = list(_money_differences())
    results.prove(
        f"money of {one('SELECT count(*) FROM approval_requests'):,} requests: {len(differences)} differences",
        not differences and not list(ledger_differences()),
    )


def _money_differences() -> Iterator[int]:
    """Requests over HTTP whose commitment is not as their state says."""
    wanted = {RequestStatus.PENDING: "pending", RequestStatus.APPROVED: "consumed"}
    rows = ApprovalRequest.objects.exclude(content_hash="").values_list("pk", "status", "commitment__status")
    for pk, status, commitment in rows.iterator():
        if wanted.get(RequestStatus(status)) != commitment:
            yield pk
