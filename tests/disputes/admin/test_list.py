"""The work list: order, clocks in words, chips, filters, totals, export, its queries, and who sees it."""

import csv
import io
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from disputes.models import BillingDispute
from disputes.services.attachments import attachment_add
from disputes.services.handling import (
    dispute_change_severity,
    dispute_escalate,
    dispute_update,
    dispute_wait_for_customer,
)
from tests.disputes.admin.conftest import pages, text_of
from tests.disputes.builders import Desk, berlin, everything
from tests.disputes.resolving import resolve, rule

LIST = "/admin/disputes/billingdispute/"


def numbers(site: Client, query: str = "_all=1") -> list[str]:
    """The disputes of the list, in its order."""
    return [row.number for row in site.get(f"{LIST}?{query}").context["cl"].result_list]


class TestRows:
    def test_what_is_due_next_stands_first_and_what_is_over_last(
        self, site: Client, desk: Desk, travel: Any
    ) -> None:
        """DSP-07, DSP-10: overdue, due, paused, over; each in words."""
        over = desk.open()
        resolve(desk, over, "no_action")
        paused = desk.open()
        dispute_wait_for_customer(actor=desk.staff, dispute_id=paused.pk, question="Which one?")
        due = desk.open()
        desk.policy(hours=8, response_hours=1)
        late = desk.open()
        travel.move_to(berlin("2026-03-02 12:30"))
        assert numbers(site) == [late.number, due.number, paused.number, over.number]
        text = text_of(site.get(f"{LIST}?_all=1"))
        assert "Overdue 2 h 30 min to answer" in text
        assert "20 h 30 min left to answer" in text
        assert "Paused" in text

    def test_marks(self, site: Client, desk: Desk) -> None:
        """Severity, escalation, the owner and the paper clip stand on the row, each with a word."""
        dispute = desk.open()
        dispute_update(actor=desk.staff, dispute_id=dispute.pk, changes={"owner": desk.colleague})
        dispute_change_severity(actor=desk.staff, dispute_id=dispute.pk, severity="critical", reason="Board")
        dispute_escalate(actor=desk.staff, dispute_id=dispute.pk, reason="Board")
        assert "has files" not in site.get(LIST).content.decode()
        attachment_add(
            actor=desk.customer, dispute_id=dispute.pk, name="offer.txt", visibility="customer",
            file=SimpleUploadedFile("offer.txt", b"Offer"),
        )  # fmt: skip
        answer = site.get(LIST)
        text = text_of(answer)
        for word in (
            "Critical",
            "Escalated",
            desk.colleague.display_name,
            "line 1",
            "Northwind Germany",
            "Price",
        ):
            assert word in text
        assert 'aria-label="has files"' in answer.content.decode()

    def test_totals_are_of_what_is_filtered(self, site: Client, desk: Desk) -> None:
        desk.open(amount="59.50")
        desk.open(amount="10.00")
        resolve(desk, desk.open(amount="1.00"), "no_action")
        assert "EUR 3 rows Disputed 70.50 EUR Approved 0.00 EUR" in text_of(site.get(f"{LIST}?_all=1"))
        assert "EUR 2 rows Disputed 69.50 EUR" in text_of(site.get(f"{LIST}?standing=open"))

    def test_one_more_row_costs_no_query(
        self, site: Client, desk: Desk, django_assert_num_queries: Any
    ) -> None:
        desk.open()
        site.get(LIST)
        with CaptureQueriesContext(
            connection,
        ) as first:
            site.get(LIST)
        for _ in range(3):
            desk.open(actor=desk.second_customer)
        with CaptureQueriesContext(connection) as second:
            site.get(LIST)
        assert len(second) == len(first) <= 40


class TestFilters:
    def test_chips(self, site: Client, desk: Desk, travel: Any) -> None:
        """Each chip shows what its words say."""
        rule(desk, desk.manager)
        mine, asked, escalated, proposed, card = (desk.open() for _ in range(5))
        dispute_update(actor=desk.staff, dispute_id=mine.pk, changes={"owner": desk.staff})
        dispute_wait_for_customer(actor=desk.staff, dispute_id=asked.pk, question="Which one?")
        dispute_escalate(actor=desk.staff, dispute_id=escalated.pk, reason="Board")
        resolve(desk, proposed, "credit")
        dispute_update(
            actor=desk.staff, dispute_id=card.pk,
            changes={"chargeback_scheme": "Visa", "chargeback_deadline": berlin("2026-03-20 12:00").date()},
        )  # fmt: skip
        travel.move_to(berlin("2026-03-03 09:01"))

        def chip(label: str) -> set[str]:
            chips = site.get(f"{LIST}?_all=1").context["quick_chips"]
            url = next(each.url for each in chips if each.label == label)
            return set(numbers(site, url.removeprefix("?")))

        assert chip("Mine") == {mine.number}
        assert chip("Waiting for the customer") == {asked.number}
        assert chip("Escalated") == {escalated.number}
        assert chip("Proposed") == {proposed.number}
        assert chip("Chargebacks") == {card.number}
        assert chip("Waiting for us") == {mine.number, escalated.number, card.number}
        # Staff asked one of them something: that was the answer. All others are a minute late with theirs (DSP-05).
        assert chip("Overdue") == {mine.number, escalated.number, proposed.number, card.number}
        assert len(chip("Open")) == 5

    def test_a_number_is_found_as_people_write_it(self, site: Client, desk: Desk) -> None:
        dispute = desk.open()
        desk.open()
        assert numbers(site, f"q={dispute.number}") == [dispute.number]
        assert numbers(site, f"q={dispute.invoice.number}") == [dispute.number]
        found = site.get("/admin/search/", {"s": dispute.number, "extended": "1"})
        assert dispute.number in text_of(found)

    def test_the_export_is_what_is_filtered(self, site: Client, desk: Desk) -> None:
        dispute = desk.open(reason="=2+5 is wrong")
        resolve(desk, desk.open(), "no_action")
        answer = site.get(f"{LIST}export.csv?standing=open")
        text = b"".join(answer.streaming_content).decode("utf-8-sig")
        (row,) = csv.DictReader(io.StringIO(text))
        assert row["Number"] == dispute.number
        assert (row["Disputed"], row["Currency"], row["Status"]) == ("59.5000", "EUR", "Open")
        assert row["Reason"] == "'=2+5 is wrong"


