"""The budget that contracts commit: what they will bill in each funded period (CON-19, BUD-02, BUD-09, BUD-15).

A contract that names a budget commits, in it and in the open budgets of the same purpose, the fees that it is known to
bill within their periods. Years without an open budget are a forecast. Usage is not known ahead and commits nothing.
Contracts commit before tax, in their own currency.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction
from django.db.models import Sum

from budgets.models import Budget, BudgetEntry, Commitment, CommitmentStatus
from budgets.services.charges import ChargeLine, budget_charge_lines, budget_refund, refund_take_back
from budgets.services.commitments import (
    budget_commit,
    commitment_change,
    commitment_consume,
    commitment_release,
    commitment_reopen,
)
from budgets.services.ledger import Source
from budgets.services.periods import budget_of_same_purpose, same_purpose
from contracts.models import RUNNING, BillableFee, Contract, ContractCommitment, FeeKind
from contracts.pricing import add_months
from contracts.selectors.contract import business_today
from contracts.services.billing import fees_due
from contracts.services.status import lock_known_contract
from core import clock
from core.access import get_visible, require, system_actor
from core.errors import BillingError
from core.models import User
from core.money import EXACT, exact_sum, round_money
from core.outbox import publish

ZERO = Decimal(0)
ONE_DAY = datetime.timedelta(days=1)
_CONTRACT, _FEE, _VOID = "contract", "contract_fee", "contract_fee_void"
_CREDIT, _CREDIT_VOID = "contract_fee_credit", "contract_fee_credit_void"
_NOT_FORESEEN = (FeeKind.USAGE, FeeKind.HOLDOVER)


@dataclass(frozen=True, slots=True)
class FundedPeriod:
    """What a contract has still to bill within ``[start, end)``, in its currency.

    ``budget_id`` is the open budget of those days; without one the amount is a forecast (CON-19).
    """

    start: datetime.date
    end: datetime.date
    amount: Decimal
    currency: str
    budget_id: int | None
    commitment_id: int | None = None


def budget_outlook(*, actor: User, contract_id: int, years: int = 3) -> list[FundedPeriod]:
    """What the contract commits and what it is forecast to bill, by budget periods; nothing without a budget.

    Raises NotFound, Forbidden.
    """
    contract: Contract = get_visible(Contract.objects.all(), actor, contract_id, name="contract")
    require(actor, "contracts.view_billablefee", contract)
    return _outlook(contract, years)


def _outlook(contract: Contract, years: int) -> list[FundedPeriod]:
    if contract.budget is None:
        return []
    today = business_today(contract)
    open_budgets = _open_budgets(contract, contract.budget, today)
    known = {row.period_start: row for row in ContractCommitment.objects.filter(contract=contract)}
    last_end = max((budget.period_end for budget in open_budgets), default=contract.budget.period_end)
    spans: list[tuple[datetime.date, datetime.date, int | None]] = [
        (budget.period_start, budget.period_end, budget.pk) for budget in open_budgets
    ]
    for _ in range(years - len(spans)):
        following = add_months(last_end, 12)
        spans.append((last_end, following, None))
        last_end = following
    fees = _unbilled(contract, until=last_end - ONE_DAY)
    return [
        FundedPeriod(
            start,
            end,
            _sum_within(fees, start, end, contract.currency),
            contract.currency,
            budget_id,
            known[start].commitment_id if start in known else None,
        )
        for start, end, budget_id in spans
    ]


def _open_budgets(contract: Contract, budget: Budget, today: datetime.date) -> list[Budget]:
    """The open budgets of the contract's purpose that are not over, in order of time."""
    others = same_purpose(budget).postable().filter(period_end__gt=today)
    own = Budget.objects.postable().filter(pk=budget.pk, period_end__gt=today)
    return sorted([*own, *others], key=lambda each: (each.period_start, each.pk))


