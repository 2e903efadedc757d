"""What the actions on contracts ask for."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDateWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from contracts.models import (
    ContractDocument,
    DocumentKind,
    NoticeKind,
    NoticeMethod,
    Plan,
    Side,
    SignatureMethod,
)
from entities.admin.base import ScopedForm


def day_field(label: str, help_text: str, *, required: bool = False) -> forms.DateField:
    """A day; what it means when it is left empty stands in the help."""
    return forms.DateField(
        label=label, required=required, widget=UnfoldAdminDateWidget(), help_text=help_text
    )


def moment_field(label: str, help_text: str) -> forms.SplitDateTimeField:
    """A day and a time; empty means now."""
    return forms.SplitDateTimeField(
        label=label, required=False, widget=UnfoldAdminSplitDateTimeWidget(), help_text=help_text
    )


def choice_field(label: str, choices: Any, **options: Any) -> forms.ChoiceField:
    """A select of fixed choices."""
    return forms.ChoiceField(label=label, choices=choices, widget=UnfoldAdminSelectWidget(), **options)


def switch(label: str, help_text: str = "") -> forms.BooleanField:
    """Yes or no."""
    return forms.BooleanField(
        label=label, required=False, widget=UnfoldBooleanSwitchWidget(), help_text=help_text
    )


def words_field(label: str, help_text: str = "", *, required: bool = False) -> forms.CharField:
    """Some lines of text."""
    return forms.CharField(
        label=label,
        max_length=1000,
        required=required,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=help_text,
    )


class SuspendForm(forms.Form):
    """From when, and what happens to fees and term meanwhile."""

    on = day_field("From", "Empty: from today.")
    billing_continues = switch("Fees run on", "If not, the suspended days are not billed.")
    extends_term = switch("The term is extended", "By the suspended days, when it is resumed.")


class ResumeForm(forms.Form):
    """From when."""

    on = day_field("From", "Empty: from today.")


class TerminateForm(forms.Form):
    """When the notice was received; another day than today has another outcome, which is shown first."""

    received_on = day_field("Notice received on", "Empty: today. Never a day to come.")
    effective_on = day_field(
        "Takes effect on",
        "Where the notice was received on another day: the first day without the contract, as it is shown after you "
        "have asked once.",
    )


class BreachForm(forms.Form):
    """Who broke what, and when they were told."""

    breaching_side = choice_field("In breach", Side.choices)
    description = words_field("What was broken", required=True)
    received_on = day_field("Notice received on", "Empty: today.")


class CureForm(forms.Form):
    """When."""

    cured_on = day_field("Cured on", "Empty: today.")


class RenewForm(forms.Form):
    """From whom the decision came, and how."""

    side = choice_field("By", Side.choices, initial=Side.CUSTOMER)
    method = choice_field("Received by", NoticeMethod.choices)


class NoticeForm(forms.Form):
    """A notice as it was received."""

    kind = choice_field("What it says", NoticeKind.choices)
    side = choice_field("From", Side.choices, initial=Side.CUSTOMER)
    method = choice_field("Received by", NoticeMethod.choices)
    received_at = moment_field("Received at", "Empty: now.")
    note = words_field("Note", "Optional.")


class DocumentChoice(forms.ModelChoiceField):
    """A document by its name and its contract."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name} · {obj.contract.number} {obj.contract.title}"


class SignatureForm(ScopedForm):
    """What was signed, when and how."""

    document = DocumentChoice(
        ContractDocument.objects.select_related("contract").order_by("-id"),
        label="Signed document",
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="One of this contract; its hash is kept with the signature.",
    )
    document_sha256 = forms.CharField(
        label="Or its SHA-256",
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget(),
        help_text="64 hexadecimal digits, where the file is kept elsewhere.",
    )
    method = choice_field("Method", SignatureMethod.choices, initial=SignatureMethod.ELECTRONIC)
    signed_at = moment_field("Signed at", "Empty: now.")


class DocumentForm(forms.Form):
    """A file to keep with the contract, encrypted."""

    file = forms.FileField(widget=UnfoldAdminFileFieldWidget())
    kind = choice_field("Kind", DocumentKind.choices, initial=DocumentKind.ATTACHMENT)
    name = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Empty: the name of the file.",
    )


class ConfidentialForm(forms.Form):
    """What only few may read."""

    text = forms.CharField(
        label="Confidential terms",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 10}),
        help_text="Empty: there are none any more.",
    )


class LicencesForm(ScopedForm):
    """How many, of which plan, from when."""

    quantity = forms.IntegerField(
        min_value=0, required=False, widget=UnfoldAdminIntegerFieldWidget(), help_text="Empty: as now."
    )
    plan = forms.ModelChoiceField(
        Plan.objects.filter(is_active=True),
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="Empty: as now. A plan of the same product.",
    )
    effective_from = day_field("From", "Empty: today. What was billed is prorated.")


class EndForm(forms.Form):
    """From when it is over."""

    ends_on = day_field("First day without it", "Today or later.", required=True)


class ClaimForm(forms.Form):
    """When the claim came."""

    received_at = moment_field("Claim received at", "Empty: now.")


def given(data: Any, *names: str) -> dict[str, Any]:
    """Those of the names that were filled in."""
    return {name: data[name] for name in names if data.get(name) not in (None, "")}
