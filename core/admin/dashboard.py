"""The first page: numbers that link to the list that proves them, what waits for me, what happened lately.

An app adds its own in its `admin.py`:

    register_card(lambda request: Card("Drafts", "4", reverse(...) + "?status__exact=draft", note="to issue"))
    register_need(lambda request: [Need("3 rows without a department", url)])
    register_panel(lambda request: Panel("Cost per month", "invoicing/month_panel.html", {...}))

Each is called for every view of the page, should need one query, keeps to `visible_to(request.user)` and returns
None (or nothing) where it does not concern the user. Activity comes from the history of the admins that say
`show_activity = True`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString

from core.models import Notification

ACTIVITY_ROWS = 10


@dataclass(frozen=True)
class Card:
    """One number. `lines` takes its place where there is one amount per currency. `url` is the list behind it."""

    title: str
    value: str | SafeString
    url: str
    note: str = ""
    tone: str = "neutral"
    order: int = 50
    lines: tuple[str | SafeString, ...] = ()


@dataclass(frozen=True)
class Need:
    """Something that waits for this user."""

    text: str
    url: str
    icon: str = "arrow_forward"
    tone: str = "info"


@dataclass(frozen=True)
class Panel:
    """A larger piece of the page with a template of its own (a chart, a table)."""

    title: str
    template: str
    context: Mapping[str, Any] = field(default_factory=dict)
    order: int = 50


@dataclass(frozen=True)
class Activity:
    """One line of what happened lately."""

    when: datetime
    who: str
    what: str
    subject: str
    url: str


CardMaker = Callable[[HttpRequest], Card | None]
NeedMaker = Callable[[HttpRequest], Iterable[Need]]
PanelMaker = Callable[[HttpRequest], Panel | None]

_cards: list[CardMaker] = []
_needs: list[NeedMaker] = []
_panels: list[PanelMaker] = []


def register_card(maker: CardMaker) -> CardMaker:
    """Add a number; may be used as a decorator."""
    if maker not in _cards:
        _cards.append(maker)
    return maker


def register_need(maker: NeedMaker) -> NeedMaker:
    """Add to what waits for the user; may be used as a decorator."""
    if maker not in _needs:
        _needs.append(maker)
    return maker


def register_panel(maker: PanelMaker) -> PanelMaker:
    """Add a panel; may be used as a decorator."""
    if maker not in _panels:
        _panels.append(maker)
    return maker


def dashboard_context(request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows to this user."""
    cards = [card for maker in _cards if (card := maker(request)) is not None]
    panels = [panel for maker in _panels if (panel := maker(request)) is not None]
    needs = [need for maker in _needs for need in maker(request)]
    unread = Notification.objects.visible_to(request.user).unread()
    return {
        "title": "Overview",
        "cards": sorted(cards, key=lambda card: card.order),
        "needs": needs,
        "panels": sorted(panels, key=lambda panel: panel.order),
        "activity": recent_activity(request),
        "unread": list(unread.order_by("-created_at", "-pk")[:5]),
        "unread_count": unread.count(),
        "first_step": _first_step(request),
    }


def _first_step(request: HttpRequest) -> str:
    """Return where a new installation begins: the upload of a cost file, for those who may."""
    for name in ("admin:invoicing_usageimport_upload", "admin:invoicing_usageimport_add"):
        try:
            url = reverse(name)
        except NoReverseMatch:
            continue
        return url if request.user.has_perm("invoicing.add_usageimport") else ""
    return ""


def recent_activity(request: HttpRequest) -> list[Activity]:
    """Return the newest changes of the records this user may see, over all admins with `show_activity`."""
    found: list[Activity] = []
    for model, model_admin in admin.site._registry.items():
        manager = getattr(model._meta, "simple_history_manager_attribute", None)
        if not manager or not getattr(model_admin, "show_activity", False):
            continue
        if not model_admin.has_view_permission(request):
            continue
        key = model._meta.pk.attname
        seen = model_admin.get_queryset(request).order_by().values("pk")
        rows = getattr(model, manager).filter(**{f"{key}__in": seen}).select_related("history_user")
        page = f"{model_admin.admin_site.name}:{model._meta.app_label}_{model._meta.model_name}_history"
        for row in rows.order_by("-history_date", "-history_id")[:ACTIVITY_ROWS]:
            words = {"+": "created", "~": "changed", "-": "deleted"}[row.history_type]
            found.append(
                Activity(
                    when=row.history_date,
                    who=row.history_user.display_name if row.history_user else "System",
                    what=f"{words} {model._meta.verbose_name}",
                    subject=str(row.instance),
                    url=reverse(page, args=[getattr(row, key)]),
                )
            )
    return sorted(found, key=lambda entry: entry.when, reverse=True)[:ACTIVITY_ROWS]
