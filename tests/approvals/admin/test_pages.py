"""The back-office of approvals: pages open for who may, actions work once and are refused once."""

import datetime
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals.models import (
    ApprovalRequest,
    ApprovalRule,
    AuthorityLimit,
    Delegation,
    DutyException,
    IncompatibleDuties,
)
from approvals.selectors.rule_warnings import rule_warnings
from approvals.selectors.workload import workload
from core import clock
from core.models import User
from entities.models import Department, Role
from tests.approvals.builders import House, people, trail
from tests.entities import factories

ADMIN = "/admin/approvals"
RULES = f"{ADMIN}/approvalrule/"
REQUESTS = f"{ADMIN}/approvalrequest/"


def pages(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="entities.access.PasswordBackend")
    return client


@pytest.fixture
def site(home: House) -> Client:
    return pages(home.place.finance)


def words(response: Any) -> str:
    """The page's words without markup."""
    text = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def level(number: int, **fields: Any) -> dict[str, Any]:
    """One level as the form sends it."""
    values = {
        "order": number + 1, "name": "", "approver_kind": "role", "role": "approver", "required_approvals": 1,
        "fallback_role": "finance_manager", "veto": "on", "reminder_hours": 24, "escalation_hours": 48,
        "escalation_target": "manager", "escalation_mode": "add", "escalation_hops": 3, "timer_basis": "clock",
        "id": "", "rule": "", **fields,
    }  # fmt: skip
    return {f"levels-{number}-{name}": value for name, value in values.items()}


def rule_form(*levels: dict[str, Any], stored: int = 0, **fields: Any) -> dict[str, Any]:
    """A rule's form as it is sent."""
    sent = {
        "name": "Purchases", "description": "", "is_active": "on", "request_type": "purchase", "priority": 0,
        "amount_from": "0", "amount_to": "", "currency": "USD", "flow": "sequential", "skip_repeated": "on",
        "levels-TOTAL_FORMS": len(levels), "levels-INITIAL_FORMS": stored, **fields,
    }  # fmt: skip
    for each in levels:
        sent |= each
    return sent


def test_who_may_sees_each_page_and_who_may_not_does_not(home: House) -> None:
    rule, request = home.rule(), home.ask()
    auditor = pages(factories.member(home.place.entity, Role.AUDITOR))
    approver = pages(home.anna)
    for path in (
        RULES, f"{RULES}which/", f"{RULES}{rule.pk}/change/", REQUESTS, f"{REQUESTS}{request.pk}/change/",
        f"{REQUESTS}workload/", f"{ADMIN}/delegation/", f"{ADMIN}/authoritylimit/", f"{ADMIN}/incompatibleduties/",
        f"{ADMIN}/dutyexception/",
    ):  # fmt: skip
        assert auditor.get(path).status_code == 200, path
    assert approver.get(RULES).status_code == 302
    for path in (f"{RULES}add/", f"{ADMIN}/authoritylimit/add/", f"{ADMIN}/dutyexception/add/"):
        assert auditor.get(path).status_code == 403, path
    stranger = pages(home.place.outsider)
    assert stranger.get(f"{REQUESTS}{request.pk}/change/").status_code == 404
    assert "Laptops" not in words(stranger.get(REQUESTS))


