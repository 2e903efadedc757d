"""The layers of the architecture are written down for every app, and hold."""

import subprocess
import sys
import tomllib
from pathlib import Path

from django.conf import settings

from tests.conftest import REPOSITORY

CONFIGURATION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS = CONFIGURATION["contracts"][0]["layers"]


def test_every_app_has_its_layer_in_the_order_of_the_settings() -> None:
    apps_on_disk = {path.parent.name for path in REPOSITORY.glob("*/apps.py")}
    assert apps_on_disk == set(settings.PRODUCT_APPS)
    assert [layer for layer in reversed(LAYERS) if layer in apps_on_disk] == settings.PRODUCT_APPS
    assert set(CONFIGURATION["root_packages"]) == apps_on_disk | {"billing_project"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter in a folder."""
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_layers_hold() -> None:
    done = lint_imports(REPOSITORY)
    assert done.returncode == 0, done.stdout


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text())
    for name in CONFIGURATION["root_packages"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "core" / "services.py").write_text("import entities\n")
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert "core.services -> entities" in done.stdout
