"""What budgets contributes: budgets of each department, the spending of the past months, orders, waiting changes."""

from datetime import date
from decimal import Decimal
from typing import Any

from budgets.models import (
    Budget,
    BudgetEntry,
    BudgetOverride,
    BudgetRevision,
    BudgetStatus,
    BudgetTransfer,
    Commitment,
    Control,
)
from budgets.sample_data.plan import (
    ADVISORY,
    CLOUD,
    CLOUD_YEARLY,
    FAIRS,
    FAST,
    GROUP_YEARLY,
    INVOICED,
    MONTHLY,
    OPERATIONS,
    ORDERS,
    PURCHASES,
    YEARLY,
)
from budgets.services.budget import budget_create, budget_soft_close
from budgets.services.changes import (
    override_propose,
    revision_approve,
    revision_propose,
    revision_reject,
    transfer_propose,
)
from budgets.services.charges import ChargeLine, budget_charge
from budgets.services.commitments import budget_commit, commitment_consume
from budgets.services.ledger import Source
from core.clock import month_after
from core.history import acting
from core.money import round_money
from core.sample_data.run import SampleRun, Step, person
from entities.models import Entity
from entities.sample_data.allocations import find_department
from entities.sample_data.organisation import ROOT
from entities.sample_data.people import FINANCE_MANAGER, FINANCE_STAFF

SAMPLE = "sample"
FAIR_DEPARTMENT = ("TARN-US", "SALES")
FAIR_MONTHLY = 18_000
REVISED = ("TARN-US-LAB", "LAB")


def years(run: SampleRun) -> range:
    """The years that have budgets: those of the sample's months, this one and the next."""
    return range(run.start.year, run.today.year + 2)


def _year(year: int) -> dict[str, Any]:
    return {"period_start": date(year, 1, 1), "period_end": date(year + 1, 1, 1)}


def load_budgets(run: SampleRun) -> None:
    """Make the budgets: the group's ceiling first, then those of the departments, next year's mostly as drafts."""
    made = 0
    with acting(reason="Planning of the year"):
        for year in years(run):
            made += _group_budget(year)
            for key, amount in YEARLY.items():
                made += _department_budget(run, key, year, OPERATIONS, amount)
            for key, amount in CLOUD_YEARLY.items():
                made += _department_budget(run, key, year, CLOUD, amount)
        for month in run.months[-2:]:
            made += _fair_budget(month)
    run.count("budgets", made, there=Budget.objects.filter(entity__code__startswith=ROOT).count())


def _group_budget(year: int) -> int:
    entity = Entity.objects.get(code=ROOT)
    if Budget.objects.of(entity_id=entity.pk, department_id=None).filter(**_year(year)).exists():
        return 0
    budget_create(
        actor=person(FINANCE_MANAGER),
        name=f"Group operations {year}",
        entity=entity,
        category=OPERATIONS,
        allocated_amount=GROUP_YEARLY,
        is_control_point=True,
        strict_children=True,
        **_year(year),
    )
    return 1


def _department_budget(run: SampleRun, key: tuple[str, str], year: int, category: str, amount: int) -> int:
    department = find_department(*key)
    there = Budget.objects.of(entity_id=department.entity_id, department_id=department.pk)
    if there.filter(category=category, **_year(year)).exists():
        return 0
    is_next = year > run.today.year
    is_cloud = category == CLOUD
    growth = Decimal("1.04") if is_next else Decimal(1)
    currency = department.entity.currency
    advisory = is_cloud or key in ADVISORY
    budget_create(
        actor=person(FINANCE_MANAGER),
        name=f"{department.name}: {'cloud' if is_cloud else 'operations'} {year}",
        department=department,
        category=category,
        allocated_amount=round_money(amount * growth, currency),
        parent=_group_of(year) if not is_cloud and currency == "USD" else None,
        control=Control.ADVISORY if advisory else Control.ABSOLUTE,
        approval_threshold=None if is_cloud else round_money(Decimal(amount) / 8, currency),
        draft=is_next and key[0] != "TARN-SSC",
        **_year(year),
    )
    return 1


def _group_of(year: int) -> Budget:
    entity = Entity.objects.get(code=ROOT)
    return Budget.objects.of(entity_id=entity.pk, department_id=None).get(**_year(year))


def _fair_budget(month: date) -> int:
    """Trade fairs are planned by the month; the month before the last is about to be closed."""
    department = find_department(*FAIR_DEPARTMENT)
    there = Budget.objects.of(entity_id=department.entity_id, department_id=department.pk)
    if there.filter(category=FAIRS, period_start=month).exists():
        return 0
    budget_create(
        actor=person(FINANCE_MANAGER),
        name=f"Trade fairs {month:%B %Y}",
        department=department,
        category=FAIRS,
        allocated_amount=FAIR_MONTHLY,
        period_type="monthly",
        period_start=month,
        period_end=month_after(month),
        rollover_policy="unspent",
        rollover_percent=50,
    )
    return 1


def _budget(key: tuple[str, str], on: date, category: str = OPERATIONS) -> Budget:
    department = find_department(*key)
    found = Budget.objects.of(entity_id=department.entity_id, department_id=department.pk)
    return found.filter(category=category).covering(on).get()


