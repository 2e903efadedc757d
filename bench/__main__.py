"""`python -m bench`, or `make bench`."""

import datetime
import json
import logging
import os
import signal
import sys
import time

from bench import options as bench_options
from bench import servers
from bench.options import Options
from bench.results import Results, machine
from billing_project import engines


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def prepare() -> str:
    """Start what is needed and let this process be one of the product's; return the database's URL."""
    database_url = servers.make_database()
    os.environ |= servers.environment(database_url)
    say("Migrating a database of its own …")
    servers.migrate()
    import django

    django.setup()
    # The web server logs as it does in production; here lines would stand in the way of the table.
    logging.disable(logging.WARNING)
    return database_url


def measure(options: Options, database_url: str) -> Results:
    """Run the sections that were asked for."""
    # Only now: the product's modules need Django to be set up.
    from bench import approvals, budgets, data, invoices, tables, usage

    results = Results(_facts(options))
    if {"approvals", "budgets"} & set(options.sections):
        say(f"Budgets: loading {options.all_budgets:,} …")
        dataset = data.load(options)
        tables.vacuum()
        with servers.website(options.workers, options.threads) as website:
            results.facts["web server"] = " ".join(website.command)
            scene = budgets.Scene(website.address, dataset, database_url)
            # First: the proofs of budgets leave one without money.
            if "approvals" in options.sections:
                approvals.measure(scene, results, say)
            if "budgets" in options.sections:
                budgets.measure(scene, results, say)
    if "usage" in options.sections:
        say(f"Usage: files of {options.rows:,} rows …")
        usage.measure(options, results, say)
    if "invoices" in options.sections:
        say(f"Invoices of {options.subsidiaries * options.services:,} lines, and small ones …")
        invoices.measure(options, results, say)
    results.facts["load average at the end"] = [round(value, 2) for value in os.getloadavg()]
    return results


def _facts(options: Options) -> dict[str, object]:
    from bench.tables import one

    shown = ("server_version", "shared_buffers", "max_wal_size", *servers.DURABLE)
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "postgresql": {name: one(f"SELECT current_setting('{name}')") for name in shown},
        "options": {name: getattr(options, name) for name in Options.__dataclass_fields__},
        "load average at the start": [round(value, 2) for value in os.getloadavg()],
    }


def keep(results: Results) -> None:
    """Write the results to a file of their own, and to one that the next run writes over."""
    text = json.dumps(results.as_json(), indent=2)
    for name in (f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}.json", "latest.json"):
        (servers.FOLDER / name).write_text(text)


def report(results: Results) -> None:
    """Print what was found."""
    say()
    say(results.table())
    say()
    for statement in results.proofs:
        say(f"holds: {statement}")
    for statement in results.broken:
        say(f"BROKEN: {statement}")
    facts = results.facts
    say(f"machine: {facts['machine']}; PostgreSQL: {facts['postgresql']}")
    say(f"load average {facts['load average at the start']} → {facts['load average at the end']}")


def _stop(*_: object) -> None:
    sys.exit("Stopped.")


def main() -> None:
    """Measure, report, keep, and end with a status that says whether all held."""
    options = bench_options.parse()
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    try:
        results = measure(options, prepare())
    except (servers.CannotMeasure, engines.EngineError) as problem:
        sys.exit(str(problem))
    keep(results)
    report(results)
    say(f"({time.monotonic() - started:.0f} s; kept in {servers.FOLDER.name}/latest.json)")
    low = results.below_floors() if options.check else []
    for text in low:
        say(f"TOO LOW: {text}")
    if results.broken or low:
        sys.exit(1)
    if options.check:
        say("All ratios are above their floors.")


if __name__ == "__main__":
    main()
