"""Σ lines = the rounded exact total, in every currency and with credits (USE-04)."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.money import round_money
from entities.models import Entity
from invoicing.models import Invoice
from invoicing.services.consolidation import _rounded, consolidation_preview
from tests.invoicing.invoices.builders import SEPTEMBER, Group, row, usage

AMOUNTS = st.lists(
    st.decimals(min_value=Decimal("-5000"), max_value=Decimal("5000"), places=11, allow_nan=False),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize("currency", ["JPY", "USD", "KWD"])
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(amounts=AMOUNTS, tax_rate=st.decimals(min_value=0, max_value=100, places=3))
def test_use_04_lines_sum_to_the_rounded_total(
    group: Group, currency: str, amounts: list[Decimal], tax_rate: Decimal
) -> None:
    Entity.objects.filter(pk=group.root.pk).update(currency=currency, tax_treatment="S", tax_rate=tax_rate)
    payer = Entity.objects.get(pk=group.root.pk)
    Invoice.objects.all().delete()
    group.usage_import.records.all()._raw_delete("default")
    usage(
        group.usage_import,
        [
            row(
                str(amount),
                None,
                group.sales,
                group.root,
                currency=currency,
                service_name=f"Service {number % 7}",
            )
            for number, amount in enumerate(amounts)
        ],
    )
    content = consolidation_preview(
        actor=group.manager, payer=payer, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
    )
    exact = sum(amounts, Decimal(0))
    assert content.subtotal == sum(line.amount for line in content.lines) == round_money(exact, currency)
    assert content.tax_total == sum(line.tax_amount for line in content.lines)
    assert content.tax_total == round_money(content.subtotal * tax_rate / 100, currency)
    assert content.total == content.subtotal + content.tax_total
    assert all(line.amount == round_money(line.amount, currency) for line in content.lines)
    assert _rounded(content.lines, payer, content.issuer) == list(content.lines)
