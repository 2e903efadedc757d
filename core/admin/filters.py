"""Above every list: quick filters, saved filters (mine, shared, the default one) and the filters in force as chips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.contrib import admin, messages
from django.contrib.admin.views.main import IGNORED_PARAMS, ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import path, reverse
from unfold.views import ChangeList

from core.admin.scoping import may
from core.models import SavedFilter, User
from core.querysets import SavedFilterQuerySet

PAGE_SIZES = (25, 50, 100, 200)
PAGE_SIZE_PARAM = "_per_page"
PAGE_SIZE_COOKIE = "billing_page_size"
# `?_all=1` shows the list without the user's default filter.
ALL_PARAM = "_all"
ONE_YEAR = 365 * 24 * 60 * 60


@dataclass(frozen=True)
class QuickFilter:
    """A chip above the list: `query` is a query string, or makes one (for "this month", "mine")."""

    label: str
    query: str | Callable[[HttpRequest], str]
    icon: str = ""
    perm: str = ""

    def query_for(self, request: HttpRequest) -> str:
        """Return the query string for this request."""
        return self.query(request) if callable(self.query) else self.query


@dataclass(frozen=True)
class Chip:
    """A link above the list."""

    label: str
    url: str
    active: bool = False
    icon: str = ""
    owner: str = ""
    pk: int | None = None
    is_default: bool = False
    is_mine: bool = False


class BillingChangeList(ChangeList):
    """The list with the page size that this person has chosen."""

    def get_results(self, request: HttpRequest) -> None:
        self.list_per_page: int = page_size(request, self.list_per_page)
        super().get_results(request)


def page_size(request: HttpRequest, default: int) -> int:
    """Return the chosen page size, or `default`."""
    chosen = request.COOKIES.get(PAGE_SIZE_COOKIE, "")
    return int(chosen) if chosen.isdigit() and int(chosen) in PAGE_SIZES else default


def signed_in(request: HttpRequest) -> User:
    """Return the user; the back-office lets nobody in who is not signed in."""
    assert isinstance(request.user, User)
    return request.user


def drop_own_parameters(request: HttpRequest) -> None:
    """Take the parameters that are ours out of the query: Django's list would refuse them as unknown filters."""
    own = {ALL_PARAM, PAGE_SIZE_PARAM} & request.GET.keys()
    if own:
        rest = request.GET.copy()
        for name in own:
            rest.pop(name)
        vars(request)["GET"] = rest


def _pairs(query: str) -> set[tuple[str, str]]:
    return {(key, value) for key, value in parse_qsl(query) if key not in {PAGE_VAR, ORDER_VAR}}


def filter_query(params: QueryDict) -> str:
    """Return what is worth saving of a list's query: filters, search and order, not the page."""
    kept = [(key, value) for key, values in params.lists() for value in values]
    own = {PAGE_VAR, ALL_PARAM, PAGE_SIZE_PARAM, "e", "_popup"}
    return urlencode([(key, value) for key, value in kept if value and key not in own])


