"""Core's own addresses: signing in, who am I, exchange rates, notifications."""

from typing import Any

from django.contrib.auth import authenticate
from django.utils.cache import patch_cache_control
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.api.authentication import TokenAuthentication
from core.api.base import BillingAPIView, BillingViewSet, CreateMixin
from core.api.filters import BillingFilterSet, BooleanFilter, filter_fields
from core.api.pagination import AppendOnlyPagination
from core.api.schema import operation, operations
from core.api.serializers import BillingModelSerializer, BillingSerializer
from core.api.throttling import CallerThrottle, SignInThrottle
from core.api.tokens import access_token_renew, token_pair_issue, tokens_revoke
from core.errors import Unauthenticated
from core.exchange import exchange_rate_record
from core.models import ExchangeRate, Notification, User
from core.notifications import notification_mark_read

# --- Signing in ------------------------------------------------------------------------------------------


class CredentialsSerializer(BillingSerializer):
    """A user's name and password."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(
        max_length=1024, trim_whitespace=False, write_only=True, style={"input_type": "password"}
    )


class TokenPairSerializer(BillingSerializer):
    """Short-lived access token and the token that renews it."""

    access = serializers.CharField(read_only=True)
    refresh = serializers.CharField(read_only=True)


class RefreshSerializer(BillingSerializer):
    """A refresh token."""

    refresh = serializers.CharField(max_length=4096)


class AccessTokenSerializer(BillingSerializer):
    """A new access token."""

    access = serializers.CharField(read_only=True)


class SignInView(APIView):
    """Addresses without a signed-in caller: only throttled, by address."""

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = [SignInThrottle]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        patch_cache_control(response, no_store=True)
        return response


class TokenView(SignInView):
    """POST /api/auth/token"""

    @operation(
        summary="Sign in: get an access and a refresh token.",
        description="The access token lasts for minutes, the refresh token for hours.",
        request=CredentialsSerializer,
        responses={200: TokenPairSerializer},
        errors={401: ["invalid_credentials"], 503: ["unavailable"]},
        example={"username": "finance.manager", "password": "a-long-password"},
        response_example={"access": "eyJhbGciOi…", "refresh": "eyJhbGciOi…"},
    )
    def post(self, request: Request) -> Response:
        serializer = CredentialsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        user = authenticate(request._request, **serializer.validated_data)
        if not isinstance(user, User) or not user.is_active:
            raise Unauthenticated("invalid_credentials", "No active user has this name and password.")
        return Response(token_pair_issue(user=user)._asdict())


class TokenRefreshView(SignInView):
    """POST /api/auth/token/refresh"""

    @operation(
        summary="Get a new access token for a refresh token.",
        description="The refresh token stays the same until it ends or is revoked.",
        request=RefreshSerializer,
        responses={200: AccessTokenSerializer},
        errors={401: ["token_not_valid", "token_revoked", "user_inactive"], 503: ["unavailable"]},
        example={"refresh": "eyJhbGciOi…"},
        response_example={"access": "eyJhbGciOi…"},
    )
    def post(self, request: Request) -> Response:
        serializer = RefreshSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response({"access": access_token_renew(refresh=serializer.validated_data["refresh"])})


class TokenRevokeView(APIView):
    """POST /api/auth/token/revoke"""

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsAuthenticated]
    throttle_classes = [CallerThrottle]

    @operation(
        summary="Sign out everywhere: end all of the caller's tokens.",
        description="Every access and refresh token that was given to the caller ends, within five seconds.",
        request=None,
        responses={204: None},
    )
    def post(self, request: Request) -> Response:
        assert isinstance(request.user, User)
        tokens_revoke(user=request.user)
        return Response(status=204)


# --- Who am I --------------------------------------------------------------------------------------------


class MeSerializer(BillingModelSerializer):
    """The caller."""

    permissions = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id", "username", "first_name", "last_name", "email", "language", "time_zone",
            "is_service_account", "is_staff", "is_superuser", "manager_id", "permissions",
        ]  # fmt: skip
        read_only_fields = fields

    def get_permissions(self, user: User) -> list[str]:
        """What the caller may do in some membership at least."""
        return sorted(user.get_all_permissions())


class MeView(BillingAPIView):
    """GET /api/enterprise-billing/me"""

    @operation(summary="Who am I, and what may I do?", responses={200: MeSerializer})
    def get(self, request: Request) -> Response:
        return Response(MeSerializer(self.actor, context={"request": request}).data)


# --- Exchange rates --------------------------------------------------------------------------------------


class ExchangeRateSerializer(BillingModelSerializer):
    """How many units of `quote` one unit of `base` bought on a date."""

    class Meta:
        model = ExchangeRate
        fields = ["id", "date", "base", "quote", "rate", "source"]


class ExchangeRateFilter(BillingFilterSet):
    class Meta:
        model = ExchangeRate
        fields = filter_fields("base", "quote", "source", ranges=["date"])


@operations(
    list=operation(
        summary="List exchange rates.",
        description="What was published, the latest first. INV-04 says which one a document uses.",
        response_example={
            "id": 1, "date": "2024-09-30", "base": "EUR", "quote": "USD", "rate": "1.1196", "source": "ECB",
        },
    ),
    retrieve=operation(summary="Get one exchange rate."),
    create=operation(
        summary="Record an exchange rate of your own.",
        description="On one date a company's own source wins over the ECB. Rates are only added.",
        errors={409: ["exchange_rate_exists"]},
        example={"date": "2024-09-30", "base": "EUR", "quote": "USD", "rate": "1.1200", "source": "treasury"},
    ),
)  # fmt: skip
class ExchangeRateViewSet(CreateMixin, BillingViewSet):
    """Rates are read by everyone who is signed in and recorded by those who may."""

    queryset = ExchangeRate.objects.all()
    serializer_class = ExchangeRateSerializer
    filterset_class = ExchangeRateFilter
    ordering_fields = ("date", "base", "quote")
    ordering = ("-date", "base", "quote")
    action_permissions = {"list": None, "retrieve": None}

    def perform_create(self, data: dict[str, Any]) -> ExchangeRate:
        return exchange_rate_record(actor=self.actor, **data)


# --- Notifications ---------------------------------------------------------------------------------------


class NotificationSerializer(BillingModelSerializer):
    """A message to the caller."""

    class Meta:
        model = Notification
        fields = ["id", "kind", "title", "body", "url", "created_at", "read_at"]
        read_only_fields = fields


class NotificationFilter(BillingFilterSet):
    unread = BooleanFilter(
        field_name="read_at", lookup_expr="isnull", label="Only those not read yet, or only those read."
    )

    class Meta:
        model = Notification
        fields = filter_fields("kind", ranges=["created_at"])


@operations(
    list=operation(summary="List the caller's own notifications, the newest first."),
    retrieve=operation(summary="Get one notification."),
    read=operation(
        summary="Mark one notification as read.", request=None, responses={200: NotificationSerializer}
    ),
)
class NotificationViewSet(BillingViewSet):
    """Everyone sees their own and nobody else's."""

    queryset = Notification.objects.all()
    serializer_class = NotificationSerializer
    filterset_class = NotificationFilter
    pagination_class = AppendOnlyPagination
    action_permissions = {"list": None, "retrieve": None, "read": None}

    @action(detail=True, methods=["post"])
    def read(self, request: Request, pk: str) -> Response:
        return self.answer(notification_mark_read(actor=self.actor, notification=self.get_object()))
