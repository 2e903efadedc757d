"""What the database holds by itself, tried with update() past every service: ENT-01, ENT-03, ALC-01, ALC-04, ALC-07."""

from contextlib import suppress
from datetime import date
from decimal import Decimal
from threading import Barrier, Thread

import pytest
from django.db import IntegrityError, InternalError, connection, connections, transaction
from django.db.models import F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from core.access import system_actor
from core.errors import BillingError, Conflict, constraint_name
from entities.models import (
    AllocationPosting,
    AllocationRuleTarget,
    AllocationRuleVersion,
    CostAllocation,
    Department,
    DepartmentClosure,
    Entity,
    EntityClosure,
    EntityLink,
    Membership,
    Role,
)
from entities.services import department_move, entity_move, posting_reverse
from tests.entities.conftest import SEPTEMBER, allocate
from tests.entities.factories import Group, department, entity, group
from tests.entities.test_allocation_rule import rule, run

DATABASE_REFUSALS = (IntegrityError, InternalError)


def broken(change: object) -> str:
    """Try a change past the services and return the constraint that refused it."""
    with pytest.raises(DATABASE_REFUSALS) as caught, transaction.atomic():
        change()  # type: ignore[operator]
        connection.check_constraints()
    return constraint_name(caught.value) or ""  # type: ignore[arg-type]


def recomputed(model: type[Entity] | type[Department]) -> set[tuple[int, int, int]]:
    """The closure as it follows from the parents."""
    parents = dict(model._default_manager.values_list("pk", "parent_id"))
    found = set()
    for key in parents:
        above, depth = key, 0
        while above is not None:
            found.add((above, key, depth))
            above, depth = parents[above], depth + 1
    return found


def stored(model: type[EntityClosure] | type[DepartmentClosure]) -> set[tuple[int, int, int]]:
    return set(model._default_manager.values_list("ancestor_id", "descendant_id", "depth"))


def test_ent_01_entity_guards(northwind: Group) -> None:
    rows = Entity.objects
    germany, division = northwind.germany, northwind.division
    assert broken(lambda: rows.filter(pk=germany.pk).update(parent=division)) == "entity_no_cycle"
    assert broken(lambda: rows.filter(pk=germany.pk).update(parent=germany)) in {
        "entity_no_cycle",
        "entity_not_its_own_parent",
    }
    assert (
        broken(lambda: rows.filter(pk=germany.pk).update(entity_type="root")) == "entity_root_has_no_parent"
    )
    assert (
        broken(lambda: rows.filter(pk=germany.pk).update(credit_limit=-1))
        == "entity_credit_limit_not_negative"
    )
    assert broken(lambda: rows.filter(pk=germany.pk).update(tax_rate=101)) == "entity_tax_rate_valid"
    assert (
        broken(lambda: rows.filter(pk=germany.pk).update(fiscal_year_start_month=0))
        == "entity_fiscal_month_valid"
    )
    assert (
        broken(lambda: rows.filter(pk=germany.pk).update(is_default_issuer=True))
        == "entity_default_issuer_issues"
    )
    assert (
        broken(
            lambda: rows.filter(pk__in=[germany.pk, division.pk]).update(
                is_issuer=True, is_default_issuer=True
            )
        )
        == "entity_one_default_issuer"
    )
    assert (
        broken(lambda: rows.filter(pk=germany.pk).update(code=division.code)) == "billing_entities_code_key"
    )
    assert stored(EntityClosure) == recomputed(Entity)


def test_ent_02_links_of_a_kind_never_overlap(northwind: Group) -> None:
    EntityLink.objects.create(
        entity=northwind.japan,
        kind="payer",
        target=northwind.root,
        valid_from=date(2024, 1, 1),
        valid_to=date(2024, 7, 1),
    )
    later = EntityLink.objects.create(
        entity=northwind.japan, kind="payer", target=northwind.root, valid_from=date(2024, 7, 1)
    )
    assert (
        broken(lambda: EntityLink.objects.filter(pk=later.pk).update(valid_from=date(2024, 6, 30)))
        == "entity_link_payer_no_overlap"
    )
    assert (
        broken(lambda: EntityLink.objects.filter(pk=later.pk).update(valid_to=date(2024, 7, 1)))
        == "entity_link_dates_ordered"
    )
    # Another kind, and another entity, may overlap.
    EntityLink.objects.create(
        entity=northwind.japan, kind="owner", target=northwind.root, valid_from=date(2024, 1, 1)
    )


