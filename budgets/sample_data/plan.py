"""The numbers of the sample group's budgets: what each department may spend in a year, and on what it does."""

from dataclasses import dataclass
from decimal import Decimal

OPERATIONS = "operations"
FAIRS = "fairs"
CLOUD = "cloud"

# What each department has for a year, in its entity's currency.
YEARLY: dict[tuple[str, str], int] = {
    ("TARN", "CORP"): 186_000,
    ("TARN", "CORP-FIN"): 94_000,
    ("TARN", "CORP-LEG"): 128_000,
    ("TARN-DE", "ENT"): 240_000,
    ("TARN-DE", "ENT-DOK"): 58_000,
    ("TARN-DE", "ENT-SIM"): 162_000,
    ("TARN-DE", "VER"): 47_500,
    ("TARN-DE-MUC", "FERT"): 315_000,
    ("TARN-DE-MUC", "FERT-QS"): 88_000,
    ("TARN-DE-ROB", "ROB"): 134_000,
    ("TARN-DE-SEN", "CHIP"): 276_000,
    ("TARN-DE-SEN", "REIN"): 198_000,
    ("TARN-GB", "ADMIN"): 61_000,
    ("TARN-GB", "SERV"): 102_000,
    ("TARN-GB-DATA", "DATA"): 145_000,
    ("TARN-GB-DATA", "DATA-SCI"): 96_000,
    ("TARN-GB-MAN", "PARTS"): 54_000,
    ("TARN-JP", "MFG"): 31_500_000,
    ("TARN-JP", "MFG-Q"): 9_400_000,
    ("TARN-JP", "SALES"): 12_800_000,
    ("TARN-JP-OSA", "SERV"): 6_200_000,
    ("TARN-SSC", "FIN"): 84_000,
    ("TARN-SSC", "HR"): 73_000,
    ("TARN-SSC", "IT"): 150_000,
    ("TARN-SSC", "IT-CLOUD"): 210_000,
    ("TARN-SSC", "IT-SEC"): 118_000,
    ("TARN-SSC", "IT-WORK"): 264_000,
    ("TARN-SSC", "PROC"): 39_000,
    ("TARN-US", "OPS"): 142_000,
    ("TARN-US", "SALES"): 225_000,
    ("TARN-US", "SALES-PART"): 64_000,
    ("TARN-US-BOS", "APPS"): 117_000,
    ("TARN-US-IND", "ENG"): 298_000,
    ("TARN-US-IND", "ENG-CLOUD"): 176_000,
    ("TARN-US-IND", "ENG-FW"): 92_000,
    ("TARN-US-LAB", "LAB"): 205_000,
    ("TARN-US-LAB", "LAB-RND"): 133_000,
}

GROUP_YEARLY = 2_150_000
"""The group's ceiling over all operations in US dollars: a control point."""

# What departments with usage may spend on the cloud in a year; imports charge it.
CLOUD_YEARLY: dict[tuple[str, str], int] = {
    ("TARN-DE", "ENT-SIM"): 140_000,
    ("TARN-DE-MUC", "FERT"): 96_000,
    ("TARN-DE-ROB", "ROB"): 78_000,
    ("TARN-DE-SEN", "CHIP"): 145_000,
    ("TARN-GB", "SERV"): 36_000,
    ("TARN-GB-DATA", "DATA"): 70_000,
    ("TARN-GB-MAN", "PARTS"): 3_000,
    ("TARN-JP", "MFG"): 42_000_000,
    ("TARN-JP", "SALES"): 8_000_000,
    ("TARN-JP-OSA", "SERV"): 12_000_000,
    ("TARN-SSC", "FIN"): 95_000,
    ("TARN-SSC", "IT-CLOUD"): 125_000,
    ("TARN-SSC", "IT-SEC"): 38_000,
    ("TARN-SSC", "IT-WORK"): 760_000,
    ("TARN-US", "SALES"): 24_000,
    ("TARN-US-IND", "ENG-CLOUD"): 170_000,
    ("TARN-US-LAB", "LAB"): 115_000,
}

# What is bought each month, as shares of a twelfth of the year.
PURCHASES = (("Software subscriptions", Decimal("0.55")), ("Travel and training", Decimal("0.37")))
MONTHLY = (
    Decimal("0.94"),
    Decimal("1.06"),
    Decimal("0.98"),
    Decimal("1.11"),
    Decimal("0.87"),
    Decimal("1.03"),
)
"""Months differ; the numbers repeat, shifted from department to department."""

# Departments that spend faster than planned: the factor, and whether they may overspend.
FAST: dict[tuple[str, str], Decimal] = {
    ("TARN-SSC", "IT-SEC"): Decimal("1.55"),
    ("TARN-US", "SALES-PART"): Decimal("2.05"),
    ("TARN-DE", "VER"): Decimal("1.77"),
    ("TARN-JP", "MFG-Q"): Decimal("1.46"),
}
ADVISORY = frozenset({("TARN-US", "SALES-PART"), ("TARN-GB", "SERV")})


@dataclass(frozen=True)
class Order:
    """An order that promises money: whose, for what, how much."""

    entity: str
    department: str
    reference: str
    description: str
    amount: Decimal


ORDERS = (
    Order("TARN-SSC", "IT-SEC", "PO-26114", "Penetration test, fourth quarter", Decimal("6800.00")),
    Order("TARN-SSC", "IT-WORK", "PO-26120", "180 notebooks, second delivery", Decimal("61500.00")),
    Order("TARN-SSC", "IT-CLOUD", "PO-26133", "Network consultancy", Decimal("18250.00")),
    Order("TARN-DE", "ENT", "PO-26140", "CAD licences, 24 seats", Decimal("33600.00")),
    Order("TARN-DE-MUC", "FERT", "PO-26151", "Coordinate measuring machine, service", Decimal("14900.00")),
    Order("TARN-US", "SALES", "PO-26158", "Customer portal, second phase", Decimal("28000.00")),
    Order("TARN-US-LAB", "LAB", "PO-26162", "Spectrometer software upgrade", Decimal("21400.00")),
    Order("TARN-JP", "MFG", "PO-26170", "Line 3 vision system", Decimal("2850000")),
    Order("TARN-GB-DATA", "DATA", "PO-26177", "Data catalogue, three years", Decimal("17300.00")),
)
INVOICED = ("PO-26120", Decimal("24600.00"))
"""An order of which a first part is invoiced."""
