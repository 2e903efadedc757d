"""Invoicing's part of the address space, below /api/enterprise-billing/."""

from invoicing.api import invoice_urls, usage_urls

urlpatterns = [*invoice_urls.urlpatterns, *usage_urls.urlpatterns]
