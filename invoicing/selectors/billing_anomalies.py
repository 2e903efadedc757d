"""What is unusual about a draft, against the payer's last period and against what a sound invoice needs (INV-03)."""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.conf import settings
from django.db.models import BooleanField, ExpressionWrapper, Q, Sum

from core.money import exact_sum, plain_amount
from entities.models import Entity, TaxTreatment
from invoicing.models import DocumentType, Invoice, InvoiceLine, LineKind

NAMED = 10
"""So many services or entities are named in a sentence; ``data`` has them all."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that a person should look at before the draft is issued; amounts in ``data`` are strings."""

    code: str
    detail: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        """As a run keeps it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LastPeriod:
    """The payer's invoices of its last invoiced period before a draft's."""

    invoices: Sequence[Invoice]

    @property
    def latest(self) -> Invoice:
        return self.invoices[0]

    def total_in(self, currency: str) -> Decimal | None:
        """The sum, or None where one of them is in another currency."""
        if any(invoice.currency != currency for invoice in self.invoices):
            return None
        return exact_sum([invoice.total for invoice in self.invoices])


@dataclass(frozen=True, slots=True)
class Look:
    """What was found about a draft, and what it was compared with."""

    anomalies: list[Anomaly]
    last: LastPeriod | None
    last_total: Decimal | None


def look_at(draft: Invoice) -> Look:
    """List what is unusual about a draft; six queries at most."""
    last = last_period(draft)
    last_total = last.total_in(draft.currency) if last else None
    found = [
        *_total(draft),
        *_against(draft, last, last_total),
        *_unallocated(draft),
        *_rates(draft),
        *_details(draft),
    ]
    return Look(found, last, last_total)


def credit_anomaly(note: Mapping[str, Any]) -> Anomaly:
    """That a run gives something back: a credit note as `contract_credits` planned it."""
    return Anomaly(
        "contract_credit",
        f"A credit note of {note['total']} {note['currency']} for {note['corrects']}: {note['reason']}",
        {"corrects_id": note["corrects_id"], "total": note["total"], "currency": note["currency"]},
    )


def last_period(draft: Invoice) -> LastPeriod | None:
    """The payer's posted invoices of the latest period that ends before the draft's begins."""
    before = (
        Invoice.objects.posted()
        .filter(
            document_type=DocumentType.INVOICE,
            entity_id=draft.entity_id,
            period_end__lte=draft.period_start,
        )
        .order_by("-period_start", "-period_end", "-pk")
    )
    latest = before.first()
    if latest is None:
        return None
    same = before.filter(period_start=latest.period_start, period_end=latest.period_end)
    return LastPeriod(list(same))


# --- The total -------------------------------------------------------------------------------------------


def _total(draft: Invoice) -> Iterator[Anomaly]:
    if draft.total < 0:
        yield Anomaly(
            "negative_total",
            f"The credits exceed the charges by {_amount(-draft.total, draft.currency)}: such a draft cannot be "
            "issued. Leave the payer out until more charges arrive.",
        )
    elif draft.total == 0:
        yield Anomaly("zero_total", "The invoice comes to zero.")


def _against(draft: Invoice, last: LastPeriod | None, last_total: Decimal | None) -> Iterator[Anomaly]:
    if last is None:
        yield Anomaly(
            "first_invoice", "It is the first invoice of this payer: there is none to compare it with."
        )
        return
    if last_total is None:
        yield Anomaly(
            "currency_changed",
            f"The last invoice, {last.latest}, was in {last.latest.currency}; this one is in {draft.currency}.",
            {"from": last.latest.currency, "to": draft.currency},
        )
    else:
        yield from _changed_total(draft, last, last_total)
    yield from _changed_parts(draft, last)


def _changed_total(draft: Invoice, last: LastPeriod, last_total: Decimal) -> Iterator[Anomaly]:
    if draft.total == last_total or (last_total and not _changed_much(draft.total, last_total)):
        return
    percent = change_percent(draft.total, last_total)
    change = "from nothing" if percent is None else f"{percent:+}\N{NO-BREAK SPACE}%"
    yield Anomaly(
        "total_changed",
        f"{_amount(draft.total, draft.currency)} after {_amount(last_total, draft.currency)} in the last period "
        f"({_days(last.latest)}): {change}.",
        {
            "total": plain_amount(draft.total, draft.currency),
            "last_total": plain_amount(last_total, draft.currency),
            "percent": None if percent is None else str(percent),
        },
    )


def _changed_much(total: Decimal, last_total: Decimal) -> bool:
    return abs(total - last_total) * 100 >= settings.BILLING_RUN_CHANGE_PERCENT * abs(last_total)


def change_percent(total: Decimal, last_total: Decimal) -> Decimal | None:
    """The change in per cent, to one decimal; None where the last total was zero."""
    if not last_total:
        return None
    share = (total - last_total) / abs(last_total) * 100
    return share.quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)


# --- What appeared and what vanished ---------------------------------------------------------------------


def _changed_parts(draft: Invoice, last: LastPeriod) -> Iterator[Anomaly]:
    """Services, contract lines and entities that are on one side only."""
    now, before = _parts(draft, last)
    for here, there, code, verb in (
        (now, before, "appeared", "new since the last invoice"),
        (before, now, "vanished", "gone since the last invoice"),
    ):
        services = {name: here.services[name] for name in here.services.keys() - there.services.keys()}
        if services:
            yield _named(f"services_{code}", services, here.currency, verb, "service", "services")
        entities = dict(here.entities[pk] for pk in here.entities.keys() - there.entities.keys())
        if entities:
            yield _named(f"entities_{code}", entities, here.currency, verb, "entity", "entities")


@dataclass(slots=True)
class _Parts:
    """Amounts per service, and name and amount per entity."""

    currency: str
    services: dict[str, Decimal] = field(default_factory=dict)
    entities: dict[int, tuple[str, Decimal]] = field(default_factory=dict)


def _parts(draft: Invoice, last: LastPeriod) -> tuple[_Parts, _Parts]:
    now, before = _Parts(draft.currency), _Parts(last.latest.currency)
    rows = (
        InvoiceLine.objects.filter(invoice__in=[draft.pk, *(invoice.pk for invoice in last.invoices)])
        .order_by()
        .values(
            "kind", "provider", "service", "contract_id", "contract_line", "entity_id", "entity_name",
            is_now=ExpressionWrapper(Q(invoice_id=draft.pk), output_field=BooleanField()),
        )
        .annotate(sum=Sum("amount"))
    )  # fmt: skip
    for row in rows:
        side = now if row["is_now"] else before
        name, amount = _service(row), row["sum"]
        side.services[name] = side.services.get(name, Decimal(0)) + amount
        _, held = side.entities.get(row["entity_id"], ("", Decimal(0)))
        side.entities[row["entity_id"]] = (row["entity_name"], held + amount)
    return now, before


def _service(row: Mapping[str, Any]) -> str:
    if row["contract_id"] is not None:
        return f"CTR-{row['contract_id']:06d} {row['contract_line']}".strip()
    if row["kind"] == LineKind.USAGE:
        return f"{row['provider']} {row['service']}".strip()
    return str(LineKind(row["kind"]).label)


def _named(
    code: str, amounts: Mapping[str, Decimal], currency: str, verb: str, one: str, many: str
) -> Anomaly:
    """The largest first, so that what is cut off matters least."""
    ordered = sorted(amounts.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    names = ", ".join(f"{name} ({_amount(amount, currency)})" for name, amount in ordered[:NAMED])
    more = f" and {len(ordered) - NAMED:,} more" if len(ordered) > NAMED else ""
    count = f"1 {one} is" if len(ordered) == 1 else f"{len(ordered):,} {many} are"
    return Anomaly(
        code,
        f"{count} {verb}: {names}{more}.",
        {name: plain_amount(amount, currency) for name, amount in ordered},
    )


# --- What a sound invoice needs --------------------------------------------------------------------------


def _unallocated(draft: Invoice) -> Iterator[Anomaly]:
    sums = InvoiceLine.objects.filter(invoice=draft, kind=LineKind.USAGE).aggregate(
        usage=Sum("amount"), unallocated=Sum("amount", filter=Q(department__isnull=True))
    )
    usage, unallocated = sums["usage"], sums["unallocated"]
    if not usage or not unallocated:
        return
    percent = (unallocated / usage * 100).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)
    if percent > settings.BILLING_RUN_UNALLOCATED_PERCENT:
        yield Anomaly(
            "unallocated_usage",
            f"{_amount(unallocated, draft.currency)}, {percent}\N{NO-BREAK SPACE}% of the usage, belong to no "
            "department.",
            {"amount": plain_amount(unallocated, draft.currency), "percent": str(percent)},
        )


def _rates(draft: Invoice) -> Iterator[Anomaly]:
    """A rate may be so old as EXCHANGE_RATE_MAX_AGE_DAYS; from half of that on somebody should look."""
    last_day = draft.period_end - datetime.timedelta(days=1)
    oldest_usual = last_day - datetime.timedelta(days=settings.EXCHANGE_RATE_MAX_AGE_DAYS // 2)
    old = (
        InvoiceLine.objects.filter(invoice=draft, rate_date__lt=oldest_usual)
        .order_by("original_currency")
        .values_list("original_currency", "rate_date")
        .distinct()
    )
    for currency, day in old:
        assert day is not None
        yield Anomaly(
            "old_rate",
            f"The rate of {currency} is of {day}, {(last_day - day).days} days before the period's last day.",
            {"currency": currency, "date": str(day)},
        )


def _details(draft: Invoice) -> Iterator[Anomaly]:
    parties = Entity.objects.in_bulk({draft.issuer_id, draft.entity_id, draft.bill_to_id})
    issuer, payer, bill_to = parties[draft.issuer_id], parties[draft.entity_id], parties[draft.bill_to_id]
    if not issuer.iban:
        yield Anomaly("issuer_bank_missing", f"{issuer} has no bank account: nobody can see where to pay.")
    taxed = payer.tax_treatment in (TaxTreatment.STANDARD, TaxTreatment.REVERSE_CHARGE)
    if taxed and not issuer.tax_id:
        yield Anomaly(
            "issuer_tax_id_missing", f"{issuer} has no tax number, which a taxed invoice must show."
        )
    if payer.tax_treatment == TaxTreatment.REVERSE_CHARGE and not bill_to.tax_id:
        yield Anomaly("payer_tax_id_missing", f"{bill_to} has no tax number, which reverse charge needs.")
    if payer.tax_treatment == TaxTreatment.STANDARD and not payer.tax_rate:
        yield Anomaly("tax_rate_missing", f"{payer} is taxed at the standard rate, but the rate is zero.")
    missing = [word for word in ("street", "city", "country") if not getattr(bill_to, word)]
    if missing:
        yield Anomaly(
            "address_missing", f"The address of {bill_to} has no {_listed(missing)}.", {"missing": missing}
        )


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and no {last}" if first else last


def _amount(amount: Decimal, currency: str) -> str:
    return f"{Decimal(plain_amount(amount, currency)):,f} {currency}"


def _days(invoice: Invoice) -> str:
    return f"{invoice.period_start} to {invoice.period_end - datetime.timedelta(days=1)}"
