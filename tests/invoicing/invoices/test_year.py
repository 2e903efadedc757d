"""A year of a group, billed month by month and reconciled with the usage to the last 1e-11 (USE-04, INV-03, INV-04).

The rows are the thousand real ones of the shared sample, dealt out over the months of 2024, with a flat charge a month
for the group and for Japan, as its few credits are larger than a month's usage. One row in seven arrives only after its
month was billed. In July the payer of Japan changes in mid-month, to a payer in another currency.
"""

import csv
import io
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db.models import Sum

from core.access import system_actor
from core.clock import month_after
from core.errors import Conflict
from core.money import round_money
from entities.models import Entity
from entities.services.entity import entity_link_set
from invoicing.models import BilledItem, Invoice, InvoiceLine, MappingSource, UsageImport, UsageRecord
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from invoicing.services.usage_imports import usage_file_import
from invoicing.services.usage_rules import usage_mapping_rule_create
from tests.invoicing.invoices.builders import Group, rate
from tests.invoicing.usage.focus_files import row
from tests.shared_data import shared_path

D = Decimal
YEAR = date(2024, 1, 1)
CHANGE = date(2024, 7, 10)
TOKYO = "85742851457"
LATE = 7
LATEST_ON_TIME = date(2024, 12, 1)
Row = dict[str, str]


def real_rows() -> list[Row]:
    """The shared sample; without it as many rows of the same fineness, so that the year is billed everywhere."""
    try:
        text = shared_path("data/focus/focus_sample.csv").read_text()
    except pytest.skip.Exception:
        return [
            row(
                BilledCost=f"{number * number * 7919 % 10**11:012d}"[:-11]
                + f".{number * 104729 % 10**11:011d}",
                ChargePeriodStart=f"2024-09-{number % 28 + 1:02d} 00:00:00",
                ChargePeriodEnd=f"2024-09-{number % 28 + 1:02d} 01:00:00",
                ResourceName=f"vm-{number}",
                SubAccountId=("11353890204", "18938484842", TOKYO, "1")[number % 4],
            )
            for number in range(1000)
        ]
    return list(csv.DictReader(io.StringIO(text)))


def in_month(values: Row, first: date) -> Row:
    """The row as it would stand in that month's export: the same day and hours, none after the 28th."""
    start, end = (datetime.fromisoformat(values[f"ChargePeriod{side}"]) for side in ("Start", "End"))
    moved = start.replace(year=first.year, month=first.month, day=min(start.day, 28))
    return {
        **values,
        "ChargePeriodStart": str(moved),
        "ChargePeriodEnd": str(moved + (end - start)),
        "BillingPeriodStart": f"{first} 00:00:00",
        "BillingPeriodEnd": f"{month_after(first)} 00:00:00",
    }


def exports(rows: list[Row]) -> dict[date, bytes]:
    """The file that each month brings: its own rows, and those of the month before that are late."""
    dealt: dict[date, list[Row]] = defaultdict(list)
    flat = [{**rows[0], "SubAccountId": account, "BilledCost": "5.00000000001"} for account in ("1", TOKYO)]
    for number in range(12):
        dealt[month_after(YEAR, number)] += [in_month(values, month_after(YEAR, number)) for values in flat]
    for number, values in enumerate(rows):
        first = month_after(YEAR, number % 12)
        late = number // 12 % LATE == 0 and first < LATEST_ON_TIME
        dealt[month_after(first) if late else first].append(in_month(values, first))
    files = {}
    for first, members in sorted(dealt.items()):
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(members)
        files[first] = out.getvalue().encode()
    return files


def take_in(group: Group, first: date, content: bytes) -> UsageImport:
    return usage_file_import(
        actor=group.manager, entity=group.root, file=io.BytesIO(content), file_name=f"{first:%Y-%m}.csv"
    ).usage_import


