"""Consolidated invoices, drafted and issued by the services, beside the same rows written by plain SQL."""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction

from bench.data import ALLOCATED
from bench.options import Options
from bench.results import Results, Run
from bench.tables import execute, insert, one, vacuum
from budgets.models import Budget, BudgetEntry
from budgets.services.proof import ledger_differences
from core import clock
from core.clock import month_after
from core.models import User
from entities.models import Department, Entity, Membership
from invoicing.documents.render import render_invoice
from invoicing.models import Invoice, InvoiceLine, UsageBudgetCharge, UsageImport, UsageRecord
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from invoicing.services.line_shares import document_shares_apply

FIRST_MONTH = datetime.date(2025, 1, 1)
SMALL_LINES = 10
LARGE = "consolidated invoices of {lines:,} lines, issued"
LARGE_SQL = "the same rows of {lines:,} lines as plain SQL"
SMALL = f"consolidated invoices of {SMALL_LINES} lines, issued"
SMALL_SQL = f"the same rows of {SMALL_LINES} lines as plain SQL"
DEPARTMENTS = 2
BORNE = f"{SMALL}, {DEPARTMENTS} budgets charged"
BORNE_SQL = f"the same rows of {SMALL_LINES} lines and {DEPARTMENTS} budgets as plain SQL"
PDF_LINES = 50
PDF = f"invoice PDF, {PDF_LINES} lines, warm"


@dataclass(frozen=True, slots=True)
class Cast:
    """Who issues, who pays, who works."""

    actor: User
    root: Entity
    issuer: Entity
    small: list[Entity]
    #: Payers whose usage names departments, each with a budget that bears it.
    borne: list[Entity]
    #: Who gets the invoice that is set as PDF.
    reader: Entity


def prepare(options: Options) -> Cast:
    """A group with subsidiaries that its root pays for, and payers of small invoices of their own."""
    root = Entity.objects.create(
        name="Bench invoices",
        code="BENCHINV",
        entity_type="root",
        currency="USD",
    )
    issuer = Entity.objects.create(
        name="Bench services",
        code="BENCHISSUER",
        parent=root,
        currency="USD",
        is_issuer=True,
        is_default_issuer=True,
    )
    actor = User.objects.create(username="bench-invoices")
    Membership.objects.create(user=actor, entity=root, role="finance_manager")
    below = {"parent_id": "%(root)s::bigint", "currency": "'USD'"}
    for code, number, consolidated in (
        ("BENCHSUB", options.subsidiaries, "true"),
        ("BENCHPAY", options.small_invoices, "false"),
        ("BENCHBUD", options.small_invoices, "false"),
        ("BENCHPDF", 1, "false"),
    ):
        insert(
            Entity,
            below
            | {
                "name": f"'{code} ' || number",
                "code": f"'{code}-' || number",
                "consolidated_billing": consolidated,
            },
            f"FROM generate_series(1, {number}) AS number ORDER BY number",
            root=root.pk,
        )
    _budgets(actor, _months(2 * options.rounds))
    payers = Entity.objects.order_by("pk")
    return Cast(
        actor,
        root,
        issuer,
        small=list(payers.filter(code__startswith="BENCHPAY-")),
        borne=list(payers.filter(code__startswith="BENCHBUD-")),
        reader=Entity.objects.get(code="BENCHPDF-1"),
    )


def _budgets(actor: User, months: list[datetime.date]) -> None:
    """Departments of the payers that have some, each with an open budget of all months that is never used up."""
    insert(
        Department,
        {"entity_id": "entity.id", "name": "'Department ' || number", "code": "'D' || number"},
        f"FROM billing_entities AS entity, generate_series(1, {DEPARTMENTS}) AS number "
        "WHERE entity.code LIKE 'BENCHBUD-%%' ORDER BY entity.id, number",
    )
    first = int(one("SELECT coalesce(max(id), 0) FROM budgets"))
    insert(
        Budget,
        {
            "id": f"{first} + row_number() OVER (ORDER BY department.id)",
            "counted_by": f"ARRAY[{first} + row_number() OVER (ORDER BY department.id)]",
            "name": "'Budget of ' || department.name",
            "entity_id": "entity.id",
            "department_id": "department.id",
            "currency": "'USD'",
            "period_start": "%(start)s::date",
            "period_end": "%(end)s::date",
            "status": "'open'",
            "planned_amount": "%(allocated)s::numeric",
            "allocated_amount": "%(allocated)s::numeric",
        },
        "FROM departments AS department JOIN billing_entities AS entity ON entity.id = department.entity_id "
        "WHERE entity.code LIKE 'BENCHBUD-%%'",
        start=months[0],
        end=month_after(months[-1]),
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
        f"FROM budgets WHERE id > {first} ORDER BY id",
        actor=actor.pk,
    )


