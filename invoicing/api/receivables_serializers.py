"""What the API of receivables reads and shows: ageing and statements of account."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from core.api.serializers import BillingSerializer, CurrencyField, MoneyStringField
from invoicing.selectors.receivables import BUCKETS, AgeingRow, AgeingTotal
from invoicing.selectors.statements import Account, Statement


class AgeingBucketsSerializer(BillingSerializer):
    """Open amounts by days after the due date; they add up to `open`."""

    not_due = MoneyStringField()
    days_1_30 = MoneyStringField()
    days_31_60 = MoneyStringField()
    days_61_90 = MoneyStringField()
    days_over_90 = MoneyStringField()


class AgeingTotalSerializer(BillingSerializer):
    """The sums of one currency."""

    currency = CurrencyField()
    documents = serializers.IntegerField()
    buckets = AgeingBucketsSerializer()
    open = MoneyStringField()
    overdue = MoneyStringField()
    disputed = MoneyStringField(help_text="The part of `open` that open disputes hold back.")
    credit = MoneyStringField(help_text="Payments and credit notes that settle nothing yet.")
    net = MoneyStringField(help_text="`open` less `credit`.")


class AgeingRowSerializer(AgeingTotalSerializer):
    """What one payer owes one issuer in one currency."""

    entity_id = serializers.IntegerField()
    entity_name = serializers.CharField()
    issuer_id = serializers.IntegerField()
    issuer_name = serializers.CharField()


class AgeingSerializer(BillingSerializer):
    """Receivables by age on a day."""

    on = serializers.DateField()
    rows = AgeingRowSerializer(many=True)
    totals = AgeingTotalSerializer(many=True)


class AgeingQuerySerializer(BillingSerializer):
    """Filters of the ageing."""

    on = serializers.DateField(required=False, help_text="A past day; without it: now.")
    entity_id = serializers.IntegerField(required=False, help_text="The payer.")
    issuer_id = serializers.IntegerField(required=False)
    currency = CurrencyField(required=False)


class StatementEntrySerializer(BillingSerializer):
    """One movement; a positive amount is owed by the payer."""

    day = serializers.DateField()
    kind = serializers.CharField(
        help_text="invoice, debit_note, credit_note, void, payment, payment_reversed, refund, write_off, "
        "write_off_reversed."
    )
    row_id = serializers.IntegerField(help_text="The id of the document, payment or refund.")
    reference = serializers.CharField()
    due_date = serializers.DateField(allow_null=True)
    amount = MoneyStringField()
    balance = MoneyStringField()


class StatementItemSerializer(BillingSerializer):
    """What is open at the end; negative is in the payer's favour."""

    kind = serializers.CharField()
    row_id = serializers.IntegerField()
    reference = serializers.CharField()
    day = serializers.DateField()
    due_date = serializers.DateField(allow_null=True)
    open = MoneyStringField()
    disputed = MoneyStringField()


class StatementAccountSerializer(BillingSerializer):
    """The account with one issuer in one currency: opening + entries = closing = the sum of the open items."""

    issuer_id = serializers.IntegerField()
    issuer_name = serializers.CharField()
    currency = CurrencyField()
    opening = MoneyStringField()
    debits = MoneyStringField()
    credits = MoneyStringField()
    closing = MoneyStringField()
    entries = StatementEntrySerializer(many=True)
    open_items = StatementItemSerializer(many=True)


class StatementSerializer(BillingSerializer):
    """A payer's accounts from one day until before another."""

    entity_id = serializers.IntegerField()
    entity_name = serializers.CharField()
    period_start = serializers.DateField()
    period_end = serializers.DateField(help_text="The first day after the period.")
    accounts = StatementAccountSerializer(many=True)


def shown_ageing(row: AgeingRow | AgeingTotal) -> dict[str, Any]:
    """A row or a total as AgeingRowSerializer reads it."""
    names: Sequence[str] = ("currency", "documents", "open", "overdue", "disputed", "credit", "net")
    if isinstance(row, AgeingRow):
        names = ("entity_id", "entity_name", "issuer_id", "issuer_name", *names)
    buckets = {bucket.key: amount for bucket, amount in zip(BUCKETS, row.buckets, strict=True)}
    return {name: getattr(row, name) for name in names} | {"buckets": buckets | {"currency": row.currency}}


def shown_statement(statement: Statement) -> dict[str, Any]:
    """A statement as StatementSerializer reads it."""
    return {
        "entity_id": statement.payer.pk,
        "entity_name": statement.payer.name,
        "period_start": statement.start,
        "period_end": statement.end,
        "accounts": [_account(account) for account in statement.accounts],
    }


def _account(account: Account) -> dict[str, Any]:
    def with_currency(row: Any) -> dict[str, Any]:
        return {name: getattr(row, name) for name in row.__slots__} | {"currency": account.currency}

    return {
        "issuer_id": account.issuer.pk,
        "issuer_name": account.issuer.name,
        "currency": account.currency,
        "opening": account.opening,
        "debits": account.debits,
        "credits": account.credits,
        "closing": account.closing,
        "entries": [with_currency(entry) for entry in account.entries],
        "open_items": [with_currency(item) for item in account.open_items],
    }
