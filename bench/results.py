"""What was measured: kept as JSON, printed as a table, compared with the floors."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FLOORS = Path(__file__).with_name("floors.json")


@dataclass(slots=True)
class Run:
    """One measurement; times in milliseconds."""

    rate: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    errors: int = 0
    load: float = 0.0


@dataclass(slots=True)
class Figure:
    """One line of the table: the runs of something, in the unit `unit`."""

    name: str
    unit: str
    runs: list[Run] = field(default_factory=list)
    #: The figure that it is compared with, run by run.
    beside: str = ""
    note: str = ""

    @property
    def rates(self) -> list[float]:
        return [run.rate for run in self.runs]

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    @property
    def errors(self) -> int:
        return sum(run.errors for run in self.runs)

    def middle(self, of: Callable[[Run], float | None]) -> float | None:
        """The median over the runs of one of their numbers, if they have it."""
        values = [value for value in map(of, self.runs) if value is not None]
        return statistics.median(values) if values else None


class Results:
    """All figures of a run, in the order in which they came."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.figures: dict[str, Figure] = {}
        self.proofs: list[str] = []
        self.broken: list[str] = []

    def add(self, name: str, unit: str, run: Run, *, beside: str = "", note: str = "") -> None:
        """Note one run of a figure."""
        figure = self.figures.setdefault(name, Figure(name, unit, beside=beside, note=note))
        run.load = os.getloadavg()[0]
        figure.runs.append(run)

    def prove(self, statement: str, holds: bool) -> None:
        """Note something that must hold whatever the speed."""
        (self.proofs if holds else self.broken).append(statement)

    def ratios(self, figure: Figure) -> list[float]:
        """What share each run reached of the run beside it."""
        beside = self.figures.get(figure.beside)
        if beside is None:
            return []
        return [mine.rate / its.rate for mine, its in zip(figure.runs, beside.runs, strict=False) if its.rate]

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "facts": self.facts,
            "figures": [asdict(figure) for figure in self.figures.values()],
            "ratios": {
                name: statistics.median(self.ratios(figure))
                for name, figure in self.figures.items()
                if self.ratios(figure)
            },
            "proofs": self.proofs,
            "broken": self.broken,
        }

    def table(self) -> str:
        """The figures as people read them: Markdown, so that it can be quoted as it is."""
        rows = [
            ("figure", "median", "min – max", "ratio", "min – max", "p50 / p95 / p99 ms", "errors", "load"),
        ]
        for figure in self.figures.values():
            ratios = self.ratios(figure)
            times = [figure.middle(of) for of in (lambda r: r.p50, lambda r: r.p95, lambda r: r.p99)]
            rows.append(
                (
                    figure.name,
                    f"{figure.median:,.0f} {figure.unit}",
                    f"{min(figure.rates):,.0f} – {max(figure.rates):,.0f}",
                    _percent(statistics.median(ratios)) if ratios else "",
                    f"{_percent(min(ratios))} – {_percent(max(ratios))}" if ratios else "",
                    " / ".join("–" if ms is None else f"{ms:.1f}" for ms in times) if any(times) else "",
                    str(figure.errors),
                    f"{statistics.median(run.load for run in figure.runs):.1f}",
                )
            )
        return "\n".join(_lines(rows))

    def below_floors(self) -> list[str]:
        """Say which ratios are below the recorded floors; a figure that was not measured is not asked for."""
        floors: dict[str, float] = json.loads(FLOORS.read_text())
        ratios = self.as_json()["ratios"]
        return [
            f"{name}: {_percent(ratios[name])} is below {_percent(floor)}"
            for name, floor in floors.items()
            if name in ratios and ratios[name] < floor
        ]


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
