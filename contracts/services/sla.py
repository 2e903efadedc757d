"""Measurements of service levels, and the credits for those that were missed (CON-20).

A credit is worked out when its period is over and something was measured, and again as long as it is on no invoice:
after a correction, a late measurement or an amendment. Billing takes those that are due, each once.
"""

import csv
import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db import transaction
from django.utils import timezone

from contracts.models import Contract, CreditStatus, ServiceCredit, SlaMeasurement
from contracts.pricing import claim_deadline, rounded
from contracts.selectors.compliance import LevelPeriod, ServiceLevels, measurements_of
from contracts.selectors.contract import business_today, terms_history
from contracts.services.status import lock_contract, lock_known_contract
from core import clock
from core.access import get_visible, require
from core.errors import BillingError, Conflict, FieldProblem, Invalid
from core.history import record_as
from core.models import User
from core.money import EXACT, parse_amount, plain_amount
from core.outbox import publish
from entities.services.records import check_fields, field_error

ONE_DAY = datetime.timedelta(days=1)
COLUMNS = ("contract", "sla_code", "measured_from", "measured_to", "value", "external_id")
PROBLEMS_SHOWN = 100
_VALUE_DECIMALS = 6


# --- Measurements ----------------------------------------------------------------------------------------


@transaction.atomic
def measurement_record(
    *,
    actor: User,
    contract_id: int,
    sla_code: str,
    measured_from: datetime.datetime,
    measured_to: datetime.datetime,
    value: Decimal,
    source: str,
    external_id: str,
) -> SlaMeasurement:
    """Record what was measured over ``[measured_from, measured_to)``, moments with a zone (CON-20).

    The same measurement again, by the source's own ``external_id``, is the one that is there. Needs
    contracts.add_slameasurement. Raises Conflict ``contract_status``, ``measurement_differs``,
    ``measurements_overlap``; Invalid ``unknown_level``, ``measured_in_the_future``, ``invalid_window``.
    """
    contract = lock_contract(actor, contract_id, "contracts.add_slameasurement")
    row, is_new = _record(
        contract,
        SlaMeasurement(
            contract=contract,
            sla_code=sla_code,
            measured_from=measured_from,
            measured_to=measured_to,
            value=value,
            source=source,
            external_id=external_id,
            recorded_by=actor,
        ),
    )
    if is_new:
        _credits_work_out(contract, actor, since=clock.business_date(measured_from, contract.time_zone))
    return row


def _record(contract: Contract, row: SlaMeasurement) -> tuple[SlaMeasurement, bool]:
    """Store the row unless it is there already; say whether it is new. The contract is locked."""
    check_fields(row)
    _check_window(contract, row)
    known = SlaMeasurement.objects.filter(
        contract=contract, sla_code=row.sla_code, source=row.source, external_id=row.external_id
    ).first()
    if known is not None:
        if (known.measured_from, known.measured_to, known.value) != (
            row.measured_from,
            row.measured_to,
            row.value,
        ):
            raise Conflict(
                "measurement_differs",
                f"“{row.source}” has reported {row.external_id} before, with another value or time. Record a "
                "correction of it.",
                extra={"measurement_id": known.pk},
            )
        return known, False
    standing = SlaMeasurement.objects.filter(
        contract=contract,
        sla_code=row.sla_code,
        source=row.source,
        replaced_by__isnull=True,
        measured_from__lt=row.measured_to,
        measured_to__gt=row.measured_from,
    )
    if row.replaces is not None:
        standing = standing.exclude(pk=row.replaces.pk)
    other = standing.first()
    if other is not None:
        raise Conflict(
            "measurements_overlap",
            f"“{row.source}” has measured {row.sla_code} from {other.measured_from.isoformat()} to "
            f"{other.measured_to.isoformat()} already. Record a correction of that.",
            extra={"measurement_id": other.pk},
        )
    row.save(force_insert=True)
    return row, True


