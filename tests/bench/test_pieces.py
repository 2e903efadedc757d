"""The benchmark's own parts. Nothing here looks at how long something took."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from bench import budgets, data, load, options, results, usage
from bench.raw import script_of
from bench.results import Results, Run
from budgets.models import Budget
from budgets.services.charges import ChargeLine, budget_charge
from budgets.services.fast_path import CHARGE, CHECK
from budgets.services.proof import ledger_differences
from core.models import User
from invoicing.focus.reader import FocusReader, RejectedLine
from invoicing.focus.source import FocusSource

TINY = options.Options(clients=2, budgets=24, entities=24, users=4)


def test_quick_is_smaller_and_what_is_given_counts() -> None:
    quick = options.parse(["--quick", "--only", "budgets,usage", "--budgets", "32"])
    assert (quick.quick, quick.sections, quick.budgets) == (True, ("budgets", "usage"), 32)
    assert options.parse([]).budgets == 10_000
    with pytest.raises(SystemExit):
        options.parse(["--only", "nothing"])


# --- The data set ----------------------------------------------------------------------------------------


@pytest.fixture
def dataset(db: None) -> data.Dataset:
    return data.load(TINY)


def test_the_data_set_is_sound(dataset: data.Dataset) -> None:
    assert Budget.objects.count() == TINY.all_budgets == 24
    assert not list(ledger_differences())
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(depth) FROM entity_closure")
        assert cursor.fetchone() == (2,)


def test_users_reach_the_budgets_of_their_group_and_no_other(dataset: data.Dataset) -> None:
    for group in range(TINY.clients):
        for pk in dataset.users_of(group):
            visible = Budget.objects.visible_to(User.objects.get(pk=pk)).values_list("pk", flat=True)
            assert sorted(visible) == list(dataset.budgets_of(group))


def test_charges_are_proven_and_a_lost_one_is_found(dataset: data.Dataset) -> None:
    actor = User.objects.get(pk=dataset.users_of(1)[0])
    budget = dataset.budgets_of(1)[0]
    budget_charge(actor=actor, line=ChargeLine(budget_id=budget, amount="7.00", description="Test"))
    budgets.leave(budget, 100)
    assert Budget.objects.get(pk=budget).available_amount == 1
    assert not list(ledger_differences())
    Budget.objects.filter(pk=budget).update(spent_amount=8)
    assert [(each.budget_id, each.counter) for each in ledger_differences()] == [(budget, "spent")]


# --- The generators --------------------------------------------------------------------------------------


@pytest.fixture
def echo() -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """A server that answers 200 to every odd request and 500, in chunks, to every even one."""
    seen: list[bytes] = []

    def serve(connected: socket.socket) -> None:
        with connected:
            while request := connected.recv(65536):
                seen.append(request)
                connected.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                    if len(seen) % 2
                    else b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
                )

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            try:
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname(), seen


def test_the_load_generator_sends_everything_and_counts_what_came(echo: tuple) -> None:
    address, seen = echo
    headers = load.common_headers(address, "token")
    clients = [iter([load.request(b"/x", b"{}", headers)] * 5) for _ in range(2)]
    done = load.run(address, clients, seconds=60, expected=frozenset({200}))
    assert len(seen) == 10
    assert seen[0].startswith(b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert seen[0].endswith(
        b"Authorization: Bearer token\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert done.statuses == {200: 5, 500: 5}
    assert (done.errors, len(done.latencies)) == (5, 10)
    assert done.unexpected[0].startswith("HTTP/1.1 500")


def test_a_server_that_hangs_up_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with pytest.raises((load.NoAnswer, ConnectionError)):
            load.run(server.getsockname(), [iter([b"x"])], seconds=1, expected=frozenset({200}))


def test_the_statements_of_the_product_become_scripts_of_pgbench() -> None:
    assert script_of("SELECT %(a)s::int,\n %(b)s", literals={"b": "NULL"}) == "SELECT :a::int, NULL;\n"
    for statement, script in ((CHECK, budgets.CHECK_SCRIPT), (CHARGE, budgets.CHARGE_SCRIPT)):
        assert "%(" in statement
        assert "%(" not in script


def test_generated_files_are_what_the_importer_takes(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    usage.write_file(path, 1_500, 0)
    with path.open("rb") as file:
        rows = list(FocusReader(FocusSource(file)))
    assert len(rows) == 1_500
    assert not [row for row in rows if isinstance(row, RejectedLine)]
    assert len({row[1] for row in rows if not isinstance(row, RejectedLine)}) == 1_500


# --- The report ------------------------------------------------------------------------------------------


def test_ratios_compare_run_with_run_and_floors_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Results({})
    for raw, mine in ((1000, 100), (500, 100), (2000, 100)):
        found.add("raw", "/s", Run(raw))
        found.add("mine", "/s", Run(mine, 1.0, 2.0, 3.0), beside="raw")
    found.prove("this holds", True)
    found.prove("this does not", False)
    assert found.as_json()["ratios"] == {"mine": 0.1}
    assert (found.proofs, found.broken) == (["this holds"], ["this does not"])
    assert "| mine   | 100 /s   | 100 – 100   | 10.0 % | 5.0 % – 20.0 % | 1.0 / 2.0 / 3.0" in found.table()
    floors = tmp_path / "floors.json"
    monkeypatch.setattr(results, "FLOORS", floors)
    floors.write_text(json.dumps({"mine": 0.05, "not measured": 1}))
    assert found.below_floors() == []
    floors.write_text(json.dumps({"mine": 0.2}))
    assert found.below_floors() == ["mine: 10.0 % is below 20.0 %"]
