"""Tax by product: which rule decides on a line, and what comes of it on documents (INV-05)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from core.access import system_actor
from core.errors import Conflict, Forbidden, Invalid, Stale
from core.money import exact_sum
from entities.models import Entity, Role, TaxRounding
from entities.services.allocation import cost_allocate
from entities.services.entity import entity_update
from invoicing.documents.content import invoice_content
from invoicing.models import Invoice, LineKind, TaxRule
from invoicing.services.consolidation import consolidated_invoice_draft, consolidation_preview
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.debit_notes import DebitLine, debit_note_issue
from invoicing.services.invoice import invoice_issue
from invoicing.services.tax_rules import tax_rule_create, tax_rule_delete, tax_rule_update
from tests.contracts.builders import place
from tests.invoicing.invoices.builders import SEPTEMBER, Group
from tests.invoicing.invoices.test_contract_fees import PLATFORM, SUPPORT, at, period

D = Decimal
PERIOD: dict[str, Any] = {"period_start": SEPTEMBER[0], "period_end": SEPTEMBER[1]}
BOOKS: dict[str, Any] = {"service": "Books", "tax_category": "S", "tax_rate": D(7)}
COURSES: dict[str, Any] = {"service": "Courses", "tax_category": "E"}


def change(entity: Entity, **changes: Any) -> None:
    entity_update(actor=system_actor(), entity=Entity.objects.get(pk=entity.pk), **changes)
    entity.refresh_from_db()


def rule(group: Group, **values: Any) -> TaxRule:
    given = {"name": "Rule", "valid_from": date(2024, 1, 1), **values}
    return tax_rule_create(actor=system_actor(), issuer=group.issuer, **given)


def draft(group: Group, payer: Entity | None = None) -> Invoice:
    fresh = Entity.objects.get(pk=(payer or group.root).pk)
    return consolidated_invoice_draft(actor=group.manager, payer=fresh, **PERIOD).invoice


def taxed(invoice: Any) -> list[tuple[Any, ...]]:
    """Service, amount, category, rate and tax of each line, by service."""
    lines = invoice.lines if isinstance(invoice.lines, tuple) else invoice.lines.all()
    return sorted(
        (line.service, line.amount, line.tax_category, line.tax_rate, line.tax_amount) for line in lines
    )


@pytest.fixture
def group(group: Group) -> Group:
    """The payer is taxed at 19 %; books at 7 %, courses not."""
    change(group.root, tax_treatment="S", tax_rate=D(19))
    rule(group, **BOOKS)
    rule(group, **COURSES)
    return group


def use_three_rates(group: Group) -> None:
    """0.0627 + 0.0627 at 19 %, 0.0231 + 0.0231 at 7 %."""
    for department in (group.sales, group.research):
        group.use("0.33", department=department, service_name="Compute")
        group.use("0.33", department=department, service_name="Books")
    group.use("100", department=group.sales, service_name="Courses")


class TestMixedRates:
    @pytest.mark.parametrize(
        ("rounding", "compute", "books"),
        [
            # 0.1254 → 0.13 and 0.0462 → 0.05, each shared by the largest remainder.
            (TaxRounding.DOCUMENT, ["0.06", "0.07"], ["0.02", "0.03"]),
            (TaxRounding.LINE, ["0.06", "0.06"], ["0.02", "0.02"]),
        ],
    )
    def test_inv_05_each_rate_is_rounded_by_itself(
        self, group: Group, rounding: str, compute: list[str], books: list[str]
    ) -> None:
        change(group.issuer, tax_rounding=rounding)
        use_three_rates(group)
        preview = consolidation_preview(actor=group.manager, payer=group.root, **PERIOD)
        invoice = draft(group)
        assert taxed(invoice) == [
            *(("Books", D("0.33"), "S", D(7), D(tax)) for tax in books),
            *(("Compute", D("0.33"), "S", D(19), D(tax)) for tax in compute),
            ("Courses", D(100), "E", D(0), D(0)),
        ]
        whole = exact_sum([D(tax) for tax in (*compute, *books)])
        assert (invoice.subtotal, invoice.tax_total) == (D("101.32"), whole)
        assert invoice.total == D("101.32") + whole
        assert taxed(preview) == taxed(invoice)
        assert (preview.tax_total, preview.total) == (invoice.tax_total, invoice.total)
        issued = invoice_issue(actor=group.manager, invoice=invoice)
        assert taxed(issued) == taxed(preview)

    def test_inv_05_the_page_shows_every_rate(self, group: Group) -> None:
        use_three_rates(group)
        rows = [(row.label, row.rate) for row in invoice_content(draft(group)).taxes]
        assert rows == [("Exempt from tax", "0%"), ("Standard rate", "7%"), ("Standard rate", "19%")]

    def test_inv_05_products_with_another_tax_never_share_a_line(self, group: Group) -> None:
        """All that a rule can tell apart tells lines apart."""
        rule(group, provider="Azure", tax_category="S", tax_rate=D(10))
        rule(group, charge_category="Purchase", tax_category="Z")
        for fields in ({}, {"provider_name": "Azure"}, {"charge_category": "Purchase"}):
            group.use("1", service_name="Same", **fields)
            group.use("2", service_name="Same", **fields)
        assert [line[1:4] for line in taxed(draft(group))] == [
            (D(3), "S", D(10)),
            (D(3), "S", D(19)),
            (D(3), "Z", D(0)),
        ]

    def test_inv_05_a_draft_follows_when_it_is_refreshed_an_issued_one_never(self, group: Group) -> None:
        group.use("100", service_name="Books")
        first = draft(group)
        books = TaxRule.objects.get(service="Books")
        tax_rule_update(actor=system_actor(), rule=books, tax_rate=D(5))
        assert draft(group).pk == first.pk
        invoice = invoice_issue(actor=group.manager, invoice=Invoice.objects.get(pk=first.pk))
        assert (invoice.tax_total, invoice.total) == (D(5), D(105))
        tax_rule_delete(actor=system_actor(), rule=books)
        assert taxed(invoice) == [("Books", D(100), "S", D(5), D(5))]

    def test_inv_08_a_credit_keeps_the_rate_and_a_debit_note_has_the_payers(self, group: Group) -> None:
        group.use("100", service_name="Books")
        invoice = invoice_issue(actor=group.manager, invoice=draft(group))
        TaxRule.objects.all().delete()
        credit = credit_note_issue(actor=system_actor(), invoice=invoice, reason="Late", amount="50")
        assert [(line.tax_category, line.tax_rate, line.tax_amount) for line in credit.lines.all()] == [
            ("S", D(7), D("-3.50") if credit.total < 0 else D("3.50"))
        ]
        rule(group, kind=LineKind.USAGE, tax_category="E")
        debit = debit_note_issue(
            actor=system_actor(), invoice=invoice, reason="More", lines=[DebitLine("Books", D(100))]
        )
        assert (debit.tax_total, debit.total) == (D(19), D(119))


class TestWhichRuleDecides:
    def test_inv_05_the_most_particular_one(self, group: Group) -> None:
        """Most criteria first; of as many, service before provider before category before kind."""
        rates = {
            1: {"kind": LineKind.USAGE},
            2: {"charge_category": "Usage"},
            3: {"provider": "AWS"},
            4: {"service": "Compute"},
            5: {"kind": LineKind.USAGE, "charge_category": "Usage"},
            6: {"provider": "AWS", "kind": LineKind.USAGE},
            8: {"service": "Compute", "kind": LineKind.USAGE},
            9: {"service": "Compute", "provider": "AWS", "charge_category": "Usage"},
        }
        group.use("100", service_name="Compute")
        for percent, criteria in rates.items():
            rule(group, tax_category="S", tax_rate=D(percent), **criteria)
            assert draft(group).lines.get().tax_rate == D(percent)
        # The other way round the same ones decide: what was made last has no weight.
        for percent in sorted(rates, reverse=True):
            assert draft(group).lines.get().tax_rate == D(percent)
            TaxRule.objects.filter(tax_rate=D(percent)).delete()

    def test_inv_05_upper_case_does_not_matter_parts_of_a_name_do(self, group: Group) -> None:
        group.use("100", service_name="BOOKS")
        group.use("100", service_name="Books, used")
        assert [line[:4] for line in taxed(draft(group))] == [
            ("BOOKS", D(100), "S", D(7)),
            ("Books, used", D(100), "S", D(19)),
        ]

    def test_inv_05_on_the_first_day_of_the_lines_period(self, group: Group) -> None:
        """Half-open: a rule ends before its last day, and late charges have the rule of their own month."""
        TaxRule.objects.all().delete()
        months = [(date(2024, 8, 1), 5), (date(2024, 9, 1), 7), (date(2024, 9, 2), 9)]
        ends = [date(2024, 9, 1), date(2024, 9, 2), None]
        for (start, percent), end in zip(months, ends, strict=True):
            rule(
                group, service="Books", tax_category="S", tax_rate=D(percent), valid_from=start, valid_to=end
            )
        group.use("10", service_name="Books", day=date(2024, 8, 15))
        august = {"period_start": date(2024, 8, 1), "period_end": date(2024, 9, 1)}
        first = consolidated_invoice_draft(actor=group.manager, payer=group.root, **august).invoice
        invoice_issue(actor=group.manager, invoice=first)
        group.use("100", service_name="Books", day=date(2024, 8, 20))
        group.use("200", service_name="Books", day=date(2024, 9, 30))
        assert [line[1:4] for line in taxed(first)] == [(D(10), "S", D(5))]
        assert [line[1:4] for line in taxed(draft(group))] == [(D(100), "S", D(5)), (D(200), "S", D(7))]

    def test_inv_05_of_allocations(self, group: Group) -> None:
        cost_allocate(
            actor=group.manager, department=group.sales, amount=D(40), currency="USD", description="Desk",
            billable=True, **PERIOD,
        )  # fmt: skip
        rule(group, kind=LineKind.ALLOCATION, tax_category="AE")
        line = draft(group).lines.get()
        assert (line.kind, line.tax_category, line.tax_amount) == ("allocation", "AE", D(0))

    @pytest.mark.django_db
    def test_inv_05_of_contract_lines(self) -> None:
        with at("2026-01-01"):
            here = place()
            here.active(prices=[PLATFORM, SUPPORT])
            change(here.root, tax_treatment="S", tax_rate=D(19))
            issuer = Entity.objects.get(is_default_issuer=True)
            tax_rule_create(
                actor=system_actor(), issuer=issuer, name="Support", contract_line="Support",
                tax_category="S", tax_rate=D(7), valid_from=date(2026, 1, 1),
            )  # fmt: skip
        with at("2026-01-15"):
            payer = Entity.objects.get(pk=here.root.pk)
            made = consolidated_invoice_draft(actor=here.finance, payer=payer, **period("2026-01")).invoice
        assert [(line.contract_line, line.tax_rate, line.tax_amount) for line in made.lines.all()] == [
            ("platform", D(19), D(190)),
            ("support", D(7), D(63)),
        ]

    @pytest.mark.parametrize("treatment", ["E", "AE", "O", "Z"])
    def test_inv_05_a_payer_without_tax_stays_so_whatever_the_product(
        self, group: Group, treatment: str
    ) -> None:
        change(group.root, tax_treatment=treatment)
        group.use("100", service_name="Books")
        group.use("100", service_name="Courses")
        invoice = draft(group)
        assert [line[2:] for line in taxed(invoice)] == [(treatment, 0, 0)] * 2
        assert (invoice.tax_total, invoice.total) == (0, 200)

    def test_inv_05_rules_of_another_issuer_do_not_count(self, group: Group) -> None:
        change(group.germany, is_issuer=True)
        TaxRule.objects.update(issuer=group.germany)
        group.use("100", service_name="Books")
        assert draft(group).lines.get().tax_rate == D(19)


class TestKeepingRules:
    def refused(self, group: Group, **values: Any) -> tuple[str, list[str]]:
        before = list(TaxRule.objects.values())
        with pytest.raises((Invalid, Conflict)) as caught:
            rule(group, **values)
        assert list(TaxRule.objects.values()) == before
        return caught.value.code, [problem.pointer for problem in caught.value.errors]

    def test_inv_05_two_for_the_same_on_one_day_are_refused(self, group: Group) -> None:
        """Also by the database; one that follows the other day by day is not."""
        assert self.refused(group, **{**BOOKS, "service": " books ", "tax_rate": D(5)}) == (
            "tax_rules_overlap", [],
        )  # fmt: skip
        books = TaxRule.objects.get(service="Books")
        with pytest.raises(IntegrityError, match="tax_rule_no_overlap"), transaction.atomic():
            TaxRule.objects.create(issuer=group.issuer, name="Again", valid_from=date(2030, 1, 1), **BOOKS)
        tax_rule_update(actor=system_actor(), rule=books, valid_to=date(2025, 1, 1))
        rule(group, **BOOKS, valid_from=date(2025, 1, 1))
        rule(group, **BOOKS, provider="AWS")
        assert TaxRule.objects.filter(service="Books").count() == 3

    @pytest.mark.parametrize(
        ("values", "refusal"),
        [
            ({"tax_category": "E"}, ("criterion_required", ["/kind"])),
            ({"service": " ", "tax_category": "E"}, ("criterion_required", ["/kind"])),
            ({"service": "A", "tax_category": "S"}, ("rate_required", ["/tax_rate"])),
            ({"service": "A", "tax_category": "E", "tax_rate": D(7)}, ("rate_not_allowed", ["/tax_rate"])),
            ({**BOOKS, "service": "A", "valid_to": date(2024, 1, 1)}, ("dates_not_ordered", ["/valid_to"])),
        ],
    )
    def test_inv_05_what_says_nothing_clear_is_refused(
        self, group: Group, values: dict[str, Any], refusal: tuple[str, list[str]]
    ) -> None:
        assert self.refused(group, **values) == refusal

    @pytest.mark.parametrize("values", [{"tax_category": "O"}, {"tax_category": "X"}, {"kind": "charge"}])
    def test_inv_05_what_no_product_can_be_is_refused(self, group: Group, values: dict[str, Any]) -> None:
        """A document that is out of scope may hold nothing else (BR-O-11)."""
        _, pointers = self.refused(group, **{**COURSES, "service": "A", **values})
        assert pointers == [f"/{name}" for name in values]

    def test_inv_05_only_an_issuer_has_rules(self, group: Group) -> None:
        with pytest.raises(Invalid) as caught:
            tax_rule_create(
                actor=system_actor(), issuer=group.germany, name="R", valid_from=date(2024, 1, 1), **BOOKS
            )
        assert caught.value.code == "not_an_issuer"

    @pytest.mark.parametrize(
        "broken",
        [
            {"service": ""},
            {"tax_rate": 0},
            {"tax_category": "E"},
            {"tax_category": "O", "tax_rate": 0},
            {"tax_rate": 101},
            {"valid_to": date(2024, 1, 1)},
        ],
    )
    def test_inv_05_the_database_keeps_it(self, group: Group, broken: dict[str, Any]) -> None:
        with pytest.raises(IntegrityError, match="tax_rule_"), transaction.atomic():
            TaxRule.objects.filter(service="Books").update(**broken)

    def test_inv_05_managers_keep_the_rules_others_read_them(self, group: Group) -> None:
        books = TaxRule.objects.get(service="Books")
        staff, auditor = group.person(Role.FINANCE_STAFF), group.person(Role.AUDITOR)
        for actor in (staff, auditor):
            assert books in TaxRule.objects.all().visible_to(actor)
            with pytest.raises(Forbidden):
                tax_rule_create(
                    actor=actor, issuer=group.issuer, name="R", service="A", tax_category="E",
                    valid_from=date(2024, 1, 1),
                )  # fmt: skip
            with pytest.raises(Forbidden):
                tax_rule_update(actor=actor, rule=books, tax_rate=D(1))
            with pytest.raises(Forbidden):
                tax_rule_delete(actor=actor, rule=books)
        outsider = group.person(Role.FINANCE_MANAGER, group.japan)
        assert not TaxRule.objects.all().visible_to(outsider).exists()
        with pytest.raises(Forbidden):
            tax_rule_update(actor=outsider, rule=books, tax_rate=D(1))
        books.refresh_from_db()
        assert (TaxRule.objects.count(), books.tax_rate, books.version) == (2, D(7), 1)
        tax_rule_update(actor=group.manager, rule=books, tax_rate=D(6), reason="New law")
        with pytest.raises(Stale):
            tax_rule_delete(actor=group.manager, rule=books, expected_version=1)
        tax_rule_delete(actor=group.manager, rule=books, expected_version=2)
        assert [(row.history_type, row.tax_rate) for row in TaxRule.history.filter(service="Books")] == [
            ("-", D(6)),
            ("~", D(6)),
            ("+", D(7)),
        ]
