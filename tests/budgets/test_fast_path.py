"""The one-statement way does what the general way does, and leaves the rest to it."""

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from budgets.models import Budget, BudgetAlert, BudgetEntry
from budgets.services import fast_path
from budgets.services.availability import available_now
from budgets.services.budget import budget_soft_close
from budgets.services.charges import ChargeLine, budget_charge, budget_charge_lines, budget_check_availability
from budgets.services.ledger import Source
from core import clock
from core.errors import BillingError
from core.models import User
from entities.models import Role
from tests.budgets.builders import NEXT_YEAR, Place, assert_proven, figures, money, place, refused
from tests.entities import factories

D = Decimal


def fast(here: Place, budget: Budget, amount: str, *, actor: User | None = None, **fields: Any) -> Any:
    return fast_path.charge(actor=actor or here.finance, budget_id=budget.pk, amount=D(amount), **fields)


def test_a_plain_charge_is_one_statement_and_returns_entry_and_budget(here: Place) -> None:
    budget = here.budget("100.00")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        posting = here.charge(budget, "40.00", reference="R-1", source=Source("invoice", "1"))
    # Django's own cursor saw a savepoint at most: the charge went past it, in one statement.
    assert [each["sql"].split()[0] for each in queries] == ["SAVEPOINT", "RELEASE"]
    entry, after = posting.entries[0], posting.budgets[budget.pk]
    stored = BudgetEntry.objects.get(pk=entry.pk)
    for field in BudgetEntry._meta.concrete_fields:
        assert getattr(entry, field.attname) == getattr(stored, field.attname), field.attname
    row = Budget.objects.get(pk=budget.pk)
    for field in Budget._meta.concrete_fields:
        assert getattr(after, field.attname) == getattr(row, field.attname), field.attname


def test_it_writes_the_same_entry_as_the_general_way(here: Place) -> None:
    budget = here.budget("100.00")
    line = ChargeLine(
        budget_id=budget.pk, amount="10.00", description="Cloud", reference="R", tax_recoverable=False
    )
    first = budget_charge(actor=here.finance, line=line).entries[0]
    second = budget_charge_lines(actor=here.finance, lines=[line]).entries[0]
    fields = [field.attname for field in BudgetEntry._meta.concrete_fields if field.name not in {"id"}]
    rows = BudgetEntry.objects.filter(pk__in=[first.pk, second.pk]).values(*fields)
    assert rows[0] == rows[1]


def test_what_is_not_plain_is_left_alone(here: Place) -> None:
    parent = here.budget("100.00", department=None, is_control_point=True)
    soft = here.budget()
    budget_soft_close(actor=here.finance, budget_id=soft.pk)
    expiring = here.budget()
    here.commit(expiring, "1.00", expires_at=clock.now() + datetime.timedelta(hours=1))
    plain, auditor = here.budget(), factories.member(here.entity, Role.AUDITOR)
    before = BudgetEntry.objects.count()
    for budget in (
        here.budget(draft=True),
        soft,
        Budget.objects.get(pk=here.budget(parent=parent).pk),
        here.budget(check_scope="month"),
        here.budget(approval_threshold="0.99"),
        here.budget("0.99"),
        here.budget("1.00"),  # would cross its thresholds
        here.budget("0.50", control="advisory", critical_threshold_percent=None),
        Budget(pk=10**9),
    ):
        before = BudgetEntry.objects.count()
        assert fast(here, budget, "1.00") is None
        assert BudgetEntry.objects.count() == before
    for other in (
        {"actor": here.outsider},
        {"actor": auditor},
        {"currency": "EUR"},
        {"posting_date": NEXT_YEAR[0]},
    ):
        assert fast(here, plain, "1.00", **other) is None
    assert fast(here, plain, "0.001") is None
    assert fast(here, plain, "99999999999999.99") is None
    with time_machine.travel(clock.now() + datetime.timedelta(hours=1), tick=False):
        assert fast(here, expiring, "1.00") is None
        assert fast_path.check(actor=here.finance, budget_id=expiring.pk, amount=D(1)) is None
    assert fast(here, plain, "1.00", actor=here.manager) is not None


