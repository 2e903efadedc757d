"""The pages of invoices in the back-office: scope, reading, making, issuing, voiding."""

from datetime import date

import pytest
from django.test import Client
from django.urls import reverse

from core.access import system_actor
from core.models import User
from entities.services.entity import entity_create
from invoicing.models import Invoice, InvoiceLine, NumberSeries, TaxRule
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from tests.invoicing.invoices.builders import SEPTEMBER, Group


def pages(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="entities.access.PasswordBackend")
    return client


@pytest.fixture
def site(group: Group) -> Client:
    return pages(group.manager)


def draft(group: Group, amount: str = "5") -> Invoice:
    group.use(amount, department=group.sales)
    return consolidated_invoice_draft(
        actor=group.manager, payer=group.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
    ).invoice


def issued(group: Group, amount: str = "5", on: date = date(2024, 10, 4)) -> Invoice:
    return invoice_issue(actor=group.manager, invoice=draft(group, amount), issue_date=on)


def change(invoice: Invoice) -> str:
    return reverse("admin:invoicing_invoice_change", args=[invoice.pk])


ADD = "/admin/invoicing/invoice/add/"
ASK = {"payer": "", "period_start": "2024-09-01", "period_end": "2024-10-01"}


class TestMaking:
    def test_preview_then_draft_then_issue(self, site: Client, group: Group) -> None:
        group.use("10.52", department=group.sales)
        group.use("10", entity=group.japan)
        ask = {**ASK, "payer": group.root.pk}
        shown = site.get(ADD, ask)
        text = shown.content.decode()
        assert shown.status_code == 200
        assert "20.52" in text
        assert "Northwind Japan" in text
        assert "belong to no department" in text
        assert not Invoice.objects.exists()
        made = site.post(ADD, {**ask, "draft": "1"})
        invoice = Invoice.objects.get()
        assert made["Location"] == change(invoice)
        site.post(f"/admin/invoicing/invoice/{invoice.pk}/do/issue/", {})
        assert Invoice.objects.get().number.endswith("-000001")
        again = site.get(ADD, ask).content.decode()
        assert "Everything of" in again
        assert change(invoice) in again

    def test_a_month_button_fills_the_dates(self, site: Client, group: Group) -> None:
        group.use("3", department=group.sales)
        text = site.get(ADD, {"payer": group.root.pk, "month": "2024-09"}).content.decode()
        assert "Northwind Group, September 2024" in text

    def test_issue_at_once(self, site: Client, group: Group) -> None:
        group.use("3", department=group.sales)
        site.post(ADD, {**ASK, "payer": group.root.pk, "issue": "1"})
        assert Invoice.objects.get().status == "issued"

    @pytest.mark.parametrize(
        "ask",
        [
            {"payer": "x"},
            {"payer": "9999999"},
            {"period_end": "2024-08-01"},
            {"month": "2024-99"},
            {"period_start": "?"},
        ],
    )
    def test_bad_input_stays_in_the_form(self, site: Client, group: Group, ask: dict[str, str]) -> None:
        answer = site.get(ADD, {**ASK, "payer": group.root.pk, **ask})
        assert answer.status_code == 200
        assert not Invoice.objects.exists()

    def test_only_payers_of_ones_own_scope_are_offered(self, group: Group) -> None:
        site = pages(group.person("finance_staff", entity=group.germany))
        text = site.get(ADD).content.decode()
        assert "Northwind Germany" in text
        assert "Northwind Japan" not in text
        assert "Select a valid choice" in site.get(ADD, {**ASK, "payer": group.root.pk}).content.decode()


