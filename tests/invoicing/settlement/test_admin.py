"""Payments, notes and write-offs in the back-office (INV-06, INV-08)."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from invoicing.admin import credit_lines
from invoicing.models import Invoice, Payment, Refund, Settlement
from tests.invoicing.settlement.conftest import Account


@pytest.fixture
def admin(account: Account) -> Client:
    user = account.group.manager
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user, backend="entities.access.PasswordBackend")
    return client


def page(invoice: Invoice) -> str:
    return reverse("admin:invoicing_invoice_change", args=[invoice.pk])


def do(admin: Client, model: str, pk: int, name: str, **data: str) -> str:
    """Run an action of a record's bar and return what the next page says."""
    url = reverse(f"admin:invoicing_{model}_do", args=[pk, name])
    assert admin.get(url).status_code == 200
    return admin.post(url, data, follow=True).content.decode()


def test_the_invoice_page_settles_and_shows_what_settled_it(admin: Client, account: Account) -> None:
    invoice = account.issued("100")
    bar = admin.get(page(invoice)).content.decode()
    assert all(label in bar for label in ("Record payment", "Credit note", "Debit note", "Write off"))
    assert not any(label in bar for label in ("Set off", "Bring up to date", "Discard", "do/issue/"))
    said = do(
        admin, "invoice", invoice.pk, "pay", amount="80", received_on="2024-10-20", method="bank_transfer"
    )  # fmt: skip
    assert "The payment of 80.00 USD is recorded." in said
    assert "Payment of 80.00 USD, received 2024-10-20" in said
    line = f"line_{invoice.lines.get().pk}"
    said = do(admin, "invoice", invoice.pk, "credit", what="lines", reason="Outage", **{line: "50"})
    assert "Credit note SHS-CN-" in said
    note = Invoice.objects.get(document_type="credit_note")
    assert (note.total, note.open_amount) == (Decimal("59.50"), Decimal("20.50"))
    shown = admin.get(page(note)).content.decode()
    assert f"Credit note {note.number}" in shown
    assert "Record payment" not in shown
    assert "Set off" in shown
    said = do(admin, "invoice", note.pk, "refund", amount="0.50", method="bank_transfer", reason="Asked for")
    assert "The refund of 0.50 USD is recorded." in said
    other = account.issued("10")
    voided = account.issued("5")
    assert "is void." in do(admin, "invoice", voided.pk, "void", reason="Twice")
    assert admin.get(page(voided)).context["actions_bar"] == []
    assert "11.90 USD is set off against" in do(admin, "invoice", note.pk, "apply", number=other.number or "")
    refused = admin.get(reverse("admin:invoicing_invoice_do", args=[invoice.pk, "write-off"]))
    assert (refused.status_code, "Nothing of it is open." in refused.content.decode()) == (409, True)
    refusal = do(admin, "invoice", note.pk, "apply", number="X-1")
    assert "Northwind Group has no invoice X-1 of Northwind Services." in refusal
    for url in (
        page(invoice),
        page(other),
        reverse("admin:invoicing_refund_change", args=[Refund.objects.get().pk]),
    ):
        assert admin.get(url).status_code == 200


def test_payments_are_recorded_applied_and_reversed(admin: Client, account: Account) -> None:
    invoice = account.issued("100")
    group = account.group
    form = {
        "issuer": group.issuer.pk, "entity": group.root.pk, "amount": "150", "currency": "USD",
        "received_on": "2024-10-20", "method": "bank_transfer", "settles": "nothing",
    }  # fmt: skip
    add = reverse("admin:invoicing_payment_add")
    assert admin.get(add).status_code == 200
    assert admin.post(add, form).status_code == 302
    payment = Payment.objects.get()
    assert payment.unapplied_amount == 150
    assert "31.00 USD is left." in do(admin, "payment", payment.pk, "apply", number="")
    change = admin.get(reverse("admin:invoicing_payment_change", args=[payment.pk])).content.decode()
    assert str(invoice.number) in change
    row = Settlement.objects.get()
    assert "119.00 USD of SHS-INV-" in do(admin, "settlement", row.pk, "reverse", reason="Wrong invoice")
    assert "The payment is reversed." in do(admin, "payment", payment.pk, "reverse", reason="Bounced")
    for name in ("payment", "settlement", "refund"):
        assert admin.get(reverse(f"admin:invoicing_{name}_changelist")).status_code == 200
    assert admin.post(add, {**form, "amount": "0"}).status_code == 200
    assert Payment.objects.count() == 1


def test_inv_08_several_lines_are_credited_in_one_form(admin: Client, account: Account) -> None:
    invoice = account.issued("100", "40", "7")
    lines = list(invoice.lines.order_by("line_number"))
    names = [f"line_{line.pk}" for line in lines]
    url = reverse("admin:invoicing_invoice_do", args=[invoice.pk, "credit"])
    asked = admin.get(url).content.decode()
    assert all(name in asked for name in names)
    form = {"what": "lines", "reason": "Outage"}
    for data, said in (
        ({}, "Give an amount for at least one line"),
        ({names[0]: "100.01"}, "Only 100.00 USD of line 1 is left"),
        ({names[0]: "x"}, "is no amount"),
        ({"what": "amount"}, "Give the amount that is spread."),
        ({names[0]: "1", "reason": ""}, "This field is required."),
    ):
        assert said in admin.post(url, {**form, **data}).content.decode()
    assert not Invoice.objects.filter(document_type="credit_note").exists()
    said = do(admin, "invoice", invoice.pk, "credit", **form, **{names[0]: "1,0.5", names[2]: "7"})
    assert "Credit note SHS-CN-" in said
    note = Invoice.objects.get(document_type="credit_note")
    assert [(row.corrects_line, row.amount) for row in note.lines.order_by("line_number")] == [
        (lines[0], Decimal("10.50")), (lines[2], Decimal("7.00")),
    ]  # fmt: skip
    # The line that has nothing left is not offered any more.
    asked = admin.get(url).content.decode()
    assert (names[0] in asked, names[2] in asked) == (True, False)
    do(admin, "invoice", invoice.pk, "credit", what="amount", amount="1.00", reason="Outage")
    do(admin, "invoice", invoice.pk, "credit", what="all", reason="Outage")
    assert [line.credited_amount for line in invoice.lines.order_by("line_number")] == [100, 40, 7]


def test_lines_of_a_long_invoice_are_credited_by_their_numbers(
    admin: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credit_lines, "OFFERED", 2)
    invoice = account.issued("100", "40", "7")
    assert "no line 9" in do(admin, "invoice", invoice.pk, "credit", lines="1\n9", reason="Outage")
    assert "does not begin with the number" in do(
        admin, "invoice", invoice.pk, "credit", lines="one", reason="Outage"
    )
    do(admin, "invoice", invoice.pk, "credit", lines="3\n 1: 30.00", reason="Outage")
    note = Invoice.objects.get(document_type="credit_note")
    assert sorted(note.lines.values_list("corrects_line__line_number", "amount")) == [(1, 30), (3, 7)]


def test_ent_04_who_may_not_issue_does_not_credit(account: Account) -> None:
    invoice = account.issued("100")
    auditor = account.group.person("auditor")
    auditor.is_staff = True
    auditor.save()
    client = Client()
    client.force_login(auditor, backend="entities.access.PasswordBackend")
    url = reverse("admin:invoicing_invoice_do", args=[invoice.pk, "credit"])
    data = {"what": "all", "reason": "Outage"}
    assert (client.get(url).status_code, client.post(url, data).status_code) == (403, 403)
    assert not Invoice.objects.filter(document_type="credit_note").exists()
