"""Entities in the back-office: the tree, the page of one entity, its links."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Q, Subquery
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget

from core import clock
from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import EmptyState
from core.admin.columns import number_column
from core.admin.filters import QuickFilter
from core.admin.scoping import ScopedRelatedFilter
from core.models import User
from entities.admin.base import (
    ReadOnlyInline,
    ScopedForm,
    ServiceModelAdmin,
    count_of,
    indented,
    is_tree,
    picker,
    tree_depth,
    tree_path,
)
from entities.models import Department, Entity, EntityClosure, EntityLink, LinkKind, Membership
from entities.querysets import entity_ids_visible_to, sees_everything
from entities.services import (
    entity_create,
    entity_deactivate,
    entity_delete,
    entity_link_end,
    entity_link_set,
    entity_reactivate,
    entity_update,
)


class ChildrenInline(ReadOnlyInline):
    model = Entity
    fk_name = "parent"
    verbose_name_plural = "Entities below"
    shown = ["name", "code", "entity_type", "country", "currency", "is_active"]


class DepartmentsInline(ReadOnlyInline):
    model = Department
    shown = ["code", "name", "parent", "cost_center_type", "gl_code", "manager", "closed_on"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("parent", "manager")


class MembershipsInline(ReadOnlyInline):
    model = Membership
    verbose_name_plural = "Who acts here"
    shown = ["user", "role", "department", "include_descendants", "valid_from", "valid_to"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user", "department")


class LinksInline(ReadOnlyInline):
    model = EntityLink
    fk_name = "entity"
    show_change_link = False
    verbose_name_plural = "Dated links"
    shown = ["kind", "target", "valid_from", "valid_to"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("target")


class LinkForm(ScopedForm):
    """Who plays which part for the entity, and from when."""

    kind = forms.ChoiceField(
        choices=LinkKind.choices, initial=LinkKind.PAYER, widget=UnfoldAdminSelectWidget()
    )
    target = forms.ModelChoiceField(
        Entity.objects.all(), label="Entity", help_text="Of the same group. It may be the entity itself."
    )
    valid_from = forms.DateField(label="From", widget=UnfoldAdminDateWidget())
    valid_to = forms.DateField(
        label="Until before",
        required=False,
        widget=UnfoldAdminDateWidget(),
        help_text="Empty: until further notice.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Made here: at import time the registry of the back-office is not complete.
        field: Any = self.fields["target"]
        field.widget = picker(EntityLink, "target")
        field.widget.choices = field.choices


class LinkEndForm(ScopedForm):
    """Which link ends, and when."""

    link = forms.ModelChoiceField(
        EntityLink.objects.filter(valid_to__isnull=True).select_related("entity", "target"),
        widget=UnfoldAdminSelectWidget(),
    )
    on = forms.DateField(
        label="Ends on",
        widget=UnfoldAdminDateWidget(),
        help_text="The first day on which it no longer holds.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["link"].label_from_instance = lambda link: (  # type: ignore[attr-defined]  # a model choice field
            f"{link.entity}: {link.get_kind_display()} {link.target} from {link.valid_from}"
        )


def _set_link(call: ActionCall) -> EntityLink:
    return entity_link_set(actor=call.actor, entity=call.obj, reason=call.reason, **call.data)


def _end_link(call: ActionCall) -> EntityLink | None:
    link = call.data["link"]
    if link.entity_id != call.obj.pk:
        raise forms.ValidationError({"link": f"This link belongs to {link.entity}. End it there."})
    return entity_link_end(actor=call.actor, link=link, on=call.data["on"], reason=call.reason)


def _has_open_link(entity: Entity, user: Any) -> str | None:
    has = entity.links.filter(valid_to__isnull=True).exists()
    return None if has else "There is no open link."


@admin.register(Entity)
class EntityAdmin(ServiceModelAdmin):
    """The forest of billed organisations."""

    show_activity = True
    list_display = [
        "tree_name",
        "code",
        "entity_type",
        "country",
        "currency",
        "payer",
        "state",
        number_column("children_counted", label="Below"),
        number_column("departments_counted", label="Departments"),
    ]
    list_display_links = ["tree_name"]
    list_filter = [
        "entity_type",
        "currency",
        "country",
        ("parent", ScopedRelatedFilter),
        "is_active",
        "is_issuer",
        "consolidated_billing",
    ]
    list_select_related = ["parent"]
    search_fields = ["name", "code", "legal_name", "tax_id", "city"]
    list_per_page = 100
    quick_filters = [
        QuickFilter("Issuers", "is_issuer__exact=1", icon="receipt_long"),
        QuickFilter("Billed on their own", "consolidated_billing__exact=0", icon="call_split"),
        QuickFilter("Inactive", "is_active__exact=0", icon="pause_circle"),
    ]
    autocomplete_fields = ["parent"]
    guarded_relations = ("parent",)
    inlines = [ChildrenInline, DepartmentsInline, MembershipsInline, LinksInline]
    empty_state = EmptyState(
        "No entities yet",
        "An entity is a company or a part of one that uses, is billed or pays. Begin with the top of the group.",
        "Add the first entity",
        "admin:entities_entity_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "code"),
                    ("entity_type", "parent"),
                    ("currency", "time_zone"),
                    ("consolidated_billing", "fiscal_year_start_month"),
                    "change_reason",
                )
            },
        ),
        (
            "Legal and tax",
            {
                "classes": ("tab",),
                "fields": (
                    ("legal_name", "registration_number"),
                    ("country", "tax_id"),
                    ("tax_treatment", "tax_rate"),
                ),
            },
        ),
        (
            "Billing",
            {
                "classes": ("tab",),
                "fields": (
                    ("payment_terms_days", "credit_limit", "credit_limit_policy"),
                    "usage_markup_percent",
                    ("billing_email", "language"),
                    "street",
                    ("postal_code", "city"),
                    "region",
                ),
            },
        ),
        (
            "Issuer",
            {
                "classes": ("tab",),
                "fields": (
                    ("is_issuer", "is_default_issuer"),
                    "tax_rounding",
                    ("bank_name", "bic"),
                    ("iban", "logo"),
                ),
            },
        ),
    )
    actions_bar = [
        ObjectAction(
            name="link",
            label="Set payer or owner",
            icon="link",
            perm="entities.add_entitylink",
            form=LinkForm,
            consequence="From that day the named entity uses, is billed or pays for this one. An open link of the same "
            "kind ends that day. Invoices that were issued stay as they are.",
            run=_set_link,
            done="The link is set.",
        ),
        ObjectAction(
            name="end-link",
            label="End a link",
            icon="link_off",
            perm="entities.change_entitylink",
            form=LinkEndForm,
            possible=_has_open_link,
            consequence="From that day the entity is its own owner or invoice owner again, and its payer follows the "
            "group.",
            run=_end_link,
            done="The link is ended.",
        ),
        ObjectAction(
            name="deactivate",
            label="Deactivate",
            icon="pause_circle",
            perm="entities.change_entity",
            needs_reason=True,
            danger=True,
            possible=lambda entity, user: None if entity.is_active else "It is inactive already.",
            consequence="Nothing new can be made in it. All that exists stays, and it can be reactivated.",
            run=lambda call: entity_deactivate(actor=call.actor, entity=call.obj, reason=call.reason),
        ),
        ObjectAction(
            name="reactivate",
            label="Reactivate",
            main=True,
            icon="play_circle",
            perm="entities.change_entity",
            needs_reason=True,
            possible=lambda entity, user: "It is active." if entity.is_active else None,
            consequence="It takes new departments, costs and links again.",
            run=lambda call: entity_reactivate(actor=call.actor, entity=call.obj, reason=call.reason),
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        user: Any = request.user
        seen = Entity.objects.visible_to(user).values("pk")
        today = clock.today()
        payers = EntityLink.objects.in_force(today).filter(kind=LinkKind.PAYER, entity_id=OuterRef("pk"))
        queryset = super().get_queryset(request)
        if not sees_everything(user):
            # A membership at one department shows the entity's name in choices, not its page.
            queryset = queryset.filter(pk__in=entity_ids_visible_to(user))
        return queryset.annotate(
            depth=tree_depth(EntityClosure, seen if is_tree(request) else []),
            payer_name=Subquery(payers.filter(Q(target__in=seen)).values("target__name")[:1]),
            payer_id_set=Subquery(payers.values("target_id")[:1]),
            children_counted=count_of(Entity, "parent"),
            departments_counted=count_of(Department, "entity"),
        )

    def get_ordering(self, request: HttpRequest) -> Any:
        return [tree_path(EntityClosure, "name")]

    @admin.display(description="Name", ordering="name")
    def tree_name(self, obj: Any) -> SafeString | str:
        return indented(obj.name, obj.depth)

    @admin.display(description="Payer today")
    def payer(self, obj: Any) -> SafeString | str:
        if obj.payer_id_set is not None:
            if obj.payer_id_set == obj.pk:
                return "Itself"
            return obj.payer_name or "Outside your scope"
        if obj.consolidated_billing and obj.parent_id:
            return format_html('<span class="eb-quiet-text">{}</span>', "With its parent")
        return "Itself"

    @admin.display(description="State", ordering="is_active")
    def state(self, obj: Entity) -> SafeString:
        return badge_html("active" if obj.is_active else "inactive")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form_class = super().get_form(request, obj, change=change, **kwargs)
        code = form_class.base_fields.get("code")
        if code is not None and not change:
            code.required = False
            code.help_text = "Empty: made from the name."
        return form_class

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return super().get_inlines(request, obj) if obj is not None else []

    def create(self, actor: User, data: dict[str, Any], reason: str) -> Entity:
        data["logo"] = data.get("logo") or ""
        return entity_create(actor=actor, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> Entity:
        if "logo" in data:
            data["logo"] = data["logo"] or ""
        return entity_update(actor=actor, entity=obj, reason=reason, **data)

    def remove(self, actor: User, obj: Entity) -> None:
        entity_delete(actor=actor, entity=obj)
