"""What an agreement costs: pure calculation, without database or clock. Frozen dataclasses in, frozen dataclasses out.

Amounts are `Decimal` in one currency, which the caller names; percentages are per cent (`Decimal("4.2")` is 4.2 %);
periods are half-open. What is exact and not yet rounded is a `Fraction`. Wrong input raises `core.errors.Invalid`.

When is what billed?
    `period_at`, `period_on`, `billing_periods` (due in advance or in arrears), `is_period_start`; `add_months`;
    `notice_deadline`, `notice_is_on_time`, `end_after_notice` for terms.
How much is a part of a period?
    `prorate`, `prorate_parts`, `share`; `billable_days` and `extended_end` for suspensions; `instalments` for a
    year's price billed monthly; `termination_credits` for what was prepaid.
What does a quantity cost?
    A `PriceTable` (`per_unit`, `package`, or tiers by `tiers_up_to`) and `price_quantity`; `with_prices` changes
    its prices. `apply_discounts` takes discounts off; `ramp` gives the stretches of prices agreed in advance.
What stands on the invoice?
    `bill`: a `Charge` (its `PriceSlice`s, `Usage`, `Suspension`s, end) and a whole billing period give a `Bill` of
    `FeeLine`s. `adjustments` compares periods already invoiced with the terms now in force: for retroactive
    amendments, index true-ups and changed licence quantities.
What does the contract hold it to?
    `true_up` (minimum commitment), `cap_charge` (not to exceed), `service_credit` and `claim_deadline`.
How do prices rise?
    `uplift` decides and explains; `uplifted_price`, `bounded_percent`, `index_change` are its steps.

docs/domain/pricing.md explains each with an example.
"""

from contracts.pricing.bill import (
    Adjustment,
    Bill,
    Charge,
    ChargeKind,
    FeeLine,
    PriceSlice,
    Usage,
    adjustments,
    bill,
    slices_of_ramp,
)
from contracts.pricing.commitments import (
    Capped,
    CreditTier,
    ServiceCredit,
    ServiceMeasure,
    TrueUp,
    cap_charge,
    claim_deadline,
    service_credit,
    true_up,
)
from contracts.pricing.discounts import (
    Discount,
    Discounted,
    DiscountKind,
    DiscountStep,
    RampStep,
    RampStretch,
    apply_discounts,
    ramp,
    ramp_price,
)
from contracts.pricing.indexation import (
    Uplift,
    UpliftOutcome,
    UpliftTerms,
    bounded_percent,
    index_change,
    uplift,
    uplifted_price,
)
from contracts.pricing.periods import (
    BillingPeriod,
    Frequency,
    Notice,
    Period,
    Timing,
    add_months,
    billing_periods,
    end_after_notice,
    is_period_start,
    notice_deadline,
    notice_is_on_time,
    number_on,
    period_at,
    period_on,
)
from contracts.pricing.proration import (
    Credit,
    InvoicedFee,
    PricedDays,
    Suspension,
    billable_days,
    extended_end,
    instalments,
    prorate,
    prorate_parts,
    rounded,
    share,
    termination_credits,
)
from contracts.pricing.tiers import (
    Priced,
    PriceModel,
    PriceTable,
    Tier,
    TierPart,
    package,
    per_unit,
    price_quantity,
    tiers_up_to,
    with_prices,
)

__all__ = [
    "Adjustment", "Bill", "BillingPeriod", "Capped", "Charge", "ChargeKind", "Credit", "CreditTier", "Discount",
    "DiscountKind", "DiscountStep", "Discounted", "FeeLine", "Frequency", "InvoicedFee", "Notice", "Period",
    "PriceModel", "PriceSlice", "PriceTable", "Priced", "PricedDays", "RampStep", "RampStretch", "ServiceCredit",
    "ServiceMeasure", "Suspension", "Tier", "TierPart", "Timing", "TrueUp", "Uplift", "UpliftOutcome", "UpliftTerms",
    "Usage", "add_months", "adjustments", "apply_discounts", "bill", "billable_days", "billing_periods",
    "bounded_percent", "cap_charge", "claim_deadline", "end_after_notice", "extended_end", "index_change",
    "instalments", "is_period_start", "notice_deadline", "notice_is_on_time", "number_on", "package", "per_unit",
    "period_at", "period_on", "price_quantity", "prorate", "prorate_parts", "ramp", "ramp_price", "rounded",
    "service_credit", "share", "slices_of_ramp", "termination_credits", "tiers_up_to", "true_up", "uplift",
    "uplifted_price", "with_prices",
]  # fmt: skip
