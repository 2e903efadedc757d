"""Rules, delegations and authority limits over HTTP."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from approvals.models import ApprovalRule, AuthorityLimit, Delegation
from entities.models import Role
from tests.approvals.api.conftest import APPROVALS, BASE, SignIn
from tests.approvals.builders import House, people
from tests.entities import factories

RULES = f"{BASE}/approval-rules"
DELEGATIONS = f"{BASE}/approval-delegations"
LIMITS = f"{BASE}/authority-limits"


@pytest.fixture
def finance(home: House, sign_in: SignIn) -> APIClient:
    return sign_in(home.place.finance)


def rule_body(home: House, **changes: Any) -> dict[str, Any]:
    return {
        "name": "Small",
        "request_type": "purchase",
        "entity_id": home.place.entity.pk,
        "currency": "USD",
        "amount_from": "0.00",
        "amount_to": "1000.00",
        "levels": [
            {"approver_kind": "users", "user_ids": [home.anna.pk, home.ben.pk], "required_approvals": None},
            {"role": "finance_manager", "escalation_target": "user", "escalation_user_id": home.dan.pk},
        ],
        **changes,
    }


class TestRules:
    def test_made_with_levels_in_their_order(self, home: House, finance: APIClient) -> None:
        made = finance.post(RULES, rule_body(home))
        assert made.status_code == 201, made.data
        rule = ApprovalRule.objects.get()
        assert made["Location"] == f"{RULES}/{rule.pk}"
        expected = {
            "id": rule.pk,
            "name": "Small",
            "request_type": "purchase",
            "entity_id": home.place.entity.pk,
            "department_id": None,
            "amount_from": "0.00",
            "amount_to": "1000.00",
            "priority": 0,
            "flow": "sequential",
            "is_active": True,
        }
        assert {name: made.json()[name] for name in expected} == expected
        first, second = made.json()["levels"]
        assert (first["user_ids"], first["required_approvals"]) == ([home.anna.pk, home.ben.pk], None)
        wanted = {"role": "finance_manager", "required_approvals": 1, "escalation_user_id": home.dan.pk}
        assert {name: second[name] for name in wanted} == wanted
        assert finance.get(f"{RULES}/{rule.pk}").json() == made.json()
        assert [row["id"] for row in finance.get(f"{RULES}?request_type=purchase").json()["results"]] == [
            rule.pk
        ]

    def test_apr_02_changed_with_its_neighbour_and_never_overlapping(
        self, home: House, finance: APIClient
    ) -> None:
        small = finance.post(RULES, rule_body(home)).json()
        large = finance.post(
            RULES, rule_body(home, name="Large", amount_from="1000.00", amount_to=None)
        ).json()
        overlap = finance.post(RULES, rule_body(home, name="Between", amount_from="900.00", amount_to="1100"))
        assert (overlap.status_code, overlap.json()["code"]) == (409, "bands_overlap")
        gap = finance.post(RULES, rule_body(home, priority=9, amount_to="10"))
        assert gap.status_code == 201, gap.data
        hole = finance.post(RULES, rule_body(home, priority=9, amount_from="20", amount_to="30"))
        assert (hole.status_code, hole.json()["code"]) == (409, "bands_gap")
        where = f"{RULES}/{small['id']}"
        tag = finance.get(where)["ETag"]
        changed = finance.patch(where, {"amount_to": "2000.00"}, headers={"If-Match": tag})
        assert (changed.status_code, changed.json()["amount_to"]) == (200, "2000.00")
        assert len(changed.json()["levels"]) == 2
        assert finance.get(f"{RULES}/{large['id']}").json()["amount_from"] == "2000.00"
        stale = finance.patch(where, {"name": "X"}, headers={"If-Match": tag})
        assert stale.status_code == 412
        fewer = finance.patch(where, {"levels": [{"role": "approver"}]}).json()
        assert [level["role"] for level in fewer["levels"]] == ["approver"]
        # What is shown can be sent back as it is.
        again = finance.patch(where, {"levels": fewer["levels"]})
        assert again.json()["levels"] == fewer["levels"]

    def test_each_wrong_value_has_its_own_refusal(self, home: House, finance: APIClient) -> None:
        wrong: list[tuple[dict[str, Any], int, str]] = [
            ({"amount_from": "-1"}, 400, "amount_negative"),
            ({"amount_to": "NaN"}, 400, "amount_not_finite"),
            ({"amount_to": "0.00"}, 400, "band_empty"),
            ({"request_type": "holiday"}, 400, "invalid_choice"),
            ({"currency": "EUR"}, 400, "not_base_currency"),
            ({"levels": []}, 400, "levels_required"),
            ({"levels": [{"approver_kind": "role"}]}, 400, "role_required"),
            ({"levels": [{"approver_kind": "users"}]}, 400, "people_required"),
            ({"levels": [{"role": "approver", "required_approvals": 0}]}, 400, "min_value"),
            ({"levels": [{"role": "approver", "colour": "red"}]}, 400, "unknown_field"),
            ({"levels": [{"approver_kind": "users", "user_ids": [home.place.outsider.pk]}]}, 400, "does_not_exist"),
            ({"entity_id": 999_999}, 400, "does_not_exist"),
            ({"entity_id": None}, 403, "holds_everywhere"),
        ]  # fmt: skip
        for change, status, code in wrong:
            refused = finance.post(RULES, rule_body(home, **change))
            assert (refused.status_code, refused.json()["code"]) == (status, code), change
        assert not ApprovalRule.objects.exists()

    def test_deleted_before_its_first_use_and_retired_after(
        self, home: House, finance: APIClient, sign_in: SignIn
    ) -> None:
        unused = finance.post(RULES, rule_body(home)).json()
        assert finance.delete(f"{RULES}/{unused['id']}").status_code == 204
        used = home.rule()
        home.ask()
        refused = finance.delete(f"{RULES}/{used.pk}")
        assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
        assert finance.get(f"{RULES}/{used.pk}").json()["is_active"] is True
        assert finance.post(f"{RULES}/{used.pk}/retire", {}).status_code == 400
        retired = finance.post(f"{RULES}/{used.pk}/retire", {"reason": "Replaced"})
        assert (retired.status_code, retired.json()["is_active"]) == (200, False)
        staff = sign_in(home.place.staff)
        assert staff.get(RULES).json()["count"] == 1
        assert staff.post(f"{RULES}/{used.pk}/retire", {"reason": "x"}).status_code == 403
        assert sign_in(home.anna).get(RULES).status_code == 403
        assert sign_in(home.place.outsider).get(f"{RULES}/{used.pk}").status_code == 404

    def test_apr_01_which_rule_would_match(self, home: House, finance: APIClient, sign_in: SignIn) -> None:
        small = home.rule(people(home.anna), amount_to="1000.00", name="Small")
        ask = {"request_type": "purchase", "amount": "999.99", "department_id": home.place.department.pk}
        shown = finance.post(f"{RULES}/match", ask)
        assert shown.status_code == 200, shown.data
        assert (shown.json()["outcome"], shown.json()["base_amount"]) == ("asked", "999.99")
        assert [rule["rule_id"] for rule in shown.json()["rules"]] == [small.pk]
        named = finance.post(f"{RULES}/match", {**ask, "requester_id": home.anna.pk}).json()
        assert [task["origin"] for task in named["levels"][0]["tasks"]] == ["fallback"]
        blocked = finance.post(f"{RULES}/match", {**ask, "amount": "1000.00"}).json()
        assert (blocked["outcome"], blocked["rules"]) == ("blocked", [])
        assert "No approver configured" in blocked["blocked_reason"]
        nowhere = finance.post(f"{RULES}/match", {"request_type": "purchase", "amount": "1"})
        assert nowhere.json()["errors"][0]["pointer"] == "/entity_id"
        negative = finance.post(f"{RULES}/match", {**ask, "amount": "-1"})
        assert (negative.status_code, negative.json()["code"]) == (400, "amount_not_positive")
        assert sign_in(home.anna).post(f"{RULES}/match", ask).status_code == 403

    def test_apr_02_coverage_names_gaps_and_overlaps(self, home: House, finance: APIClient) -> None:
        low = home.rule(request_type="purchase", amount_to="1000.00", name="Low")
        top = home.rule(
            request_type="purchase", amount_from="500.00", amount_to="2000.00", priority=5, name="Top"
        )
        found = finance.get(f"{RULES}/coverage")
        assert found.status_code == 200, found.data
        (place,) = found.json()["results"]
        assert (place["entity_id"], place["request_type"]) == (home.place.entity.pk, "purchase")
        assert [rule["id"] for rule in place["rules"]] == [top.pk, low.pk]
        assert place["gaps"] == [{"amount_from": "2000", "amount_to": None}]
        assert place["overlaps"] == [
            {
                "amount_from": "500",
                "amount_to": "1000",
                "deciding_rule_id": top.pk,
                "hidden_rule_id": low.pk,
            }
        ]
        home.rule(name="Everything else")
        by_type = {each["request_type"]: each for each in finance.get(f"{RULES}/coverage").json()["results"]}
        assert (by_type["purchase"]["gaps"], by_type[""]["gaps"]) == ([], [])
        assert finance.get(f"{RULES}/coverage?page=1").status_code == 400


def delegation_body(home: House, **changes: Any) -> dict[str, Any]:
    return {
        "delegate_id": home.ben.pk,
        "valid_from": "2026-06-15T12:00:00Z",
        "valid_to": "2026-06-22T00:00:00Z",
        "reason": "On leave",
        **changes,
    }


class TestDelegations:
    def test_apr_18_given_used_and_ended(self, home: House, sign_in: SignIn) -> None:
        home.rule()
        anna, ben = sign_in(home.anna), sign_in(home.ben)
        made = anna.post(
            DELEGATIONS,
            delegation_body(
                home,
                request_types=["purchase"],
                department_ids=[home.place.department.pk],
                max_amount="500.00",
                currency="USD",
            ),
        )
        assert made.status_code == 201, made.data
        delegation = Delegation.objects.get()
        expected = {
            "id": delegation.pk,
            "delegator_id": home.anna.pk,
            "delegate_id": home.ben.pk,
            "delegate_name": home.ben.display_name,
            "request_types": ["purchase"],
            "department_ids": [home.place.department.pk],
            "max_amount": "500.00",
            "currency": "USD",
            "valid_from": "2026-06-15T12:00:00Z",
            "valid_to": "2026-06-22T00:00:00Z",
            "ended_at": None,
        }
        assert {name: made.json()[name] for name in expected} == expected
        within, above = home.ask("500.00"), home.ask("500.01")
        waiting = [row["id"] for row in ben.get(f"{APPROVALS}?inbox=mine").json()["results"]]
        assert (waiting, above.pk in waiting) == ([within.pk], False)
        for client in (anna, ben):
            assert client.get(f"{DELEGATIONS}?in_force=true").json()["count"] == 1
        where = f"{DELEGATIONS}/{delegation.pk}"
        assert sign_in(home.cleo).get(where).status_code == 404
        ended = ben.post(f"{where}/end")
        assert (ended.status_code, ended.json()["ended_at"]) == (200, "2026-06-15T12:00:00Z")
        assert ben.get(f"{APPROVALS}?inbox=mine").json()["count"] == 0
        again = anna.post(f"{where}/end")
        assert (again.status_code, again.json()["code"]) == (409, "delegation_over")

    def test_each_wrong_value_has_its_own_refusal(self, home: House, sign_in: SignIn) -> None:
        anna = sign_in(home.anna)
        reader = factories.member(home.place.entity, Role.AUDITOR)
        wrong: list[tuple[dict[str, Any], int, str]] = [
            ({"delegate_id": home.anna.pk}, 400, "delegate_to_self"),
            ({"delegate_id": reader.pk}, 400, "delegate_may_not_decide"),
            ({"delegate_id": home.place.outsider.pk}, 400, "does_not_exist"),
            ({"delegator_id": home.cleo.pk}, 403, "delegation_of_another"),
            ({"valid_to": "2026-06-15T12:00:00Z"}, 400, "dates_not_ordered"),
            ({"valid_from": "2026-01-01T00:00:00Z", "valid_to": "2026-02-01T00:00:00Z"}, 400, "in_the_past"),
            ({"reason": " "}, 400, "blank"),
            ({"request_types": ["holiday"]}, 400, "invalid_choice"),
            ({"department_ids": [999_999]}, 400, "does_not_exist"),
            ({"max_amount": "0", "currency": "USD"}, 400, "amount_not_positive"),
            ({"max_amount": "5"}, 400, "required"),
        ]
        for change, status, code in wrong:
            refused = anna.post(DELEGATIONS, delegation_body(home, **change))
            assert (refused.status_code, refused.json()["code"]) == (status, code), change
        assert not Delegation.objects.exists()


class TestLimits:
    def test_apr_16_set_changed_and_removed(self, home: House, finance: APIClient, sign_in: SignIn) -> None:
        body = {
            "role": "approver",
            "entity_id": home.place.entity.pk,
            "max_amount": "500.00",
            "currency": "USD",
        }
        made = finance.post(LIMITS, body)
        assert made.status_code == 201, made.data
        limit = AuthorityLimit.objects.get()
        where = f"{LIMITS}/{limit.pk}"
        expected = {**body, "id": limit.pk, "user_id": None, "user_name": None, "is_ultimate": False}
        assert {name: made.json()[name] for name in expected} == expected
        again = finance.post(LIMITS, body)
        assert (again.status_code, again.json()["code"]) == (409, "limit_exists")
        tag = finance.get(where)["ETag"]
        changed = finance.patch(where, {"max_amount": None}, headers={"If-Match": tag})
        assert (changed.status_code, changed.json()["max_amount"]) == (200, None)
        assert finance.patch(where, {"max_amount": "1"}, headers={"If-Match": tag}).status_code == 412
        assert sign_in(home.anna).get(LIMITS).status_code == 403
        assert sign_in(home.place.staff).delete(where).status_code == 403
        assert finance.delete(where).status_code == 204
        assert not AuthorityLimit.objects.exists()

    def test_each_wrong_value_has_its_own_refusal(self, home: House, finance: APIClient) -> None:
        entity = home.place.entity.pk
        body = {"user_id": home.anna.pk, "entity_id": entity, "max_amount": "500.00", "currency": "USD"}
        wrong: list[tuple[dict[str, Any], int, str]] = [
            ({"max_amount": "-1"}, 400, "amount_not_positive"),
            ({"max_amount": "1e400"}, 400, "amount_too_large"),
            ({"user_id": None}, 400, "person_or_role"),
            ({"role": "approver"}, 400, "person_or_role"),
            ({"is_ultimate": True}, 400, "ultimate_is_a_person_without_limit"),
            ({"user_id": home.place.finance.pk}, 409, "own_limit"),
            ({"entity_id": None}, 403, "holds_everywhere"),
            ({"entity_id": factories.entity("Elsewhere").pk}, 400, "does_not_exist"),
        ]
        for change, status, code in wrong:
            refused = finance.post(LIMITS, {**body, **change})
            assert (refused.status_code, refused.json()["code"]) == (status, code), change
        assert not AuthorityLimit.objects.exists()
