"""Amendments through the services (CON-03 to CON-06, CON-16)."""

from decimal import Decimal
from typing import Any

import pytest
import time_machine

from contracts.models import AmendmentStatus, Contract, ContractAmendment
from contracts.selectors.contract import amendment_difference, status_on, terms_on
from contracts.services.amendments import (
    amendment_approved,
    amendment_bring_into_force,
    amendment_create,
    amendment_delete,
    amendment_submit,
    amendment_update,
    amendment_void,
)
from contracts.services.termination import contract_terminate
from core.access import system_actor
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.models import ExchangeRate
from tests.contracts.builders import PLATFORM, SEATS, Place, day, withdraw


def numbers(contract: Contract) -> list[tuple[int | None, str]]:
    rows = ContractAmendment.objects.filter(contract=contract).order_by("pk")
    return [(amendment.number, amendment.status) for amendment in rows]


def test_con_04_numbers_have_no_gap_and_a_voided_number_stays(here: Place) -> None:
    """A rejected one gets none; the second is void and keeps its number; the third is 3."""
    contract = here.active()
    here.amend(contract, "2026-07-01", fields={"value": "13000"})
    rejected = here.amendment(contract, "2026-07-01", fields={"value": "1"})
    amendment_submit(actor=here.staff, amendment_id=rejected.pk)
    withdraw(here, "contract_amendment", rejected.pk)
    voided = here.ready(contract, "2026-07-01", fields={"value": "2"})
    amendment_void(actor=here.staff, amendment_id=voided.pk, reason="Not needed")
    here.amend(contract, "2026-08-01", fields={"value": "14000"})
    assert numbers(contract) == [(1, "in_force"), (None, "draft"), (2, "void"), (3, "in_force")]
    amendment_delete(actor=here.staff, amendment_id=rejected.pk)
    for kept in (voided, ContractAmendment.objects.get(number=3)):
        with pytest.raises(Conflict):
            amendment_delete(actor=here.staff, amendment_id=kept.pk)
    assert terms_on(contract, day("2026-12-31")).amendments == (1, 3)


def test_con_05_the_same_past_day_has_the_same_terms_before_and_after(here: Place) -> None:
    contract = here.active()
    here.amend(contract, "2026-07-01", prices={"set": [SEATS]}, fields={"discount_percent": "10"})
    before = terms_on(contract, day("2026-08-01"))
    here.amend(contract, "2026-09-01", prices={"set": [{**PLATFORM, "price": "1200"}], "remove": ["seats"]})
    assert terms_on(contract, day("2026-08-01")) == before
    assert sorted(before.prices) == ["platform", "seats"] and before.conditions.discount_percent == 10
    future = terms_on(contract, day("2026-12-01"))
    assert {code: line.price for code, line in future.prices.items()} == {"platform": Decimal(1200)}


def test_con_05_only_what_is_in_force_counts(here: Place) -> None:
    contract = here.active()
    ready = here.ready(contract, "2026-07-01", fields={"value": "13000"})
    assert terms_on(contract, day("2026-07-01")).conditions.value == 12000
    amendment_bring_into_force(actor=here.finance, amendment_id=ready.pk)
    assert terms_on(contract, day("2026-07-01")).conditions.value == 13000


def test_con_02_an_amendment_needs_approval_and_signatures_of_its_own(here: Place) -> None:
    contract = here.active()
    amendment = here.amendment(contract, "2026-07-01", fields={"value": "13000"})
    with pytest.raises(Conflict) as refusal:
        amendment_bring_into_force(actor=here.finance, amendment_id=amendment.pk)
    assert [each["code"] for each in refusal.value.extra["missing"]] == [
        "approval_missing",
        "signature_missing",
        "signature_missing",
    ]
    assert numbers(contract) == [(None, "draft")]


def test_con_03_a_retroactive_amendment_needs_the_flag(here: Place) -> None:
    contract = here.active()
    amendment = amendment_create(
        actor=here.staff,
        contract_id=contract.pk,
        title="Back",
        effective_from=day("2026-03-01"),
        changes={"fields": {"value": "13000"}},
    )
    amendment_submit(actor=here.staff, amendment_id=amendment.pk)
    amendment_approved(actor=system_actor(), amendment_id=amendment.pk)
    here.sign(contract, amendment)
    with pytest.raises(Conflict) as refusal:
        amendment_bring_into_force(actor=here.finance, amendment_id=amendment.pk)
    assert [each["code"] for each in refusal.value.extra["missing"]] == ["retroactive_not_agreed"]
    here.amend(contract, "2026-03-01", fields={"value": "13000"})
    assert terms_on(contract, day("2026-03-01")).conditions.value == 13000


