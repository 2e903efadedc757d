"""Renewals, service levels, subscriptions and fees over HTTP."""

from tests.contracts.api.conftest import BASE, SignIn
from tests.contracts.builders import UPTIME, Place

CONTRACTS = f"{BASE}/contracts"


def test_con_13_the_renewal_check_says_deadline_days_left_and_what_will_happen(
    here: Place, sign_in: SignIn
) -> None:
    contract = here.active(renewal_type="auto", renewal_term_months=12, notice_period=60, notice_unit="days")
    check = sign_in(here.staff).get(f"{CONTRACTS}/{contract.pk}/renewal-check").json()
    assert (check["outcome"], check["term_end"], check["next_end"]) == (
        "renews_unless_notice",
        "2027-01-01",
        "2028-01-01",
    )
    # Sixty days before the last day of the term is Sunday, 1 November 2026: the Friday before counts.
    assert (check["deadline"], check["days_left"]) == ("2026-10-30", 137)
    assert [alert["days"] for alert in check["alerts"]] == [90, 60, 30]
    pipeline = sign_in(here.staff).get(f"{BASE}/renewal-pipeline").json()
    assert [(each["contract_id"], each["value"], each["decision_due"]) for each in pipeline] == [
        (contract.pk, "12000.00", "2026-10-30")
    ]


def test_con_11_a_notice_over_http(here: Place, sign_in: SignIn) -> None:
    contract = here.active(renewal_type="auto", renewal_term_months=12)
    finance = sign_in(here.finance)
    at = f"{CONTRACTS}/{contract.pk}/notices"
    given = finance.post(at, {"kind": "end", "side": "customer", "method": "registered"})
    assert given.status_code == 201, given.json()
    assert (given.json()["on_time"], given.json()["ends_on"]) == (True, "2027-01-01")
    assert finance.get(f"{CONTRACTS}/{contract.pk}/renewal-check").json()["outcome"] == "ends_by_notice"
    assert (
        sign_in(here.staff).post(at, {"kind": "end", "side": "customer", "method": "email"}).status_code
        == 403
    )


def test_con_20_measurements_are_taken_once_and_judged(here: Place, sign_in: SignIn) -> None:
    contract = here.active(sla_terms=[UPTIME])
    staff = sign_in(here.staff)
    measured = {
        "sla_code": "uptime",
        "measured_from": "2026-06-01T00:00:00Z",
        "measured_to": "2026-06-10T00:00:00Z",
        "value": "99.5",
        "source": "monitoring",
        "external_id": "2026-06-a",
    }
    at = f"{CONTRACTS}/{contract.pk}/measurements"
    first, again = staff.post(at, measured), staff.post(at, measured)
    assert (first.status_code, again.json()["id"]) == (201, first.json()["id"])
    other = staff.post(at, {**measured, "value": "99.4"})
    assert (other.status_code, other.json()["code"]) == (409, "measurement_differs")
    corrected = staff.post(f"{BASE}/sla-measurements/{first.json()['id']}/correct", {"value": "99.95"})
    assert (corrected.status_code, corrected.json()["replaces_id"]) == (201, first.json()["id"])
    assert staff.get(f"{CONTRACTS}/{contract.pk}/compliance").status_code == 200


def test_con_21_plans_subscriptions_and_entitlements(here: Place, sign_in: SignIn) -> None:
    contract = here.active(prices=[])
    finance, staff = sign_in(here.finance), sign_in(here.staff)
    plan = finance.post(
        f"{BASE}/plans",
        {
            "code": "desk-pro",
            "name": "Desk Pro",
            "product": "Desk",
            "tier": "pro",
            "issuer_id": here.issuer.pk,
            "price": "18.00",
            "features": [{"feature": "seats", "limit": 1, "is_per_licence": True}],
        },
    )
    assert plan.status_code == 201, plan.json()
    made = staff.post(
        f"{BASE}/subscriptions",
        {"contract_id": contract.pk, "plan_id": plan.json()["id"], "quantity": 25, "starts_on": "2026-06-01"},
    )
    assert made.status_code == 201, made.json()
    at = f"{BASE}/subscriptions/{made.json()['id']}"
    changed = staff.post(f"{at}/change", {"quantity": 40, "effective_from": "2026-07-15"})
    assert [each["quantity"] for each in changed.json()["changes"]] == [25, 40]

    def seats(on: str) -> int | None:
        answer = staff.get(f"{BASE}/entities/{here.entity.pk}/entitlements", {"on": on}).json()
        return next((each["limit"] for each in answer["features"] if each["feature"] == "seats"), None)

    assert (seats("2026-07-14"), seats("2026-07-15"), seats("2026-05-31")) == (25, 40, None)
    outsider = sign_in(here.outsider)
    assert outsider.get(f"{BASE}/entities/{here.entity.pk}/entitlements").status_code == 404
    assert outsider.get(at).status_code == 404
    preview = finance.get(f"{CONTRACTS}/{contract.pk}/fees-preview", {"on": "2026-06-15"}).json()
    assert [(fee["kind"], fee["amount"], fee["id"]) for fee in preview] == [("subscription", "450.00", None)]
    assert finance.get(f"{BASE}/contract-fees").json()["count"] == 0