def _unbilled(contract: Contract, *, until: datetime.date) -> list[BillableFee]:
    """Fees that are to come, and those written that no budget has borne yet."""
    borne = {int(entry.source_id) for entry in _borne(str(fee) for fee in _fee_ids(contract))}
    written = BillableFee.objects.filter(contract=contract).exclude(pk__in=borne)
    return [fee for fee in (*written, *fees_due(contract, until)) if fee.kind not in _NOT_FORESEEN]


def _fee_ids(contract: Contract) -> Iterable[int]:
    return BillableFee.objects.filter(contract=contract).values_list("pk", flat=True)


def _borne(fee_ids: Iterable[str]) -> list[BudgetEntry]:
    """What budgets have borne of fees and was not taken back since, when an invoice became void."""
    ids = list(fee_ids)
    entries = BudgetEntry.objects.filter(source_type=_FEE, source_id__in=ids).select_related("commitment")
    taken_back = BudgetEntry.objects.filter(source_type=_VOID, source_id__in=ids)
    back = set(taken_back.values_list("source_id", "source_revision"))
    return [entry for entry in entries if (entry.source_id, entry.source_revision) not in back]


def _sum_within(
    fees: Iterable[BillableFee], start: datetime.date, end: datetime.date, currency: str
) -> Decimal:
    amounts = [fee.amount for fee in fees if start <= fee.bill_on < end and fee.currency == currency]
    return max(ZERO, exact_sum(amounts))


# --- Committing ------------------------------------------------------------------------------------------


def contract_commit(contract: Contract) -> list[ContractCommitment]:
    """Commit what the contract will bill in each open budget that it has not committed yet; the contract is locked.

    Raises what `budget_commit` raises: without the money a contract is not activated (BUD-03).
    """
    if contract.budget is None:
        return []
    made = []
    known = set(ContractCommitment.objects.filter(contract=contract).values_list("period_start", flat=True))
    system = system_actor()
    for budget in _open_budgets(contract, contract.budget, business_today(contract)):
        if budget.period_start in known:
            continue
        fees = _unbilled(contract, until=budget.period_end - ONE_DAY)
        amount = _sum_within(fees, budget.period_start, budget.period_end, contract.currency)
        if not amount:
            continue
        today = business_today(contract)
        commitment = budget_commit(
            actor=system,
            budget_id=budget.pk,
            amount=amount,
            currency=contract.currency,
            description=f"{contract.number} {contract.title}"[:500],
            reference=contract.number,
            commitment_date=min(max(today, budget.period_start), budget.period_end - ONE_DAY),
            source=Source(_CONTRACT, str(contract.pk), revision=budget.pk),
        )
        made.append(
            ContractCommitment.objects.create(
                contract=contract,
                commitment=commitment,
                period_start=budget.period_start,
                period_end=budget.period_end,
            )
        )
    return made


def commitments_adjust(contract: Contract, reason: str) -> None:
    """Bring what is committed in line with what the contract has still to bill; the contract is locked.

    After an amendment, a resumption or a termination: more is tested as new, what is not needed is released (CON-16,
    BUD-14, BUD-15). While supply is suspended the money stays committed. What was released for a contract that is
    reinstated is committed again. Raises what `commitment_change` and `commitment_reopen` raise.
    """
    system = system_actor()
    rows = ContractCommitment.objects.filter(contract=contract).select_related("commitment__budget")
    for row in rows.order_by("period_start"):
        commitment = row.commitment
        fees = _unbilled(contract, until=row.period_end - ONE_DAY)
        target = _sum_within(fees, row.period_start, row.period_end, contract.currency)
        if not commitment.is_open:
            if not target or not commitment.released_amount or commitment.status == CommitmentStatus.EXPIRED:
                continue
            commitment = commitment_reopen(actor=system, commitment_id=commitment.pk, reason=reason)
        if not target:
            commitment_release(actor=system, commitment_id=commitment.pk, reason=reason)
            continue
        remainder = _in_document_currency(commitment, commitment.remainder)
        if target != remainder and commitment.document_amount is not None:
            wanted = EXACT.add(commitment.document_amount, EXACT.subtract(target, remainder))
            commitment_change(actor=system, commitment_id=commitment.pk, amount=wanted, reason=reason)


