"""The API and the back-office of departments' shares in invoice lines."""

from decimal import Decimal

import pytest
from django.test import Client
from rest_framework.test import APIClient

from entities.models import Role
from invoicing.models import InvoiceLineShare
from tests.budgets.builders import figures, money
from tests.invoicing.shares.conftest import Desk

API = "/api/enterprise-billing"
D = Decimal


@pytest.fixture
def client(desk: Desk) -> APIClient:
    client = APIClient()
    client.force_authenticate(desk.group.manager)
    return client


def test_a_line_is_allocated_listed_tried_again_and_taken_back(desk: Desk, client: APIClient) -> None:
    line = desk.line("182.25")
    budget = desk.budget("100", desk.group.sales)
    url = f"{API}/invoices/{line.invoice_id}/lines/{line.line_number}/shares"
    splits = [
        {"department_id": desk.group.sales.pk, "percent": "98"},
        {"department_id": desk.group.research.pk, "percent": "2"},
    ]
    refused = client.post(url, {"splits": splits}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_budget")
    assert client.get(url).json()["count"] == 0
    made = client.post(url, {"splits": splits, "amount": "100.00"}, format="json")
    assert made.status_code == 201, made.json()
    assert (made.json()["left"], made.json()["currency"]) == ("82.25", "USD")
    shown = [
        (row["department_id"], row["amount"], row["status"], row["refusal_code"], row["budget_id"])
        for row in made.json()["shares"]
    ]
    assert shown == [
        (desk.group.sales.pk, "98.00", "charged", "", budget.pk),
        (desk.group.research.pk, "2.00", "refused", "no_budget", None),
    ]
    listed = client.get(f"{API}/invoice-line-shares", {"status": "refused"}).json()["results"]
    assert [row["amount"] for row in listed] == ["2.00"]
    retry = f"{API}/invoice-line-shares/{listed[0]['id']}/retry"
    assert client.post(retry).json()["code"] == "no_budget"
    research = desk.budget("10", desk.group.research)
    assert client.post(retry).json()["status"] == "charged"
    undone = client.post(
        f"{API}/invoice-line-shares/{listed[0]['id']}/undo", {"reason": "Not theirs"}, format="json"
    )
    assert (undone.json()["status"], undone.json()["undo_reason"]) == ("taken_back", "Not theirs")
    assert (figures(budget)[2], figures(research)[2]) == (D("98"), 0)


def test_who_sees_and_who_may(desk: Desk, client: APIClient) -> None:
    line = desk.line("100.00")
    desk.halves(line)
    url = f"{API}/invoices/{line.invoice_id}/lines/1/shares"
    body = {"splits": [{"department_id": desk.group.tokyo.pk, "percent": "100"}]}
    client.force_authenticate(
        desk.group.person(Role.DEPARTMENT_MANAGER, desk.group.germany, desk.group.sales)
    )
    own = client.get(f"{API}/invoice-line-shares").json()
    assert [row["department_id"] for row in own["results"]] == [desk.group.sales.pk]
    assert (
        client.post(
            f"{API}/invoice-line-shares/{own['results'][0]['id']}/undo", {"reason": "x"}, format="json"
        ).status_code
        == 403
    )
    assert client.get(url).status_code == client.post(url, body, format="json").status_code == 404
    client.force_authenticate(desk.group.person(Role.AUDITOR))
    assert client.get(url).json()["count"] == 2
    assert client.post(url, body, format="json").json()["code"] in {
        "permission_denied",
        "not_found",
        "invalid",
    }
    assert InvoiceLineShare.objects.count() == 2


def test_in_the_back_office(desk: Desk) -> None:
    manager = desk.group.manager
    manager.is_staff = True
    manager.save()
    client = Client()
    client.force_login(manager, backend="entities.access.PasswordBackend")
    line = desk.line("182.25")
    budget = desk.budget("1000")
    page = f"/admin/invoicing/invoicelineshare/of-line/{line.pk}/"
    items = client.get(f"/admin/invoicing/invoice/{line.invoice_id}/lines/1/").content.decode()
    assert page in items
    assert "Allocate to departments" in client.get(page).content.decode()
    form = {
        "basis": "percent",
        "split-TOTAL_FORMS": "6",
        "split-INITIAL_FORMS": "0",
        "split-0-department": desk.group.sales.pk,
        "split-0-share": "98",
        "split-1-department": desk.group.research.pk,
        "split-1-share": "3",
    }
    assert "sum to 101, not 100" in client.post(page, form).content.decode()
    assert not InvoiceLineShare.objects.exists()
    assert client.post(page, {**form, "split-1-share": "2"}).status_code == 302
    assert figures(budget) == money("1000", "0", "178.61", "821.39")
    shown = client.get(page).content.decode()
    assert "178.61" in shown
    assert "Allocate to departments" not in shown, "nothing is left"
    listed = client.get("/admin/invoicing/invoicelineshare/?listed=yes").content.decode()
    assert "There is no open budget" in listed
    assert "178.61" not in listed
    share = InvoiceLineShare.objects.get(department=desk.group.sales)
    undo = f"/admin/invoicing/invoicelineshare/{share.pk}/do/undo/"
    assert "gets the amount back" in client.get(undo).content.decode()
    assert client.post(undo, {"reason": "Wrong"}).status_code == 302
    assert figures(budget)[2] == 0
    other = InvoiceLineShare.objects.get(department=desk.group.research)
    desk.budget("10", desk.group.research)
    assert client.post(f"/admin/invoicing/invoicelineshare/{other.pk}/do/again/").status_code == 302
    other.refresh_from_db()
    assert other.status == "charged"
