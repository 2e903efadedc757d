"""Who sees and may do what in the admin (ENT-04, ENT-05).

Every list, choice and lookup passes the queryset's `visible_to(user)`, every right is asked of
`user.has_perm("app.codename", obj)`: the permission backend knows memberships and scope, the admin does not.
"""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.auth import get_permission_codename
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.http import HttpRequest
from unfold.contrib.filters.admin import (
    ChoicesDropdownFilter,
    RangeDateFilter,
    RangeDateTimeFilter,
    RelatedDropdownFilter,
)


def visible(queryset: Any, user: Any) -> Any:
    """Return the rows of `queryset` that `user` may see; all of them where the model knows no scope."""
    visible_to = getattr(queryset, "visible_to", None)
    return visible_to(user) if callable(visible_to) else queryset


def may(user: Any, permission: str, obj: models.Model | None = None) -> bool:
    """Ask the permission backend; an object without a place (no `access_entity_id`) is asked about as its model.

    An empty permission is everybody's. "Anywhere?" is answered once per request (the user is read anew for each):
    a page asks it dozens of times.
    """
    if not user.is_active:
        return False
    if not permission:
        return True
    if hasattr(obj, "access_entity_id"):
        return bool(user.has_perm(permission, obj))
    answers: dict[str, bool] = user.__dict__.setdefault("_permissions_anywhere", {})
    if permission not in answers:
        answers[permission] = bool(user.has_perm(permission))
    return answers[permission]


class ScopedPermissionsMixin(BaseModelAdmin):
    """Rights through `user.has_perm(permission, obj)`, choices through `visible_to(user)`; for admins and inlines."""

    def _allowed(self, request: HttpRequest, action: str, obj: models.Model | None) -> bool:
        codename = get_permission_codename(action, self.opts)
        return may(request.user, f"{self.opts.app_label}.{codename}", obj)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._allowed(request, "view", obj) or self._allowed(request, "change", obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._allowed(request, "add", obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._allowed(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._allowed(request, "delete", obj)

    def _visible_choices(self, db_field: Any, request: HttpRequest, given: Any, using: str | None) -> Any:
        queryset = given
        if queryset is None:
            queryset = self.get_field_queryset(using, db_field, request)
        if queryset is None:
            queryset = db_field.remote_field.model._default_manager.using(using)
        return visible(queryset.all(), request.user)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = self._visible_choices(
            db_field, request, kwargs.get("queryset"), kwargs.get("using")
        )
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = self._visible_choices(
            db_field, request, kwargs.get("queryset"), kwargs.get("using")
        )
        return super().formfield_for_manytomany(db_field, request, **kwargs)


class ScopedRelatedFilter(RelatedDropdownFilter):
    """A list filter by a related record that offers only the records the user may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        queryset = field.remote_field.model._default_manager.all()
        ordering = self.field_admin_ordering(field, request, model_admin)
        if ordering:
            queryset = queryset.order_by(*ordering)
        return [(row.pk, str(row)) for row in visible(queryset, request.user)]

    def has_output(self) -> bool:
        return len(self.lookup_choices) > 0 or bool(self.used_parameters)


class ScopedListMixin(ScopedPermissionsMixin, admin.ModelAdmin):
    """The list shows what the user may see; its filters offer only that too."""

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        return visible(super().get_queryset(request), request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return any(self._allowed(request, action, None) for action in ("view", "change", "add", "delete"))

    def get_list_filter(self, request: HttpRequest) -> Any:
        """A plain field name gets the filter of its kind: scoped records, choices or a range of dates."""
        return [self._filter_of(spec) for spec in super().get_list_filter(request)]

    def _filter_of(self, spec: Any) -> Any:
        if not isinstance(spec, str):
            return spec
        try:
            field: Any = get_fields_from_path(self.model, spec)[-1]
        except FieldDoesNotExist:
            return spec
        if field.is_relation and field.remote_field is not None:
            return (spec, ScopedRelatedFilter)
        if getattr(field, "choices", None):
            return (spec, ChoicesDropdownFilter)
        if isinstance(field, models.DateTimeField):
            return (spec, RangeDateTimeFilter)
        if isinstance(field, models.DateField):
            return (spec, RangeDateFilter)
        return spec
