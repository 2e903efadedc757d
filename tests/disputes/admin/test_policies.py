"""Policies: targets typed in hours, what is used is put out of use, and the report on reasons."""

import csv
import io
from decimal import Decimal
from typing import Any

from django.test import Client

from disputes.models import DisputePolicy, RootCause
from disputes.services.handling import dispute_update
from tests.disputes.admin.conftest import pages, text_of
from tests.disputes.admin.test_list import numbers
from tests.disputes.builders import Desk, berlin, everything
from tests.disputes.resolving import resolve

POLICIES = "/admin/disputes/disputepolicy/"
REASONS = "/admin/disputes/billingdispute/reasons"


def values(desk: Desk, **changes: Any) -> dict[str, Any]:
    return {
        "name": "Office hours", "issuer": desk.issuer.pk, "window_days": "90", "reopen_days": "30",
        "silence_days": "10", "collectible_days": "14", "small_claims_amount": "25.00",
        "first_warning_percent": "75", "second_warning_percent": "90",
        "critical_response": "0.5", "critical_resolution": "8", "high_resolution": "16", **changes,
    }  # fmt: skip


def targets(policy: DisputePolicy) -> dict[str, tuple[int, int]]:
    return {each.severity: (each.response_minutes, each.resolution_minutes) for each in policy.targets.all()}


class TestPolicies:
    def test_hours_become_minutes_and_back(self, desk: Desk) -> None:
        """DSP-05: what is left empty keeps the product's own."""
        site = pages(desk.manager)
        assert site.post(f"{POLICIES}add/", values(desk)).status_code == 302
        policy = DisputePolicy.objects.get()
        assert targets(policy) == {"critical": (30, 480), "high": (1440, 960)}
        assert policy.small_claims_amount == Decimal(25)
        address = f"{POLICIES}{policy.pk}/change/"
        form = site.get(address).context["adminform"].form
        assert form["critical_response"].value() == Decimal("0.5")
        changed = values(desk, high_resolution="", low_response="4", low_resolution="40")
        answer = site.post(address, {**changed, "loaded_version": policy.version})
        assert answer.status_code == 302, text_of(answer)
        assert targets(policy) == {"critical": (30, 480), "low": (240, 2400)}
        assert "critical 0.5 / 8, low 4 / 40" in text_of(site.get(POLICIES))

    def test_what_is_wrong_stands_beside_its_field(self, desk: Desk) -> None:
        site = pages(desk.manager)
        before = everything()
        wrong = values(desk, critical_response="0.51", second_warning_percent="70", low_response="4")
        answer = site.post(f"{POLICIES}add/", wrong)
        text = text_of(answer)
        assert "Give hours that come to whole minutes" in text
        assert "Say too within how many hours it is decided." in text
        answer = site.post(f"{POLICIES}add/", values(desk, second_warning_percent="70"))
        assert "The second warning comes after the first one" in text_of(answer)
        assert everything() == before

    def test_two_people_at_once(self, desk: Desk) -> None:
        """The second one sees both values."""
        site = pages(desk.manager)
        site.post(f"{POLICIES}add/", values(desk))
        policy = DisputePolicy.objects.get()
        address = f"{POLICIES}{policy.pk}/change/"
        site.post(address, {**values(desk, window_days="60"), "loaded_version": policy.version})
        answer = site.post(address, {**values(desk, window_days="30"), "loaded_version": policy.version})
        text = text_of(answer)
        assert "Saved meanwhile by somebody else" in text
        assert "60 30" in text
        assert DisputePolicy.objects.get().window_days == 60

    def test_one_that_was_used_is_put_out_of_use(self, desk: Desk) -> None:
        """DSP-09: it is named by what was opened under it."""
        site = pages(desk.manager)
        policy = desk.policy(hours=8)
        assert site.get(f"{POLICIES}{policy.pk}/delete/").status_code == 200
        desk.open()
        assert site.get(f"{POLICIES}{policy.pk}/delete/").status_code == 403
        site.post(f"{POLICIES}{policy.pk}/do/deactivate/", {"reason": "A new one"})
        assert not DisputePolicy.objects.get().is_active
        site.post(f"{POLICIES}{policy.pk}/do/activate/", {})
        assert DisputePolicy.objects.get().is_active

    def test_staff_reads_them_only(self, site: Client, desk: Desk) -> None:
        policy = desk.policy(hours=8, response_hours=2)
        before = everything()
        assert "critical 2 / 8" in text_of(site.get(f"{POLICIES}{policy.pk}/change/"))
        assert site.post(f"{POLICIES}{policy.pk}/do/deactivate/", {"reason": "x"}).status_code == 403
        assert site.get(f"{POLICIES}add/").status_code == 403
        assert everything() == before


