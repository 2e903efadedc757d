"""The API: sign-in, its description, and the operations of every app below one base path.

An app adds itself by one line: `path("", include("entities.api.urls"))` below `enterprise-billing/`.
"""

from django.urls import URLPattern, URLResolver, include, path, re_path

from core.api.docs import SchemaView
from core.api.problems import unknown_path
from core.api.urls import auth_urlpatterns

enterprise_billing: list[URLPattern | URLResolver] = [
    # First, because Django tries them in turn: its first two addresses are by far the busiest.
    path("", include("budgets.api.urls")),
    path("", include("approvals.api.urls")),
    path("", include("core.api.urls")),
    path("", include("entities.api.urls")),
    path("", include("contracts.api.urls")),
    path("", include("invoicing.api.urls")),
    path("", include("disputes.api.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("enterprise-billing/", include(enterprise_billing)),
    path("auth/", include(auth_urlpatterns)),
    path("schema", SchemaView.as_view(), name="schema"),
    # Last: what no route knows is a problem document, also while DEBUG shows pages elsewhere.
    re_path(r"^(?P<path>.*)$", unknown_path),
]
