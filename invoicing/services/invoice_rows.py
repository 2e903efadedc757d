"""How the services that make invoices by the thousand write them."""

from core.recorded import RecordedSave
from invoicing.models import Invoice

invoice_save = RecordedSave(Invoice)
"""Save an invoice and the history row of it, by one statement."""
