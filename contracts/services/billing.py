"""What contracts bill: fees of periods, and corrections of what was billed before (CON-06, CON-08, CON-16 to CON-20).

`contracts.terms.dues` says what each line costs for each period by all that is known now. Here that is compared
with what was billed: what was not billed yet becomes a fee, once per line and period; where something else was
billed, the difference becomes an adjustment. So a retroactive amendment, a termination, a suspension, a settled
index, a change of licences or late usage all come out as they should, and a second run finds nothing to do.

Credits of service levels do not make room under a not-to-exceed amount: they would come back as fees.
"""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import transaction

from contracts.models import (
    PERIOD_FEES,
    AmendmentStatus,
    BillableFee,
    Contract,
    ContractAmendment,
    ContractEvent,
    ContractStatus,
    CreditStatus,
    EventKind,
    FeeKind,
    PriceTerm,
    QuantitySource,
    ServiceCredit,
    Subscription,
    SubscriptionChange,
    TermRenewal,
)
from contracts.pricing import Period, TrueUp, Usage, cap_charge, number_on, period_at, true_up
from contracts.pricing.text import plain_number
from contracts.selectors.contract import agreement_of, happened, status_on
from contracts.services.status import lock_known_contract
from contracts.terms.changes import changed_prices
from contracts.terms.dues import Due, Licences, ListPrice, Subscribed, Supply, dues, supply_of, usage_days
from contracts.terms.fold import Agreement, Amended, terms_at
from contracts.terms.life import supply_spans
from contracts.usage import UsageTerm, usage_to_price
from core import clock
from core.access import get_visible, require
from core.models import User
from core.money import EXACT, plain_amount
from core.outbox import publish

ZERO = Decimal(0)
ONE_DAY = datetime.timedelta(days=1)
MINIMUM = "minimum-commitment"
TERMINATION = "termination-fee"
_LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)
_NOT_COUNTED_TO_MINIMUM = {FeeKind.MINIMUM_SHORTFALL, FeeKind.TERMINATION_FEE, FeeKind.SERVICE_CREDIT}


# --- Doors -----------------------------------------------------------------------------------------------


@transaction.atomic
def fees_prepare(
    *, contract_id: int, until: datetime.date, arrears_until: datetime.date | None = None
) -> list[BillableFee]:
    """Write what the contract has to bill until ``until`` (inclusive) and has not billed; return what was written.

    What is billed in arrears is written only if its period is over by ``arrears_until``, where that is given: an
    invoice made ahead of time holds what is due in advance. For the invoicing run, which has checked rights. A second
    call writes nothing (CON-08). Publishes ``contract.cap_warned`` and ``contract.cap_reached`` when a not-to-exceed
    amount is used to 80 % and 100 % (CON-18).
    """
    return _write(lock_known_contract(contract_id), until, arrears_until)


def fees_adjust(contract: Contract) -> list[BillableFee]:
    """Correct what was billed by the terms and state as they are now; the contract is locked (CON-06, CON-16, CON-17).

    For whatever changes a contract: prepaid days after its end are credited, a fee for terminating it is noted.
    """
    return _write(contract, None)


def fees_due(
    contract: Contract, until: datetime.date, arrears_until: datetime.date | None = None
) -> list[BillableFee]:
    """What `fees_prepare` would write, unsaved, in the order of writing. Nothing is locked or written."""
    return _compute(contract, until, arrears_until).fees


def fees_preview(*, actor: User, contract_id: int, until: datetime.date) -> list[BillableFee]:
    """The same for people. Raises NotFound, Forbidden."""
    contract: Contract = get_visible(Contract.objects.all(), actor, contract_id, name="contract")
    require(actor, "contracts.view_billablefee", contract)
    return fees_due(contract, until)


def _write(
    contract: Contract, until: datetime.date | None, arrears_until: datetime.date | None = None
) -> list[BillableFee]:
    computed = _compute(contract, until, arrears_until)
    for fee in computed.fees:
        fee.save(force_insert=True)
    for credit, fee in computed.credits:
        credit.fee = fee
        credit.save()
    for crossing in computed.crossings:
        publish(
            crossing.topic,
            {
                "contract_id": contract.pk,
                "used": plain_amount(crossing.used, crossing.currency),
                "cap": plain_amount(crossing.cap, crossing.currency),
                "currency": crossing.currency,
            },
            key=f"contract:{contract.pk}",
        )
    return computed.fees


