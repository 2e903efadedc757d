"""From draft to active through the services (CON-01, CON-02, CON-03)."""

from typing import Any

import pytest
import time_machine

from contracts.models import Contract, EventKind, PriceTerm, RequiredSignatory, Signature
from contracts.selectors.contract import contract_timeline, status_on
from contracts.services.activation import activation_problems, contract_activate
from contracts.services.contract import (
    contract_approved,
    contract_create,
    contract_delete,
    contract_sent_back,
    contract_submit,
    contract_update,
)
from contracts.services.jobs import refresh_statuses
from contracts.services.prices import price_term_remove, price_term_set, sla_term_set
from contracts.services.signing import signatory_add, signatory_remove, signing_places
from core.access import system_actor
from core.errors import BillingError, Conflict, Forbidden, Invalid, NotFound, Stale
from entities.models import Role
from tests.contracts.builders import END, HASH, PLATFORM, SEATS, UPTIME, Place, day, kinds, withdraw
from tests.entities import factories


def fresh(contract: Contract) -> Contract:
    return Contract.objects.get(pk=contract.pk)


def missing(refusal: pytest.ExceptionInfo[BillingError]) -> list[str]:
    return [problem["code"] for problem in refusal.value.extra["missing"]]


def test_a_draft_takes_what_it_is_not_told_from_its_entity(here: Place) -> None:
    contract = here.draft(sla_terms=[UPTIME], prices=[PLATFORM, SEATS])
    assert (contract.currency, contract.time_zone, contract.payment_terms_days) == ("USD", "UTC", 30)
    assert (contract.issuer, contract.billing_anchor) == (here.issuer, day("2026-01-01"))
    assert contract.notice_period == 60 and contract.cure_days == 30 and contract.uplift_cap_percent == 5
    assert list(contract.price_terms.values_list("code", flat=True)) == ["platform", "seats"]
    assert contract.sla_terms.get().tiers.count() == 2
    assert fresh(contract).status == "draft"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"end_date": "2025-12-31"}, "/end_date"),
        ({"value": "-1"}, "/value"),
        ({"value": "1.005"}, "/value"),
        ({"currency": "XXX"}, "/currency"),
        ({"renewal_type": "auto"}, "/renewal_type"),
        ({"prices": [PLATFORM, PLATFORM]}, "/prices"),
        ({"prices": [{**PLATFORM, "price": "-1"}]}, "/prices/0/price"),
        ({"signatories": [{"side": "nobody", "name": "X"}]}, "/side"),
        ({"termination_fees": [{"from_month": 0}]}, "/termination_fees"),
    ],
)
def test_a_draft_that_makes_no_sense_is_refused_with_its_place(
    here: Place, fields: dict[str, Any], pointer: str
) -> None:
    if "end_date" in fields:
        fields = {"end_date": day(fields["end_date"])}
    with pytest.raises(Invalid) as refusal:
        here.draft(**fields)
    assert refusal.value.errors[0].pointer == pointer
    assert not Contract.objects.exists()


def test_ent_04_who_may_write_contracts(here: Place) -> None:
    auditor = factories.member(here.root, Role.AUDITOR)
    with pytest.raises(Forbidden):
        contract_create(actor=auditor, entity=here.entity, title="X", start_date=day("2026-01-01"), value="1")
    contract = here.draft()
    with pytest.raises(NotFound):
        contract_submit(actor=here.outsider, contract_id=contract.pk)
    assert not Contract.objects.visible_to(here.outsider).exists()


def test_only_a_master_agreement_has_agreements_below_it(here: Place) -> None:
    msa = here.active(contract_type="msa", entity=here.root, end_date=None)
    child = here.active(parent=msa)
    assert (child.status, list(msa.children.all())) == ("active", [child])
    with pytest.raises(Invalid) as refusal:
        here.draft(parent=child)
    assert refusal.value.errors[0].code == "parent_is_no_msa"


def test_con_02_activation_lists_all_that_is_missing_and_changes_nothing(here: Place) -> None:
    contract = here.draft(signatories=[{"side": "issuer", "name": "Ida Issuer"}])
    with pytest.raises(Conflict) as refusal:
        contract_activate(actor=here.finance, contract_id=contract.pk)
    assert refusal.value.code == "not_ready"
    assert missing(refusal) == ["approval_missing", "no_signatory", "signature_missing"]
    assert (fresh(contract).status, kinds(contract)) == ("draft", [])