# --- Spending --------------------------------------------------------------------------------------------


def load_spending(run: SampleRun) -> None:
    """Charge what the departments bought in the sample's months; some spend faster than planned."""
    done = set(BudgetEntry.objects.filter(source_type=SAMPLE).values_list("source_id", flat=True))
    made = 0
    for position, key in enumerate(YEARLY):
        for number, month in enumerate(run.months):
            made += _buy(key, month, MONTHLY[(position + number) % len(MONTHLY)], done)
    made += _visit_fair(run.months[-2], done)
    run.count("charges to budgets", made, there=len(done))


def _buy(key: tuple[str, str], month: date, factor: Decimal, done: set[str]) -> int:
    made = 0
    for what, share in PURCHASES:
        source = f"{key[0]}/{key[1]}/{month:%Y-%m}/{what.split()[0].lower()}"
        if source in done:
            continue
        budget = _budget(key, month)
        amount = Decimal(YEARLY[key]) / 12 * share * factor * FAST.get(key, Decimal(1))
        _charge(budget, round_money(amount, budget.currency), f"{what}, {month:%B %Y}", month, source)
        made += 1
    return made


def _visit_fair(month: date, done: set[str]) -> int:
    source = f"fair/{month:%Y-%m}"
    if source in done:
        return 0
    budget = _budget(FAIR_DEPARTMENT, month, FAIRS)
    _charge(budget, Decimal("14260.00"), "Stand and travel, Pittcon", month, source)
    budget_soft_close(actor=person(FINANCE_MANAGER), budget_id=budget.pk, reason=f"{month:%B} is over")
    return 1


def _charge(budget: Budget, amount: Decimal, description: str, month: date, source: str) -> None:
    day = month.replace(day=min(27, 3 + len(description) % 24))
    budget_charge(
        actor=person(FINANCE_STAFF),
        line=ChargeLine(
            budget_id=budget.pk,
            amount=amount,
            description=description,
            posting_date=day,
            source=Source(SAMPLE, source),
        ),
    )


def load_orders(run: SampleRun) -> None:
    """Commit the orders that are placed and not delivered yet; one is invoiced in part."""
    made = 0
    for order in ORDERS:
        if Commitment.objects.filter(source_type=SAMPLE, source_id=order.reference).exists():
            continue
        commitment = budget_commit(
            actor=person(FINANCE_STAFF),
            budget_id=_budget((order.entity, order.department), run.months[-1]).pk,
            amount=order.amount,
            description=order.description,
            reference=order.reference,
            commitment_date=run.months[-1].replace(day=12),
            source=Source(SAMPLE, order.reference),
        )
        if order.reference == INVOICED[0]:
            commitment_consume(
                actor=person(FINANCE_STAFF),
                commitment_id=commitment.pk,
                amount=INVOICED[1],
                description=f"First invoice for {order.reference}",
                posting_date=run.months[-1].replace(day=26),
                source=Source(SAMPLE, f"{order.reference}/1"),
            )
        made += 1
    run.count("orders", made, there=len(ORDERS))


# --- Changes ---------------------------------------------------------------------------------------------


def load_changes(run: SampleRun) -> None:
    """A history of revisions, and what waits for a second person: a transfer, a revision, an override."""
    month = run.months[-1]
    made = _revise(_budget(REVISED, month))
    giving, taking = _budget(("TARN-SSC", "IT-WORK"), month), _budget(("TARN-SSC", "IT-SEC"), month)
    if not BudgetTransfer.objects.filter(from_budget=giving).exists():
        transfer_propose(
            actor=person(FINANCE_STAFF),
            from_budget_id=giving.pk,
            to_budget_id=taking.pk,
            amount=Decimal("12500.00"),
            reason="The penetration test costs more than planned; fewer notebooks are needed",
        )
        made += 1
    small = _budget(("TARN-DE", "VER"), month)
    if small.status == BudgetStatus.OPEN and not BudgetOverride.objects.filter(budget=small).exists():
        override_propose(
            actor=person(FINANCE_STAFF),
            budget_id=small.pk,
            limit=Decimal("3200.00"),
            reason="The auditor's visit was moved into this year",
        )
        made += 1
    run.count("changes of budgets", made, there=3)


def _revise(budget: Budget) -> int:
    if BudgetRevision.objects.filter(budget=budget).exists():
        return 0
    staff, manager = person(FINANCE_STAFF), person(FINANCE_MANAGER)
    first = revision_propose(
        actor=staff, budget_id=budget.pk, delta="24000.00", reason="Second spectrometer laboratory"
    )
    revision_approve(actor=manager, revision_id=first.pk, comment="As agreed in the spring review")
    second = revision_propose(
        actor=staff, budget_id=budget.pk, delta="60000.00", reason="Own computing cluster"
    )
    revision_reject(actor=manager, revision_id=second.pk, comment="The cloud does this for less")
    revision_propose(
        actor=staff, budget_id=budget.pk, delta="-8500.00", reason="The trainee starts next year only"
    )
    return 3


STEPS = [
    Step("Budgets", load_budgets),
    Step("Spending", load_spending),
    Step("Orders", load_orders),
    Step("Changes of budgets", load_changes),
]
