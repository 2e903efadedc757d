"""What customers enter on the pages of disputes. The services test it; the forms only read it."""

from typing import Any

from django import forms

from core.pages.fields import AmountField
from disputes.models import Category, Direction, Severity

_LINES = {"rows": 4}


class DisputeForm(forms.Form):
    """What is wrong with an invoice or a line, by how much, and why."""

    direction = forms.ChoiceField(
        label="What is wrong", choices=Direction, initial=Direction.OVER, widget=forms.RadioSelect
    )
    category = forms.ChoiceField(label="What it is about", choices=[("", "Choose"), *Category.choices])
    amount = AmountField(label="By how much, including tax")
    reason = forms.CharField(
        label="Why",
        max_length=4000,
        widget=forms.Textarea(attrs=_LINES),
        help_text="What you expected, and what shows it. Files can be added afterwards.",
    )
    severity = forms.ChoiceField(
        label="How urgent it is", choices=Severity, initial=Severity.MEDIUM, required=False
    )
    customer_reference = forms.CharField(label="Your own number for it", max_length=100, required=False)

    def __init__(self, *args: Any, left: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if left:
            self.fields["amount"].help_text = f"At most {left}."

    def values(self) -> dict[str, Any]:
        """What the service takes."""
        values = dict(self.cleaned_data)
        values["severity"] = values["severity"] or Severity.MEDIUM
        return values


class WordForm(forms.Form):
    """A word to staff, or why something is done."""

    comment = forms.CharField(max_length=10_000, strip=True, widget=forms.Textarea(attrs=_LINES))

    def __init__(self, *args: Any, label: str = "Your message", needed: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["comment"].label = label
        self.fields["comment"].required = needed
        self.fields["comment"].error_messages["required"] = "Write something first."


class ReopenForm(WordForm):
    """Why the decision is not right, and how much is still disputed."""

    amount = AmountField(
        required=False, label="By how much, including tax", help_text="Empty: what was not granted."
    )


class FileForm(forms.Form):
    """A file to attach."""

    file = forms.FileField(
        label="File", help_text="PDF, picture, Word, Excel, CSV or text.", allow_empty_file=True
    )
