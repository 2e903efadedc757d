"""Cost allocations of the sample group: rents that are billed, the audit fee, and the rule for the workplace."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from core.clock import month_after
from core.errors import Conflict
from core.history import acting
from core.sample_data.run import SampleRun, person
from entities.models import AllocationBasis, AllocationPosting, AllocationRule, CostAllocation, Department
from entities.sample_data.organisation import ISSUER, ROOT
from entities.sample_data.people import FINANCE_MANAGER, FINANCE_STAFF
from entities.services.allocation import Split, cost_allocate
from entities.services.allocation_rule import (
    Target,
    VersionTerms,
    allocation_rule_create,
    allocation_rule_run,
    allocation_rule_version_create,
)

RULE = "Workplace by headcount"
AUDIT = "Group audit fee"
LICENCES = "Device management and help desk"


@dataclass(frozen=True)
class Rent:
    """What a department pays each month for the rooms that the group has rented, in its entity's currency."""

    entity: str
    department: str
    place: str
    amount: Decimal


RENTS = (
    Rent("TARN-US-BOS", "APPS", "Boston, 310 m²", Decimal("11625.00")),
    Rent("TARN-GB", "ADMIN", "Leeds, 640 m²", Decimal("9680.00")),
    Rent("TARN-GB-MAN", "PARTS", "Manchester, 420 m²", Decimal("5145.00")),
    Rent("TARN-DE-SEN", "REIN", "Dresden clean room, 180 m²", Decimal("7416.50")),
    Rent("TARN-JP-OSA", "SERV", "Osaka, 95 m²", Decimal("412500")),
)

AUDIT_FEE = Decimal("84500.00")
AUDIT_SHARES = {
    (ROOT, "CORP-FIN"): Decimal("37.5"),
    ("TARN-US", "OPS"): Decimal("25"),
    ("TARN-DE", "VER"): Decimal("20.8333"),
    ("TARN-GB", "ADMIN"): Decimal("16.6667"),
}

Headcount = Mapping[tuple[str, str], int]

HEADCOUNT: Headcount = {
    (ROOT, "CORP"): 58,
    (ISSUER, "FIN"): 46,
    (ISSUER, "HR"): 21,
    (ISSUER, "PROC"): 17,
    ("TARN-US", "SALES"): 132,
    ("TARN-US", "OPS"): 89,
    ("TARN-US-IND", "ENG"): 214,
    ("TARN-US-LAB", "LAB"): 147,
    ("TARN-DE", "ENT"): 176,
    ("TARN-DE", "VER"): 39,
    ("TARN-DE-MUC", "FERT"): 248,
    ("TARN-GB", "SERV"): 121,
    ("TARN-GB-DATA", "DATA"): 63,
    ("TARN-JP", "MFG"): 158,
}
LATER_HEADCOUNT: Headcount = {
    **HEADCOUNT,
    ("TARN-US", "SALES"): 126,
    ("TARN-GB-DATA", "DATA"): 81,
}
"""After a reorganisation in the fifth month."""


def allocate_cost(run: SampleRun) -> None:
    """Post the rents, the audit fee and the service desk's cost, and make the rule; the rule runs after imports."""
    made = sum(_post_month(month) for month in run.months) + _post_audit(run) + _make_rule(run)
    there = AllocationPosting.objects.filter(entity__code__startswith=ROOT).count()
    run.count("cost allocations and rules", made, there=there)


def _post_month(month: date) -> int:
    """Post the month's rents, which are billed, and what the workplace team pays for itself, which is not."""
    made = 0
    for rent in RENTS:
        made += _post(
            FINANCE_STAFF,
            rent.entity,
            rent.department,
            rent.amount,
            f"Rent {rent.place}, {month:%B %Y}",
            month,
            billable=True,
        )
    return made + _post(
        FINANCE_STAFF,
        ISSUER,
        "IT-WORK",
        Decimal("18240.00"),
        f"{LICENCES}, {month:%B %Y}",
        month,
        billable=False,
    )


def _post(
    username: str, entity: str, code: str, amount: Decimal, description: str, month: date, *, billable: bool
) -> int:
    department = find_department(entity, code)
    if CostAllocation.objects.filter(department=department, description=description).exists():
        return 0
    cost_allocate(
        actor=person(username),
        department=department,
        amount=amount,
        description=description,
        period_start=month,
        period_end=month_after(month),
        billable=billable,
    )
    return 1


def _post_audit(run: SampleRun) -> int:
    """Spread a fee by percent over companies of several currencies: it stays in the currency of the fee."""
    department = find_department(ROOT, "CORP-FIN")
    description = f"{AUDIT} {run.start.year}"
    if AllocationPosting.objects.filter(entity=department.entity, description=description).exists():
        return 0
    month = run.months[1]
    cost_allocate(
        actor=person(FINANCE_MANAGER),
        department=department,
        amount=AUDIT_FEE,
        description=description,
        period_start=month,
        period_end=month_after(month),
        splits=[Split(find_department(*place), percent=share) for place, share in AUDIT_SHARES.items()],
        gl_code="6820",
    )
    return 1


def _make_rule(run: SampleRun) -> int:
    """Make the rule with its first version, and the second one from the fifth month on."""
    source = find_department(ISSUER, "IT-WORK")
    if AllocationRule.objects.filter(entity=source.entity, name=RULE).exists():
        return 0
    manager = person(FINANCE_MANAGER)
    rule = allocation_rule_create(
        actor=manager,
        entity=source.entity,
        name=RULE,
        source=source,
        terms=_terms(HEADCOUNT, run.year_start),
    )
    allocation_rule_version_create(
        actor=manager,
        rule=rule,
        terms=_terms(LATER_HEADCOUNT, run.months[4]),
        reason="Headcount after the reorganisation",
    )
    return 1


def _terms(headcount: Headcount, valid_from: date) -> VersionTerms:
    targets = [Target(find_department(*place), Decimal(people)) for place, people in headcount.items()]
    return VersionTerms(
        basis=AllocationBasis.DRIVER, driver="headcount", targets=targets, valid_from=valid_from
    )


def run_rule(run: SampleRun) -> None:
    """Run the rule for each month but the last, once the month's usage is in."""
    rule = AllocationRule.objects.get(entity__code=ISSUER, name=RULE)
    made = there = 0
    for month in run.months[:-1]:
        if AllocationPosting.objects.filter(rule_version__rule=rule, period_start=month).exists():
            there += 1
            continue
        with acting(reason=f"Close of {month:%B %Y}"):
            postings = allocation_rule_run(
                actor=person(FINANCE_MANAGER), rule=rule, period_start=month, period_end=month_after(month)
            )
        made += len(postings)
    run.count("runs of allocation rules", made, there=there)


def find_department(entity: str, code: str) -> Department:
    """Return a department of the sample by the codes of its entity and itself."""
    try:
        return Department.objects.select_related("entity").get(entity__code=entity, code=code)
    except Department.DoesNotExist as error:
        raise Conflict(
            "sample_changed",
            f"The sample's department {code} of {entity} is gone, so the sample cannot be completed.",
        ) from error
