"""Core's part of the address space; billing_project/api_urls.py puts the parts together."""

from django.urls import path

from core.api.routers import BillingRouter
from core.api.views import (
    ExchangeRateViewSet,
    MeView,
    NotificationViewSet,
    TokenRefreshView,
    TokenRevokeView,
    TokenView,
)
from core.api.work_calendars import WorkCalendarViewSet

router = BillingRouter()
router.register("exchange-rates", ExchangeRateViewSet)
router.register("notifications", NotificationViewSet)
router.register("work-calendars", WorkCalendarViewSet)

#: Below /api/auth/
auth_urlpatterns = [
    path("token", TokenView.as_view(), name="token"),
    path("token/refresh", TokenRefreshView.as_view(), name="token-refresh"),
    path("token/revoke", TokenRevokeView.as_view(), name="token-revoke"),
]

#: Below /api/enterprise-billing/
urlpatterns = [
    path("me", MeView.as_view(), name="me"),
    *router.urls,
]