# --- Facts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cause:
    """Something recorded ``at`` a moment that may change what is due from ``effective_on`` on."""

    at: datetime.datetime
    effective_on: datetime.date
    kind: FeeKind
    key: str
    text: str
    amendment: ContractAmendment | None = None
    line_code: str = ""


@dataclass(slots=True)
class _Account:
    """What was billed so far for one line and period: per currency, and in units."""

    fee: BillableFee
    billed: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    quantity: Decimal = ZERO
    entries: int = 0
    touched_at: datetime.datetime = _LONG_AGO

    def add(self, fee: BillableFee) -> None:
        self.billed[fee.currency] = EXACT.add(self.billed[fee.currency], fee.amount)
        self.quantity = EXACT.add(self.quantity, fee.quantity or ZERO)
        self.entries += 1
        self.touched_at = max(self.touched_at, fee.created_at)


@dataclass(frozen=True, slots=True)
class _Crossing:
    topic: str
    used: Decimal
    cap: Decimal
    currency: str


@dataclass(slots=True)
class _Computed:
    fees: list[BillableFee] = field(default_factory=list)
    credits: list[tuple[ServiceCredit, BillableFee]] = field(default_factory=list)
    crossings: list[_Crossing] = field(default_factory=list)


@dataclass(slots=True)
class _Billing:
    """One contract with all that its fees come from."""

    contract: Contract
    agreement: Agreement
    supply: Supply
    until: datetime.date | None
    arrears_until: datetime.date | None
    fees: list[BillableFee]
    accounts: dict[tuple[str, datetime.date], _Account]
    causes: list[_Cause]

    def may_bill(self, day: datetime.date, *, in_arrears: bool) -> bool:
        """Whether what is due on the day may be billed now."""
        if self.until is None or self.arrears_until is None:
            return False
        return day <= (min(self.until, self.arrears_until) if in_arrears else self.until)


def supply_on_record(contract: Contract, agreement: Agreement) -> Supply | None:
    """The days on which the contract bills; None if it was never in force (CON-16, CON-17)."""
    spans = supply_spans(agreement, happened(contract))
    if not spans:
        return None
    end = spans[-1].end
    held_over = (
        end is not None
        and terms_at(agreement, end - ONE_DAY).conditions.holdover_allowed
        and status_on(contract, end) == ContractStatus.EXPIRED
    )
    return supply_of(spans, holdover_from=end if held_over else None)


def _compute(
    contract: Contract, until: datetime.date | None, arrears_until: datetime.date | None = None
) -> _Computed:
    agreement = agreement_of(contract)
    supply = supply_on_record(contract, agreement)
    if supply is None:
        return _Computed()
    fees = list(BillableFee.objects.filter(contract=contract).order_by("pk"))
    billing = _Billing(
        contract=contract,
        agreement=agreement,
        supply=supply,
        until=until,
        arrears_until=arrears_until or until,
        fees=fees,
        accounts=_accounts(fees),
        causes=sorted(_causes(contract), key=lambda cause: cause.at),
    )
    drafts = [*_period_fees(billing), *_termination_fees(billing)]
    credits = list(_service_credits(billing))
    drafts += [fee for _, fee in credits]
    # What lowers the sum comes first: it makes room under the not-to-exceed amount.
    drafts.sort(key=lambda fee: (fee.amount >= 0, fee.bill_on, fee.period_start, fee.line_code))
    computed = _Computed(credits=credits)
    _capped(billing, drafts, computed)
    _capped(billing, list(_minimum_fees(billing, computed.fees)), computed)
    return computed


def _accounts(fees: Iterable[BillableFee]) -> dict[tuple[str, datetime.date], _Account]:
    accounts: dict[tuple[str, datetime.date], _Account] = {}
    for fee in fees:
        if fee.kind in PERIOD_FEES:
            accounts[fee.line_code, fee.period_start] = _Account(fee)
    for fee in fees:
        account = accounts.get((fee.line_code, fee.period_start))
        if account is not None and fee.kind != FeeKind.SERVICE_CREDIT:
            account.add(fee)
    return accounts


