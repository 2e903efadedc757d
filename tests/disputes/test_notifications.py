"""Who is told of what, and that nothing internal is told to customers (DSP-08, DSP-10, DSP-18)."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.mail import EmailMultiAlternatives

from approvals.services.rules import approval_rule_create
from core.access import system_actor
from core.models import Notification, User
from core.outbox import dispatch_pending
from disputes.models import BillingDispute, DisputeEvent, EventKind
from disputes.services import timers
from disputes.services.comments import comment_add, comment_edit
from disputes.services.ending import dispute_close, dispute_merge, dispute_reopen, dispute_withdraw
from disputes.services.handling import (
    dispute_acknowledge,
    dispute_change_severity,
    dispute_escalate,
    dispute_investigate,
    dispute_update,
    dispute_wait_for_customer,
    dispute_wait_for_third_party,
)
from disputes.services.proposals import Proposal, dispute_resolve, proposal_withdraw
from invoicing.services.invoice import invoice_void
from tests.approvals.builders import people
from tests.disputes.builders import Desk, berlin

SECRET = "xyzzy-internal"
CUSTOMERS = ("customer", "second_customer", "buyer", "neighbour", "stranger")

Mails = list[EmailMultiAlternatives]


def delivered() -> None:
    """Deliver until nothing is left: what is told is mailed by a further event."""
    while dispatch_pending().delivered:
        pass


def told(desk: Desk, kind: str) -> dict[str, str]:
    """Titles of the notifications of one kind, by the names of the desk's people."""
    delivered()
    names = {
        getattr(desk, name).pk: name for name in (*CUSTOMERS, "manager", "staff", "colleague", "auditor")
    }
    rows = Notification.objects.filter(kind=f"dispute.{kind}").order_by("pk")
    return {names[row.user_id]: row.title for row in rows}


@pytest.fixture
def quiet(desk: Desk) -> BillingDispute:
    """A dispute of which everybody has been told already, owned by ``staff``."""
    dispute = desk.open()
    dispute_update(actor=desk.staff, dispute_id=dispute.pk, changes={"owner": desk.staff})
    delivered()
    Notification.objects.all().delete()
    return dispute


def test_opening_tells_all_who_handle_and_confirms_the_receipt(desk: Desk, mailoutbox: Mails) -> None:
    dispute = desk.open()
    assert told(desk, "opened") == {
        "customer": f"We have received your dispute {dispute}",
        "manager": f"{dispute} opened: Price, Northwind Germany",
        "staff": f"{dispute} opened: Price, Northwind Germany",
        "colleague": f"{dispute} opened: Price, Northwind Germany",
    }
    links = {mail.to[0]: mail.body.rsplit("\n\n", 1)[-1] for mail in mailoutbox}
    assert links[desk.customer.email].endswith(f"/disputes/{dispute.pk}/")
    assert links[desk.staff.email].endswith(f"/admin/disputes/billingdispute/{dispute.pk}/change/")
    assert len(mailoutbox) == 4


def test_what_staff_opens_for_them_the_payers_finance_hears(desk: Desk) -> None:
    dispute = desk.open(actor=desk.staff)
    assert set(told(desk, "opened")) == {"customer", "second_customer", "manager", "colleague"}
    comment_add(actor=desk.second_customer, dispute_id=dispute.pk, body="Thanks.", visibility="customer")
    comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Yours.", visibility="customer")
    assert set(told(desk, "staff_message")) == {"second_customer"}


def test_answers_go_to_who_opened_it_and_who_wrote(
    desk: Desk, quiet: BillingDispute, mailoutbox: Mails
) -> None:
    comment_add(actor=desk.buyer, dispute_id=quiet.pk, body="Me too.", visibility="customer")
    assert told(desk, "customer_message") == {
        "staff": f"{quiet}: {desk.buyer.display_name} of Northwind Germany has written"
    }
    mailoutbox.clear()
    comment_add(actor=desk.staff, dispute_id=quiet.pk, body="We look into it.", visibility="customer")
    assert told(desk, "staff_message") == dict.fromkeys(
        ("customer", "buyer"), f"{quiet}: Northwind Services has written to you"
    )
    assert all("We look into it." in mail.body for mail in mailoutbox) and len(mailoutbox) == 2


