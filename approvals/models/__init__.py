"""The approvals' records: who decides (rules, limits, delegations) and what is decided (requests and their trail)."""

from approvals.models.delegation import AuthorityLimit, Delegation
from approvals.models.duty import DutyException, IncompatibleDuties
from approvals.models.mail import ApprovalMailPreference, ApprovalNews, MailDelivery
from approvals.models.request import (
    OPEN_STATUSES,
    ApprovalRequest,
    OnApproval,
    RequestStatus,
)
from approvals.models.rule import (
    ApprovalLevel,
    ApprovalRule,
    ApproverKind,
    EscalationMode,
    EscalationTarget,
    LevelFlow,
    TimerBasis,
)
from approvals.models.step import (
    ApprovalStep,
    ApprovalTask,
    StepOrigin,
    StepStatus,
    TaskOrigin,
    TaskStatus,
)
from approvals.models.trail import (
    ActionKind,
    ApprovalAction,
    ApprovalAttachment,
    ApprovalLink,
    LinkAction,
)

__all__ = [
    "OPEN_STATUSES",
    "ActionKind",
    "ApprovalAction",
    "ApprovalAttachment",
    "ApprovalLevel",
    "ApprovalLink",
    "ApprovalMailPreference",
    "ApprovalNews",
    "ApprovalRequest",
    "ApprovalRule",
    "ApprovalStep",
    "ApprovalTask",
    "ApproverKind",
    "AuthorityLimit",
    "Delegation",
    "DutyException",
    "EscalationMode",
    "EscalationTarget",
    "IncompatibleDuties",
    "LevelFlow",
    "LinkAction",
    "MailDelivery",
    "OnApproval",
    "RequestStatus",
    "StepOrigin",
    "StepStatus",
    "TaskOrigin",
    "TaskStatus",
    "TimerBasis",
]
