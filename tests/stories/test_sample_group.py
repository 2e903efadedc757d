"""The sample group: complete, right to the last digit, loaded once however often, and careful with others' data."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
import time_machine
from django.apps import apps
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Count, F, Sum
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from core.models import ExchangeRate, User
from core.money import exact_sum, round_money
from core.sample_data.run import MAIL_DOMAIN, SampleRun
from core.sample_data.sign_ins import API_SIGN_INS, DEMO_PASSWORD, DEMO_SIGN_INS, PAGE_SIGN_INS
from core.sample_data.steps import choose_months, load_rates
from disputes.models import BillingDispute, DisputePolicy, DisputeResolution, DisputeRound
from disputes.sample_data.plan import HANDLED_BY
from disputes.services.rounds import clocks_differ
from entities.models import AllocationPosting, Department, Entity, EntityLink, Membership, Role
from entities.sample_data.organisation import DEPARTMENTS, ENTITIES, ISSUER, ROOT
from entities.sample_data.people import FINANCE_MANAGER, PEOPLE
from entities.sample_data.steps import load_people
from invoicing.models import (
    BilledItem,
    CollectionHold,
    DocumentType,
    Invoice,
    InvoiceLine,
    LineKind,
    RejectedRow,
    UsageImport,
    UsageRecord,
)
from invoicing.sample_data.catalogue import PROVIDERS
from invoicing.sample_data.focus import charges, write
from invoicing.selectors.settlements import settlement_differences
from tests.entities.factories import entity

TODAY = datetime(2026, 11, 22, 9, tzinfo=UTC)
"""The ECB's history that is shipped ends on 30 October 2026: October is the last month that it converts."""

OUR_APPS = ("core", "entities", "approvals", "invoicing", "disputes")


def load(*arguments: str) -> str:
    said = StringIO()
    with override_settings(DEMO_SIGN_INS=DEMO_SIGN_INS):
        call_command("initialize_enterprise_billing", *arguments, stdout=said)
    return said.getvalue()


def fingerprint() -> dict[str, tuple[int, str]]:
    """Rows and content of each of our tables."""
    found = {}
    with connection.cursor() as cursor:
        for label in OUR_APPS:
            for model in apps.get_app_config(label).get_models(include_auto_created=True):
                table = model._meta.db_table
                cursor.execute(
                    f"SELECT count(*), md5(coalesce(string_agg(row, '' ORDER BY row), '')) "
                    f'FROM (SELECT md5(t::text) AS row FROM "{table}" t) rows'
                )
                found[table] = cursor.fetchone()
    return found