class TestRules:
    def test_a_rule_is_made_with_its_levels_in_their_order(self, site: Client, home: House) -> None:
        named = level(0, order=2, name="Both", approver_kind="users", role="", required_approvals="",
                      users=[home.anna.pk, home.ben.pk])  # fmt: skip
        answer = site.post(f"{RULES}add/", rule_form(named, level(1, order=1), entity=home.place.entity.pk))
        assert answer.status_code == 302, words(answer)
        rule = ApprovalRule.objects.get()
        assert [(each.order, each.approver_kind, each.required_approvals) for each in rule.levels.all()] == [
            (1, "role", 1),
            (2, "users", None),
        ]
        assert set(rule.levels.get(order=2).users.all()) == {home.anna, home.ben}
        shown = words(site.get(RULES))
        assert "Approver → all of 2:" in shown

    def test_a_refusal_stands_in_the_form_and_changes_nothing(self, site: Client, home: House) -> None:
        home.rule(name="There", request_type="purchase")
        place = {"entity": home.place.entity.pk}
        overlap = site.post(f"{RULES}add/", rule_form(level(0), **place))
        assert "Overlaps another rule" in words(overlap)
        nobody = site.post(f"{RULES}add/", rule_form(priority=5, **place))
        assert "Add a level, or say that the rule approves by itself." in words(nobody)
        unnamed = site.post(f"{RULES}add/", rule_form(level(0, role=""), priority=5, **place))
        assert "Name the role that is asked." in words(unnamed)
        assert ApprovalRule.objects.count() == 1

    def test_apr_02_the_neighbour_that_moves_is_named(self, site: Client, home: House) -> None:
        low = home.rule(name="Low", request_type="purchase", amount_to=1000)
        high = home.rule(name="High", request_type="purchase", amount_from=1000)
        sent = rule_form(
            level(0, id=low.levels.get().pk, rule=low.pk, approver_kind="users", role="", users=[home.anna.pk]),
            stored=1, name="Low", entity=home.place.entity.pk, amount_to="2000", loaded_version=low.version,
        )  # fmt: skip
        answer = site.post(f"{RULES}{low.pk}/change/", sent, follow=True)
        assert "“High” moved with it: it now goes from $2,000.00." in words(answer)
        high.refresh_from_db()
        assert high.amount_from == 2000

    def test_it_is_put_out_of_force_once(self, site: Client, home: House) -> None:
        rule = home.rule()
        path = f"{RULES}{rule.pk}/do/retire/"
        assert site.post(path, {"reason": "Merged"}).status_code == 302
        rule.refresh_from_db()
        assert not rule.is_active
        assert site.post(path, {"reason": "Merged"}).status_code == 409

    def test_the_tester_says_who_decides_and_why_others_do_not(self, site: Client, home: House) -> None:
        home.rule(people(home.anna, home.asker), name="Small", request_type="purchase", amount_to=500)
        home.rule(name="Large", request_type="purchase", amount_from=500)
        home.rule(name="Rest", priority=-5)
        home.rule(name="Licences", request_type="license_change", priority=3)
        asked = f"{RULES}which/?request_type=purchase&department={home.place.department.pk}"
        small = words(site.get(f"{asked}&amount=499.99&requester={home.asker.pk}"))
        for said in ("“Small” decides", home.anna.display_name, "below its band, which begins at $500.00",
                     "It is for another type: licence change.",
                     "It matches too, but “Small” comes first: priority 0 before -5."):  # fmt: skip
            assert said in small, said
        assert "“Large” decides" in words(site.get(f"{asked}&amount=500"))
        assert ApprovalRequest.objects.count() == 0

    def test_the_queries_do_not_grow_with_the_rules(self, site: Client, home: House) -> None:
        def queries(number: int) -> int:
            while ApprovalRule.objects.count() < number:
                home.rule(people(home.anna, home.ben), priority=ApprovalRule.objects.count())
            with CaptureQueriesContext(connection) as captured:
                assert site.get(RULES).status_code == 200
            return len(captured)

        queries(1)
        assert queries(3) == queries(9)


class TestWarnings:
    def codes(self, home: House) -> list[tuple[str, str]]:
        return [
            (each.code, each.rule.name if each.rule else "")
            for each in rule_warnings(home.place.finance, on=clock.today())
        ]

    def test_apr_03_nothing_is_wrong_where_everything_is_covered(self, home: House) -> None:
        home.rule()
        assert self.codes(home) == []

    def test_apr_03_gaps_and_types_without_a_rule_are_told(self, home: House) -> None:
        home.rule(name="Middle", request_type="purchase", amount_from=100, amount_to=900)
        found = rule_warnings(home.place.finance, on=clock.today())
        gaps = [each.text for each in found if each.code == "gap"]
        assert gaps[0].startswith("No rule for purchase from $0.00 to below $100.00 at")
        assert gaps[1].startswith("No rule for purchase from $900.00 up at")
        assert {each.code for each in found} == {"gap", "no_rule"}

    def test_apr_01_a_rule_that_never_decides_is_told(self, home: House) -> None:
        home.rule(name="All", priority=5)
        home.rule(name="Hidden", request_type="purchase", amount_to=100)
        assert self.codes(home) == [("never_decides", "Hidden")]

    def test_apr_14_a_level_that_nobody_fills_is_told(self, home: House) -> None:
        home.rule(people(home.anna))
        home.anna.is_active = False
        home.anna.save()
        (found,) = rule_warnings(home.place.finance, on=clock.today())
        assert found.tone == "warn"
        assert f"{home.anna.display_name} may not decide there any more" in found.text
        assert "the fallback, finance manager, is asked instead" in found.text


