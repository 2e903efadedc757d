"""What the actions on disputes ask for."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from contracts.models import ContractAmendment
from core.models import User
from disputes.access import HANDLE, Place
from disputes.models import BillingDispute, Category, Direction, Outcome, RootCause, Severity
from disputes.services.comments import LONGEST
from entities.access import holders_among
from entities.admin.base import ScopedForm


def _day() -> forms.DateInput:
    return forms.DateInput(attrs={"class": "eb-input", "type": "date"})


def text_field(
    label: str, help_text: str = "", *, required: bool = True, limit: int = 1000, rows: int = 4
) -> forms.CharField:
    """Some lines of text."""
    return forms.CharField(
        label=label,
        required=required,
        max_length=limit,
        help_text=help_text,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": rows}),
    )


def word_field(label: str, help_text: str = "", *, limit: int = 100) -> forms.CharField:
    """A line of text that may be left out."""
    return forms.CharField(
        label=label,
        required=False,
        max_length=limit,
        help_text=help_text,
        widget=UnfoldAdminTextInputWidget(),
    )


def choice_field(label: str, choices: Any, **options: Any) -> forms.ChoiceField:
    """A select of fixed choices."""
    return forms.ChoiceField(label=label, choices=choices, widget=UnfoldAdminSelectWidget(), **options)


def amount_field(label: str, help_text: str, *, required: bool = False) -> forms.DecimalField:
    """An amount including tax, in the invoice's currency."""
    return forms.DecimalField(
        label=label, required=required, widget=UnfoldAdminDecimalFieldWidget(), help_text=help_text
    )


class SeenForm(forms.Form):
    """Carries the version of the dispute that the person saw: a newer one is not overwritten unseen."""

    version = forms.IntegerField(required=False, widget=forms.HiddenInput())


class AskForm(SeenForm):
    """What the customer is asked."""

    question = text_field(
        "Question to the customer",
        "They read exactly this. Leave it empty if you have asked already.",
        required=False,
        limit=LONGEST,
        rows=6,
    )


class WaitForm(SeenForm):
    """For whom."""

    note = text_field(
        "For whom, and for what", "Internal: the customer only sees that somebody else is asked."
    )


class SeverityForm(SeenForm):
    """How urgent."""

    severity = choice_field("Severity", Severity.choices)


class OwnerForm(SeenForm):
    """Who works on it: somebody of the issuer's staff."""

    owner = forms.ChoiceField(label="Who works on it", required=False, widget=UnfoldAdminSelectWidget())


def owner_choices(dispute: BillingDispute) -> list[tuple[str, str]]:
    """Those who handle disputes of the issuer, by name; the first one is nobody."""
    people = User.objects.filter(is_active=True, is_service_account=False)
    place = Place(dispute.issuer.name, dispute.issuer_id, None)
    able = holders_among(people.values_list("pk", flat=True), HANDLE, place)
    named = sorted((user.display_name, str(user.pk)) for user in people.filter(pk__in=able))
    return [("", "Nobody"), *((key, name) for name, key in named)]


class MergeForm(SeenForm):
    """With which other dispute about the same invoice."""

    other = forms.ChoiceField(label="Merge with", widget=UnfoldAdminSelectWidget())


class ReopenForm(SeenForm):
    """What is disputed in the next round."""

    amount = amount_field(
        "Amount",
        "Including tax. Empty: what was disputed less what was approved, as far as it can be credited.",
    )


class CauseForm(SeenForm):
    """What was found to be the cause."""

    root_cause = choice_field("Root cause", [("", "Not found yet"), *RootCause.choices], required=False)
    root_cause_note = text_field(
        "What should change", "Internal: it stands in the report on reasons.", required=False
    )


class DetailsForm(SeenForm):
    """What staff keeps about it."""

    category = choice_field("Category", Category.choices)
    customer_reference = word_field("Customer’s number")
    chargeback_scheme = word_field("Chargeback scheme", "Of a card chargeback: Visa, Mastercard, …", limit=40)
    chargeback_reference = word_field("Chargeback number", limit=60)
    chargeback_deadline = forms.DateField(
        label="Last day to answer the scheme",
        required=False,
        widget=_day(),
        help_text="The clock then runs to the end of that day and never pauses.",
    )


class AmendmentChoice(forms.ModelChoiceField):
    """An amendment by its contract and title."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.contract.number} {obj}"


class ResolveForm(SeenForm, ScopedForm):
    """How it is resolved; the outcome says the type."""

    outcome = choice_field("Outcome", Outcome.choices)
    amount = amount_field("Amount", "Including tax, at most what is disputed. Nothing where no money moves.")
    note = text_field(
        "To the customer", "What was decided and why. It is printed on the credit note too.", limit=2000
    )
    internal_note = text_field(
        "Internally", "Approvers and staff read it, the customer never.", required=False, limit=2000
    )
    amendment = AmendmentChoice(
        ContractAmendment.objects.select_related("contract").order_by("-pk"),
        label="Amendment",
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="Of a price fix only: the amendment that says the new price.",
    )


class OpenForm(forms.Form):
    """A claim that staff enters for the customer."""

    line = forms.ChoiceField(label="What is disputed", required=False, widget=UnfoldAdminSelectWidget())
    category = choice_field("Category", Category.choices)
    direction = choice_field("Direction", Direction.choices)
    severity = choice_field("Severity", Severity.choices, initial=Severity.MEDIUM)
    amount = amount_field("Amount", "Including tax, in the invoice’s currency.", required=True)
    reason = text_field("What is wrong", "In the customer’s words: both sides read it.", limit=4000, rows=5)
    customer_reference = word_field("Customer’s number", "Their own number for it, if they have one.")
    chargeback_scheme = word_field(
        "Chargeback scheme", "Of a card chargeback only: Visa, Mastercard, …", limit=40
    )
    chargeback_reference = word_field("Chargeback number", limit=60)
    chargeback_deadline = forms.DateField(
        label="Last day to answer the scheme", required=False, widget=_day()
    )


class InvoiceForm(forms.Form):
    """Which invoice."""

    number = forms.CharField(
        label="Number of the invoice",
        max_length=50,
        widget=UnfoldAdminTextInputWidget(),
        help_text="As it is printed.",
    )