def _causes(contract: Contract) -> Iterator[_Cause]:
    for amendment in ContractAmendment.objects.filter(contract=contract, status=AmendmentStatus.IN_FORCE):
        assert amendment.in_force_at is not None
        yield _Cause(
            amendment.in_force_at,
            amendment.effective_from,
            FeeKind.AMENDMENT_DELTA,
            f"amendment-{amendment.pk}",
            f"amendment {amendment.number} from {amendment.effective_from}",
            amendment,
        )
    for event in ContractEvent.objects.filter(contract=contract, kind__in=[*_EVENTS]):
        kind, text = _EVENTS[event.kind]
        yield _Cause(
            event.created_at, event.effective_on, kind, f"event-{event.pk}", f"{text} {event.effective_on}"
        )
    for renewal in TermRenewal.objects.filter(contract=contract):
        yield _Cause(
            renewal.settled_at or renewal.locked_at,
            renewal.term_start,
            FeeKind.INDEX_TRUE_UP,
            f"renewal-{renewal.pk}",
            f"prices of term {renewal.term_number} from {renewal.term_start}",
        )
    changes = SubscriptionChange.objects.filter(subscription__contract=contract).select_related(
        "subscription"
    )
    for change in changes:
        yield _Cause(
            change.created_at,
            change.effective_from,
            FeeKind.SUBSCRIPTION_DELTA,
            f"licences-{change.pk}",
            f"{change.quantity} licences from {change.effective_from}",
            line_code=change.subscription.line_code,
        )
    for subscription in Subscription.objects.filter(contract=contract, ends_on__isnull=False):
        assert subscription.ends_on is not None
        yield _Cause(
            subscription.updated_at,
            subscription.ends_on,
            FeeKind.SUBSCRIPTION_DELTA,
            f"subscription-{subscription.pk}",
            f"ends on {subscription.ends_on}",
            line_code=subscription.line_code,
        )


_EVENTS: dict[str, tuple[FeeKind, str]] = {
    EventKind.TERMINATED: (FeeKind.TERMINATION_CREDIT, "terminated from"),
    EventKind.RENEWED: (FeeKind.TERMINATION_CREDIT, "succeeded from"),
    EventKind.SUSPENDED: (FeeKind.CORRECTION, "suspended from"),
    EventKind.RESUMED: (FeeKind.CORRECTION, "resumed from"),
}


def subscribed(contract: Contract) -> list[Subscribed]:
    """The contract's subscriptions with their licences in order (CON-21)."""
    rows = Subscription.objects.filter(contract=contract).order_by("pk").prefetch_related("changes__plan")
    found = []
    for row in rows:
        changes = sorted(row.changes.all(), key=lambda change: (change.effective_from, change.pk))
        # Of several on one day the last counts.
        by_day = {change.effective_from: change for change in changes}
        licences = tuple(
            Licences(
                day,
                ListPrice(
                    plan_id=change.plan_id,
                    name=change.plan.name,
                    price=change.plan.price,
                    currency=change.plan.currency,
                    interval_months=change.plan.interval_months,
                    gl_code=change.plan.gl_code,
                ),
                change.quantity,
            )
            for day, change in by_day.items()
        )
        if licences:
            found.append(
                Subscribed(
                    row.line_code, row.entity_id, row.department_id, row.starts_on, row.ends_on, licences
                )
            )
    return found


# --- Usage -----------------------------------------------------------------------------------------------


def usage_terms(entity_ids: Iterable[int], *, until: datetime.date) -> list[UsageTerm]:
    """All terms that price usage of those entities on days before ``until``, the one that has it first (INV-05)."""
    priced = PriceTerm.objects.filter(quantity_source=QuantitySource.USAGE).values_list(
        "contract_id", flat=True
    )
    amended = ContractAmendment.objects.filter(
        status=AmendmentStatus.IN_FORCE, changes__prices__set__contains=[{"quantity_source": "usage"}]
    ).values_list("contract_id", flat=True)
    contracts = Contract.objects.filter(
        entity_id__in=list(entity_ids), activated_at__isnull=False, pk__in=priced.union(amended)
    )
    found = []
    for contract in contracts.order_by("pk"):
        agreement = agreement_of(contract)
        supply = supply_on_record(contract, agreement)
        if supply is None:
            continue
        found += [
            UsageTerm(
                contract.pk,
                line.code,
                contract.entity_id,
                line.usage_provider,
                line.usage_service,
                line.usage_category,
                days.start,
                days.end,
            )
            for line, days in usage_days(agreement, supply, until=until)
        ]
    return sorted(found, key=lambda term: (term.place, term.start))