class TestRights:
    def test_the_auditor_reads_all_and_changes_nothing(self, desk: Desk) -> None:
        """DSP-18, ENT-05."""
        dispute = desk.open()
        site = pages(desk.auditor)
        assert numbers(site) == [dispute.number]
        answer = site.get(f"{LIST}{dispute.pk}/change/")
        assert answer.context["actions_bar"] == []
        assert "Send to the customer" not in text_of(answer)
        before = everything()
        for address in ("do/acknowledge/", "do/resolve/", "say/", "attach/"):
            assert site.post(f"{LIST}{dispute.pk}/{address}", {"body": "x"}).status_code == 403, address
        assert site.get(f"{LIST}add/?invoice={dispute.invoice_id}").status_code == 403
        assert everything() == before

    @pytest.mark.parametrize("who", ["customer", "buyer", "neighbour", "stranger"])
    def test_the_customers_side_has_no_back_office_of_disputes(self, desk: Desk, who: str) -> None:
        """DSP-18: finance staff of the payer may work in the back-office, but stands on the other side here."""
        dispute = desk.open()
        site = pages(getattr(desk, who))
        listed = site.get(LIST)
        assert listed.status_code in (302, 403) or numbers(site) == []
        assert site.get(f"{LIST}{dispute.pk}/change/").status_code in (302, 404)
        exported = site.get(f"{LIST}export.csv")
        if exported.status_code == 200:
            assert dispute.number not in b"".join(exported.streaming_content).decode()
        before = everything()
        assert site.post(f"{LIST}{dispute.pk}/do/acknowledge/", {}).status_code in (302, 404)
        assert everything() == before

    def test_department_managers_do_not_get_in(self, desk: Desk) -> None:
        assert pages(desk.buyer).get(LIST).status_code == 302


class TestInvoicePage:
    def test_the_panel_and_the_button(self, site: Client, desk: Desk) -> None:
        """Staff of the issuer sees what is disputed of an invoice, and opens a dispute from it."""
        invoice = desk.invoice()
        address = f"/admin/invoicing/invoice/{invoice.pk}/change/"
        answer = site.get(address)
        assert f"{LIST}add/?invoice={invoice.pk}" in answer.content.decode()
        assert answer.context["record_panels"] == []
        dispute = desk.open(invoice)
        text = text_of(site.get(address))
        assert dispute.number in text
        assert "59.50 EUR – Price, line 1. Service 1" in text
        other = pages(desk.customer).get(address)
        assert (other.context["record_panels"], other.context["record_links"]) == ([], [])

    def test_by_number_and_what_is_refused(self, site: Client, desk: Desk) -> None:
        """DSP-02: the refusal stands in the form, and nothing is opened."""
        invoice = desk.invoice()
        assert site.get(f"{LIST}add/?number={invoice.number}").url == f"{LIST}add/?invoice={invoice.pk}"
        assert "No invoice that you see has this number." in text_of(site.get(f"{LIST}add/?number=XX-1"))
        desk.open(invoice)
        before = everything()
        values = {"line": desk.line(invoice).pk, "category": "tax", "direction": "over", "severity": "low"}
        answer = site.post(f"{LIST}add/?invoice={invoice.pk}", {**values, "amount": "1.00", "reason": "Tax"})
        assert "is disputed already" in text_of(answer)
        assert everything() == before
        assert BillingDispute.objects.count() == 1


def test_the_overview_leads_to_the_lists(site: Client, desk: Desk, travel: Any) -> None:
    """Open, overdue and disputed amounts per currency, each linked to what proves it."""
    desk.open(amount="59.50")
    desk.open(amount="10.00")
    travel.move_to(berlin("2026-03-03 09:01"))
    cards = {card.title: card for card in site.get("/admin/").context["cards"]}
    assert (cards["Open disputes"].value, cards["Open disputes"].url) == ("2", f"{LIST}?standing=open")
    assert (cards["Overdue disputes"].value, cards["Overdue disputes"].tone) == ("2", "bad")
    (line,) = cards["Disputed"].lines
    assert "69.50" in line
    assert len(numbers(site, cards["Overdue disputes"].url.partition("?")[2])) == 2
    assert "2 disputes have no owner" in text_of(site.get("/admin/"))
