"""Filters of departments' shares in invoice lines."""

import django_filters

from core.api.filters import BillingFilterSet, filter_fields
from invoicing.models import InvoiceLineShare


class InvoiceLineShareFilter(BillingFilterSet):
    """Shares by document, department and outcome; `status=refused` for what waits to be tried again."""

    invoice_id = django_filters.NumberFilter(field_name="invoice_line__invoice_id")

    class Meta:
        model = InvoiceLineShare
        fields = filter_fields("department", "commitment", ranges=["posting_date"], lists=["status"])