class TestRequests:
    def do(self, client: Client, request: ApprovalRequest, name: str, **data: Any) -> Any:
        return client.post(f"{REQUESTS}{request.pk}/do/{name}/", data, follow=True)

    def test_the_document_tells_everything(self, site: Client, home: House) -> None:
        home.rule(people(home.anna), people(home.place.finance))
        request = home.ask("400.00", budget_id=home.place.budget("1000.00").pk, supplier="Acme")
        home.approve(request, home.anna)
        text = words(site.get(f"{REQUESTS}{request.pk}/change/"))
        for said in ("400.00", "Acme", "It takes", "600.00", home.anna.display_name, "Is asked", "Trail", "Submitted",
                     "Passed", request.content_hash[:10], "Open on the approvers’ page", "Recalculate"):  # fmt: skip
            assert said in text, said
        assert site.post(f"{REQUESTS}{request.pk}/change/", {"title": "Other"}).status_code == 403

    def test_who_is_asked_votes_on_what_they_saw(self, site: Client, home: House) -> None:
        home.rule(people(home.place.finance))
        request = home.ask()
        refused = self.do(site, request, "approve", seen="other")
        assert "changed" in words(refused)
        assert ApprovalRequest.objects.get(pk=request.pk).status == "pending"
        done = self.do(site, request, "approve", seen=request.content_hash)
        assert "is approved, and its effect is booked" in words(done)
        assert site.post(f"{REQUESTS}{request.pk}/do/approve/", {}).status_code == 409

    def test_rejecting_and_sending_back_need_a_word(self, site: Client, home: House) -> None:
        home.rule(people(home.place.finance))
        first, second = home.ask(), home.ask()
        assert "required" in words(self.do(site, first, "reject"))
        self.do(site, first, "reject", comment="No money", seen=first.content_hash)
        self.do(site, second, "send-back", comment="Which model?", seen=second.content_hash)
        states = [ApprovalRequest.objects.get(pk=each.pk).status for each in (first, second)]
        assert states == ["rejected", "changes_requested"]

    def test_recalculating_works_once_and_is_refused_when_decided(self, site: Client, home: House) -> None:
        home.rule()
        request = home.ask()
        self.do(site, request, "recalculate", reason="New rule")
        assert trail(request) == ["submitted", "recalculated"]
        home.approve(request, home.anna)
        assert site.post(f"{REQUESTS}{request.pk}/do/recalculate/", {"reason": "Again"}).status_code == 409

    def test_apr_26_an_emergency_is_reviewed_by_a_second_person(self, site: Client, home: House) -> None:
        home.rule()
        request = home.ask()
        self.do(site, request, "emergency", reason="The site is down")
        assert "Emergency to review" in words(site.get(f"{REQUESTS}?standing=review"))
        assert "had no part in it" in words(self.do(site, request, "review", reason="Fine"))
        assert "is reviewed" in words(self.do(pages(home.place.colleague), request, "review", reason="Fine"))
        assert trail(request)[-1] == "emergency_reviewed"

    def test_apr_21_a_task_is_given_to_another(self, site: Client, home: House) -> None:
        home.rule()
        request = home.ask()
        task = request.tasks.get()
        path = f"{REQUESTS}{request.pk}/reassign/{task.pk}/"
        assert site.get(path).status_code == 200
        refused = site.post(path, {"to_user": home.asker.pk, "reason": "Away"})
        assert refused.status_code == 200
        assert site.post(path, {"to_user": home.ben.pk, "reason": "Away"}).status_code == 302
        assert site.post(path, {"to_user": home.cleo.pk, "reason": "Away"}).status_code == 409
        auditor = pages(factories.member(home.place.entity, Role.AUDITOR))
        assert auditor.get(path).status_code == 403

    def test_the_requester_withdraws_and_nobody_else(self, site: Client, home: House) -> None:
        home.rule()
        own, other = home.ask(actor=home.place.finance), home.ask()
        self.do(site, own, "withdraw", reason="Not needed")
        self.do(site, other, "withdraw", reason="Not needed")
        states = [ApprovalRequest.objects.get(pk=each.pk).status for each in (own, other)]
        assert states == ["withdrawn", "pending"]

    def test_lists_filter_total_and_ask_no_more_for_more(self, site: Client, home: House) -> None:
        home.rule(people(home.place.finance))

        def queries(number: int) -> int:
            while ApprovalRequest.objects.count() < number:
                home.ask("10.00")
            with CaptureQueriesContext(connection) as captured:
                assert site.get(REQUESTS).status_code == 200
            return len(captured)

        queries(1)
        assert queries(2) == queries(5)
        shown = words(site.get(f"{REQUESTS}?standing=mine"))
        assert f"APR-{ApprovalRequest.objects.latest('id').pk}" in shown
        assert "5 rows Amount 50.00 USD" in shown
        assert "0 approval requests" in words(site.get(f"{REQUESTS}?status__exact=blocked"))
        first = words(site.get("/admin/"))
        assert "Requests being decided" in first
        assert "5 requests wait for your decision" in first

    def test_the_workload_counts_what_waits_and_was_decided(self, site: Client, home: House) -> None:
        home.rule()
        home.approve(home.ask(), home.anna)
        home.ask()
        (load,) = workload(home.place.finance)
        assert (load.person, load.waiting, load.overdue, load.decided) == (home.anna, 1, 0, 1)
        assert load.median == datetime.timedelta(0)
        text = words(site.get(f"{REQUESTS}workload/"))
        assert f"{home.anna.display_name} 1 –" in text
        assert "less than a minute" in text


