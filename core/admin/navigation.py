"""The navigation: settings.ADMIN_NAVIGATION, shortened to what exists and what the user may see.

A section is (title, items); an item is (title, icon, target). A target is "app.model" for a list of the back-office,
or the name of a URL ("admin:index"), optionally with the permission it needs after a space.
"""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from core.admin.scoping import may


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sections for Unfold's sidebar."""
    sections: list[dict[str, Any]] = []
    for title, items in getattr(settings, "ADMIN_NAVIGATION", []):
        links = [
            {"title": name, "icon": icon, "link": link, "active": _is_active(request, link)}
            for name, icon, target in items
            if (link := _link(request, target))
        ]
        if links:
            sections.append({"title": title, "separator": False, "collapsible": False, "items": links})
    # Of a list and a page below its address only the page is where one is.
    here = [link for section in sections for link in section["items"] if link["active"]]
    nearest = max((len(link["link"]) for link in here), default=0)
    for link in here:
        link["active"] = len(link["link"]) == nearest
    return sections


def _link(request: HttpRequest, target: str) -> str:
    """Return the address of a target, or nothing where it does not exist or is not for this user."""
    name, _, permission = target.partition(" ")
    if permission and not may(request.user, permission):
        return ""
    try:
        if ":" in name:
            return reverse(name)
        app_label, model_name = name.split(".")
        model = apps.all_models.get(app_label, {}).get(model_name)
        model_admin = admin.site._registry.get(model) if model is not None else None
        if model_admin is None or not model_admin.has_view_permission(request):
            return ""
        return reverse(f"admin:{app_label}_{model_name}_changelist")
    except NoReverseMatch:
        return ""


def _is_active(request: HttpRequest, link: str) -> bool:
    return request.path == link or (link != reverse("admin:index") and request.path.startswith(link))
