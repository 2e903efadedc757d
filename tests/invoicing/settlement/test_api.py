"""The HTTP door of payments, notes, refunds and balances (api.md, INV-06, ENT-04)."""

from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from core.access import system_actor
from core.api.tokens import forget_all, token_pair_issue
from core.models import User
from entities.services.entity import entity_create
from invoicing.models import Invoice, Payment
from tests.invoicing.settlement.conftest import Account

BASE = "/api/enterprise-billing"


@pytest.fixture(autouse=True)
def fresh_user_cache() -> Iterator[None]:
    forget_all()
    yield
    forget_all()


def client(user: User) -> APIClient:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=user).access}")
    return api


@pytest.fixture
def api(account: Account) -> APIClient:
    return client(account.group.manager)


def payment(account: Account, **changes: Any) -> dict[str, Any]:
    group = account.group
    return {
        "issuer_id": group.issuer.pk, "entity_id": group.root.pk, "amount": "100.00", "currency": "USD",
        "received_on": "2024-10-20", **changes,
    }  # fmt: skip


def post(api: APIClient, path: str, body: dict[str, Any], **headers: str) -> Any:
    return api.post(f"{BASE}/{path}", body, format="json", headers=headers)


def test_inv_06_a_payment_is_recorded_once_applied_and_reversed(api: APIClient, account: Account) -> None:
    first, second = account.issued("50"), account.issued("100")
    body = payment(account, applications=[{"invoice_id": first.pk}])
    made = post(api, "payments", body, **{"Idempotency-Key": "one"})
    assert made.status_code == 201
    assert post(api, "payments", body, **{"Idempotency-Key": "one"}).json() == made.json()
    assert Payment.objects.count() == 1
    shown = made.json()
    assert (shown["applied_amount"], shown["unapplied_amount"], shown["status"]) == (
        "59.50",
        "40.50",
        "received",
    )
    assert [(row["invoice_id"], row["amount"]) for row in shown["settlements"]] == [(first.pk, "59.50")]
    url = f"payments/{shown['id']}"
    assert post(api, f"{url}/apply", {}).json()["unapplied_amount"] == "0.00"
    assert api.get(f"{BASE}/payments?has_balance=true").json()["results"] == []
    settled = api.get(f"{BASE}/invoices/{second.pk}").json()
    assert (settled["status"], settled["settled_amount"], settled["open_amount"]) == (
        "partially_paid", "40.50", "78.50",
    )  # fmt: skip
    answer = post(api, "payments", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_open")
    assert post(api, f"{url}/reverse", {"reason": "Bounced"}).json()["status"] == "reversed"
    rows = api.get(f"{BASE}/invoices/{first.pk}/settlements").json()
    assert [row["amount"] for row in rows] == ["59.50", "-59.50"]


def test_inv_08_credit_notes_are_previewed_issued_and_set_off(api: APIClient, account: Account) -> None:
    first, second = account.issued("100"), account.issued("10")
    account.pay("119")
    body = {"lines": [{"line_number": 1, "amount": "5.00"}], "reason": "Outage"}
    preview = post(api, f"invoices/{first.pk}/credit-notes", {**body, "preview": True})
    assert (preview.status_code, preview.json()["balance"], preview.json()["lines"][0]["tax_amount"]) == (
        200, "5.95", "0.95",
    )  # fmt: skip
    assert Invoice.objects.filter(document_type="credit_note").count() == 0
    made = post(api, f"invoices/{first.pk}/credit-notes", body)
    assert (made.status_code, made.json()["corrects_id"], made.json()["reason"]) == (201, first.pk, "Outage")
    assert made.json()["number"].startswith("SHS-CN-")
    whole = post(api, "credit-notes", {"invoice_id": second.pk, "amount": "2", "reason": "Goodwill"})
    assert (whole.status_code, whole.json()["status"]) == (201, "paid")
    listed = api.get(f"{BASE}/credit-notes?has_balance=true").json()["results"]
    assert [row["id"] for row in listed] == [made.json()["id"]]
    applied = post(
        api, f"credit-notes/{made.json()['id']}/apply", {"invoice_id": second.pk, "amount": "1.00"}
    )
    assert (applied.status_code, applied.json()["amount"]) == (201, "1.00")
    back = post(api, f"settlements/{applied.json()['id']}/reverse", {"reason": "Wrong invoice"})
    assert (back.status_code, back.json()["amount"], back.json()["reverses_id"]) == (
        201,
        "-1.00",
        applied.json()["id"],
    )
    refund = post(
        api, "refunds", {"credit_note_id": made.json()["id"], "amount": "2.00", "reason": "Asked for"}
    )
    assert (refund.status_code, refund.json()["amount"]) == (201, "2.00")
    both = {"credit_note_id": made.json()["id"], "payment_id": Payment.objects.get().pk, "reason": "Both"}
    assert post(api, "refunds", both).json()["errors"][0]["code"] == "one_source"
    balance = api.get(f"{BASE}/entities/{account.group.root.pk}/balance").json()
    assert [(row["currency"], row["open"], row["credit"], row["net"]) for row in balance["balances"]] == [
        ("USD", "9.52", "3.95", "5.57")
    ]


def test_debit_notes_and_write_offs(api: APIClient, account: Account) -> None:
    invoice = account.issued("100")
    lines = [{"description": "Late payment fee", "amount": "40.00"}]
    note = post(api, f"invoices/{invoice.pk}/debit-notes", {"lines": lines, "reason": "Paid late"})
    assert (note.status_code, note.json()["document_type"], note.json()["total"]) == (
        201,
        "debit_note",
        "47.60",
    )
    row = post(api, f"invoices/{note.json()['id']}/write-off", {"reason": "Goodwill"})
    assert (row.status_code, row.json()["kind"], row.json()["amount"]) == (201, "write_off", "47.60")


def test_ent_04_outside_is_404_and_without_the_right_403(account: Account) -> None:
    invoice = account.issued("100")
    paid = account.pay("10")
    stranger = entity_create(
        actor=system_actor(), name="Elsewhere", entity_type="root", code="ELSE", currency="USD"
    )
    outside = client(account.group.person("finance_manager", entity=stranger))
    auditor = client(account.group.person("auditor"))
    staff = client(account.group.person("finance_staff"))
    reason = {"reason": "Mine"}
    for path in (f"payments/{paid.pk}/reverse", f"invoices/{invoice.pk}/write-off"):
        statuses = [post(user, path, reason).status_code for user in (outside, auditor, staff)]
        assert statuses == [404, 403, 403], path
    assert outside.get(f"{BASE}/payments").json()["results"] == []
    assert auditor.get(f"{BASE}/payments/{paid.pk}").status_code == 200
    assert post(auditor, "payments", payment(account)).status_code == 403
