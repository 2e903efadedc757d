"""The navigation of the pages: what each app adds, shortened to what the user may open.

An app adds its entries in its `AppConfig.ready()`:

    register_page(PageEntry(
        name="Approvals", url_name="approvals:inbox", icon="task_alt", order=10,
        text="Requests that wait for your decision.",
        allowed=lambda user: may(user, "approvals.decide_step"),
        count=lambda user: Step.objects.waiting_for(user).count(), count_means="waiting for you",
        first=True,
    ))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from core.models import User


def _everybody(user: User) -> bool:
    return True


@dataclass(frozen=True)
class PageEntry:
    """One page of the navigation. `url_name` is an address without arguments.

    `count` is what waits there (one query, within what the user may see), `count_means` says so to those who hear
    the page. `first` sends people without the back-office there when they sign in; the lowest `order` wins.
    """

    name: str
    url_name: str
    icon: str
    text: str
    order: int = 50
    allowed: Callable[[User], bool] = _everybody
    count: Callable[[User], int] | None = None
    count_means: str = ""
    first: bool = False


@dataclass(frozen=True)
class PageLink:
    """An entry as one user sees it."""

    entry: PageEntry
    url: str
    count: int
    current: bool


_entries: list[PageEntry] = []


def register_page(entry: PageEntry) -> PageEntry:
    """Add a page to the navigation."""
    if entry not in _entries:
        _entries.append(entry)
    return entry


def page_links(request: HttpRequest) -> list[PageLink]:
    """Return the pages that the user may open, in order; asked for once per request."""
    user: Any = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return []
    links: list[PageLink] | None = getattr(request, "_page_links", None)
    if links is None:
        links = [_link(entry, user, request.path) for entry in _sorted() if entry.allowed(user)]
        request._page_links = links  # type: ignore[attr-defined]  # kept for the other places of the page
    return links


def first_page(user: User) -> str:
    """Return the address where a person without the back-office begins."""
    for entry in _sorted():
        if entry.first and entry.allowed(user):
            return reverse(entry.url_name)
    return reverse("pages:home")


def _sorted() -> list[PageEntry]:
    return sorted(_entries, key=lambda entry: (entry.order, entry.name))


def _link(entry: PageEntry, user: User, path: str) -> PageLink:
    url = reverse(entry.url_name)
    count = entry.count(user) if entry.count is not None else 0
    return PageLink(entry, url, count, current=path.startswith(url))
