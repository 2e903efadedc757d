"""What the database refuses by itself, whoever writes (DSP-02, DSP-09, DSP-10, DSP-13, DSP-15 to DSP-18)."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Model, QuerySet

from core import clock
from core.errors import constraint_name
from disputes.models import (
    BillingDispute,
    DisputeAttachment,
    DisputeComment,
    DisputeEvent,
    DisputePolicy,
    DisputePolicyTarget,
    DisputeResolution,
    DisputeRound,
)
from disputes.services.comments import comment_add
from disputes.services.ending import dispute_withdraw
from disputes.services.policies import Target
from disputes.services.proposals import Proposal, dispute_resolve
from tests.disputes.builders import Desk, everything


def guarded(name: str, act: Callable[[], Any]) -> None:
    """The database refuses by that constraint, and nothing has changed."""
    before = everything()
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        act()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert constraint_name(caught.value) == name, str(caught.value)
    assert everything() == before


def rows(model: type[Model], **which: Any) -> QuerySet[Any]:
    return model._default_manager.filter(**which)


def delete(model: type[Model], pk: int) -> Callable[[], Any]:
    """Past every service and cascade."""

    def act() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE id = %s", [pk])

    return act


def copied(row: Model, **values: Any) -> Callable[[], Any]:
    """A further row with other values."""

    def act() -> None:
        fresh = type(row)(
            **{field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
        )
        fresh.pk = None
        for name, value in values.items():
            setattr(fresh, name, value)
        fresh.save_base(raw=True, force_insert=True)

    return act


DISPUTE = [
    ("dispute_amount_positive", {"amount": 0}),
    ("dispute_approved_within_amount", {"approved_amount": Decimal("59.51")}),
    ("dispute_approved_within_amount", {"approved_amount": -1}),
    ("dispute_resolved_when_decided", {"status": "resolved"}),
    ("dispute_resolved_when_decided", {"resolved_at": clock.now()}),
    ("dispute_ended_when_over", {"status": "withdrawn"}),
    ("dispute_ended_when_over", {"ended_at": clock.now()}),
    ("dispute_reopened_twice_at_most", {"round_number": 4}),
    ("dispute_reopened_twice_at_most", {"round_number": 0}),
    ("dispute_chargeback_names_scheme", {"chargeback_deadline": "2026-04-01"}),
    ("dispute_subject_stays", {"currency": "USD"}),
    ("dispute_subject_stays", {"direction": "under"}),
    ("dispute_subject_stays", {"opened_at": clock.now() + timedelta(days=1)}),
]


@pytest.mark.parametrize(("name", "values"), DISPUTE)
def test_disputes(desk: Desk, name: str, values: dict[str, Any]) -> None:
    dispute = desk.open()
    guarded(name, lambda: rows(BillingDispute, pk=dispute.pk).update(**values))


def test_dsp_17_merged_is_moot_and_nothing_is_deleted(desk: Desk) -> None:
    dispute, other = desk.open(), desk.open()
    guarded(
        "dispute_merged_is_moot", lambda: rows(BillingDispute, pk=dispute.pk).update(merged_into=other.pk)
    )
    guarded("dispute_is_kept", delete(BillingDispute, dispute.pk))


def test_dsp_02_one_open_dispute_per_line_and_whole_or_lines(desk: Desk) -> None:
    invoice, elsewhere = desk.invoice(), desk.invoice()
    first, second = desk.open(invoice, line=1, amount="1"), desk.open(invoice, line=2, amount="1")
    whole = desk.open(elsewhere, line=None, amount="1")
    alone = {"hold_id": None}
    guarded("dispute_one_open_per_line", copied(first, **alone))
    guarded("dispute_one_open_per_invoice", copied(whole, **alone))
    guarded("dispute_whole_or_lines", copied(first, invoice_line_id=None, **alone))
    guarded("dispute_whole_or_lines", copied(whole, invoice_line_id=desk.line(elsewhere).pk, **alone))
    guarded("dispute_whole_or_lines", lambda: rows(BillingDispute, pk=second.pk).update(invoice_line=None))
    guarded(
        "dispute_line_of_its_invoice",
        lambda: rows(BillingDispute, pk=first.pk).update(invoice_line=desk.line(elsewhere, 2)),
    )


def test_dsp_08_what_is_over_stays_over(desk: Desk) -> None:
    dispute = desk.open()
    dispute_withdraw(actor=desk.customer, dispute_id=dispute.pk)
    guarded(
        "dispute_is_over", lambda: rows(BillingDispute, pk=dispute.pk).update(status="open", ended_at=None)
    )


def test_dsp_09_dsp_10_rounds(desk: Desk, travel: Any) -> None:
    dispute = desk.open()
    current = DisputeRound.objects.get(dispute=dispute)
    guarded("dispute_round_is_frozen", lambda: rows(DisputeRound).update(terms={}))
    guarded(
        "dispute_round_is_frozen", lambda: rows(DisputeRound).update(started_at=clock.now() + timedelta(1))
    )
    guarded("dispute_round_is_frozen", delete(DisputeRound, current.pk))
    guarded("dispute_round_once", copied(current, ended_at=clock.now()))
    guarded("dispute_one_round_runs", copied(current, number=2))
    travel.shift(timedelta(days=2))
    comment_add(actor=desk.staff, dispute_id=dispute.pk, body="Late.", visibility="customer")
    guarded("dispute_breach_stays", lambda: rows(DisputeRound).update(response_breached_at=None))
    guarded("dispute_breach_stays", lambda: rows(DisputeRound).update(response_breached_at=clock.now()))


@pytest.mark.parametrize("model", [DisputeEvent, DisputeComment])
def test_dsp_09_dsp_18_logs_and_comments_are_only_added_to(desk: Desk, model: type[Model]) -> None:
    dispute = desk.open()
    comment_add(actor=desk.customer, dispute_id=dispute.pk, body="Words.", visibility="customer")
    row = rows(model).first()
    before = everything()
    for act in (lambda: rows(model).update(dispute_id=dispute.pk), delete(model, row.pk)):
        with (
            pytest.raises(Exception, match=r"only appended|append|rewrit|added"),
            transaction.atomic(),
        ):
            act()
    assert everything() == before


def test_dsp_18_comments(desk: Desk) -> None:
    dispute = desk.open()
    comment = comment_add(actor=desk.customer, dispute_id=dispute.pk, body="Words.", visibility="customer")
    guarded("dispute_comment_version_once", copied(comment))
    guarded("dispute_comment_of_customer_is_public", copied(comment, version=2, visibility="internal"))
    guarded("dispute_comment_says_something", copied(comment, version=2, body=""))


def test_dsp_18_attachments(desk: Desk) -> None:
    dispute = desk.open()
    file = DisputeAttachment.objects.create(
        dispute=dispute, visibility="customer", file="disputes/a.pdf", name="a.pdf", content_type="application/pdf",
        size=1, sha256="0" * 64, uploaded_by=desk.customer,
    )  # fmt: skip
    for values in ({"name": "b.pdf"}, {"visibility": "internal"}, {"sha256": "1" * 64}):
        guarded("dispute_attachment_is_kept", lambda values=values: rows(DisputeAttachment).update(**values))
    guarded("dispute_attachment_is_kept", delete(DisputeAttachment, file.pk))
    guarded("dispute_attachment_once", copied(file))


def test_dsp_13_dsp_15_resolutions(desk: Desk) -> None:
    dispute = desk.open()
    resolution = dispute_resolve(
        actor=desk.staff, dispute_id=dispute.pk, proposal=Proposal("no_action", "Right as billed.")
    )
    guarded("dispute_resolution_is_decided", lambda: rows(DisputeResolution).update(note="Other words"))
    guarded("dispute_resolution_is_decided", delete(DisputeResolution, resolution.pk))
    guarded("dispute_resolved_once_per_round", copied(resolution))
    pending = {"status": "pending", "decided_at": None}
    guarded("dispute_resolution_decided", copied(resolution, status="pending"))
    guarded("dispute_resolution_amount_as_outcome", copied(resolution, amount=1, **pending))
    guarded("dispute_resolution_amount_as_outcome", copied(resolution, outcome="credit_note", **pending))
    returned = {"status": "returned", "outcome": "credit_note", "amount": 5}
    copied(resolution, **returned)()
    guarded(
        "dispute_resolution_has_its_document",
        copied(resolution, **returned | {"status": "applied"}),
    )
    copied(resolution, **pending)()
    guarded("dispute_one_pending_resolution", copied(resolution, **pending))
    guarded(
        "dispute_resolution_is_proposed",
        lambda: rows(DisputeResolution, status="pending").update(note="Other words"),
    )


def test_dsp_06_policies(desk: Desk) -> None:
    policy = desk.policy(targets={"low": Target(60)})
    desk.policy(customer=desk.payer, targets={})
    guarded("dispute_policy_once_per_scope", copied(policy))
    for values in (
        {"first_warning_percent": 0},
        {"first_warning_percent": 95},
        {"second_warning_percent": 100},
    ):
        guarded(
            "dispute_policy_warnings_in_order",
            lambda values=values: rows(DisputePolicy, pk=policy.pk).update(**values),
        )
    for values in ({"window_days": 0}, {"silence_days": 2}, {"small_claims_amount": -1}):
        guarded("dispute_policy_values", lambda values=values: rows(DisputePolicy).update(**values))
    target = DisputePolicyTarget.objects.get()
    guarded("dispute_policy_target_once", copied(target))
    for name in ("response_minutes", "resolution_minutes"):
        guarded(
            "dispute_policy_target_takes_time",
            lambda name=name: rows(DisputePolicyTarget).update(**{name: 0}),
        )
