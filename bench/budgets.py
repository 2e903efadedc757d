"""Budget checks and charges over HTTP, each beside the same SQL under pgbench, in turns."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import load
from bench.data import Dataset
from bench.load import Load, Requests
from bench.raw import pgbench, script_of
from bench.results import Results, Run
from bench.tables import execute, one
from budgets.services import fast_path
from budgets.services.proof import ledger_differences
from core import clock
from core.api.tokens import token_pair_issue
from core.models import User
from core.money import known_currencies, minor_units
from entities.access import roles_granting

# Neighbouring numbers of a list far apart: the steps are primes that no size of ours is a multiple of.
STRIDE = 7919
WARM_UP_SECONDS = 1.0
LAST_UNITS = 200

BASE = "/api/enterprise-billing/budgets"
RAW_CHECK = "the same check as SQL"
RAW_CHARGE = "a charge as SQL: BEGIN, UPDATE, INSERT, COMMIT"
RAW_STATEMENT = "the same charge as SQL: one statement"
RAW_HOT = "one hot budget as SQL: BEGIN, UPDATE, INSERT, COMMIT"
RAW_HOT_STATEMENT = "one hot budget as SQL: one statement"

# What pgbench draws: a budget, and one of those who may charge it.
_CHOICE = """\\set budget_number random(0, :budgets - 1)
\\set budget :first_budget + :budget_number
\\set user :first_user + :budget_number / :budgets_per_group + :clients * random(0, :users_per_group - 1)
"""
_PLAIN_CHARGE = """BEGIN;
UPDATE budgets SET spent_amount = spent_amount + :amount::numeric
    WHERE id = :budget AND status = 'open'
      AND spent_amount + committed_amount + :amount::numeric <= allocated_amount + override_amount;
INSERT INTO budget_entries (budget_id, kind, spent_delta, document_amount, document_currency, rate, tax_recoverable,
    posting_date, description, reference, source_type, source_id, source_line, source_revision, actor_id, created_at,
    request_id, allocated_delta, committed_delta, override_delta, fx_variance, reason)
    VALUES (:budget, 'charge', :amount::numeric, :amount::numeric, 'USD', 1, true, :today::date, 'Benchmark', '',
    '', '', 0, 0, :user, now(), '', 0, 0, 0, 0, '');
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class HttpFigure:
    """Something to measure over HTTP."""

    name: str
    beside: str
    clients: Callable[["Scene"], list[Requests]]
    expected: frozenset[int]


