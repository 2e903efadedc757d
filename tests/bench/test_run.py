"""A tiny run from end to end: servers, data, requests over HTTP with production's settings, proofs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.servers import CHECKOUT

TINY = (
    "--quick --check --rounds 1 --seconds 0.2 --clients 4 --budgets 40 --entities 40 --users 8 --rows 200 "
    "--subsidiaries 3 --services 4 --small-invoices 2"
)


@pytest.mark.slow
@pytest.mark.xdist_group("bench")
def test_a_tiny_run_measures_everything_and_proves_the_ledger(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *TINY.split()],
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        | {"BENCH_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if "Figures without it mean nothing" in done.stderr or "There is no pgbench" in done.stderr:
        pytest.skip(done.stderr.strip())
    # So little data says nothing about speed: only ratios may be too low.
    assert "BROKEN" not in done.stdout, done.stdout
    assert (tmp_path / "latest.json").exists(), done.stdout + done.stderr
    found = json.loads((tmp_path / "latest.json").read_text())
    assert found["broken"] == []
    assert len(found["proofs"]) == 9
    assert {figure["name"]: sum(run["errors"] for run in figure["runs"]) for figure in found["figures"]} == {
        figure["name"]: 0 for figure in found["figures"]
    }
    assert len(found["ratios"]) == 11
