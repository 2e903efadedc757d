"""Bank statements: read in once, matched to payments by people, taken back again (INV-06)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from core.access import require
from core.errors import BillingError, Conflict, Invalid
from core.history import record_as
from core.models import User
from core.outbox import publish
from entities.models import Entity
from entities.services.records import field_error
from invoicing.bank.camt import is_camt, read_camt
from invoicing.bank.csv_file import read_csv
from invoicing.bank.rows import MOST_BYTES, MOST_ROWS, BankFile, fingerprints, refused
from invoicing.models import (
    BankFileFormat,
    BankStatement,
    BankTransaction,
    BankTransactionStatus,
    PaymentMethod,
    PaymentStatus,
)
from invoicing.selectors.bank_matching import transaction_proposals
from invoicing.services.payments import Application, payment_record, payment_reverse

_PAID_OUT = "Money that went out."


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one transaction when all certain matches were accepted."""

    transaction: BankTransaction
    payment_id: int | None
    refusal: str


def bank_statement_import(
    *,
    actor: User,
    issuer: Entity,
    file_name: str,
    content: bytes,
    mapping: Mapping[str, str] | None = None,
    currency: str = "",
    other_account: bool = False,
) -> BankStatement:
    """Read a CAMT.053 or CSV file of the issuer's account in: all of it or nothing, and each transaction once.

    ``mapping`` names the columns of a CSV where they are not recognised; ``currency`` is that of its account (the
    issuer's unless given). A CAMT file of another IBAN than the issuer's wants ``other_account``. Raises Invalid
    ``malformed_file`` and what else the readers raise, with the line, ``other_account``, ``too_large``; Conflict
    ``statement_known``.
    """
    require(actor, "invoicing.add_bankstatement", issuer)
    if not issuer.is_issuer:
        raise field_error("issuer_id", "not_an_issuer", f"{issuer} issues nothing, so nothing is paid to it.")
    if len(content) > MOST_BYTES:
        raise refused("too_large", f"It is larger than {MOST_BYTES // 1024**2} MiB. Give a shorter period.")
    digest = hashlib.sha256(content).hexdigest()
    _require_unknown(issuer, digest)
    camt = is_camt(content)
    file = (
        read_camt(content)
        if camt
        else read_csv(content, currency=currency or issuer.currency, mapping=mapping)
    )
    _check_file(issuer, file, other_account=other_account)
    days = [row.booked_on for row in file.rows]
    with transaction.atomic(), record_as(actor):
        # One import per issuer at a time: which rows are known already must not change meanwhile.
        Entity.objects.select_for_update(of=("self",), no_key=True).get(pk=issuer.pk)
        _require_unknown(issuer, digest)
        statement = BankStatement.objects.create(
            issuer=issuer,
            file_name=file_name.rpartition("/")[2][-255:] or "statement",
            file_sha256=digest,
            file_format=BankFileFormat.CAMT_053 if camt else BankFileFormat.CSV,
            account_iban=file.account_iban[:34],
            first_day=min(days),
            last_day=max(days),
            rows_read=len(file.rows),
            created_by=actor,
        )
        statement.rows_known = len(file.rows) - _write_rows(statement, file)
        statement.save(update_fields=["rows_known", "updated_at"])
        publish(
            "bank_statement.imported",
            {"bank_statement_id": statement.pk, "issuer_id": issuer.pk, "rows": statement.rows_read},
            key=f"bank_statement:{statement.pk}",
        )
    return statement


def _require_unknown(issuer: Entity, digest: str) -> None:
    known = BankStatement.objects.filter(issuer=issuer, file_sha256=digest).first()
    if known is not None:
        raise Conflict(
            "statement_known",
            f"This file was read in as {known} on {known.created_at:%Y-%m-%d}. Open that one; a file is read in once.",
            extra={"bank_statement_id": known.pk},
        )


def _check_file(issuer: Entity, file: BankFile, *, other_account: bool) -> None:
    if not file.rows:
        raise refused("empty_statement", "It holds no booked transaction.")
    if len(file.rows) > MOST_ROWS:
        raise refused("too_large", f"It holds more than {MOST_ROWS:,} transactions. Give a shorter period.")
    own = issuer.iban.replace(" ", "").upper()
    if file.account_iban and file.account_iban != own and not other_account:
        raise refused(
            "other_account",
            f"It is of the account {file.account_iban}, but the account of {issuer} is {own or 'not known'}. Choose "
            "the right issuer, or say that it is another account of this one.",
        )


def _write_rows(statement: BankStatement, file: BankFile) -> int:
    """Write the rows that no file brought before; returns how many."""
    marks = fingerprints(file)
    known = set(
        BankTransaction.objects.filter(issuer_id=statement.issuer_id, fingerprint__in=marks).values_list(
            "fingerprint", flat=True
        )
    )
    new = [
        BankTransaction(
            statement=statement,
            issuer_id=statement.issuer_id,
            fingerprint=mark,
            line_number=row.line,
            booked_on=row.booked_on,
            amount=row.amount,
            currency=row.currency,
            counterparty_name=row.counterparty_name,
            counterparty_iban=row.counterparty_iban,
            text=row.text,
            bank_reference=row.bank_reference,
            status=BankTransactionStatus.OPEN if row.amount > 0 else BankTransactionStatus.IGNORED,
            ignored_reason="" if row.amount > 0 else _PAID_OUT,
        )
        for row, mark in zip(file.rows, marks, strict=True)
        if mark not in known
    ]
    BankTransaction.objects.bulk_create(new, batch_size=1000)
    return len(new)