def test_a_question_is_mailed_once(desk: Desk, quiet: BillingDispute, mailoutbox: Mails) -> None:
    mailoutbox.clear()
    dispute_wait_for_customer(actor=desk.staff, dispute_id=quiet.pk, question="Which order?")
    assert told(desk, "status") == {"customer": f"{quiet} waits for your answer"}
    assert [(mail.to, "Which order?" in mail.body) for mail in mailoutbox] == [([desk.customer.email], True)]


def test_reminders_name_the_last_day(
    desk: Desk, quiet: BillingDispute, mailoutbox: Mails, travel: time_machine.Traveller
) -> None:
    dispute_wait_for_customer(actor=desk.staff, dispute_id=quiet.pk)
    delivered()
    mailoutbox.clear()
    travel.move_to(berlin("2026-03-05 09:00"))
    timers.run_timers()
    assert told(desk, "reminded") == {"customer": f"{quiet} still waits for your answer"}
    reminder = next(mail for mail in mailoutbox if "still waits" in mail.subject)
    assert "Without an answer by 2026-03-12 it is withdrawn" in reminder.body


def test_mentions_reach_colleagues_who_may_read_it(
    desk: Desk, quiet: BillingDispute, mailoutbox: Mails
) -> None:
    mailoutbox.clear()
    names = " ".join(f"@{getattr(desk, name).username}" for name in ("colleague", "customer", "stranger"))
    comment_add(actor=desk.staff, dispute_id=quiet.pk, body=f"{names} {SECRET}", visibility="internal")
    assert told(desk, "internal_note") == {"colleague": f"{desk.staff.display_name} mentioned you in {quiet}"}
    assert SECRET not in mailoutbox[0].body and len(mailoutbox) == 1


def test_who_has_lost_the_right_hears_nothing(desk: Desk, quiet: BillingDispute) -> None:
    desk.customer.memberships.all().delete()
    desk.staff.memberships.all().delete()
    comment_add(actor=desk.colleague, dispute_id=quiet.pk, body="Hello?", visibility="customer")
    dispute_escalate(actor=desk.colleague, dispute_id=quiet.pk, reason="Help")
    assert told(desk, "staff_message") == {
        "second_customer": f"{quiet}: Northwind Services has written to you"
    }
    assert set(told(desk, "escalated")) == {"manager"}


def test_breaches_go_to_the_owner_and_the_ladder_to_those_above(
    desk: Desk, quiet: BillingDispute, travel: time_machine.Traveller
) -> None:
    travel.shift(timedelta(hours=24, seconds=1))
    timers.run_timers()
    assert told(desk, "breached") == {"staff": f"{quiet} was not answered in time"}
    travel.shift(timedelta(days=1))
    timers.run_timers()
    assert told(desk, "escalated") == {"manager": f"{quiet} is escalated to the finance managers"}


def test_withdrawing_tells_the_owner(desk: Desk, quiet: BillingDispute) -> None:
    dispute_withdraw(actor=desk.customer, dispute_id=quiet.pk, reason="Found it.")
    assert told(desk, "withdrawn") == {"staff": f"{quiet} is withdrawn"}


def test_void_invoices_end_disputes_and_all_hear_it(desk: Desk, quiet: BillingDispute) -> None:
    invoice_void(actor=system_actor(), invoice=quiet.invoice, reason="Twice")
    assert told(desk, "moot") == dict.fromkeys(("customer", "staff"), f"{quiet} is moot")
    assert desk.again(quiet).status == "moot"