@pytest.mark.parametrize(
    ("effective_from", "changes", "code"),
    [
        ("2025-12-31", {"fields": {"value": "1"}}, "before_the_contract"),
        ("2026-07-01", {"prices": {"remove": ["nothing"]}}, "unknown_line"),
        ("2026-07-01", {"fields": {"end_date": "2025-01-01"}}, "end_before_start"),
        ("2026-07-01", {"reinstate": True}, "nothing_to_reinstate"),
        ("2026-07-01", {"prices": {"set": [{**PLATFORM, "department_id": 0}]}}, "does_not_exist"),
    ],
)
def test_con_04_an_amendment_that_does_not_fit_the_terms_is_refused(
    here: Place, effective_from: str, changes: dict[str, Any], code: str
) -> None:
    contract = here.active()
    with pytest.raises(Invalid) as refusal:
        here.amendment(contract, effective_from, **changes)
    assert refusal.value.errors[0].code == code
    assert not ContractAmendment.objects.exists()


def test_con_06_the_currency_changes_from_a_period_start_and_with_every_figure(here: Place) -> None:
    contract = here.active(billing_anchor=day("2026-01-15"))
    in_euro = {
        "fields": {"currency": "EUR", "value": "11000"},
        "prices": {"set": [{**PLATFORM, "price": "900"}]},
    }
    with pytest.raises(Invalid) as refusal:
        here.amendment(contract, "2026-07-01", **in_euro)
    assert [each.code for each in refusal.value.errors] == ["currency_within_period"]
    with pytest.raises(Invalid) as refusal:
        here.amendment(contract, "2026-07-15", fields={"currency": "EUR"})
    assert [each.code for each in refusal.value.errors] == ["price_in_old_currency", "value_in_old_currency"]
    ExchangeRate.objects.create(
        date=day("2026-06-15"), base="EUR", quote="USD", rate=Decimal("1.10"), source="test"
    )
    here.amend(contract, "2026-07-15", **in_euro)
    assert [terms_on(contract, day(on)).conditions.currency for on in ("2026-07-14", "2026-07-15")] == [
        "USD",
        "EUR",
    ]


def test_con_16_reinstatement_is_an_amendment(here: Place) -> None:
    contract = here.active(convenience_allowed=True, convenience_notice_days=0)
    contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Over")
    assert Contract.objects.get().status == "terminated"
    here.amend(contract, "2026-07-01", reinstate=True)
    assert [status_on(contract, day(on)) for on in ("2026-06-14", "2026-06-15", "2026-07-01")] == [
        "active",
        "terminated",
        "active",
    ]
    with time_machine.travel("2026-07-02T12:00:00Z", tick=False):
        here.amend(contract, "2026-07-02", fields={"value": "5000"})
        assert Contract.objects.get().status == "active"


def test_only_a_draft_is_changed_and_approved_ones_are_voided_instead(here: Place) -> None:
    contract = here.active()
    amendment = here.amendment(contract, "2026-07-01", fields={"value": "13000"})
    changed = amendment_update(
        actor=here.staff, amendment_id=amendment.pk, changes={"changes": {"fields": {"value": "14000.00"}}}
    )
    assert changed.changes == {"fields": {"value": "14000"}}
    ready = here.ready(contract, "2026-07-01", fields={"value": "14500"})
    with pytest.raises(Conflict):
        amendment_update(actor=here.staff, amendment_id=ready.pk, changes={"title": "X"})
    in_force = here.amend(contract, "2026-07-01", fields={"value": "15000"})
    with pytest.raises(Conflict):
        amendment_void(actor=here.staff, amendment_id=in_force.pk, reason="Regret")
    assert ContractAmendment.objects.get(pk=in_force.pk).status == AmendmentStatus.IN_FORCE


def test_the_difference_of_a_draft_and_of_one_in_force(here: Place) -> None:
    contract = here.active()
    first = here.amend(contract, "2026-07-01", fields={"value": "13000"})
    second = here.amendment(contract, "2026-07-01", fields={"value": "14000"})
    told = [[(each.before, each.after) for each in amendment_difference(one)] for one in (first, second)]
    assert told == [[("$12,000.00", "$13,000.00")], [("$13,000.00", "$14,000.00")]]


def test_ent_04_amendments_are_hidden_from_outsiders_and_decided_by_managers(here: Place) -> None:
    contract = here.active()
    amendment = here.ready(contract, "2026-07-01", fields={"value": "13000"})
    with pytest.raises(NotFound):
        amendment_void(actor=here.outsider, amendment_id=amendment.pk, reason="X")
    with pytest.raises(Forbidden):
        amendment_bring_into_force(actor=here.staff, amendment_id=amendment.pk)


def test_an_amendment_of_a_draft_contract_is_refused(here: Place) -> None:
    with pytest.raises(Conflict, match="not activated"):
        here.amendment(here.draft(), "2026-07-01", fields={"value": "1"})
