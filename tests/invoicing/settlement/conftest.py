"""Issued invoices of a small group, to be paid and credited."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from core.clock import month_after
from entities.models import Entity
from invoicing.models import Invoice, Payment
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from invoicing.services.payments import payment_record
from tests.invoicing.invoices.builders import SEPTEMBER, Group, build_group


@dataclass
class Account:
    """What the root is billed by the issuer, with 19 % tax unless it is told otherwise."""

    group: Group
    month: date = field(default=SEPTEMBER[0])

    def draft(self, *amounts: str, currency: str = "USD") -> Invoice:
        """A draft with one line per amount, of a month of its own."""
        start, self.month = self.month, month_after(self.month)
        for number, amount in enumerate(amounts):
            self.group.use(
                amount, entity=self.group.root, service_name=f"Service {number}", currency=currency, day=start
            )
        return consolidated_invoice_draft(
            actor=self.group.manager, payer=self.group.root, period_start=start, period_end=self.month
        ).invoice

    def issued(self, *amounts: str, currency: str = "USD", on: date = date(2024, 10, 1)) -> Invoice:
        return invoice_issue(
            actor=self.group.manager, invoice=self.draft(*amounts, currency=currency), issue_date=on
        )

    def pay(self, amount: str, **fields: Any) -> Payment:
        return payment_record(
            actor=self.group.manager, issuer=self.group.issuer, entity=self.group.root, amount=amount,
            **{"currency": "USD", "received_on": date(2024, 10, 20), **fields},
        )  # fmt: skip


def taxed(group: Group, rate: str = "19", currency: str = "USD") -> Account:
    Entity.objects.filter(pk=group.root.pk).update(
        tax_treatment="S", tax_rate=Decimal(rate), currency=currency
    )
    group.root.refresh_from_db()
    return Account(group)


def make_account() -> Account:
    return taxed(build_group())


@pytest.fixture
def group(db: None) -> Group:
    return build_group()


@pytest.fixture
def account(group: Group) -> Account:
    return taxed(group)
