"""Comments, events, clocks and files of a dispute over the API (DSP-05…10, DSP-18)."""

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from disputes.models import BillingDispute, DisputeAttachment, DisputeComment
from disputes.services.handling import dispute_wait_for_customer
from disputes.services.proposals import Proposal, dispute_resolve
from tests.disputes.api.conftest import BASE, SignIn, at
from tests.disputes.builders import Desk, berlin, everything, log, office_calendar

FILES = f"{BASE}/dispute-attachments"
PDF = b"%PDF-1.7 order confirmation"


def say(client: APIClient, dispute: BillingDispute, body: str, visibility: str = "customer") -> Any:
    return client.post(at(dispute, "comments"), {"body": body, "visibility": visibility})


def bodies(client: APIClient, dispute: BillingDispute, query: str = "") -> list[str]:
    """What was said, without the automatic confirmation."""
    rows = client.get(f"{at(dispute, 'comments')}?{query}").json()["results"]
    return [row["body"] for row in rows if row["speaker"] != "system"]


def upload(client: APIClient, dispute: BillingDispute, **fields: Any) -> Any:
    values = {"visibility": "customer", "name": "order.pdf", "content": PDF, **fields}
    file = SimpleUploadedFile(values.pop("name"), values.pop("content"), "text/html")
    return client.post(at(dispute, "attachments"), {"file": file, **values}, format="multipart")


