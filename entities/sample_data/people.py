"""The people of the sample group and where they act. No such persons exist."""

from dataclasses import dataclass, field

from entities.models import Role
from entities.sample_data.organisation import ISSUER, ROOT

ADMINISTRATOR = "grace.holloway"
FINANCE_MANAGER = "aoife.brennan"
ERP_CONNECTOR = "erp-connector"
FINANCE_STAFF = "ciaran.doyle"
FINANCE_STAFF_DE = "jonas.keller"


@dataclass(frozen=True)
class SampleMembership:
    """A role at an entity, or at one department of it."""

    role: Role
    entity: str
    department: str = ""


@dataclass(frozen=True)
class SamplePerson:
    """A person, who they report to, and their memberships."""

    username: str
    first_name: str
    last_name: str
    manager: str
    time_zone: str
    memberships: tuple[SampleMembership, ...] = field(default=())
    is_service_account: bool = False


_NEW_YORK, _DUBLIN, _BERLIN, _LONDON, _TOKYO = (
    "America/New_York",
    "Europe/Dublin",
    "Europe/Berlin",
    "Europe/London",
    "Asia/Tokyo",
)


def _manages(entity: str, *departments: str) -> tuple[SampleMembership, ...]:
    return tuple(SampleMembership(Role.DEPARTMENT_MANAGER, entity, code) for code in departments)


PEOPLE: tuple[SamplePerson, ...] = (
    SamplePerson(
        "helen.osborne", "Helen", "Osborne", "", _NEW_YORK, (SampleMembership(Role.APPROVER, ROOT),)
    ),
    SamplePerson(
        ADMINISTRATOR,
        "Grace",
        "Holloway",
        "helen.osborne",
        _NEW_YORK,
        (SampleMembership(Role.ADMINISTRATOR, ROOT),),
    ),
    SamplePerson(
        FINANCE_MANAGER,
        "Aoife",
        "Brennan",
        "helen.osborne",
        _DUBLIN,
        (SampleMembership(Role.FINANCE_MANAGER, ROOT),),
    ),
    SamplePerson(
        FINANCE_STAFF_DE,
        "Jonas",
        "Keller",
        FINANCE_MANAGER,
        _BERLIN,
        (SampleMembership(Role.FINANCE_STAFF, "TARN-DE"),),
    ),
    SamplePerson(
        FINANCE_STAFF,
        "Ciarán",
        "Doyle",
        FINANCE_MANAGER,
        _DUBLIN,
        (SampleMembership(Role.FINANCE_STAFF, ROOT),),
    ),
    SamplePerson(
        "eleanor.whitfield",
        "Eleanor",
        "Whitfield",
        "helen.osborne",
        _LONDON,
        (SampleMembership(Role.AUDITOR, ROOT),),
    ),
    SamplePerson("niamh.kelly", "Niamh", "Kelly", "helen.osborne", _DUBLIN, _manages(ISSUER, "IT")),
    SamplePerson(
        "conor.walsh", "Conor", "Walsh", FINANCE_MANAGER, _DUBLIN, _manages(ISSUER, "IT-WORK", "HR", "PROC")
    ),
    SamplePerson(
        "daniel.reyes", "Daniel", "Reyes", "helen.osborne", _NEW_YORK, _manages("TARN-US", "SALES", "OPS")
    ),
    SamplePerson(
        "maya.lindqvist",
        "Maya",
        "Lindqvist",
        "daniel.reyes",
        _NEW_YORK,
        (
            *_manages("TARN-US-IND", "ENG"),
            *_manages("TARN-US-LAB", "LAB"),
            *_manages("TARN-US-BOS", "APPS"),
        ),
    ),
    SamplePerson(
        "lukas.brandt",
        "Lukas",
        "Brandt",
        "helen.osborne",
        _BERLIN,
        (*_manages("TARN-DE", "ENT"), *_manages("TARN-DE-ROB", "ROB")),
    ),
    SamplePerson(
        "sabine.vogt",
        "Sabine",
        "Vogt",
        "lukas.brandt",
        _BERLIN,
        (*_manages("TARN-DE-MUC", "FERT"), *_manages("TARN-DE-SEN", "CHIP", "REIN")),
    ),
    SamplePerson(
        "priya.raman",
        "Priya",
        "Raman",
        "helen.osborne",
        _LONDON,
        (*_manages("TARN-GB", "SERV", "ADMIN"), *_manages("TARN-GB-MAN", "PARTS")),
    ),
    SamplePerson(
        "oliver.hughes", "Oliver", "Hughes", "priya.raman", _LONDON, _manages("TARN-GB-DATA", "DATA")
    ),
    SamplePerson(
        "kenji.mori",
        "Kenji",
        "Mori",
        "helen.osborne",
        _TOKYO,
        (SampleMembership(Role.APPROVER, "TARN-JP"), *_manages("TARN-JP", "MFG")),
    ),
    SamplePerson(
        "yuki.tanabe",
        "Yuki",
        "Tanabe",
        "kenji.mori",
        _TOKYO,
        (*_manages("TARN-JP", "SALES"), *_manages("TARN-JP-OSA", "SERV")),
    ),
    SamplePerson(
        ERP_CONNECTOR,
        "ERP",
        "connector",
        "",
        "UTC",
        (SampleMembership(Role.SERVICE_ACCOUNT, ROOT),),
        is_service_account=True,
    ),
)