def _usage(cast: Cast, months: list[datetime.date], code: str, services: int) -> None:
    """One charge per entity (or department, where it has some), service and month: as many lines."""
    insert(
        UsageImport,
        {
            "entity_id": "%(root)s::bigint",
            "root_id": "%(root)s::bigint",
            "file_name": f"'{code}'",
            "file_sha256": f"'{code}'",
            "status": "'completed'",
            "finished_at": "now()",
            "created_by_id": "%(actor)s::bigint",
        },
        "",
        root=cast.root.pk,
        actor=cast.actor.pk,
    )
    line = "row_number() OVER (ORDER BY month, entity.id, department.id, service) + 1"
    insert(
        UsageRecord,
        {
            "usage_import_id": f"(SELECT max(id) FROM usage_imports WHERE file_sha256 = '{code}')",
            "root_id": "%(root)s::bigint",
            "entity_id": "entity.id",
            "department_id": "department.id",
            "line_number": line,
            "row_hash": "sha256(format('%%s %%s %%s %%s', entity.id, department.id, month, service)::bytea)",
            "charge_period_start": "month::timestamptz",
            "charge_period_end": "month::timestamptz + interval '1 hour'",
            "charge_date": "month",
            "billing_period_start": "month::timestamptz",
            "billing_period_end": "month::timestamptz + interval '1 month'",
            "currency": "'USD'",
            "billed_cost": "(100 + service + entity.id %% 97) / 7.0",
            "charge_category": "'Usage'",
            "provider_name": "'Cloud'",
            "service_name": "'Service ' || lpad(service::text, 4, '0')",
            "billing_account_id": "'1'",
        },
        "FROM billing_entities AS entity LEFT JOIN departments AS department ON department.entity_id = entity.id, "
        "unnest(%(months)s::date[]) AS month, generate_series(1, %(services)s) AS service "
        f"WHERE entity.code LIKE '{code}-%%'",
        root=cast.root.pk,
        months=months,
        services=services,
    )


def _months(number: int) -> list[datetime.date]:
    months = [FIRST_MONTH]
    while len(months) < number:
        months.append(month_after(months[-1]))
    return months