def _usage(billing: _Billing, until: datetime.date) -> dict[str, list[Usage]]:
    """The usage of the lines that price it, per line."""
    agreement = billing.agreement
    lines = [*agreement.prices]
    for source in agreement.sources:
        lines += changed_prices(source.changes) if isinstance(source, Amended) else []
    found: dict[str, list[Usage]] = defaultdict(list)
    if any(line.quantity_source == QuantitySource.USAGE for line in lines):
        terms = usage_terms([billing.contract.entity_id], until=until)
        for used in usage_to_price(billing.contract.pk, terms):
            found[used.code].append(Usage(used.day, used.quantity))
    return found


# --- Fees and their corrections --------------------------------------------------------------------------


def _period_fees(billing: _Billing) -> Iterator[BillableFee]:
    """What was not billed yet, and where something else was billed than is due, the difference."""
    known = [fee.period_end - ONE_DAY for fee in billing.fees]
    horizon = max([*known, *([billing.until] if billing.until else [])], default=None)
    if horizon is None:
        return
    found = {
        due.key: due
        for due in dues(
            billing.agreement,
            billing.supply,
            until=horizon,
            subscriptions=subscribed(billing.contract),
            usage=_usage(billing, horizon + ONE_DAY),
        )
    }
    for key in sorted({*found, *billing.accounts}):
        due, account = found.get(key), billing.accounts.get(key)
        if account is None:
            assert due is not None
            if billing.may_bill(due.bill_on, in_arrears=due.in_arrears) and (due.amount or due.is_usage):
                yield _fee_of(billing.contract, due)
        elif key[0] not in (MINIMUM, TERMINATION):
            yield from _corrections(billing, account, due)


def _fee_of(contract: Contract, due: Due) -> BillableFee:
    own = due.entity_id is None
    return BillableFee(
        contract=contract,
        entity_id=contract.entity_id if due.entity_id is None else due.entity_id,
        department_id=due.department_id or (contract.department_id if own else None),
        gl_code=due.gl_code or contract.gl_code,
        kind=due.kind,
        line_code=due.code,
        period_start=due.start,
        period_end=due.end,
        quantity=due.quantity,
        amount=due.amount,
        currency=due.currency,
        description=_described(contract, due.name),
        parts=list(due.parts),
        bill_on=due.bill_on,
    )


def _described(contract: Contract, name: str) -> str:
    return f"{name} ({contract.number})"[:500]


def _corrections(billing: _Billing, account: _Account, due: Due | None) -> Iterator[BillableFee]:
    """The adjustments of one invoiced period: one, or two where the currency has changed (CON-06)."""
    owed = {due.currency: due.amount} if due else {}
    quantity = (due.quantity or ZERO) if due else ZERO
    is_usage = account.fee.kind in (FeeKind.USAGE, FeeKind.HOLDOVER)
    for currency in sorted({*owed, *account.billed}):
        before, after = account.billed.get(currency, ZERO), owed.get(currency, ZERO)
        more = EXACT.subtract(quantity, account.quantity) if is_usage and currency in owed else ZERO
        if after != before or more:
            yield _correction(
                billing, account, due, currency, before, after, quantity=more if is_usage else None
            )


