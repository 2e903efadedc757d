"""The sample group's contracts: what was agreed with whom, and how far each has come."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SampleContract:
    """One contract: who is billed, the terms, and what is done with it after it is written.

    ``reached`` is "draft", "submitted", "approved" or "active". ``starts_days_ago`` counts from today; without it the
    contract starts with the first day that the sample has not invoiced.
    """

    title: str
    entity: str
    value: str
    contract_type: str = "standard"
    reached: str = "active"
    months: int | None = 12
    starts_days_ago: int | None = None
    department: str = ""
    parent: str = ""
    predecessor: str = ""
    terms: dict[str, Any] = field(default_factory=dict)
    prices: tuple[dict[str, Any], ...] = ()
    sla_terms: tuple[dict[str, Any], ...] = ()


FRAMEWORK = "Framework agreement for group services"
SUSPENDED = "Field service vehicles, tracking"
TERMINATED = "Translation services"
AMENDED = "Robot controller support"
LICENSED = "Desk software for engineering"
MEASURED = "Laboratory platform"
BREACHED = "Network monitoring"
RENEWED = "Sensor calibration"

_UPTIME = {
    "code": "uptime",
    "metric": "Availability of the platform",
    "target": "99.9",
    "tiers": [
        {"threshold": "99.9", "credit_percent": "5"},
        {"threshold": "99", "credit_percent": "15"},
    ],
    "credit_cap_percent": "15",
}

CONTRACTS: tuple[SampleContract, ...] = (
    SampleContract(
        FRAMEWORK,
        "TARN-US",
        "0",
        contract_type="msa",
        months=None,
        terms={"renewal_type": "evergreen", "notice_period": 6, "notice_unit": "months"},
    ),
    SampleContract(
        MEASURED,
        "TARN-US-LAB",
        "50400.00",
        contract_type="enterprise",
        department="LAB",
        # The deadline is near on purpose: the renewal shows in the pipeline.
        terms={
            "renewal_type": "auto",
            "renewal_term_months": 12,
            "notice_period": 300,
            "uplift_index": "CPI-US",
            "licence_tier": "enterprise",
            "feature_limits": {"workspaces": 40, "api": True},
            "convenience_allowed": True,
        },
        prices=(
            {"code": "platform", "name": "Platform", "price": "3600.00"},
            {
                "code": "support",
                "name": "Support, around the clock",
                "price": "600.00",
                "discount_percent": "10",
            },
        ),
        sla_terms=(_UPTIME,),
    ),
    SampleContract(
        "Simulation capacity",
        "TARN-DE",
        "96000.00",
        contract_type="custom",
        department="ENT-SIM",
        terms={"minimum_commitment": "60000.00", "not_to_exceed": "110000.00"},
        prices=(
            {
                "code": "seats",
                "name": "Simulation seats",
                "pricing": "graduated",
                "quantity_source": "fixed",
                "quantity": "60",
                "unit": "seats",
                "tiers": [
                    {"up_to": "25", "unit_price": "140.00"},
                    {"up_to": "50", "unit_price": "125.00"},
                    {"up_to": None, "unit_price": "110.00"},
                ],
            },
        ),
    ),
    SampleContract(
        SUSPENDED,
        "TARN-GB",
        "14400.00",
        department="SERV",
        prices=({"code": "vehicles", "name": "Vehicles", "pricing": "per_unit", "price": "40.00",
                 "quantity_source": "fixed", "quantity": "30", "unit": "vehicles"},),
    ),
    SampleContract(
        "Data quality pilot",
        "TARN-GB-DATA",
        "9000.00",
        contract_type="pilot",
        reached="approved",
        months=3,
        department="DATA",
        terms={"renewal_type": "option", "renewal_term_months": 12, "notice_period": 20},
        prices=({"code": "pilot", "name": "Pilot", "price": "3000.00"},),
    ),
    SampleContract(
        "Instrument telemetry",
        "TARN-JP",
        "7200000",
        contract_type="custom",
        reached="submitted",
        department="MFG",
        prices=({"code": "telemetry", "name": "Telemetry", "price": "600000"},),
    ),
    SampleContract(
        "Clean-room monitoring",
        "TARN-DE-SEN",
        "21600.00",
        reached="draft",
        department="REIN",
        prices=({"code": "sensors", "name": "Sensors", "pricing": "package", "price": "150.00",
                 "package_size": "10", "quantity_source": "fixed", "quantity": "112", "unit": "sensors"},),
    ),
    SampleContract(
        "Spare parts catalogue, old system",
        "TARN-GB-MAN",
        "18000.00",
        starts_days_ago=760,
        months=24,
        department="PARTS",
    ),
    SampleContract(
        TERMINATED,
        "TARN-US-BOS",
        "6000.00",
        department="APPS",
        terms={"convenience_allowed": True, "convenience_notice_days": 0},
    ),
    SampleContract(
        AMENDED,
        "TARN-DE-ROB",
        "30000.00",
        department="ROB",
        terms={"renewal_type": "auto", "renewal_term_months": 12},
        prices=({"code": "support", "name": "Support", "price": "2500.00"},),
    ),
    SampleContract(
        LICENSED,
        "TARN-US-IND",
        "11520.00",
        contract_type="enterprise",
        department="ENG",
        parent=FRAMEWORK,
    ),
    # Billed by the quarter in arrears: nothing of it belongs to the months that the sample invoices.
    SampleContract(
        BREACHED,
        "TARN-US-BOS",
        "28800.00",
        starts_days_ago=40,
        department="APPS",
        prices=({"code": "monitoring", "name": "Monitoring", "price": "7200.00",
                 "interval_months": 3, "timing": "arrears"},),
        sla_terms=(_UPTIME | {"claim_within_days": 45},),
    ),
    SampleContract(
        RENEWED,
        "TARN-DE-SEN",
        "12000.00",
        starts_days_ago=760,
        months=36,
        department="REIN",
    ),
    SampleContract(
        "Sensor calibration, second contract",
        "TARN-DE-SEN",
        "14400.00",
        starts_days_ago=5,
        months=24,
        department="REIN",
        predecessor=RENEWED,
        terms={"renewal_type": "option", "renewal_term_months": 12},
        prices=({"code": "calibration", "name": "Calibration", "price": "1800.00",
                 "interval_months": 3, "timing": "arrears"},),
    ),
)  # fmt: skip
