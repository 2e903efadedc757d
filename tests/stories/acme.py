"""The group of the quick start, and what its first invoice must hold, to the last digit."""

from decimal import Decimal
from pathlib import Path

from invoicing.models import BilledItem, Invoice, UsageRecord

REPOSITORY = Path(__file__).resolve().parents[2]
FOCUS_FILE = REPOSITORY / "docs" / "examples" / "focus-2024-09.csv"

BILLED_COST = Decimal("26.33977990000")

# Department, description, exact amount, amount. Rounded one by one they would sum to 26.33: the largest fractions
# (.53 and .49999 of a cent) are rounded up, so that the lines sum to the rounded total (USE-04).
LINES = [
    ("ENGINEERING", "Amazon Elastic Compute Cloud", "19.5153", "19.52"),
    ("ENGINEERING", "Amazon Simple Storage Service", "0.00403", "0.00"),
    ("RESEARCH", "Amazon Elastic Compute Cloud", "8.30055", "8.30"),
    ("RESEARCH", "Amazon Elastic Compute Cloud (credit)", "-2.5", "-2.50"),
    ("RESEARCH", "AWS Lambda", "0.0149999", "0.02"),
    ("", "AWS Support (Business) (purchase)", "1.0049", "1.00"),
]
TOTAL = Decimal("26.34")


def check_invoice(invoice: Invoice, *, number: str) -> None:
    """Assert that the issued invoice holds exactly the file, each row once."""
    assert invoice.number == number
    assert invoice.status == "issued"
    assert (invoice.subtotal, invoice.tax_total, invoice.total) == (TOTAL, 0, TOTAL)
    found = [
        (
            line.department_code,
            line.description,
            f"{line.original_amount.normalize():f}",
            f"{line.amount:.2f}",
        )
        for line in invoice.lines.order_by("line_number")
    ]
    assert found == LINES
    items = BilledItem.objects.filter(invoice_line__invoice=invoice, released_at__isnull=True)
    records = UsageRecord.objects.filter(root=invoice.entity.parent)
    assert items.count() == records.count() == 8
    assert sum(record.billed_cost for record in records) == BILLED_COST
