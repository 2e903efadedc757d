"""What invoicing tells on the first page: what is owed, what is late, what costs have no department (REP-01)."""

import datetime
from collections.abc import Iterable
from decimal import Decimal

from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import TruncMonth
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from core import clock
from core.admin.columns import amount_html, number_text
from core.admin.dashboard import Card, Need, Panel, register_card, register_need, register_panel
from core.admin.filters import signed_in
from core.clock import month_after
from invoicing.models import ImportStatus, Invoice, InvoiceStatus, RejectedRow, UsageImport, UsageRecord
from invoicing.selectors.invoice import overdue, receivable

MONTHS_SHOWN = 6
INVOICES = "admin:invoicing_invoice_changelist"
IMPORTS = "admin:invoicing_usageimport_changelist"
RECORDS = "admin:invoicing_usagerecord_changelist"
REJECTED = "admin:invoicing_rejectedrow_changelist"


def _invoices(request: HttpRequest) -> QuerySet[Invoice]:
    return Invoice.objects.visible_to(signed_in(request))


def _amounts(rows: QuerySet[Invoice]) -> tuple[int, tuple[SafeString, ...]]:
    """How many documents, and what is to be paid of them per currency: never one sum over several."""
    sums = list(
        rows.order_by()
        .values("currency")
        .annotate(n=Count("pk"), open=Sum(F("total") - F("settled_amount")))
        .order_by("currency")
    )
    return sum(row["n"] for row in sums), tuple(amount_html(row["open"], row["currency"]) for row in sums)


def _invoice_card(
    request: HttpRequest,
    title: str,
    rows: QuerySet[Invoice],
    query: str,
    *,
    order: int,
    tone: str = "neutral",
) -> Card | None:
    if not request.user.has_perm("invoicing.view_invoice"):
        return None
    count, lines = _amounts(rows)
    return Card(
        title,
        "0",
        f"{reverse(INVOICES)}?{query}",
        note=f"{number_text(count)} invoice{'' if count == 1 else 's'}",
        tone=tone if count else "neutral",
        order=order,
        lines=lines,
    )


@register_card
def receivable_card(request: HttpRequest) -> Card | None:
    """What is issued and still to be paid."""
    rows = _invoices(request).filter(receivable())
    return _invoice_card(request, "Receivable", rows, "open=yes", order=10)


@register_card
def overdue_card(request: HttpRequest) -> Card | None:
    """What is past its due date."""
    rows = _invoices(request).filter(overdue(clock.today()))
    return _invoice_card(request, "Overdue", rows, "overdue=yes", order=20, tone="danger")


@register_card
def drafts(request: HttpRequest) -> Card | None:
    """What waits to be issued."""
    rows = _invoices(request).filter(status=InvoiceStatus.DRAFT)
    return _invoice_card(request, "Drafts to issue", rows, "status__exact=draft", order=30, tone="info")


def _first_month() -> datetime.date:
    return month_after(clock.today().replace(day=1), 1 - MONTHS_SHOWN)


@register_card
def unallocated(request: HttpRequest) -> Card | None:
    """Cost of the last months that no department bears (USE-03)."""
    if not request.user.has_perm("invoicing.view_usagerecord"):
        return None
    first = _first_month()
    rows = (
        UsageRecord.objects.visible_to(signed_in(request))
        .unallocated()
        .filter(charge_date__gte=first)
        .order_by()
        .values("currency")
        .annotate(n=Count("pk"), total=Sum("billed_cost"))
        .order_by("currency")
    )
    count = sum(row["n"] for row in rows)
    return Card(
        "Unallocated cost",
        "0",
        f"{reverse(RECORDS)}?allocation=unallocated&charge_date_from={first}",
        note=f"{number_text(count)} charges since {first:%B %Y}",
        tone="warning" if count else "neutral",
        order=40,
        lines=tuple(amount_html(row["total"], row["currency"]) for row in rows),
    )


@register_need
def rejected_rows(request: HttpRequest) -> Iterable[Need]:
    """Rows of imports that wait for repair (USE-02)."""
    if request.user.has_perm("invoicing.change_rejectedrow"):
        count = RejectedRow.objects.visible_to(signed_in(request)).open().count()
        if count:
            text = f"{number_text(count)} row{'' if count == 1 else 's'} of cost files to repair"
            yield Need(text, f"{reverse(REJECTED)}?status__exact=open", icon="build", tone="warning")


@register_need
def failed_imports(request: HttpRequest) -> Iterable[Need]:
    """Cost files that could not be read."""
    if request.user.has_perm("invoicing.add_usageimport"):
        count = UsageImport.objects.visible_to(signed_in(request)).filter(status=ImportStatus.FAILED).count()
        if count:
            text = f"{number_text(count)} cost file{'' if count == 1 else 's'} could not be imported"
            yield Need(text, f"{reverse(IMPORTS)}?status__exact=failed", icon="error", tone="danger")


@register_panel
def cost_per_month(request: HttpRequest) -> Panel | None:
    """Billed cost of the last months, a panel for the currency with the most charges."""
    if not request.user.has_perm("invoicing.view_usagerecord"):
        return None
    rows = list(
        UsageRecord.objects.visible_to(signed_in(request))
        .filter(charge_date__gte=_first_month())
        .order_by()
        .annotate(month=TruncMonth("charge_date"))
        .values("currency", "month")
        .annotate(n=Count("pk"), total=Sum("billed_cost"))
        .order_by("month")
    )
    if not rows:
        return None
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["currency"]] = counts.get(row["currency"], 0) + row["n"]
    currency = max(sorted(counts), key=lambda code: counts[code])
    shown = [row for row in rows if row["currency"] == currency]
    longest = max(abs(row["total"]) for row in shown) or Decimal(1)
    others = sorted(set(counts) - {currency})
    return Panel(
        f"Cost per month, {currency}" + (f" (also charged: {', '.join(others)})" if others else ""),
        "admin/includes/bars.html",
        {
            "caption": f"Billed cost per month in {currency}",
            "rows": [
                (
                    f"{row['month']:%B %Y}",
                    int(max(row["total"], Decimal(0)) * 100 / longest),
                    amount_html(row["total"], currency),
                )
                for row in shown
            ],
        },
        order=10,
    )