def test_ent_03_department_guards(northwind: Group) -> None:
    rows = Department.objects
    it, eng = northwind.it, northwind.engineering
    assert broken(lambda: rows.filter(pk=it.pk).update(code="eng")) == "department_code_unique_in_entity"
    assert broken(lambda: rows.filter(pk=eng.pk).update(parent=northwind.platform)) == "department_no_cycle"
    assert (
        broken(lambda: rows.filter(pk=northwind.german_sales.pk).update(parent=it))
        == "departments_parent_id_same_entity"
    )
    assert broken(lambda: rows.filter(pk=eng.pk).update(entity=northwind.germany)) != ""
    assert stored(DepartmentClosure) == recomputed(Department)


def test_ent_04_membership_guards(northwind: Group) -> None:
    rows = Membership.objects.filter(user=northwind.users[Role.APPROVER])
    assert (
        broken(lambda: rows.update(department=northwind.german_sales))
        == "memberships_department_id_same_entity"
    )
    assert broken(lambda: rows.update(valid_from=date(2024, 1, 1), valid_to=date(2024, 1, 1))) == (
        "membership_dates_ordered"
    )
    own = northwind.admin.memberships.get()
    twin = Membership(user=own.user, entity=own.entity, role=own.role)
    assert broken(twin.save) == "membership_once"


def test_alc_07_allocations_are_append_only(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "10.00")
    for change in (
        lambda: CostAllocation.objects.update(amount=F("amount") + 1),
        lambda: AllocationPosting.objects.filter(pk=posting.pk).update(amount=1),
        lambda: CostAllocation.objects.all()._raw_delete("default"),
    ):
        assert broken(change).endswith("_append_only")
    assert posting.lines.get().amount == Decimal("10.00")


def line_of(like: AllocationPosting, amount: str, **fields: object) -> CostAllocation:
    """A line as those of the posting are, with another amount."""
    posting = like
    values = {
        "posting": posting,
        "line_number": 99,
        "entity_id": posting.entity_id,
        "department_id": posting.lines.first().department_id,
        "amount": Decimal(amount),
        "currency": posting.currency,
        "description": "x",
        "period_start": posting.period_start,
        "period_end": posting.period_end,
        "source": posting.source,
        **fields,
    }
    return CostAllocation(**values)


def test_alc_01_lines_always_sum_to_their_posting(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "10.00")
    assert broken(line_of(posting, "0.01").save) == "allocation_posting_balanced"
    start, end = SEPTEMBER
    alone = AllocationPosting(
        entity=northwind.root,
        source="manual",
        amount=1,
        currency="USD",
        description="x",
        period_start=start,
        period_end=end,
        created_by=northwind.finance,
    )
    assert broken(alone.save) == "allocation_posting_balanced"


def test_alc_01_a_line_belongs_to_the_entity_of_its_department(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "10.00")
    line = line_of(posting, "0", entity_id=northwind.germany.pk)
    assert broken(line.save) == "cost_allocations_department_id_same_entity"


def test_alc_07_credits_stay_within_the_line(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "10.00")
    line = posting.lines.get()

    def credit_too_much() -> None:
        credit = AllocationPosting.objects.create(
            entity=posting.entity,
            source="credit",
            amount=-11,
            currency="USD",
            description="x",
            period_start=posting.period_start,
            period_end=posting.period_end,
            credits=posting,
            created_by=northwind.finance,
        )
        CostAllocation.objects.bulk_create([line_of(posting, "-11", posting=credit, credits=line)])

    assert broken(credit_too_much) == "cost_allocation_credited_within_line"


