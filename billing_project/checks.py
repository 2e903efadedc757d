"""Everything but the tests that must hold before a change lands: `make check`.

All checks run, also after one has failed; at the end stands which failed. Each can be run alone:
`sh run.sh check layers types`.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from cryptography.fernet import Fernet
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


class Failed(Exception):
    """A check did not hold; the message is what to show."""


def run(*command: str, **environment: str) -> str:
    """Return a program's output; raise Failed with it when the program does not succeed."""
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "billing_project.settings.development", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(done.stdout.strip() or f"{command[0]} ended with status {done.returncode}")
    return done.stdout


def tool(name: str, *arguments: str) -> str:
    """Run a program of the virtual environment."""
    return run(str(BIN / name), *arguments)


def manage(*arguments: str, **environment: str) -> str:
    """Run manage.py."""
    return run(sys.executable, "manage.py", *arguments, **environment)


def lint() -> None:
    """Ruff finds nothing."""
    tool("ruff", "check", ".")


def formatting() -> None:
    """The code is formatted (`make format` does it)."""
    tool("ruff", "format", "--check", ".")


def layers() -> None:
    """An app imports only apps below it."""
    tool("lint-imports", "--no-cache")


def types() -> None:
    """Mypy finds nothing."""
    tool("mypy")


def templates() -> None:
    """Templates are well formed."""
    found = [str(path.relative_to(CHECKOUT)) for path in CHECKOUT.glob("*/templates") if path.is_dir()]
    if (CHECKOUT / "templates").is_dir():
        found.append("templates")
    if found:
        tool("djlint", "--lint", "--quiet", *found)


def migrations() -> None:
    """Every change of a model has its migration."""
    manage("makemigrations", "--check", "--dry-run")


def django() -> None:
    """Django's own checks, a warning counts."""
    manage("check", "--fail-level", "WARNING")


def deployment() -> None:
    """The production settings are safe."""
    manage(
        *("check", "--deploy", "--fail-level", "WARNING"),
        DJANGO_SETTINGS_MODULE="billing_project.settings.production",
        SECRET_KEY=secrets.token_urlsafe(50),
        FIELD_ENCRYPTION_KEYS=Fernet.generate_key().decode(),
        BLIND_INDEX_KEY=secrets.token_urlsafe(50),
        DATABASE_URL="postgres://billing@database.invalid/billing",
        REDIS_URL="redis://redis.invalid:6379/0",
        ALLOWED_HOSTS="billing.invalid",
    )


def openapi() -> None:
    """The OpenAPI document is valid and describes every operation without a warning."""
    with tempfile.TemporaryDirectory() as folder:
        manage("spectacular", "--validate", "--fail-on-warn", "--file", str(Path(folder, "schema.yaml")))


# --- Requirements ----------------------------------------------------------------------------------------


def wishes(name: str) -> Iterator[Requirement]:
    """Yield what a requirements file names, without hashes and comments."""
    text = (CHECKOUT / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        wish = line.split(" #")[0].split("--hash")[0].strip()
        if wish and not wish.startswith(("#", "-")):
            yield Requirement(wish)


def applies(wish: Requirement, extras: frozenset[str]) -> bool:
    """Say whether a requirement applies on this machine, for any of these extras of who names it."""
    if wish.marker is None:
        return True
    return any(wish.marker.evaluate({"extra": extra}) for extra in extras | {""})


def reachable(wanted: list[Requirement]) -> dict[str, list[Requirement]]:
    """Return all packages that the wanted ones need on this machine, with what is asked of each."""
    asked: dict[str, list[Requirement]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(wish, frozenset[str]()) for wish in wanted]
    while waiting:
        wish, extras_of_parent = waiting.pop()
        if not applies(wish, extras_of_parent):
            continue
        name, extras = canonicalize_name(wish.name), frozenset(wish.extras)
        asked.setdefault(name, []).append(wish)
        if (name, extras) not in seen:
            seen.add((name, extras))
            waiting += [(Requirement(need), extras) for need in metadata.requires(name) or []]
    return asked


def compare(source: str, lock: str, base: str | None = None) -> list[str]:
    """Return how a lock file differs from the file it was made from."""
    wanted = list(wishes(source)) + (list(wishes(base)) if base else [])
    pins = {canonicalize_name(pin.name): pin for pin in wishes(lock) if applies(pin, frozenset())}
    asked = reachable(wanted)
    problems = [f"{lock} lacks {name}" for name in sorted(asked.keys() - pins.keys())]
    problems += [f"{lock} has {name}, which nothing asks for" for name in sorted(pins.keys() - asked.keys())]
    for name in sorted(pins.keys() & asked.keys()):
        version = next(iter(pins[name].specifier)).version
        problems += [
            f"{lock} has {name} {version}, but {wish} is asked for"
            for wish in asked[name]
            if not wish.specifier.contains(version, prereleases=True)
        ]
    return problems


def requirements() -> None:
    """The lock files are what requirements.in and requirements-dev.in ask for (`make lock` makes them anew)."""
    problems = compare("requirements.in", "requirements.txt")
    problems += compare("requirements-dev.in", "requirements-dev.txt", base="requirements.in")
    if problems:
        raise Failed("\n".join(problems))


def vulnerabilities() -> str | None:
    """No pinned package has a known vulnerability. Where the advisory service cannot be asked, say so."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "-r",
            "requirements.txt",
            "--disable-pip",
            "--require-hashes",
        ]
        command += [
            "--progress-spinner",
            "off",
            "--timeout",
            "20",
            "--format",
            "json",
            "--output",
            str(report),
        ]
        done = subprocess.run(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if not report.exists() or not report.read_text().strip():
            last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            return f"NOT CHECKED, the advisory service gave no answer: {last[:160]}"
        found = json.loads(report.read_text())["dependencies"]
    skipped = [package["name"] for package in found if "skip_reason" in package]
    bad = [
        "{} {}: {} (fixed in {})".format(
            package["name"],
            package["version"],
            advisory["id"],
            ", ".join(advisory["fix_versions"]) or "no release",
        )
        for package in found
        for advisory in package.get("vulns", [])
    ]
    if bad:
        raise Failed("\n".join(bad))
    if skipped:
        return (
            f"NOT CHECKED: {len(skipped)} of {len(found)} packages, the package index here has no advisories"
        )
    return None


CHECKS: dict[str, Callable[[], str | None]] = {
    check.__name__: check
    for check in (
        lint,
        formatting,
        layers,
        types,
        templates,
        migrations,
        django,
        deployment,
        openapi,
        requirements,
        vulnerabilities,
    )
}


def main() -> None:
    """Run the checks named on the command line, or all."""
    names = sys.argv[1:] or list(CHECKS)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        sys.exit(f"Unknown: {', '.join(unknown)}. There are: {', '.join(CHECKS)}")
    failed = []
    for name in names:
        print(f"{name:<16} ", end="", flush=True)
        started = time.monotonic()
        try:
            note = CHECKS[name]() or "ok"
        except Failed as problem:
            failed.append(name)
            note = f"FAILED\n{problem}\n"
        print(f"{time.monotonic() - started:5.1f} s  {note}", flush=True)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
