"""What a payment settles, before it is recorded: proposals with their reasons, and amounts that people edit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import Q, QuerySet
from django.utils.safestring import SafeString

from core.admin.columns import amount_html
from core.admin.errors import REFUSALS, sentences
from core.money import parse_amount
from invoicing.models import Invoice
from invoicing.selectors.bank_matching import Money, Proposal, open_receivables, proposals_for
from invoicing.selectors.invoice import receivable
from invoicing.services.payments import Application

SHOWN = 200
PREFIX = "invoice_"
OLDEST, AMOUNTS, NOTHING = "oldest", "amounts", "nothing"
SETTLES = [
    (OLDEST, "What is due first"),
    (AMOUNTS, "The amounts below"),
    (NOTHING, "Nothing yet: keep it as a balance"),
]


def open_documents(user: Any, *, issuer_id: int, entity_id: int, currency: str) -> QuerySet[Invoice]:
    """What the payer owes the issuer in the currency, as far as the user sees it; the oldest due first."""
    rows: QuerySet[Invoice] = Invoice.objects.visible_to(user, "invoicing.view_invoice")
    return rows.filter(receivable(), issuer_id=issuer_id, entity_id=entity_id, currency=currency).order_by(
        "due_date", "id"
    )


class AmountsForm(forms.Form):
    """How much of a payment settles each of some documents."""

    def __init__(self, *args: Any, documents: Iterable[Invoice] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.documents: list[Invoice] = []
        self.ask_for(documents)

    def ask_for(self, documents: Iterable[Invoice]) -> None:
        """Add a field for each document."""
        for document in documents:
            self.documents.append(document)
            self.fields[f"{PREFIX}{document.pk}"] = forms.CharField(
                required=False,
                label=str(document),
                widget=forms.TextInput(attrs={"class": "eb-input", "inputmode": "decimal"}),
            )

    def lines(self) -> list[tuple[Invoice, Any, Any]]:
        """Each document with its open amount and its field."""
        return [
            (document, amount_html(document.open_amount, document.currency), self[f"{PREFIX}{document.pk}"])
            for document in self.documents
        ]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        for document in self.documents:
            name = f"{PREFIX}{document.pk}"
            text = data.get(name, "").replace(",", "").strip()
            if text:
                try:
                    data[name] = parse_amount(text)
                except REFUSALS as error:
                    self.add_error(name, " ".join(sentences(error)))
        return data

    def applications(self) -> list[Application]:
        """What was typed; nothing at all keeps the money as a balance."""
        amounts = {
            document.pk: self.cleaned_data.get(f"{PREFIX}{document.pk}") for document in self.documents
        }
        return [
            Application(pk, amount)
            for pk, amount in amounts.items()
            if isinstance(amount, Decimal) and amount
        ]


def shown_proposal(proposal: Proposal, currency: str) -> dict[str, Any]:
    """A proposal ready for a page, with the form fields that accept it."""
    return {
        "proposal": proposal,
        "parts": [(part.document, amount_html(part.amount, currency)) for part in proposal.parts],
        "fields": list(_amounts(proposal).items()),
        "rest": amount_html(proposal.rest, currency) if proposal.rest else "",
    }


def _amounts(proposal: Proposal) -> dict[str, str]:
    return {f"{PREFIX}{part.document.pk}": f"{part.amount.normalize():f}" for part in proposal.parts}


# --- A payment that is typed in ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allocation:
    """What the page of a new payment says under its fields; ``known`` once there is enough to look for documents."""

    form: AmountsForm = field(default_factory=AmountsForm)
    settles: str = OLDEST
    known: bool = False
    proposals: Sequence[Mapping[str, Any]] = ()
    chosen: int = 0
    rest: SafeString | str = ""
    currency: str = ""
    choices: Sequence[tuple[str, str]] = tuple(SETTLES)


def _account(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Issuer, payer and currency of what was given, or None as long as one is missing."""
    issuer, entity, currency = given.get("issuer"), given.get("entity"), given.get("currency")
    if issuer is None or entity is None or not currency:
        return None
    return {"issuer_id": issuer.pk, "entity_id": entity.pk, "currency": currency}


def suggested(user: Any, given: Mapping[str, Any], choice: int = 0) -> Allocation:
    """Propose what the payment in ``given`` settles, by the scoring of bank matching; nothing is booked.

    ``choice`` says whose amounts the fields begin with: those of the best proposal unless told otherwise.
    """
    account, amount = _account(given), given.get("amount")
    if account is None or not amount or amount <= 0:
        return Allocation()
    currency = account["currency"]
    money = Money(amount, currency, given.get("reference") or "", entity_id=account["entity_id"])
    found = proposals_for(money, open_receivables(account["issuer_id"], [money]))
    wanted = {part.document.pk for proposal in found for part in proposal.parts}
    rows = open_documents(user, **account)
    documents = list(rows.filter(Q(pk__in=wanted) | Q(pk__in=rows.values("pk")[:SHOWN])))
    seen = {document.pk for document in documents}
    proposals = [one for one in found if all(part.document.pk in seen for part in one.parts)]
    chosen = choice if choice < len(proposals) else 0
    taken = proposals[chosen] if proposals else None
    rest = taken.rest if taken else amount
    return Allocation(
        form=AmountsForm(documents=documents, initial=_amounts(taken) if taken else None),
        settles=AMOUNTS if taken else NOTHING,
        known=True,
        proposals=[shown_proposal(proposal, currency) for proposal in proposals],
        chosen=chosen,
        rest=amount_html(rest, currency) if rest else "",
        currency=currency,
    )


def typed(user: Any, given: Mapping[str, Any], data: Mapping[str, Any]) -> AmountsForm:
    """The amounts that were posted; one of a document that is not open in this account any more is an error."""
    asked = [int(name.removeprefix(PREFIX)) for name in data if name.removeprefix(PREFIX).isdecimal()]
    account = _account(given)
    documents = open_documents(user, **account).filter(pk__in=asked) if account and asked else []
    form = AmountsForm(data, documents=documents)
    known = {document.pk for document in form.documents}
    if any(data.get(f"{PREFIX}{pk}", "").strip() for pk in asked if pk not in known):
        form.add_error(
            None,
            "A document that you chose an amount for is not open with this payer, issuer and currency. Press "
            "“Suggest” to see what is.",
        )
    return form