def test_con_01_from_draft_to_active(here: Place) -> None:
    contract = here.active()
    assert (contract.status, contract.activated_at is not None) == ("active", True)
    assert kinds(contract) == [EventKind.SUBMITTED, EventKind.APPROVED, EventKind.ACTIVATED]
    what = [entry.what for entry in contract_timeline(actor=here.staff, contract_id=contract.pk)]
    assert sorted(what) == [
        "Activated",
        "Approved",
        "Signed by Carl Customer (customer)",
        "Signed by Ida Issuer (issuer)",
        "Submitted for approval",
    ]
    with pytest.raises(Conflict) as refusal:
        contract_activate(actor=here.finance, contract_id=contract.pk)
    assert refusal.value.code == "contract_status"


def test_con_01_activated_before_its_start_it_is_active_and_supplies_nothing_yet(here: Place) -> None:
    contract = here.active(start_date=day("2026-07-01"), is_retroactive=False)
    assert contract.status == "active"
    assert not Contract.objects.in_force(day("2026-06-30")).exists()
    assert Contract.objects.in_force(day("2026-07-01")).get() == contract


def test_con_02_signatures_come_in_their_order_once_each(here: Place) -> None:
    contract = here.approved(
        signatories=[
            {"side": "issuer", "name": "Second", "position": 2},
            {"side": "customer", "name": "First", "position": 1},
        ]
    )
    first, second = signing_places(contract)
    with pytest.raises(Conflict) as refusal:
        here.signature(second.signatory)
    assert (refusal.value.code, refusal.value.extra["waiting_for"]) == ("signing_order", [first.signatory.pk])
    here.signature(first.signatory, document_sha256="A" * 64)
    with pytest.raises(Conflict) as refusal:
        here.signature(first.signatory)
    assert refusal.value.code == "already_signed"
    assert Signature.objects.get().document_sha256 == "a" * 64


def test_con_02_a_signature_needs_the_hash_and_an_approval(here: Place) -> None:
    contract = here.draft()
    place = signing_places(contract)[0]
    with pytest.raises(Conflict) as refusal:
        here.signature(place.signatory)
    assert refusal.value.code == "not_awaiting_signature"
    contract = here.approved()
    with pytest.raises(Invalid):
        here.signature(signing_places(contract)[0].signatory, document_sha256="abc")
    with pytest.raises(Invalid):
        here.signature(signing_places(contract)[0].signatory, signed_at=day_after())
    assert not Signature.objects.exists()


def day_after() -> Any:
    import datetime

    return datetime.datetime(2026, 6, 16, tzinfo=datetime.UTC)


@pytest.mark.parametrize("change", ["field", "price", "removal", "service level"])
def test_con_02_a_change_voids_the_signatures_and_goes_back_to_approval(here: Place, change: str) -> None:
    contract = here.approved()
    signed = here.signature(signing_places(contract)[0].signatory)
    act = {"actor": here.staff, "contract_id": contract.pk}
    if change == "field":
        contract_update(**act, changes={"payment_terms_days": 14})
    elif change == "price":
        price_term_set(**act, price={**PLATFORM, "price": "999.00"})
    elif change == "removal":
        price_term_remove(**act, code="platform")
    else:
        sla_term_set(**act, sla=UPTIME)
    signature = Signature.objects.get(pk=signed.pk)
    assert signature.voided_at is not None and "changed" in signature.void_reason
    assert (signature.document_sha256, signature.signed_at) == (HASH, signed.signed_at)
    assert (fresh(contract).status, fresh(contract).approved_at) == ("pending_approval", None)
    assert kinds(contract)[-1] == EventKind.REVISED
    contract_approved(actor=system_actor(), contract_id=contract.pk)
    here.sign(contract)
    assert contract_activate(actor=here.finance, contract_id=contract.pk).status == "active"


def test_con_02_what_is_not_signed_voids_nothing(here: Place) -> None:
    contract = here.approved()
    here.signature(signing_places(contract)[0].signatory)
    contract_update(
        actor=here.staff, contract_id=contract.pk, changes={"reference": "PO 4711", "gl_code": "6100"}
    )
    price_term_set(actor=here.staff, contract_id=contract.pk, price=PLATFORM)
    assert Signature.objects.standing().count() == 1
    assert fresh(contract).status == "awaiting_signature"


def test_con_03_a_start_before_the_last_signature_needs_the_flag(here: Place) -> None:
    contract = here.approved(is_retroactive=False)
    here.sign(contract)
    with pytest.raises(Conflict) as refusal:
        contract_activate(actor=here.finance, contract_id=contract.pk)
    assert missing(refusal) == ["retroactive_not_agreed"]
    contract = here.active(is_retroactive=True)
    assert contract.events.get(kind="activated").effective_on == day("2026-01-01")
    assert status_on(contract, day("2026-02-01")) == "active"


