"""How one is told: a mail at once or one a day, and reminders or none."""

from typing import Any

from django import forms
from django.urls import reverse

from approvals.models import MailDelivery
from approvals.services.digests import mail_preference_of, mail_preference_set
from approvals.views.base import ApprovalsPage
from core.pages.base import PageFormView


class MailPreferenceForm(forms.Form):
    """One's own choice."""

    delivery = forms.ChoiceField(
        label="When something happens",
        choices=MailDelivery.choices,
        help_text="One mail a day comes in the morning and lists what waits for you and what is new.",
    )
    mute_reminders = forms.BooleanField(
        label="No reminders",
        required=False,
        help_text="What waits for you stays in your inbox, and is escalated all the same when its time is over.",
    )


class MailPreferencePage(ApprovalsPage, PageFormView):
    """GET and POST /approvals/mails/"""

    template_name = "approvals/mails.html"
    form_class = MailPreferenceForm

    def get_initial(self) -> dict[str, Any]:
        kept = mail_preference_of(self.actor)
        return {"delivery": kept.delivery, "mute_reminders": kept.mute_reminders}

    def perform(self, form: MailPreferenceForm) -> str:
        mail_preference_set(actor=self.actor, **form.cleaned_data)
        return "Saved. It holds from the next mail on."

    def get_success_url(self) -> str:
        return reverse("approvals:mails")
