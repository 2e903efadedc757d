"""What invoicing adds to the pages of entities: the way to the statement of account."""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from core.admin.record_parts import RecordLink, register_record_links
from core.admin.scoping import may
from core.models import User
from invoicing.selectors.statements import payer_seen_by


def statement_link(request: HttpRequest, entity: Any) -> Iterable[RecordLink]:
    """For whoever may read the entity's accounts."""
    assert isinstance(request.user, User)
    if may(request.user, "invoicing.view_invoice") and payer_seen_by(request.user, entity.pk) is not None:
        url = reverse("admin:invoicing_invoice_statement", args=[entity.pk])
        yield RecordLink("Statement of account", url, "account_balance_wallet")


register_record_links("entities.entity", statement_link)
