"""E-invoices through the API, the back-office and the shell."""

import json
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from core.api.tokens import forget_all, token_pair_issue
from core.models import User
from entities.models import Entity
from invoicing.einvoice.store import e_invoice
from invoicing.models import DocumentKind, Invoice
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue, invoice_void
from tests.invoicing.invoices.builders import SEPTEMBER, Group


@pytest.fixture
def draft(group: Group) -> Invoice:
    group.use("5", department=group.sales)
    return consolidated_invoice_draft(
        actor=group.manager, payer=group.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
    ).invoice


@pytest.fixture
def invoice(group: Group, draft: Invoice) -> Invoice:
    return invoice_issue(actor=group.manager, invoice=draft, issue_date=date(2024, 10, 4))


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="entities.access.PasswordBackend")
    return client


class TestAPI:
    def get(self, user: User, invoice: Invoice, kind: str) -> Any:
        forget_all()
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=user).access}")
        return client.get(f"/api/enterprise-billing/invoices/{invoice.pk}/e-invoice", {"format": kind})

    def test_the_file(self, group: Group, invoice: Invoice) -> None:
        answer = self.get(group.manager, invoice, "cii")
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/xml")
        assert answer["Content-Disposition"] == 'attachment; filename="SHS-INV-2024-000001.cii.xml"'
        assert answer.content == e_invoice(invoice, DocumentKind.CII)

    def test_a_problem_names_each_missing_thing(self, group: Group, invoice: Invoice) -> None:
        answer = self.get(group.manager, invoice, "ubl")
        assert (answer.status_code, answer["Content-Type"]) == (409, "application/problem+json")
        problem = json.loads(answer.content)
        assert problem["code"] == "e_invoice_incomplete"
        assert [item["code"] for item in problem["errors"]] == ["PEPPOL-EN16931-R020", "PEPPOL-EN16931-R010"]
        assert "has no billing e-mail" in problem["detail"]

    def test_a_draft_says_what_would_be_missing(self, group: Group, draft: Invoice) -> None:
        problem = json.loads(self.get(group.manager, draft, "ubl").content)
        assert problem["code"] == "e_invoice_not_issued"
        assert len(problem["errors"]) == 2

    def test_an_unknown_kind_and_a_stranger(self, group: Group, invoice: Invoice) -> None:
        assert self.get(group.manager, invoice, "pdf").status_code == 400
        stranger = User.objects.create_user("stranger", email="stranger@example.com")  # Has no membership.
        assert self.get(stranger, invoice, "cii").status_code == 404


class TestBackOffice:
    def test_the_invoice_page_offers_it_and_says_what_is_missing(
        self, group: Group, invoice: Invoice
    ) -> None:
        client = signed_in(group.manager)
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        assert "Peppol BIS Billing 3 (UBL, XML)" in client.get(page).content.decode()
        url = reverse("admin:invoicing_invoice_e_invoice", args=[invoice.pk, "ubl"])
        answer = client.get(url, follow=True)
        assert answer.redirect_chain == [(page, 302)]
        assert (
            "has no billing e-mail, its electronic address. (PEPPOL-EN16931-R020)" in answer.content.decode()
        )
        Entity.objects.update(billing_email="bills@example.com")
        assert client.get(url).status_code == 302  # What was issued stays as it was issued.
        file = client.get(reverse("admin:invoicing_invoice_e_invoice", args=[invoice.pk, "cii"]))
        assert file.content == e_invoice(invoice, DocumentKind.CII)

    def test_inv_09_a_void_document_offers_what_was_sent_of_it(self, group: Group, invoice: Invoice) -> None:
        client = signed_in(group.manager)
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        sent = e_invoice(invoice, DocumentKind.CII)
        voided = invoice_void(actor=group.manager, invoice=invoice, reason="Wrong address")
        shown = client.get(page)
        address = reverse("admin:invoicing_invoice_e_invoice", args=[invoice.pk, "cii"])
        assert shown.context["e_invoices"] == [("CII (XML)", address)]
        assert "E-invoice as it was sent" in shown.content.decode()
        assert client.get(address).content == sent
        other = client.get(reverse("admin:invoicing_invoice_e_invoice", args=[voided.pk, "ubl"]), follow=True)
        assert "no e-invoice is made of it any more" in other.content.decode()


class TestCommand:
    def test_it_writes_the_file(self, invoice: Invoice, tmp_path: Path) -> None:
        out = StringIO()
        call_command("export_e_invoice", invoice.number, "--format", "cii", "--to", str(tmp_path), stdout=out)
        content = (tmp_path / "SHS-INV-2024-000001.cii.xml").read_bytes()
        assert content == e_invoice(invoice, DocumentKind.CII)
        assert f"{len(content):,} bytes" in out.getvalue()

    def test_it_says_what_is_missing(self, invoice: Invoice, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="has no billing e-mail"):
            call_command("export_e_invoice", invoice.number, "--format", "ubl", "--to", str(tmp_path))
        with pytest.raises(CommandError, match="No document has the number X-1"):
            call_command("export_e_invoice", "X-1")
        assert list(tmp_path.iterdir()) == []
