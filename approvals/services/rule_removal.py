"""Deleting rules that have decided on nothing yet; others are retired, because trails name them (APR-05, APR-26)."""

from django.db import transaction

from approvals.models import ApprovalRequest, ApprovalRule, ApprovalStep
from approvals.services.people import require_at_place
from approvals.services.rules import approval_rule_update
from core.access import get_visible
from core.errors import Conflict
from core.history import record_as
from core.models import User


def approval_rule_delete(*, actor: User, rule_id: int) -> None:
    """Delete a rule that has never routed anything; raises Conflict ``in_use``, and ``bands_gap`` as retiring does."""
    with transaction.atomic(), record_as(actor):
        seen = get_visible(ApprovalRule.objects.all(), actor, rule_id, name="approval rule")
        require_at_place(actor, "approvals.delete_approvalrule", seen)
        rule = approval_rule_update(actor=actor, rule_id=rule_id, changes={"is_active": False})
        asked = ApprovalStep.objects.filter(rule_id=rule.pk).exists()
        if asked or ApprovalRequest.objects.filter(route__contains=[{"rule_id": rule.pk}]).exists():
            raise Conflict(
                "in_use",
                "Requests were routed by this rule, and their trail names it. Retire it instead.",
                extra={"used_by": ["approval requests"]},
            )
        rule.delete()
