"""Invoice lines that name no department are allocated by people (ALC-01 to ALC-08, BUD-07, BUD-09, BUD-10)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from budgets.models import Commitment
from budgets.services.changes import revision_approve, revision_propose
from budgets.services.commitments import budget_commit
from entities.models import Role
from invoicing.models import InvoiceLine, InvoiceLineShare, ShareStatus
from invoicing.services.line_shares import line_left, share_retry, share_undo
from tests.budgets.builders import figures, money, refused
from tests.entities import factories
from tests.invoicing.shares.conftest import Desk

D = Decimal


def amounts(shares: list[InvoiceLineShare]) -> list[tuple[str, Decimal, str]]:
    return [(share.department.code, share.amount, share.status) for share in shares]


def test_alc_02_the_largest_remainder_decides_and_each_budget_is_charged(desk: Desk) -> None:
    sales, research = desk.budget("1000"), desk.budget("1000", desk.group.research, category="Cloud")
    line = desk.line("182.25")
    shares = desk.allocate(
        line, desk.part(desk.group.sales, percent=98), desk.part(desk.group.research, percent=2)
    )
    assert amounts(shares) == [("100", D("178.61"), "charged"), ("200", D("3.64"), "charged")]
    assert (figures(sales)[2], figures(research)[2], line_left(line)) == (D("178.61"), D("3.64"), 0)
    stored = InvoiceLineShare.objects.get(pk=shares[0].pk)
    assert (stored.weight, stored.posting_date) == (98, date(2024, 9, 30))
    assert stored.entry is not None
    assert (stored.entry.spent_delta, stored.entry.reference) == (
        D("178.61"),
        stored.invoice_line.invoice.number,
    )


def test_alc_03_a_credit_line_gives_back(desk: Desk) -> None:
    budget = desk.budget("1000")
    desk.group.use("200", desk.group.japan)
    desk.group.use("-182.25", desk.group.germany, charge_category="Credit")
    line = desk.issued().lines.get(amount__lt=0)
    shares = desk.allocate(
        line, desk.part(desk.group.sales, percent=98), desk.part(desk.group.research, percent=2)
    )
    assert amounts(shares) == [("100", D("-178.61"), "charged"), ("200", D("-3.64"), "refused")]
    assert figures(budget) == money("1000", "0", "-178.61", "1178.61")


def test_alc_06_bud_07_what_budgets_refuse_changes_nothing_and_names_every_one(desk: Desk) -> None:
    sales, research = desk.budget("50"), desk.budget("30", desk.group.research)
    line = desk.line("100.01")
    with refused("insufficient_budget") as refusal:
        desk.halves(line)
    found = [(each["budget_id"], each["asked"], each["short"]) for each in refusal.extra["shortfalls"]]
    assert found == [(sales.pk, "50.01", "0.01"), (research.pk, "50.00", "20.00")]
    assert not InvoiceLineShare.objects.exists()


def test_a_part_of_a_line_is_allocated_and_never_more_than_is_left(desk: Desk) -> None:
    line, group = desk.line("100.00"), desk.group
    desk.budget("1000")
    desk.allocate(line, desk.part(group.sales, percent=100), amount=D("60.00"))
    with refused("exceeds_line") as refusal:
        desk.allocate(line, desk.part(group.research, percent=100), amount=D("40.01"))
    assert refusal.extra == {"left": "40.00", "currency": "USD"}
    with refused("department_has_share"):
        desk.halves(line)
    with refused("amounts_not_total"):
        desk.allocate(line, desk.part(group.research, amount="39.99"))
    desk.allocate(line, desk.part(group.research, amount="40.00"))
    with refused("exceeds_line"):
        desk.allocate(line, desk.part(group.tokyo, percent=100))


@pytest.mark.parametrize(
    ("splits", "code"),
    [
        ([], "splits_required"),
        ([("sales", {"percent": 60}), ("research", {"percent": 41})], "percent_not_100"),
        ([("sales", {"percent": 50}), ("sales", {"percent": 50})], "split_duplicate"),
        ([("sales", {"ratio": 0})], "ratio_not_positive"),
        ([("sales", {"percent": 100, "ratio": 1})], "splits_mixed"),
    ],
)
def test_alc_01_shares_that_do_not_sum(desk: Desk, splits: list[tuple[str, Any]], code: str) -> None:
    line = desk.line("100.00")
    with refused(code):
        desk.allocate(line, *(desk.part(getattr(desk.group, name), **fields) for name, fields in splits))
    assert not InvoiceLineShare.objects.exists()


def test_alc_05_only_departments_of_the_group_that_take_cost(desk: Desk) -> None:
    line = desk.line("100.00")
    foreign = factories.department(factories.entity("Fabrikam"), "900", "Elsewhere")
    with refused("permission_denied"):
        desk.allocate(line, desk.part(foreign, percent=100))
    type(desk.group.sales).objects.filter(pk=desk.group.sales.pk).update(closed_on=date(2024, 9, 30))
    with refused("department_closed"):
        desk.allocate(line, desk.part(desk.group.sales, percent=100))


def test_only_who_may_allocate(desk: Desk) -> None:
    line = desk.line("100.00")
    part = desk.part(desk.group.sales, percent=100)
    with refused("not_found"):
        desk.allocate(line, part, actor=factories.member(factories.entity("Fabrikam"), Role.ADMINISTRATOR))
    with refused("permission_denied"):
        desk.allocate(line, part, actor=desk.group.person(Role.AUDITOR))
    # The cost is Germany's: its own finance allocates it, though the group pays.
    own = desk.group.person(Role.FINANCE_STAFF, desk.group.germany)
    assert amounts(desk.allocate(line, part, actor=own)) == [("100", D("100"), "refused")]


def test_only_posted_lines_without_a_department(desk: Desk) -> None:
    desk.group.use("5", department=desk.group.sales)
    line = desk.issued().lines.get()
    with refused("line_has_department"):
        desk.allocate(line, desk.part(desk.group.research, percent=100))


def test_bud_09_bud_10_a_commitment_is_consumed_and_the_rest_freed(desk: Desk) -> None:
    budget = desk.budget("300")
    order = budget_commit(
        actor=desk.group.manager, budget_id=budget.pk, amount="200", description="Cloud", currency="USD"
    )
    line = desk.line("182.25")
    foreign = desk.part(desk.group.research, percent=100, commitment_id=order.pk)
    with refused("not_found"):
        desk.allocate(line, foreign)
    desk.allocate(line, desk.part(desk.group.sales, percent=100, commitment_id=order.pk), amount=D("82.25"))
    assert figures(budget) == money("300", "117.75", "82.25", "100")
    share = InvoiceLineShare.objects.get()
    share_undo(actor=desk.group.manager, share_id=share.pk, reason="Another order")
    # The order is open: what it had promised is promised again (BUD-16).
    assert figures(budget) == money("300", "200", "0", "100")
    desk.allocate(line, desk.part(desk.group.sales, percent=100, commitment_id=order.pk, final=True))
    assert figures(budget) == money("300", "0", "182.25", "117.75")
    assert Commitment.objects.get().status == "consumed"


def test_bud_19_without_a_budget_it_is_listed_and_tried_again(desk: Desk, settings: Any) -> None:
    research = desk.budget("10", desk.group.research)
    line = desk.line("182.25")
    listed, charged = desk.allocate(
        line, desk.part(desk.group.sales, amount="178.61"), desk.part(desk.group.research, amount="3.64")
    )
    assert (listed.status, listed.refusal_code, charged.status) == ("refused", "no_budget", "charged")
    with refused("no_budget"):
        share_retry(actor=desk.group.manager, share_id=listed.pk)
    budget = desk.budget("100")
    with refused("insufficient_budget"):
        share_retry(actor=desk.group.manager, share_id=listed.pk)
    more = revision_propose(
        actor=desk.group.person(Role.FINANCE_STAFF), budget_id=budget.pk, delta="78.61", reason="Cloud"
    )
    revision_approve(actor=desk.group.manager, revision_id=more.pk)
    assert share_retry(actor=desk.group.manager, share_id=listed.pk).status == "charged"
    assert (figures(budget)[3], figures(research)[2]) == (0, D("3.64"))
    with refused("share_not_refused"):
        share_retry(actor=desk.group.manager, share_id=listed.pk)
    settings.BUDGET_UNBUDGETED = "refuse"
    share_undo(actor=desk.group.manager, share_id=charged.pk, reason="Wrong")
    with refused("no_budget"):
        desk.allocate(line, desk.part(desk.group.tokyo, percent=100))


def test_a_share_that_is_taken_back_leaves_budget_and_line_as_they_were(desk: Desk) -> None:
    budget = desk.budget("1000")
    line = desk.line("100.00")
    (share,) = desk.allocate(line, desk.part(desk.group.sales, percent=100))
    with refused("reason_required"):
        share_undo(actor=desk.group.manager, share_id=share.pk, reason=" ")
    undone = share_undo(actor=desk.group.manager, share_id=share.pk, reason="Wrong department")
    assert (undone.status, undone.undo_reason, undone.taken_back_by) == (
        "taken_back",
        "Wrong department",
        desk.group.manager,
    )
    assert (figures(budget)[2], line_left(line)) == (0, D("100"))
    with refused("share_taken_back"):
        share_undo(actor=desk.group.manager, share_id=share.pk, reason="Again")
    assert desk.allocate(line, desk.part(desk.group.sales, percent=100))[0].status == "charged"


def test_alc_08_a_zero_part_stays_and_books_nothing(desk: Desk) -> None:
    desk.budget("1000")
    shares = desk.allocate(
        desk.line("0.01"), desk.part(desk.group.sales, percent=95), desk.part(desk.group.research, percent=5)
    )
    assert amounts(shares) == [("100", D("0.01"), "charged"), ("200", D("0"), "not_booked")]


class TestGuards:
    """The database holds it too."""

    @pytest.mark.parametrize(
        ("amount", "constraint"),
        [("100.01", "invoice_line_shares_within_line"), ("-1", "invoice_line_shares_within_line")],
    )
    def test_shares_never_exceed_their_line(self, desk: Desk, amount: str, constraint: str) -> None:
        line = desk.line("100.00")
        with pytest.raises(IntegrityError, match="exceed it"), transaction.atomic():
            self.insert(desk, line, amount)

    def test_a_share_is_never_changed_or_deleted(self, desk: Desk) -> None:
        share = self.insert(desk, desk.line("100.00"), "60.00")
        for change in ({"amount": D("50")}, {"department": desk.group.research}):
            with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
                InvoiceLineShare.objects.filter(pk=share.pk).update(**change)
        with pytest.raises(IntegrityError, match="never deleted"), transaction.atomic():
            share.delete()
        with pytest.raises(IntegrityError, match="booked_as_its_status"), transaction.atomic():
            InvoiceLineShare.objects.filter(pk=share.pk).update(status=ShareStatus.CHARGED)

    @staticmethod
    def insert(desk: Desk, line: InvoiceLine, amount: str) -> InvoiceLineShare:
        return InvoiceLineShare.objects.create(
            invoice_line=line,
            department=desk.group.sales,
            amount=D(amount),
            posting_date=date(2024, 9, 30),
            created_by=desk.group.manager,
        )
