"""What the pages say exists: links lead somewhere, and commands, options, make targets and API paths are there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import resolve
from django.utils.text import slugify

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
QUICK_START = REPOSITORY / "docs" / "quick-start.md"

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def text_without_code(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for target in _LINK.findall(text_without_code(page)):
            if not re.match(r"[a-z]+:", target):
                yield page, target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_without_code(page), re.MULTILINE)
    return {slugify(re.sub(r"[`*]", "", heading)) for heading in headings}


@pytest.mark.parametrize(
    ("source", "target"),
    [pytest.param(source, target, id=f"{source.name}-{target}") for source, target in links()],
)
def test_every_relative_link_leads_somewhere(source: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = (source.parent / path).resolve() if path else source
    assert found.exists(), f"{source.relative_to(REPOSITORY)} links to {target}, which is not there"
    assert found.is_relative_to(REPOSITORY), f"{target} leads out of the repository"
    if anchor:
        assert anchor in anchors(found), f"{found.name} has no heading for #{anchor}"


def code_lines() -> list[str]:
    """The shell lines of README and quick start, continued lines joined, comments off."""
    lines: list[str] = []
    for page in (REPOSITORY / "README.md", QUICK_START):
        for language, block in _FENCE.findall(page.read_text()):
            if language == "sh":
                joined = block.replace("\\\n", " ")
                lines += [line.strip() for line in joined.splitlines() if line.strip() and line[0] != "#"]
    return lines


def management_calls() -> list[list[str]]:
    calls = []
    for line in code_lines():
        found = re.search(r"manage\.py +(.+)$", line)
        if found:
            calls.append(shlex.split(found[1], comments=True))
    return calls


def test_every_management_command_and_option_of_the_quick_start_exists() -> None:
    calls = management_calls()
    assert len(calls) >= 4
    commands = get_commands()
    for name, *arguments in calls:
        assert name in commands, f"manage.py {name} is not there"
        parser = load_command_class(commands[name], name).create_parser("manage.py", name)  # type: ignore[arg-type]
        known = {option for action in parser._actions for option in action.option_strings}
        for argument in arguments:
            if argument.startswith("--"):
                assert argument.partition("=")[0] in known, f"manage.py {name} has no option {argument}"


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {found for line in code_lines() for found in re.findall(r"\bmake ([a-z]+)", line)}
    assert named <= targets
    assert {"run", "test"} <= named


def test_every_api_path_of_the_quick_start_is_served() -> None:
    paths = {
        re.sub(r"\$\{?\w+\}?", "1", path)
        for line in code_lines()
        for path in re.findall(r"(?:\$API|\$HOST)?(/[\w$/{}.-]*)", line)
        if line.lstrip().startswith(("curl", "TOKEN", "GROUP", "PAYER", "IMPORT", "INVOICE"))
    }
    served = {path for path in paths if path.startswith("/api/")} | {
        f"/api/enterprise-billing{path}"
        for line in code_lines()
        for path in [re.sub(r"\$\{?\w+\}?", "1", found) for found in re.findall(r"\$API(/[\w$/{}-]+)", line)]
    }
    assert len(served) >= 5
    for path in served:
        resolve(path)


def test_every_file_that_the_quick_start_names_is_in_the_checkout() -> None:
    names = {name for line in code_lines() for name in re.findall(r"docs/[\w./-]+", line)}
    assert names, "the quick start works on a file of the checkout"
    for name in names:
        assert (REPOSITORY / name).is_file(), f"{name} is not there"
