"""What the database itself refuses, whatever code writes (architecture, convention 3; CON-01, CON-02, CON-04, CON-08)."""

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from contracts.models import (
    BillableFee,
    Contract,
    ContractAccess,
    ContractAmendment,
    ContractEvent,
    ContractStatusSpan,
    PriceTerm,
    PriceTier,
    RequiredSignatory,
    Signature,
    SlaTerm,
    TermRenewal,
)
from core.errors import constraint_name
from tests.contracts.builders import PLATFORM, UPTIME, Place, day

LATER = datetime.datetime(2026, 6, 16, tzinfo=datetime.UTC)
TIERED = {
    "code": "calls",
    "name": "Calls",
    "pricing": "graduated",
    "quantity_source": "usage",
    "tiers": [{"up_to": "100", "unit_price": "1"}, {"unit_price": "0.5"}],
}


def refused(act: Callable[[], Any]) -> str:
    """The constraint that refuses it."""
    with pytest.raises(DatabaseError) as refusal, transaction.atomic():
        act()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert isinstance(refusal.value, IntegrityError)
    return constraint_name(refusal.value) or ""


def fee(contract: Contract, **fields: Any) -> BillableFee:
    values: dict[str, Any] = {
        "contract": contract,
        "entity": contract.entity,
        "kind": "recurring",
        "line_code": "platform",
        "period_start": day("2026-06-01"),
        "period_end": day("2026-07-01"),
        "amount": Decimal(1000),
        "currency": "USD",
        "description": "Platform, June",
        "bill_on": day("2026-06-01"),
        **fields,
    }
    return BillableFee.objects.create(**values)


def test_con_01_con_05_what_is_signed_stays(here: Place) -> None:
    contract = here.active(prices=[PLATFORM, TIERED], sla_terms=[UPTIME])
    stored = Contract.objects.filter(pk=contract.pk)
    term = PriceTerm.objects.get(code="calls")
    for values in ({"value": 1}, {"end_date": None}, {"currency": "EUR"}, {"activated_at": LATER}):
        assert refused(lambda values=values: stored.update(**values)) == "contract_terms_are_signed"
    for act in (
        lambda: PriceTerm.objects.filter(code="platform").update(price=1),
        lambda: PriceTier.objects.filter(price_term=term).update(unit_price=2),
        lambda: PriceTier.objects.filter(price_term=term).delete(),
        lambda: PriceTerm.objects.create(contract=contract, code="new", name="New"),
        lambda: SlaTerm.objects.update(target=1),
    ):
        assert refused(act) == "contract_lines_are_signed"
    with connection.cursor() as cursor:
        delete = f"DELETE FROM billing_contracts WHERE id = {contract.pk}"
        assert refused(lambda: cursor.execute(delete)) == "contract_activated_is_kept"
    assert refused(lambda: stored.update(status="draft")) == "contract_state_follows_activation"
    assert stored.update(title="Other", owner=here.staff) == 1


def test_con_01_what_happened_is_not_rewritten(here: Place) -> None:
    contract = here.active()
    ContractAccess.objects.create(
        contract=contract, part="confidential_terms", action="opened", actor=here.staff
    )
    fee(contract)
    for model in (ContractEvent, ContractAccess, BillableFee):
        name = f"{model._meta.db_table}_append_only"
        assert refused(lambda model=model: model.objects.update(contract=contract)) == name
        assert refused(lambda model=model: model.objects.all().delete()) == name
    overlapping = {"contract": contract, "status": "active", "valid_from": day("2026-07-01")}
    assert refused(lambda: ContractStatusSpan.objects.create(**overlapping)) == "contract_span_no_overlap"


def test_con_02_a_given_signature_is_never_edited(here: Place) -> None:
    here.active()
    given = Signature.objects.order_by("pk")
    for values in (
        {"signed_at": LATER},
        {"document_sha256": "f" * 64},
        {"recorded_by": here.finance},
    ):
        assert refused(lambda values=values: given.update(**values)) == "contract_signature_is_given"
    assert refused(given.delete) == "contract_signature_is_given"
    assert given.update(voided_at=timezone.now(), void_reason="Changed") == 2
    assert refused(lambda: given.update(voided_at=None)) == "contract_signature_is_given"


