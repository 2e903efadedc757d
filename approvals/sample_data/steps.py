"""What approvals contributes: rules and limits, a delegation, and requests in every state."""

from decimal import Decimal
from typing import Any

from django.db import transaction

from approvals.models import ApprovalRequest, ApprovalRule, AuthorityLimit, EscalationTarget
from approvals.sample_data.plan import REQUESTS, SampleRequest, SampleVote
from approvals.services.limits import authority_limit_create
from approvals.services.requests import request_submit, request_withdraw
from approvals.services.rules import LevelTerms, approval_rule_create
from approvals.services.votes import request_approve, request_reject, request_send_back
from budgets.models import Budget
from budgets.sample_data.plan import OPERATIONS
from core.sample_data.run import SampleRun, Step, person
from entities.models import Entity, Role
from entities.sample_data.allocations import find_department
from entities.sample_data.organisation import ROOT
from entities.sample_data.people import FINANCE_MANAGER, FINANCE_STAFF_DE

LAST_WORD = "helen.osborne"
ROLE_LIMITS = ((Role.DEPARTMENT_MANAGER, 10_000), (Role.FINANCE_MANAGER, 100_000))


def load_rules(run: SampleRun) -> None:
    """Make the rules: small things alone, larger ones with finance, the largest with the head of the group."""
    root = Entity.objects.get(code=ROOT)
    there = ApprovalRule.objects.filter(currency=root.currency).count()
    if there:
        run.count("approval rules", 0, there=there)
        return
    department = LevelTerms(approver_kind="department_manager", settings={"name": "Department"})
    finance = LevelTerms(settings={"role": Role.FINANCE_MANAGER, "name": "Finance"})
    board = LevelTerms(
        approver_kind="users",
        users=[person(LAST_WORD)],
        settings={"name": "Head of the group", "escalation_target": EscalationTarget.NOBODY},
    )
    germany = LevelTerms(
        approver_kind="users", users=[person(FINANCE_STAFF_DE)], settings={"name": "Finance, Germany"}
    )
    rules: tuple[dict[str, Any], ...] = (
        {"name": "Trifles", "request_type": "purchase", "amount_to": 250, "auto_approve": True},
        {"name": "Small purchases", "request_type": "purchase", "amount_from": 250, "amount_to": 5_000,
         "levels": [department]},
        {"name": "Purchases", "request_type": "purchase", "amount_from": 5_000, "amount_to": 25_000,
         "levels": [department, finance]},
        {"name": "Large purchases", "request_type": "purchase", "amount_from": 25_000,
         "levels": [department, finance, board]},
        {"name": "Purchases in Germany", "request_type": "purchase", "amount_from": 2_500, "also": True,
         "entity": Entity.objects.get(code="TARN-DE"), "levels": [germany]},
        {"name": "Licences", "request_type": "license_change", "levels": [department, finance]},
        {"name": "More budget", "request_type": "budget_increase", "levels": [finance, board]},
        {"name": "Everything else", "priority": -10, "levels": [finance]},
    )  # fmt: skip
    for rule in rules:
        values = {"entity": root, "levels": [], **rule}
        approval_rule_create(actor=person(FINANCE_MANAGER), currency=root.currency, **values)
    run.count("approval rules", len(rules))


def load_limits(run: SampleRun) -> None:
    """Say up to which amount a role's word is enough, and whose word always is."""
    root = Entity.objects.get(code=ROOT)
    there = AuthorityLimit.objects.filter(entity=root).count()
    if there:
        run.count("authority limits", 0, there=there)
        return
    manager, currency = person(FINANCE_MANAGER), root.currency
    for role, amount in ROLE_LIMITS:
        authority_limit_create(
            actor=manager, role=role, max_amount=Decimal(amount), entity=root, currency=currency
        )
    authority_limit_create(
        actor=manager,
        user=person(LAST_WORD),
        max_amount=None,
        entity=root,
        currency=currency,
        is_ultimate=True,
    )
    run.count("authority limits", len(ROLE_LIMITS) + 1)


def load_requests(run: SampleRun) -> None:
    """Ask for things, and have some of them decided."""
    made = 0
    for sample in REQUESTS:
        requester = person(sample.requester)
        if ApprovalRequest.objects.filter(title=sample.title, requester=requester).exists():
            continue
        # What was asked without its votes would never get them on the next run.
        with transaction.atomic():
            _ask(run, sample)
        made += 1
    run.count("approval requests", made, there=len(REQUESTS))


def _ask(run: SampleRun, sample: SampleRequest) -> None:
    department = find_department(*sample.department)
    budget = (
        Budget.objects.of(entity_id=department.entity_id, department_id=department.pk)
        .filter(category=OPERATIONS)
        .covering(run.today)
        .get()
    )
    request = request_submit(
        actor=person(sample.requester),
        request_type=sample.request_type,
        title=sample.title,
        amount=sample.amount,
        budget_id=budget.pk,
        draft=sample.draft,
        **sample.fields,
    )
    for vote in sample.votes:
        _vote(request, vote)
    if sample.withdrawn:
        request_withdraw(
            actor=person(sample.requester),
            request_id=request.pk,
            comment="We share a partner's stand instead.",
        )


def _vote(request: ApprovalRequest, vote: SampleVote) -> None:
    act = {"approve": request_approve, "reject": request_reject, "request_changes": request_send_back}
    act[vote.action](actor=person(vote.username), request_id=request.pk, comment=vote.comment)


STEPS = [
    Step("Approval rules", load_rules),
    Step("Authority limits", load_limits),
    Step("Approval requests", load_requests),
]
