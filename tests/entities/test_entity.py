"""Entities: ENT-00, ENT-01, ENT-02."""

from datetime import date
from decimal import Decimal

import pytest

from core.access import system_actor
from core.errors import BillingError, Conflict, Forbidden, Invalid, Stale
from entities.models import Entity, EntityClosure, EntityLink, EntityType, LinkKind, Membership, Role
from entities.selectors import entity_children
from entities.services import (
    entity_create,
    entity_deactivate,
    entity_delete,
    entity_link_end,
    entity_link_set,
    entity_move,
    entity_reactivate,
    entity_update,
)
from tests.entities.conftest import allocate, chain
from tests.entities.factories import Group, department, entity, member, user


def refused(call: object, code: str, kind: type[BillingError] = BillingError) -> BillingError:
    """Run and return the refusal with that code."""
    with pytest.raises(kind) as caught:
        call()  # type: ignore[operator]
    assert caught.value.code == code, caught.value
    return caught.value


def test_ent_00_a_customer_is_an_entity_and_an_issuer_too(northwind: Group) -> None:
    assert northwind.services.is_issuer
    assert {row.name for row in Entity.objects.issuers()} == {"Northwind Shared Services"}


def test_ent_00_one_default_issuer_only(northwind: Group) -> None:
    entity_update(actor=northwind.admin, entity=northwind.services, is_default_issuer=True)
    refused(
        lambda: entity_update(
            actor=northwind.admin, entity=northwind.germany, is_issuer=True, is_default_issuer=True
        ),
        "default_issuer_exists",
        Conflict,
    )
    refused(
        lambda: entity_update(actor=northwind.admin, entity=northwind.japan, is_default_issuer=True),
        "not_an_issuer",
    )


def test_ent_01_forest_with_all_types(northwind: Group) -> None:
    branch = entity("Kiosk", parent=northwind.division, entity_type=EntityType.BRANCH)
    assert chain(branch) == ["Northwind Group", "Northwind Deutschland", "Northwind Berlin", "Kiosk"]
    tree = entity_children(northwind.root, viewer=northwind.admin)
    assert [node.entity.name for node in tree] == [
        "Northwind Deutschland",
        "Northwind Japan",
        "Northwind Shared Services",
    ]
    assert tree[0].children[0].children[0].entity == branch


def test_ent_01_tree_costs_one_query(northwind: Group, django_assert_num_queries: object) -> None:
    viewer = system_actor()
    with django_assert_num_queries(1):  # type: ignore[operator]
        entity_children(northwind.root, viewer=viewer)


def test_ent_01_code_is_derived_from_the_name_and_unique(db: None) -> None:
    assert entity("Müller & Söhne AG").code == "MULLER-SOHNE-AG"
    assert [entity("Acme").code for _ in range(3)] == ["ACME", "ACME-2", "ACME-3"]
    assert entity("日本").code == "ENTITY"
    assert len(entity("A very long name of a company indeed").code) <= 24


def test_ent_01_a_given_code_is_capitals_and_taken_once(db: None) -> None:
    assert entity("One", code="acme-de").code == "ACME-DE"
    error = refused(lambda: entity("Two", code="ACME-DE"), "already_exists", Conflict)
    assert error.errors[0].pointer == "/code"
    refused(lambda: entity("Three", code="A B"), "invalid")


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"currency": "XXX"}, "unknown_currency", "/currency"),
        ({"currency": "euro"}, "invalid", ""),
        ({"name": ""}, "blank", "/name"),
        ({"name": "x" * 300}, "max_length", "/name"),
        ({"name": "a\x00b"}, "null_characters_not_allowed", "/name"),
        ({"credit_limit": Decimal("-0.01")}, "min_value", "/credit_limit"),
        ({"credit_limit": Decimal("NaN")}, "invalid", "/credit_limit"),
        ({"credit_limit": Decimal("1.001")}, "amount_too_precise", "/credit_limit"),
        ({"country": "XX"}, "unknown_country", "/country"),
        ({"country": "DE", "tax_id": "DE136695977"}, "invalid_tax_id", "/tax_id"),
        ({"iban": "DE00"}, "invalid_iban", "/iban"),
        ({"bic": "NOPE"}, "invalid_bic", "/bic"),
        ({"time_zone": "Mars/Base"}, "unknown_time_zone", "/time_zone"),
        ({"fiscal_year_start_month": 13}, "max_value", "/fiscal_year_start_month"),
        ({"entity_type": "galaxy"}, "invalid_choice", "/entity_type"),
        ({"billing_email": "nobody"}, "invalid", "/billing_email"),
        ({"payment_terms_days": 400}, "max_value", "/payment_terms_days"),
    ],
)
def test_ent_01_bad_fields_are_named_and_nothing_is_written(
    db: None, fields: dict[str, object], code: str, pointer: str
) -> None:
    with pytest.raises(Invalid) as caught:
        entity_create(
            **{  # type: ignore[arg-type]
                "actor": system_actor(),
                "name": "Acme",
                "entity_type": "root",
                "currency": "USD",
                **fields,
            }
        )
    if pointer:
        assert code in {problem.code for problem in caught.value.errors}
        assert pointer in {problem.pointer for problem in caught.value.errors}
    assert not Entity.objects.exists()


