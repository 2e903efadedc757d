"""What somebody may name when they dispute an invoice (DSP-01, ENT-04)."""

from core.access import get_visible
from core.models import User
from invoicing.models import Invoice, InvoiceLine


def disputable(user: User, invoice_id: int, line_id: int | None = None) -> tuple[Invoice, InvoiceLine | None]:
    """The invoice, and its line if one is named, among those that the user sees; raises NotFound.

    Who sees a line, because it is for their department, may name its invoice with it.
    """
    invoices = Invoice.objects.select_related("issuer", "entity")
    if line_id is None:
        return get_visible(invoices, user, invoice_id, name="invoice"), None
    lines = InvoiceLine.objects.select_related("invoice__issuer", "invoice__entity")
    line: InvoiceLine = get_visible(lines, user, line_id, name="invoice line")
    if line.invoice_id == invoice_id:
        return line.invoice, line
    return get_visible(invoices, user, invoice_id, name="invoice"), line