class TestReading:
    def test_the_document_and_what_it_bills(self, site: Client, group: Group) -> None:
        invoice = issued(group)
        text = site.get(change(invoice)).content.decode()
        assert "SHS-INV-2024-000001" in text
        assert "was issued on 2024-10-04 and cannot be changed" in text
        assert "100 Sales" in text
        assert "Overdue" in text
        items = site.get(reverse("admin:invoicing_invoice_items", args=[invoice.pk, 1]))
        assert items.status_code == 200
        assert "Amazon Elastic Compute Cloud" in items.content.decode()
        assert site.get(reverse("admin:invoicing_invoice_items", args=[invoice.pk, 9])).status_code == 404

    def test_pdf_and_print_view(self, site: Client, group: Group) -> None:
        invoice = issued(group)
        pdf = site.get(reverse("admin:invoicing_invoice_pdf", args=[invoice.pk]))
        assert pdf["Content-Type"] == "application/pdf"
        assert pdf["Content-Disposition"] == 'inline; filename="SHS-INV-2024-000001.pdf"'
        download = site.get(reverse("admin:invoicing_invoice_pdf", args=[invoice.pk]) + "?download=1")
        assert download["Content-Disposition"].startswith("attachment")
        assert download.content == pdf.content
        assert (
            "SHS-INV-2024-000001"
            in site.get(reverse("admin:invoicing_invoice_print", args=[invoice.pk])).content.decode()
        )

    def test_the_list_its_totals_and_its_export(self, site: Client, group: Group) -> None:
        issued(group)
        draft(group, "2.5")
        listed = site.get("/admin/invoicing/invoice/").content.decode()
        assert "7.50" in listed
        assert "Overdue" in listed
        overdue = site.get("/admin/invoicing/invoice/?overdue=yes").content.decode()
        assert "SHS-INV-2024-000001" in overdue
        assert "Draft " not in overdue.partition("<tbody")[2].partition("</table>")[0]
        export = b"".join(site.get("/admin/invoicing/invoice/export.csv").streaming_content).decode()
        assert "SHS-INV-2024-000001" in export
        assert site.get("/admin/invoicing/invoiceline/").status_code == 200

    def test_history(self, site: Client, group: Group) -> None:
        invoice = issued(group)
        site.post(f"/admin/invoicing/invoice/{invoice.pk}/do/void/", {"reason": "Wrong address"})
        text = site.get(reverse("admin:invoicing_invoice_history", args=[invoice.pk])).content.decode()
        assert "Wrong address" in text
        assert "Issued" in text


class TestActions:
    def test_void_needs_a_reason(self, site: Client, group: Group) -> None:
        invoice = issued(group)
        site.post(f"/admin/invoicing/invoice/{invoice.pk}/do/void/", {"reason": ""})
        assert Invoice.objects.get().status == "issued"
        site.post(f"/admin/invoicing/invoice/{invoice.pk}/do/void/", {"reason": "Wrong"})
        assert Invoice.objects.get().void_reason == "Wrong"

    def test_refresh_and_discard(self, site: Client, group: Group) -> None:
        invoice = draft(group)
        group.use("1", department=group.sales)
        site.post(f"/admin/invoicing/invoice/{invoice.pk}/do/refresh/", {})
        assert Invoice.objects.get().total == 6
        site.post(f"/admin/invoicing/invoice/{invoice.pk}/do/discard/", {})
        assert not Invoice.objects.exists()

    @pytest.mark.parametrize("name", ["issue", "discard", "refresh"])
    def test_what_is_not_possible_is_refused(self, site: Client, group: Group, name: str) -> None:
        invoice = issued(group)
        before = Invoice.objects.values().get()
        assert site.post(f"/admin/invoicing/invoice/{invoice.pk}/do/{name}/", {}).status_code == 409
        assert Invoice.objects.values().get() == before

    def test_nothing_is_written_by_the_change_page(self, site: Client, group: Group) -> None:
        invoice = draft(group)
        before = Invoice.objects.values().get()
        site.post(change(invoice), {"total": "1"})
        site.post(f"/admin/invoicing/invoice/{invoice.pk}/delete/", {"post": "yes"})
        assert Invoice.objects.values().get() == before


