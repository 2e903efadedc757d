"""Allocated cost and imported usage meet the budgets (ALC-06, USE-05, BUD-19)."""

import datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from budgets.models import Budget, BudgetEntry
from budgets.services.budget import budget_close
from budgets.services.changes import revision_approve, revision_propose
from core.models import OutboxEvent
from entities.models import AllocationPosting, Department
from entities.services.allocation import Split, cost_allocate
from invoicing.models import ImportStatus, UsageBudgetCharge, UsageImport, UsageRecord
from invoicing.services.usage_charging import UsageCharged, usage_budgets_charge, usage_charges_retry
from tests.budgets.builders import Place, figures, money, rate, refused
from tests.entities import factories
from tests.invoicing.invoices.builders import usage

JUNE = (datetime.date(2026, 6, 1), datetime.date(2026, 7, 1))


@pytest.fixture
def other(here: Place) -> Department:
    return factories.department(here.entity, "MKT", "Marketing")


def allocate(here: Place, *splits: Split, amount: str = "100.00", currency: str = "") -> AllocationPosting:
    return cost_allocate(
        actor=here.finance,
        department=here.department,
        amount=Decimal(amount),
        description="Office",
        period_start=JUNE[0],
        period_end=JUNE[1],
        splits=splits,
        currency=currency,
    )


def test_alc_06_every_part_is_checked_on_its_target_all_together(here: Place, other: Department) -> None:
    own, theirs = here.budget("50.00"), here.budget("30.00", department=other)
    split = [Split(here.department, percent=Decimal(60)), Split(other, percent=Decimal(40))]
    with refused("insufficient_budget") as refusal:
        allocate(here, *split)
    found = [(each["budget_id"], each["asked"], each["short"]) for each in refusal.extra["shortfalls"]]
    assert found == [(own.pk, "60.00", "10.00"), (theirs.pk, "40.00", "10.00")]
    assert not AllocationPosting.objects.exists()
    assert allocate(here, *split, amount="75.00").lines.count() == 2
    assert figures(own) == money("50", "0", "0", "50")


def test_alc_06_a_control_point_sees_the_sum_of_the_parts(here: Place, other: Department) -> None:
    parent = here.budget("99.99", department=None, is_control_point=True)
    here.budget("100.00", parent=parent)
    here.budget("100.00", department=other, parent=parent)
    with refused("insufficient_budget") as refusal:
        allocate(here, Split(here.department, ratio=Decimal(1)), Split(other, ratio=Decimal(1)))
    assert [each["budget_id"] for each in refusal.extra["shortfalls"]] == [parent.pk]


def test_alc_06_in_another_currency(here: Place) -> None:
    here.budget("100.00")
    with refused("no_exchange_rate"):
        allocate(here, amount="100.00", currency="EUR")
    rate("EUR", "USD", "1.10", datetime.date(2026, 6, 30))
    with refused("insufficient_budget"):
        allocate(here, amount="90.92", currency="EUR")
    allocate(here, amount="90.91", currency="EUR")


def test_bud_19_an_allocation_without_a_budget_passes_or_is_refused_as_set(
    here: Place, other: Department, settings: Any
) -> None:
    here.budget("100.00")
    split = [Split(here.department, ratio=Decimal(1)), Split(other, ratio=Decimal(1))]
    allocate(here, *split)
    settings.BUDGET_UNBUDGETED = "refuse"
    with refused("no_budget") as refusal:
        allocate(here, *split)
    assert "Marketing" in refusal.error.message  # type: ignore[union-attr]


@pytest.fixture
def imported(here: Place) -> UsageImport:
    """A completed import with 40.005 and 0.0101 in May, 80.00 in June for Engineering, and 5 for nobody."""
    usage_import = UsageImport.objects.create(
        entity=here.entity,
        root=here.entity,
        file_name="focus.csv",
        file_sha256="0" * 64,
        status=ImportStatus.COMPLETED,
        created_by=here.finance,
    )
    mine = {"entity_id": here.entity.pk, "department": here.department}
    usage(
        usage_import,
        [
            {**mine, "billed_cost": Decimal("40.005"), "day": datetime.date(2026, 5, 3)},
            {**mine, "billed_cost": Decimal("0.0101"), "day": datetime.date(2026, 5, 20)},
            {**mine, "billed_cost": Decimal("80.00"), "day": datetime.date(2026, 6, 1)},
            {"entity_id": here.entity.pk, "department": None, "billed_cost": Decimal(5)},
        ],
    )
    return usage_import


def run(here: Place, imported: UsageImport) -> UsageCharged:
    return usage_budgets_charge(actor=here.finance, import_id=imported.pk)


def test_use_05_usage_charges_the_budget_and_what_is_refused_is_listed_and_retried(
    here: Place, imported: UsageImport
) -> None:
    budget = here.budget("100.00", category="Cloud")
    assert run(here, imported) == UsageCharged(charged=1, unchanged=0, refused=1)
    charged, listed = UsageBudgetCharge.objects.order_by("month")
    assert (charged.status, charged.exact_amount, charged.charged_amount, charged.charge_date) == (
        "charged",
        Decimal("40.0151"),
        Decimal("40.02"),
        datetime.date(2026, 5, 20),
    )
    assert (listed.status, listed.refusal_code, listed.charged_amount) == (
        "refused",
        "insufficient_budget",
        0,
    )
    assert "short by 20.02" in listed.refusal_message
    assert OutboxEvent.objects.filter(topic="usage.budget_refused").count() == 1
    assert figures(budget) == money("100", "0", "40.02", "59.98")
    assert run(here, imported) == UsageCharged(charged=0, unchanged=1, refused=1)
    more = revision_propose(actor=here.staff, budget_id=budget.pk, delta="20.02", reason="Cloud")
    revision_approve(actor=here.finance, revision_id=more.pk)
    assert usage_charges_retry(actor=here.finance, import_id=imported.pk) == UsageCharged(1, 1, 0)
    listed.refresh_from_db()
    assert (listed.status, listed.refusal_code, listed.attempts) == ("charged", "", 3)
    assert figures(budget)[3] == 0
    assert listed.entry is not None and listed.entry.posting_date == datetime.date(2026, 6, 1)


