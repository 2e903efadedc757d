"""APR-18: who may name somebody that stands in."""

import datetime
from typing import Any

import pytest

from approvals.models import Delegation
from approvals.services.delegations import delegation_create, delegation_end
from core import clock
from core.errors import BillingError
from core.models import User
from entities.models import Role
from tests.approvals.builders import House
from tests.entities import factories


def delegate(actor: User, delegator: User, to: User, **fields: Any) -> Delegation:
    now = clock.now()
    ends = now + datetime.timedelta(days=7)
    return delegation_create(
        actor=actor,
        delegator=delegator,
        delegate=to,
        valid_from=now,
        valid_to=ends,
        reason="Ill",
        **fields,
    )


def test_apr_18_for_somebody_else_only_where_one_looks_after_approvals(home: House) -> None:
    elsewhere = factories.entity("Elsewhere")
    overseer = factories.member(elsewhere, Role.FINANCE_MANAGER)
    factories.grant(home.anna, elsewhere, Role.APPROVER)
    there = factories.department(elsewhere, "SALES")
    for places in ([], [home.place.department], [there, home.place.department]):
        with pytest.raises(BillingError) as caught:
            delegate(overseer, home.anna, home.ben, departments=places)
        assert caught.value.code == "delegation_of_another"
    given = delegate(overseer, home.anna, home.ben, departments=[there])
    assert list(given.departments.all()) == [there]
    with pytest.raises(BillingError) as caught:
        delegation_end(actor=home.place.finance, delegation_id=given.pk)
    assert caught.value.code == "delegation_of_another"
    assert delegation_end(actor=overseer, delegation_id=given.pk).ended_at == clock.now()


def test_apr_18_a_service_account_passes_nothing_on(home: House) -> None:
    User.objects.filter(pk=home.anna.pk).update(is_service_account=True)
    anna = User.objects.get(pk=home.anna.pk)
    for actor in (anna, home.place.finance):
        with pytest.raises(BillingError) as caught:
            delegate(actor, anna, home.ben)
        assert caught.value.code == "service_account"
    assert not Delegation.objects.exists()
