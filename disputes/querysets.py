"""Reads that chain, of disputes and what belongs to them (ENT-04, DSP-18)."""

from typing import TYPE_CHECKING, Any, Self

from django.apps import apps
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from entities.querysets import (
    EntityScopedQuerySet,
    department_ids_visible_to,
    entity_ids_visible_to,
    sees_everything,
)

if TYPE_CHECKING:
    from core.models import User

OPEN = ("open", "acknowledged", "investigating", "waiting_customer", "waiting_third_party", "proposed")
INTERNAL = "disputes.view_internal"


def _seen(path: str, user: "User", permission: str | None) -> Q:
    """Disputes of visible payers and issuers, and those about lines of visible entities and departments."""
    visible = entity_ids_visible_to(user, permission)
    departments = department_ids_visible_to(user, permission)
    return (
        Q(**{f"{path}entity_id__in": visible})
        | Q(**{f"{path}issuer_id__in": visible})
        | Q(**{f"{path}invoice_line__entity_id__in": visible})
        | Q(**{f"{path}department_id__in": departments})
    )


class DisputeQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        return self if sees_everything(user) else self.filter(_seen("", user, permission))

    def handled_by(self, user: "User") -> Self:
        """Those on whose staff's side the user is: who may read what is internal (DSP-18)."""
        if sees_everything(user):
            return self
        return self.filter(issuer_id__in=entity_ids_visible_to(user, INTERNAL))

    def open(self) -> Self:
        """Nothing is decided yet (DSP-02)."""
        return self.filter(status__in=OPEN)

    def by_deadline(self) -> Self:
        """What comes next first; what waits for somebody else, and has no deadline then, last."""
        return self.order_by(F("next_deadline_at").asc(nulls_last=True), "pk")


class OfDisputeQuerySet(QuerySet):
    """For rows that belong to a dispute and show nothing that is internal."""

    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        return self if sees_everything(user) else self.filter(_seen("dispute__", user, permission))


class InternalOfDisputeQuerySet(OfDisputeQuerySet):
    """For rows of which the customer's side sees those with ``public`` only (DSP-18)."""

    public: Any = Q(pk__in=[])

    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        if sees_everything(user):
            return self
        staff = Q(dispute__issuer_id__in=entity_ids_visible_to(user, INTERNAL))
        return self.filter(staff | (self.public & _seen("dispute__", user, permission)))


class EventQuerySet(InternalOfDisputeQuerySet):
    public = Q(is_public=True)


class CommentQuerySet(InternalOfDisputeQuerySet):
    public = Q(visibility="customer")

    def newest_versions(self) -> Self:
        """The newest version of each comment."""
        newer = apps.get_model("disputes", "DisputeComment").objects.filter(
            thread_key=OuterRef("thread_key"), version__gt=OuterRef("version")
        )
        return self.filter(~Exists(newer))


class AttachmentQuerySet(InternalOfDisputeQuerySet):
    public = Q(visibility="customer")

    def attached(self) -> Self:
        return self.filter(removed_at__isnull=True)


class ResolutionQuerySet(InternalOfDisputeQuerySet):
    public = Q(status="applied")

    def pending(self) -> Self:
        return self.filter(status="pending")


class PolicyQuerySet(EntityScopedQuerySet):
    entity_path = "issuer_id"

    def active(self) -> Self:
        return self.filter(is_active=True)


class PolicyTargetQuerySet(EntityScopedQuerySet):
    entity_path = "policy__issuer_id"
