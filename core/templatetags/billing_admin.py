"""Template tags of the back-office: badges, amounts, empty states, links of a list."""

from decimal import Decimal
from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString

from core.admin.badges import badge_html
from core.admin.columns import amount_html

register = template.Library()


@register.filter
def badge(value: object, word: str = "") -> SafeString:
    """Show a status with word, icon and tone: `{{ invoice.status|badge }}`."""
    return badge_html(value, word)


@register.filter
def amount(value: Decimal | None, currency: str) -> SafeString:
    """Show an amount: `{{ invoice.total|amount:invoice.currency }}`."""
    return amount_html(value, currency)


@register.simple_tag(takes_context=True)
def list_link(context: template.Context, name: str, value: object) -> str:
    """Return the link of this list with one parameter set and the page reset."""
    params = context["request"].GET.copy()
    params.pop("p", None)
    params[name] = str(value)
    return f"?{params.urlencode()}"


@register.simple_tag(takes_context=True)
def breadcrumbs(context: template.Context) -> list[dict[str, str]]:
    """Return where one is: the list, the record, the page. Names of apps say nothing to people and are left out."""
    opts, title = context.get("opts"), str(context.get("title") or "")
    if opts is None or not hasattr(opts, "verbose_name_plural"):
        return [{"title": title, "url": ""}]
    prefix = f"admin:{opts.app_label}_{opts.model_name}"
    plural = str(opts.verbose_name_plural)
    crumbs = [{"title": plural[:1].upper() + plural[1:], "url": _link(f"{prefix}_changelist")}]
    original = context.get("original") or context.get("object")
    on_its_page = context.get("adminform") is not None
    if original is not None and not isinstance(original, str):
        crumbs.append({"title": str(original), "url": reverse(f"{prefix}_change", args=[original.pk])})
    elif on_its_page:
        crumbs.append({"title": f"New {opts.verbose_name}", "url": ""})
    if not on_its_page and context.get("cl") is None and title:
        crumbs.append({"title": title, "url": ""})
    return crumbs


@register.simple_tag
def empty_state(cl: Any, may_add: bool = False) -> dict[str, Any]:
    """Return what an empty list says: nothing matches the filters, or what the list is for and how to begin."""
    plural = cl.opts.verbose_name_plural
    if getattr(cl, "has_active_filters", False) or cl.query:
        return {
            "filtered": True,
            "title": f"No {plural} match",
            "text": "Nothing fits the search and the filters above. Take one off, or show everything.",
        }
    add_name = f"admin:{cl.opts.app_label}_{cl.opts.model_name}_add"
    state = tuple(getattr(cl.model_admin, "empty_state", None) or ())
    title, text, button, url = (*state, "", "", "", "")[:4]
    link = _link(url) if url else (_link(add_name) if may_add else "")
    if url.endswith("_add") and not may_add and url == add_name:
        link = ""
    return {
        "filtered": False,
        "title": title or f"No {plural} yet",
        "text": text or f"When there are {plural}, they are listed here.",
        "button": button or f"Add {cl.opts.verbose_name}",
        "url": link,
    }


def _link(url: str) -> str:
    if url.startswith(("/", "?", "http")):
        return url
    try:
        return reverse(url)
    except NoReverseMatch:
        return ""
