"""The printable summary of a contract: what it says on a day, as PDF. The confidential terms are not part of it."""

import datetime
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string

from contracts.models import BEFORE_ACTIVATION, Contract, ContractStatus
from contracts.selectors.contract import business_today, status_on, terms_on
from contracts.selectors.renewals import renewal_check
from contracts.services.signing import signing_places
from contracts.terms.wording import facts_of, level_text, prices_shown
from core.money import format_money
from core.pdf import html_to_pdf

TEMPLATE = "documents/contract.html"


@dataclass(frozen=True)
class _Page:
    """What the style sheet of documents asks for."""

    page_css: str = '"Page " counter(page) " of " counter(pages)'


def summary_name(contract: Contract) -> str:
    """The name under which people save the file."""
    return f"{contract.number}.pdf"


def summary_html(contract: Contract, day: datetime.date | None = None) -> str:
    """The terms of a day, today by default; of a contract that has not begun those of its start."""
    today = business_today(contract)
    shown_on = max(day or today, contract.start_date)
    status = status_on(contract, today)
    terms = terms_on(contract, shown_on)
    context: dict[str, Any] = {
        "doc": _Page(),
        "contract": contract,
        "status": ContractStatus(status).label,
        "is_draft": status in BEFORE_ACTIVATION,
        "shown_on": shown_on,
        "today": today,
        "value": format_money(terms.conditions.value, terms.conditions.currency),
        "term": terms.term,
        "amendments": terms.amendments,
        "facts": facts_of(contract, terms.conditions),
        "prices": [price for price in prices_shown(terms, shown_on) if price.is_running],
        "levels": [(level.metric, level_text(level)) for level in terms.sla.values()],
        "places": signing_places(contract),
        "check": renewal_check(contract, shown_on) if contract.is_activated else None,
    }
    return render_to_string(TEMPLATE, context)


def contract_pdf(contract: Contract, day: datetime.date | None = None) -> bytes:
    """The summary as PDF. Raises PDFUnavailable."""
    return html_to_pdf(summary_html(contract, day))
