"""Trying the rules out: which one would decide on a request like this, and whom it would ask (APR-01 to APR-05)."""

import datetime
from decimal import Decimal

from approvals.models import ApprovalRequest
from approvals.registry import approval_type
from approvals.services.routing import Route, plan
from core import clock
from core.access import require, system_actor
from core.exchange import convert, rate_for
from core.models import User
from core.money import round_money
from entities.models import Department, Entity
from entities.services.entity import root_id_of
from entities.services.records import field_error


def rule_match(
    *,
    actor: User,
    request_type: str,
    amount: Decimal,
    entity: Entity | None = None,
    department: Department | None = None,
    currency: str | None = None,
    requester: User | None = None,
    on: datetime.date | None = None,
) -> tuple[ApprovalRequest, Route]:
    """The request as the rules would see it, and its route; writes nothing. For those who see the rules there.

    Without ``requester`` nobody is left out as the one who asks, and there is no line of managers. ``currency`` is the
    entity's unless given, ``on`` today there. Raises Invalid, and Conflict ``no_exchange_rate``.
    """
    if department is not None:
        if entity is not None and entity.pk != department.entity_id:
            raise field_error("department_id", "other_entity", "The department is of another entity.")
        entity = department.entity
    if entity is None:
        raise field_error("entity_id", "required", "Name the department or the entity that it is for.")
    asker = requester or system_actor()
    request = ApprovalRequest(
        request_type=approval_type(request_type).code,
        amount=amount,
        currency=currency or entity.currency,
        entity=entity,
        department=department,
        requester=asker,
        created_by=asker,
    )
    require(actor, "approvals.view_approvalrule", request)
    if amount < 0:
        raise field_error("amount", "amount_not_positive", "The amount cannot be negative.")
    day = on or clock.today(entity.time_zone)
    base = Entity.objects.only("currency").get(pk=root_id_of(entity.pk)).currency
    used = rate_for(request.currency, base, day)
    request.base_currency = base
    request.base_amount = request.split_total = round_money(convert(amount, used), base)
    return request, plan(request, amount=request.base_amount, on=day)