def test_ent_01_tax_id_is_compact_and_optional_country_means_unchecked(db: None) -> None:
    assert entity("A", country="DE", tax_id="DE 136 695 976").tax_id == "DE136695976"
    assert entity("B", country="DE", tax_id="136695976").tax_id == "136695976"
    assert entity("C", tax_id="whatever 1").tax_id == "whatever 1"


def test_ent_01_root_has_no_parent(northwind: Group) -> None:
    refused(
        lambda: entity("Sub", parent=northwind.root, entity_type=EntityType.ROOT), "root_has_parent", Invalid
    )
    refused(
        lambda: entity_move(actor=system_actor(), entity=northwind.other_root, parent=northwind.root),
        "root_has_parent",
    )
    moved = entity_move(
        actor=system_actor(),
        entity=northwind.other_root,
        parent=northwind.root,
        entity_type=EntityType.SUBSIDIARY,
    )
    assert chain(moved) == ["Northwind Group", "Fabrikam"]


def test_ent_01_cycle_is_refused(northwind: Group) -> None:
    for parent in (northwind.germany, northwind.division):
        error = refused(
            lambda parent=parent: entity_move(actor=northwind.admin, entity=northwind.germany, parent=parent),
            "entity_cycle",
            Conflict,
        )
        assert error.errors[0].pointer == "/parent_id"
    northwind.germany.refresh_from_db()
    assert northwind.germany.parent == northwind.root


def test_ent_01_a_new_root_gets_its_founder_as_administrator(northwind: Group) -> None:
    founded = entity_create(actor=northwind.admin, name="Tailspin", entity_type="root", currency="USD")
    assert northwind.admin.has_perm("entities.change_entity", founded)
    membership = Membership.objects.get(entity=founded)
    assert (membership.user, membership.role) == (northwind.admin, Role.ADMINISTRATOR)


def test_ent_01_nobody_without_the_right_founds_a_root(northwind: Group) -> None:
    nobody = user()
    with pytest.raises(Forbidden):
        entity_create(actor=nobody, name="Tailspin", entity_type="root", currency="USD")


def test_ent_01_currency_stays_once_there_is_money(northwind: Group) -> None:
    changed = entity_update(actor=northwind.admin, entity=northwind.germany, currency="CHF")
    assert changed.currency == "CHF"
    allocate(northwind.finance, northwind.engineering, "10.00")
    error = refused(
        lambda: entity_update(actor=northwind.admin, entity=northwind.root, currency="EUR"),
        "currency_in_use",
        Conflict,
    )
    assert error.extra["used_by"] == ["allocation postings", "cost allocations"]


def test_ent_01_delete_only_where_nothing_depends(northwind: Group) -> None:
    error = refused(
        lambda: entity_delete(actor=northwind.admin, entity=northwind.germany), "in_use", Conflict
    )
    assert error.extra["used_by"] == ["departments", "entities"]
    somebody = member(northwind.japan, Role.AUDITOR)
    assert somebody.is_staff
    entity_delete(actor=northwind.admin, entity=northwind.japan)
    somebody.refresh_from_db()
    assert not somebody.is_staff
    assert not Entity.objects.filter(pk=northwind.japan.pk).exists()
    assert not EntityClosure.objects.filter(descendant_id=northwind.japan.pk).exists()


def test_ent_01_deactivation_from_below_and_back(northwind: Group) -> None:
    refused(
        lambda: entity_deactivate(actor=northwind.admin, entity=northwind.germany, reason="Sold"),
        "active_children",
    )
    entity_deactivate(actor=northwind.admin, entity=northwind.division, reason="Closed")
    refused(lambda: department(Entity.objects.get(pk=northwind.division.pk), "X"), "entity_inactive")
    refused(lambda: entity("Kiosk", parent=northwind.division), "parent_inactive")
    again = entity_reactivate(actor=northwind.admin, entity=northwind.division, reason="Reopened")
    assert again.is_active
    reasons = list(again.history.values_list("history_change_reason", flat=True)[:2])
    assert reasons == ["Reopened", "Closed"]
    assert again.history.first().history_user == northwind.admin


