"""The columns of FOCUS that a usage record has fields for, and what each version added."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a column holds."""

    TEXT = "text"
    COST = "cost"
    NUMBER = "number"
    MOMENT = "moment"
    CURRENCY = "currency"
    TAGS = "tags"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of FOCUS and the field of UsageRecord that keeps it.

    `limit` is the most characters a text may have. The file must have every `mandatory` column, and every row
    a value in it.
    """

    name: str
    field: str
    kind: Kind = Kind.TEXT
    limit: int = 255
    mandatory: bool = False


LONG_TEXT = 20_000

COLUMNS: tuple[Column, ...] = (
    Column("BilledCost", "billed_cost", Kind.COST, mandatory=True),
    Column("BillingCurrency", "currency", Kind.CURRENCY, limit=3, mandatory=True),
    Column("ChargePeriodStart", "charge_period_start", Kind.MOMENT, mandatory=True),
    Column("ChargePeriodEnd", "charge_period_end", Kind.MOMENT, mandatory=True),
    Column("BillingPeriodStart", "billing_period_start", Kind.MOMENT, mandatory=True),
    Column("BillingPeriodEnd", "billing_period_end", Kind.MOMENT, mandatory=True),
    Column("EffectiveCost", "effective_cost", Kind.NUMBER),
    Column("ListCost", "list_cost", Kind.NUMBER),
    Column("ContractedCost", "contracted_cost", Kind.NUMBER),
    Column("PricingQuantity", "pricing_quantity", Kind.NUMBER),
    Column("ConsumedQuantity", "consumed_quantity", Kind.NUMBER),
    Column("ListUnitPrice", "list_unit_price", Kind.NUMBER),
    Column("Tags", "tags", Kind.TAGS),
    Column("ChargeCategory", "charge_category", limit=30, mandatory=True),
    Column("ChargeClass", "charge_class", limit=30),
    Column("ChargeFrequency", "charge_frequency", limit=30),
    Column("ChargeDescription", "charge_description", limit=LONG_TEXT),
    Column("ProviderName", "provider_name", mandatory=True),
    Column("PublisherName", "publisher_name"),
    Column("InvoiceIssuerName", "invoice_issuer_name"),
    Column("ServiceCategory", "service_category", limit=100),
    Column("ServiceName", "service_name", mandatory=True),
    Column("BillingAccountId", "billing_account_id", mandatory=True),
    Column("BillingAccountName", "billing_account_name"),
    Column("SubAccountId", "sub_account_id"),
    Column("SubAccountName", "sub_account_name"),
    Column("ResourceId", "resource_id", limit=LONG_TEXT),
    Column("ResourceName", "resource_name", limit=LONG_TEXT),
    Column("ResourceType", "resource_type"),
    Column("RegionId", "region_id", limit=100),
    Column("RegionName", "region_name"),
    Column("SkuId", "sku_id"),
    Column("SkuPriceId", "sku_price_id"),
    Column("PricingCategory", "pricing_category", limit=50),
    Column("PricingUnit", "pricing_unit", limit=100),
    Column("ConsumedUnit", "consumed_unit", limit=100),
)

MANDATORY = tuple(column.name for column in COLUMNS if column.mandatory)

# What tells a version from the one before it: columns that it brought.
_ADDED_IN_1_1 = {
    "CapacityReservationId",
    "CapacityReservationStatus",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountUnit",
    "ServiceSubcategory",
    "SkuMeter",
    "SkuPriceDetails",
}
_ADDED_IN_1_2 = {
    "BillingAccountType",
    "InvoiceId",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "SubAccountType",
}


def column_key(name: str) -> str:
    """Return the name as it is compared: exports of databases write billed_cost or "Billed Cost"."""
    return name.strip().replace("_", "").replace(" ", "").lower()


BY_KEY = {column_key(column.name): column for column in COLUMNS}
_VERSION_KEYS = (
    ("1.2", frozenset(map(column_key, _ADDED_IN_1_2))),
    ("1.1", frozenset(map(column_key, _ADDED_IN_1_1))),
)


def detect_version(names: Iterable[str]) -> str:
    """Return the newest FOCUS version of which the file has a column that earlier ones lack."""
    keys = {column_key(name) for name in names}
    return next((version for version, added in _VERSION_KEYS if keys & added), "1.0")