def bill(group: Group, payer: Entity, first: date, end: date | None = None) -> Invoice:
    draft = consolidated_invoice_draft(
        actor=group.manager, payer=payer, period_start=first, period_end=end or month_after(first)
    )
    return invoice_issue(actor=group.manager, invoice=draft.invoice)


def test_use_04_a_year_is_reconciled_to_the_last_digit(group: Group) -> None:
    rows = real_rows()
    for account, department in (
        ("11353890204", group.sales),
        ("18938484842", group.research),
        (TOKYO, group.tokyo),
        ("69918885631", group.tokyo),
    ):
        usage_mapping_rule_create(
            actor=group.manager,
            entity=group.root,
            source=MappingSource.SUB_ACCOUNT,
            value=account,
            department=department,
        )
    entity_link_set(
        actor=system_actor(), entity=group.japan, kind="payer", target=group.germany, valid_from=CHANGE
    )
    files = exports(rows)
    invoices: list[Invoice] = []
    for number, (first, content) in enumerate(files.items()):
        last = month_after(first) - timedelta(days=1)
        rate("USD", "EUR", f"0.9{number:02d}7", on=last)
        with time_machine.travel(datetime.combine(last + timedelta(days=5), datetime.min.time()), tick=False):
            taken = take_in(group, first, content)
            assert (taken.status, taken.rows_rejected, taken.rows_duplicate) == ("completed", 0, 0)
            invoices.append(bill(group, group.root, first))
            if month_after(first) > CHANGE:
                invoices.append(bill(group, group.germany, first))
    assert len(invoices) == 12 + 6

    # Every row is on exactly one line, and the lines hold the usage to the last digit.
    count = len(rows) + 24
    total = sum((D(values["BilledCost"]) for values in rows), 24 * D("5.00000000001"))
    assert UsageRecord.objects.aggregate(cost=Sum("billed_cost"))["cost"] == total
    held = BilledItem.objects.filter(released_at__isnull=True)
    assert held.count() == held.values("usage_record_id").distinct().count() == count
    lines = InvoiceLine.objects.all()
    assert lines.aggregate(cost=Sum("original_amount"))["cost"] == total
    for line in lines.annotate(usage=Sum("billed_items__usage_record__billed_cost")):
        assert line.original_amount == line.usage

    # Each invoice is its exact sum, rounded once; each payer has what it pays for, in its own currency.
    for invoice in invoices:
        sums = invoice.lines.aggregate(exact=Sum("exact_amount"), rounded=Sum("amount"))
        assert invoice.total == sums["rounded"] == round_money(sums["exact"], invoice.currency)
    after = UsageRecord.objects.filter(entity=group.japan, charge_date__gte=CHANGE)
    theirs = lines.filter(invoice__entity=group.germany)
    assert set(theirs.values_list("entity_id", "invoice__currency")) == {(group.japan.pk, "EUR")}
    assert (
        theirs.aggregate(cost=Sum("original_amount"))["cost"]
        == after.aggregate(cost=Sum("billed_cost"))["cost"]
    )
    assert all(line.exact_amount == line.original_amount * line.rate for line in theirs)
    own = lines.filter(invoice__entity=group.root).aggregate(exact=Sum("exact_amount"))["exact"]
    assert own + theirs.aggregate(cost=Sum("original_amount"))["cost"] == total
    late = lines.filter(description__contains=", late, of ")
    assert set(late.values_list("invoice__period_start", flat=True)) == set(files) - {YEAR}

    # A file that comes again adds nothing, and a thirteenth run, over the whole year, bills nothing.
    with time_machine.travel("2025-01-20T00:00:00Z", tick=False):
        again = take_in(group, LATEST_ON_TIME, files[LATEST_ON_TIME])
        assert again == UsageImport.objects.order_by("-pk").first()
        for payer in (group.root, group.germany):
            with pytest.raises(Conflict) as refusal:
                bill(group, payer, YEAR, date(2025, 1, 1))
            assert refusal.value.code == "nothing_to_invoice"
    assert (UsageRecord.objects.count(), Invoice.objects.count()) == (count, len(invoices))