def test_access_by_membership_is_the_backends(here: Place) -> None:
    """Every shape of membership: the fast way charges exactly where the general way does."""
    child = factories.entity("Child", parent=here.entity)
    below = factories.department(here.entity, "SUB", "Sub", parent=here.department)
    budgets = [
        here.budget(),
        here.budget(department=below),
        here.budget(department=None),
        here.budget(department=None, entity=child),
        here.budget(department=factories.department(child, "CH")),
    ]
    yesterday, tomorrow = (
        clock.today() - datetime.timedelta(days=1),
        clock.today() + datetime.timedelta(days=1),
    )
    people = []
    for fields in (
        {"entity": here.entity},
        {"entity": here.entity, "include_descendants": False},
        {"entity": child},
        {"entity": here.entity, "department": here.department},
        {"entity": here.entity, "department": here.department, "include_descendants": False},
        {"entity": here.entity, "valid_to": clock.today()},
        {"entity": here.entity, "valid_from": tomorrow},
        {"entity": here.entity, "valid_from": yesterday, "valid_to": tomorrow},
    ):
        entity = fields.pop("entity")
        for role in (Role.FINANCE_STAFF, Role.AUDITOR):
            people.append(factories.member(entity, role, **fields))  # type: ignore[arg-type]
    people.append(factories.user(is_superuser=True))
    people.append(factories.user(is_superuser=True, is_active=False))
    charged = 0
    for person in people:
        for budget in budgets:
            line = ChargeLine(budget_id=budget.pk, amount="0.01", description="x")
            slow: Any = None
            try:
                with transaction.atomic():
                    slow = budget_charge_lines(actor=person, lines=[line])
            except BillingError:
                slow = None
            quick = fast(here, budget, "0.01", actor=person)
            assert (quick is None) == (slow is None), (person.memberships.all(), budget.department)
            charged += quick is not None
    assert charged > 10


def test_the_same_source_is_booked_once(here: Place) -> None:
    budget = here.budget("100.00")
    source = Source("invoice", "9")
    assert fast(here, budget, "10.00", source=source) is not None
    assert fast(here, budget, "10.00", source=source) is None
    assert here.charge(budget, "10.00", source=source).replayed
    with refused("source_reused"):
        here.charge(budget, "11.00", source=source)


def test_a_crossing_takes_the_general_way_and_fires(here: Place) -> None:
    budget = here.budget("100.00")
    assert fast(here, budget, "79.99") is not None
    assert fast(here, budget, "0.01") is None
    here.charge(budget, "0.01")
    assert BudgetAlert.objects.count() == 1
    assert fast(here, budget, "1.00") is not None
    assert figures(budget) == money("100", "0", "81", "19")


@pytest.fixture
def twins(db: None, frozen: None) -> Iterator[tuple[Place, Place, Place]]:
    yield place(), place("JPY"), place("KWD")
    assert_proven()


units = st.integers(min_value=0, max_value=12_000).map(lambda n: D(n) / 100)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    currency=st.sampled_from([0, 0, 0, 1, 2]),
    allocated=st.integers(min_value=0, max_value=100),
    control=st.sampled_from(["off", "advisory", "absolute"]),
    limit=st.none() | st.integers(min_value=0, max_value=30),
    threshold=st.none() | st.integers(min_value=0, max_value=90),
    scope=st.sampled_from(["period", "period", "month"]),
    levels=st.tuples(*[st.none() | st.integers(min_value=0, max_value=130)] * 3),
    amounts=st.lists(units, min_size=1, max_size=6),
)
def test_fast_equals_slow(
    twins: tuple[Place, Place, Place], currency: int, allocated: int, amounts: list, **kinds: Any
) -> None:
    """Two equal budgets, one charged by the fast way first, one by the general way only, end alike."""
    here = twins[currency]
    fields = {
        "control": kinds["control"],
        "overspend_limit": kinds["limit"],
        "approval_threshold": kinds["threshold"],
        "check_scope": kinds["scope"],
        **{
            f"{level}_threshold_percent": value
            for level, value in zip(("alert", "warning", "critical"), kinds["levels"], strict=True)
        },
    }
    with transaction.atomic():
        first, second = here.budget(str(allocated), **fields), here.budget(str(allocated), **fields)
        for amount in amounts:
            assume(amount >= 0)
            quick = _outcome(lambda a=amount: here.charge(first, a))
            slow = _outcome(
                lambda a=amount: budget_charge_lines(
                    actor=here.finance, lines=[ChargeLine(budget_id=second.pk, amount=a, description="Cloud")]
                )
            )
            assert quick == slow
            assert _state(first) == _state(second)
            if amount > 0:
                _assert_same_check(here, first, amount)
        transaction.set_rollback(True)


def _outcome(act: Any) -> str:
    try:
        with transaction.atomic():
            act()
    except BillingError as error:
        return error.code
    return "booked"


def _state(budget: Budget) -> tuple:
    row = Budget.objects.get(pk=budget.pk)
    alerts = BudgetAlert.objects.filter(budget=budget).order_by("pk").values_list("level", "used_amount")
    return (*figures(budget), row.alert_fired, row.warning_fired, row.critical_fired, list(alerts))


def _assert_same_check(here: Place, budget: Budget, amount: Decimal) -> None:
    quick = _answer(lambda: budget_check_availability(actor=here.finance, budget_id=budget.pk, amount=amount))
    fresh = Budget.objects.select_related("entity").get(pk=budget.pk)
    if quick != "amount_too_precise":
        assert quick == available_now(actor=here.finance, budget=fresh, asked=amount)
        passes = _outcome(lambda: _charged_and_undone(here, budget, amount))
        assert (passes == "booked") == quick.available


def _answer(ask: Any) -> Any:
    try:
        return ask()
    except BillingError as error:
        return error.code


def _charged_and_undone(here: Place, budget: Budget, amount: Decimal) -> None:
    with transaction.atomic():
        here.charge(budget, amount)
        transaction.set_rollback(True)
