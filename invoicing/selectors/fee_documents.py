"""On which invoices fees of contracts stand: what contracts show beside them (CON-08)."""

from collections.abc import Collection, Iterator

from django.urls import reverse

from contracts.invoiced import FeeDocument
from core.models import User
from invoicing.models import BilledItem, Invoice


def fee_documents(user: User, fee_ids: Collection[int]) -> Iterator[FeeDocument]:
    """Yield the document that bills each fee; what a void one billed is free again (two queries)."""
    items = BilledItem.objects.filter(contract_fee__in=list(fee_ids), released_at__isnull=True)
    found = list(items.select_related("invoice_line__invoice"))
    keys = {item.invoice_line.invoice_id for item in found}
    seen = set(Invoice.objects.visible_to(user).filter(pk__in=keys).values_list("pk", flat=True))
    for item in found:
        invoice = item.invoice_line.invoice
        assert item.contract_fee_id is not None
        yield FeeDocument(
            fee_id=item.contract_fee_id,
            number=invoice.number or "",
            status=invoice.status,
            url=reverse("admin:invoicing_invoice_change", args=[invoice.pk]) if invoice.pk in seen else "",
        )
