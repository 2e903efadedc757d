"""A system check that says before the first invoice whether this machine can make PDFs."""

import ctypes
from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning, register

from core.pdf import INSTALL

# The names under which WeasyPrint looks for each library. Importing it for a check would cost seconds.
LIBRARIES = (
    ("libpango-1.0.so.0", "libpango-1.0-0", "libpango-1.0.dylib", "/opt/homebrew/lib/libpango-1.0.dylib"),
    ("libpangoft2-1.0.so.0", "libpangoft2-1.0-0", "libpangoft2-1.0.dylib", "/opt/homebrew/lib/libpangoft2-1.0.dylib"),
    ("libharfbuzz-subset.so.0", "libharfbuzz-subset-0", "libharfbuzz-subset.0.dylib",
     "/opt/homebrew/lib/libharfbuzz-subset.0.dylib"),
)  # fmt: skip


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


@register("documents")
def pdf_libraries(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if a system library that PDFs need is missing; all else works without."""
    if all(any(_loads(name) for name in names) for names in LIBRARIES):
        return []
    return [
        Warning(
            "Invoices cannot be made as PDF: a system library is missing.", hint=INSTALL, id="invoicing.W001"
        )
    ]
