"""The HTTP API: what REST framework, the OpenAPI document and the tokens are told. Imported by base.py."""

from datetime import timedelta
from typing import Any

from billing_project.settings.environment import env

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "core.api.authentication.TokenAuthentication",
        "core.api.authentication.BrowserSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["core.api.throttling.CallerThrottle"],
    "DEFAULT_PARSER_CLASSES": ["core.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.api.parsers.JSONNegotiation",
    "DEFAULT_PAGINATION_CLASS": "core.api.pagination.PageNumberPagination",
    "DEFAULT_FILTER_BACKENDS": [
        "core.api.filters.KnownParametersBackend",
        "core.api.filters.FieldFilterBackend",
        "core.api.filters.SearchFilter",
        "core.api.filters.OrderingFilter",
    ],
    "DEFAULT_SCHEMA_CLASS": "core.api.schema.BillingAutoSchema",
    # OPTIONS would describe serializers to whoever asks; the OpenAPI document does that better.
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "COERCE_DECIMAL_TO_STRING": True,
    "UPLOADED_FILES_USE_URL": False,
    # X-Forwarded-For is believed only for so many proxies of our own.
    "NUM_PROXIES": env.int("TRUSTED_PROXIES", default=0),
}
DRF_STANDARDIZED_ERRORS: dict[str, Any] = {
    "EXCEPTION_HANDLER_CLASS": "core.api.problems.ProblemHandler",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}

# Requests per caller and seconds: (how many, in how many seconds). Read by core.api.throttling.
API_RATES: dict[str, tuple[int, int]] = {
    "user": (env.int("API_RATE_USER", default=60_000), 60),
    "anonymous": (env.int("API_RATE_ANONYMOUS", default=300), 60),
    "sign_in": (env.int("API_RATE_SIGN_IN", default=20), 60),
}
# For how long a process may answer from what it knows of a user: the longest time for which a deactivated
# user, a revoked token or a changed password is still let in by a process other than the one that changed it.
API_USER_CACHE_SECONDS = env.int("API_USER_CACHE_SECONDS", default=5)

SIMPLE_JWT: dict[str, Any] = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=env.int("JWT_ACCESS_MINUTES", default=15)),
    "REFRESH_TOKEN_LIFETIME": timedelta(hours=env.int("JWT_REFRESH_HOURS", default=12)),
    "ALGORITHM": "HS256",
    "AUTH_HEADER_TYPES": ("Bearer",),
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Enterprise Billing",
    "DESCRIPTION": (
        "Budgets, contracts, cost allocation and consolidated invoices of a group of companies.\n\n"
        "Sign in with `POST /api/auth/token` and send `Authorization: Bearer <access>`. Money is a decimal "
        "string in responses, a string or a number in requests; its currency is the object's `currency`. "
        "Errors are `application/problem+json` (RFC 9457) with a stable `code`. A POST or PUT may carry "
        "`Idempotency-Key`: a retry gets the first answer with `Idempotency-Replayed: true`. A PATCH or "
        "DELETE may carry `If-Match` with the ETag of the version it was made from. The same path with a trailing "
        "slash works too."
    ),
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": r"/api/(enterprise-billing)?",
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_NO_READ_ONLY_REQUIRED": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SORT_OPERATIONS": True,
    "TAGS": [{"name": "enterprise-billing", "description": "Everything that the product does."}],
    # Choices stand inline: as components their names would collide (status, source, kind) between apps.
    "POSTPROCESSING_HOOKS": [
        "core.api.schema.close_request_bodies",
        "core.api.schema.allow_blank_answers",
        "core.api.schema.drop_enum_marks",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "persistAuthorization": True,
        "displayOperationId": False,
        "docExpansion": "list",
        "filter": True,
        "tryItOutEnabled": True,
    },
}