def test_dsp_18_nothing_internal_is_told_to_customers(
    desk: Desk, mailoutbox: Mails, travel: time_machine.Traveller
) -> None:
    """Every kind of event, with a word in every internal text; none of it in any mail or message of a customer."""
    staff, secret = desk.staff, {"reason": SECRET}
    desk.policy(hours=100)
    first = desk.open()
    pk = first.pk
    dispute_acknowledge(actor=staff, dispute_id=pk)
    note = comment_add(
        actor=staff, dispute_id=pk, body=f"@{desk.colleague.username} {SECRET}", visibility="internal"
    )
    comment_edit(actor=staff, comment_id=note.pk, body=f"{SECRET} again")
    comment_add(actor=staff, dispute_id=pk, body="Hello.", visibility="customer")
    dispute_update(actor=staff, dispute_id=pk, changes={"owner": desk.colleague}, **secret)
    dispute_update(
        actor=staff, dispute_id=pk, changes={"root_cause": "other", "root_cause_note": SECRET}, **secret
    )
    dispute_change_severity(actor=staff, dispute_id=pk, severity="high", **secret)
    dispute_escalate(actor=staff, dispute_id=pk, **secret)
    dispute_wait_for_third_party(actor=staff, dispute_id=pk, note=SECRET)
    dispute_investigate(actor=staff, dispute_id=pk)
    dispute_wait_for_customer(actor=staff, dispute_id=pk, question="Which?")
    travel.move_to(berlin("2026-03-05 09:00"))
    timers.run_timers()
    comment_add(actor=desk.customer, dispute_id=pk, body="That one.", visibility="customer")
    travel.move_to(berlin("2026-03-09 11:00"))
    timers.run_timers()
    travel.move_to(berlin("2026-03-20 09:00"))
    timers.run_timers()
    _resolve_and_reopen(desk, pk)
    other = desk.open(first.invoice, line=2, amount="1")
    dispute_merge(actor=desk.manager, dispute_id=pk, other_id=other.pk, reason="One matter")
    invoice_void(actor=system_actor(), invoice=desk.open(actor=desk.buyer).invoice, reason="Twice")
    dispute_withdraw(actor=desk.buyer, dispute_id=desk.open(actor=desk.buyer).pk)
    delivered()
    kinds = set(DisputeEvent.objects.values_list("kind", flat=True))
    assert kinds == set(EventKind.values) - {"attached", "detached", "amount"}
    assert SECRET in str(list(DisputeEvent.objects.values_list("note", flat=True)))
    public = DisputeEvent.objects.visible_to(desk.customer).order_by("pk")
    assert public.count() > 15 and SECRET not in str(list(public.values_list("note", "details")))
    _assert_clean([getattr(desk, name) for name in CUSTOMERS], mailoutbox)
    assert not any(SECRET in written(mail) for mail in mailoutbox), "not to staff by mail either"


def _resolve_and_reopen(desk: Desk, pk: int) -> None:
    """Proposed and taken back, resolved, closed, reopened; internal words with each."""
    approval_rule_create(
        actor=system_actor(), levels=[people(desk.manager)], request_type="dispute_credit", name="Credits",
        currency="EUR", entity=desk.issuer,
    )  # fmt: skip
    credit = Proposal("credit", "Half of it.", internal_note=SECRET)
    assert dispute_resolve(actor=desk.staff, dispute_id=pk, proposal=credit).status == "pending"
    proposal_withdraw(actor=desk.staff, dispute_id=pk, reason=SECRET)
    rejected = Proposal("no_action", "It is right as billed.", internal_note=SECRET)
    dispute_resolve(actor=desk.staff, dispute_id=pk, proposal=rejected)
    dispute_close(actor=desk.customer, dispute_id=pk)
    dispute_reopen(actor=desk.customer, dispute_id=pk, reason="It is not.")


def _assert_clean(customers: list[User], mailoutbox: Mails) -> None:
    theirs = {person.email for person in customers}
    mails: list[Any] = [mail for mail in mailoutbox if theirs & set(mail.to)]
    assert len(mails) > 10
    for mail in mails:
        assert SECRET not in written(mail) and "/admin/disputes/" not in written(mail)
    for row in Notification.objects.filter(user__in=customers):
        assert SECRET not in f"{row.title} {row.body}" and "/admin/disputes/" not in row.url


def written(mail: EmailMultiAlternatives) -> str:
    return f"{mail.subject}\n{mail.body}\n{mail.alternatives}"
