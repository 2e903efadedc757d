"""Invoicing's part of the address space, below /api/enterprise-billing/."""

from invoicing.api import (
    bank_urls,
    billing_run_urls,
    dunning_urls,
    invoice_urls,
    receivables_urls,
    settlement_urls,
    share_urls,
    tax_urls,
    usage_urls,
)

urlpatterns = [
    *bank_urls.urlpatterns,
    *billing_run_urls.urlpatterns,
    *dunning_urls.urlpatterns,
    *invoice_urls.urlpatterns,
    *receivables_urls.urlpatterns,
    *settlement_urls.urlpatterns,
    *share_urls.urlpatterns,
    *tax_urls.urlpatterns,
    *usage_urls.urlpatterns,
]
