"""What contracts contributes: plans, and contracts in every state.

Their fees begin after the months that the sample invoices, so that its invoices stay what they are.
"""

import datetime
import hashlib
from decimal import Decimal

from approvals.models import RequestStatus, TaskStatus
from approvals.selectors import request_for
from approvals.services.votes import request_approve
from contracts.models import Contract, ContractAmendment, Plan
from contracts.pricing import add_months
from contracts.sample_data.plan import (
    AMENDED,
    BREACHED,
    CONTRACTS,
    LICENSED,
    MEASURED,
    SUSPENDED,
    TERMINATED,
    SampleContract,
)
from contracts.services.activation import contract_activate
from contracts.services.amendments import (
    amendment_bring_into_force,
    amendment_create,
    amendment_submit,
)
from contracts.services.contract import contract_create, contract_submit
from contracts.services.decisions import ACTIVATION, AMENDMENT
from contracts.services.renewals import price_index_record
from contracts.services.signing import signature_record, signing_places
from contracts.services.sla import measurement_record
from contracts.services.subscriptions import licences_change, plan_create, subscription_create
from contracts.services.suspension import contract_suspend
from contracts.services.termination import contract_terminate
from core import clock
from core.clock import month_after
from core.sample_data.run import SampleRun, Step, person
from entities.models import Entity
from entities.sample_data.allocations import find_department
from entities.sample_data.organisation import ISSUER
from entities.sample_data.people import FINANCE_MANAGER, FINANCE_STAFF

INDEX = "CPI-US"


def load_plans(run: SampleRun) -> None:
    """Offer the tiers of the desk software, and record the price index that a contract follows."""
    if Plan.objects.filter(code="desk-pro").exists():
        run.count("plans", 0, there=2)
        return
    manager, issuer = person(FINANCE_MANAGER), Entity.objects.get(code=ISSUER)
    for rank, (code, tier, price, storage) in enumerate(
        (("desk-basic", "Basic", "14.00", 20), ("desk-pro", "Pro", "24.00", 100)), start=1
    ):
        plan_create(
            actor=manager,
            issuer=issuer,
            code=code,
            name=f"Desk {tier}",
            product="Desk",
            tier=tier,
            rank=rank,
            price=price,
            currency="USD",
            features=[
                {"feature": "storage-gb", "limit": storage, "is_per_licence": True},
                {"feature": "single-sign-on", "is_included": tier == "Pro"},
            ],
        )
    price_index_record(
        actor=manager, index_name=INDEX, day=run.start, percent=Decimal("2.7"), source="Published"
    )
    run.count("plans", 2)


def load_contracts(run: SampleRun) -> None:
    """Write the contracts, and take each as far as it has come."""
    made = 0
    for sample in CONTRACTS:
        if Contract.objects.filter(title=sample.title, entity__code=sample.entity).exists():
            continue
        contract = _write(run, sample)
        _take_on(contract, sample)
        _live(run, contract)
        made += 1
    run.count("contracts", made, there=len(CONTRACTS))


def _start(run: SampleRun, sample: SampleContract) -> datetime.date:
    if sample.starts_days_ago is not None:
        return run.today - datetime.timedelta(days=sample.starts_days_ago)
    return max(run.today - datetime.timedelta(days=7), month_after(run.months[-1]))


def _write(run: SampleRun, sample: SampleContract) -> Contract:
    entity = Entity.objects.get(code=sample.entity)
    start = _start(run, sample)
    department = find_department(sample.entity, sample.department) if sample.department else None
    parent = Contract.objects.get(title=sample.parent) if sample.parent else None
    predecessor = Contract.objects.get(title=sample.predecessor) if sample.predecessor else None
    return contract_create(
        actor=person(FINANCE_STAFF),
        entity=entity,
        title=sample.title,
        contract_type=sample.contract_type,
        start_date=start,
        end_date=add_months(start, sample.months) if sample.months else None,
        value=sample.value,
        department=department,
        parent=parent,
        predecessor=predecessor,
        owner=person(FINANCE_MANAGER),
        is_retroactive=True,
        prices=sample.prices,
        sla_terms=sample.sla_terms,
        signatories=[
            {"side": "issuer", "name": "Helen Osborne", "user": person("helen.osborne")},
            {"side": "customer", "name": f"For {entity.name}"},
        ],
        **sample.terms,
    )


