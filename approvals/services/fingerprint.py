"""The fingerprint of what approvers decide on, and which changes void their approvals (APR-05, APR-11)."""

import hashlib
import json
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

from approvals.models import ApprovalRequest
from approvals.registry import approval_type
from core.money import round_money

# Changes of these start a new round; others, such as title and description, never do.
MATERIAL_FIELDS = (
    "amount",
    "currency",
    "supplier",
    "supplier_account",
    "gl_code",
    "entity_id",
    "department_id",
    "budget_id",
    "quantity",
    "terms",
    "contract_id",
    "subject_id",
    "payee_id",
    "on_approval",
    "details",
)
HUNDRED = Decimal(100)


def material_content(request: ApprovalRequest) -> dict[str, Any]:
    """What approvers decide on, with the subject's own content; ready for JSON.

    Bank details stand in it as a digest: the content is kept with the request, the account is not for every eye.
    """
    content: dict[str, Any] = {"request_type": request.request_type}
    for name in MATERIAL_FIELDS:
        value = getattr(request, name)
        if isinstance(value, Decimal):
            value = f"{value.normalize():f}"
        content[name] = value
    account = content["supplier_account"]
    content["supplier_account"] = hashlib.sha256(account.encode()).hexdigest() if account else ""
    content["subject"] = dict(approval_type(request.request_type).content(request))
    return content


def content_hash(content: dict[str, Any]) -> str:
    """SHA-256 over canonical JSON: sorted keys, no spaces."""
    text = json.dumps(
        content, cls=DjangoJSONEncoder, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def changed_names(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The material fields that differ."""
    return sorted(name for name in after if before.get(name) != after[name])


def voids_approvals(request: ApprovalRequest, before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether the change needs new approvals (APR-11).

    A lower amount does not, nor a rise that stays, with all rises since, within the tolerance over the last
    approved total. Bank details and every other material field always do.
    """
    changed = changed_names(before, after)
    if changed != ["amount"]:
        return bool(changed)
    if Decimal(after["amount"]) <= Decimal(before["amount"]):
        return False
    approved = request.approved_content
    if approved is None or approved["currency"] != request.currency:
        return True
    return not _tolerated(request, Decimal(approved["amount"]))


def _tolerated(request: ApprovalRequest, approved: Decimal) -> bool:
    """Whether the rise over the approved total is within the percentage and the amount in the base currency.

    Measured in the request's own currency, so that a moving rate neither hides a rise nor makes one.
    """
    rise = request.amount - approved
    share = round_money(approved * settings.APPROVAL_TOLERANCE_PERCENT / HUNDRED, request.currency)
    return rise <= share and round_money(rise * request.rate, request.base_currency) <= Decimal(
        settings.APPROVAL_TOLERANCE_AMOUNT
    )
