"""Users. Who may do what comes from memberships; here an administrator keeps names, addresses and passwords."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from core.accounts import user_activate, user_deactivate
from core.admin.base import BillingModelAdmin, EmptyState
from core.admin.filters import QuickFilter
from core.models import User

# Rights come from memberships; Django's groups grant nothing here and would only mislead.
if admin.site.is_registered(Group):
    admin.site.unregister(Group)


class BillingUserCreationForm(UserCreationForm):
    """A new user needs a name and an address; rights come with the first membership."""

    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username", "email", "first_name", "last_name")


@admin.register(User)
class UserAdmin(BillingModelAdmin, DjangoUserAdmin):
    """The people who sign in, and the service accounts of other systems. The password is never shown."""

    form = UserChangeForm
    add_form = BillingUserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "display_name", "email", "is_active", "is_service_account", "last_login"]
    list_filter = ["is_active", "is_service_account"]
    list_select_related = ()
    search_fields = ["username", "first_name", "last_name", "email"]
    ordering = ["username"]
    filter_horizontal = ()
    autocomplete_fields = ["manager"]
    readonly_fields = ["last_login", "date_joined", "is_staff"]
    quick_filters = [
        QuickFilter("Active people", "is_active__exact=1&is_service_account__exact=0", icon="person"),
        QuickFilter("Service accounts", "is_service_account__exact=1", icon="smart_toy"),
    ]
    empty_state = EmptyState(
        "No users yet", "Add the people who work here, then give them a role at an entity."
    )
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (
            "Person",
            {
                "fields": (
                    ("first_name", "last_name"),
                    ("email", "manager"),
                    ("language", "time_zone"),
                    "work_calendar",
                )
            },
        ),
        ("Access", {"fields": ("is_active", "is_service_account", "is_staff", "last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "email", "first_name", "last_name", "password1", "password2")}),
    )

    @admin.display(description="Name", ordering="last_name")
    def display_name(self, obj: User) -> str:
        return obj.get_full_name()

    def get_queryset(self, request: HttpRequest) -> Any:
        # The system user is an internal of the jobs.
        return super().get_queryset(request).filter(is_system=False)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Taking somebody out of service has rules of its own, and others are told of it."""
        changed = set(form.changed_data)
        if change and "is_active" in changed:
            switch = user_activate if obj.is_active else user_deactivate
            actor: Any = request.user
            switch(actor=actor, user=User.objects.get(pk=obj.pk))
            changed.remove("is_active")
            if not changed:
                return
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Users are deactivated: what they did keeps their name."""
        return False