# --- Matching --------------------------------------------------------------------------------------------


def bank_transaction_match(
    *,
    actor: User,
    bank_transaction: BankTransaction,
    entity: Entity,
    applications: Sequence[Application] | None = None,
) -> BankTransaction:
    """Record the transaction as a payment of ``entity`` that settles what ``applications`` say.

    None settles the oldest due first, [] keeps it as a balance. Raises Conflict ``not_open`` and what
    ``payment_record`` raises.
    """
    require(actor, "invoicing.add_payment", bank_transaction.issuer)
    with transaction.atomic(), record_as(actor):
        locked = _lock(bank_transaction)
        _require_open(locked)
        locked.payment = payment_record(
            actor=actor,
            issuer=locked.issuer,
            entity=entity,
            amount=locked.amount,
            currency=locked.currency,
            received_on=locked.booked_on,
            method=PaymentMethod.BANK_TRANSFER,
            reference=locked.text[:140],
            external_id=f"bank:{locked.fingerprint}",
            applications=applications,
        )
        locked.status = BankTransactionStatus.MATCHED
        locked.save()
    return locked


def bank_transaction_ignore(
    *, actor: User, bank_transaction: BankTransaction, reason: str
) -> BankTransaction:
    """Say why the transaction is no payer's money. Raises Conflict ``not_open``, Invalid ``reason_required``."""
    require(actor, "invoicing.change_banktransaction", bank_transaction.issuer)
    reason = reason.strip()
    if not reason or len(reason) > 500:
        raise field_error("reason", "reason_required", "Say in at most 500 characters why it is ignored.")
    with transaction.atomic(), record_as(actor, reason):
        locked = _lock(bank_transaction)
        _require_open(locked)
        locked.status, locked.ignored_reason = BankTransactionStatus.IGNORED, reason
        locked.save()
    return locked


def bank_transaction_undo(*, actor: User, bank_transaction: BankTransaction, reason: str) -> BankTransaction:
    """Open a transaction again; the payment that a match recorded is reversed with all that it settled.

    Raises Conflict ``not_done``, and what ``payment_reverse`` raises.
    """
    require(actor, "invoicing.change_banktransaction", bank_transaction.issuer)
    if not reason.strip():
        raise field_error("reason", "reason_required", "Say why it is taken back.")
    with transaction.atomic(), record_as(actor, reason):
        locked = _lock(bank_transaction)
        if locked.status == BankTransactionStatus.OPEN or locked.amount <= 0:
            raise Conflict(
                "not_done", f"{locked} is not matched or ignored, so there is nothing to take back."
            )
        payment = locked.payment
        if payment is not None and payment.status == PaymentStatus.RECEIVED:
            payment_reverse(actor=actor, payment=payment, reason=reason)
        locked.payment, locked.ignored_reason = None, ""
        locked.status = BankTransactionStatus.OPEN
        locked.save()
    return locked


def bank_statement_accept_certain(*, actor: User, statement: BankStatement) -> list[Accepted]:
    """Match every transaction whose proposal is certain; each in a transaction of its own, with what became of it."""
    require(actor, "invoicing.add_payment", statement.issuer)
    rows = list(statement.transactions.select_related("issuer").filter(status=BankTransactionStatus.OPEN))
    proposals = transaction_proposals(statement.issuer_id, rows)
    chosen = {row: proposals[row.pk][0] for row in rows if proposals[row.pk] and proposals[row.pk][0].certain}
    payers = Entity.objects.in_bulk({proposal.entity_id for proposal in chosen.values()})
    results = []
    for row, proposal in chosen.items():
        parts = [Application(part.document.pk, Decimal(part.amount)) for part in proposal.parts]
        try:
            done = bank_transaction_match(
                actor=actor, bank_transaction=row, entity=payers[proposal.entity_id], applications=parts
            )
        except BillingError as error:
            results.append(Accepted(row, None, error.message))
        else:
            results.append(Accepted(done, done.payment_id, ""))
    return results


def _lock(bank_transaction: BankTransaction) -> BankTransaction:
    """The first lock of its transaction: before documents and payments."""
    return (
        BankTransaction.objects.select_for_update(of=("self",))
        .select_related("issuer", "payment")
        .get(pk=bank_transaction.pk)
    )


def _require_open(locked: BankTransaction) -> None:
    if locked.status != BankTransactionStatus.OPEN:
        raise Conflict(
            "not_open",
            f"{locked} is {locked.get_status_display().lower()} already. Take that back first.",
            extra={"status": locked.status, "payment_id": locked.payment_id},
        )


def checked_parts(parts: Sequence[Mapping[str, object]]) -> list[Application]:
    """Applications from a form or a request: ``invoice_id`` and an ``amount`` that may be left out."""
    found = []
    for part in parts:
        amount = part.get("amount")
        if amount is not None and not isinstance(amount, Decimal | str | int):
            raise Invalid("invalid_amount", f"{amount!r} is no amount.")
        found.append(Application(int(str(part["invoice_id"])), amount))
    return found
