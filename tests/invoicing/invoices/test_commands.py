"""The same services from the shell, and the real sample end to end."""

import csv
import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Sum

from invoicing.models import BilledItem, Invoice, InvoiceLine, UsageRecord
from invoicing.selectors.invoice import invoice_subtotals
from invoicing.services.usage_rules import usage_mapping_rule_create
from tests.invoicing.invoices.builders import Group
from tests.shared_data import shared_path


def consolidate(*options: str, entity: str = "NORTH") -> str:
    out = StringIO()
    call_command(
        "consolidate_invoice",
        "--entity",
        entity,
        "--from",
        "2024-09-01",
        "--to",
        "2024-10-01",
        *options,
        stdout=out,
    )
    return out.getvalue()


def test_preview_draft_issue_and_again(group: Group) -> None:
    group.use("10.524", department=group.sales)
    group.use("10", entity=group.japan)
    shown = consolidate("--preview")
    assert "nothing was written" in shown
    assert "20.52 USD" in shown
    assert not Invoice.objects.exists()
    assert "is made" in consolidate()
    issued = consolidate("--issue")
    assert f"Invoice {Invoice.objects.get().number} is issued" in issued
    assert Invoice.history.filter(history_type="~").latest().channel == "command"
    with pytest.raises(CommandError, match="Everything of"):
        consolidate("--issue")


def test_bad_arguments(group: Group) -> None:
    with pytest.raises(CommandError, match="There is no entity"):
        consolidate(entity="NOBODY")
    with pytest.raises(CommandError, match="is no date"):
        call_command("consolidate_invoice", "--entity", "NORTH", "--from", "September", "--to", "2024-10-01")
    with pytest.raises(CommandError):
        consolidate("--preview", "--issue")


def test_the_real_sample_gives_one_invoice_over_its_subsidiaries(group: Group) -> None:
    """1,000 rows of AWS, Microsoft and Oracle: each is billed once, the lines sum to 20.52, and nothing is left."""
    path = shared_path("data/focus/focus_sample.csv")
    with path.open(newline="") as file:
        tags = [json.loads(row["Tags"]) for row in csv.DictReader(file) if row["Tags"] not in ("", "NULL")]
    units = sorted({tag["business_unit"] for tag in tags if "business_unit" in tag})
    for number, unit in enumerate(units):
        usage_mapping_rule_create(
            actor=group.manager,
            entity=group.root,
            value=unit,
            department=(group.sales, group.research, group.tokyo)[number % 3],
            tag_key="business_unit",
        )
    call_command("import_focus", str(path), "--entity", "NORTH", stdout=StringIO(), stderr=StringIO())
    consolidate("--issue")
    invoice = Invoice.objects.get()
    assert f"{invoice.total:.2f}" == "20.52"
    assert f"{InvoiceLine.objects.aggregate(sum=Sum('amount'))['sum']:.2f}" == "20.52"
    assert str(UsageRecord.objects.aggregate(sum=Sum("billed_cost"))["sum"].normalize()) == "20.52022672899"
    assert (
        BilledItem.objects.filter(released_at__isnull=True).values("usage_record").distinct().count() == 1000
    )
    assert UsageRecord.objects.unbilled().count() == 0
    assert InvoiceLine.objects.filter(original_amount__lt=0).exists()
    by_entity = invoice_subtotals(invoice, by_department=False)
    assert [row.entity_name for row in by_entity] == [
        "Northwind Group Inc.",
        "Northwind Germany",
        "Northwind Japan",
    ]
    assert sum(row.amount for row in by_entity) == invoice.total
    assert sum(row.item_count for row in by_entity) == 1000
    assert [row.department_code for row in invoice_subtotals(invoice, by_department=True)] == [
        "",
        "100",
        "200",
        "100",
    ]
    with pytest.raises(CommandError, match=f"is on {invoice.number}"):
        consolidate("--issue")
