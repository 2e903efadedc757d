"""What the page of a contract shows: its terms of today, papers, renewal, money, service levels and what happened."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from budgets.models import Budget
from contracts.invoiced import FeeDocument, fee_documents
from contracts.models import (
    BEFORE_ACTIVATION,
    RUNNING,
    BillableFee,
    Contract,
    ContractAmendment,
    ContractDocument,
    ServiceCredit,
)
from contracts.selectors.compliance import ServiceLevels, measurements_of
from contracts.selectors.contract import (
    amendment_difference,
    business_today,
    contract_timeline,
    status_on,
    terms_on,
)
from contracts.selectors.renewals import RenewalCheck, renewal_check
from contracts.services.activation import activation_problems
from contracts.services.commitments import budget_outlook
from contracts.services.signing import SigningPlace, signing_places
from contracts.terms.fold import Terms
from contracts.terms.wording import Fact, facts_of, level_text, prices_shown
from core.admin.badges import badge_html
from core.admin.columns import amount_html, number_text
from core.admin.scoping import may, visible
from core.models import User

ROWS_SHOWN = 12
PERIODS_SHOWN = 6


def organisation_of(contract: Contract) -> list[Fact]:
    """What is not part of the agreement."""
    facts: list[Fact] = [
        ("Their reference", contract.reference),
        ("Department", str(contract.department or "")),
        ("GL code", contract.gl_code),
        ("Answers for it", contract.owner.display_name if contract.owner else ""),
        ("Time zone", contract.time_zone),
        ("Bills from", str(contract.billing_anchor)),
    ]
    return [(label, value) for label, value in facts if value]


# --- The parts of the page -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownPlace:
    """A signatory, with the signature or the page on which it is recorded."""

    place: SigningPlace
    badge: SafeString
    sign_url: str


def places_shown(contract: Contract, amendment: ContractAmendment | None, user: User) -> list[ShownPlace]:
    """Who must sign and who has."""
    awaits = (amendment or contract).status == "awaiting_signature"
    may_sign = awaits and may(user, "contracts.sign_contract", contract)
    return [
        ShownPlace(
            place,
            badge_html("signed") if place.signature else badge_html("pending"),
            reverse("admin:contracts_requiredsignatory_do", args=[place.signatory.pk, "sign"])
            if may_sign and place.signature is None
            else "",
        )
        for place in signing_places(contract, amendment)
    ]


@dataclass(frozen=True)
class ShownAmendment:
    """An amendment with what it changes."""

    amendment: ContractAmendment
    badge: SafeString
    url: str
    differences: Sequence[Any]


def amendments_shown(contract: Contract) -> list[ShownAmendment]:
    """The amendments, the newest first."""
    rows = list(contract.amendments.select_related("contract").order_by("-pk"))
    return [
        ShownAmendment(
            row,
            badge_html(row.status),
            reverse("admin:contracts_contractamendment_change", args=[row.pk]),
            amendment_difference(row),
        )
        for row in rows
    ]


def _outlook(contract: Contract, user: User) -> list[dict[str, Any]]:
    if contract.budget_id is None or not may(user, "contracts.view_billablefee", contract):
        return []
    periods = budget_outlook(actor=user, contract_id=contract.pk)
    keys = {period.budget_id for period in periods if period.budget_id}
    seen = {row.pk: row.name for row in visible(Budget.objects.filter(pk__in=keys), user)}
    return [
        {
            "start": period.start,
            "end": period.end,
            "amount": amount_html(period.amount, period.currency),
            "budget": seen.get(period.budget_id or 0, "" if period.budget_id is None else "Another budget"),
            "url": reverse("admin:budgets_budget_change", args=[period.budget_id])
            if period.budget_id in seen
            else "",
            "kind": "Committed" if period.commitment_id else "Forecast",
        }
        for period in periods
    ]


def _fees(contract: Contract, user: User) -> list[dict[str, Any]]:
    if not may(user, "contracts.view_billablefee", contract):
        return []
    found = visible(BillableFee.objects.filter(contract=contract), user).order_by("-bill_on", "-pk")
    rows = list(found[:ROWS_SHOWN])
    documents = fee_documents(user, [row.pk for row in rows])
    return [
        {
            "bill_on": row.bill_on,
            "what": row.description,
            "kind": row.get_kind_display(),
            "start": row.period_start,
            "end": row.period_end,
            "amount": amount_html(row.amount, row.currency),
            "invoiced": invoiced_html(documents.get(row.pk)),
        }
        for row in rows
    ]


def invoiced_html(document: FeeDocument | None) -> SafeString:
    """The document on which a fee stands, or that it stands on none yet."""
    if document is None:
        return badge_html("unbilled", "Not yet")
    if not document.number:
        badge = badge_html(document.status)
        return (
            format_html('<a class="eb-link" href="{}">{}</a>', document.url, badge) if document.url else badge
        )
    if not document.url:
        return format_html("{}", document.number)
    return format_html('<a class="eb-link" href="{}">{}</a>', document.url, document.number)


def _documents(contract: Contract, user: User) -> list[dict[str, Any]] | None:
    if not may(user, "contracts.view_contractdocument", contract):
        return None
    rows = ContractDocument.objects.filter(contract=contract).defer("data_key").select_related("uploaded_by")
    return [
        {
            "name": row.name,
            "kind": row.get_kind_display(),
            "size": row.size,
            "when": row.created_at,
            "who": row.uploaded_by.display_name,
            "url": reverse("admin:contracts_contractdocument_download", args=[row.pk]),
        }
        for row in rows
    ]


def _compliance(contract: Contract, terms: Terms) -> list[dict[str, Any]]:
    """How the levels were kept in the last periods that are over."""
    if not contract.is_activated or not terms.sla:
        return []
    levels = ServiceLevels(contract)
    over = sorted(
        levels.periods(until=business_today(contract)), key=lambda each: each.period.start, reverse=True
    )
    credits = {
        (credit.sla_code, credit.period_start): amount_html(credit.amount, credit.currency)
        for credit in ServiceCredit.objects.filter(contract=contract)
    }
    words = {True: "met", False: "missed", None: "unmeasured"}
    shown = []
    for of in over[: PERIODS_SHOWN * len(terms.sla)]:
        found = levels.compliance(of, measurements_of(contract, of))
        unit = of.level.unit
        shown.append(
            {
                "metric": of.level.metric,
                "start": of.period.start,
                "measured": "–" if found.measured is None else f"{number_text(found.measured)} {unit}",
                "target": f"{number_text(of.level.target)} {unit}",
                "badge": badge_html(words[found.is_met]),
                "credit": credits.get((of.level.code, of.period.start), ""),
            }
        )
    return shown


def _renewal(contract: Contract) -> RenewalCheck | None:
    return renewal_check(contract) if contract.is_activated else None


def page_context(contract: Contract, user: User) -> dict[str, Any]:
    """All that the page of one contract shows."""
    today = business_today(contract)
    status = status_on(contract, today)
    shown_on = max(today, contract.start_date)
    terms = terms_on(contract, shown_on)
    fees_url = reverse("admin:contracts_billablefee_changelist")
    may_amend = contract.is_activated and may(user, "contracts.add_contractamendment", contract)
    related = [
        (label, str(row), reverse("admin:contracts_contract_change", args=[row.pk]))
        for label, row in [
            ("Made under", contract.parent),
            ("Replaces", contract.predecessor),
            ("Replaced by", getattr(contract, "successor", None)),
            *(("Below it", child) for child in visible(contract.children.all(), user).order_by("pk")),
        ]
        if row is not None and visible(Contract.objects.filter(pk=row.pk), user).exists()
    ]
    return {
        "contract": contract,
        "today": today,
        "shown_on": shown_on,
        "status_badge": badge_html(status),
        "value": amount_html(terms.conditions.value, terms.conditions.currency),
        "term": terms.term,
        "applied": terms.amendments,
        "problems": activation_problems(contract) if status in BEFORE_ACTIVATION else [],
        "is_before": status in BEFORE_ACTIVATION,
        "is_running": status in RUNNING,
        "facts": facts_of(contract, terms.conditions),
        "organisation": organisation_of(contract),
        "related": related,
        "prices": prices_shown(terms, shown_on),
        "levels": [(level, level_text(level)) for level in terms.sla.values()],
        "compliance": _compliance(contract, terms),
        "places": places_shown(contract, None, user),
        "amendments": amendments_shown(contract),
        "amend_url": f"{reverse('admin:contracts_contractamendment_add')}?contract={contract.pk}"
        if may_amend
        else "",
        "check": _renewal(contract),
        "outlook": _outlook(contract, user),
        "fees": _fees(contract, user),
        "fees_url": f"{fees_url}?contract__id__exact={contract.pk}",
        "subscriptions": [
            (
                str(row),
                row.starts_on,
                row.ends_on,
                reverse("admin:contracts_subscription_change", args=[row.pk]),
            )
            for row in visible(contract.subscriptions.select_related("entity"), user)
        ],
        "documents": _documents(contract, user),
        "timeline": contract_timeline(actor=user, contract_id=contract.pk),
        "confidential_url": reverse("admin:contracts_contract_confidential", args=[contract.pk])
        if may(user, "contracts.view_confidential_terms", contract)
        else "",
        "pdf_url": reverse("admin:contracts_contract_pdf", args=[contract.pk]),
        "history_url": reverse("admin:contracts_contract_history", args=[contract.pk]),
    }
