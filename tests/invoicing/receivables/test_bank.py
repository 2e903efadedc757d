"""Bank statements: read in once and whole, proposals with reasons, matched by people, taken back (INV-06)."""

from datetime import date
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from core.errors import Conflict, Invalid
from invoicing.bank.camt import read_camt
from invoicing.bank.csv_file import read_csv, read_number
from invoicing.models import BankStatement, BankTransaction, Invoice, Payment
from invoicing.selectors.bank_matching import transaction_proposals
from invoicing.services.bank import (
    bank_statement_accept_certain,
    bank_statement_import,
    bank_transaction_ignore,
    bank_transaction_match,
    bank_transaction_undo,
)
from tests.invoicing.invoices.builders import Group
from tests.invoicing.invoices.test_admin import pages
from tests.invoicing.invoices.test_api import BASE, client
from tests.invoicing.receivables.conftest import Bill

IBAN = "DE02120300000000202051"
PAYER_IBAN = "DE02500105170137075030"


def entry(
    amount: str,
    text: str,
    reference: str = "",
    direction: str = "CRDT",
    name: str = "Someone",
    iban: str = "",
) -> str:
    account = f"<DbtrAcct><Id><IBAN>{iban}</IBAN></Id></DbtrAcct>" if iban else ""
    ref = f"<AcctSvcrRef>{reference}</AcctSvcrRef>" if reference else ""
    return f"""<Ntry><Amt Ccy="USD">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
<BookgDt><Dt>2024-11-05</Dt></BookgDt>{ref}<NtryDtls><TxDtls><RltdPties><Dbtr><Pty><Nm>{name}</Nm></Pty></Dbtr>{account}
</RltdPties><RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"""