def test_con_04_amendments_in_force_stay_and_numbers_have_no_gap(here: Place) -> None:
    contract = here.active()
    done = here.amend(contract, "2026-07-01", fields={"value": "13000"})
    ready = here.ready(contract, "2026-08-01", fields={"value": "14000"})
    one, two = (ContractAmendment.objects.filter(pk=amendment.pk) for amendment in (done, ready))
    assert refused(lambda: one.update(changes={})) == "contract_amendment_is_decided"
    assert refused(lambda: one.update(status="void")) == "contract_amendment_is_decided"
    assert refused(lambda: two.update(effective_from=day("2026-07-01"))) == "contract_amendment_is_approved"
    assert refused(lambda: two.update(number=3)) == "contract_amendment_is_approved"
    RequiredSignatory.objects.filter(amendment=ready, signatures__isnull=True).delete()
    with connection.cursor() as cursor:
        delete = f"DELETE FROM contract_amendments WHERE id = {ready.pk}"
        assert refused(lambda: cursor.execute(delete)) == "contract_amendment_numbered_is_kept"
    values: dict[str, Any] = {
        "contract": contract,
        "title": "Gap",
        "effective_from": day("2026-09-01"),
        "created_by": here.staff,
        "status": "awaiting_signature",
    }
    assert (
        refused(lambda: ContractAmendment.objects.create(**values, number=4))
        == "contract_amendment_numbers_without_gap"
    )
    assert (
        refused(lambda: ContractAmendment.objects.create(**values, number=2))
        == "contract_amendment_number_once"
    )
    numbered = "contract_amendment_numbered_when_approved"
    assert refused(lambda: ContractAmendment.objects.create(**values)) == numbered
    assert (
        refused(lambda: ContractAmendment.objects.create(**{**values, "status": "draft"}, number=3))
        == numbered
    )
    lower = Contract.objects.filter(pk=contract.pk)
    assert refused(lambda: lower.update(last_amendment_number=0)) == "contract_amendments_numbered_upwards"


def test_con_08_a_line_is_billed_once_per_period(here: Place) -> None:
    contract = here.active()
    fee(contract)
    assert refused(lambda: fee(contract, amount=Decimal(5))) == "contract_fee_once_per_period"
    fee(contract, kind="amendment_delta", amount=Decimal(-10), source_key="amendment:1:platform:2026-06-01")
    again = {
        "kind": "amendment_delta",
        "amount": Decimal(-10),
        "source_key": "amendment:1:platform:2026-06-01",
    }
    assert refused(lambda: fee(contract, **again)) == "contract_fee_adjusted_once"
    assert (
        refused(lambda: fee(contract, amount=Decimal(-1), line_code="other")) == "contract_fee_or_adjustment"
    )
    assert (
        refused(lambda: fee(contract, kind="amendment_delta", line_code="other"))
        == "contract_fee_or_adjustment"
    )


def test_con_10_con_12_terms_are_coherent_and_locked_once(here: Place) -> None:
    draft = here.draft()
    stored = Contract.objects.filter(pk=draft.pk)
    assert refused(lambda: stored.update(renewal_type="auto")) == "contract_auto_renewal_has_terms"
    assert refused(lambda: stored.update(renewal_type="evergreen")) == "contract_evergreen_has_no_end"
    assert refused(lambda: stored.update(end_date=day("2026-01-01"))) == "contract_dates_ordered"
    values: dict[str, Any] = {"contract": draft, "locked_by": here.finance}
    first = {"term_start": day("2027-01-01"), "term_end": day("2028-01-01")}
    TermRenewal.objects.create(**values, **first, term_number=2, is_provisional=True)
    later = {"term_start": day("2028-01-01"), "term_end": day("2029-01-01")}
    assert (
        refused(lambda: TermRenewal.objects.create(**values, **later, term_number=2)) == "contract_term_once"
    )
    assert (
        refused(lambda: TermRenewal.objects.create(**values, **first, term_number=3))
        == "contract_term_no_overlap"
    )
    renewals = TermRenewal.objects.filter(contract=draft)
    assert refused(lambda: renewals.update(uplift_percent=3)) == "contract_term_is_locked"
    assert renewals.update(settled_percent=3, settled_at=timezone.now()) == 1
    assert refused(lambda: renewals.update(settled_percent=4)) == "contract_term_is_locked"
