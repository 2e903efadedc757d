"""Dispute policies: who keeps them, what they refuse, which one holds (DSP-01, DSP-05, DSP-06, DSP-09)."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from core.access import system_actor
from core.calendars import SpecialDay, work_calendar_create
from disputes.models import DisputePolicy
from disputes.selectors.policies import policy_for
from disputes.services.policies import Target, policy_create, policy_delete, policy_update
from tests.disputes.builders import MONDAY, Desk, office_calendar, refused, round_now
from tests.entities import factories


def targets(policy: DisputePolicy) -> dict[str, tuple[int, int]]:
    return {each.severity: (each.response_minutes, each.resolution_minutes) for each in policy.targets.all()}


def test_dsp_05_targets_by_severity(desk: Desk) -> None:
    policy = desk.policy(targets={"high": Target(480, 60), "low": Target(4800)})
    assert targets(policy) == {"high": (60, 480), "low": (1440, 4800)}
    policy_update(
        actor=desk.manager, policy_id=policy.pk, targets={"high": Target(240, 30)}, name="  Fast  one "
    )
    stored = DisputePolicy.objects.get()
    assert (targets(stored), stored.name, stored.version) == ({"high": (30, 240)}, "Fast one", 2)
    assert [row.history_type for row in stored.targets.model.history.order_by("history_id")] == [
        "+",
        "+",
        "-",
        "~",
    ]


def test_ent_05_who_keeps_policies(desk: Desk) -> None:
    policy = desk.policy()
    for actor in (desk.staff, desk.auditor):
        with refused("permission_denied"):
            policy_create(actor=actor, issuer=desk.issuer, name="P", customer=desk.payer)
        with refused("permission_denied"):
            policy_update(actor=actor, policy_id=policy.pk, window_days=5)
        with refused("permission_denied"):
            policy_delete(actor=actor, policy_id=policy.pk)
    for actor in (desk.customer, desk.stranger):
        with refused("not_found"):
            policy_update(actor=actor, policy_id=policy.pk, window_days=5)


def test_dsp_06_a_calendar_with_no_hours_is_refused(desk: Desk) -> None:
    """One without hours cannot be stored; in this one every Monday of years to come is off."""
    with refused("calendar_without_hours"):
        work_calendar_create(actor=system_actor(), name="Closed")
    mondays = [SpecialDay(MONDAY.date() + timedelta(weeks=number)) for number in range(160)]
    closed = work_calendar_create(
        actor=system_actor(), name="Closed", monday="09:00-17:00", special_days=mondays
    )
    with refused("no_working_time"):
        desk.policy(calendar=closed)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"first_warning_percent": 90, "second_warning_percent": 75}, "warnings_not_ordered"),
        ({"first_warning_percent": 0}, "min_value"),
        ({"second_warning_percent": 100}, "max_value"),
        ({"silence_days": 2}, "min_value"),
        ({"window_days": 0}, "min_value"),
        ({"small_claims_amount": "-1"}, "amount_negative"),
        ({"small_claims_amount": "1.001"}, "amount_too_precise"),
        ({"small_claims_amount": "many"}, "invalid_amount"),
        ({"targets": {"urgent": Target(60)}}, "unknown_severity"),
        ({"targets": {"high": Target(0)}}, "min_value"),
        ({"name": " "}, "blank"),
    ],
)
def test_values_that_are_refused(desk: Desk, fields: dict[str, Any], code: str) -> None:
    before = DisputePolicy.objects.count()
    with pytest.raises(Exception) as caught:
        desk.policy(**fields)
    codes = {getattr(caught.value, "code", "")} | {
        problem.code for problem in getattr(caught.value, "errors", None) or []
    }
    assert code in codes, repr(caught.value)
    assert DisputePolicy.objects.count() == before


def test_scopes_that_are_refused(desk: Desk) -> None:
    other_root = factories.entity("Contoso", currency="EUR")
    with refused("other_group"):
        desk.policy(customer=other_root)
    with refused("not_an_issuer"):
        policy_create(actor=system_actor(), issuer=desk.payer, name="P")
    desk.policy()
    with refused("already_exists"):
        desk.policy()
    with refused("lead_cannot_handle"):
        desk.policy(customer=desk.payer, lead=desk.auditor)
    with refused("lead_cannot_handle"):
        desk.policy(customer=desk.payer, lead=desk.customer)


def test_dsp_09_used_ones_are_deactivated_not_deleted(desk: Desk) -> None:
    used, unused = desk.policy(hours=8), desk.policy(customer=desk.payer, name="Own", hours=4)
    policy_update(actor=desk.manager, policy_id=unused.pk, is_active=False)
    dispute = desk.open()
    assert round_now(dispute).policy_id == used.pk
    with refused("in_use"):
        policy_delete(actor=desk.manager, policy_id=used.pk)
    policy_update(actor=desk.manager, policy_id=used.pk, is_active=False)
    policy_delete(actor=desk.manager, policy_id=unused.pk)
    assert list(DisputePolicy.objects.values_list("pk", "is_active")) == [(used.pk, False)]
    assert round_now(desk.open()).policy_id is None


def test_the_most_particular_one_holds(desk: Desk) -> None:
    invoice = desk.invoice()
    held: Callable[[], DisputePolicy | None] = lambda: policy_for(invoice, desk.line(invoice))  # noqa: E731
    assert held() is None
    general = desk.policy()
    assert held() == general
    group = desk.policy(customer=desk.root)
    assert held() == group
    own = desk.policy(customer=desk.payer)
    assert held() == own
    policy_update(actor=desk.manager, policy_id=own.pk, is_active=False)
    assert held() == group


def test_dsp_09_what_is_frozen_on_the_round(desk: Desk) -> None:
    policy = desk.policy(
        calendar=office_calendar(),
        hours=8,
        small_claims_amount=Decimal("25"),
        reopen_days=3,
        lead=desk.colleague,
    )
    terms = round_now(desk.open()).terms["policy"]
    assert terms == {
        "name": policy.name, "window_days": 90, "silence_days": 10, "collectible_days": 14, "reopen_days": 3,
        "small_claims_amount": "25.0000", "small_claims_currency": "EUR", "late_fees_from_original_date": False,
        "lead_id": desk.colleague.pk,
    }  # fmt: skip