def test_ent_04_scope_and_rights(group: Group) -> None:
    posted, waiting = issued(group), draft(group)
    other = entity_create(actor=system_actor(), name="Other Group", entity_type="root", currency="USD")
    addresses = [
        change(posted),
        reverse("admin:invoicing_invoice_pdf", args=[posted.pk]),
        reverse("admin:invoicing_invoice_print", args=[posted.pk]),
        reverse("admin:invoicing_invoice_items", args=[posted.pk, 1]),
        reverse("admin:invoicing_invoice_history", args=[posted.pk]),
    ]
    for person, status in (
        (group.person("administrator", entity=other), 404),
        (group.person("finance_manager", entity=group.germany), 404),
        (group.person("auditor"), 200),
        (group.person("finance_manager", entity=group.issuer), 200),
    ):
        site = pages(person)
        for address in addresses:
            assert site.get(address).status_code == status, (person, address)
        listed = site.get("/admin/invoicing/invoice/").content.decode()
        assert ("SHS-INV-2024-000001" in listed) == (status == 200)
    auditor = pages(group.person("auditor"))
    assert auditor.get(ADD).status_code == 403
    assert auditor.post(ADD, {**ASK, "payer": group.root.pk, "issue": "1"}).status_code == 403
    for name in ("issue", "discard", "refresh"):
        assert auditor.post(f"/admin/invoicing/invoice/{waiting.pk}/do/{name}/", {}).status_code == 403
    assert auditor.post(f"/admin/invoicing/invoice/{posted.pk}/do/void/", {"reason": "x"}).status_code == 403
    assert {(i.pk, i.status) for i in Invoice.objects.all()} == {(posted.pk, "issued"), (waiting.pk, "draft")}
    assert Client().get(change(posted)).status_code == 302


def test_number_series_pages(site: Client, group: Group) -> None:
    site.post(
        "/admin/invoicing/numberseries/add/",
        {"issuer": group.issuer.pk, "fiscal_year": 2024, "prefix": "NW-"},
    )
    series = NumberSeries.objects.get()
    assert series.prefix == "NW-"
    address = reverse("admin:invoicing_numberseries_change", args=[series.pk])
    site.post(address, {"prefix": "NW/"})
    assert NumberSeries.objects.get().prefix == "NW/"
    assert issued(group).number == "NW/2024-000001"
    assert "No gap, no duplicate" in site.get("/admin/invoicing/numberseries/").content.decode()
    assert "the prefix stays as it is" in site.get(address).content.decode()
    site.post(address, {"prefix": "X-"})
    assert NumberSeries.objects.get().prefix == "NW/"
    assert InvoiceLine.objects.count() == 1


def test_inv_05_tax_rule_pages(site: Client, group: Group) -> None:
    add = "/admin/invoicing/taxrule/add/"
    assert "Every product is taxed as its payer" in site.get("/admin/invoicing/taxrule/").content.decode()
    assert "Exempt payers and those under reverse" in site.get(add).content.decode()
    asked = {
        "issuer": group.issuer.pk, "name": "Books", "service": "Books", "tax_category": "S", "tax_rate": "7",
        "valid_from": "2024-01-01",
    }  # fmt: skip
    refused = site.post(add, {**asked, "service": ""})
    assert "Say what the rule is about" in refused.content.decode()
    assert not TaxRule.objects.exists()
    site.post(add, asked)
    assert "has a rule for the same" in site.post(add, asked).content.decode()
    rule = TaxRule.objects.get()
    assert (rule.issuer, rule.service, rule.tax_rate, rule.valid_to) == (group.issuer, "Books", 7, None)
    assert "Books" in site.get("/admin/invoicing/taxrule/").content.decode()
    whole = TaxRule(kind="fee", provider="AWS", service="Books", contract_line="seats")
    assert whole.about == "Contract fee, AWS, Books, contract line seats"
    address = reverse("admin:invoicing_taxrule_change", args=[rule.pk])
    site.post(
        address,
        {**asked, "valid_to": "2025-01-01", "loaded_version": rule.version, "change_reason": "New law"},
    )
    rule.refresh_from_db()
    assert (str(rule.valid_to), rule.history.first().history_change_reason) == ("2025-01-01", "New law")
    site.post(reverse("admin:invoicing_taxrule_delete", args=[rule.pk]), {"post": "yes"})
    assert not TaxRule.objects.exists()
    auditor = pages(group.person("auditor"))
    assert auditor.get("/admin/invoicing/taxrule/").status_code == 200
    assert auditor.get(add).status_code == 403
