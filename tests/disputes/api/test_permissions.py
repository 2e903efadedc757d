"""Who may do what with disputes, as a table: role × operation × answer (ENT-04, ENT-05, DSP-18)."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction

from disputes.services.attachments import attachment_add
from disputes.services.comments import comment_add
from disputes.services.proposals import Proposal, dispute_resolve
from entities.models import Role
from tests.disputes.api.conftest import BASE, SignIn
from tests.disputes.builders import Desk
from tests.entities import factories

# At the issuer: administrator, finance manager, finance staff, auditor, service account, approver. Then the payer's
# finance staff and approver, the buyer of the line's department, the manager of another one, and another group's.
COLUMNS = (
    "admin", "manager", "staff", "auditor", "service", "approver", "customer", "reader", "buyer", "neighbour",
    "stranger",
)  # fmt: skip

# Operation: (method, path, body) and the answer per column. 404: out of scope.
# fmt: off
TABLE: dict[str, tuple[str, str, Any, str]] = {
    #                                                                        adm mgr stf aud svc app cus rdr buy nei str
    "list": ("get", "/disputes", None,                                      "200 200 200 200 200 200 200 200 200 200 200"),
    "read": ("get", "/disputes/{dispute}", None,                            "200 200 200 200 200 200 200 200 200 404 404"),
    "clocks": ("get", "/disputes/{dispute}/clocks", None,                   "200 200 200 200 200 200 200 200 200 404 404"),
    "events": ("get", "/disputes/{dispute}/events", None,                   "200 200 200 200 200 200 200 200 200 404 404"),
    "comments": ("get", "/disputes/{dispute}/comments", None,               "200 200 200 200 200 200 200 200 200 404 404"),
    "internal comment": ("get", "/disputes/{dispute}/comments/{note}", None,
                                                                            "200 200 200 200 200 404 404 404 404 404 404"),
    "internal file": ("get", "/dispute-attachments/{file}/content", None,   "200 200 200 200 200 404 404 404 404 404 404"),
    "reasons": ("get", "/disputes/reasons", None,                           "200 200 200 200 200 403 200 403 403 403 200"),
    "open": ("post", "/disputes", "open",                                   "201 201 201 403 201 403 201 403 201 404 404"),
    "change": ("patch", "/disputes/{dispute}", {"category": "tax"},         "200 200 200 403 200 403 403 403 403 404 404"),
    "delete": ("delete", "/disputes/{dispute}", None,                       "405 405 405 405 405 405 405 405 405 405 405"),
    "acknowledge": ("post", "/disputes/{dispute}/acknowledge", None,        "200 200 200 403 200 403 403 403 403 404 404"),
    "investigate": ("post", "/disputes/{dispute}/investigate", None,        "200 200 200 403 200 403 403 403 403 404 404"),
    "wait": ("post", "/disputes/{dispute}/wait", {"waiting_for": "customer"},
                                                                            "200 200 200 403 200 403 403 403 403 404 404"),
    "escalate": ("post", "/disputes/{dispute}/escalate", "reason",          "200 200 200 403 200 403 403 403 403 404 404"),
    "withdraw": ("post", "/disputes/{dispute}/withdraw", "reason",          "200 200 200 403 200 403 200 403 200 404 404"),
    "resolve": ("put", "/disputes/{dispute}/resolve", "resolve",            "200 200 200 403 200 403 403 403 403 404 404"),
    "take back": ("post", "/disputes/{proposed}/withdraw-proposal", "reason",
                                                                            "200 200 200 403 200 403 403 403 403 404 404"),
    "reopen": ("post", "/disputes/{resolved}/reopen", "reason",             "200 200 200 403 200 403 200 403 200 404 404"),
    "close": ("post", "/disputes/{resolved}/close", None,                   "200 200 200 403 200 403 200 403 200 404 404"),
    "merge": ("post", "/disputes/{dispute}/merge", "merge",                 "200 200 200 403 403 403 403 403 403 404 404"),
    "write": ("post", "/disputes/{dispute}/comments", "public",             "201 201 201 403 201 403 201 403 201 404 404"),
    "write internally": ("post", "/disputes/{dispute}/comments", "internal",
                                                                            "201 201 201 403 201 403 403 403 403 404 404"),
    "attach": ("post", "/disputes/{dispute}/attachments", "file",           "201 201 201 403 201 403 201 403 201 404 404"),
    "detach": ("delete", "/dispute-attachments/{theirs}", None,             "403 403 403 403 403 403 204 403 403 404 404"),
    "list policies": ("get", "/dispute-policies", None,                     "200 200 200 200 200 403 200 403 403 403 200"),
    "read a policy": ("get", "/dispute-policies/{policy}", None,            "200 200 200 200 200 404 404 404 404 404 404"),
    "add a policy": ("post", "/dispute-policies", "policy",                 "201 201 403 403 403 403 403 403 403 403 400"),
    "change a policy": ("patch", "/dispute-policies/{policy}", {"name": "N"},
                                                                            "200 200 403 403 403 404 404 404 404 404 404"),
    "delete a policy": ("delete", "/dispute-policies/{policy}", None,       "204 204 403 403 403 404 404 404 404 404 404"),
}
# fmt: on


def body_of(name: Any, desk: Desk, names: dict[str, Any]) -> Any:
    """The bodies that name records."""
    bodies: dict[str, Any] = {
        "open": {
            "invoice_id": names["fresh"],
            "invoice_line_id": names["fresh_line"],
            "category": "pricing",
            "amount": "1.00",
            "reason": "Half",
        },
        "reason": {"reason": "Because"},
        "resolve": {"resolution_type": "no_action", "note": "Billed as ordered."},
        "merge": {"other_id": names["other"], "reason": "One price list"},
        "public": {"body": "Hello", "visibility": "customer"},
        "internal": {"body": "Hello", "visibility": "internal"},
        "policy": {"issuer_id": desk.issuer.pk, "name": "Of the payer", "customer_id": desk.payer.pk},
    }
    return bodies[name] if isinstance(name, str) else name


@pytest.fixture
def names(desk: Desk) -> dict[str, Any]:
    """What the table's addresses and bodies name."""
    policy = desk.policy()
    policy.is_active = False
    policy.save()
    invoice, fresh = desk.invoice(), desk.invoice()
    dispute, other = desk.open(invoice, line=1), desk.open(invoice, line=2, amount="1")
    proposed, resolved = desk.open(), desk.open()
    dispute_resolve(actor=desk.staff, dispute_id=proposed.pk, proposal=Proposal("credit", "Yes"))
    dispute_resolve(actor=desk.staff, dispute_id=resolved.pk, proposal=Proposal("no_action", "No"))
    files = {
        visibility: attachment_add(
            actor=actor, dispute_id=dispute.pk, name="a.txt", visibility=visibility,
            file=SimpleUploadedFile("a.txt", b"Hello"),
        ).pk
        for visibility, actor in (("internal", desk.staff), ("customer", desk.customer))
    }  # fmt: skip
    return {
        "dispute": dispute.pk,
        "other": other.pk,
        "proposed": proposed.pk,
        "resolved": resolved.pk,
        "note": comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Hm").pk,
        "file": files["internal"],
        "theirs": files["customer"],
        "policy": policy.pk,
        "fresh": fresh.pk,
        "fresh_line": desk.line(fresh).pk,
    }


