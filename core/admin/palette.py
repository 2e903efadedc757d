"""What Ctrl+K finds: pages of the navigation, then records of the models in settings.ADMIN_PALETTE_MODELS."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from unfold.dataclasses import SearchResult

from core.admin.navigation import sidebar

PER_MODEL = 6


def find(site: Any, request: HttpRequest, term: str) -> list[SearchResult]:
    """Return pages and records whose name or search fields match, at most six per model, in scope."""
    wanted = term.lower()
    results = [
        SearchResult(
            title=item["title"], description=section["title"] or "Page", link=item["link"], icon=item["icon"]
        )
        for section in sidebar(request)
        for item in section["items"]
        if wanted in item["title"].lower()
    ]
    for label in getattr(settings, "ADMIN_PALETTE_MODELS", []):
        results += _records(site, request, label, term)
    return results


def _records(site: Any, request: HttpRequest, label: str, term: str) -> list[SearchResult]:
    app_label, model_name = label.split(".")
    model = apps.all_models.get(app_label, {}).get(model_name.lower())
    model_admin = site._registry.get(model) if model is not None else None
    if model is None or model_admin is None or not model_admin.has_view_permission(request):
        return []
    if not model_admin.get_search_fields(request):
        return []
    seen = model_admin.get_queryset(request)
    found, _duplicates = model_admin.get_search_results(request, seen, term)
    # By key, because a search over relations finds a record twice, and lists may be ordered by what DISTINCT refuses.
    rows = seen.filter(pk__in=found.order_by().values("pk")).order_by("-pk")[:PER_MODEL]
    name = str(model._meta.verbose_name).capitalize()
    page = f"{site.name}:{app_label}_{model_name.lower()}_change"
    return [
        SearchResult(title=str(row), description=name, link=reverse(page, args=[row.pk]), icon="article")
        for row in rows
    ]
