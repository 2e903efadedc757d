"""Statements of account: the movements and the open items are two ways to one balance (INV-06)."""

from datetime import date
from decimal import Decimal

import pytest
from django.urls import reverse

from core.errors import Invalid
from entities.models import Role
from invoicing.documents.statement import statement_html
from invoicing.selectors.statements import Statement, account_statement
from invoicing.services.invoice import invoice_void
from invoicing.services.payments import Application, payment_record, payment_reverse, refund_make
from tests.invoicing.invoices.builders import Group
from tests.invoicing.invoices.test_admin import pages
from tests.invoicing.invoices.test_api import BASE, client
from tests.invoicing.receivables.conftest import Bill


def statement(group: Group, start: date, end: date) -> Statement:
    return account_statement(user=group.manager, payer=group.root, start=start, end=end)


def pay(group: Group, amount: str, on: date, *applications: Application):
    return payment_record(
        actor=group.manager, issuer=group.issuer, entity=group.root, amount=amount, currency="USD",
        received_on=on, reference="wire", applications=applications,
    )  # fmt: skip


@pytest.fixture
def moved(group: Group, bill: Bill) -> Group:
    """100 and 50 billed, 120 paid of which 60 are applied, 20 refunded, 30 billed later."""
    first = bill("100", date(2024, 10, 1))
    bill("50", date(2024, 10, 20))
    payment = pay(group, "120", date(2024, 11, 5), Application(first.pk, "60"))
    refund_make(
        actor=group.manager, source=payment, reason="Too much", amount="20", refunded_on=date(2024, 11, 20)
    )
    bill("30", date(2024, 12, 2))
    return group


class TestAccount:
    def test_inv_06_opening_movements_and_closing(self, moved: Group) -> None:
        (account,) = statement(moved, date(2024, 10, 15), date(2024, 12, 1)).accounts
        assert account.opening == Decimal(100)
        assert [(entry.day, entry.kind, entry.amount, entry.balance) for entry in account.entries] == [
            (date(2024, 10, 20), "invoice", Decimal(50), Decimal(150)),
            (date(2024, 11, 5), "payment", Decimal(-120), Decimal(30)),
            (date(2024, 11, 20), "refund", Decimal(20), Decimal(50)),
        ]
        assert (account.closing, account.debits, account.credits) == (Decimal(50), Decimal(70), Decimal(120))

    def test_inv_06_closing_is_open_documents_less_balances_on_any_day(self, moved: Group) -> None:
        for end in (date(2024, 10, 2), date(2024, 11, 6), date(2024, 11, 21), date(2024, 12, 31)):
            (account,) = statement(moved, date(2024, 9, 1), end).accounts
            assert account.closing == sum(item.open for item in account.open_items), end
        assert [(item.kind, item.open) for item in account.open_items] == [
            ("invoice", Decimal(40)), ("invoice", Decimal(50)), ("invoice", Decimal(30)), ("payment", Decimal(-40)),
        ]  # fmt: skip

    def test_inv_06_what_is_taken_back_moves_the_balance_on_its_own_day(
        self, group: Group, bill: Bill
    ) -> None:
        invoice = bill("100", date(2024, 10, 1))
        payment_reverse(
            actor=group.manager,
            payment=pay(group, "100", date(2024, 11, 1), Application(invoice.pk)),
            reason="Bounced",
        )
        invoice_void(actor=group.manager, invoice=bill("7", date(2024, 11, 2)), reason="Wrong")
        (then,) = statement(group, date(2024, 9, 1), date(2024, 11, 30)).accounts
        assert (then.closing, [item.open for item in then.open_items]) == (Decimal(7), [Decimal(7)])
        (now,) = statement(group, date(2024, 9, 1), date(2027, 8, 1)).accounts
        assert (now.closing, [item.open for item in now.open_items]) == (Decimal(100), [Decimal(100)])
        assert {entry.kind for entry in now.entries} == {"invoice", "payment", "payment_reversed", "void"}

    def test_a_period_that_ends_before_it_begins_is_refused(self, group: Group) -> None:
        with pytest.raises(Invalid) as refusal:
            statement(group, date(2024, 10, 1), date(2024, 10, 1))
        assert refusal.value.code == "period_not_ordered"

    def test_it_is_written_in_the_payers_language(self, moved: Group) -> None:
        moved.root.language = "de"
        page = statement_html(
            account_statement(
                user=moved.manager, payer=moved.root, start=date(2024, 10, 15), end=date(2024, 12, 1)
            )
        )
        assert "Kontoauszug" in page and "Saldovortrag" in page and "50,00" in page


class TestDoors:
    def test_the_api(self, moved: Group) -> None:
        url = f"{BASE}/entities/{moved.root.pk}/statement"
        answer = client(moved.manager).get(url, {"from": "2024-10-15", "to": "2024-12-01"})
        assert answer.status_code == 200
        account = answer.json()["accounts"][0]
        assert (account["opening"], account["closing"], account["currency"]) == ("100.00", "50.00", "USD")
        pdf = client(moved.manager).get(url, {"from": "2024-10-15", "to": "2024-12-01", "format": "pdf"})
        assert (pdf.status_code, pdf["Content-Type"], pdf.content[:5]) == (200, "application/pdf", b"%PDF-")

    def test_the_page(self, moved: Group) -> None:
        url = reverse("admin:invoicing_invoice_statement", args=[moved.root.pk])
        page = pages(moved.manager).get(url, {"start": "2024-10-15", "end": "2024-12-01"})
        assert page.status_code == 200
        assert [shown["account"].closing for shown in page.context["accounts"]] == [Decimal(50)]

    def test_the_page_of_the_entity_leads_to_it(self, moved: Group) -> None:
        page = reverse("admin:entities_entity_change", args=[moved.root.pk])
        statement = reverse("admin:invoicing_invoice_statement", args=[moved.root.pk])
        shown = pages(moved.manager).get(page).content.decode()
        assert f'href="{statement}"' in shown
        assert "Statement of account" in shown
        reader = moved.person(Role.DEPARTMENT_MANAGER)
        reader.is_staff = True
        reader.save()
        other = pages(reader).get(page)
        assert other.status_code == 200
        assert statement not in other.content.decode()