def test_use_05_without_a_budget_it_is_listed_as_unbudgeted(here: Place, imported: UsageImport) -> None:
    assert run(here, imported) == UsageCharged(0, 0, 2)
    assert set(UsageBudgetCharge.objects.refused().values_list("refusal_code", flat=True)) == {"no_budget"}
    budget = here.budget("1000.00")
    assert run(here, imported) == UsageCharged(2, 0, 0)
    assert figures(budget)[2] == Decimal("120.02")


def test_use_05_what_changes_later_is_corrected_by_the_difference(here: Place, imported: UsageImport) -> None:
    budget = here.budget("1000.00")
    run(here, imported)
    usage(
        imported,
        [
            {
                "entity_id": here.entity.pk,
                "department": here.department,
                "billed_cost": Decimal("-10.00"),
                "day": datetime.date(2026, 6, 20),
            }
        ],
    )
    assert run(here, imported) == UsageCharged(1, 1, 0)
    assert figures(budget)[2] == Decimal("110.02")
    UsageRecord.objects.filter(usage_import=imported, charge_date__month=5).update(department=None)
    assert run(here, imported) == UsageCharged(1, 1, 0)
    assert figures(budget)[2] == Decimal("70.00")
    assert BudgetEntry.objects.filter(source_type="usage_import").count() == 4


def test_use_05_only_who_may_and_only_a_completed_import(here: Place, imported: UsageImport) -> None:
    with refused("not_found"):
        usage_budgets_charge(actor=here.outsider, import_id=imported.pk)
    UsageImport.objects.filter(pk=imported.pk).update(status=ImportStatus.RUNNING)
    with refused("import_not_completed"):
        run(here, imported)


def test_use_05_a_closed_period_is_listed(here: Place, imported: UsageImport) -> None:
    budget = here.budget("1000.00")
    budget_close(actor=here.finance, budget_id=budget.pk)
    assert run(here, imported).refused == 2
    assert Budget.objects.get(pk=budget.pk).spent_amount == 0


# --- The doors to USE-05 ----------------------------------------------------------------------------------

API = "/api/enterprise-billing"


def test_use_05_by_the_api(here: Place, imported: UsageImport) -> None:
    here.budget("100.00", category="Cloud")
    client = APIClient()
    client.force_authenticate(here.finance)
    answer = client.post(f"{API}/usage-imports/{imported.pk}/charge-budgets")
    assert (answer.status_code, answer.json()) == (200, {"charged": 1, "unchanged": 0, "refused": 1})
    listed = client.get(f"{API}/usage-budget-charges", {"status": "refused"}).json()
    assert [(row["month"], row["exact_amount"], row["refusal_code"]) for row in listed["results"]] == [
        ("2026-06-01", "80.00", "insufficient_budget")
    ]
    client.force_authenticate(here.outsider)
    assert client.post(f"{API}/usage-imports/{imported.pk}/charge-budgets").status_code == 404
    assert client.get(f"{API}/usage-budget-charges").json()["count"] == 0


def test_use_05_in_the_back_office(here: Place, imported: UsageImport) -> None:
    budget = here.budget("100.00", category="Cloud")
    here.finance.is_staff = True
    here.finance.save()
    client = Client()
    client.force_login(here.finance, backend="entities.access.PasswordBackend")
    change = f"/admin/invoicing/usageimport/{imported.pk}"
    assert "what a budget refuses is listed" in client.get(f"{change}/do/charge/").content.decode()
    assert not UsageBudgetCharge.objects.exists(), "looking charges nothing"
    assert client.post(f"{change}/do/charge/").status_code == 302
    assert figures(budget) == money("100", "0", "40.02", "59.98")
    page = client.get("/admin/invoicing/usagebudgetcharge/?status__exact=refused").content.decode()
    assert "short by 20.02" in page
    refused_row = UsageBudgetCharge.objects.get(status="refused")
    charged_row = UsageBudgetCharge.objects.get(status="charged")
    more = revision_propose(actor=here.staff, budget_id=budget.pk, delta="20.02", reason="Cloud")
    revision_approve(actor=here.finance, revision_id=more.pk)
    again = "/admin/invoicing/usagebudgetcharge/{}/do/again/"
    assert client.post(again.format(charged_row.pk)).status_code == 409
    assert client.post(again.format(refused_row.pk)).status_code == 302
    refused_row.refresh_from_db()
    assert (refused_row.status, refused_row.charged_amount) == ("charged", Decimal("80.00"))


def test_use_05_by_command(here: Place, imported: UsageImport) -> None:
    here.budget("100.00", category="Cloud")
    said = StringIO()
    call_command("charge_budgets", "--import", str(imported.pk), stdout=said)
    assert "1 charged, 0 unchanged, 1 refused." in said.getvalue()
    assert "short by 20.02" in said.getvalue()
    with pytest.raises(CommandError, match="no import 999999"):
        call_command("charge_budgets", "--import", "999999", stdout=said)