class TestReasons:
    def test_figures_lead_to_their_disputes(self, site: Client, desk: Desk, travel: Any) -> None:
        """Counts, amounts, in time and the median, by category, root cause and outcome."""
        desk.policy(hours=8, small_claims_amount="100")
        quick, slow, running = desk.open(), desk.open(), desk.open(category="tax", amount="10.00")
        travel.move_to(berlin("2026-03-02 11:00"))
        resolve(desk, quick, "credit", amount="20.00")
        travel.move_to(berlin("2026-03-02 19:00"))
        resolve(desk, slow, "no_action")
        dispute_update(actor=desk.staff, dispute_id=quick.pk, changes={"root_cause": RootCause.WRONG_PRICE})
        answer = site.get(f"{REASONS}/")
        groups = {title: {row.label: row for row in rows} for title, rows in answer.context["groupings"]}
        price = groups["By category"]["Price"]
        assert (price.disputes, price.decided, price.in_time, price.median) == ("2", "2", "50 %", "2 h")
        assert "Price 2 119.00 EUR 20.00 EUR 2 50 % 2 h" in text_of(answer)
        assert groups["By category"]["Tax"].median == "–"

        def listed(url: str) -> set[str]:
            return set(numbers(site, url.partition("?")[2]))

        assert listed(price.url) == {quick.number, slow.number}
        assert listed(price.decided_url) == {quick.number, slow.number}
        assert listed(price.in_time_url) == {quick.number}
        assert listed(groups["By root cause"]["Wrong price"].url) == {quick.number}
        assert listed(groups["By root cause"]["Not found yet"].url) == {slow.number, running.number}
        assert listed(groups["By outcome"]["Rejected"].url) == {slow.number}
        assert listed(groups["By outcome"]["Not decided"].url) == {running.number}

    def test_a_period(self, site: Client, desk: Desk, travel: Any) -> None:
        desk.open()
        travel.move_to(berlin("2026-04-01 09:00"))
        later = desk.open()
        answer = site.get(f"{REASONS}/?opened_from=2026-04-01")
        (_, (row,)) = answer.context["groupings"][0]
        assert (row.disputes, answer.context["count"]) == ("1", "1")
        assert numbers(site, row.url.partition("?")[2]) == [later.number]
        wrong = site.get(f"{REASONS}/?opened_from=2026-04-02&opened_to=2026-04-01")
        assert "The period ends on the day before: give a later one. All disputes are shown." in text_of(
            wrong
        )

    def test_export(self, site: Client, desk: Desk) -> None:
        desk.open()
        text = b"".join(site.get(f"{REASONS}.csv").streaming_content).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [(row["Grouping"], row["Reason"], row["Disputed"]) for row in rows] == [
            ("Category", "Price", "59.50"), ("Root cause", "Not found yet", "59.50"),
            ("Outcome", "Not decided", "59.50"),
        ]  # fmt: skip
        assert site.get(f"{REASONS}.pdf").status_code == 404

    def test_the_other_side_sees_none(self, desk: Desk) -> None:
        """DSP-18: causes are internal."""
        desk.open()
        answer = pages(desk.customer).get(f"{REASONS}/")
        assert answer.status_code in (302, 403) or answer.context["count"] == "0"