class Scene:
    """The running server, the data and the callers' tokens."""

    def __init__(self, address: tuple[str, int], data: Dataset, database_url: str) -> None:
        self.address = address
        self.data = data
        self.database_url = database_url
        self.clients = data.options.clients
        self.unique = itertools.count()
        self.headers: dict[int, bytes] = {
            user.pk: load.common_headers(address, token_pair_issue(user=user).access)
            for user in User.objects.filter(pk__gte=data.first_user, is_service_account=True)
        }

    # --- what the clients send ---------------------------------------------------------------------------

    def checks(self) -> list[Requests]:
        """Each client is one caller and asks for the budgets of its group."""
        return [self._checks(group, self.data.users_of(group)[:1]) for group in range(self.clients)]

    def checks_of_all_users(self) -> list[Requests]:
        """The clients take turns with all users."""
        return [self._checks(group, self.data.users_of(group)) for group in range(self.clients)]

    def charges(self) -> list[Requests]:
        """Each client charges the budgets of its group."""
        return [self._charges(group, self.data.budgets_of(group)) for group in range(self.clients)]

    def charges_with_key(self) -> list[Requests]:
        """The same, each with an idempotency key."""
        return [self._charges(group, self.data.budgets_of(group), key=True) for group in range(self.clients)]

    def hot_charges(self) -> list[Requests]:
        """Every client charges the same budget."""
        hot = self.data.budgets_of(0)[:1]
        users = itertools.cycle(self.data.users_of(0))
        return [self._charges(0, hot, user=next(users)) for _ in range(self.clients)]

    def last_units(self, budget: int) -> list[Requests]:
        """Every client charges a budget that has less than they ask for, until it is empty and beyond."""
        users = itertools.cycle(self.data.users_of(0))
        each = 2 * LAST_UNITS // self.clients + 1
        return [
            itertools.islice(self._charges(0, range(budget, budget + 1), user=next(users)), each)
            for _ in range(self.clients)
        ]

    def _checks(self, group: int, users: list[int]) -> Requests:
        body = b'{"amount":"5000.00"}'
        callers = itertools.cycle(users)
        for budget in spread(self.data.budgets_of(group)):
            path = f"{BASE}/{budget}/check-availability".encode()
            yield load.request(path, body, self.headers[next(callers)])

    def _charges(self, group: int, budgets: range, *, user: int = 0, key: bool = False) -> Requests:
        headers = self.headers[user or self.data.users_of(group)[0]]
        body = json.dumps({"amount": "0.01", "description": "Benchmark", "reference": "PO-2041"}).encode()
        for budget in spread(budgets):
            own = b"Idempotency-Key: bench-%d\r\n" % next(self.unique) if key else b""
            yield load.request(f"{BASE}/{budget}/charge".encode(), body, headers + own)

    # --- measuring ---------------------------------------------------------------------------------------

    def send(self, clients: list[Requests], seconds: float, expected: frozenset[int]) -> Load:
        """Let the clients send."""
        return load.run(self.address, clients, seconds=seconds, expected=expected)

    def sql(self, script: str, seconds: float, *, hot: bool = False) -> Run:
        """Let pgbench run a script with as many clients."""
        tps, latency = pgbench(
            self.database_url,
            _CHOICE + script,
            self.variables(hot=hot),
            clients=self.clients,
            seconds=seconds,
        )
        return Run(tps, p50=latency)

    def variables(self, *, hot: bool = False) -> dict[str, str]:
        """What the scripts of pgbench are given."""
        options = self.data.options
        now = clock.now()
        return {
            "budgets": "1" if hot else str(options.all_budgets),
            "first_budget": str(self.data.first_budget),
            "first_user": str(self.data.first_user),
            "budgets_per_group": str(options.budgets_per_group),
            "users_per_group": str(options.users_per_group),
            "clients": str(options.clients),
            "amount": "0.01",
            "all": "false",
            "now": now.isoformat(),
            "today": clock.business_date(now).isoformat(),
            "description": "Benchmark",
            "reference": "PO-2041",
            "tax_recoverable": "true",
            "source_line": "0",
            "source_revision": "0",
            "request_id": "0123456789abcdef0123456789abcdef",
        }


def spread(budgets: range) -> Iterator[int]:
    """The budgets without end, neighbours far apart."""
    for number in itertools.count():
        yield budgets[number * STRIDE % len(budgets)]


def _literals(permission: str) -> dict[str, str]:
    """Parameters that pgbench cannot give: NULL, empty texts, arrays."""
    coarser = ",".join(code for code in sorted(known_currencies()) if minor_units(code) < 2)
    return {
        "roles": f"'{{{','.join(roles_granting(permission))}}}'",
        "coarser": f"'{{{coarser}}}'",
        "day": "NULL",
        "currency": "NULL",
        "source_type": "''",
        "source_id": "''",
    }


CHECK_SCRIPT = script_of(fast_path.CHECK, literals=_literals("budgets.view_budget"))
CHARGE_SCRIPT = script_of(fast_path.CHARGE, literals=_literals("budgets.charge_budget"))

