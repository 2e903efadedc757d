"""Tax by product: an issuer's rules, and what they say of the lines of an invoice (INV-05).

A rule decides only where the payer's own treatment is the standard rate. A payer who is out of scope, exempt,
zero-rated or under reverse charge stays so for every line, whatever the product. Further charges on debit notes say
their tax themselves, and credit notes give back what was charged: neither asks the rules.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, Self, TypedDict, Unpack

from django.db import transaction

from core.access import Actor, require
from core.errors import Conflict
from core.history import record_as
from core.prepared import PreparedStatement
from entities.models import Entity, TaxTreatment
from entities.services.records import apply_changes, check_fields, field_error, save_record
from invoicing.models import TAX_CRITERIA, TaxRule
from invoicing.models.tax import NO_CRITERION, OVERLAP

ZERO = Decimal(0)

_RULES = PreparedStatement(f"""
SELECT valid_from, valid_to, tax_category, tax_rate, {", ".join(TAX_CRITERIA)}
FROM tax_rules
WHERE issuer_id = %(issuer)s::bigint AND valid_from <= %(last_day)s::date
  AND (valid_to IS NULL OR valid_to > %(first_day)s::date)
""")


# --- What the rules say of lines -------------------------------------------------------------------------


class Product(Protocol):
    """What of a line tells how it is taxed."""

    @property
    def kind(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def charge_category(self) -> str: ...
    @property
    def contract_line(self) -> str: ...
    @property
    def period_start(self) -> datetime.date: ...


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule as it is compared: ``criteria`` in the order of `TAX_CRITERIA`, in lower case, empty for any."""

    valid_from: datetime.date
    valid_to: datetime.date | None
    treatment: tuple[str, Decimal]
    criteria: tuple[str, ...]

    @property
    def particularity(self) -> tuple[int, tuple[bool, ...]]:
        given = tuple(map(bool, self.criteria))
        return sum(given), given

    def decides(self, product: Sequence[str], day: datetime.date) -> bool:
        return (
            self.valid_from <= day
            and (self.valid_to is None or day < self.valid_to)
            and all(not wanted or wanted == has for wanted, has in zip(self.criteria, product, strict=True))
        )


@dataclass(frozen=True, slots=True)
class ProductTaxes:
    """How the lines of one document are taxed: ``default`` where none of ``rules``, best first, decides."""

    default: tuple[str, Decimal]
    rules: Sequence[_Rule] = ()

    @classmethod
    def of(cls, payer: Entity, issuer: Entity, first_day: datetime.date, last_day: datetime.date) -> Self:
        """Read, in one statement, the rules for lines that begin from ``first_day`` up to and with ``last_day``."""
        if payer.tax_treatment != TaxTreatment.STANDARD:
            return cls((payer.tax_treatment, ZERO))
        rows = _RULES.rows({"issuer": issuer.pk, "first_day": first_day, "last_day": last_day})
        rules = [
            _Rule(start, end, (category, rate), tuple(map(str.lower, criteria)))
            for start, end, category, rate, *criteria in rows
        ]
        rules.sort(key=lambda rule: rule.particularity, reverse=True)
        return cls((payer.tax_treatment, payer.tax_rate), rules)

    def treatment(self, line: Product) -> tuple[str, Decimal]:
        """Return the category and the rate (percent) of a line, by the first day of its period."""
        if not self.rules:
            return self.default
        product = [str(getattr(line, name)).lower() for name in TAX_CRITERIA]
        deciding = (rule.treatment for rule in self.rules if rule.decides(product, line.period_start))
        return next(deciding, self.default)


# --- The issuer's part -----------------------------------------------------------------------------------


class TaxRuleChanges(TypedDict, total=False):
    """What `tax_rule_update` can change."""

    name: str
    kind: str
    provider: str
    service: str
    charge_category: str
    contract_line: str
    tax_category: str
    tax_rate: Decimal
    valid_from: datetime.date
    valid_to: datetime.date | None


CHANGEABLE = frozenset(TaxRuleChanges.__optional_keys__)


@transaction.atomic
def tax_rule_create(*, actor: Actor, issuer: Entity, **values: Unpack[TaxRuleChanges]) -> TaxRule:
    """Tax lines that meet the criteria as the rule says, from the next draft on; drafts follow when refreshed.

    Raises Forbidden, Invalid (fields by pointer; ``not_an_issuer``, ``criterion_required``, ``rate_required``,
    ``rate_not_allowed``, ``dates_not_ordered``), Conflict ``tax_rules_overlap``.
    """
    require(actor, "invoicing.add_taxrule", issuer)
    if not issuer.is_issuer:
        raise field_error(
            "issuer_id", "not_an_issuer", f"{issuer} issues no invoices. Mark it as issuer first."
        )
    rule = TaxRule(issuer=issuer)
    apply_changes(rule, values, allowed=CHANGEABLE)
    with record_as(actor):
        _save(rule)
    return rule


@transaction.atomic
def tax_rule_update(
    *,
    actor: Actor,
    rule: TaxRule,
    expected_version: int | None = None,
    reason: str = "",
    **changes: Unpack[TaxRuleChanges],
) -> TaxRule:
    """Change or, by ``valid_to``, end a rule. Issued documents keep their tax; drafts follow when refreshed.

    Raises what `tax_rule_create` raises, and Stale ``stale_version``.
    """
    require(actor, "invoicing.change_taxrule", rule)
    locked = TaxRule.objects.select_for_update(of=("self",)).get(pk=rule.pk)
    locked.expect_version(expected_version)
    if apply_changes(locked, changes, allowed=CHANGEABLE):
        with record_as(actor, reason):
            _save(locked)
    return locked


@transaction.atomic
def tax_rule_delete(
    *, actor: Actor, rule: TaxRule, expected_version: int | None = None, reason: str = ""
) -> None:
    """Delete a rule that should never have been; one that applied until a day is ended by its ``valid_to``."""
    require(actor, "invoicing.delete_taxrule", rule)
    locked = TaxRule.objects.select_for_update(of=("self",)).get(pk=rule.pk)
    locked.expect_version(expected_version)
    with record_as(actor, reason):
        locked.delete()


def _save(rule: TaxRule) -> None:
    for name in ("name", *TAX_CRITERIA):
        setattr(rule, name, getattr(rule, name).strip())
    check_fields(rule)
    if not any(getattr(rule, name) for name in TAX_CRITERIA):
        raise field_error("kind", "criterion_required", NO_CRITERION)
    if rule.tax_category == TaxTreatment.STANDARD:
        if not rule.tax_rate:
            raise field_error(
                "tax_rate", "rate_required", "Give the percentage. Without tax, choose zero rate or exempt."
            )
    elif rule.tax_rate:
        raise field_error(
            "tax_rate", "rate_not_allowed", f"{rule.get_tax_category_display()} has no rate: give 0."
        )
    if rule.valid_to is not None and rule.valid_to <= rule.valid_from:
        raise field_error("valid_to", "dates_not_ordered", "It must end after the day on which it starts.")
    save_record(rule, {"tax_rule_no_overlap": Conflict("tax_rules_overlap", OVERLAP)})