def _correction(
    billing: _Billing,
    account: _Account,
    due: Due | None,
    currency: str,
    before: Decimal,
    after: Decimal,
    *,
    quantity: Decimal | None = None,
    why: str = "",
) -> BillableFee:
    fee = account.fee
    end = max(fee.period_end, due.end) if due else fee.period_end
    cause = None if why else _cause_of(billing, account, end)
    if cause is None:
        kind, key, bill_on = FeeKind.CORRECTION, "correction", fee.bill_on
        text = why or ("late usage" if quantity else "corrected")
    else:
        recorded = clock.business_date(cause.at, billing.contract.time_zone)
        kind, key, text = cause.kind, cause.key, cause.text
        bill_on = max(recorded, cause.effective_on)
    amount = EXACT.subtract(after, before)
    sentence = f"{text}: {plain_amount(after, currency)} {currency} due, {plain_amount(before, currency)} billed before"
    account.entries += 1
    return BillableFee(
        contract=billing.contract,
        entity_id=fee.entity_id,
        department_id=fee.department_id,
        gl_code=fee.gl_code,
        kind=kind,
        line_code=fee.line_code,
        period_start=fee.period_start,
        period_end=end,
        quantity=quantity,
        amount=amount,
        currency=currency,
        description=f"{fee.description}, {sentence}"[:500],
        parts=list(due.parts) if due else [],
        bill_on=bill_on,
        adjusts=fee,
        amendment=cause.amendment if cause else None,
        source_key=f"{key}:{fee.line_code}:{fee.period_start}:{account.entries}",
    )


def _cause_of(billing: _Billing, account: _Account, end: datetime.date) -> _Cause | None:
    """What was recorded last of all that may have changed the period since it was billed."""
    candidates = [
        cause
        for cause in billing.causes
        if cause.at >= account.touched_at
        and cause.effective_on < end
        and cause.line_code in ("", account.fee.line_code)
    ]
    return candidates[-1] if candidates else None


def _termination_fees(billing: _Billing) -> Iterator[BillableFee]:
    """The fee agreed for a termination for convenience, when it takes effect (CON-15)."""
    contract = billing.contract
    for event in ContractEvent.objects.filter(contract=contract, kind=EventKind.TERMINATED).order_by("pk"):
        amount = Decimal(event.data.get("fee", "0"))
        if amount and (TERMINATION, event.effective_on) not in billing.accounts:
            yield BillableFee(
                contract=contract,
                entity_id=contract.entity_id,
                department_id=contract.department_id,
                gl_code=contract.gl_code,
                kind=FeeKind.TERMINATION_FEE,
                line_code=TERMINATION,
                period_start=event.effective_on,
                period_end=event.effective_on + ONE_DAY,
                amount=amount,
                currency=event.data["currency"],
                description=f"{_described(contract, 'Termination fee')}, {event.data.get('explanation', '')}"[
                    :500
                ],
                bill_on=event.effective_on,
            )


def _service_credits(billing: _Billing) -> Iterator[tuple[ServiceCredit, BillableFee]]:
    """Credits that are due and on no invoice yet, each once (CON-20)."""
    if billing.until is None:
        return
    contract = billing.contract
    waiting = ServiceCredit.objects.filter(
        contract=contract,
        status=CreditStatus.DUE,
        fee__isnull=True,
        amount__gt=0,
        period_end__lte=billing.until,
    )
    for credit in waiting.order_by("period_start", "pk"):
        yield (
            credit,
            BillableFee(
                contract=contract,
                entity_id=contract.entity_id,
                department_id=contract.department_id,
                gl_code=contract.gl_code,
                kind=FeeKind.SERVICE_CREDIT,
                line_code=f"sla-{credit.sla_code}",
                period_start=credit.period_start,
                period_end=credit.period_end,
                amount=-credit.amount,
                currency=credit.currency,
                description=(
                    f"{_described(contract, f'Service credit {credit.sla_code}')}, "
                    f"{plain_number(credit.credit_percent)} % of {plain_amount(credit.fee_amount, credit.currency)}: "
                    f"{plain_number(credit.measured)} measured, {plain_number(credit.target)} promised"
                )[:500],
                bill_on=credit.period_end,
                source_key=f"credit-{credit.pk}",
            ),
        )


# --- Minimum commitment and not to exceed ----------------------------------------------------------------


