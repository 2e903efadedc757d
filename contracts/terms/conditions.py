"""What a contract says besides its prices and service levels, as a value, and which of it may be amended (CON-04)."""

import datetime
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from contracts.models import Contract, RenewalType
from contracts.terms.values import Reader, as_json
from core.errors import FieldProblem, Invalid


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of a contract on a day; the fields mean what they mean in `Contract`."""

    start_date: datetime.date
    end_date: datetime.date | None
    time_zone: str
    billing_anchor: datetime.date
    value: Decimal
    currency: str
    payment_terms_days: int
    discount_percent: Decimal
    scope: str
    licence_tier: str
    feature_limits: dict[str, Any]
    renewal_type: str
    renewal_term_months: int | None
    notice_period: int
    notice_unit: str
    uplift_index: str
    uplift_floor_percent: Decimal
    uplift_cap_percent: Decimal
    uplift_notice_days: int
    convenience_allowed: bool
    minimum_term_end: datetime.date | None
    convenience_notice_days: int
    termination_fees: list[dict[str, Any]]
    cure_days: int
    holdover_allowed: bool
    holdover_rate_percent: Decimal
    not_to_exceed: Decimal | None
    minimum_commitment: Decimal | None
    minimum_commitment_months: int

    def as_json(self) -> dict[str, Any]:
        """The form in which the API and fingerprints have it."""
        return {name: as_json(getattr(self, name)) for name in CONDITIONS}


CONDITIONS = tuple(field.name for field in fields(Conditions))
# A contract starts once, and its periods are counted from one anchor: they never change.
AMENDABLE = tuple(name for name in CONDITIONS if name not in {"start_date", "billing_anchor", "time_zone"})


def conditions_of(contract: Contract) -> Conditions:
    """The base conditions, as signed."""
    return Conditions(**{name: getattr(contract, name) for name in CONDITIONS})


def read_fields(data: Any, *, pointer: str) -> dict[str, Any]:
    """The amended fields in one spelling, fit for JSON. Raises Invalid with pointers."""
    reader = Reader(Contract, data, pointer)
    reader.raise_problems()
    reader.unknown(AMENDABLE)
    values = {name: reader.given(name) for name in AMENDABLE if name in reader.data}
    reader.problems.extend(value_problems(values, pointer=pointer))
    reader.raise_problems()
    return {name: as_json(value) for name, value in values.items()}


def amended(conditions: Conditions, changes: dict[str, Any]) -> Conditions:
    """The conditions with the fields of an amendment, which were checked when it was written."""
    values = {name: Contract._meta.get_field(name).to_python(value) for name, value in changes.items()}  # type: ignore[union-attr]
    return replace(conditions, **values)


def value_problems(values: dict[str, Any], *, pointer: str = "") -> list[FieldProblem]:
    """What is wrong with values that have a form of their own: feature limits and termination fees."""
    problems = []
    limits = values.get("feature_limits")
    if limits is not None and not _are_limits(limits):
        problems.append(
            FieldProblem(
                f"{pointer}/feature_limits",
                "invalid_feature_limits",
                "Give for each feature a whole number, true, false, or null for unlimited.",
            )
        )
    fees = values.get("termination_fees")
    if fees is not None:
        try:
            fee_steps(fees)
        except Invalid as error:
            problems.append(FieldProblem(f"{pointer}/termination_fees", error.code, error.message))
    return problems


def _are_limits(limits: Any) -> bool:
    return isinstance(limits, dict) and all(
        isinstance(name, str)
        and name.strip()
        and (limit is None or isinstance(limit, bool) or (isinstance(limit, int) and limit >= 0))
        for name, limit in limits.items()
    )


@dataclass(frozen=True, slots=True)
class FeeStep:
    """What termination costs from so many whole months after the start: an amount, or a share of what still runs."""

    from_month: int
    amount: Decimal | None
    percent: Decimal | None


def fee_steps(data: Any) -> list[FeeStep]:
    """Read the schedule of termination fees, earliest first. Raises Invalid ``invalid_termination_fees``."""
    wrong = Invalid(
        "invalid_termination_fees",
        "Give a list of steps, each with “from_month” and either “amount” or “percent”, both zero or more and as text.",
    )
    if not isinstance(data, list):
        raise wrong
    steps = []
    for item in data:
        if not isinstance(item, dict) or set(item) not in (
            {"from_month", "amount"},
            {"from_month", "percent"},
        ):
            raise wrong
        month, figure = item["from_month"], item.get("amount", item.get("percent"))
        if isinstance(month, bool) or not isinstance(month, int) or month < 0 or not isinstance(figure, str):
            raise wrong
        try:
            number = Decimal(figure)
        except ArithmeticError as error:
            raise wrong from error
        if not number.is_finite() or number < 0:
            raise wrong
        steps.append(
            FeeStep(month, number if "amount" in item else None, number if "percent" in item else None)
        )
    steps.sort(key=lambda step: step.from_month)
    if len({step.from_month for step in steps}) != len(steps):
        raise wrong
    return steps


def coherence_problems(conditions: Conditions, *, pointer: str = "") -> list[FieldProblem]:
    """What contradicts itself in the conditions as a whole (CON-10)."""
    end, kind = conditions.end_date, conditions.renewal_type
    rules = (
        (
            end is None or end > conditions.start_date,
            "end_date",
            "end_before_start",
            "end_date is the first day after the contract: it must be later than start_date.",
        ),
        (
            kind != RenewalType.AUTO or (end is not None and conditions.renewal_term_months is not None),
            "renewal_type",
            "auto_renewal_needs_terms",
            "Automatic renewal needs an end_date and renewal_term_months, the length of each further term.",
        ),
        (
            kind != RenewalType.OPTION or (end is not None and conditions.renewal_term_months is not None),
            "renewal_type",
            "option_needs_terms",
            "An option to renew needs an end_date and renewal_term_months, the length of the further term.",
        ),
        (
            kind != RenewalType.EVERGREEN or end is None,
            "end_date",
            "evergreen_has_no_end",
            "An evergreen contract has no end_date: it runs until notice is given.",
        ),
        (
            conditions.uplift_floor_percent <= conditions.uplift_cap_percent,
            "uplift_cap_percent",
            "uplift_cap_below_floor",
            "The cap of the price increase is below its floor.",
        ),
        (
            conditions.minimum_term_end is None or conditions.minimum_term_end >= conditions.start_date,
            "minimum_term_end",
            "minimum_term_before_start",
            "The minimum term ends before the contract starts.",
        ),
    )
    return [
        FieldProblem(f"{pointer}/{name}", code, detail) for holds, name, code, detail in rules if not holds
    ]