def test_ent_01_versions_guard_against_lost_updates(northwind: Group) -> None:
    version = northwind.japan.version
    changed = entity_update(
        actor=northwind.admin, entity=northwind.japan, expected_version=version, city="Tokyo"
    )
    assert changed.version == version + 1
    refused(
        lambda: entity_update(
            actor=northwind.admin, entity=northwind.japan, expected_version=version, city="Osaka"
        ),
        "stale_version",
        Stale,
    )
    assert Entity.objects.get(pk=northwind.japan.pk).city == "Tokyo"


def test_ent_01_an_update_without_a_change_writes_no_history(northwind: Group) -> None:
    before = northwind.japan.history.count()
    entity_update(actor=northwind.admin, entity=northwind.japan, name=northwind.japan.name)
    assert northwind.japan.history.count() == before


def test_ent_02_moving_an_entity_leaves_its_records_alone(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.german_sales, "50.00", currency="EUR")
    entity_move(actor=northwind.admin, entity=northwind.germany, parent=northwind.services)
    assert chain(northwind.division) == [
        "Northwind Group",
        "Northwind Shared Services",
        "Northwind Deutschland",
        "Northwind Berlin",
    ]
    posting.refresh_from_db()
    assert (posting.entity, posting.amount) == (northwind.germany, Decimal("50.00"))


def test_ent_02_moving_needs_the_right_at_both_ends(northwind: Group) -> None:
    local = member(northwind.germany, Role.ADMINISTRATOR)
    with pytest.raises(Forbidden):
        entity_move(actor=local, entity=northwind.germany, parent=None)
    moved = entity_move(actor=local, entity=northwind.division, parent=None)
    assert moved.parent is None


def test_ent_02_links_are_dated_and_follow_each_other(northwind: Group) -> None:
    def pay(target: Entity, start: date) -> EntityLink:
        return entity_link_set(
            actor=northwind.admin,
            entity=northwind.japan,
            kind=LinkKind.PAYER,
            target=target,
            valid_from=start,
        )

    first = pay(northwind.japan, date(2024, 1, 1))
    second = pay(northwind.germany, date(2024, 7, 1))
    first.refresh_from_db()
    assert (first.valid_to, second.valid_to) == (date(2024, 7, 1), None)
    in_force = EntityLink.objects.filter(entity=northwind.japan).in_force
    assert in_force(date(2024, 6, 30)).get().target == northwind.japan
    assert in_force(date(2024, 7, 1)).get().target == northwind.germany
    refused(lambda: pay(northwind.root, date(2024, 3, 1)), "link_overlaps", Conflict)
    assert EntityLink.objects.count() == 2


def test_ent_02_links_stay_within_the_group_and_need_the_right_there(northwind: Group) -> None:
    start = date(2024, 1, 1)
    refused(
        lambda: entity_link_set(
            actor=system_actor(),
            entity=northwind.japan,
            kind="payer",
            target=northwind.other_root,
            valid_from=start,
        ),
        "other_group",
    )
    local = member(northwind.japan, Role.ADMINISTRATOR)
    with pytest.raises(Forbidden):
        entity_link_set(
            actor=local, entity=northwind.japan, kind="payer", target=northwind.root, valid_from=start
        )


def test_ent_02_a_link_ends_after_it_began(northwind: Group) -> None:
    link = entity_link_set(
        actor=northwind.admin,
        entity=northwind.japan,
        kind="owner",
        target=northwind.germany,
        valid_from=date(2024, 1, 1),
    )
    refused(
        lambda: entity_link_end(actor=northwind.admin, link=link, on=date(2024, 1, 1)),
        "dates_not_ordered",
        Invalid,
    )
    ended = entity_link_end(actor=northwind.admin, link=link, on=date(2024, 2, 1))
    assert ended is not None
    assert ended.valid_to == date(2024, 2, 1)
    refused(lambda: entity_link_end(actor=northwind.admin, link=link, on=date(2024, 3, 1)), "already_ended")


def test_ent_02_a_link_that_has_not_begun_is_deleted(northwind: Group) -> None:
    link = entity_link_set(
        actor=northwind.admin,
        entity=northwind.japan,
        kind="owner",
        target=northwind.germany,
        valid_from=date(2099, 1, 1),
    )
    assert entity_link_end(actor=northwind.admin, link=link, on=date(2099, 1, 1)) is None
    assert not EntityLink.objects.exists()
