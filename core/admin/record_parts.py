"""What upper apps add to the page of a record of a lower one: buttons above it and panels on it.

    register_record_links("invoicing.invoice", lambda request, invoice: [RecordLink("Open a dispute", url, "gavel")])
    register_record_panel("invoicing.invoice", lambda request, invoice: RecordPanel("Disputes", template, {...}))

The page of the lower app shows them with `record_links(request, obj)` and `record_panels(request, obj)`; it knows
nothing of the app that adds them. A maker keeps to what the user may see, and returns nothing where it has none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest


@dataclass(frozen=True)
class RecordLink:
    """A button that leads to a page of the upper app. `icon` is a Material Symbols name."""

    label: str
    url: str
    icon: str = "arrow_forward"


@dataclass(frozen=True)
class RecordPanel:
    """A part of the page with a template of its own, which gets `context` as `panel`; `url` leads to all of it."""

    title: str
    template: str
    context: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""


LinkMaker = Callable[[HttpRequest, Any], Iterable[RecordLink]]
PanelMaker = Callable[[HttpRequest, Any], RecordPanel | None]

_links: dict[str, list[LinkMaker]] = defaultdict(list)
_panels: dict[str, list[PanelMaker]] = defaultdict(list)


def register_record_links(model: str, maker: LinkMaker) -> None:
    """Add buttons to the pages of a model, named as "app.model"."""
    if maker not in _links[model]:
        _links[model].append(maker)


def register_record_panel(model: str, maker: PanelMaker) -> None:
    """Add a panel to the pages of a model, named as "app.model"."""
    if maker not in _panels[model]:
        _panels[model].append(maker)


def record_links(request: HttpRequest, obj: Any) -> list[RecordLink]:
    """Return the buttons that upper apps add for this user and record."""
    return [link for maker in _links.get(obj._meta.label_lower, ()) for link in maker(request, obj)]


def record_panels(request: HttpRequest, obj: Any) -> list[RecordPanel]:
    """Return the panels that upper apps add for this user and record."""
    found = (maker(request, obj) for maker in _panels.get(obj._meta.label_lower, ()))
    return [panel for panel in found if panel is not None]
