"""The entities and departments of the sample group: a maker of measuring instruments that does not exist.

Tax ids, IBAN and BIC pass the checks of their countries and are the examples that such checks are shown with.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from entities.models import CostCenterType, EntityType, TaxTreatment

ROOT = "TARN"
ISSUER = "TARN-SSC"


@dataclass(frozen=True)
class SampleEntity:
    """One entity: its code, its parent's code, and the fields of `entity_create`."""

    code: str
    parent: str
    name: str
    entity_type: EntityType
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleDepartment:
    """One department: the entity's code, its own, its parent's, and who manages it."""

    entity: str
    code: str
    name: str
    manager: str
    parent: str = ""
    cost_center_type: CostCenterType = CostCenterType.COST
    gl_code: str = "6410"


_US = {"country": "US", "currency": "USD", "time_zone": "America/New_York"}
_DE = {"country": "DE", "currency": "EUR", "time_zone": "Europe/Berlin", "language": "de"}
_GB = {"country": "GB", "currency": "GBP", "time_zone": "Europe/London", "language": "en"}
_JP = {"country": "JP", "currency": "JPY", "time_zone": "Asia/Tokyo", "language": "ja"}

ENTITIES: tuple[SampleEntity, ...] = (
    SampleEntity(
        ROOT,
        "",
        "Tarnholm Group",
        EntityType.ROOT,
        {
            **_US,
            "legal_name": "Tarnholm Group, Inc.",
            "tax_id": "12-3456789",
            "street": "1180 Harbor Point Road",
            "postal_code": "21231",
            "city": "Baltimore",
            "region": "MD",
            "billing_email": "payables@tarnholm.example",
            "payment_terms_days": 30,
            "credit_limit": Decimal("2500000.00"),
        },
    ),
    SampleEntity(
        ISSUER,
        ROOT,
        "Tarnholm Shared Services",
        EntityType.SUBSIDIARY,
        {
            "country": "IE",
            "currency": "EUR",
            "time_zone": "Europe/Dublin",
            "legal_name": "Tarnholm Shared Services DAC",
            "registration_number": "CRO 600123",
            "tax_id": "IE1234567FA",
            "street": "14 Grand Canal Row",
            "postal_code": "D02 X285",
            "city": "Dublin",
            "billing_email": "billing@tarnholm.example",
            "is_issuer": True,
            "is_default_issuer": True,
            "bank_name": "Sample Bank, Dublin",
            "iban": "IE29AIBK93115212345678",
            "bic": "AIBKIE2D",
        },
    ),
    SampleEntity(
        "TARN-US",
        ROOT,
        "Tarnholm Instruments",
        EntityType.SUBSIDIARY,
        {
            **_US,
            "legal_name": "Tarnholm Instruments, Inc.",
            "tax_id": "20-1234567",
            "street": "400 Foundry Street",
            "postal_code": "01608",
            "city": "Worcester",
            "region": "MA",
        },
    ),
    SampleEntity("TARN-US-IND", "TARN-US", "Industrial Instruments", EntityType.DIVISION, _US),
    SampleEntity("TARN-US-LAB", "TARN-US", "Laboratory Systems", EntityType.DIVISION, _US),
    SampleEntity(
        "TARN-US-BOS", "TARN-US-LAB", "Boston Applications Lab", EntityType.BRANCH, {**_US, "city": "Boston"}
    ),
    SampleEntity(
        "TARN-DE",
        ROOT,
        "Tarnholm Deutschland",
        EntityType.SUBSIDIARY,
        {
            **_DE,
            "legal_name": "Tarnholm Deutschland GmbH",
            "registration_number": "HRB 999123",
            "tax_id": "DE123456788",
            "street": "Messgerätestraße 7",
            "postal_code": "70565",
            "city": "Stuttgart",
            "billing_email": "rechnung@tarnholm.example",
            "payment_terms_days": 14,
            "is_issuer": True,
            "bank_name": "Sample Bank, Stuttgart",
            "iban": "DE89370400440532013000",
            "bic": "COBADEFFXXX",
        },
    ),
    SampleEntity("TARN-DE-MUC", "TARN-DE", "Werk München", EntityType.BRANCH, {**_DE, "city": "München"}),
    SampleEntity("TARN-DE-ROB", "TARN-DE", "Field Robotics", EntityType.BUSINESS_UNIT, _DE),
    SampleEntity(
        "TARN-DE-SEN",
        "TARN-DE",
        "Tarnholm Sensorik",
        EntityType.SUBSIDIARY,
        {
            **_DE,
            "legal_name": "Tarnholm Sensorik GmbH",
            "registration_number": "HRB 999456",
            "tax_id": "DE987654328",
            "street": "Waferweg 3",
            "postal_code": "01109",
            "city": "Dresden",
            "billing_email": "kreditoren.sensorik@tarnholm.example",
            "payment_terms_days": 14,
            # Held jointly with a partner: it pays for itself, with German VAT.
            "consolidated_billing": False,
            "tax_treatment": TaxTreatment.STANDARD,
            "tax_rate": Decimal("19.000"),
            "credit_limit": Decimal("250000.00"),
        },
    ),
    SampleEntity(
        "TARN-GB",
        ROOT,
        "Tarnholm UK",
        EntityType.SUBSIDIARY,
        {
            **_GB,
            "legal_name": "Tarnholm UK Limited",
            "registration_number": "09999123",
            "tax_id": "GB123456782",
            "street": "5 Canal Wharf",
            "postal_code": "LS10 1AB",
            "city": "Leeds",
            "billing_email": "accounts.payable.uk@tarnholm.example",
            "consolidated_billing": False,
            "tax_treatment": TaxTreatment.REVERSE_CHARGE,
            "fiscal_year_start_month": 4,
        },
    ),
    SampleEntity(
        "TARN-GB-MAN",
        "TARN-GB",
        "Manchester Service Centre",
        EntityType.BRANCH,
        {**_GB, "city": "Manchester"},
    ),
    SampleEntity("TARN-GB-DATA", "TARN-GB", "Data Products", EntityType.BUSINESS_UNIT, _GB),
    SampleEntity(
        "TARN-JP",
        ROOT,
        "Tarnholm Japan",
        EntityType.SUBSIDIARY,
        {
            **_JP,
            "legal_name": "Tarnholm Japan K.K.",
            "tax_id": "7123456789012",
            "street": "2-11-5 Kaigan, Minato-ku",
            "postal_code": "105-0022",
            "city": "Tokyo",
            "billing_email": "keiri@tarnholm.example",
            "payment_terms_days": 45,
            "fiscal_year_start_month": 4,
            "consolidated_billing": False,
        },
    ),
    SampleEntity("TARN-JP-OSA", "TARN-JP", "Osaka Branch", EntityType.BRANCH, {**_JP, "city": "Osaka"}),
)

