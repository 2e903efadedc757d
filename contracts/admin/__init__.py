"""Contracts in the back-office: agreements with their papers, renewals, service levels, subscriptions and fees."""

from contracts.admin import badges, dashboard
from contracts.admin.amendment import ContractAmendmentAdmin
from contracts.admin.contract import ContractAdmin
from contracts.admin.paper import ContractDocumentAdmin, RequiredSignatoryAdmin
from contracts.admin.supply import (
    BillableFeeAdmin,
    PlanAdmin,
    PriceIndexValueAdmin,
    ServiceCreditAdmin,
    SlaMeasurementAdmin,
    SubscriptionAdmin,
)

__all__ = [
    "BillableFeeAdmin",
    "ContractAdmin",
    "ContractAmendmentAdmin",
    "ContractDocumentAdmin",
    "PlanAdmin",
    "PriceIndexValueAdmin",
    "RequiredSignatoryAdmin",
    "ServiceCreditAdmin",
    "SlaMeasurementAdmin",
    "SubscriptionAdmin",
    "badges",
    "dashboard",
]