def _check_window(contract: Contract, row: SlaMeasurement) -> None:
    if not contract.is_activated:
        raise Conflict(
            "contract_status",
            f"“{contract}” was never active: its service levels do not hold yet.",
            extra={"contract_id": contract.pk, "status": contract.status},
        )
    if timezone.is_naive(row.measured_from) or timezone.is_naive(row.measured_to):
        raise field_error(
            "measured_from", "zone_missing", "Give moments with a zone, such as 2026-06-01T00:00:00Z."
        )
    if row.measured_from >= row.measured_to:
        raise field_error("measured_to", "invalid_window", "measured_to must be later than measured_from.")
    if row.measured_to > clock.now():
        raise field_error(
            "measured_to", "measured_in_the_future", "Only what is over can have been measured."
        )
    zone = contract.time_zone
    first = clock.business_date(row.measured_from, zone)
    last = clock.business_date(row.measured_to, zone)
    known = {
        code
        for segment in terms_history(contract, last + ONE_DAY)
        if segment.end is None or segment.end > first
        for code in segment.terms.sla
    }
    if row.sla_code not in known:
        promised = f"It promises {', '.join(sorted(known))}." if known else "It promises none."
        detail = f"“{contract}” has no service level “{row.sla_code}” at that time. {promised}"
        raise field_error("sla_code", "unknown_level", detail)


@transaction.atomic
def measurement_correct(
    *, actor: User, measurement_id: int, value: Decimal, external_id: str = ""
) -> SlaMeasurement:
    """Record that a measurement should have been ``value``; the first one stays on record, replaced (CON-20).

    Raises NotFound; Conflict ``measurement_replaced`` for one that was corrected before.
    """
    seen: SlaMeasurement = get_visible(
        SlaMeasurement.objects.all(), actor, measurement_id, name="measurement"
    )
    contract = lock_contract(actor, seen.contract_id, "contracts.add_slameasurement")
    later = SlaMeasurement.objects.filter(replaces=seen).first()
    if later is not None:
        raise Conflict(
            "measurement_replaced",
            "This measurement was corrected before. Correct the one that replaced it.",
            extra={"measurement_id": later.pk},
        )
    row, _ = _record(
        contract,
        SlaMeasurement(
            contract=contract,
            sla_code=seen.sla_code,
            measured_from=seen.measured_from,
            measured_to=seen.measured_to,
            value=value,
            source=seen.source,
            external_id=external_id or f"correction-{seen.pk}",
            replaces=seen,
            recorded_by=actor,
        ),
    )
    _credits_work_out(contract, actor, since=clock.business_date(seen.measured_from, contract.time_zone))
    return row


# --- Import ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class MeasurementsImported:
    """What became of a file: how many lines are new, how many were there, and what is wrong with the others."""

    added: int = 0
    unchanged: int = 0
    problems: list[FieldProblem] = field(default_factory=list)
    failed: int = 0


def measurements_import(*, actor: User, lines: Iterable[str], source: str = "CSV") -> MeasurementsImported:
    """Record the measurements of a CSV file, each line on its own (CON-20).

    Columns: contract (its number or id), sla_code, measured_from, measured_to, value, external_id and, optionally,
    source. A wrong line is named and left out; the same file again, corrected or not, takes nothing twice. Raises
    Forbidden; Invalid ``invalid_measurements`` where columns are missing or it is no CSV.
    """
    require(actor, "contracts.add_slameasurement")
    imported = MeasurementsImported()
    touched: dict[int, datetime.datetime] = {}
    for number, values in _rows(lines):
        try:
            with transaction.atomic():
                row = _read(actor, values, source)
                contract = lock_contract(actor, row.contract_id, "contracts.add_slameasurement")
                row, is_new = _record(contract, row)
        except BillingError as error:
            imported.failed += 1
            if imported.failed <= PROBLEMS_SHOWN:
                detail = f"Line {number}: {error.message}"
                imported.problems.append(FieldProblem(f"/lines/{number}", error.code, detail))
            continue
        imported.added += is_new
        imported.unchanged += not is_new
        if is_new:
            touched[contract.pk] = min(touched.get(contract.pk, row.measured_from), row.measured_from)
    for contract_id, since in sorted(touched.items()):
        with transaction.atomic():
            contract = lock_known_contract(contract_id)
            _credits_work_out(contract, actor, since=clock.business_date(since, contract.time_zone))
    return imported


