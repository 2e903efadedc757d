"""The address space: people's pages at /, the admin at /admin/, the API below /api/, its description at /docs."""

from django.contrib import admin
from django.urls import include, path

from billing_project.health import live, ready
from billing_project.metrics import metrics
from core.api.docs import DocsView

urlpatterns = [
    path("api/", include("billing_project.api_urls")),
    path("admin/", admin.site.urls),
    path("docs", DocsView.as_view(url_name="schema"), name="docs"),
    path("health/live", live, name="health-live"),
    path("health/ready", ready, name="health-ready"),
    path("metrics", metrics, name="metrics"),
    path("approvals/", include("approvals.urls")),
    path("disputes/", include("disputes.urls")),
    path("", include("core.pages.urls")),
]
