"""Inlines with the same rights and scoped choices as the admins."""

from unfold.admin import StackedInline, TabularInline

from core.admin.columns import PlainNumbersMixin
from core.admin.scoping import ScopedPermissionsMixin


class BillingTabularInline(ScopedPermissionsMixin, PlainNumbersMixin, TabularInline):
    """Rows of related records as a table; no empty rows unless asked for."""

    extra = 0
    show_change_link = True


class BillingStackedInline(ScopedPermissionsMixin, PlainNumbersMixin, StackedInline):
    """Related records one below the other."""

    extra = 0
    show_change_link = True