def _rows(lines: Iterable[str]) -> Iterable[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(lines, strict=True)
    try:
        names = {name.strip().lower().lstrip("\ufeff"): name for name in reader.fieldnames or ()}
        missing = [column for column in COLUMNS if column not in names]
        if missing:
            raise Invalid(
                "invalid_measurements",
                f"The first line must name the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}.",
            )
        for line in reader:
            yield (
                reader.line_num,
                {column: (line.get(name) or "").strip() for column, name in names.items()},
            )
    except csv.Error as error:
        raise Invalid(
            "invalid_measurements",
            f"Line {reader.line_num} is no CSV: {error}. What came before it was taken.",
        ) from error


def _read(actor: User, values: dict[str, str], source: str) -> SlaMeasurement:
    number = values["contract"].upper().removeprefix("CTR-")
    contract: Any = get_visible(
        Contract.objects.all(), actor, int(number) if number.isdecimal() else 0, name="contract"
    )
    return SlaMeasurement(
        contract_id=contract.pk,
        sla_code=values["sla_code"],
        measured_from=_moment(values["measured_from"]),
        measured_to=_moment(values["measured_to"]),
        value=parse_amount(values["value"], decimals=_VALUE_DECIMALS),
        source=values.get("source") or source,
        external_id=values["external_id"],
        recorded_by=actor,
    )


def _moment(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(
            "invalid_moment", f"“{text}” is no moment. Write it as 2026-06-01T00:00:00Z."
        ) from error


# --- Credits ---------------------------------------------------------------------------------------------


def _credits_work_out(
    contract: Contract, actor: User, *, since: datetime.date, until: datetime.date | None = None
) -> int:
    """Bring the credits of periods that end after ``since`` and are over in line with what was measured.

    Returns how many were new or changed. The contract is locked.
    """
    levels = ServiceLevels(contract)
    groups: dict[tuple[datetime.date, datetime.date, str, str], list[LevelPeriod]] = defaultdict(list)
    for of in levels.periods(until=until or business_today(contract)):
        if of.period.end > since:
            groups[of.period.start, of.period.end, of.level.fee_line, of.currency].append(of)
    return sum(_work_out(contract, actor, levels, group) for group in groups.values())


def _work_out(contract: Contract, actor: User, levels: ServiceLevels, group: Sequence[LevelPeriod]) -> int:
    """The credits of the levels that share the fees of one period: together at most the largest of their caps."""
    room: Decimal | None = None
    changed = 0
    for of in sorted(group, key=lambda each: each.level.code):
        credit = ServiceCredit.objects.filter(
            contract=contract, sla_code=of.level.code, period_start=of.period.start
        ).first()
        measured = measurements_of(contract, of)
        if not measured and credit is None:
            continue
        result = levels.compliance(of, measured)
        if room is None:
            cap = max(each.level.credit_cap_percent for each in group)
            room = rounded(Fraction(result.fee_amount) * Fraction(cap) / 100, of.currency)
        if credit is not None and credit.fee_id is not None:
            room = max(EXACT.subtract(room, credit.amount), Decimal(0))
            continue
        amount = min(result.amount, room)
        room = EXACT.subtract(room, amount)
        if credit is None and not amount:
            continue
        credit = credit or _new_credit(contract, of)
        before = (credit.measured, credit.credit_percent, credit.fee_amount, credit.amount)
        after = (
            credit.measured if result.measured is None else result.measured,
            result.credit_percent,
            result.fee_amount,
            amount,
        )
        if before == after:
            continue
        credit.measured, credit.credit_percent, credit.fee_amount, credit.amount = after
        credit.target = of.level.target
        with record_as(actor):
            credit.save()
        _publish("contract.service_credit", credit)
        changed += 1
    return changed


def _new_credit(contract: Contract, of: LevelPeriod) -> ServiceCredit:
    within = of.level.claim_within_days
    return ServiceCredit(
        contract=contract,
        sla_code=of.level.code,
        period_start=of.period.start,
        period_end=of.period.end,
        measured=Decimal(0),
        target=of.level.target,
        credit_percent=Decimal(0),
        fee_amount=Decimal(0),
        amount=Decimal(0),
        currency=of.currency,
        status=CreditStatus.DUE if within is None else CreditStatus.CLAIMABLE,
        claim_by=None if within is None else claim_deadline(of.period, within),
    )


def _publish(topic: str, credit: ServiceCredit) -> None:
    publish(
        topic,
        {
            "contract_id": credit.contract_id,
            "credit_id": credit.pk,
            "sla_code": credit.sla_code,
            "period_start": credit.period_start.isoformat(),
            "amount": plain_amount(credit.amount, credit.currency),
            "currency": credit.currency,
            "status": credit.status,
        },
        key=f"contract:{credit.contract_id}",
    )


@transaction.atomic
def service_credit_claim(
    *, actor: User, credit_id: int, received_at: datetime.datetime | None = None
) -> ServiceCredit:
    """Note that a credit was claimed, now by default: it goes on the next invoice (CON-20).

    What counts is when the claim was received, until 24:00 of ``claim_by`` in the contract's zone; a second claim
    changes nothing. Needs contracts.change_servicecredit. Raises NotFound; Conflict ``claim_too_late``; Invalid
    ``received_in_the_future``.
    """
    seen: ServiceCredit = get_visible(ServiceCredit.objects.all(), actor, credit_id, name="service credit")
    contract = lock_contract(actor, seen.contract_id, "contracts.change_servicecredit")
    credit = ServiceCredit.objects.get(pk=seen.pk)
    if credit.status == CreditStatus.DUE:
        return credit
    received_at = received_at or clock.now()
    if received_at > clock.now():
        detail = "A claim cannot be received later than now."
        raise field_error("received_at", "received_in_the_future", detail)
    assert credit.claim_by is not None
    if clock.business_date(received_at, contract.time_zone) > credit.claim_by:
        raise Conflict(
            "claim_too_late",
            f"The credit for {credit.sla_code} from {credit.period_start} had to be claimed by {credit.claim_by}.",
            extra={"claim_by": credit.claim_by.isoformat()},
        )
    credit.status, credit.claimed_at = CreditStatus.DUE, received_at
    with record_as(actor):
        credit.save()
    _publish("contract.service_credit", credit)
    return credit


@transaction.atomic
def contract_close_sla(
    *, contract_id: int, actor: User, since: datetime.date, on: datetime.date | None = None
) -> int:
    """Work out the credits of periods that are over, and let go of what was not claimed in time (CON-20).

    For the job; returns how many credits it made, changed or let go.
    """
    contract = lock_known_contract(contract_id)
    today = business_today(contract)
    day = min(on, today) if on else today
    changed = _credits_work_out(contract, actor, since=since, until=day)
    late = ServiceCredit.objects.filter(
        contract=contract, status=CreditStatus.CLAIMABLE, claim_by__lt=day
    ).order_by("pk")
    for credit in late:
        credit.status = CreditStatus.LAPSED
        with record_as(actor, f"Not claimed by {credit.claim_by}"):
            credit.save()
        _publish("contract.service_credit", credit)
        changed += 1
    return changed