class TestComments:
    def test_dsp_05_the_first_word_to_the_customer_is_an_answer(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        dispute = desk.open()
        assert say(staff, dispute, "Looks right to me", "internal").status_code == 201
        assert staff.get(at(dispute)).json()["status"] == "open"
        answer = say(staff, dispute, f"We look into it, with @{desk.colleague.username}.")
        shown = answer.json()
        assert answer.status_code == 201, shown
        assert answer["Location"] == at(dispute, "comments", shown["id"])
        comment = DisputeComment.objects.get(pk=shown["id"])
        expected = {
            "id": comment.pk, "dispute_id": dispute.pk, "thread_key": str(comment.thread_key), "version": 1,
            "visibility": "customer", "speaker": "staff",
            "body": f"We look into it, with @{desk.colleague.username}.", "author_id": desk.staff.pk,
            "author_name": desk.staff.display_name, "mentioned_ids": [desk.colleague.pk],
            "created_at": "2026-03-02T08:00:00Z",
        }  # fmt: skip
        assert shown == staff.get(at(dispute, "comments", comment.pk)).json() == expected
        seen = customer.get(at(dispute, "comments", comment.pk)).json()
        assert seen == expected | {"mentioned_ids": None}
        assert staff.get(at(dispute)).json()["status"] == "acknowledged"
        clocks = customer.get(at(dispute, "clocks")).json()["rounds"][0]
        assert clocks["response"]["met_at"] == "2026-03-02T08:00:00Z"

    def test_dsp_08_a_customer_answers(self, desk: Desk, customer: APIClient, sign_in: SignIn) -> None:
        dispute = desk.open()
        dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk, question="Which price?")
        assert say(sign_in(desk.buyer), dispute, "The one of page 2").json()["speaker"] == "customer"
        assert desk.again(dispute).status == "investigating"
        assert bodies(customer, dispute) == ["Which price?", "The one of page 2"]

    def test_dsp_18_a_correction_is_a_further_version(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        dispute = desk.open()
        first = say(staff, dispute, "Until Friday").json()
        say(customer, dispute, "Thank you")
        where = at(dispute, "comments", first["id"])
        tag = staff.get(where)["ETag"]
        answer = staff.patch(where, {"body": "Until Thursday"}, headers={"If-Match": tag})
        second = answer.json()
        assert answer.status_code == 200, second
        assert (second["version"], second["thread_key"]) == (2, first["thread_key"])
        assert second["id"] != first["id"]
        # In its old place, in its new words; the old ones stay to be read.
        assert bodies(customer, dispute) == ["Until Thursday", "Thank you"]
        versions = customer.get(f"{where}/versions").json()["results"]
        assert [(row["version"], row["body"]) for row in versions] == [
            (2, "Until Thursday"), (1, "Until Friday"),
        ]  # fmt: skip
        before = everything()
        for client, body, headers, status, code in (
            (staff, "Never", None, 409, "not_the_latest_version"),
            (staff, "", None, 400, "blank"),
            (customer, "Mine", None, 403, "not_the_author"),
        ):
            refused = client.patch(where, {"body": body}, headers=headers)
            problem = refused.json()
            codes = {problem["code"], *(error["code"] for error in problem["errors"])}
            assert (refused.status_code, code in codes) == (status, True), problem
        newest = at(dispute, "comments", second["id"])
        stale = staff.patch(newest, {"body": "No"}, headers={"If-Match": '"1"'})
        assert stale.status_code == 412
        for method in (staff.delete, staff.put):
            assert method(newest).status_code == 405
        assert everything() == before

    def test_dsp_18_what_is_internal_is_not_found_by_customers(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        dispute, other = desk.open(), desk.open()
        note = say(staff, dispute, "They are right", "internal").json()
        public = say(staff, other, "Elsewhere").json()
        assert bodies(staff, dispute) == ["They are right"] and bodies(customer, dispute) == []
        assert bodies(staff, dispute, "visibility=customer") == []
        assert bodies(staff, dispute, f"author_id={desk.staff.pk}") == ["They are right"]
        before = everything()
        for number in (note["id"], public["id"], 999_999):
            where = at(dispute, "comments", number)
            for answer in (
                customer.get(where), customer.get(f"{where}/versions"), customer.patch(where, {"body": "x"}),
            ):  # fmt: skip
                assert answer.status_code == 404
        assert everything() == before

    def test_dsp_18_who_may_write_what(self, desk: Desk, customer: APIClient, sign_in: SignIn) -> None:
        dispute = desk.open()
        before = everything()
        for client, visibility, status, code in (
            (customer, "internal", 403, "internal_is_for_staff"),
            (sign_in(desk.auditor), "customer", 403, "takes_no_part"),
            (sign_in(desk.auditor), "internal", 403, "takes_no_part"),
            (sign_in(desk.neighbour), "customer", 404, "not_found"),
            (customer, "everyone", 400, "invalid_choice"),
        ):
            answer = say(client, dispute, "Hello", visibility)
            problem = answer.json()
            codes = {problem["code"], *(error["code"] for error in problem["errors"])}
            assert (answer.status_code, code in codes) == (status, True), problem
        answer = customer.post(at(dispute, "comments"), {"body": "Hello", "visibility": "customer", "to": 1})
        assert answer.json()["errors"][0]["code"] == "unknown_field"
        assert everything() == before

    def test_sec_04_a_comment_is_written_once_by_its_key(self, desk: Desk, customer: APIClient) -> None:
        dispute = desk.open()
        body = {"body": "Hello", "visibility": "customer"}
        headers = {"Idempotency-Key": "hello"}
        first, again = (customer.post(at(dispute, "comments"), body, headers=headers) for _ in range(2))
        assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
        other = customer.post(at(dispute, "comments"), body | {"body": "Bye"}, headers=headers)
        assert other.status_code == 422
        assert bodies(customer, dispute) == ["Hello"]


class TestEvents:
    def test_dsp_18_the_log_of_each_side(self, desk: Desk, staff: APIClient, customer: APIClient) -> None:
        dispute = desk.open()
        staff.post(at(dispute, "acknowledge"))
        say(staff, dispute, "Between us", "internal")
        staff.patch(at(dispute), {"root_cause": "wrong_price", "reason": "Price list of May"})
        say(staff, dispute, "We found it")
        kinds = [row["kind"] for row in staff.get(at(dispute, "events")).json()["results"]]
        assert kinds == ["staff_message", "changed", "internal_note", "acknowledged", "opened"]
        seen = customer.get(at(dispute, "events")).json()["results"]
        assert [row["kind"] for row in seen] == ["staff_message", "acknowledged", "opened"]
        latest = dispute.events.latest("id")
        assert seen[0] == {
            "id": latest.pk, "kind": "staff_message", "kind_label": "Answer to the customer", "round": 1,
            "status": "acknowledged", "severity": "medium", "at": "2026-03-02T08:00:00Z",
            "actor_id": desk.staff.pk, "actor_name": desk.staff.display_name, "is_public": True, "note": "",
            "details": {"comment_id": latest.details["comment_id"]}, "channel": None,
        }  # fmt: skip
        changed = staff.get(f"{at(dispute, 'events')}?kind=changed").json()["results"]
        assert [(row["note"], row["details"]["changes"], row["channel"]) for row in changed] == [
            ("Price list of May", {"root_cause": ["", "wrong_price"]}, "api")
        ]
        assert customer.get(f"{at(dispute, 'events')}?kind=changed").json()["results"] == []
        assert staff.get(f"{at(dispute, 'events')}?kind_in=opened,acknowledged").json()["results"] != []
        first = staff.get(f"{at(dispute, 'events')}?page_size=2").json()
        assert len(first["results"]) == 2 and first["next"]


class TestClocks:
    def test_dsp_07_both_clocks_as_they_tick(
        self, desk: Desk, sign_in: SignIn, travel: time_machine.Traveller
    ) -> None:
        """8 h target from Mon 09:00, pause Mon 13:00, resume Wed 11:00: due Wed 15:00."""
        desk.policy(hours=8, response_hours=4, calendar=office_calendar(), name="Office")
        dispute = desk.open()

        def clocks(moment: str) -> Any:
            travel.move_to(berlin(moment))
            return sign_in(desk.staff).get(at(dispute, "clocks")).json()

        shown = clocks("2026-03-02 10:00")
        assert (shown["as_of"], shown["status"], shown["next_deadline_at"]) == (
            "2026-03-02T09:00:00Z", "open", "2026-03-02T12:00:00Z",
        )  # fmt: skip
        (current,) = shown["rounds"]
        assert current["response"] == {
            "due_at": "2026-03-02T12:00:00Z", "met_at": None, "breached_at": None,
            "remaining_seconds": 3 * 3600,
        }  # fmt: skip
        assert current["resolution"] == {
            "due_at": "2026-03-02T16:00:00Z", "target_seconds": 8 * 3600, "elapsed_seconds": 3600,
            "paused_seconds": 0, "remaining_seconds": 7 * 3600, "paused_since": None, "stopped_at": None,
            "breached_at": None, "in_time": None,
        }  # fmt: skip
        assert (current["policy_name"], [each["percent"] for each in current["warnings"]]) == (
            "Office", [75, 90],
        )  # fmt: skip
        travel.move_to(berlin("2026-03-02 13:00"))
        dispute_wait_for_customer(actor=desk.staff, dispute_id=dispute.pk, question="Which price?")
        paused = clocks("2026-03-03 10:00")["rounds"][0]
        assert paused["response"] == {
            "due_at": "2026-03-02T12:00:00Z", "met_at": "2026-03-02T12:00:00Z", "breached_at": None,
            "remaining_seconds": None,
        }  # fmt: skip
        assert (paused["resolution"]["due_at"], paused["resolution"]["paused_since"]) == (
            None, "2026-03-02T12:00:00Z",
        )  # fmt: skip
        assert paused["resolution"]["remaining_seconds"] == 4 * 3600
        travel.move_to(berlin("2026-03-04 11:00"))
        say(sign_in(desk.customer), dispute, "Page 2")
        resumed = clocks("2026-03-04 11:00")["rounds"][0]["resolution"]
        assert (resumed["due_at"], resumed["paused_seconds"]) == ("2026-03-04T14:00:00Z", 14 * 3600)
        assert clocks("2026-03-04 15:00")["rounds"][0]["resolution"]["breached_at"] is None
        late = clocks("2026-03-04 16:30")["rounds"][0]["resolution"]
        assert (late["remaining_seconds"], late["breached_at"]) == (-90 * 60, "2026-03-04T14:00:00Z")

    def test_dsp_16_each_round_has_its_clocks(
        self, desk: Desk, travel: time_machine.Traveller, sign_in: SignIn
    ) -> None:
        dispute = desk.open()
        travel.shift(timedelta(hours=2))
        dispute_resolve(
            actor=desk.staff, dispute_id=dispute.pk, proposal=Proposal("no_action", "Billed as ordered.")
        )
        travel.shift(timedelta(days=1))
        client = sign_in(desk.customer)
        client.post(at(dispute, "reopen"), {"reason": "See page 2"})
        second, first = client.get(at(dispute, "clocks")).json()["rounds"]
        assert (first["number"], first["resolution"]["in_time"]) == (1, True)
        assert first["resolution"]["elapsed_seconds"] == 7200
        assert first["resolution"]["remaining_seconds"] is None
        assert (second["number"], second["resolution"]["elapsed_seconds"], second["ended_at"]) == (2, 0, None)
        assert (second["policy_id"], second["policy_name"], second["warnings"]) == (None, None, None)


class TestFiles:
    def test_a_file_is_attached_read_and_taken_off(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        dispute = desk.open()
        answer = upload(customer, dispute)
        shown = answer.json()
        assert answer.status_code == 201, shown
        where = f"{FILES}/{shown['id']}"
        assert answer["Location"] == where
        assert shown == {
            "id": shown["id"], "dispute_id": dispute.pk, "comment_id": None, "visibility": "customer",
            "name": "order.pdf", "content_type": "application/pdf", "size": 27,
            "sha256": hashlib.sha256(PDF).hexdigest(), "uploaded_by_id": desk.customer.pk,
            "uploaded_by_name": desk.customer.display_name, "uploaded_at": "2026-03-02T08:00:00Z",
        }  # fmt: skip
        assert staff.get(where).json() == shown
        assert staff.get(at(dispute, "attachments")).json()["results"] == [shown]
        assert staff.get(f"{FILES}?dispute_id={dispute.pk}&search=order").json()["results"] == [shown]
        content = staff.get(f"{where}/content", headers={"Accept": "text/html"})
        assert content.getvalue() == PDF
        assert content["Content-Disposition"] == 'attachment; filename="order.pdf"'
        assert (content["Content-Type"], content["X-Content-Type-Options"]) == ("application/pdf", "nosniff")
        refused = staff.delete(where)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_the_uploader")
        assert customer.delete(where).status_code == 204
        for gone in (where, f"{where}/content"):
            assert staff.get(gone).status_code == 404
        assert log(dispute) == ["opened", "attached", "detached"]

    def test_dsp_18_internal_files_are_not_found_by_customers(
        self, desk: Desk, staff: APIClient, customer: APIClient
    ) -> None:
        dispute = desk.open()
        hidden = upload(staff, dispute, visibility="internal", name="calculation.pdf").json()
        where = f"{FILES}/{hidden['id']}"
        assert staff.get(at(dispute, "attachments")).json()["count"] == 1
        assert customer.get(at(dispute, "attachments")).json()["count"] == 0
        assert customer.get(f"{FILES}?sha256={hidden['sha256']}").json()["count"] == 0
        for answer in (customer.get(where), customer.get(f"{where}/content"), customer.delete(where)):
            assert answer.status_code == 404
        refused = upload(customer, dispute, visibility="internal", content=b"%PDF-1.7 other")
        assert (refused.status_code, refused.json()["code"]) == (403, "internal_is_for_staff")
        # The same content, sent by the customer, tells nothing of the other.
        assert upload(customer, dispute).status_code == 201

    @pytest.mark.parametrize(
        ("fields", "status", "code"),
        [
            ({"name": "run.exe"}, 400, "file_type_not_allowed"),
            ({"content": b"<html>"}, 400, "file_content_differs"),
            ({"content": b""}, 400, "file_empty"),
            ({"visibility": "all"}, 400, "invalid_choice"),
            ({"comment_id": 999_999}, 400, "does_not_exist"),
            ({"colour": "red"}, 400, "unknown_field"),
        ],
    )
    def test_what_is_wrong_is_refused(
        self, desk: Desk, customer: APIClient, fields: dict[str, Any], status: int, code: str
    ) -> None:
        dispute = desk.open()
        before = everything()
        answer = upload(customer, dispute, **fields)
        problem = answer.json()
        codes = {problem["code"], *(error["code"] for error in problem["errors"])}
        assert (answer.status_code, code in codes) == (status, True), problem
        assert customer.post(at(dispute, "attachments"), {"file": "x"}).status_code == 415
        assert everything() == before

    def test_a_file_that_is_lost_is_said_to_be(self, desk: Desk, customer: APIClient) -> None:
        number = upload(customer, desk.open()).json()["id"]
        Path(DisputeAttachment.objects.get(pk=number).file.path).unlink()
        answer = customer.get(f"{FILES}/{number}/content")
        assert (answer.status_code, answer.json()["code"]) == (409, "file_missing")