class FilterChipsMixin(admin.ModelAdmin):
    """Declare `quick_filters = [QuickFilter("Overdue", "status__exact=overdue")]`; the rest comes by itself."""

    quick_filters: Sequence[QuickFilter] = ()
    list_before_template = "admin/includes/list_before.html"
    list_filter_submit = True

    @property
    def filter_page(self) -> str:
        """The name under which filters of this list are saved."""
        return f"{self.opts.app_label}.{self.opts.model_name}"

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_saved_filters"
        view = self.admin_site.admin_view(self.saved_filters_view)
        return [path("saved-filters/", view, name=name), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BillingChangeList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        chosen = request.GET.get(PAGE_SIZE_PARAM, "")
        if chosen.isdigit() and int(chosen) in PAGE_SIZES:
            rest = request.GET.copy()
            rest.pop(PAGE_SIZE_PARAM)
            remembered = redirect(f"{request.path}?{rest.urlencode()}")
            remembered.set_cookie(PAGE_SIZE_COOKIE, chosen, max_age=ONE_YEAR, samesite="Lax", httponly=True)
            return remembered
        default = self._default_filter(request)
        if default is not None:
            return redirect(f"{request.path}?{default.query}")
        drop_own_parameters(request)
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context.update(self._chips(request, context["cl"]))
        return response

    def _mine(self, request: HttpRequest) -> SavedFilterQuerySet:
        return SavedFilter.objects.filter(user=signed_in(request), page=self.filter_page)

    def _default_filter(self, request: HttpRequest) -> SavedFilter | None:
        """The user's default filter, when the list is entered from elsewhere without any filter."""
        came_from = urlsplit(request.headers.get("Referer", "")).path
        if request.method != "GET" or request.GET or came_from == request.path:
            return None
        mine = self._mine(request).filter(is_default=True)
        return mine.exclude(query="").first()

    def _chips(self, request: HttpRequest, cl: Any) -> dict[str, Any]:
        current = filter_query(request.GET)
        now = _pairs(current)
        saved = SavedFilter.objects.visible_to(request.user).filter(page=self.filter_page)
        quick = []
        for item in self.quick_filters:
            query = item.query_for(request)
            if not item.perm or may(request.user, item.perm):
                quick.append(Chip(item.label, f"?{query}", bool(now) and _pairs(query) == now, item.icon))
        return {
            "quick_chips": quick,
            "saved_chips": [
                Chip(
                    label=row.name,
                    url=f"?{row.query}",
                    active=_pairs(row.query) == now,
                    icon="group" if row.shared else "bookmark",
                    owner=row.user.display_name if row.shared and row.user_id != request.user.pk else "",
                    pk=row.pk,
                    is_default=row.is_default and row.user_id == request.user.pk,
                    is_mine=row.user_id == request.user.pk,
                )
                for row in saved.select_related("user").order_by("name")
            ],
            "active_filters": active_filters(request, cl),
            "current_query": current,
            "saved_filters_url": reverse(
                f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_saved_filters"
            ),
            "all_url": f"?{ALL_PARAM}=1",
            "page_sizes": [(size, size == cl.list_per_page) for size in PAGE_SIZES],
            "page_size_param": PAGE_SIZE_PARAM,
        }

    def saved_filters_view(self, request: HttpRequest) -> HttpResponse:
        """POST only: save the filter in force under a name, make one the default, or delete one of mine."""
        back = reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_changelist")
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return redirect(back)
        mine = self._mine(request)
        do = request.POST.get("do", "save")
        if do == "save":
            return redirect(self._save_filter(request, back))
        pk = request.POST.get("pk", "")
        row = mine.filter(pk=int(pk)).first() if pk.isdigit() else None
        if row is None:
            messages.error(request, "That saved filter is not yours, or it is gone. Reload the list.")
        elif do == "delete":
            row.delete()
            messages.success(request, f"The filter “{row.name}” is deleted.")
        elif do == "default":
            with transaction.atomic():
                mine.filter(is_default=True).exclude(pk=row.pk).update(is_default=False)
                row.is_default = not row.is_default
                row.save(update_fields=["is_default", "updated_at"])
            words = "is now your default for this list" if row.is_default else "is no longer your default"
            messages.success(request, f"The filter “{row.name}” {words}.")
        return redirect(f"{back}?{ALL_PARAM}=1")

    def _save_filter(self, request: HttpRequest, back: str) -> str:
        name = request.POST.get("name", "").strip()[:100]
        query = filter_query(QueryDict(request.POST.get("query", "")))
        if not name or not query:
            messages.error(
                request, "Filter or search the list first, then give the filter a name to save it."
            )
            return f"{back}?{query}" if query else back
        with transaction.atomic():
            mine = self._mine(request)
            as_default = "is_default" in request.POST
            if as_default:
                mine.exclude(name=name).filter(is_default=True).update(is_default=False)
            mine.update_or_create(
                user=signed_in(request),
                page=self.filter_page,
                name=name,
                defaults={"query": query, "shared": "shared" in request.POST, "is_default": as_default},
            )
        messages.success(request, f"The filter “{name}” is saved above the list.")
        return f"{back}?{query}"


def active_filters(request: HttpRequest, cl: Any) -> list[Chip]:
    """Return a chip for every filter in force, in words, with the link that takes it off."""
    chips = []
    known: set[str] = {SEARCH_VAR, ORDER_VAR, PAGE_VAR, *IGNORED_PARAMS}
    if cl.query:
        chips.append(Chip(f"Search: {cl.query}", cl.get_query_string(remove=[SEARCH_VAR])))
    for spec in cl.filter_specs:
        names = [name for name in spec.expected_parameters() if name]
        names += [f"{name}{end}" for name in names for end in ("_from", "_to")]
        names += [f"{getattr(spec, 'parameter_name', '')}{end}" for end in ("_from", "_to")]
        used = [name for name in dict.fromkeys(names) if request.GET.get(name)]
        known.update(names)
        if used:
            title = str(spec.title)
            words = _words_of(spec, cl, request, used)
            chips.append(Chip(f"{title[:1].upper()}{title[1:]}: {words}", cl.get_query_string(remove=used)))
    for name in request.GET:
        if name not in known and request.GET.get(name):
            field, _, lookup = name.partition("__")
            sign = {"gte": "from", "gt": "after", "lte": "until", "lt": "before", "isnull": "empty:"}.get(
                lookup, ""
            )
            label = field.replace("_", " ").capitalize()
            words = f"{label}: {sign} {request.GET[name]}".replace("  ", " ")
            chips.append(Chip(words, cl.get_query_string(remove=[name])))
    return chips


def _words_of(spec: Any, cl: Any, request: HttpRequest, used: Sequence[str]) -> str:
    chosen = [value for name in used for value in request.GET.getlist(name) if value]
    starts = [request.GET[name] for name in used if name.endswith("_from")]
    ends = [request.GET[name] for name in used if name.endswith("_to")]
    if starts or ends:
        return " ".join([*(f"from {value}" for value in starts), *(f"to {value}" for value in ends)])
    labels = {str(key): str(label) for key, label in getattr(spec, "lookup_choices", None) or []}
    flat = getattr(getattr(spec, "field", None), "flatchoices", None) or []
    labels |= {str(key): str(label) for key, label in flat}
    if any(value in labels for value in chosen):
        return ", ".join(labels.get(value, value) for value in chosen)
    for choice in spec.choices(cl):
        if choice.get("selected") and choice.get("display"):
            return str(choice["display"])
    return ", ".join(chosen)