def _take_on(contract: Contract, sample: SampleContract) -> None:
    """Submit, approve, sign and activate it, as far as the sample says."""
    if sample.reached == "draft":
        return
    contract_submit(actor=person(FINANCE_STAFF), contract_id=contract.pk)
    if sample.reached == "submitted":
        return
    _approve(ACTIVATION, contract.pk)
    if sample.reached == "approved":
        return
    _sign(contract)
    contract_activate(actor=person(FINANCE_MANAGER), contract_id=contract.pk)


def _approve(request_type: str, subject_id: int) -> None:
    """Whoever is asked approves, level by level."""
    while (request := request_for(request_type=request_type, subject_id=subject_id)) is not None:
        if request.status != RequestStatus.PENDING:
            return
        task = request.tasks.filter(status=TaskStatus.OPEN).select_related("approver").earliest("pk")
        request_approve(actor=task.approver, request_id=request.pk)


def _sign(contract: Contract, amendment: ContractAmendment | None = None) -> None:
    # The sample has no paper: the hash is that of the title.
    paper = hashlib.sha256((amendment or contract).title.encode()).hexdigest()
    for place in signing_places(contract, amendment):
        if place.signature is None:
            signature_record(
                actor=person(FINANCE_STAFF), signatory_id=place.signatory.pk, document_sha256=paper
            )


# --- What happened to some of them -----------------------------------------------------------------------


def _live(run: SampleRun, contract: Contract) -> None:
    staff, manager = person(FINANCE_STAFF), person(FINANCE_MANAGER)
    if contract.title == SUSPENDED:
        contract_suspend(
            actor=manager,
            contract_id=contract.pk,
            reason="The fleet is being exchanged",
            billing_continues=False,
            extends_term=True,
        )
    elif contract.title == TERMINATED:
        contract_terminate(
            actor=manager, contract_id=contract.pk, reason="Replaced by the group's translation desk"
        )
    elif contract.title == AMENDED:
        _amend(run, contract)
    elif contract.title == LICENSED:
        subscription = subscription_create(
            actor=staff,
            contract_id=contract.pk,
            plan_id=Plan.objects.get(code="desk-pro").pk,
            quantity=40,
            starts_on=contract.start_date,
        )
        licences_change(
            actor=staff,
            subscription_id=subscription.pk,
            quantity=46,
            effective_from=run.today,
            reason="Six engineers joined",
        )
    elif contract.title == MEASURED:
        first = clock.start_of_day(contract.start_date, contract.time_zone)
        _measure(contract, min(first + datetime.timedelta(days=5), clock.now()), "99.42", "first-week")
    elif contract.title == BREACHED:
        # The first month is over: its credit is there, to be claimed.
        month = add_months(contract.billing_anchor, 1)
        _measure(contract, clock.start_of_day(month, contract.time_zone), "98.71", "first-month")


def _measure(contract: Contract, until: datetime.datetime, value: str, external_id: str) -> None:
    """Record how available it was from its start on."""
    measurement_record(
        actor=person(FINANCE_STAFF),
        contract_id=contract.pk,
        sla_code="uptime",
        measured_from=clock.start_of_day(contract.start_date, contract.time_zone),
        measured_to=until,
        value=Decimal(value),
        source="monitoring",
        external_id=external_id,
    )


def _amend(run: SampleRun, contract: Contract) -> None:
    """One amendment in force from the next quarter on, and the draft of another."""
    staff, manager = person(FINANCE_STAFF), person(FINANCE_MANAGER)
    dearer = amendment_create(
        actor=staff,
        contract_id=contract.pk,
        title="Support at weekends",
        effective_from=add_months(contract.start_date, 3),
        changes={
            "prices": {"set": [{"code": "support", "name": "Support, weekends too", "price": "2950.00"}]}
        },
    )
    amendment_submit(actor=staff, amendment_id=dearer.pk)
    _approve(AMENDMENT, dearer.pk)
    _sign(contract, dearer)
    amendment_bring_into_force(actor=manager, amendment_id=dearer.pk)
    amendment_create(
        actor=staff,
        contract_id=contract.pk,
        title="One more year",
        effective_from=add_months(contract.start_date, 6),
        changes={"fields": {"end_date": add_months(contract.start_date, 24).isoformat()}},
    )


STEPS = [Step("Plans", load_plans), Step("Contracts", load_contracts)]
