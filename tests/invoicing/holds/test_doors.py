"""What the API and the back-office show of holds (DSP-03, DSP-14)."""

from datetime import date

import time_machine
from django.urls import reverse

from invoicing.services.holds import hold_defer, hold_release
from invoicing.services.payments import Application
from tests.invoicing.holds.test_holds import held, line_of
from tests.invoicing.invoices.test_admin import pages
from tests.invoicing.invoices.test_api import BASE, client
from tests.invoicing.settlement.conftest import Account


@time_machine.travel("2024-10-20T23:30:00Z", tick=False)
def test_dsp_03_holds_are_shown_where_the_invoice_is(account: Account) -> None:
    invoice, manager = account.issued("100", "50"), account.group.manager
    held(account, invoice, "10", invoice_line=line_of(invoice, 2), reference="D-000001")
    decided = held(account, invoice, "30", reference="D-000002")
    gone = held(account, invoice, "5", reference="D-000003")
    hold_defer(actor=manager, hold=decided, amount="20", due_date=date(2024, 12, 1), reason="Right")
    hold_release(actor=manager, hold=gone, reason="Withdrawn")

    body = client(manager).get(f"{BASE}/invoices/{invoice.pk}").json()
    assert body["disputed_amount"] == "10.00"
    assert body["holds"] == [
        {
            "reference": "D-000001", "line_number": 2, "amount": "10.00", "held_at": "2024-10-20T23:30:00Z",
            "due_date": None,
        },
        {
            "reference": "D-000002", "line_number": None, "amount": "20.00", "held_at": "2024-10-20T23:30:00Z",
            "due_date": "2024-12-01",
        },
    ]  # fmt: skip

    page = pages(manager).get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
    text = " ".join(page.split())
    assert "D-000001 (line 2)" in text and "to be paid by 2024-12-01 after the dispute" in text
    assert "not collected since 2024-10-2" in text
    assert "D-000003" not in text and "Withdrawn" not in text

    account.pay("178.50")  # the undisputed part: 168.50
    account.pay("10", applications=[Application(invoice.pk)])
    body = client(manager).get(f"{BASE}/invoices/{invoice.pk}").json()
    assert [hold["reference"] for hold in body["holds"]] == ["D-000001"]
