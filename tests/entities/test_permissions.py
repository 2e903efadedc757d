"""Who may do what, as a table: role × operation × answer, over the API and in the back-office (ENT-04, ENT-05)."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from rest_framework.test import APIClient

from core.models import User
from entities.models import AllocationRule, Membership, Role
from tests.entities.conftest import BASE, allocate
from tests.entities.factories import Group
from tests.entities.test_allocation_rule import rule

A, M, S, D, P, U, X, O = (  # noqa: E741  (the columns of the table)
    Role.ADMINISTRATOR,
    Role.FINANCE_MANAGER,
    Role.FINANCE_STAFF,
    Role.DEPARTMENT_MANAGER,
    Role.APPROVER,
    Role.AUDITOR,
    Role.SERVICE_ACCOUNT,
    "outsider",
)
ROLES = (A, M, S, D, P, U, X, O)
PERIOD = {"period_start": "2024-09-01", "period_end": "2024-10-01"}

# Operation: (method, path, body) and the answer per column of ROLES. `outsider` is the administrator of another
# group; department manager and approver act at Engineering. 404: out of scope. 400: a key that does not exist.
# fmt: off
API_TABLE: dict[str, tuple[str, str, Any, str]] = {
    #                                                                                        A   M   S   D   P   U   X   O
    "list entities": ("get", "/entities", None,                                          "200 200 200 200 200 200 200 200"),
    "read the root": ("get", "/entities/{root}", None,                                   "200 200 200 200 200 200 200 404"),
    "read a subsidiary": ("get", "/entities/{germany}", None,                            "200 200 200 404 404 200 200 404"),
    "create a subsidiary": ("post", "/entities", "entity",                               "201 201 403 403 403 403 201 400"),
    "change an entity": ("patch", "/entities/{japan}", {"city": "Osaka"},                "200 200 403 404 404 403 200 404"),
    "delete an entity": ("delete", "/entities/{japan}", None,                            "204 204 403 404 404 403 403 404"),
    "read a department": ("get", "/departments/{engineering}", None,                     "200 200 200 200 200 200 200 404"),
    "read another one": ("get", "/departments/{marketing}", None,                        "200 200 200 404 404 200 200 404"),
    "create a department": ("post", "/departments", "department",                        "201 201 201 403 403 403 201 400"),
    "change a department": ("patch", "/departments/{engineering}", {"name": "N"},        "200 200 200 403 403 403 200 404"),
    "delete a department": ("delete", "/departments/{platform}", None,                   "204 204 204 403 403 403 204 404"),
    "read costs": ("get", "/departments/{engineering}/costs", None,                      "200 200 200 200 200 200 200 404"),
    "read other costs": ("get", "/departments/{it}/costs", None,                         "200 200 200 404 404 200 200 404"),
    "allocate": ("post", "/departments/{engineering}/allocations", "allocation",         "201 201 201 403 403 403 201 404"),
    "reverse": ("post", "/allocation-postings/{posting}/reverse", {"reason": "x"},       "201 201 201 404 404 403 201 404"),
    "list memberships": ("get", "/memberships", None,                                    "200 200 200 403 403 200 403 200"),
    "grant a role": ("post", "/memberships", "membership",                               "201 403 403 403 403 403 403 400"),
    "end a role": ("post", "/memberships/{membership}/end", {},                          "200 403 403 404 404 403 404 404"),
    "set a link": ("post", "/entity-links", "link",                                      "201 201 403 403 403 403 403 400"),
    "create a rule": ("post", "/allocation-rules", "rule",                               "201 201 201 403 403 403 201 400"),
    "run a rule": ("post", "/allocation-rules/{rule}/run", PERIOD,                       "201 201 201 404 404 403 201 404"),
    "delete a rule": ("delete", "/allocation-rules/{rule}", None,                        "204 204 403 404 404 403 403 404"),
}
# fmt: on


@pytest.fixture
def names(northwind: Group) -> dict[str, int]:
    """The keys that paths name, and something for each of them to work on."""
    allocate(northwind.finance, northwind.it, "10.00")
    made: AllocationRule = rule(northwind, northwind.it, (northwind.engineering, "100"))
    return {
        "root": northwind.root.pk,
        "germany": northwind.germany.pk,
        "japan": northwind.japan.pk,
        "it": northwind.it.pk,
        "engineering": northwind.engineering.pk,
        "platform": northwind.platform.pk,
        "marketing": northwind.marketing.pk,
        "posting": allocate(northwind.finance, northwind.marketing, "10.00").pk,
        "membership": Membership.objects.get(user=northwind.users[Role.AUDITOR]).pk,
        "rule": made.pk,
        "auditor": northwind.users[Role.AUDITOR].pk,
    }


def body_of(name: Any, names: dict[str, int]) -> Any:
    """The bodies that name records."""
    targets = [{"department_id": names["engineering"], "weight": "100"}]
    bodies: dict[str, Any] = {
        "entity": {"name": "N", "entity_type": "subsidiary", "parent_id": names["root"], "currency": "USD"},
        "department": {"entity_id": names["root"], "name": "N", "code": "N", "cost_center_type": "cost"},
        "allocation": {"amount": "1.00", "description": "x", **PERIOD},
        "membership": {"user_id": names["auditor"], "entity_id": names["germany"], "role": "approver"},
        "link": {
            "entity_id": names["japan"],
            "kind": "payer",
            "target_id": names["germany"],
            "valid_from": "2024-01-01",
        },
        "rule": {
            "entity_id": names["root"],
            "name": "Marketing",
            "source_id": names["marketing"],
            "valid_from": "2024-01-01",
            "targets": targets,
        },
    }
    return bodies[name] if isinstance(name, str) else name


@pytest.mark.parametrize("operation", API_TABLE)
def test_ent_05_api_answers_by_role(
    operation: str, northwind: Group, names: dict[str, int], api: Callable[[User], APIClient]
) -> None:
    method, path, body, expected = API_TABLE[operation]
    found = {}
    for role in ROLES:
        client = api(northwind.users[role])
        with transaction.atomic():
            data = body_of(body, names)
            arguments = {"data": data, "format": "json"} if data is not None else {}
            response = getattr(client, method)(BASE + path.format(**names), **arguments)
            found[str(role)] = response.status_code
            transaction.set_rollback(True)
    assert found == dict(zip(map(str, ROLES), map(int, expected.split()), strict=True))


def test_ent_05_nobody_signed_in_gets_401(northwind: Group, names: dict[str, int]) -> None:
    for method, path, body, _ in API_TABLE.values():
        data = body_of(body, names)
        arguments = {"data": data, "format": "json"} if data is not None else {}
        response = getattr(APIClient(), method)(BASE + path.format(**names), **arguments)
        assert response.status_code == 401, path


# --- The back-office -------------------------------------------------------------------------------------

STAFF = (A, M, S, U, O)
# fmt: off
ADMIN_TABLE: dict[str, tuple[str, str]] = {
    #                                                                  A   M   S   U   O
    "entities": ("entity/",                                        "200 200 200 200 200"),
    "an entity": ("entity/{germany}/change/",                      "200 200 200 200 404"),
    "add an entity": ("entity/add/",                               "200 200 403 403 200"),
    "delete an entity": ("entity/{japan}/delete/",                 "200 200 403 403 404"),
    "set a link": ("entity/{japan}/do/link/",                      "200 200 403 403 404"),
    "deactivate": ("entity/{japan}/do/deactivate/",                "200 200 403 403 404"),
    "history of an entity": ("entity/{germany}/history/",          "200 200 200 200 404"),
    "departments": ("department/",                                 "200 200 200 200 200"),
    "a department": ("department/{it}/change/",                    "200 200 200 200 404"),
    "add a department": ("department/add/",                        "200 200 200 403 200"),
    "close": ("department/{it}/do/close/",                         "200 200 200 403 404"),
    "memberships": ("membership/",                                 "200 200 200 200 200"),
    "give a role": ("membership/add/",                             "200 403 403 403 200"),
    "a membership": ("membership/{membership}/change/",            "200 200 200 200 404"),
    "end a membership": ("membership/{membership}/do/end/",        "200 403 403 403 404"),
    "delete a membership": ("membership/{membership}/delete/",     "403 403 403 403 403"),
    "postings": ("allocationposting/",                             "200 200 200 200 200"),
    "a posting": ("allocationposting/{posting}/change/",           "200 200 200 200 404"),
    "allocate": ("allocationposting/add/",                         "200 200 200 403 200"),
    "reverse": ("allocationposting/{posting}/do/reverse/",         "200 200 200 403 404"),
    "allocations": ("costallocation/",                             "200 200 200 200 200"),
    "rules": ("allocationrule/",                                   "200 200 200 200 200"),
    "a rule": ("allocationrule/{rule}/change/",                    "200 200 200 200 404"),
    "add a rule": ("allocationrule/add/",                          "200 200 200 403 200"),
    "run a rule": ("allocationrule/{rule}/run/",                   "200 200 200 403 404"),
    "new version": ("allocationrule/{rule}/new-version/",          "200 200 200 403 404"),
    "export": ("costallocation/export.csv",                        "200 200 200 200 200"),
}
# fmt: on


@pytest.mark.parametrize("page", ADMIN_TABLE)
def test_ent_05_back_office_answers_by_role(
    page: str, northwind: Group, names: dict[str, int], back_office: Callable[[User], Client]
) -> None:
    path, expected = ADMIN_TABLE[page]
    found = {}
    for role in STAFF:
        response = back_office(northwind.users[role]).get(f"/admin/entities/{path.format(**names)}")
        # Django answers for an object that is not there by going back to its index.
        gone = response.status_code == 302 and response["Location"].endswith("/admin/")
        found[str(role)] = 404 if gone else response.status_code
    assert found == dict(zip(map(str, STAFF), map(int, expected.split()), strict=True))


@pytest.mark.parametrize("role", [D, P, X])
def test_ent_05_others_do_not_enter_the_back_office(
    role: str, northwind: Group, back_office: Callable[[User], Client]
) -> None:
    response = back_office(northwind.users[role]).get("/admin/entities/entity/")
    assert (response.status_code, response["Location"].split("?")[0]) == (302, "/admin/login/")


def test_ent_04_dates_of_a_membership_close_the_doors(
    northwind: Group, api: Callable[[User], APIClient]
) -> None:
    auditor = northwind.users[Role.AUDITOR]
    Membership.objects.filter(user=auditor).update(valid_to=date(2020, 1, 1))
    response = api(auditor).get(f"{BASE}/entities")
    assert response.status_code == 403