def _in_document_currency(commitment: Commitment, amount: Decimal) -> Decimal:
    if commitment.document_currency in ("", commitment.budget.currency):
        return amount
    return round_money(amount / commitment.rate, commitment.document_currency)


def commitments_refresh() -> int:
    """Commit budgets that have opened since, for all contracts in force; return how many commitments were made.

    What a budget refuses is told by ``contract.budget_refused`` and tried again the next time.
    """
    made = 0
    today = clock.today()
    running = Contract.objects.in_status(RUNNING, today).filter(budget__isnull=False)
    for pk in running.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            contract = lock_known_contract(pk)
            try:
                with transaction.atomic():
                    made += len(contract_commit(contract))
            except BillingError as error:
                _tell_refusal(contract, error)
    return made


def _tell_refusal(contract: Contract, error: BillingError, fee: BillableFee | None = None) -> None:
    publish(
        "contract.budget_refused",
        {
            "contract_id": contract.pk,
            "fee_id": fee.pk if fee else None,
            "code": error.code,
            "message": error.message,
        },
        key=f"contract:{contract.pk}",
    )


# --- Using it --------------------------------------------------------------------------------------------


def fees_invoiced(*, fees: Sequence[BillableFee], invoice_id: int, reference: str) -> None:
    """Have budgets bear fees that were just invoiced, on the day for which each is billed (CON-19, BUD-09).

    Foreseen fees use the commitment, usage is new spend, credits lower what is spent. What a budget refuses does not
    hold the invoice up: it is told by ``contract.budget_refused``.
    """
    for fee in fees:
        if fee.contract.budget_id is None or not fee.amount:
            continue
        try:
            with transaction.atomic():
                _bear(fee, invoice_id, reference)
        except BillingError as error:
            _tell_refusal(fee.contract, error, fee)


def _bear(fee: BillableFee, invoice_id: int, reference: str) -> None:
    system = system_actor()
    source = Source(_FEE, str(fee.pk), revision=invoice_id)
    commitment = _commitment_for(fee)
    if fee.amount > 0 and commitment is not None and fee.kind not in _NOT_FORESEEN:
        commitment_consume(
            actor=system,
            commitment_id=commitment.pk,
            amount=fee.amount,
            currency=fee.currency,
            description=fee.description,
            reference=reference,
            posting_date=fee.bill_on,
            source=source,
        )
        return
    budget = _budget_on(fee.contract, fee.bill_on)
    if fee.amount > 0:
        line = ChargeLine(
            budget.pk, fee.amount, fee.description, fee.currency, reference=reference, posting_date=fee.bill_on,
            source=source,
        )  # fmt: skip
        budget_charge_lines(actor=system, lines=[line])
    else:
        budget_refund(
            actor=system,
            budget_id=budget.pk,
            amount=-fee.amount,
            currency=fee.currency,
            description=fee.description,
            reference=reference,
            posting_date=fee.bill_on,
            source=source,
        )


def _commitment_for(fee: BillableFee) -> Commitment | None:
    row = (
        ContractCommitment.objects.filter(
            contract=fee.contract_id, period_start__lte=fee.bill_on, period_end__gt=fee.bill_on
        )
        .select_related("commitment")
        .first()
    )
    return row.commitment if row is not None and row.commitment.is_open else None


def _budget_on(contract: Contract, day: datetime.date) -> Budget:
    assert contract.budget is not None
    return contract.budget if contract.budget.covers(day) else budget_of_same_purpose(contract.budget, on=day)


@dataclass(frozen=True, slots=True)
class FeeCredit:
    """What a credit note gives back of a fee, in the fee's currency and with its sign; ``earlier`` by notes before."""

    fee: BillableFee
    amount: Decimal
    earlier: Decimal = ZERO


