"""Template tags of the pages: badges and amounts as in the back-office, icons, navigation, light or dark."""

from django import template
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core.models import User
from core.pages.navigation import PageLink, page_links
from core.pages.sign_in import THEME_COOKIE, THEMES
from core.templatetags.billing_admin import amount, badge

register = template.Library()
register.filter("amount", amount)
register.filter("badge", badge)


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw an icon of Material Symbols beside a word: `{% icon "schedule" %}`; it is not read aloud."""
    return format_html('<span class="material-symbols-outlined" aria-hidden="true">{}</span>', name)


@register.simple_tag(takes_context=True)
def page_navigation(context: template.Context) -> list[PageLink]:
    """Return the pages that the user may open: `{% page_navigation as links %}`."""
    request: HttpRequest | None = context.get("request")
    return page_links(request) if request is not None else []


@register.simple_tag(takes_context=True)
def page_theme(context: template.Context) -> str:
    """Return the remembered choice, light or dark, or nothing: `{% page_theme as theme %}`."""
    request: HttpRequest | None = context.get("request")
    chosen = request.COOKIES.get(THEME_COOKIE, "") if request is not None else ""
    return chosen if chosen in THEMES else ""


@register.filter
def initials(user: User) -> str:
    """Return one or two letters for a person."""
    words = user.display_name.split()
    return "".join(word[0] for word in [words[0], *words[1:][-1:]]).upper() if words else "?"
