"""What is measured and how large; `--quick` is a look of a minute, not a figure to quote."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

SECTIONS = ("approvals", "budgets", "usage", "invoices")


@dataclass(frozen=True, slots=True)
class Options:
    """The sizes of a run."""

    sections: tuple[str, ...] = SECTIONS
    rounds: int = 3
    seconds: float = 8.0
    clients: int = 16
    budgets: int = 10_000
    entities: int = 2_000
    users: int = 1_000
    rows: int = 100_000
    subsidiaries: int = 50
    services: int = 200
    small_invoices: int = 200
    workers: int = 2
    threads: int = 1
    check: bool = False
    quick: bool = False

    @property
    def entities_per_group(self) -> int:
        """One group of entities for each client: its users reach that group and no other."""
        return max(1, self.entities // self.clients)

    @property
    def budgets_per_entity(self) -> int:
        return max(1, self.budgets // (self.entities_per_group * self.clients))

    @property
    def budgets_per_group(self) -> int:
        return self.budgets_per_entity * self.entities_per_group

    @property
    def all_budgets(self) -> int:
        """How many budgets there are: as many as asked for, rounded to whole groups."""
        return self.budgets_per_group * self.clients

    @property
    def users_per_group(self) -> int:
        return max(1, self.users // self.clients)


QUICK = Options(
    rounds=3,
    seconds=1.0,
    budgets=1_600,
    entities=320,
    users=160,
    rows=10_000,
    subsidiaries=20,
    services=50,
    small_invoices=20,
    quick=True,
)


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make bench", description="Measure Enterprise Billing beside its own database."
    )
    parser.add_argument("--quick", action="store_true", help="a look of about a minute, with little data")
    parser.add_argument("--only", help=f"some of {', '.join(SECTIONS)}, separated by commas")
    parser.add_argument("--check", action="store_true", help="compare the ratios with bench/floors.json")
    numbers = {
        "rounds": "how often each figure is measured, alternating",
        "clients": "connections, and clients of pgbench",
        "budgets": "budgets in the data set",
        "entities": "entities in the data set",
        "users": "users in the data set",
        "rows": "rows of each imported file",
        "subsidiaries": "subsidiaries on a large invoice",
        "services": "lines of each subsidiary on a large invoice",
        "small_invoices": "invoices of ten lines per round",
        "workers": "processes of the web server",
        "threads": "threads of each of them",
    }
    for name, text in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=_positive, help=text)
    parser.add_argument("--seconds", type=float, help="length of each measurement over HTTP and of pgbench")
    given = vars(parser.parse_args(arguments))
    base = QUICK if given.pop("quick") else Options()
    only = given.pop("only")
    sections = tuple(only.split(",")) if only else SECTIONS
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return replace(base, sections=sections, **{name: value for name, value in given.items() if value})


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("one or more")
    return number
