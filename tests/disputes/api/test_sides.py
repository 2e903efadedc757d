"""Nothing that is internal reaches the customer's side, by whatever address (DSP-18)."""

import json
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.urls import URLPattern
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from approvals.models import ApprovalRequest
from disputes.api.urls import urlpatterns
from disputes.models import BillingDispute
from disputes.services.attachments import attachment_add
from disputes.services.comments import comment_add, comment_edit
from disputes.services.handling import (
    dispute_change_severity,
    dispute_escalate,
    dispute_update,
    dispute_wait_for_third_party,
)
from disputes.services.proposals import Proposal, dispute_resolve, proposal_withdraw
from tests.disputes.admin.conftest import pages as back_office
from tests.disputes.api.conftest import BASE, DISPUTES, SignIn, at
from tests.disputes.builders import Desk

SECRET = "SENTINEL"
SHOWN_TO_BOTH = "Said to both"


@pytest.fixture
def laden(desk: Desk) -> BillingDispute:
    """A dispute with a secret in everything that is internal, and a proposal that is pending."""
    for person in (desk.colleague, desk.manager):
        person.first_name = person.last_name = SECRET
        person.save()
    desk.policy(name=f"{SECRET} policy", lead=desk.manager)
    dispute = desk.open()
    act: dict[str, Any] = {"actor": desk.staff, "dispute_id": dispute.pk}
    note = comment_add(**act, body=f"{SECRET} @{desk.colleague.username}")
    comment_edit(actor=desk.staff, comment_id=note.pk, body=f"{SECRET} again")
    comment_add(**act, body=f"{SHOWN_TO_BOTH} @{desk.colleague.username}", visibility="customer")
    attachment_add(
        **act, name=f"{SECRET}.txt", file=ContentFile(SECRET.encode()), visibility="internal", comment_id=None
    )
    dispute_update(
        **act,
        changes={"owner": desk.colleague, "root_cause": "other", "root_cause_note": SECRET},
        reason=SECRET,
    )
    dispute_change_severity(**act, severity="high", reason=SECRET)
    dispute_escalate(**act, reason=SECRET)
    dispute_wait_for_third_party(**act, note=SECRET)
    given_back = Proposal("credit", SECRET, amount="11.90", internal_note=SECRET)
    dispute_resolve(**act, proposal=given_back)
    proposal_withdraw(**act, reason=SECRET)
    dispute_resolve(**act, proposal=given_back)
    return desk.again(dispute)


def addresses(dispute: BillingDispute) -> list[str]:
    """Every address below /disputes, /dispute-attachments and /dispute-policies that is read."""
    numbers = {
        "disputes": [dispute.pk],
        "dispute-attachments": list(dispute.attachments.values_list("pk", flat=True)),
        "dispute-policies": [1, *dispute.rounds.values_list("policy_id", flat=True)],
    }
    comments = list(dispute.comments.values_list("pk", flat=True))
    found = []
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        route = str(pattern.pattern).strip("^$").replace("\\Z", "").rstrip("/")
        if "get" not in getattr(pattern.callback, "actions", {}) or "<format>" in route:
            continue
        kind = route.partition("/")[0]
        for number in numbers[kind]:
            for comment in comments if "comment_id" in route else [0]:
                path = route.replace("(?P<pk>[0-9]{1,18})", str(number))
                path = path.replace("(?P<comment_id>[0-9]{1,18})", str(comment))
                assert "(?P" not in path, path
                found.append(f"{BASE}/{path}")
    return sorted(set(found))


def answer_of(client: APIClient, address: str) -> tuple[int, str]:
    answer = client.get(address)
    content = answer.getvalue()
    return answer.status_code, content.decode() + json.dumps(dict(answer.items()))


def test_dsp_18_no_address_shows_a_customer_what_is_internal(
    desk: Desk, laden: BillingDispute, sign_in: SignIn
) -> None:
    read = addresses(laden)
    assert len(read) >= 20
    queries = [
        f"{DISPUTES}?search={SECRET}", f"{DISPUTES}?root_cause=other", f"{DISPUTES}?is_escalated=true",
        f"{DISPUTES}?inbox=mine", f"{at(laden, 'events')}?kind=proposed", f"{at(laden, 'comments')}?visibility=internal",
        f"{BASE}/dispute-attachments?search={SECRET}",
    ]  # fmt: skip
    for user in (desk.customer, desk.second_customer, desk.buyer):
        client = sign_in(user)
        allowed = 0
        for address in (*read, *queries):
            status, text = answer_of(client, address)
            # What is asked for comes back in the names of parameters only.
            assert SECRET not in text.replace(f"search={SECRET}", ""), (address, text)
            assert status in (200, 403, 404), (address, status)
            allowed += status == 200
        assert allowed >= 12
        shown = client.get(at(laden)).json()
        assert (shown["status"], shown["resolution"], shown["owner_id"]) == ("proposed", None, None)
        assert (shown["is_escalated"], shown["root_cause"]) == (None, None)
        found = client.get(f"{DISPUTES}?search={SECRET}").json()
        assert found["count"] == 0


def test_dsp_18_no_list_of_another_app_shows_it_either(
    desk: Desk, laden: BillingDispute, sign_in: SignIn
) -> None:
    """Approvals, notifications, invoices, people and whatever else the document names."""
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    lists = [path for path, item in paths.items() if "get" in item and "{" not in path]
    assert len(lists) >= 60
    request = ApprovalRequest.objects.latest("pk")
    below = [f"approvals/{request.pk}", f"approvals/{request.pk}/history", f"invoices/{laden.invoice_id}"]
    client = sign_in(desk.customer)
    for address in (*lists, *(f"{BASE}/{path}" for path in below)):
        status, text = answer_of(client, address)
        assert SECRET not in text, (address, text)
        assert status < 500, address
    assert SECRET in answer_of(sign_in(desk.manager), f"{BASE}/approvals/{request.pk}")[1]


