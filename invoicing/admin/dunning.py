"""Dunning in the back-office: an issuer's levels, what a run would send, and what was sent (DSP-03)."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, money_column
from core.admin.inlines import BillingTabularInline
from core.admin.scoping import may
from core.models import User
from entities.admin.base import ServiceModelAdmin, actor_of
from entities.models import Entity
from invoicing.models import DunnedDocument, DunningLevel, DunningNotice
from invoicing.services.dunning import dunning_level_remove, dunning_level_save, dunning_plan, dunning_run


@admin.register(DunningLevel)
class DunningLevelAdmin(ServiceModelAdmin):
    """When each issuer reminds, and with what text."""

    list_display = ["issuer", "level", "days_overdue", "is_active"]
    list_filter = ["issuer", "is_active"]
    list_select_related = ["issuer"]
    search_fields = ["issuer__name"]
    fields = ["issuer", "level", "days_overdue", "is_active", "texts", "change_reason"]
    empty_state = EmptyState(
        "Nobody is reminded yet",
        "A level says after how many days an overdue invoice is reminded of, such as 7, 21 and 35.",
        "Add the first level",
        "admin:invoicing_dunninglevel_add",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fixed = ("issuer",) if obj is not None else ()
        return (*super().get_readonly_fields(request, obj), *fixed)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "issuer":
            kwargs["queryset"] = Entity.objects.issuers()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> DunningLevel:
        return dunning_level_save(actor=actor, **{**data, "texts": data.get("texts") or {}})

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> DunningLevel:
        stored = DunningLevel.objects.select_related("issuer").get(pk=obj.pk)
        now = {
            name: getattr(stored, name) for name in ("issuer", "level", "days_overdue", "texts", "is_active")
        }
        return dunning_level_save(actor=actor, standing=stored, **{**now, **data})

    def remove(self, actor: User, obj: Any) -> None:
        dunning_level_remove(actor=actor, level=obj)


class DunnedInline(BillingTabularInline):
    """The documents of a notice."""

    model = DunnedDocument
    verbose_name_plural = "Documents"
    fields = ("invoice", "due_date", "open_amount", "disputed_amount", "demanded_amount")
    readonly_fields = fields
    can_delete = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # of a notice that is seen

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("invoice")


@admin.register(DunningNotice)
class DunningNoticeAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """What was sent, to whom, over which documents."""

    list_display = ["dated", "entity", "issuer", "level", "recipient", "sent_at", money_column("amount")]
    list_filter = ["issuer", "entity", "level", "dated", "currency"]
    list_select_related = ["issuer", "entity"]
    search_fields = ["entity__name", "recipient", "subject"]
    fields = [
        "entity",
        "issuer",
        "level",
        "dated",
        "amount",
        "currency",
        "recipient",
        "sent_at",
        "subject",
        "body",
    ]
    inlines = [DunnedInline]
    empty_state = EmptyState(
        "Nobody was reminded yet",
        "The scheduler reminds every day of what is overdue and not disputed, by the levels of the issuers.",
        "See what is due",
        "admin:invoicing_dunningnotice_run",
    )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("run/", view(self.run_view), name="invoicing_dunningnotice_run"),
            *super().get_urls(),
        ]

    def run_view(self, request: HttpRequest) -> HttpResponse:
        """GET shows what would be sent; POST sends it."""
        if not may(request.user, "invoicing.add_dunningnotice"):
            raise PermissionDenied
        if request.method == "POST":
            notices = dunning_run(actor=actor_of(request))
            messages.success(request, f"{len(notices)} reminders are made; those with an address are mailed.")
            return redirect("admin:invoicing_dunningnotice_changelist")
        planned = dunning_plan(actor=actor_of(request))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Remind of what is overdue",
            "back": reverse("admin:invoicing_dunningnotice_changelist"),
            "rows": [
                {
                    "planned": one,
                    "amount": amount_html(one.amount, one.currency),
                    "demands": [
                        (
                            demand,
                            amount_html(demand.demanded, one.currency),
                            amount_html(demand.disputed, one.currency) if demand.disputed else "",
                        )
                        for demand in one.demands
                    ],
                }
                for one in planned
            ],
        }
        return TemplateResponse(request, "admin/invoicing/dunning.html", context)