@pytest.fixture(scope="class")
def sample(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The sample group, loaded once for the tests of a class; what the command said."""
    uploads = tmp_path_factory.mktemp("uploads")
    with (
        time_machine.travel(TODAY, tick=True),
        django_db_blocker.unblock(),
        override_settings(MEDIA_ROOT=Path(uploads)),
        transaction.atomic(),
    ):
        yield load()
        transaction.set_rollback(True)


@pytest.mark.xdist_group("sample")
@pytest.mark.django_db
class TestSampleGroup:
    """All on one load; each test is undone after it."""

    def test_a_second_run_changes_nothing(self, sample: str) -> None:
        before = fingerprint()
        said = load()
        assert fingerprint() == before
        assert "nothing was changed" in said

    def test_the_group_is_there(self, sample: str) -> None:
        assert Entity.objects.filter(code__startswith=ROOT).count() == len(ENTITIES)
        assert Department.objects.filter(entity__code__startswith=ROOT).count() == len(DEPARTMENTS)
        assert User.objects.filter(email__endswith=f"@{MAIL_DOMAIN}").count() == len(PEOPLE)
        assert set(Membership.objects.values_list("role", flat=True)) == set(Role.values)
        root = Entity.objects.get(code=ROOT)
        below = Entity.objects.descendants_of(root.pk)
        assert set(below.values_list("currency", flat=True)) == {"USD", "EUR", "GBP", "JPY"}
        assert Entity.objects.get(is_default_issuer=True).code == ISSUER
        assert Entity.objects.issuers().filter(iban="", code__startswith=ROOT).count() == 0
        assert EntityLink.objects.filter(valid_to__isnull=False).count() == 2

    def test_everybody_named_can_sign_in_and_only_staff_roles_enter_the_back_office(
        self, sample: str
    ) -> None:
        printed = load("--sign-ins")
        for enters, people in ((True, DEMO_SIGN_INS), (False, PAGE_SIGN_INS), (False, API_SIGN_INS)):
            for _, username, password in people:
                user = authenticate(username=username, password=password)
                assert user is not None
                assert user.is_staff is enters, username
                assert not user.is_superuser
                assert username in printed
        assert DEMO_PASSWORD in printed

    def test_every_charge_is_billed_once(self, sample: str) -> None:
        """INV-03: what is imported for the months is on an invoice or the draft, each row on one."""
        held = BilledItem.objects.filter(released_at__isnull=True, usage_record__isnull=False)
        assert held.count() == UsageRecord.objects.count() > 7000
        assert held.values("usage_record").distinct().count() == held.count()

    def test_every_invoice_equals_its_usage_and_allocations(self, sample: str) -> None:
        """USE-03, USE-04: Σ items = Σ lines, exactly, and the lines sum to the rounded total."""
        invoices = Invoice.objects.of_type(DocumentType.INVOICE)
        assert invoices.count() == 26
        for invoice in invoices:
            lines = InvoiceLine.objects.filter(invoice=invoice)
            items = BilledItem.objects.filter(invoice_line__invoice=invoice)
            if invoice.status == "void":
                assert not items.filter(released_at__isnull=True).exists()
            for kind, currency, cost in (
                (LineKind.USAGE, "usage_record__currency", "usage_record__billed_cost"),
                (LineKind.ALLOCATION, "cost_allocation__currency", "cost_allocation__amount"),
            ):
                of_kind = items.filter(invoice_line__kind=kind).order_by()
                billed = dict(of_kind.values_list(currency).annotate(Sum(cost)))
                on_lines = dict(
                    lines.filter(kind=kind)
                    .order_by()
                    .values_list("original_currency")
                    .annotate(Sum("original_amount"))
                )
                assert billed == on_lines
            amounts = [line.amount for line in lines]
            assert exact_sum(amounts) == invoice.subtotal
            exact = exact_sum([line.exact_amount for line in lines])
            assert round_money(exact, invoice.currency) == invoice.subtotal
            assert invoice.total == invoice.subtotal + exact_sum([line.tax_amount for line in lines])

    def test_the_invoices_tell_the_story(self, sample: str) -> None:
        invoices = Invoice.objects.of_type(DocumentType.INVOICE)
        by_status = dict(invoices.order_by().values_list("status").annotate(Count("id")))
        assert by_status == {"issued": 3, "partially_paid": 2, "paid": 19, "void": 1, "draft": 1}
        notes = Invoice.objects.of_type(DocumentType.CREDIT_NOTE)
        assert notes.count() == 2
        for note in notes:
            assert note.status == "paid" and note.corrects in invoices.posted()
        void = Invoice.objects.get(status="void")
        again = invoices.posted().get(entity=void.entity, period_start=void.period_start)
        assert void.total == again.total
        assert void.snapshot["bill_to"]["street"] != again.snapshot["bill_to"]["street"]
        assert Invoice.objects.get(status="draft").entity.code == ROOT
        taxed = Invoice.objects.filter(tax_total__gt=0)
        assert {(i.issuer.code, i.entity.code, i.currency) for i in taxed} == {
            ("TARN-DE", "TARN-DE-SEN", "EUR")
        }
        # Issued in the month after, dates rising with the numbers.
        for issuer in ("TARN-SSC", "TARN-DE"):
            series = list(invoices.filter(issuer__code=issuer, number__isnull=False).order_by("number"))
            assert [i.sequence_number for i in series] == list(range(1, len(series) + 1))
            assert [i.issue_date for i in series] == sorted(i.issue_date for i in series)
            assert all(i.issue_date >= i.period_end for i in series)

    def test_the_disputes_tell_theirs(self, sample: str) -> None:
        """DSP-04, DSP-13, DSP-15: in every state, one credited, one waiting for its approver, one given up."""
        disputes = BillingDispute.objects.all()
        by_status = dict(disputes.order_by().values_list("status").annotate(Count("id")))
        assert by_status == {
            "waiting_customer": 1, "investigating": 1, "open": 1, "proposed": 1, "resolved": 2, "withdrawn": 1,
        }  # fmt: skip
        decided = DisputeResolution.objects.select_related("credit_note", "dispute", "approval_request")
        credit = decided.get(outcome="credit_note", status="applied")
        assert credit.credit_note is not None and credit.approval_request is not None
        assert credit.credit_note.total == credit.amount == credit.dispute.amount
        assert (credit.proposed_by.username, credit.decided_by.username) == (HANDLED_BY, FINANCE_MANAGER)
        pending = decided.get(status="pending")
        assert pending.approval_request.status == "pending"
        assert decided.get(outcome="rejected").dispute.root_cause == "customer_misunderstanding"
        held = CollectionHold.objects.filter(released_at__isnull=True, due_date__isnull=True)
        assert {hold.reference for hold in held} == {each.number for each in disputes.open()}
        assert list(settlement_differences()) == []
        assert all(clocks_differ(each) == {} for each in DisputeRound.objects.select_related("dispute"))
        policy = DisputePolicy.objects.get()
        assert (policy.issuer.code, policy.targets.count()) == (ISSUER, 4)

    def test_the_changed_links_move_the_charges(self, sample: str) -> None:
        """ENT-02: the charges follow the payer that is in force on their day."""
        payers = (
            InvoiceLine.objects.filter(entity__code__in=["TARN-JP", "TARN-DE-ROB"])
            .exclude(invoice__status="void")
            .order_by("entity__code", "invoice__period_start")
            .values_list("entity__code", "invoice__entity__code", "invoice__period_start")
            .distinct()
        )
        japan = [payer for code, payer, _ in payers if code == "TARN-JP"]
        robotics = [payer for code, payer, _ in payers if code == "TARN-DE-ROB"]
        assert japan == [ROOT] * 3 + ["TARN-JP"] * 4
        assert robotics == ["TARN-GB"] * 2 + [ROOT] * 5

    def test_there_is_something_to_do(self, sample: str) -> None:
        assert UsageImport.objects.filter(status="completed").count() == 21
        damaged = UsageImport.objects.get(rows_rejected__gt=0)
        problems = [row.problems[0]["column"] for row in RejectedRow.objects.filter(usage_import=damaged)]
        assert problems == ["BilledCost", "ChargePeriodStart", "BillingCurrency"]
        unallocated = UsageRecord.objects.filter(department__isnull=True)
        assert set(unallocated.values_list("tags__business_unit", flat=True)) == {
            None,
            "calibration-pilot",
            "legacy-2019",
        }

    def test_rule_runs_move_all_and_add_nothing(self, sample: str) -> None:
        """ALC-02: what the targets get the source gives."""
        runs = AllocationPosting.objects.filter(rule_version__isnull=False)
        assert runs.values("period_start").distinct().count() == 6
        assert set(runs.values_list("rule_version__number", flat=True)) == {1, 2}
        for posting in runs.annotate(sum=Sum("lines__amount"), given=F("amount")):
            assert posting.sum == 0


@pytest.mark.django_db
def test_production_settings_are_refused() -> None:
    before = fingerprint()
    with pytest.raises(CommandError, match="--allow-in-production"):
        call_command("initialize_enterprise_billing", stdout=StringIO())
    assert fingerprint() == before


@pytest.mark.django_db
def test_people_loaded_in_production_cannot_sign_in() -> None:
    run = SampleRun(say=lambda text: None, password=None)
    load_rates(run)
    load_people(run)
    people = User.objects.filter(email__endswith=f"@{MAIL_DOMAIN}")
    assert people.count() == len(PEOPLE)
    assert not any(person.has_usable_password() for person in people)


@pytest.mark.django_db
def test_a_database_with_other_data_keeps_it() -> None:
    """Another group's default issuer stays it, and issues nothing of the sample."""
    other = entity("Contoso", is_issuer=True, is_default_issuer=True)
    someone = User.objects.create_user("somebody", "somebody@contoso.example", "correct horse battery staple")
    said = load()
    other.refresh_from_db()
    assert other.is_default_issuer
    assert other.version == 1
    assert not someone.memberships.exists()
    assert set(Invoice.objects.values_list("issuer__code", flat=True)) == {"TARN-DE"}
    assert "default issuer of this database belongs to another group" in said


@pytest.mark.django_db
def test_a_taken_user_name_stops_the_load() -> None:
    User.objects.create_user("aoife.brennan", "aoife@elsewhere.example", "correct horse battery staple")
    with pytest.raises(CommandError, match=r"aoife\.brennan"):
        load()
    assert not Entity.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("today", "last_rate", "first", "last"),
    [
        pytest.param(
            date(2026, 11, 22), date(2026, 10, 30), date(2026, 4, 1), date(2026, 10, 1), id="rates decide"
        ),
        pytest.param(
            date(2030, 2, 3), date(2026, 10, 30), date(2026, 4, 1), date(2026, 10, 1), id="years later"
        ),
        pytest.param(
            date(2026, 3, 1), date(2026, 10, 30), date(2025, 8, 1), date(2026, 2, 1), id="today decides"
        ),
        pytest.param(
            date(2026, 11, 22), date(2026, 10, 27), date(2026, 3, 1), date(2026, 9, 1), id="rates too old"
        ),
    ],
)
def test_the_months_lie_within_the_reach_of_the_rates(
    today: date, last_rate: date, first: date, last: date
) -> None:
    ExchangeRate.objects.create(date=last_rate, base="EUR", quote="USD", rate=Decimal("1.1"), source="ECB")
    run = SampleRun(say=lambda text: None, password=None, today=today)
    choose_months(run)
    assert (run.months[0], run.months[-1], len(run.months)) == (first, last, 7)


@pytest.mark.parametrize("key", PROVIDERS)
def test_the_files_are_the_same_everywhere(key: str) -> None:
    provider = PROVIDERS[key]
    april = date(2026, 4, 1)
    assert write(provider, april, 0) == write(provider, april, 0)
    costs = [Decimal(row["BilledCost"]) for row in charges(provider, april, 0)]
    assert any(cost < 0 for cost in costs)
    assert any(-cost.as_tuple().exponent > 4 and cost % Decimal("0.01") for cost in costs)  # type: ignore[operator]
    assert 100 < len(costs) < 2000
