"""Who may do what with approvals, as a table: role × operation × answer (ENT-04, ENT-05)."""

from typing import Any

import pytest
from django.db import transaction

from approvals.models import ApprovalTask
from core.models import User
from entities.models import Role
from tests.approvals.api.conftest import BASE, SignIn
from tests.approvals.builders import House, people
from tests.entities import factories

A, M, S, U, X = (  # the columns of the table
    Role.ADMINISTRATOR,
    Role.FINANCE_MANAGER,
    Role.FINANCE_STAFF,
    Role.AUDITOR,
    Role.SERVICE_ACCOUNT,
)
# `asker`, a department's manager, asked for the request; `asked` is the approver whose turn it is; `outsider` is the
# administrator of another group.
COLUMNS = (A, M, S, U, X, "asker", "asked", "outsider")

# Operation: (method, path, body) and the answer per column. 404: out of scope.
# fmt: off
TABLE: dict[str, tuple[str, str, Any, str]] = {
    #                                                                                  A   M   S   U   X   ask asd out
    "list requests": ("get", "/approvals", None,                                     "200 200 200 200 200 200 200 200"),
    "read a request": ("get", "/approvals/{request}", None,                          "200 200 200 200 200 200 200 404"),
    "read its trail": ("get", "/approvals/{request}/history", None,                  "200 200 200 200 200 200 200 404"),
    "ask": ("post", "/approvals", "ask",                                             "201 201 201 403 201 201 201 404"),
    "change": ("patch", "/approvals/{request}", {"title": "T"},                      "403 403 403 403 403 200 403 404"),
    "submit a draft": ("post", "/approvals/{draft}/submit", None,                    "403 403 403 403 403 200 403 404"),
    "delete a draft": ("delete", "/approvals/{draft}", None,                         "403 403 403 403 403 204 403 404"),
    "approve": ("post", "/approvals/{request}/action", {"action": "approve"},        "403 403 403 403 403 403 200 404"),
    "reject": ("post", "/approvals/{request}/action", "reject",                      "403 403 403 403 403 403 200 404"),
    "escalate": ("post", "/approvals/{request}/action", {"action": "escalate"},      "200 200 403 403 403 200 200 404"),
    "withdraw": ("post", "/approvals/{request}/action", {"action": "withdraw"},      "403 403 403 403 403 200 403 404"),
    "recalculate": ("post", "/approvals/{request}/recalculate", "reason",            "200 200 403 403 403 403 403 404"),
    "emergency": ("post", "/approvals/{request}/emergency-approval", "reason",       "200 200 403 403 403 403 403 404"),
    "reassign": ("post", "/approval-tasks/{task}/reassign", "reassign",              "200 200 403 403 403 403 403 404"),
    "list rules": ("get", "/approval-rules", None,                                   "200 200 200 200 200 403 403 200"),
    "read a rule": ("get", "/approval-rules/{rule}", None,                           "200 200 200 200 200 404 403 404"),
    "change a rule": ("patch", "/approval-rules/{rule}", {"name": "N"},              "200 200 403 403 403 404 403 404"),
    "retire a rule": ("post", "/approval-rules/{rule}/retire", "reason",             "200 200 403 403 403 404 403 404"),
    "delegate": ("post", "/approval-delegations", "delegate",                        "201 201 201 403 403 201 201 400"),
    "set a limit": ("post", "/authority-limits", "limit",                            "201 201 403 403 403 403 403 400"),
}
# fmt: on


def body_of(name: Any, home: House) -> Any:
    """The bodies that name records."""
    entity, department = home.place.entity.pk, home.place.department.pk
    bodies: dict[str, Any] = {
        "ask": {
            "request_type": "purchase",
            "title": "T",
            "description": "",
            "amount": "1.00",
            "department_id": department,
        },
        "reject": {"action": "reject", "comment": "No"},
        "reason": {"reason": "Because"},
        "reassign": {"to_user_id": home.ben.pk, "reason": "On leave"},
        "delegate": {
            "delegate_id": home.ben.pk,
            "valid_from": "2026-07-01T00:00:00Z",
            "valid_to": "2026-07-08T00:00:00Z",
            "reason": "On leave",
        },
        "limit": {"role": "approver", "entity_id": entity, "max_amount": "5.00", "currency": "USD"},
    }
    return bodies[name] if isinstance(name, str) else name


def test_ent_05_api_answers_by_role(home: House, sign_in: SignIn) -> None:
    rule = home.rule(people(home.anna))
    request = home.ask()
    names = {
        "request": request.pk,
        "draft": home.ask(draft=True).pk,
        "task": ApprovalTask.objects.get(request=request).pk,
        "rule": rule.pk,
    }
    users: dict[str, User] = {
        str(role): factories.member(home.place.entity, role) for role in (A, M, S, U, X)
    }
    users |= {"asker": home.asker, "asked": home.anna, "outsider": home.place.outsider}
    clients = {name: sign_in(user) for name, user in users.items()}
    found: dict[str, str] = {}
    for operation, (method, path, body, _) in TABLE.items():
        answers = []
        for column in COLUMNS:
            client = clients[str(column)]
            with transaction.atomic():
                data = body_of(body, home)
                arguments = {"data": data, "format": "json"} if data is not None else {}
                response = getattr(client, method)(BASE + path.format(**names), **arguments)
                answers.append(str(response.status_code))
                transaction.set_rollback(True)
        found[operation] = " ".join(answers)
    assert found == {operation: row[3] for operation, row in TABLE.items()}


@pytest.mark.django_db
def test_nobody_signed_in_gets_401(client: Any) -> None:
    for method, path, _, _ in TABLE.values():
        where = path.format(request=1, draft=1, task=1, rule=1)
        answer = getattr(client, method)(BASE + where, data={}, content_type="application/json")
        assert answer.status_code == 401, path
