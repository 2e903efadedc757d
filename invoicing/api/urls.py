"""Invoicing's part of the address space, below /api/enterprise-billing/."""

from invoicing.api import invoice_urls

urlpatterns = [*invoice_urls.urlpatterns]
