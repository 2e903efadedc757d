"""The first invoice, from nothing, through each door: the same figures, and a second run that issues nothing."""

import json
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from io import StringIO
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from core.access import system_actor
from entities.models import Department, Entity, EntityType, Role
from entities.services import entity_create
from invoicing.documents.store import invoice_pdf
from invoicing.models import Invoice
from tests.entities.factories import PASSWORD, entity, member
from tests.stories.acme import FOCUS_FILE, check_invoice


def run(name: str, *arguments: str) -> str:
    """Run a command as a terminal would; return what it wrote."""
    said = StringIO()
    call_command(name, *arguments, stdout=said, stderr=StringIO())
    return said.getvalue()


def acme() -> Entity:
    """The group: a holding that issues, and the company that pays."""
    holding = entity_create(
        actor=system_actor(),
        name="Acme Holding",
        code="ACME",
        entity_type=EntityType.ROOT,
        currency="USD",
        is_issuer=True,
    )
    return entity_create(
        actor=system_actor(),
        name="Acme Labs",
        code="ACME-LABS",
        entity_type=EntityType.SUBSIDIARY,
        currency="USD",
        parent=holding,
        consolidated_billing=False,
    )


@pytest.mark.django_db
def test_by_command() -> None:
    payer = acme()
    proposed = run("propose_usage_mappings", str(FOCUS_FILE), "--entity", "ACME-LABS", "--apply")
    assert "ENGINEERING" in proposed
    assert list(Department.objects.values_list("code", flat=True)) == ["ENGINEERING", "RESEARCH"]

    imported = run("import_focus", str(FOCUS_FILE), "--entity", "ACME-LABS")
    assert "26.3397799" in imported
    again = run("import_focus", str(FOCUS_FILE), "--entity", "ACME-LABS")
    assert "nothing was added" in again

    period = ("--entity", "ACME-LABS", "--from", "2024-09-01", "--to", "2024-10-01")
    preview = run("consolidate_invoice", *period, "--preview")
    assert not Invoice.objects.exists()
    issued = run("consolidate_invoice", *period, "--issue")
    for text in (preview, issued):
        assert "26.34" in text
    invoice = Invoice.objects.get()
    check_invoice(invoice, number=f"ACME-INV-{timezone.now():%Y}-000001")
    assert invoice.entity == payer
    assert invoice_pdf(invoice).startswith(b"%PDF")

    with pytest.raises(CommandError, match=str(invoice.number)):
        run("consolidate_invoice", *period, "--issue")
    assert Invoice.objects.count() == 1
    assert "no gap" in run("verify_numbering").lower()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        return cast(dict[str, Any], json.loads(self.body))


class Caller:
    """An external system: signs in once, then sends JSON and files over HTTP, as curl would."""

    def __init__(self, address: str, username: str, password: str) -> None:
        self.address = address
        self.headers: dict[str, str] = {}
        token = self.call("POST", "/api/auth/token", {"username": username, "password": password})
        self.headers["Authorization"] = f"Bearer {token.json()['access']}"

    def call(self, method: str, path: str, content: dict[str, Any] | bytes | None = None) -> Answer:
        """Send a request; a dict goes as JSON, bytes as the file that they are."""
        is_file = isinstance(content, bytes)
        body = content if is_file or content is None else json.dumps(content).encode()
        headers = {**self.headers, "Content-Type": "text/csv" if is_file else "application/json"}
        connection = HTTPConnection(urlsplit(self.address).netloc, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def post(self, path: str, status: int, content: dict[str, Any] | bytes) -> dict[str, Any]:
        """POST, insist on the status, and return the answer."""
        answer = self.call("POST", f"/api/enterprise-billing{path}", content)
        assert answer.status == status, answer.body
        return answer.json()

    def get(self, path: str) -> Answer:
        """GET what is there."""
        answer = self.call("GET", f"/api/enterprise-billing{path}")
        assert answer.status == 200, answer.body
        return answer

    def when_completed(self, usage_import: int) -> dict[str, Any]:
        """Ask until the worker is done."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = self.get(f"/usage-imports/{usage_import}").json()
            if found["status"] not in ("waiting", "running"):
                return found
            time.sleep(0.2)
        pytest.fail("The import did not end within a minute.")


@pytest.mark.django_db(transaction=True)
def test_through_the_api(live_server: LiveServer, celery_worker_process: Any) -> None:
    founder = member(entity("Founders"), Role.ADMINISTRATOR)
    caller = Caller(live_server.url, founder.username, PASSWORD)

    group = caller.post(
        "/entities",
        201,
        {
            "name": "Acme Holding",
            "code": "ACME",
            "entity_type": "root",
            "currency": "USD",
            "is_issuer": True,
        },
    )
    payer = caller.post(
        "/entities",
        201,
        {
            "name": "Acme Labs",
            "entity_type": "subsidiary",
            "currency": "USD",
            "consolidated_billing": False,
            "parent_id": group["id"],
        },
    )
    for code, name in (("ENGINEERING", "Engineering"), ("RESEARCH", "Research")):
        caller.post("/departments", 201, {"entity_id": payer["id"], "code": code, "name": name})

    upload = f"/usage-imports?entity_id={payer['id']}&file_name={FOCUS_FILE.name}"
    waiting = caller.post(upload, 202, FOCUS_FILE.read_bytes())
    done = caller.when_completed(waiting["id"])
    assert (done["status"], done["rows_imported"], done["rows_rejected"]) == ("completed", 8, 0)
    assert done["billed_cost"] == {"USD": "26.3397799"}

    proposed = caller.post("/usage-mapping-rules/propose", 200, {"entity_id": payer["id"]})["proposals"]
    assert [(row["value"], row["code"]) for row in proposed] == [
        ("Engineering", "ENGINEERING"),
        ("Research", "RESEARCH"),
    ]
    choices = [{"value": row["value"], "department_id": row["department_id"]} for row in proposed]
    applied = caller.post("/usage-mapping-rules/apply", 200, {"entity_id": payer["id"], "choices": choices})
    assert (applied["departments_created"], applied["rules_created"], applied["rows_mapped"]) == (0, 2, 7)

    path = f"/entities/{payer['id']}/consolidated-invoice"
    period = {"period_start": "2024-09-01", "period_end": "2024-10-01"}
    preview = caller.post(path, 200, {**period, "preview": True})
    assert (preview["total"], preview["currency"], Invoice.objects.count()) == ("26.34", "USD", 0)
    issued = caller.post(path, 201, {**period, "issue": True})
    assert issued["lines"] == preview["lines"]
    invoice = Invoice.objects.get()
    check_invoice(invoice, number=issued["number"])
    assert [
        (row["department_code"], row["item_count"], row["amount"])
        for row in issued["subtotals_by_department"]
    ] == [("ENGINEERING", 3, "19.52"), ("RESEARCH", 4, "5.82"), ("", 1, "1.00")]

    first, second = (caller.get(f"/invoices/{issued['id']}/pdf").body for _ in range(2))
    assert first.startswith(b"%PDF")
    assert first == second

    refused = caller.post(path, 409, {**period, "issue": True})
    assert refused["code"] == "nothing_to_invoice"
    assert issued["number"] in refused["detail"]
    again = caller.post(upload, 200, FOCUS_FILE.read_bytes())
    assert "nothing was added" in again["message"]
    assert Invoice.objects.count() == 1