def test_alc_04_a_used_version_never_changes(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "10.00")
    made = rule(northwind, northwind.it, (northwind.engineering, "60"), (northwind.marketing, "40"))
    versions = AllocationRuleVersion.objects.filter(rule=made)
    AllocationRuleTarget.objects.filter(version__rule=made, line_number=1).update(weight=60)
    run(northwind, made)
    targets = AllocationRuleTarget.objects.filter(version__rule=made)
    assert broken(lambda: targets.update(weight=50)) == "allocation_rule_version_used"
    assert broken(lambda: targets._raw_delete("default")) == "allocation_rule_version_used"
    assert broken(lambda: versions.update(valid_from=date(2023, 1, 1))) == "allocation_rule_version_used"
    versions.update(valid_to=date(2025, 1, 1))


def test_alc_04_versions_of_a_rule_never_overlap(northwind: Group) -> None:
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    twin = AllocationRuleVersion(rule=made, number=2, valid_from=date(2024, 6, 1))
    assert broken(twin.save) == "allocation_rule_version_no_overlap"


def test_alc_05_a_rule_posts_once_per_period_and_run(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "10.00")
    (posting,) = run(northwind, rule(northwind, northwind.it, (northwind.engineering, "100")))
    posting.pk, posting._state.adding = None, True
    assert broken(posting.save) == "allocation_posting_once_per_period"


class ClosureProperties(HypothesisTestCase):
    """ENT-01, ENT-03: after any moves the closure is what follows from the parents."""

    @settings(max_examples=30, deadline=None)
    @given(moves=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 7)), max_size=12))
    def test_ent_01_ent_03_closure_follows_every_move(self, moves: list[tuple[int, int]]) -> None:
        system = system_actor()
        top = entity("Top")
        entities = [entity(f"E{number}", parent=top) for number in range(7)]
        departments = [department(top, f"D{number}") for number in range(7)]
        for child, parent in moves:
            for rows, move, name in (
                (entities, entity_move, "entity"),
                (departments, department_move, "department"),
            ):
                target = rows[parent] if parent < len(rows) else (top if name == "entity" else None)
                # A cycle is refused and leaves the tree as it was.
                with suppress(Conflict):
                    move(actor=system, parent=target, **{name: rows[child]})  # type: ignore[operator]
        assert stored(EntityClosure) == recomputed(Entity)
        assert stored(DepartmentClosure) == recomputed(Department)


@pytest.mark.concurrency
def test_ent_01_two_moves_that_would_make_a_circle_at_once() -> None:
    system = system_actor()
    for number in range(5):
        top = entity(f"Top {number}")
        first, second = entity(f"A{number}", parent=top), entity(f"B{number}", parent=top)
        barrier, outcomes = Barrier(2), []

        def move(
            child: Entity, parent: Entity, barrier: Barrier = barrier, outcomes: list[str] = outcomes
        ) -> None:
            try:
                barrier.wait(10)
                entity_move(actor=system, entity=child, parent=parent)
                outcomes.append("moved")
            except BillingError as error:
                outcomes.append(error.code)
            finally:
                connections.close_all()

        threads = [Thread(target=move, args=pair) for pair in ((first, second), (second, first))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(outcomes) == ["entity_cycle", "moved"]
        assert stored(EntityClosure) == recomputed(Entity)


@pytest.mark.concurrency
def test_alc_07_two_reversals_at_once_reverse_once() -> None:
    northwind = group()
    posting = allocate(northwind.finance, northwind.it, "10.00")
    barrier, outcomes = Barrier(4), []

    def reverse() -> None:
        try:
            barrier.wait(10)
            posting_reverse(actor=northwind.finance, posting=posting, reason="Twice")
            outcomes.append("reversed")
        except BillingError as error:
            outcomes.append(error.code)
        finally:
            connections.close_all()

    threads = [Thread(target=reverse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["already_reversed"] * 3 + ["reversed"]
    assert AllocationPosting.objects.count() == 2
