"""The yardstick: the same work as SQL alone, by pgbench with prepared statements."""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.servers import CannotMeasure, pgbench_program

_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^latency average = ([0-9.]+) ms", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)
_PARAMETER = re.compile(r"%\((\w+)\)s")


def script_of(statement: str, *, literals: Mapping[str, str]) -> str:
    """Turn a statement of the product, with `%(name)s` parameters, into one of pgbench.

    Every parameter stays one (`:name`), but those that pgbench cannot give, such as NULL, which are `literals`.
    """
    text = _PARAMETER.sub(lambda found: literals.get(found[1], f":{found[1]}"), statement)
    return " ".join(text.replace("%%", "%").split()) + ";\n"


def pgbench(
    database_url: str, script: str, variables: Mapping[str, str], *, clients: int, seconds: float
) -> tuple[float, float]:
    """Return transactions per second, and their average latency in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "script.sql")
        path.write_text(script)
        command = [
            *(pgbench_program(), "--no-vacuum", "--protocol", "prepared", "--client", str(clients)),
            *("--jobs", str(min(clients, os.cpu_count() or 1)), "--time", str(max(1, round(seconds)))),
            *("--file", str(path)),
            *(part for name, value in variables.items() for part in ("--define", f"{name}={value}")),
            database_url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    tps, latency = _TPS.search(done.stdout), _LATENCY.search(done.stdout)
    failed = _FAILED.search(done.stdout)
    if done.returncode or tps is None or latency is None or (failed and failed[1] != "0"):
        raise CannotMeasure(f"pgbench failed:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    return float(tps[1]), float(latency[1])