def test_ent_05_api_answers_by_role(desk: Desk, names: dict[str, Any], sign_in: SignIn) -> None:
    users = {
        "admin": factories.member(desk.issuer, Role.ADMINISTRATOR),
        "manager": desk.manager,
        "staff": desk.staff,
        "auditor": desk.auditor,
        "service": factories.member(desk.issuer, Role.SERVICE_ACCOUNT),
        "approver": factories.member(desk.issuer, Role.APPROVER),
        "customer": desk.customer,
        "reader": factories.member(desk.payer, Role.APPROVER),
        "buyer": desk.buyer,
        "neighbour": desk.neighbour,
        "stranger": desk.stranger,
    }
    clients = {name: sign_in(users[name]) for name in COLUMNS}
    found: dict[str, str] = {}
    for operation, (method, path, body, _) in TABLE.items():
        answers = []
        for column in COLUMNS:
            with transaction.atomic():
                if body == "file":
                    file = SimpleUploadedFile("b.txt", b"Other")
                    arguments: dict[str, Any] = {
                        "data": {"file": file, "visibility": "customer"},
                        "format": "multipart",
                    }
                else:
                    data = body_of(body, desk, names)
                    arguments = {"data": data, "format": "json"} if data is not None else {}
                response = getattr(clients[column], method)(BASE + path.format(**names), **arguments)
                answers.append(str(response.status_code))
                transaction.set_rollback(True)
        found[operation] = " ".join(answers)
    assert found == {operation: row[3] for operation, row in TABLE.items()}


@pytest.mark.django_db
def test_nobody_signed_in_gets_401(client: Any) -> None:
    names = dict.fromkeys(
        ("dispute", "other", "proposed", "resolved", "note", "file", "theirs", "policy", "fresh"), 1
    )
    for method, path, _, _ in TABLE.values():
        answer = getattr(client, method)(
            BASE + path.format(**names), data={}, content_type="application/json"
        )
        assert answer.status_code == 401, path