class TestPeople:
    def test_apr_18_a_delegation_is_made_for_somebody_and_ended_once(self, site: Client, home: House) -> None:
        sent = {
            "delegator": home.anna.pk, "delegate": home.ben.pk, "reason": "On leave", "currency": "", "max_amount": "",
            "valid_from_0": "2026-06-15", "valid_from_1": "00:00:00", "valid_to_0": "2026-06-30",
            "valid_to_1": "00:00:00", "request_types": ["purchase"], "departments": [home.place.department.pk],
        }  # fmt: skip
        refused = site.post(f"{ADMIN}/delegation/add/", {**sent, "delegate": home.anna.pk})
        assert "somebody else than yourself" in words(refused)
        answer = site.post(f"{ADMIN}/delegation/add/", sent)
        assert answer.status_code == 302, words(answer)
        delegation = Delegation.objects.get()
        assert delegation.request_types == ["purchase"]
        assert list(Department.objects.filter(pk__in=delegation.departments.all())) == [home.place.department]
        assert "In force" in words(site.get(f"{ADMIN}/delegation/?running=now"))
        path = f"{ADMIN}/delegation/{delegation.pk}/do/end/"
        assert site.post(path).status_code == 302
        assert site.post(path).status_code == 409

    def test_apr_16_a_limit_is_set_changed_and_refused_for_oneself(self, site: Client, home: House) -> None:
        sent = {"user": home.anna.pk, "role": "", "max_amount": "500", "currency": "USD", "request_type": "",
                "entity": home.place.entity.pk}  # fmt: skip
        own = site.post(f"{ADMIN}/authoritylimit/add/", {**sent, "user": home.place.finance.pk})
        assert "Nobody sets their own limit" in words(own)
        answer = site.post(f"{ADMIN}/authoritylimit/add/", sent)
        assert answer.status_code == 302, words(answer)
        limit = AuthorityLimit.objects.get()
        changed = site.post(
            f"{ADMIN}/authoritylimit/{limit.pk}/change/",
            {**sent, "max_amount": "750", "loaded_version": limit.version},
        )
        assert changed.status_code == 302, words(changed)
        limit.refresh_from_db()
        assert limit.max_amount == 750

    def test_apr_15_an_exception_is_made_and_ended(self, home: House) -> None:
        head = factories.member(home.place.entity, Role.ADMINISTRATOR)
        site = pages(head)
        duties = IncompatibleDuties.objects.order_by("pk")[0]
        sent = {"duties": duties.pk, "user": home.anna.pk, "owner": home.anna.pk, "reason": "Small team",
                "valid_from": "2026-06-15", "valid_to": "2026-07-01", "change_reason": ""}  # fmt: skip
        assert "Somebody else answers" in words(site.post(f"{ADMIN}/dutyexception/add/", sent))
        answer = site.post(f"{ADMIN}/dutyexception/add/", {**sent, "owner": head.pk})
        assert answer.status_code == 302, words(answer)
        exception = DutyException.objects.get()
        assert "These roles bring both" in words(site.get(f"{ADMIN}/incompatibleduties/{duties.pk}/change/"))
        path = f"{ADMIN}/dutyexception/{exception.pk}/do/end/"
        assert site.post(path, {"reason": "Hired somebody"}).status_code == 302
        assert not DutyException.objects.exists()
