"""Where the sample group's usage goes: which tag, account or service belongs to which department."""

from dataclasses import dataclass

from invoicing.models import MappingSource

TAG_KEY = "business_unit"


@dataclass(frozen=True)
class SampleRule:
    """A mapping rule of the import's entity: a value, and the entity and code of the department it goes to."""

    value: str
    entity: str
    department: str
    source: MappingSource = MappingSource.TAG
    priority: int = 100


GROUP_RULES: tuple[SampleRule, ...] = (
    SampleRule("industrial-instruments", "TARN-US-IND", "ENG-CLOUD"),
    SampleRule("laboratory-systems", "TARN-US-LAB", "LAB"),
    SampleRule("us-sales", "TARN-US", "SALES"),
    SampleRule("shared-platform", "TARN-SSC", "IT-CLOUD"),
    SampleRule("cyber-security", "TARN-SSC", "IT-SEC"),
    SampleRule("workplace", "TARN-SSC", "IT-WORK"),
    SampleRule("finance-systems", "TARN-SSC", "FIN"),
    SampleRule("field-robotics", "TARN-DE-ROB", "ROB"),
    SampleRule("de-development", "TARN-DE", "ENT-SIM"),
    SampleRule("munich-plant", "TARN-DE-MUC", "FERT"),
    SampleRule("sensorik", "TARN-DE-SEN", "CHIP"),
    SampleRule("uk-data-products", "TARN-GB-DATA", "DATA"),
    SampleRule("uk-service", "TARN-GB", "SERV"),
    SampleRule("manchester-service", "TARN-GB-MAN", "PARTS"),
    SampleRule("AWS Support (Business)", "TARN-SSC", "IT-CLOUD", MappingSource.SERVICE, 200),
    SampleRule("Microsoft Unified Support", "TARN-SSC", "IT-WORK", MappingSource.SERVICE, 200),
)
"""For what the group buys as a whole; "calibration-pilot" and "legacy-2019" belong to nobody yet."""

JAPAN_RULES: tuple[SampleRule, ...] = (
    SampleRule("japan-production", "TARN-JP", "MFG"),
    SampleRule("japan-sales", "TARN-JP", "SALES"),
    SampleRule("osaka-service", "TARN-JP-OSA", "SERV"),
)
"""For what the Japanese company buys itself."""

RULES = {"TARN": GROUP_RULES, "TARN-JP": JAPAN_RULES}

IMPORTED_FOR = {"aws": "TARN", "microsoft": "TARN", "google": "TARN-JP"}
"""The entity that each provider's files are imported for."""
