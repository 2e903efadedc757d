"""Addresses of receivables, below /api/enterprise-billing/; invoicing/api/urls.py includes them."""

from django.urls import path

from invoicing.api.receivables_views import AgeingView, StatementView

urlpatterns = [
    path("receivables/ageing", AgeingView.as_view(), name="receivables-ageing"),
    path("entities/<int:pk>/statement", StatementView.as_view(), name="entity-statement"),
]