OK, CREATED = frozenset({200}), frozenset({201})
HTTP = (
    HttpFigure("budget checks over HTTP", RAW_CHECK, Scene.checks, OK),
    HttpFigure("budget checks over HTTP, all users in turn", RAW_CHECK, Scene.checks_of_all_users, OK),
    HttpFigure("charges over HTTP", RAW_CHARGE, Scene.charges, CREATED),
    HttpFigure("charges over HTTP with an idempotency key", RAW_CHARGE, Scene.charges_with_key, CREATED),
    HttpFigure("charges over HTTP on one hot budget", RAW_HOT, Scene.hot_charges, CREATED),
)
SQL = (
    (RAW_CHECK, CHECK_SCRIPT, False),
    (RAW_CHARGE, _PLAIN_CHARGE, False),
    (RAW_STATEMENT, CHARGE_SCRIPT, False),
    (RAW_HOT, _PLAIN_CHARGE, True),
    (RAW_HOT_STATEMENT, CHARGE_SCRIPT, True),
)


def measure(scene: Scene, results: Results, say: Callable[[str], None]) -> None:
    """Every figure in turn, as often as asked; then the proofs."""
    options = scene.data.options
    for figure in HTTP:
        warm = scene.send(figure.clients(scene), WARM_UP_SECONDS, figure.expected)
        if warm.unexpected:
            say(f"  unexpected answer ({figure.name}):\n{warm.unexpected[0]}")
    for number in range(1, options.rounds + 1):
        say(f"  round {number} of {options.rounds}")
        for name, script, hot in SQL:
            results.add(name, "/s", scene.sql(script, options.seconds, hot=hot))
        for figure in HTTP:
            done = scene.send(figure.clients(scene), options.seconds, figure.expected)
            if done.unexpected:
                say(f"  unexpected answer ({figure.name}):\n{done.unexpected[0]}")
            run = Run(
                done.rate, done.percentile(50), done.percentile(95), done.percentile(99), errors=done.errors
            )
            results.add(figure.name, "/s", run, beside=figure.beside)
    prove(scene, results)


def prove(scene: Scene, results: Results) -> None:
    """What must hold however fast it went: the ledger equals the counters, and nothing is over its limit."""
    budget = scene.data.budgets_of(0)[-1]
    leave(budget, LAST_UNITS)
    done = scene.send(scene.last_units(budget), 120, frozenset({201, 409}))
    results.prove(
        f"of {sum(done.statuses.values())} charges by {scene.clients} clients at once on a budget with money for "
        f"{LAST_UNITS}, {done.statuses[201]} passed and {done.statuses[409]} were refused, "
        f"{done.errors} went wrong",
        done.statuses[201] == LAST_UNITS and not done.errors,
    )
    differences = list(ledger_differences())
    charges = one("SELECT count(*) FROM budget_entries WHERE kind = 'charge'")
    results.prove(
        f"every counter equals its entries ({charges:,} charges): {len(differences)} differences",
        not differences,
    )
    over = one("SELECT count(*) FROM budgets WHERE spent_amount + committed_amount > allocated_amount")
    results.prove(f"{over} budgets over their limit", not over)


def leave(budget: int, units: int) -> None:
    """Take from a budget, by an entry, what it has beyond so many hundredths."""
    execute(
        """
        WITH taken AS (
            UPDATE budgets SET allocated_amount = before.spent_amount + before.committed_amount + %(units)s * 0.01
            FROM budgets AS before WHERE budgets.id = %(budget)s AND before.id = budgets.id
            RETURNING budgets.allocated_amount - before.allocated_amount AS delta
        )
        INSERT INTO budget_entries (budget_id, kind, allocated_delta, committed_delta, spent_delta, override_delta,
            document_amount, document_currency, rate, fx_variance, tax_recoverable, posting_date, description,
            reference, reason, source_type, source_id, source_line, source_revision, actor_id, created_at, request_id)
        SELECT %(budget)s, 'adjustment', delta, 0, 0, 0, delta, 'USD', 1, 0, false, %(today)s, 'Benchmark', '', '',
            '', '', 0, 0, (SELECT min(actor_id) FROM budget_entries), now(), ''
        FROM taken
        """,
        units=units,
        budget=budget,
        today=clock.today(),
    )
