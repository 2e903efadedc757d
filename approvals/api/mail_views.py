"""How the caller is told of approvals."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.models import ApprovalMailPreference, MailDelivery
from approvals.services.digests import mail_preference_of, mail_preference_set
from core.api.base import BillingAPIView
from core.api.schema import operation
from core.api.serializers import BillingModelSerializer, BillingSerializer


class ApprovalMailPreferenceSerializer(BillingModelSerializer):
    """A mail at once or one a day, and whether reminders are muted."""

    class Meta:
        model = ApprovalMailPreference
        fields = ("delivery", "mute_reminders")
        read_only_fields = fields


class ApprovalMailPreferenceChangeSerializer(BillingSerializer):
    """What of it changes; what is left out stays."""

    delivery = serializers.ChoiceField(choices=MailDelivery.choices, required=False)
    mute_reminders = serializers.BooleanField(required=False)


class ApprovalMailPreferenceView(BillingAPIView):
    """GET and PATCH /api/enterprise-billing/approval-mail-preference"""

    @operation(
        summary="Show how you are told of approvals.", responses={200: ApprovalMailPreferenceSerializer}
    )
    def get(self, request: Request) -> Response:
        return Response(ApprovalMailPreferenceSerializer(mail_preference_of(self.actor)).data)

    @operation(
        summary="Choose how you are told of approvals.",
        description="One mail a day comes in the morning of your own zone. Muted reminders are counted all the same.",
        request=ApprovalMailPreferenceChangeSerializer,
        responses={200: ApprovalMailPreferenceSerializer},
        example={"delivery": "digest", "mute_reminders": True},
    )
    def patch(self, request: Request) -> Response:
        sent = ApprovalMailPreferenceChangeSerializer(data=request.data, context={"request": request})
        sent.is_valid(raise_exception=True)
        kept = mail_preference_set(actor=self.actor, **sent.validated_data)
        return Response(ApprovalMailPreferenceSerializer(kept).data)
