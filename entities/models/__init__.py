from entities.models.allocation import (
    AllocationBasis,
    AllocationPosting,
    AllocationRule,
    AllocationRuleTarget,
    AllocationRuleVersion,
    AllocationSource,
    CostAllocation,
)
from entities.models.department import CostCenterType, Department, DepartmentClosure
from entities.models.entity import (
    CreditLimitPolicy,
    Entity,
    EntityClosure,
    EntityLink,
    EntityType,
    LinkKind,
    TaxRounding,
    TaxTreatment,
)
from entities.models.membership import Membership, Role

__all__ = [
    "AllocationBasis",
    "AllocationPosting",
    "AllocationRule",
    "AllocationRuleTarget",
    "AllocationRuleVersion",
    "AllocationSource",
    "CostAllocation",
    "CostCenterType",
    "CreditLimitPolicy",
    "Department",
    "DepartmentClosure",
    "Entity",
    "EntityClosure",
    "EntityLink",
    "EntityType",
    "LinkKind",
    "Membership",
    "Role",
    "TaxRounding",
    "TaxTreatment",
]
