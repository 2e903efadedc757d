"""The shared sample data beside the repository, for tests that can use it; the project carries small files too."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def shared_path(name: str) -> Path:
    """Return a file or folder of `../shared` (or of the folder that SHARED_DIR names); skip the test without it."""
    base = Path(os.environ.get("SHARED_DIR", REPOSITORY.parent / "shared"))
    path = base / name
    if not path.exists():
        pytest.skip(f"needs ../shared/{name}, absent here")
    return path