def test_con_03_a_start_on_the_day_of_the_last_signature_needs_none(here: Place) -> None:
    assert here.active(start_date=day("2026-06-15"), is_retroactive=False).status == "active"


def test_sent_back_it_is_a_draft_and_can_be_submitted_again(here: Place) -> None:
    contract = here.draft()
    contract_submit(actor=here.staff, contract_id=contract.pk)
    withdraw(here, "contract_activation", contract.pk)
    assert (fresh(contract).status, kinds(contract)) == ("draft", [EventKind.SUBMITTED, EventKind.SENT_BACK])
    contract_update(actor=here.staff, contract_id=contract.pk, changes={"value": "13000"})
    assert contract_submit(actor=here.staff, contract_id=contract.pk).status == "pending_approval"


def test_con_01_signed_terms_change_by_amendment_only(here: Place) -> None:
    contract = here.active()
    for changes in ({"value": "1"}, {"title": "Other", "end_date": END}):
        with pytest.raises(Conflict) as refusal:
            contract_update(actor=here.finance, contract_id=contract.pk, changes=changes)
        assert refusal.value.code == "contract_is_signed"
    with pytest.raises(Conflict):
        price_term_set(actor=here.finance, contract_id=contract.pk, price=SEATS)
    changed = contract_update(
        actor=here.finance,
        contract_id=contract.pk,
        changes={"title": "Other", "owner": here.staff},
        expected_version=contract.version,
    )
    assert (changed.title, changed.owner, changed.value) == ("Other", here.staff, 12000)
    with pytest.raises(Stale):
        contract_update(actor=here.staff, contract_id=contract.pk, changes={"title": "A"}, expected_version=1)


def test_con_01_only_a_draft_on_which_nothing_has_happened_is_deleted(here: Place) -> None:
    untouched, sent_back, active = here.draft(), here.approved(), here.active()
    contract_sent_back(actor=here.finance, contract_id=sent_back.pk, reason="No")
    contract_delete(actor=here.staff, contract_id=untouched.pk)
    for contract in (sent_back, active):
        with pytest.raises(Conflict):
            contract_delete(actor=here.staff, contract_id=contract.pk)
    assert Contract.objects.count() == 2
    assert (PriceTerm.objects.count(), RequiredSignatory.objects.count()) == (2, 4)


def test_signatories_are_named_until_they_have_signed(here: Place) -> None:
    contract = here.approved()
    extra = signatory_add(actor=here.staff, contract_id=contract.pk, side="issuer", user=here.finance)
    assert extra.name == here.finance.display_name
    here.signature(extra)
    with pytest.raises(Conflict) as refusal:
        signatory_remove(actor=here.staff, signatory_id=extra.pk)
    assert refusal.value.code == "signatory_has_signed"
    signatory_remove(actor=here.staff, signatory_id=signing_places(contract)[0].signatory.pk)
    assert [problem.code for problem in activation_problems(fresh(contract))] == ["signature_missing"]


def test_con_01_readers_see_the_state_of_the_day_though_no_job_has_run(here: Place) -> None:
    """It ends on 1 January: the annotation says so at once, the job catches up once and notes it."""
    contract = here.active()
    with time_machine.travel("2027-01-05T12:00:00Z", tick=False):
        assert fresh(contract).status == "active"
        assert Contract.objects.with_status().get().current_status == "expired"
        assert not Contract.objects.in_status(["active"]).exists()
        assert (refresh_statuses().done, refresh_statuses().done) == (1, 0)
        assert fresh(contract).status == "expired"
        assert contract.events.filter(kind="expired", effective_on=END).count() == 1


def test_con_01_a_decision_does_not_wait_for_the_job(here: Place) -> None:
    contract = here.active()
    with (
        time_machine.travel("2027-01-05T12:00:00Z", tick=False),
        pytest.raises(Conflict, match="expired"),
    ):
        from contracts.services.termination import contract_terminate

        contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Too late")


def test_a_successor_renews_its_predecessor_from_its_start(here: Place) -> None:
    old = here.active(end_date=day("2026-09-01"))
    new = here.active(predecessor=old, start_date=day("2026-08-01"), is_retroactive=False)
    assert [status_on(old, day(on)) for on in ("2026-07-31", "2026-08-01", "2026-09-01")] == [
        "active",
        "renewed",
        "renewed",
    ]
    with time_machine.travel("2026-08-01T12:00:00Z", tick=False):
        refresh_statuses()
    assert (fresh(old).status, fresh(new).status) == ("renewed", "active")
