"""Contracts over HTTP: written, decided, signed, activated, amended, asked about a day, ended."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals.selectors import request_for
from contracts.models import Contract, ContractAmendment
from contracts.services.contract import contract_approved
from core.access import system_actor
from tests.contracts.api.conftest import BASE, SignIn
from tests.contracts.builders import HASH, PLATFORM, SEATS, UPTIME, Place, day

CONTRACTS = f"{BASE}/contracts"


def body(here: Place, **changes: Any) -> dict[str, Any]:
    return {
        "entity_id": here.entity.pk,
        "title": "Cloud platform",
        "contract_type": "enterprise",
        "start_date": "2026-07-01",
        "end_date": "2027-07-01",
        "value": "12000.00",
        "prices": [PLATFORM],
        "sla_terms": [UPTIME],
        "signatories": [{"side": "issuer", "name": "Ida"}, {"side": "customer", "name": "Carl"}],
        **changes,
    }


def test_a_contract_goes_from_draft_to_active_over_http(here: Place, sign_in: SignIn) -> None:
    staff, finance = sign_in(here.staff), sign_in(here.finance)
    made = staff.post(CONTRACTS, body(here, auto_renew=True, renewal_notice_days=90))
    assert made.status_code == 201, made.json()
    contract = made.json()
    assert (contract["number"], contract["status"]) == (f"CTR-{contract['id']:06d}", "draft")
    assert contract["conditions"]["renewal_type"] == "auto"
    assert (contract["conditions"]["notice_period"], contract["conditions"]["renewal_term_months"]) == (
        90,
        12,
    )
    assert [line["code"] for line in contract["prices"]] == ["platform"]
    assert [line["code"] for line in contract["sla_terms"]] == ["uptime"]
    at = f"{CONTRACTS}/{contract['id']}"

    refused = finance.put(f"{at}/activate", {})
    assert refused.status_code == 409
    assert refused.json()["code"] == "not_ready"
    assert {each["code"] for each in refused.json()["missing"]} == {"approval_missing", "signature_missing"}
    check = finance.get(f"{at}/activation-check").json()
    assert check["ready"] is False
    assert check["missing"] == refused.json()["missing"]

    assert staff.post(f"{at}/submit", {}).json()["status"] == "pending_approval"
    asked = request_for(request_type="contract_activation", subject_id=contract["id"])
    assert asked is not None
    contract_approved(actor=system_actor(), contract_id=contract["id"])
    for signatory in staff.get(at).json()["signatories"]:
        sign = f"{BASE}/contract-signatories/{signatory['id']}/sign"
        signed = staff.post(sign, {"document_sha256": HASH})
        assert signed.status_code == 200, signed.json()
        assert signed.json()["signature"]["document_sha256"] == HASH
    active = finance.put(f"{at}/activate", {})
    assert (active.status_code, active.json()["status"]) == (200, "active")


def test_con_05_the_terms_of_any_day_are_answered(here: Place, sign_in: SignIn) -> None:
    contract = here.active()
    here.amend(contract, "2026-04-01", prices={"set": [{**PLATFORM, "price": "1100.00"}]})
    client = sign_in(here.staff)
    prices = {
        on: client.get(f"{CONTRACTS}/{contract.pk}/terms", {"on": on}).json()["prices"][0]["price"]
        for on in ("2026-03-31", "2026-04-01", "2026-12-31")
    }
    assert prices == {"2026-03-31": "1000", "2026-04-01": "1100", "2026-12-31": "1100"}
    assert client.get(f"{CONTRACTS}/{contract.pk}/terms", {"on": "tomorrow"}).status_code == 400
    what = [entry["what"] for entry in client.get(f"{CONTRACTS}/{contract.pk}/timeline").json()]
    assert "Amendment 1 in force: Change" in what


def test_con_04_amendments_over_http(here: Place, sign_in: SignIn) -> None:
    contract = here.active()
    staff = sign_in(here.staff)
    made = staff.post(
        f"{CONTRACTS}/{contract.pk}/amendments",
        {"title": "Seats", "effective_from": "2026-08-01", "changes": {"prices": {"set": [SEATS]}}},
    )
    assert made.status_code == 201, made.json()
    assert (made.json()["number"], made.json()["status"]) == (None, "draft")
    at = f"{BASE}/contract-amendments/{made.json()['id']}"
    assert staff.get(f"{at}/difference").json() == [
        {"what": "Price seats", "before": "", "after": staff.get(f"{at}/difference").json()[0]["after"]}
    ]
    nothing = staff.post(
        f"{CONTRACTS}/{contract.pk}/amendments",
        {"title": "Nothing", "effective_from": "2026-08-01", "changes": {}},
    )
    assert (nothing.status_code, nothing.json()["code"]) == (400, "amendment_changes_nothing")
    assert staff.patch(at, {"title": "More seats"}).json()["title"] == "More seats"
    assert staff.delete(at).status_code == 204
    assert not ContractAmendment.objects.filter(contract=contract).exists()


def test_con_17_suspended_and_resumed_over_http(here: Place, sign_in: SignIn) -> None:
    contract = here.active()
    finance = sign_in(here.finance)
    at = f"{CONTRACTS}/{contract.pk}"
    suspended = finance.post(f"{at}/suspend", {"reason": "Relocation", "billing_continues": False})
    assert (suspended.status_code, suspended.json()["status"]) == (200, "suspended")
    assert finance.post(f"{at}/suspend", {"reason": "x", "billing_continues": False}).status_code == 409
    resumed = finance.post(f"{at}/resume", {})
    assert (resumed.status_code, resumed.json()["status"]) == (200, "active")
    refused = finance.post(f"{at}/terminate", {"reason": "No longer needed"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_convenience_clause")


WRONG = (
    ({"value": "-1"}, "/value"),
    ({"value": "1.001"}, "/value"),
    ({"currency": "XXX"}, "/currency"),
    ({"end_date": "2026-07-01"}, "/end_date"),
    ({"entity_id": 999_999}, "/entity_id"),
    ({"prices": [{"code": "x"}]}, "/prices/0/name"),
    ({"colour": "red"}, "/colour"),
    ({"status": "active"}, "/status"),
)


@pytest.mark.parametrize(("wrong", "pointer"), WRONG)
def test_wrong_bodies_are_refused_and_leave_nothing(
    here: Place, sign_in: SignIn, wrong: dict[str, Any], pointer: str
) -> None:
    refused = sign_in(here.staff).post(CONTRACTS, body(here, **wrong))
    assert refused.status_code == 400, refused.json()
    assert pointer in [problem["pointer"] for problem in refused.json()["errors"]]
    assert not Contract.objects.exists()


def test_ent_04_a_contract_of_others_does_not_exist(here: Place, sign_in: SignIn) -> None:
    contract = here.active(confidential_terms="Secret rebate of 3 %")
    at = f"{CONTRACTS}/{contract.pk}"
    outsider = sign_in(here.outsider)
    for answer in (
        outsider.get(at),
        outsider.put(f"{at}/activate", {}),
        outsider.get(f"{at}/confidential-terms"),
        outsider.post(f"{at}/amendments", {"title": "x", "effective_from": "2026-08-01", "changes": {}}),
    ):
        assert answer.status_code == 404
    assert outsider.get(CONTRACTS).json()["count"] == 0
    staff = sign_in(here.staff)
    assert staff.put(f"{at}/activate", {}).status_code == 403
    shown = staff.get(at).json()
    assert shown["has_confidential_terms"] is True
    assert "Secret" not in str(shown)
    assert staff.get(f"{at}/confidential-terms").json() == {"confidential_terms": "Secret rebate of 3 %"}
    assert contract.accesses.filter(actor=here.staff, action="opened").count() == 1


def test_the_list_costs_the_same_however_long_it_is(here: Place, sign_in: SignIn) -> None:
    client = sign_in(here.staff)
    counts = []
    for number in range(3):
        here.draft(title=f"Contract {number}", start_date=day("2026-08-01"))
        if number != 1:
            with CaptureQueriesContext(
                connection,
            ) as queries:
                assert client.get(CONTRACTS).status_code == 200
            counts.append(len(queries))
    assert counts[0] == counts[1]
