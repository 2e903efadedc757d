"""What disputes add to the pages of invoices: a panel with those about it, and the way to open one."""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from core import clock
from core.admin.badges import badge_html
from core.admin.columns import amount_html
from core.admin.record_parts import RecordLink, RecordPanel, register_record_links, register_record_panel
from core.admin.scoping import may
from core.models import User
from disputes.access import HANDLE
from disputes.admin.page import dispute_url, state_badge
from disputes.models import BillingDispute

SHOWN = 20


def open_link(request: HttpRequest, invoice: Any) -> Iterable[RecordLink]:
    """For the issuer's staff, on what can be disputed."""
    if invoice.is_posted and not invoice.is_credit_note and may(request.user, HANDLE, invoice.issuer):
        url = f"{reverse('admin:disputes_billingdispute_add')}?invoice={invoice.pk}"
        yield RecordLink("Open a dispute", url, "gavel")


def _is_late(dispute: BillingDispute) -> bool:
    due = dispute.next_deadline_at
    return dispute.is_open and due is not None and clock.now() > due


def disputes_panel(request: HttpRequest, invoice: Any) -> RecordPanel | None:
    """The disputes about it that the reader handles; nothing where there is none."""
    assert isinstance(request.user, User)
    rows = list(
        BillingDispute.objects.handled_by(request.user)
        .filter(invoice=invoice)
        .select_related("invoice_line", "owner")
        .order_by("-pk")[:SHOWN]
    )
    if not rows:
        return None
    return RecordPanel(
        "Disputes",
        "admin/disputes/invoice_panel.html",
        {
            "rows": [
                {
                    "number": row.number,
                    "url": dispute_url(row.pk),
                    "about": f"line {row.invoice_line}"
                    if row.invoice_line is not None
                    else "the whole invoice",
                    "category": row.get_category_display(),
                    "state": state_badge(row),
                    "late": badge_html("clock_overdue") if _is_late(row) else "",
                    "amount": amount_html(row.amount, row.currency),
                }
                for row in rows
            ]
        },
        url=f"{reverse('admin:disputes_billingdispute_changelist')}?invoice__id__exact={invoice.pk}",
    )


register_record_links("invoicing.invoice", open_link)
register_record_panel("invoicing.invoice", disputes_panel)