def fees_freed(
    *,
    fees: Sequence[BillableFee],
    invoice_id: int,
    reference: str,
    credited: Mapping[int, Decimal] | None = None,
) -> None:
    """Take back what budgets bore for an invoice that became void; open commitments are promised again (BUD-16).

    ``credited`` is what earlier credit notes gave back already, by fee, in the fee's currency.
    """
    by_id = {str(fee.pk): fee for fee in fees}
    borne = [entry for entry in _borne(by_id) if entry.source_revision == invoice_id]
    for entry in borne:
        fee = by_id[entry.source_id]
        amount = EXACT.subtract(fee.amount, (credited or {}).get(fee.pk, ZERO))
        source = Source(_VOID, entry.source_id, revision=invoice_id)
        with _told(fee):
            _take_back(entry, fee, amount, "Invoice void", reference, source, reinstate=True)


def fees_credited(
    *, credits: Sequence[FeeCredit], invoice_id: int, credit_note_id: int, reference: str
) -> None:
    """Lower what budgets spent by what a credit note gives back of an invoice's fees (BUD-16).

    No commitment is reinstated: the fees stay billed. What a budget refuses is told by ``contract.budget_refused``.
    """
    by_id = {str(credit.fee.pk): credit for credit in credits}
    borne = [entry for entry in _borne(by_id) if entry.source_revision == invoice_id]
    for entry in borne:
        credit = by_id[entry.source_id]
        source = Source(_CREDIT, entry.source_id, revision=credit_note_id)
        with _told(credit.fee):
            _take_back(entry, credit.fee, credit.amount, "Credit note", reference, source, reinstate=False)


def fees_uncredited(*, fees: Sequence[BillableFee], credit_note_id: int, reference: str) -> None:
    """Have budgets bear again what a credit note gave back that became void, against the same entries (BUD-16)."""
    by_id = {str(fee.pk): fee for fee in fees}
    entries = BudgetEntry.objects.filter(
        source_type=_CREDIT, source_id__in=list(by_id), source_revision=credit_note_id
    )
    for entry in entries.select_related("budget").order_by("pk"):
        fee = by_id[entry.source_id]
        description = f"Credit note void: {fee.description}"[:500]
        source = Source(_CREDIT_VOID, entry.source_id, revision=credit_note_id)
        with _told(fee):
            if entry.spent_delta < 0:
                refund_take_back(
                    actor=system_actor(),
                    refund=entry,
                    description=description,
                    reference=reference,
                    source=source,
                )
            else:
                budget_refund(
                    actor=system_actor(),
                    budget_id=entry.budget_id,
                    amount=entry.document_amount,
                    currency=entry.document_currency,
                    description=description,
                    reference=reference,
                    posting_date=entry.posting_date,
                    reverses=entry,
                    source=source,
                )


@contextmanager
def _told(fee: BillableFee) -> Iterator[None]:
    """What a budget refuses is taken back alone, and told."""
    try:
        with transaction.atomic():
            yield
    except BillingError as error:
        _tell_refusal(fee.contract, error, fee)


def _take_back(
    entry: BudgetEntry,
    fee: BillableFee,
    amount: Decimal,
    cause: str,
    reference: str,
    source: Source,
    *,
    reinstate: bool,
) -> None:
    system = system_actor()
    description = f"{cause}: {fee.description}"[:500]
    if not amount:
        return
    if amount < 0:
        line = ChargeLine(
            entry.budget_id, -amount, description, fee.currency, reference=reference,
            posting_date=fee.bill_on, source=source,
        )  # fmt: skip
        budget_charge_lines(actor=system, lines=[line])
        return
    # Where a credit note became void whose refund stood for itself, what it bore again stands beside the entry.
    taken = entry.reversed_by.aggregate(sum=Sum("document_amount", default=ZERO))["sum"]
    fits = amount <= EXACT.add(entry.document_amount, taken)
    commitment = entry.commitment
    budget_refund(
        actor=system,
        budget_id=entry.budget_id,
        amount=amount,
        currency=fee.currency,
        description=description,
        reference=reference,
        posting_date=fee.bill_on,
        reverses=entry if fits else None,
        reinstate_commitment=reinstate and fits and commitment is not None and commitment.is_open,
        source=source,
    )
