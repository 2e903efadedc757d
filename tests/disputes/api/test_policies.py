"""Dispute policies over the API (DSP-05, DSP-09, DSP-13)."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from disputes.models import DisputePolicy
from tests.disputes.api.conftest import BASE, SignIn
from tests.disputes.builders import Desk, everything, office_calendar

POLICIES = f"{BASE}/dispute-policies"
TARGETS = [
    {"severity": "high", "response_minutes": 240, "resolution_minutes": 2400},
    {"severity": "low", "resolution_minutes": 9600},
]


@pytest.fixture
def manager(desk: Desk, sign_in: SignIn) -> APIClient:
    """The finance manager of the issuer."""
    return sign_in(desk.manager)


def test_a_policy_is_kept_with_its_targets(desk: Desk, manager: APIClient) -> None:
    calendar = office_calendar()
    body = {
        "issuer_id": desk.issuer.pk, "name": "Berlin", "customer_id": desk.payer.pk, "calendar_id": calendar.pk,
        "window_days": 60, "small_claims_amount": "50", "lead_id": desk.staff.pk, "targets": TARGETS,
    }  # fmt: skip
    answer = manager.post(POLICIES, body)
    shown = answer.json()
    assert answer.status_code == 201, shown
    policy = DisputePolicy.objects.get()
    where = f"{POLICIES}/{policy.pk}"
    assert answer["Location"] == where
    assert shown == {
        "id": policy.pk, "name": "Berlin", "issuer_id": desk.issuer.pk, "customer_id": desk.payer.pk,
        "contract_id": None, "calendar_id": calendar.pk, "window_days": 60, "pauses_for_third_party": False,
        "silence_days": 10, "collectible_days": 14, "reopen_days": 30, "small_claims_amount": "50.00",
        "currency": "EUR", "late_fees_from_original_date": False, "first_warning_percent": 75,
        "second_warning_percent": 90, "lead_id": desk.staff.pk, "is_active": True,
        "targets": [
            {"severity": "high", "response_minutes": 240, "resolution_minutes": 2400},
            {"severity": "low", "response_minutes": 1440, "resolution_minutes": 9600},
        ],
        "created_at": "2026-03-02T08:00:00Z", "updated_at": "2026-03-02T08:00:00Z",
        "version": policy.version,
    }  # fmt: skip
    tag = manager.get(where)["ETag"]
    change = {"silence_days": 15, "targets": TARGETS[:1], "reason": "More time"}
    changed = manager.patch(where, change, headers={"If-Match": tag}).json()
    assert (changed["silence_days"], [each["severity"] for each in changed["targets"]]) == (15, ["high"])
    assert policy.history.latest().history_change_reason == "More time"
    assert manager.patch(where, {"silence_days": 5}, headers={"If-Match": tag}).status_code == 412
    assert manager.get(f"{POLICIES}?issuer_id={desk.issuer.pk}&search=berl").json()["count"] == 1
    assert manager.delete(where).status_code == 204
    assert not DisputePolicy.objects.exists()


def test_dsp_09_a_policy_that_a_dispute_froze_is_not_deleted(desk: Desk, manager: APIClient) -> None:
    policy = desk.policy()
    desk.open()
    answer = manager.delete(f"{POLICIES}/{policy.pk}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    assert manager.patch(f"{POLICIES}/{policy.pk}", {"is_active": False}).json()["is_active"] is False


def test_what_cannot_hold_is_refused(desk: Desk, manager: APIClient) -> None:
    desk.policy()
    body: dict[str, Any] = {"issuer_id": desk.issuer.pk, "name": "Second"}
    payer = {"customer_id": desk.payer.pk}
    before = everything()
    for fields, status, code in (
        ({}, 409, "already_exists"),
        (payer | {"issuer_id": desk.payer.pk}, 400, "does_not_exist"),
        (payer | {"first_warning_percent": 95}, 400, "warnings_not_ordered"),
        (payer | {"small_claims_amount": "-1"}, 400, "amount_negative"),
        (payer | {"small_claims_amount": "1.001"}, 400, "amount_too_precise"),
        (payer | {"lead_id": desk.auditor.pk}, 400, "lead_cannot_handle"),
        (payer | {"targets": [TARGETS[0], TARGETS[0]]}, 400, "target_repeated"),
        (payer | {"targets": [{"severity": "low", "resolution_minutes": 0}]}, 400, "min_value"),
        (payer | {"targets": [{"severity": "low", "resolution_minutes": 2**31 - 1}]}, 400, "max_value"),
        (payer | {"targets": [{"severity": "none", "resolution_minutes": 5}]}, 400, "invalid_choice"),
        (payer | {"silence_days": 0}, 400, "min_value"),
        (payer | {"is_active": False}, 400, "unknown_field"),
        ({"customer_id": 999_999}, 400, "does_not_exist"),
    ):
        answer = manager.post(POLICIES, body | fields)
        problem = answer.json()
        codes = {problem["code"], *(error["code"] for error in problem["errors"])}
        assert (answer.status_code, code in codes) == (status, True), (fields, problem)
    assert everything() == before