def measure(options: Options, results: Results, say: Callable[[str], None]) -> None:
    """Both sizes, the services and plain SQL in turn, another month each time."""
    cast = prepare(options)
    months = _months(2 * options.rounds)
    lines = options.subsidiaries * options.services
    _usage(cast, months, "BENCHSUB", options.services)
    _usage(cast, months, "BENCHPAY", SMALL_LINES)
    _usage(cast, months, "BENCHBUD", SMALL_LINES // DEPARTMENTS)
    _usage(cast, months[:1], "BENCHPDF", PDF_LINES)
    vacuum()
    large, large_sql = LARGE.format(lines=lines), LARGE_SQL.format(lines=lines)
    for number in range(options.rounds):
        by_service, by_sql = months[2 * number], months[2 * number + 1]
        say(f"  round {number + 1} of {options.rounds}")
        results.add(large_sql, "/min", _timed(_write_by_sql, cast, [cast.root], by_sql))
        results.add(large, "/min", _timed(_issue, cast, [cast.root], by_service), beside=large_sql)
        results.add(SMALL_SQL, "/min", _timed(_write_by_sql, cast, cast.small, by_sql))
        results.add(SMALL, "/min", _timed(_issue, cast, cast.small, by_service), beside=SMALL_SQL)
        results.add(BORNE_SQL, "/min", _timed(_write_with_budgets_by_sql, cast, cast.borne, by_sql))
        results.add(
            BORNE, "/min", _timed(_issue_with_budgets, cast, cast.borne, by_service), beside=BORNE_SQL
        )
    _prove(cast, options, results)
    _measure_pdf(cast, options, results, months[0], say)


def _measure_pdf(
    cast: Cast, options: Options, results: Results, month: datetime.date, say: Callable[[str], None]
) -> None:
    """How long setting one PDF takes, in ms; fonts and stylesheets are read by one before, as in a worker."""
    say(f"  {PDF}")
    draft = consolidated_invoice_draft(
        actor=cast.actor, payer=cast.reader, period_start=month, period_end=month_after(month)
    )
    invoice = invoice_issue(actor=cast.actor, invoice=draft.invoice)
    render_invoice(invoice)
    for _ in range(options.rounds):
        started = time.perf_counter()
        render_invoice(invoice)
        results.add(PDF, "ms", Run((time.perf_counter() - started) * 1000))


def _timed(
    work: Callable[[Cast, Entity, datetime.date], object],
    cast: Cast,
    payers: list[Entity],
    month: datetime.date,
) -> Run:
    times = []
    started = time.perf_counter()
    for payer in payers:
        begun = time.perf_counter()
        work(cast, payer, month)
        times.append((time.perf_counter() - begun) * 1000)
    taken = time.perf_counter() - started
    times.sort()

    def within(percent: int) -> float:
        return times[min(len(times) - 1, len(times) * percent // 100)]

    return Run(len(payers) * 60 / taken, within(50), within(95), within(99))


def _issue(cast: Cast, payer: Entity, month: datetime.date) -> Invoice:
    draft = consolidated_invoice_draft(
        actor=cast.actor, payer=payer, period_start=month, period_end=month_after(month)
    )
    return invoice_issue(actor=cast.actor, invoice=draft.invoice)


def _issue_with_budgets(cast: Cast, payer: Entity, month: datetime.date) -> None:
    """And what a worker does with the event of the issue: departments bear the lines, their budgets are charged."""
    document_shares_apply(invoice_id=_issue(cast, payer, month).pk)


def _write_with_budgets_by_sql(cast: Cast, payer: Entity, month: datetime.date) -> None:
    """And the budget of each department, in the same transaction: its counter, the entry, what was charged."""
    with transaction.atomic():
        _write_by_sql(cast, payer, month)
        given = {"payer": payer.pk, "month": month, "end": month_after(month), "actor": cast.actor.pk}
        charged = (
            "(SELECT department_id, max(usage_import_id) AS import_id, sum(billed_cost) AS exact, "
            "round(sum(billed_cost), 2) AS amount FROM usage_records WHERE entity_id = %(payer)s "
            "AND charge_date >= %(month)s AND charge_date < %(end)s GROUP BY department_id) AS charged "
        )
        execute(
            "UPDATE budgets SET spent_amount = spent_amount + charged.amount "
            f"FROM {charged} WHERE budgets.department_id = charged.department_id",
            **given,
        )
        insert(
            BudgetEntry,
            {
                "budget_id": "budget.id",
                "kind": "'charge'",
                "spent_delta": "charged.amount",
                "document_amount": "charged.amount",
                "document_currency": "budget.currency",
                "posting_date": "%(month)s::date",
                "description": "'Usage'",
                "actor_id": "%(actor)s::bigint",
                "created_at": "now()",
            },
            f"FROM {charged} JOIN budgets AS budget ON budget.department_id = charged.department_id",
            **given,
        )
        insert(
            UsageBudgetCharge,
            {
                "usage_import_id": "charged.import_id",
                "entity_id": "%(payer)s::bigint",
                "department_id": "charged.department_id",
                "month": "%(month)s::date",
                "currency": "'USD'",
                "charge_date": "%(month)s::date",
                "exact_amount": "charged.exact",
                "charged_amount": "charged.amount",
                "status": "'charged'",
                "last_tried_by_id": "%(actor)s::bigint",
            },
            f"FROM {charged}",
            **given,
        )


def _write_by_sql(cast: Cast, payer: Entity, month: datetime.date) -> None:
    """The same rows: the invoice, its lines rounded one by one, what they bill, the number. No checks, no history."""
    scope = "(usage.entity_id = %(payer)s OR sub.parent_id = %(payer)s AND sub.consolidated_billing)"
    with transaction.atomic():
        insert(
            Invoice,
            {
                "issuer_id": "%(issuer)s::bigint",
                "entity_id": "%(payer)s::bigint",
                "bill_to_id": "%(payer)s::bigint",
                "period_start": "%(month)s::date",
                "period_end": "%(end)s::date",
                "currency": "'USD'",
                "created_by_id": "%(actor)s::bigint",
            },
            "",
            issuer=cast.issuer.pk,
            payer=payer.pk,
            month=month,
            end=month_after(month),
            actor=cast.actor.pk,
        )
        invoice = int(one("SELECT currval(pg_get_serial_sequence('invoices', 'id'))"))
        given = {"invoice": invoice, "payer": payer.pk, "month": month, "end": month_after(month)}
        insert(
            InvoiceLine,
            {
                "invoice_id": "%(invoice)s::bigint",
                "line_number": "row_number() OVER (ORDER BY sub.name, usage.service_name)",
                "kind": "'usage'",
                "entity_id": "usage.entity_id",
                "entity_name": "sub.name",
                "department_id": "usage.department_id",
                "description": "usage.service_name",
                "provider": "usage.provider_name",
                "service": "usage.service_name",
                "charge_category": "usage.charge_category",
                "item_count": "count(*)",
                "period_start": "%(month)s::date",
                "period_end": "%(end)s::date",
                "original_currency": "usage.currency",
                "original_amount": "sum(usage.billed_cost)",
                "exact_amount": "sum(usage.billed_cost)",
                "amount": "round(sum(usage.billed_cost), 2)",
                "tax_category": "'O'",
            },
            "FROM usage_records AS usage JOIN billing_entities AS sub ON sub.id = usage.entity_id "
            f"WHERE {scope} AND usage.charge_date >= %(month)s AND usage.charge_date < %(end)s "
            "AND NOT EXISTS (SELECT 1 FROM billed_items AS held WHERE held.usage_record_id = usage.id "
            "AND held.released_at IS NULL) "
            "GROUP BY usage.entity_id, sub.name, usage.department_id, usage.provider_name, usage.service_name, "
            "usage.charge_category, usage.currency",
            **given,
        )
        execute(
            "INSERT INTO billed_items (invoice_line_id, usage_record_id) SELECT line.id, usage.id "
            "FROM invoice_lines AS line JOIN usage_records AS usage ON usage.entity_id = line.entity_id "
            "AND usage.service_name = line.service AND usage.provider_name = line.provider "
            "AND usage.charge_category = line.charge_category AND usage.currency = line.original_currency "
            "AND usage.department_id IS NOT DISTINCT FROM line.department_id "
            "WHERE line.invoice_id = %(invoice)s AND usage.charge_date >= %(month)s AND usage.charge_date < %(end)s",
            **given,
        )
        execute(
            "INSERT INTO number_series (issuer_id, document_type, fiscal_year, prefix, last_number, created_at, "
            "updated_at) VALUES (%(issuer)s, 'invoice', 1999, 'SQL-', 1, now(), now()) "
            "ON CONFLICT (issuer_id, document_type, fiscal_year) "
            "DO UPDATE SET last_number = number_series.last_number + 1",
            issuer=cast.issuer.pk,
        )
        execute(
            "UPDATE invoices SET status = 'issued', subtotal = total_of.amount, total = total_of.amount, "
            "fiscal_year = 1999, sequence_number = series.last_number, number = 'SQL-' || series.last_number, "
            "issue_date = %(today)s, due_date = %(today)s, issued_at = now() "
            "FROM (SELECT sum(amount) AS amount FROM invoice_lines WHERE invoice_id = %(invoice)s) AS total_of, "
            "number_series AS series WHERE invoices.id = %(invoice)s AND series.issuer_id = %(issuer)s "
            "AND series.fiscal_year = 1999",
            invoice=invoice,
            issuer=cast.issuer.pk,
            today=clock.today(),
        )


def _prove(cast: Cast, options: Options, results: Results) -> None:
    issued = Invoice.objects.filter(issuer=cast.issuer, status="issued").exclude(fiscal_year=1999)
    numbers = list(issued.order_by("sequence_number").values_list("sequence_number", flat=True))
    payers = len(cast.small) + len(cast.borne)
    expected = options.rounds * (1 + payers)
    results.prove(
        f"{len(numbers)} invoices are numbered 1 to {expected} without a gap",
        numbers == list(range(1, expected + 1)),
    )
    lines = InvoiceLine.objects.filter(invoice__in=issued).count()
    wanted = options.rounds * (options.subsidiaries * options.services + payers * SMALL_LINES)
    results.prove(f"they have {lines:,} lines of {wanted:,}", lines == wanted)
    charges = UsageBudgetCharge.objects.filter(entity__in=cast.borne, status="charged", charged_amount__gt=0)
    wanted = 2 * options.rounds * len(cast.borne) * DEPARTMENTS
    results.prove(f"{charges.count():,} charges of {wanted:,} are booked", charges.count() == wanted)
    differences = list(ledger_differences())
    results.prove("the counters of all budgets equal their entries", not differences)