def _minimum_fees(billing: _Billing, drafts: Sequence[BillableFee]) -> Iterator[BillableFee]:
    """What is short of the minimum, once at the end of each of its periods (CON-18).

    A period that the contract covers in part owes its share of the days.
    """
    supply, base = billing.supply, billing.agreement.conditions
    number = number_on(base.start_date, base.minimum_commitment_months, supply.start)
    while True:
        period = period_at(base.start_date, base.minimum_commitment_months, number)
        covered = period.overlap(supply.start, supply.end)
        number += 1
        last_known = max((billing.until or datetime.date.min, *(fee.period_end for fee in billing.fees)))
        if covered is None or covered.start > last_known:
            return
        conditions = terms_at(billing.agreement, covered.last_day).conditions
        account = billing.accounts.get((MINIMUM, covered.start))
        is_over = billing.may_bill(covered.last_day, in_arrears=True)
        if account is None and (conditions.minimum_commitment is None or not is_over):
            continue
        counted = [
            fee.amount
            for fee in (*billing.fees, *drafts)
            if fee.kind not in _NOT_COUNTED_TO_MINIMUM
            and fee.line_code != MINIMUM
            and fee.currency == conditions.currency
            and fee.period_start in period
        ]
        shortfall = true_up(
            commitment=conditions.minimum_commitment or ZERO,
            fees=counted,
            period=period,
            currency=conditions.currency,
            covered=covered,
            suspensions=supply.gaps,
            prorated=True,
        )
        if account is None and shortfall.shortfall:
            yield _shortfall_fee(billing.contract, covered, conditions.currency, shortfall)
        elif account is not None:
            before = account.billed.get(conditions.currency, ZERO)
            if before != shortfall.shortfall:
                yield _correction(
                    billing,
                    account,
                    None,
                    conditions.currency,
                    before,
                    shortfall.shortfall,
                    why="computed again",
                )


def _shortfall_fee(contract: Contract, covered: Period, currency: str, shortfall: TrueUp) -> BillableFee:
    return BillableFee(
        contract=contract,
        entity_id=contract.entity_id,
        department_id=contract.department_id,
        gl_code=contract.gl_code,
        kind=FeeKind.MINIMUM_SHORTFALL,
        line_code=MINIMUM,
        period_start=covered.start,
        period_end=covered.end,
        amount=shortfall.shortfall,
        currency=currency,
        description=f"{_described(contract, 'Minimum commitment')}, {shortfall.explanation}"[:500],
        bill_on=covered.last_day,
    )


def _capped(billing: _Billing, drafts: Iterable[BillableFee], computed: _Computed) -> None:
    """Add the drafts as far as the not-to-exceed amount of their day allows; what is beyond is not billed (CON-18)."""
    if not _may_have_cap(billing.agreement):
        computed.fees.extend(drafts)
        return
    used = _used(billing, computed.fees)
    for fee in drafts:
        conditions = terms_at(billing.agreement, max(fee.bill_on, billing.supply.start)).conditions
        cap = conditions.not_to_exceed
        if cap is None or fee.currency != conditions.currency or fee.kind == FeeKind.SERVICE_CREDIT:
            computed.fees.append(fee)
            if fee.kind != FeeKind.SERVICE_CREDIT:
                used[fee.currency] = EXACT.add(used[fee.currency], fee.amount)
            continue
        before = used[fee.currency]
        result = cap_charge(cap=cap, invoiced=before, asked=fee.amount, currency=fee.currency)
        if result.cut:
            fee.amount = result.allowed
            fee.description = f"{fee.description}; {result.explanation}"[:500]
        if fee.amount or (fee.quantity and fee.kind in _USAGE_KINDS):
            computed.fees.append(fee)
        used[fee.currency] = result.used
        if before < cap <= result.used:
            computed.crossings.append(_Crossing("contract.cap_reached", result.used, cap, fee.currency))
        elif result.warns:
            computed.crossings.append(_Crossing("contract.cap_warned", result.used, cap, fee.currency))


def _may_have_cap(agreement: Agreement) -> bool:
    amended = (
        source.changes.get("fields", {}) for source in agreement.sources if isinstance(source, Amended)
    )
    return agreement.conditions.not_to_exceed is not None or any(
        "not_to_exceed" in fields for fields in amended
    )


_USAGE_KINDS = (FeeKind.USAGE, FeeKind.HOLDOVER, FeeKind.CORRECTION)


def _used(billing: _Billing, drafts: Iterable[BillableFee]) -> dict[str, Decimal]:
    """What counts towards the not-to-exceed amount so far, per currency."""
    used: dict[str, Decimal] = defaultdict(Decimal)
    for fee in (*billing.fees, *drafts):
        if fee.kind != FeeKind.SERVICE_CREDIT:
            used[fee.currency] = EXACT.add(used[fee.currency], fee.amount)
    return used