def camt(*entries: str, version: str = "08", iban: str = IBAN, head: str = "") -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>{head}
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"><BkToCstmrStmt><Stmt>
<Acct><Id><IBAN>{iban}</IBAN></Id></Acct>{"".join(entries)}</Stmt></BkToCstmrStmt></Document>""".encode()


def take(group: Group, content: bytes, name: str = "statement.xml", **options: object) -> BankStatement:
    return bank_statement_import(
        actor=group.manager, issuer=group.issuer, file_name=name, content=content, **options
    )


def proposals(statement: BankStatement):
    rows = list(statement.transactions.order_by("line_number", "id"))
    found = transaction_proposals(statement.issuer_id, rows)
    return [found[row.pk] for row in rows]


class TestReaders:
    @pytest.mark.parametrize("version", ["02", "04", "08"])
    def test_camt_of_several_versions(self, version: str) -> None:
        file = read_camt(camt(entry("12.50", "Thanks", "B-1", iban=PAYER_IBAN), version=version))
        (row,) = file.rows
        assert (file.account_iban, row.booked_on, row.amount, row.currency) == (
            IBAN, date(2024, 11, 5), Decimal("12.50"), "USD",
        )  # fmt: skip
        assert (row.counterparty_name, row.counterparty_iban, row.text, row.bank_reference) == (
            "Someone", PAYER_IBAN, "Thanks", "B-1",
        )  # fmt: skip

    def test_what_is_malformed_is_refused_with_its_line(self) -> None:
        for content, code, line in (
            (camt(entry("12.50", "a"), entry("12,50", "b")), "invalid_amount", 5),
            (camt(entry("12.50", "a"))[:-30], "malformed_file", 5),
            (camt(entry("1.005", "a")), "invalid_amount", 4),
            (b"<html/>", "not_camt_053", 1),
        ):
            with pytest.raises(Invalid) as refusal:
                read_camt(content)
            assert (refusal.value.code, refusal.value.extra["line"]) == (code, line)

    def test_entities_of_xml_are_not_expanded(self) -> None:
        bomb = '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
        with pytest.raises(Invalid) as refusal:
            read_camt(camt(entry("1", "&b;"), head=bomb))
        assert refusal.value.code == "malformed_file"

    def test_csv_of_a_german_bank(self) -> None:
        content = (
            "Konto;DE02\n\nBuchungstag;Betrag;Währung;Verwendungszweck;Name Zahlungsbeteiligter\n"
            '05.11.2024;1.234,50;EUR;"Rechnung ""1""; danke";Müller GmbH\n06.11.2024;-3,00;EUR;Gebühr;Bank\n'
        ).encode("cp1252")
        rows = read_csv(content, currency="EUR").rows
        assert [(row.line, row.booked_on, row.amount, row.counterparty_name) for row in rows] == [
            (4, date(2024, 11, 5), Decimal("1234.50"), "Müller GmbH"), (5, date(2024, 11, 6), Decimal(-3), "Bank"),
        ]  # fmt: skip
        assert rows[0].text == 'Rechnung "1"; danke'

    def test_csv_columns_are_named_where_they_are_not_known(self) -> None:
        content = b"Tag,Summe\n2024-11-05,7.10\n"
        with pytest.raises(Invalid) as refusal:
            read_csv(content, currency="USD")
        assert refusal.value.code == "columns_unknown"
        (row,) = read_csv(content, currency="USD", mapping={"date": "Tag", "amount": "Summe"}).rows
        assert row.amount == Decimal("7.10")

    @pytest.mark.parametrize(
        ("text", "currency", "value"),
        [
            ("1.234,50", "EUR", "1234.50"), ("1,234.50", "USD", "1234.50"), ("1.234", "EUR", "1234"),
            ("1.234", "KWD", "1.234"), ("1 234,5", "EUR", "1234.5"), ("100-", "EUR", "-100"),
            ("1.234.567", "EUR", "1234567"), ("0,05", "EUR", "0.05"),
        ],
    )  # fmt: skip
    def test_numbers_as_banks_write_them(self, text: str, currency: str, value: str) -> None:
        assert read_number(text, 1, currency) == Decimal(value)


class TestImport:
    def test_a_file_and_a_transaction_come_in_once(self, group: Group) -> None:
        twice = entry("5.00", "same")
        first = take(
            group, camt(twice, twice, entry("9.00", "x", "B-1"), entry("2.00", "fee", direction="DBIT"))
        )
        assert (first.rows_read, first.rows_known) == (4, 0)
        assert sorted(first.transactions.values_list("status", "amount")) == [
            ("ignored", Decimal(-2)), ("open", Decimal(5)), ("open", Decimal(5)), ("open", Decimal(9)),
        ]  # fmt: skip
        with pytest.raises(Conflict) as refusal:
            take(group, camt(twice, twice, entry("9.00", "x", "B-1"), entry("2.00", "fee", direction="DBIT")))
        assert refusal.value.code == "statement_known"
        overlapping = take(group, camt(twice, twice, twice, entry("9.00", "x", "B-1")))
        assert (overlapping.rows_read, overlapping.rows_known) == (4, 3)

    def test_nothing_is_half_written(self, group: Group) -> None:
        with pytest.raises(Invalid):
            take(group, camt(entry("5.00", "a"), entry("x", "b")))
        assert (BankStatement.objects.count(), BankTransaction.objects.count()) == (0, 0)

    def test_another_account_is_asked_about(self, group: Group) -> None:
        content = camt(entry("5.00", "a"), iban=PAYER_IBAN)
        with pytest.raises(Invalid) as refusal:
            take(group, content)
        assert refusal.value.code == "other_account"
        assert take(group, content, other_account=True).account_iban == PAYER_IBAN


class TestProposals:
    def test_number_and_exact_amount_are_certain(self, group: Group, bill: Bill) -> None:
        one, two = bill("100", date(2024, 10, 1)), bill("50", date(2024, 10, 2))
        statement = take(
            group,
            camt(
                entry("100.00", f"Re. {one.number.replace('-', ' ').lower()}"),
                entry("60.00", f"{two.number}"),
                entry("50.00", "no idea"),
                entry("77.00", "no idea"),
            ),
        )
        found = proposals(statement)
        assert [(row[0].score, row[0].certain) if row else None for row in found] == [
            (100, True), (75, False), (60, False), None,
        ]  # fmt: skip
        assert [(part.document.pk, part.amount) for part in found[0][0].parts] == [(one.pk, Decimal(100))]
        assert found[1][0].rest == Decimal(10)
        assert found[0][0].reasons == (f"The text names {one.number}.", "It is exactly what is open.")

    def test_several_documents_of_the_payer_add_up(self, group: Group, bill: Bill) -> None:
        one, two = bill("100", date(2024, 10, 1)), bill("50", date(2024, 10, 2))
        (found,) = proposals(take(group, camt(entry("150.00", "all", name="NORTHWIND GROUP INC."))))
        assert (found[0].score, [part.document.pk for part in found[0].parts]) == (73, [one.pk, two.pk])

    def test_a_longer_number_is_not_taken_for_a_shorter_one(self, group: Group, bill: Bill) -> None:
        invoice = bill("100", date(2024, 10, 1))
        (found,) = proposals(take(group, camt(entry("100.00", f"{invoice.number}7"))))
        assert found[0].score == 60

    def test_the_number_of_statements_is_fixed(self, group: Group, bill: Bill) -> None:
        bill("100", date(2024, 10, 1))
        statement = take(
            group, camt(*(entry(f"{n}.00", f"t{n}", f"R{n}", iban=PAYER_IBAN) for n in range(1, 9)))
        )
        rows = list(statement.transactions.all())
        with CaptureQueriesContext(connection) as queries:
            transaction_proposals(statement.issuer_id, rows)
        assert len(queries) == 2


class TestMatching:
    def test_inv_06_certain_matches_settle_when_somebody_says_so(self, group: Group, bill: Bill) -> None:
        one, two = bill("100", date(2024, 10, 1)), bill("50", date(2024, 10, 2))
        statement = take(
            group, camt(entry("100.00", one.number), entry("50.00", "unclear"), entry("9", two.number))
        )
        assert Payment.objects.count() == 0
        (result,) = bank_statement_accept_certain(actor=group.manager, statement=statement)
        assert (result.refusal, Payment.objects.get().pk) == ("", result.payment_id)
        assert [Invoice.objects.get(pk=row.pk).status for row in (one, two)] == ["paid", "issued"]
        assert sorted(statement.transactions.values_list("status", flat=True)) == ["matched", "open", "open"]
        assert bank_statement_accept_certain(actor=group.manager, statement=statement) == []

    def test_inv_06_undo_reverses_the_payment_and_it_can_be_matched_again(
        self, group: Group, bill: Bill
    ) -> None:
        invoice = bill("100", date(2024, 10, 1))
        row = take(group, camt(entry("100.00", "x"))).transactions.get()
        bank_transaction_match(actor=group.manager, bank_transaction=row, entity=group.root)
        with pytest.raises(Conflict) as refusal:
            bank_transaction_match(actor=group.manager, bank_transaction=row, entity=group.root)
        assert refusal.value.code == "not_open"
        bank_transaction_undo(actor=group.manager, bank_transaction=row, reason="Wrong payer")
        assert Invoice.objects.get(pk=invoice.pk).status == "issued"
        again = bank_transaction_match(
            actor=group.manager, bank_transaction=row, entity=group.root, applications=[]
        )
        assert (again.status, again.payment.unapplied_amount) == ("matched", Decimal(100))

    def test_what_is_ignored_says_why(self, group: Group) -> None:
        row = take(group, camt(entry("100.00", "x"))).transactions.get()
        with pytest.raises(Invalid):
            bank_transaction_ignore(actor=group.manager, bank_transaction=row, reason=" ")
        done = bank_transaction_ignore(actor=group.manager, bank_transaction=row, reason="Interest")
        assert (done.status, done.ignored_reason) == ("ignored", "Interest")


class TestDoors:
    def test_the_api(self, group: Group, bill: Bill) -> None:
        invoice = bill("100", date(2024, 10, 1))
        api = client(group.manager)
        file = SimpleUploadedFile("s.xml", camt(entry("100.00", invoice.number)), "application/xml")
        made = api.post(
            f"{BASE}/bank-statements", {"file": file, "issuer_id": group.issuer.pk}, format="multipart"
        )
        assert (made.status_code, made.json()["open_count"]) == (201, 1)
        rows = api.get(f"{BASE}/bank-statements/{made.json()['id']}/transactions").json()["results"]
        assert rows[0]["proposals"][0]["applications"] == [
            {"invoice_id": invoice.pk, "number": invoice.number, "amount": "100.00"}
        ]
        url = f"{BASE}/bank-transactions/{rows[0]['id']}"
        body = {"entity_id": group.root.pk, "applications": [{"invoice_id": invoice.pk, "amount": "100.00"}]}
        matched = api.post(f"{url}/match", body, format="json")
        assert (matched.status_code, matched.json()["status"]) == (200, "matched")
        undone = api.post(f"{url}/undo", {"reason": "Mistake"}, format="json")
        assert (undone.json()["status"], undone.json()["payment_id"]) == ("open", None)
        ignored = api.post(f"{url}/ignore", {"reason": "Interest"}, format="json")
        assert ignored.json()["status"] == "ignored"

    def test_the_pages(self, group: Group, bill: Bill) -> None:
        invoice = bill("100", date(2024, 10, 1))
        site = pages(group.manager)
        upload = reverse("admin:invoicing_bankstatement_upload")
        assert site.get(upload).status_code == 200
        file = SimpleUploadedFile(
            "s.xml", camt(entry("40.00", "part"), entry("60.00", "rest")), "application/xml"
        )
        answer = site.post(upload, {"file": file, "issuer": group.issuer.pk})
        statement = BankStatement.objects.get()
        assert answer["Location"] == reverse("admin:invoicing_bankstatement_change", args=[statement.pk])
        assert site.get(answer["Location"]).status_code == 200
        assert site.get(reverse("admin:invoicing_bankstatement_changelist")).status_code == 200
        assert site.get(reverse("admin:invoicing_banktransaction_changelist")).status_code == 200
        row = statement.transactions.get(amount=40)
        page = reverse("admin:invoicing_bankstatement_transaction", args=[statement.pk, row.pk])
        assert site.get(page, {"entity": group.root.pk}).status_code == 200
        done = site.post(page, {"entity": group.root.pk, f"invoice_{invoice.pk}": "40", "do": "match"})
        assert done.status_code == 302
        assert Invoice.objects.get(pk=invoice.pk).settled_amount == Decimal(40)
