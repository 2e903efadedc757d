"""Reminders: levels, what is left out, once per level, mail (DSP-03); credit limits (INV-07)."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.urls import reverse

from core import clock
from core.access import system_actor
from core.errors import Conflict, Invalid
from core.outbox import dispatch_pending
from entities.models import Entity, LinkKind
from entities.services.entity import entity_link_set
from invoicing.models import CollectionHold, DunnedDocument, DunningNotice, Invoice
from invoicing.selectors.credit import credit_position
from invoicing.services.consolidation import consolidated_invoice_draft, consolidation_preview
from invoicing.services.dunning import dunning_level_save, dunning_plan, dunning_run
from invoicing.services.holds import hold_defer, hold_place, hold_release
from invoicing.services.invoice import invoice_issue
from invoicing.services.payments import Application, payment_record
from tests.invoicing.invoices.builders import Group
from tests.invoicing.invoices.test_admin import pages
from tests.invoicing.invoices.test_api import BASE, client
from tests.invoicing.receivables.conftest import Bill


@pytest.fixture
def levels(group: Group) -> Group:
    """Reminded 7 and 21 days after the due date; the payer has a billing address."""
    for level, days in ((1, 7), (2, 21)):
        dunning_level_save(actor=group.manager, issuer=group.issuer, level=level, days_overdue=days)
    Entity.objects.filter(pk=group.root.pk).update(billing_email="pay@example.com")
    return group


def run(on: date) -> list[DunningNotice]:
    return dunning_run(actor=system_actor(), on=on)


def dispute(group: Group, invoice: Invoice, amount: str, number: int = 1) -> CollectionHold:
    return hold_place(
        actor=group.manager, invoice=invoice, amount=amount, reference=f"D-{number}", reason="Billed twice"
    )


def defer(group: Group, hold: CollectionHold, amount: str, due_date: date) -> None:
    hold_defer(
        actor=group.manager, hold=hold, amount=amount, due_date=due_date, reason="Half of it was right"
    )


def sent(notices: list[DunningNotice]) -> list[tuple[int, list[tuple[int | None, date, Decimal]]]]:
    """Per notice its level, and per document the hold, the due date and what is demanded."""
    return [
        (
            notice.level,
            [(row.hold_id, row.due_date, row.demanded_amount) for row in notice.documents.order_by("pk")],
        )
        for notice in notices
    ]


class TestRun:
    def test_dsp_03_what_is_disputed_paid_or_void_is_left_out(self, levels: Group, bill: Bill) -> None:
        disputed, paid = bill("100", date(2024, 10, 1)), bill("50", date(2024, 10, 2))
        whole = bill("20", date(2024, 10, 3))
        dispute(levels, disputed, "30")
        dispute(levels, whole, "20")
        payment_record(
            actor=levels.manager, issuer=levels.issuer, entity=levels.root, amount="50", currency="USD",
            received_on=date(2024, 10, 9), applications=[Application(paid.pk)],
        )  # fmt: skip
        (notice,) = run(date(2024, 11, 12))
        assert (notice.level, notice.amount, notice.currency) == (1, Decimal(70), "USD")
        (document,) = notice.documents.all()
        assert (document.invoice_id, document.open_amount, document.disputed_amount) == (
            disputed.pk, Decimal(100), Decimal(30),
        )  # fmt: skip
        assert "70.00 USD" in notice.subject

    def test_dsp_14_what_is_deferred_is_reminded_of_from_its_day_by_levels_of_its_own(
        self, levels: Group, bill: Bill
    ) -> None:
        invoice = bill("100", date(2024, 10, 1))  # due on 31 October
        hold, other = dispute(levels, invoice, "60"), dispute(levels, invoice, "15", 2)
        defer(levels, hold, "40", date(2024, 12, 1))
        # 100.00, of which 15.00 are disputed and 40.00 deferred; the other 20.00 of the hold were released.
        (notice,) = run(date(2024, 11, 21))
        assert sent([notice]) == [(2, [(None, date(2024, 10, 31), Decimal(45))])]
        assert [row.disputed_amount for row in notice.documents.all()] == [55]
        assert run(date(2024, 12, 1)) == [] and run(date(2024, 12, 7)) == []
        assert sent(run(date(2024, 12, 8))) == [(1, [(hold.pk, date(2024, 12, 1), Decimal(40))])]
        assert run(date(2024, 12, 8)) == []
        # Payments count for what was never held back first, then for what was deferred.
        payment_record(
            actor=levels.manager, issuer=levels.issuer, entity=levels.root, amount="55", currency="USD",
            received_on=date(2024, 12, 9), applications=[Application(invoice.pk)],
        )  # fmt: skip
        assert sent(run(date(2024, 12, 22))) == [(2, [(hold.pk, date(2024, 12, 1), Decimal(30))])]
        hold_release(actor=levels.manager, hold=other, reason="Withdrawn")
        assert run(date(2025, 3, 1)) == []  # What is not held back any more was reminded of at every level.

    def test_dsp_14_two_parts_of_a_document_in_one_notice(self, levels: Group, bill: Bill) -> None:
        invoice = bill("100", date(2024, 10, 1))
        hold = dispute(levels, invoice, "60")
        defer(levels, hold, "60", date(2024, 11, 1))
        (notice,) = run(date(2024, 11, 10))
        assert sent([notice]) == [
            (1, [(None, date(2024, 10, 31), Decimal(40)), (hold.pk, date(2024, 11, 1), Decimal(60))])
        ]
        assert notice.amount == 100

    def test_a_level_comes_on_its_day_and_once(self, levels: Group, bill: Bill) -> None:
        bill("100", date(2024, 10, 1))  # due on 31 October
        assert run(date(2024, 11, 6)) == []
        assert [notice.level for notice in run(date(2024, 11, 7))] == [1]
        assert run(date(2024, 11, 7)) == [] and run(date(2024, 11, 20)) == []
        assert [notice.level for notice in run(date(2024, 11, 21))] == [2]
        assert run(date(2025, 3, 1)) == []

    def test_a_missed_run_sends_the_highest_level_only(self, levels: Group, bill: Bill) -> None:
        bill("100", date(2024, 10, 1))
        assert [notice.level for notice in run(date(2025, 1, 1))] == [2]
        assert run(date(2025, 1, 2)) == []

    def test_the_database_keeps_it_once_and_as_it_was(self, levels: Group, bill: Bill) -> None:
        invoice = bill("100", date(2024, 10, 1))
        (notice,) = run(date(2024, 11, 7))
        row = {"due_date": invoice.due_date, "open_amount": 100, "demanded_amount": 100}
        with pytest.raises(IntegrityError, match="dunned_once_per_level"), transaction.atomic():
            DunnedDocument.objects.create(notice=notice, invoice=invoice, level=1, **row)
        row |= {"hold": dispute(levels, invoice, "5")}
        DunnedDocument.objects.create(notice=notice, invoice=invoice, level=1, **row)
        with pytest.raises(IntegrityError, match="deferred_dunned_once_per_level"), transaction.atomic():
            DunnedDocument.objects.create(notice=notice, invoice=invoice, level=1, **row)
        with pytest.raises(IntegrityError, match="dunned_leaves_out_disputed"), transaction.atomic():
            DunnedDocument.objects.create(notice=notice, invoice=invoice, level=5, disputed_amount=1, **row)

    def test_the_mail_leaves_once_in_the_payers_language(self, levels: Group, bill: Bill) -> None:
        Entity.objects.filter(pk=levels.root.pk).update(language="de")
        invoice = bill("1234.5", date(2024, 10, 1))
        run(date(2024, 11, 7))
        dispatch_pending()
        notice = DunningNotice.objects.get()
        assert notice.sent_at is not None and notice.language == "de"
        assert notice.subject == "Zahlungserinnerung 1: 1.234,50 USD überfällig"
        assert f"{invoice.number}, fällig am" in notice.body
        dispatch_pending()
        assert [sent.subject for sent in mail.outbox if sent.to == ["pay@example.com"]] == [notice.subject]

    def test_levels_are_ordered_and_their_texts_checked(self, levels: Group) -> None:
        for change, code in (
            ({"level": 3, "days_overdue": 10}, "levels_not_ordered"),
            ({"level": 3, "days_overdue": 40, "texts": {"en": {"body": "{secret}"}}}, "invalid_text"),
        ):
            with pytest.raises(Invalid) as refusal:
                dunning_level_save(actor=levels.manager, issuer=levels.issuer, **change)
            assert refusal.value.code == code

    def test_doors(self, levels: Group, bill: Bill, capsys: pytest.CaptureFixture[str]) -> None:
        bill("100", date(2024, 10, 1))
        api = client(levels.manager)
        (planned,) = api.get(f"{BASE}/dunning-notices/preview").json()["notices"]
        assert (planned["level"], planned["amount"]) == (2, "100.00")
        call_command("run_dunning", "--dry-run")
        assert "1 reminder would be sent." in capsys.readouterr().out
        assert DunningNotice.objects.count() == 0
        site = pages(levels.manager)
        assert site.get(reverse("admin:invoicing_dunningnotice_run")).status_code == 200
        (made,) = api.post(f"{BASE}/dunning-notices/run").json()["notices"]
        assert made["documents"][0]["demanded_amount"] == "100.00"
        assert dunning_plan(actor=levels.manager) == []
        for page in ("dunningnotice_changelist", "dunninglevel_changelist", "dunninglevel_add"):
            assert site.get(reverse(f"admin:invoicing_{page}")).status_code == 200
        notice = reverse("admin:invoicing_dunningnotice_change", args=[made["id"]])
        assert site.get(notice).status_code == 200


class TestCreditLimit:
    def limit(self, group: Group, amount: str, policy: str = "warn") -> None:
        Entity.objects.filter(pk=group.root.pk).update(
            credit_limit=Decimal(amount), credit_limit_policy=policy
        )
        group.root.refresh_from_db()

    def test_inv_07_exposure_is_open_and_uninvoiced(self, group: Group, bill: Bill) -> None:
        bill("100", date(2024, 10, 1))
        group.use("40", day=clock.today())
        self.limit(group, "140")
        position = credit_position(group.root)
        assert (position.receivables, position.uninvoiced, position.commitments) == (
            Decimal(100), Decimal(40), Decimal(0),
        )  # fmt: skip
        assert (position.exceeded_by, position.available) == (Decimal(0), Decimal(0))
        self.limit(group, "139.99")
        assert credit_position(group.root).exceeded_by == Decimal("0.01")
        body = client(group.manager).get(f"{BASE}/entities/{group.root.pk}/credit").json()
        assert (body["exposure"], body["exceeded_by"], body["policy"]) == ("140.00", "0.01", "warn")

    def test_inv_07_usage_counts_with_the_mark_up_that_it_will_be_billed_with(self, group: Group) -> None:
        """INV-05: 100.005 of Germany with 7.125 %, the root's own 3 without; the draft comes to the same."""
        today = clock.today()
        Entity.objects.filter(pk=group.germany.pk).update(usage_markup_percent=Decimal("7.125"))
        group.use("100.005", department=group.sales, day=today)
        group.use("3", entity=group.root, day=today)
        position = credit_position(group.root)
        assert (position.uninvoiced, position.exposure) == (Decimal("110.13"), Decimal("110.13"))
        drafted = consolidated_invoice_draft(
            actor=group.manager, payer=group.root, period_start=today, period_end=today + timedelta(days=1)
        )
        assert drafted.invoice.total == Decimal("110.13")
        assert credit_position(group.root).exposure == Decimal("110.13")

    def test_inv_07_of_one_that_another_pays_for_what_it_owes_counts(self, group: Group, bill: Bill) -> None:
        bill("100", date(2024, 10, 1))
        entity_link_set(
            actor=system_actor(), entity=group.root, kind=LinkKind.PAYER, target=group.germany,
            valid_from=date(2024, 10, 1),
        )  # fmt: skip
        assert credit_position(group.root).exposure == Decimal(100)

    def test_inv_07_beyond_the_limit_is_flagged_or_refused(self, group: Group, bill: Bill) -> None:
        bill("100", date(2024, 10, 1))
        self.limit(group, "120")
        group.use("50", day=date(2024, 9, 28))
        scope = {
            "actor": group.manager, "payer": group.root, "period_start": date(2024, 9, 28),
            "period_end": date(2024, 9, 29),
        }  # fmt: skip
        draft = consolidated_invoice_draft(**scope).invoice
        codes = [warning.code for warning in consolidation_preview(**scope).warnings]
        assert "credit_limit_exceeded" in codes
        self.limit(group, "120", "refuse")
        with pytest.raises(Conflict) as refusal:
            invoice_issue(actor=group.manager, invoice=draft, issue_date=date(2024, 10, 5))
        assert (refusal.value.code, refusal.value.extra["exceeded_by"]) == ("credit_limit_exceeded", "30.00")
        self.limit(group, "150", "refuse")
        assert (
            invoice_issue(actor=group.manager, invoice=draft, issue_date=date(2024, 10, 5)).status == "issued"
        )
