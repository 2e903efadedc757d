"""Recording a payment in the back-office: what it would settle is proposed and can be changed (INV-06)."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from invoicing.models import Payment, Settlement
from tests.invoicing.settlement.conftest import Account
from tests.invoicing.settlement.test_admin import admin

__all__ = ["admin"]
SUGGEST, ADD = "admin:invoicing_payment_suggest", "admin:invoicing_payment_add"


def given(account: Account, amount: str, **more: str) -> dict[str, str]:
    return {
        "issuer": str(account.group.issuer.pk), "entity": str(account.group.root.pk), "amount": amount,
        "currency": "USD", "received_on": "2024-10-20", "method": "bank_transfer", "settles": "oldest", **more,
    }  # fmt: skip


def amounts(response: object) -> dict[int, str]:
    """What the fields begin with, by document; those without an amount are left out."""
    allocation = response.context["allocation"]  # type: ignore[attr-defined]
    values = {document.pk: field.value() for document, _, field in allocation.form.lines()}
    return {pk: value for pk, value in values.items() if value}


def reasons(response: object) -> list[tuple[int, tuple[str, ...]]]:
    allocation = response.context["allocation"]  # type: ignore[attr-defined]
    return [(shown["proposal"].score, shown["proposal"].reasons) for shown in allocation.proposals]


def test_number_amount_and_age_propose_what_is_settled(admin: Client, account: Account) -> None:
    first, second = account.issued("100"), account.issued("200")  # 119.00 and 238.00 with tax
    ask = reverse(SUGGEST)
    by_number = admin.post(ask, given(account, "238.00", reference=f"re {second.number}"))
    assert amounts(by_number) == {second.pk: "238"}
    assert reasons(by_number)[0] == (
        100,
        (f"The text names {second.number}.", "It is exactly what is open."),
    )
    by_amount = admin.post(ask, given(account, "238"))
    assert amounts(by_amount) == {second.pk: "238"}
    assert reasons(by_amount)[0] == (
        90,
        ("It is this payer's payment.", f"{second.number} is open with exactly this amount."),
    )
    both = admin.post(ask, given(account, "357"))
    assert amounts(both) == {first.pk: "119", second.pk: "238"}
    oldest = admin.post(ask, given(account, "150"))
    assert amounts(oldest) == {first.pk: "119", second.pk: "31"}
    assert "No open amount fits: the oldest due first" in oldest.content.decode()
    more = admin.post(ask, given(account, "400"))
    assert "With these amounts" in more.content.decode()
    assert more.context["allocation"].rest.count(">43.00 <") == 1
    missing = admin.post(ask, given(account, ""))
    assert (missing.status_code, missing.context["allocation"].known) == (200, False)
    assert admin.get(ask).status_code == 302
    assert not Payment.objects.exists()


def test_without_scripts_a_button_suggests_and_the_split_is_booked(admin: Client, account: Account) -> None:
    first, second = account.issued("100"), account.issued("200")
    form = given(account, "238", reference=f"for {first.number}", note="By phone")
    shown = admin.post(reverse(ADD), form | {"_suggest": "1"})
    assert amounts(shown) == {second.pk: "238"}
    assert [score for score, _ in reasons(shown)] == [90, 75]
    assert shown.context["adminform"].form["note"].value() == "By phone"
    other = admin.post(reverse(ADD), form | {"_use": "1"})
    assert not Payment.objects.exists()
    assert amounts(other) == {first.pk: "119"}
    split = {"settles": "amounts", f"invoice_{first.pk}": "100.50", f"invoice_{second.pk}": "37"}
    assert admin.post(reverse(ADD), form | split).status_code == 302
    payment = Payment.objects.get()
    assert payment.unapplied_amount == Decimal("100.50")
    assert list(Settlement.objects.order_by("pk").values_list("invoice_id", "amount")) == [
        (first.pk, Decimal("100.50")),
        (second.pk, Decimal("37.00")),
    ]


@pytest.mark.parametrize(
    ("amount", "says"),
    [("119.01", "119.00"), ("1O", "amount"), ("120", "119.00")],
)
def test_what_is_refused_changes_nothing_and_stays_typed(
    admin: Client, account: Account, amount: str, says: str
) -> None:
    invoice = account.issued("100")
    form = given(account, "200", settles="amounts") | {f"invoice_{invoice.pk}": amount}
    answer = admin.post(reverse(ADD), form)
    assert (answer.status_code, amounts(answer)) == (200, {invoice.pk: amount})
    assert says in answer.content.decode()
    assert not Payment.objects.exists()
    assert not Settlement.objects.exists()


def test_documents_of_other_accounts_are_not_settled(admin: Client, account: Account) -> None:
    invoice = account.issued("100")
    form = given(account, "50", settles="amounts", currency="EUR") | {f"invoice_{invoice.pk}": "50"}
    answer = admin.post(reverse(ADD), form)
    assert answer.status_code == 200
    assert "is not open with this payer, issuer and currency" in answer.content.decode()
    assert not Payment.objects.exists()
