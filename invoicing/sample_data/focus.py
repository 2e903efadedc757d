"""Writes the FOCUS 1.0 exports of the sample group's cloud providers, the same ones on every machine."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from core.clock import month_after
from invoicing.sample_data.catalogue import Provider, Service, Workload

COLUMNS = (
    "AvailabilityZone",
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
)

COST_QUANTUM = Decimal("0.00000000001")
MONTHLY_GROWTH_PERCENT = 3
WEEKEND_PERCENT = 62
LICENCE_UNIT = "1/Month"

Row = dict[str, str]

DAMAGE: tuple[tuple[str, str], ...] = (
    ("BilledCost", "118,40"),
    ("ChargePeriodStart", "31/02"),
    ("BillingCurrency", "US$"),
)
"""Columns, and what stands in them in the rows that `write` damages: mistakes of real exports."""


def write(provider: Provider, month: date, number: int, *, damaged: bool = False) -> bytes:
    """Return the provider's export of the month as CSV.

    `number` counts the sample's months and drives growth; `damaged` adds a few rows that no importer
    can take.
    """
    rows = list(charges(provider, month, number))
    if damaged:
        rows += [{**rows[index], column: text} for index, (column, text) in enumerate(DAMAGE, start=40)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    missing = "NULL" if provider.style == "null" else ""
    writer.writerows({column: row.get(column) or missing for column in COLUMNS} for row in rows)
    return text.getvalue().encode()


def charges(provider: Provider, month: date, number: int) -> Iterator[Row]:
    """Yield usage, then what the month as a whole costs: support, a credit, a commitment, a refund."""
    total = Decimal(0)
    for workload in provider.workloads:
        for row in _usage(provider, workload, month, number):
            total += Decimal(row["BilledCost"])
            yield row
    yield _support(provider, month, total)
    yield _credit(provider, month, total)
    if provider.style == "null":
        yield _commitment(provider, month)
    if number % 3 == 1:
        yield _refund(provider, month)


def _usage(provider: Provider, workload: Workload, month: date, number: int) -> Iterator[Row]:
    service = provider.services[workload.service]
    end = month_after(month)
    step = timedelta(days=workload.days) if workload.days else end - month
    growth = Decimal(100 + MONTHLY_GROWTH_PERCENT * number) / 100
    day = month
    while day < end:
        until = min(day + step, end)
        weekend = workload.days == 1 and day.weekday() >= 5 and workload.environment != "prod"
        percent = _between(88, 112, provider, workload, day) * (WEEKEND_PERCENT if weekend else 100)
        # A shorter last step uses its share of the days.
        share = Decimal((until - day).days) / step.days
        quantity = (workload.quantity * growth * percent * share / 10_000).quantize(Decimal("0.0001"))
        yield {
            **_base(provider, month),
            **_what(provider, service),
            **_price(provider, service, quantity),
            **_who(provider, service, workload),
            "ChargeCategory": "Usage",
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodStart": _moment(provider, day),
            "ChargePeriodEnd": _moment(provider, until),
        }
        day = until


def _quantum(service: Service) -> Decimal:
    """Licences are whole, all else is metered."""
    return Decimal(1) if service.unit == LICENCE_UNIT else Decimal("0.0001")


def _base(provider: Provider, month: date) -> Row:
    end = month_after(month)
    return {
        "BillingAccountId": provider.account,
        "BillingAccountName": provider.account_name,
        "BillingCurrency": provider.currency,
        "BillingPeriodStart": _moment(provider, month),
        "BillingPeriodEnd": _moment(provider, end),
        "ChargePeriodStart": _moment(provider, month),
        "ChargePeriodEnd": _moment(provider, end),
        "InvoiceIssuerName": provider.issuer,
        "ProviderName": provider.name,
        "PublisherName": provider.publisher,
    }


def _what(provider: Provider, service: Service) -> Row:
    return {
        "ChargeDescription": service.description,
        "PricingCategory": "Standard",
        "RegionId": provider.region,
        "RegionName": provider.region_name,
        "ServiceCategory": service.category,
        "ServiceName": service.name,
        "SkuId": service.sku,
        "SkuPriceId": f"{service.sku}.{_token(provider.key, service.sku)[:10].upper()}",
        "ResourceType": service.resource_type,
    }


def _price(provider: Provider, service: Service, quantity: Decimal) -> Row:
    """Cost at the list price, and at the price that the group has agreed with the provider."""
    agreed = service.unit_price * (100 - provider.discount_percent) / 100
    listed = (quantity * service.unit_price).quantize(COST_QUANTUM)
    billed = (quantity * agreed).quantize(COST_QUANTUM)
    return {
        "BilledCost": f"{billed:f}",
        "EffectiveCost": f"{billed:f}",
        "ContractedCost": f"{billed:f}",
        "ContractedUnitPrice": f"{agreed:f}",
        "ListCost": f"{listed:f}",
        "ListUnitPrice": f"{service.unit_price:f}",
        "PricingQuantity": f"{quantity:f}",
        "PricingUnit": service.unit,
        "ConsumedQuantity": f"{quantity:f}",
        "ConsumedUnit": service.unit,
    }


def _who(provider: Provider, service: Service, workload: Workload) -> Row:
    token = _token(provider.key, workload.service, workload.business_unit, workload.application)
    account = workload.business_unit or "unassigned"
    who = {
        "SubAccountId": str(int(_token(provider.key, account)[:10], 16))[:11].rjust(11, "4"),
        "SubAccountName": account,
    }
    if service.resource_prefix:
        who["ResourceId"] = f"{provider.key}:{provider.region}:{service.resource_prefix}{token[:12]}"
        who["ResourceName"] = f"{service.resource_prefix}{workload.application or token[:6]}"
    if workload.business_unit:
        who["Tags"] = json.dumps(
            {
                "business_unit": workload.business_unit,
                "application": workload.application,
                "environment": workload.environment,
            }
        )
    return who


def _flat(provider: Provider, month: date, amount: Decimal, **columns: str) -> Row:
    """One charge of the whole month without a resource."""
    text = f"{amount.quantize(COST_QUANTUM):f}"
    return {
        **_base(provider, month),
        "BilledCost": text,
        "EffectiveCost": text,
        "ContractedCost": text,
        "ListCost": text,
        "ServiceCategory": "Other",
        **columns,
    }


def _support(provider: Provider, month: date, total: Decimal) -> Row:
    name, description = provider.support
    return _flat(
        provider,
        month,
        total * provider.support_percent / 100,
        ChargeCategory="Purchase",
        ChargeFrequency="Recurring",
        ServiceName=name,
        ChargeDescription=description,
        SubAccountId=provider.account,
        SubAccountName=provider.account_name,
    )


def _credit(provider: Provider, month: date, total: Decimal) -> Row:
    service = next(iter(provider.services.values()))
    return _flat(
        provider,
        month,
        -total * _between(8, 21, provider, "credit", month) / 1000,
        ChargeCategory="Credit",
        ChargeFrequency="One-Time",
        ServiceCategory=service.category,
        ServiceName=service.name,
        ChargeDescription="Migration programme credit",
        SubAccountId=provider.account,
        SubAccountName=provider.account_name,
        Tags=json.dumps({"business_unit": provider.workloads[0].business_unit}),
    )


def _commitment(provider: Provider, month: date) -> Row:
    return _flat(
        provider,
        month,
        Decimal("2190.00"),
        ChargeCategory="Purchase",
        ChargeFrequency="Recurring",
        CommitmentDiscountCategory="Spend",
        CommitmentDiscountId=f"savingsplan-{_token(provider.key, 'commitment')[:12]}",
        CommitmentDiscountName="Compute, one year, no upfront",
        CommitmentDiscountType="Compute Savings Plan",
        PricingCategory="Committed",
        ServiceCategory="Compute",
        ServiceName="Savings Plans for AWS Compute usage",
        ChargeDescription="USD 3.00 hourly commitment, 730 hours",
        SubAccountId=provider.account,
        SubAccountName=provider.account_name,
        Tags=json.dumps({"business_unit": "shared-platform"}),
    )


def _refund(provider: Provider, month: date) -> Row:
    """A correction of the month before, as FOCUS writes refunds: negative usage with the class Correction."""
    workload = provider.workloads[1]
    service = provider.services[workload.service]
    before = month_after(month, -1)
    row = _flat(
        provider,
        month,
        -service.unit_price * workload.quantity * _between(40, 160, provider, "refund", month) / 100,
        ChargeCategory="Usage",
        ChargeClass="Correction",
        ChargeFrequency="Usage-Based",
        ChargeDescription=f"Refund for unavailability in {before:%B %Y}: {service.description}",
    )
    return {
        **row,
        **_who(provider, service, workload),
        "ServiceName": service.name,
        "ServiceCategory": service.category,
    }


def _moment(provider: Provider, day: date) -> str:
    """Providers differ in how they write the start of a day in UTC."""
    start = datetime.combine(day, time.min)
    return f"{start:%Y-%m-%d %H:%M:%S}" if provider.style == "null" else f"{start:%Y-%m-%dT%H:%M:%SZ}"


def _between(low: int, high: int, provider: Provider, what: Workload | str, day: date) -> int:
    """Draw a whole number that looks like chance and is the same in every run."""
    draw = int(_token(provider.key, repr(what), day.isoformat())[:8], 16)
    return low + draw % (high - low + 1)


def _token(*parts: str) -> str:
    """A stable identifier of 32 hexadecimal digits."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]
