"""Deciders for the desk, and short ways to propose, to approve and to see what came of it."""

import dataclasses
from datetime import date
from decimal import Decimal
from typing import Any

from approvals.models import ApprovalRequest, ApprovalRule
from approvals.services.rules import approval_rule_create
from approvals.services.votes import request_approve
from core.access import system_actor
from core.models import User
from disputes.models import BillingDispute, DisputeResolution
from disputes.services.proposals import Proposal, dispute_resolve
from entities.models import Role
from invoicing.models import DocumentType, Invoice, InvoiceLine
from tests.approvals.builders import people
from tests.disputes.builders import Desk
from tests.entities import factories


def rule(desk: Desk, *deciders: User, required: int | None = 1, **fields: Any) -> ApprovalRule:
    """A rule of the issuer for resolutions of any amount, that asks those people."""
    levels = [people(*deciders, required=required)] if deciders else []
    values = {"name": "Credits", "currency": "EUR", "entity": desk.issuer, **fields}
    return approval_rule_create(actor=system_actor(), levels=levels, request_type="dispute_credit", **values)


def resolve(
    desk: Desk,
    dispute: BillingDispute,
    resolution_type: str = "credit",
    *,
    actor: User | None = None,
    expected_version: int | None = None,
    note: str = "Half of it was not agreed.",
    **terms: Any,
) -> DisputeResolution:
    """Staff resolves it, or asks for the decision."""
    return dispute_resolve(
        actor=actor or desk.staff,
        dispute_id=dispute.pk,
        proposal=Proposal(resolution_type, note, **terms),
        expected_version=expected_version,
    )


def approved(request: ApprovalRequest, *voters: User) -> ApprovalRequest:
    """Each of them approves in turn."""
    for voter in voters:
        request = request_approve(actor=voter, request_id=request.pk)
    return request


def proposed(desk: Desk, dispute: BillingDispute, *how: Any, **terms: Any) -> ApprovalRequest:
    """The request for a resolution that waits."""
    resolution = resolve(desk, dispute, *how, **terms)
    return ApprovalRequest.objects.get(subject_id=dispute.pk, pk=_request_id(resolution))


def _request_id(resolution: DisputeResolution) -> int:
    found = DisputeResolution.objects.get(pk=resolution.pk).approval_request_id
    assert found is not None
    return found


def carried_out(desk: Desk, dispute: BillingDispute, *how: Any, **terms: Any) -> DisputeResolution:
    """A resolution that the manager has approved, as it is stored."""
    resolution = resolve(desk, dispute, *how, **terms)
    if resolution.status == "pending":
        request = approved(ApprovalRequest.objects.get(pk=_request_id(resolution)), desk.manager)
        assert (request.status, request.effect_error) == ("approved", "")
    stored = DisputeResolution.objects.get(pk=resolution.pk)
    assert stored.status == "applied"
    return stored


def credit_notes(invoice: Invoice) -> list[Invoice]:
    """Those in force that correct the invoice, the oldest first."""
    posted = Invoice.objects.posted().of_type(DocumentType.CREDIT_NOTE)
    return list(posted.filter(corrects=invoice).order_by("pk"))


def figures(document: Invoice) -> tuple[Decimal, Decimal, Decimal]:
    """Before tax, tax, and both."""
    stored = Invoice.objects.get(pk=document.pk)
    return stored.subtotal, stored.tax_total, stored.total


def amounts_of(document: Invoice) -> list[tuple[Decimal, Decimal]]:
    """The lines of a document: before tax, and tax."""
    rows = InvoiceLine.objects.filter(invoice=document).order_by("line_number")
    return list(rows.values_list("amount", "tax_amount"))


def desk_in(desk: Desk, currency: str, tax_rate: str) -> Desk:
    """The same desk with another payer, which is billed in that currency at that rate of tax, and its people."""
    payer = factories.entity(
        f"Northwind {currency}",
        parent=desk.root,
        currency=currency,
        consolidated_billing=False,
        tax_treatment="S",
        tax_rate=Decimal(tax_rate),
        payment_terms_days=30,
        billing_email="billing@northwind.example",
        time_zone="Europe/Berlin",
    )
    return dataclasses.replace(
        desk,
        payer=payer,
        sales=factories.department(payer, "SALES"),
        customer=factories.member(payer, Role.FINANCE_STAFF),
        used_days=iter([date(2025, 6, day) for day in range(1, 30)]),
    )
