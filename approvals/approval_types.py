"""The types of request that stand on budgets alone: purchases, licence changes and budget increases."""

from typing import ClassVar

from approvals.models import ApprovalRequest
from approvals.registry import ApprovalType, register
from budgets.services.changes import revision_grant
from core.models import User
from entities.services.records import field_error


class PurchaseApproval(ApprovalType):
    """Something is to be bought: charged to the budget at once, or ordered and invoiced later (BUD-02)."""

    code, label = "purchase", "Purchase"
    commits_budget: ClassVar[bool] = True

    def check(self, request: ApprovalRequest, *, actor: User) -> None:
        require_amount(request)


class LicenceChangeApproval(ApprovalType):
    """More licences or another tier; who keeps the contracts changes them on approval (CON-21)."""

    code, label = "license_change", "Licence change"
    commits_budget: ClassVar[bool] = True


class BudgetIncreaseApproval(ApprovalType):
    """A budget's allocation is to rise: a revision puts it in force on approval (BUD-25)."""

    code, label = "budget_increase", "Budget increase"
    raises_budget: ClassVar[bool] = True

    def check(self, request: ApprovalRequest, *, actor: User) -> None:
        require_amount(request)
        if request.budget is None:
            raise field_error("budget_id", "required", "Name the budget that is to be raised.")
        if request.currency != request.budget.currency:
            raise field_error(
                "currency",
                "other_currency",
                f"“{request.budget.name}” is kept in {request.budget.currency}: ask for the increase in it.",
            )

    def on_approved(self, request: ApprovalRequest, *, actor: User) -> None:
        assert request.budget_id is not None  # checked at submission; the field does not change after it
        revision_grant(
            budget_id=request.budget_id,
            delta=request.amount,
            reason=f"{request.reference_number}: {request.title}",
            requested_by=request.requester,
            granted_by=actor,
        )


def require_amount(request: ApprovalRequest) -> None:
    """Refuse a request for nothing."""
    if request.amount <= 0:
        raise field_error("amount", "amount_not_positive", "The amount must be greater than zero.")


def register_own_types() -> None:
    """Add them to the registry."""
    for each in (PurchaseApproval(), LicenceChangeApproval(), BudgetIncreaseApproval()):
        register(each)