_SERVICE = CostCenterType.SERVICE
_PROFIT = CostCenterType.PROFIT
_REVENUE = CostCenterType.REVENUE
_INVESTMENT = CostCenterType.INVESTMENT

DEPARTMENTS: tuple[SampleDepartment, ...] = (
    SampleDepartment(ROOT, "CORP", "Corporate", "helen.osborne", gl_code="6400"),
    SampleDepartment(ROOT, "CORP-FIN", "Group finance", "aoife.brennan", "CORP", gl_code="6420"),
    SampleDepartment(ROOT, "CORP-LEG", "Legal", "helen.osborne", "CORP", gl_code="6430"),
    SampleDepartment(ISSUER, "IT", "Information technology", "niamh.kelly", "", _SERVICE),
    SampleDepartment(ISSUER, "IT-CLOUD", "Cloud platform", "niamh.kelly", "IT", _SERVICE),
    SampleDepartment(ISSUER, "IT-SEC", "Cyber security", "niamh.kelly", "IT", _SERVICE),
    SampleDepartment(ISSUER, "IT-WORK", "Workplace", "conor.walsh", "IT", _SERVICE, "6415"),
    SampleDepartment(ISSUER, "FIN", "Finance operations", "aoife.brennan", "", _SERVICE, "6420"),
    SampleDepartment(ISSUER, "HR", "People operations", "conor.walsh", "", _SERVICE, "6440"),
    SampleDepartment(ISSUER, "PROC", "Procurement", "conor.walsh", "", _SERVICE, "6450"),
    SampleDepartment("TARN-US", "SALES", "Sales, Americas", "daniel.reyes", "", _REVENUE, "6600"),
    SampleDepartment("TARN-US", "SALES-PART", "Partner sales", "daniel.reyes", "SALES", _REVENUE, "6600"),
    SampleDepartment("TARN-US", "OPS", "Operations", "daniel.reyes", gl_code="6500"),
    SampleDepartment("TARN-US-IND", "ENG", "Instrument engineering", "maya.lindqvist", "", _PROFIT),
    SampleDepartment("TARN-US-IND", "ENG-FW", "Firmware", "maya.lindqvist", "ENG", _PROFIT),
    SampleDepartment("TARN-US-IND", "ENG-CLOUD", "Connected instruments", "maya.lindqvist", "ENG", _PROFIT),
    SampleDepartment("TARN-US-LAB", "LAB", "Laboratory software", "maya.lindqvist", "", _PROFIT),
    SampleDepartment("TARN-US-LAB", "LAB-RND", "Spectroscopy research", "maya.lindqvist", "LAB", _INVESTMENT),
    SampleDepartment("TARN-US-BOS", "APPS", "Applications laboratory", "maya.lindqvist", "", _SERVICE),
    SampleDepartment("TARN-DE", "ENT", "Entwicklung", "lukas.brandt", "", _INVESTMENT),
    SampleDepartment("TARN-DE", "ENT-SIM", "Simulation", "lukas.brandt", "ENT", _INVESTMENT),
    SampleDepartment("TARN-DE", "ENT-DOK", "Technische Dokumentation", "lukas.brandt", "ENT"),
    SampleDepartment("TARN-DE", "VER", "Verwaltung", "jonas.keller", gl_code="6400"),
    SampleDepartment("TARN-DE-MUC", "FERT", "Fertigung", "sabine.vogt", "", _PROFIT, "6500"),
    SampleDepartment("TARN-DE-MUC", "FERT-QS", "Qualitätssicherung", "sabine.vogt", "FERT", gl_code="6510"),
    SampleDepartment("TARN-DE-ROB", "ROB", "Robotics software", "lukas.brandt", "", _INVESTMENT),
    SampleDepartment("TARN-DE-SEN", "CHIP", "Chip-Entwicklung", "sabine.vogt", "", _INVESTMENT),
    SampleDepartment("TARN-DE-SEN", "REIN", "Reinraum", "sabine.vogt", gl_code="6500"),
    SampleDepartment("TARN-GB", "SERV", "Customer service", "priya.raman", "", _PROFIT, "6700"),
    SampleDepartment("TARN-GB", "ADMIN", "Administration", "priya.raman", gl_code="6400"),
    SampleDepartment("TARN-GB-MAN", "PARTS", "Spare parts", "priya.raman", "", _PROFIT, "6700"),
    SampleDepartment("TARN-GB-DATA", "DATA", "Data engineering", "oliver.hughes", "", _REVENUE),
    SampleDepartment("TARN-GB-DATA", "DATA-SCI", "Data science", "oliver.hughes", "DATA", _REVENUE),
    SampleDepartment("TARN-JP", "MFG", "Production", "kenji.mori", "", _PROFIT, "6500"),
    SampleDepartment("TARN-JP", "MFG-Q", "Quality", "kenji.mori", "MFG", gl_code="6510"),
    SampleDepartment("TARN-JP", "SALES", "Sales, Japan", "yuki.tanabe", "", _REVENUE, "6600"),
    SampleDepartment("TARN-JP-OSA", "SERV", "Service, Kansai", "yuki.tanabe", "", _PROFIT, "6700"),
)
