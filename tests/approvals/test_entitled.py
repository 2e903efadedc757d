"""APR-14, APR-16, APR-21: where somebody needs the right to decide depends on why they are asked.

Holders of a role need it where the request belongs; people whom a rule names, and managers, need it anywhere.
"""

import pytest

from approvals.models import ApprovalTask
from approvals.services.rules import LevelTerms
from approvals.services.votes import request_approve
from core.access import system_actor
from core.errors import BillingError
from core.models import User
from core.outbox import dispatch_pending
from entities.models import Entity, Membership, Role
from entities.services import membership_end
from tests.approvals.builders import ROLE_LEVEL, House, asked, people
from tests.entities import factories

MANAGERS = LevelTerms(approver_kind="manager")


@pytest.fixture
def abroad(home: House) -> User:
    """Somebody who decides in another company only."""
    return factories.member(factories.entity("Elsewhere"), Role.APPROVER)


def lose(user: User, entity: Entity) -> None:
    membership_end(actor=system_actor(), membership=Membership.objects.get(user=user, entity=entity))
    while dispatch_pending().delivered:
        pass


def test_apr_16_a_manager_who_decides_in_another_company_is_asked_up_the_line(
    home: House, abroad: User
) -> None:
    home.asker.manager = abroad
    home.asker.save()
    home.rule(MANAGERS)
    request = home.ask()
    assert asked(request) == [abroad.username]
    assert home.approve(request, abroad).status == "approved"


def test_apr_14_a_named_person_from_another_company_is_asked_until_they_decide_nowhere(
    home: House, abroad: User
) -> None:
    abroad.manager = home.ben
    abroad.save()
    home.rule(people(abroad))
    request = home.ask()
    assert asked(request) == [abroad.username]
    factories.grant(abroad, home.place.entity, Role.APPROVER)
    lose(abroad, home.place.entity)
    assert asked(request) == [abroad.username]
    lose(abroad, Entity.objects.get(name="Elsewhere"))
    assert asked(request) == [home.ben.username]


def test_apr_14_the_manager_of_who_may_not_decide_takes_the_place_wherever_they_decide(
    home: House, abroad: User
) -> None:
    home.anna.manager = abroad
    home.anna.save()
    home.rule(people(home.anna))
    request = home.ask(payee=home.anna)
    assert asked(request) == [abroad.username]
    assert not ApprovalTask.objects.get(request=request).needs_right_there


def test_apr_21_who_is_asked_for_a_role_needs_it_there(home: House) -> None:
    home.rule(ROLE_LEVEL)
    factories.grant(home.anna, factories.entity("Elsewhere"), Role.APPROVER)
    request = home.ask()
    assert home.anna.username in asked(request)
    membership = Membership.objects.get(user=home.anna, entity=home.place.entity)
    membership.delete()
    with pytest.raises(BillingError) as caught:
        request_approve(actor=home.anna, request_id=request.pk)
    assert caught.value.code == "role_lost"


def test_apr_01_a_role_named_at_another_entity_is_asked_there(home: House, abroad: User) -> None:
    elsewhere = Entity.objects.get(name="Elsewhere")
    home.rule(LevelTerms(settings={**ROLE_LEVEL.settings, "entity": elsewhere}))
    request = home.ask()
    assert asked(request) == [abroad.username]
    assert home.approve(request, abroad).status == "approved"