def test_dsp_18_no_page_and_no_export_of_the_back_office_shows_it(desk: Desk, laden: BillingDispute) -> None:
    """Finance staff of the payer works in the back-office too, on the other side."""
    work_list = "/admin/disputes/billingdispute/"
    addressed = [
        work_list, f"{work_list}export.csv", f"{work_list}export.xlsx", f"{work_list}{laden.pk}/change/",
        f"{work_list}{laden.pk}/history/", f"{work_list}reasons.csv", f"/admin/invoicing/invoice/{laden.invoice_id}/change/",
        "/admin/disputes/disputepolicy/", "/admin/",
    ]  # fmt: skip
    seen = {}
    for user in (desk.staff, desk.customer):
        client = back_office(user)
        found = [client.get(page) for page in addressed]
        seen[user] = [answer.status_code == 200 and SECRET.encode() in answer.getvalue() for answer in found]
        assert max(answer.status_code for answer in found) < 500
    assert seen[desk.customer] == [False] * len(addressed)
    assert seen[desk.staff][3] and seen[desk.staff][1]


def test_dsp_18_staff_reads_it_all(desk: Desk, laden: BillingDispute, sign_in: SignIn) -> None:
    """The sentinel is where the test above looks for it."""
    for user in (desk.staff, desk.auditor):
        client = sign_in(user)
        with_secret = {address for address in addresses(laden) if SECRET in answer_of(client, address)[1]}
        ends = {address.removeprefix(f"{BASE}/") for address in with_secret}
        for part in ("", "/comments", "/events", "/attachments", "/clocks"):
            assert f"disputes/{laden.pk}{part}" in ends, part
        assert {"disputes", "dispute-attachments", "dispute-policies"} <= ends
        assert any(end.endswith("/versions") for end in ends)
        assert any(end.endswith("/content") for end in ends)


def test_dsp_18_refusals_tell_customers_nothing_internal(
    desk: Desk, laden: BillingDispute, sign_in: SignIn
) -> None:
    client = sign_in(desk.customer)
    reason = {"reason": "Because"}
    tries = [
        client.post(DISPUTES, {
            "invoice_id": laden.invoice_id, "invoice_line_id": laden.invoice_line_id, "category": "tax",
            "amount": "1", "reason": "Again",
        }),
        client.patch(at(laden), {"root_cause": "other"}),
        client.put(at(laden, "resolve"), {"resolution_type": "no_action", "note": "Mine"}),
        client.post(at(laden, "acknowledge")),
        client.post(at(laden, "investigate")),
        client.post(at(laden, "wait"), {"waiting_for": "customer"}),
        client.post(at(laden, "escalate"), reason),
        client.post(at(laden, "reopen"), reason),
        client.post(at(laden, "close")),
        client.post(at(laden, "merge"), {"other_id": laden.pk + 1, **reason}),
        client.post(at(laden, "withdraw-proposal"), reason),
    ]  # fmt: skip
    assert {answer.status_code for answer in tries} <= {403, 404, 409}
    for answer in tries:
        assert SECRET not in answer.content.decode()


def test_dsp_18_what_a_customer_does_is_answered_without_what_is_internal(
    desk: Desk, laden: BillingDispute, sign_in: SignIn
) -> None:
    client = sign_in(desk.customer)
    said = client.post(at(laden, "comments"), {"body": "And?", "visibility": "customer"})
    given_up = client.post(at(laden, "withdraw"), {"reason": "We pay"})
    assert (said.status_code, given_up.status_code) == (201, 200)
    for answer in (said, given_up, client.get(at(laden)), client.get(at(laden, "events"))):
        assert SECRET not in answer.content.decode()
    assert given_up.json()["status"] == "withdrawn"
    # Nor does the proposal that ended with it.
    assert given_up.json()["resolutions"] == []


def test_dsp_18_what_is_carried_out_is_shown_without_its_internal_part(desk: Desk, sign_in: SignIn) -> None:
    desk.policy(small_claims_amount="100")
    dispute = desk.open()
    proposal = Proposal("credit", SHOWN_TO_BOTH, amount="11.90", internal_note=SECRET)
    dispute_resolve(actor=desk.staff, dispute_id=dispute.pk, proposal=proposal)
    for address in (at(dispute), at(dispute, "events"), f"{BASE}/invoices/{dispute.invoice_id}"):
        status, text = answer_of(sign_in(desk.customer), address)
        assert (status, SECRET in text) == (200, False)
    assert sign_in(desk.customer).get(at(dispute)).json()["resolution"]["note"] == SHOWN_TO_BOTH


def test_ent_04_a_side_is_told_dispute_by_dispute(desk: Desk, sign_in: SignIn) -> None:
    """Who works for the issuer and sees the payer too is staff; who only sees the payer is a customer."""
    desk.open()
    for user, side in (
        (desk.staff, "staff"), (desk.manager, "staff"), (desk.auditor, "staff"), (desk.customer, "customer"),
        (desk.buyer, "customer"),
    ):  # fmt: skip
        (row,) = sign_in(user).get(DISPUTES).json()["results"]
        assert row["side"] == side
