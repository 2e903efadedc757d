"""What is the same everywhere. The settings that differ come from development, test or production."""

from datetime import timedelta
from typing import Any

import structlog
from celery.schedules import crontab
from kombu import Queue

from billing_project.settings.api import *
from billing_project.settings.environment import BASE_DIR, env
from billing_project.settings.unfold import *

# From the bottom up: an app imports only apps that stand before it (pyproject.toml holds that).
PRODUCT_APPS = ["core", "entities", "budgets", "approvals", "contracts", "invoicing", "disputes"]
INSTALLED_APPS = [
    *PRODUCT_APPS,
    # The theme and what it re-dresses stand before the admin; simple_history and import_export after it.
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.inlines",
    "unfold.contrib.import_export",
    "unfold.contrib.simple_history",
    "core.admin_site.BillingAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "simple_history",
    "import_export",
    "rest_framework",
    "rest_framework_simplejwt",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "django_htmx",
    "template_partials",
    "django_celery_beat",
    "django_celery_results",
    "django_structlog",
    "django_prometheus",
]

# The middleware named core.api.middleware.… is Django's own and steps aside for API calls with a bearer token.
MIDDLEWARE = [
    "core.api.middleware.ApiMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "core.history.HistoryContextMiddleware",
    "core.request_log.RequestLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "core.pages.security.PagePolicyMiddleware",
    "core.api.middleware.SessionMiddleware",
    "core.api.middleware.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "core.api.middleware.AuthenticationMiddleware",
    "core.api.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "core.api.middleware.HtmxMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "billing_project.urls"
WSGI_APPLICATION = "billing_project.wsgi.application"
ASGI_APPLICATION = "billing_project.asgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- People and access -----------------------------------------------------------------------------------
AUTH_USER_MODEL = "core.User"
AUTHENTICATION_BACKENDS = [
    "entities.access.MembershipBackend",
    "entities.access.PasswordBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# The back-office has its own; both ask for the same names and passwords.
LOGIN_URL = "pages:sign_in"
LOGIN_REDIRECT_URL = "pages:start"
LOGOUT_REDIRECT_URL = "admin:login"
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# --- Language and time -----------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# --- Files -----------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"] if (BASE_DIR / "static").is_dir() else []
# Uploads hold business data: no URL serves them, views do after they have checked access.
MEDIA_URL = ""
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5000

# --- Jobs ------------------------------------------------------------------------------------------------
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
CELERY_RESULT_EXPIRES = timedelta(days=14)
# Tasks report through their own records; a failure is kept all the same, for the admin.
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = True
CELERY_TASK_TRACK_STARTED = True
# A task whose worker dies is delivered again: tasks are idempotent and take ids.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Longer than the longest task; a shorter one would deliver a task that still runs a second time.
# With a broker that is away a commit must not wait: the outbox is there, and the scheduler asks again.
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {"visibility_timeout": 6 * 60 * 60, "max_retries": 0}
# Workers take from both queues in turn: a month's worth of PDFs does not hold up an import that somebody watches.
CELERY_TASK_QUEUES = [Queue("celery", routing_key="celery"), Queue("documents", routing_key="documents")]
CELERY_TASK_ROUTES = {"invoicing.render_document": {"queue": "documents"}}
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    # Those whose worker died, or that no worker was told of.
    "Resume usage imports": {"task": "invoicing.resume_usage_imports", "schedule": timedelta(minutes=5)},
    # Those whose worker died; payers that are done already stay done.
    "Resume billing runs": {"task": "invoicing.resume_billing_runs", "schedule": timedelta(minutes=5)},
    # More than once a day does no harm: each document is reminded of once per level.
    "Remind of overdue invoices": {
        "task": "invoicing.run_dunning",
        "schedule": crontab(hour="*/6", minute="45"),
    },
    # More than once a day does no harm: each schedule and month begins once, in the scope's own time zone.
    "Start scheduled billing runs": {
        "task": "invoicing.start_scheduled_billing_runs",
        "schedule": crontab(hour="*/6", minute="20"),
    },
    # A commit wakes the dispatcher at once; this is for retries, and for what a crash left behind.
    "Deliver outbox events": {"task": "core.dispatch_outbox", "schedule": timedelta(seconds=30)},
    "Purge expired records": {
        "task": "core.purge_expired_records",
        "schedule": crontab(hour="3", minute="10"),
    },
    # Checks do not wait for it: what has expired counts as free at once (BUD-17).
    "Release expired commitments": {
        "task": "budgets.release_expired_commitments",
        "schedule": timedelta(minutes=10),
    },
    "Prove the budget ledger": {
        "task": "budgets.check_ledger",
        "schedule": crontab(hour="2", minute="30"),
    },
    "Prove the settlements": {
        "task": "invoicing.verify_settlements",
        "schedule": crontab(hour="2", minute="40"),
    },
    # Late ones do no harm: a request whose time is over can no longer be decided, and no reminder is sent twice.
    "Expire approval requests": {"task": "approvals.expire", "schedule": timedelta(minutes=5)},
    "Escalate approval requests": {"task": "approvals.escalate", "schedule": timedelta(minutes=5)},
    "Remind approvers": {"task": "approvals.remind", "schedule": timedelta(minutes=5)},
    # Events do so at once; this is for memberships whose last day has passed.
    "Reassign approvals of those who left": {
        "task": "approvals.reassign",
        "schedule": timedelta(minutes=15),
    },
    "Send the daily mails of approvals": {
        "task": "approvals.send_digests",
        "schedule": timedelta(minutes=15),
    },
    # Late ones do no harm: deadlines are what the log says, and each step is taken once.
    "Run the clocks of disputes": {"task": "disputes.run_timers", "schedule": timedelta(minutes=5)},
    "Prove the clocks of disputes": {
        "task": "disputes.verify_clocks",
        "schedule": crontab(hour="2", minute="50"),
    },
    # Midnight comes at another hour in each contract's zone; terms and states go by dates, not by these runs.
    "Refresh the states of contracts": {
        "task": "contracts.refresh_statuses",
        "schedule": crontab(minute="5"),
    },
    "Lock and settle renewals of contracts": {
        "task": "contracts.run_renewals",
        "schedule": crontab(minute="15"),
    },
    "Send alerts before notice deadlines": {
        "task": "contracts.send_renewal_alerts",
        "schedule": crontab(hour="5", minute="30"),
    },
    "Work out service credits": {
        "task": "contracts.close_sla_periods",
        "schedule": crontab(hour="1", minute="40"),
    },
    "Commit the budgets of contracts": {
        "task": "contracts.commit_budgets",
        "schedule": crontab(hour="1", minute="50"),
    },
}
DJANGO_STRUCTLOG_CELERY_ENABLED = True
# HistoryContextMiddleware, which comes before, has checked or made the id: log, answer and history have the same.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True

# --- API -------------------------------------------------------------------------------------------------
# Everything about it stands in billing_project/settings/api.py, imported above.

# --- Rules of the product --------------------------------------------------------------------------------
EXCHANGE_RATE_MAX_AGE_DAYS = env.int("EXCHANGE_RATE_MAX_AGE_DAYS", default=7)
# A billing run reports a payer whose total differs by so many per cent from its last period (INV-03).
BILLING_RUN_CHANGE_PERCENT = env.int("BILLING_RUN_CHANGE_PERCENT", default=30)
# And one of whose usage more than so many per cent belongs to no department.
BILLING_RUN_UNALLOCATED_PERCENT = env.int("BILLING_RUN_UNALLOCATED_PERCENT", default=5)
# A transfer above this, in the giving budget's currency, needs finance besides the owner (BUD-24).
BUDGET_TRANSFER_FINANCE_THRESHOLD = env.int("BUDGET_TRANSFER_FINANCE_THRESHOLD", default=10_000)
BUDGET_TRANSFER_ACROSS_PERIODS = env.bool("BUDGET_TRANSFER_ACROSS_PERIODS", default=False)
# A commitment without a date of its own expires this long after its budget's period (BUD-17).
BUDGET_COMMITMENT_EXPIRY_DAYS = env.int("BUDGET_COMMITMENT_EXPIRY_DAYS", default=90)
# The largest override that a role may grant, in the budget's currency; None is without limit (BUD-29).
BUDGET_OVERRIDE_LIMITS: dict[str, int | None] = {
    "finance_manager": env.int("BUDGET_OVERRIDE_LIMIT_FINANCE_MANAGER", default=50_000),
    "administrator": None,
}
# The category of the budgets that imported usage charges, where a department has several (USE-05).
BUDGET_USAGE_CATEGORY = env.str("BUDGET_USAGE_CATEGORY", default="cloud")
# What becomes of an allocated cost whose department has no budget: "list" lets it pass as unbudgeted, "refuse"
# does not (BUD-19, ALC-06).
BUDGET_UNBUDGETED = env.str("BUDGET_UNBUDGETED", default="list")
# How long a request may take to be decided (APR-20).
APPROVAL_EXPIRY_DAYS = env.int("APPROVAL_EXPIRY_DAYS", default=30)
# Requests of one requester, supplier and cost centre within so many days are added up to choose the band (APR-04).
APPROVAL_SPLIT_GUARD_DAYS = env.int("APPROVAL_SPLIT_GUARD_DAYS", default=30)
# What an approved request may rise by without being decided again, in all: the smaller of the two (APR-11).
APPROVAL_TOLERANCE_PERCENT = env.int("APPROVAL_TOLERANCE_PERCENT", default=5)
APPROVAL_TOLERANCE_AMOUNT = env.int("APPROVAL_TOLERANCE_AMOUNT", default=500)
# A change order is routed by its new "total", or by what it adds, "delta" (APR-12).
APPROVAL_CHANGE_ORDER_BASIS = env.str("APPROVAL_CHANGE_ORDER_BASIS", default="total")
# At most so many requests are approved at once, and none above the amount, in the group's currency (APR-24).
APPROVAL_BULK_ITEMS = env.int("APPROVAL_BULK_ITEMS", default=200)
APPROVAL_BULK_AMOUNT = env.int("APPROVAL_BULK_AMOUNT", default=10_000)
# Links in mails live so long; above the amount they ask for the password again (APR-25).
APPROVAL_LINK_HOURS = env.int("APPROVAL_LINK_HOURS", default=72)
APPROVAL_LINK_STEP_UP_AMOUNT = env.int("APPROVAL_LINK_STEP_UP_AMOUNT", default=10_000)
# So many unknown links an address may try, and wrong passwords a link takes, in ten minutes (APR-25).
APPROVAL_LINK_GUESSES = env.int("APPROVAL_LINK_GUESSES", default=20)
APPROVAL_LINK_PASSWORDS = env.int("APPROVAL_LINK_PASSWORDS", default=5)
# Who wants one mail a day gets it after this hour of their own time zone.
APPROVAL_DIGEST_HOUR = env.int("APPROVAL_DIGEST_HOUR", default=7)
# An emergency approval is reviewed by a second person within so many hours (APR-26).
APPROVAL_EMERGENCY_REVIEW_HOURS = env.int("APPROVAL_EMERGENCY_REVIEW_HOURS", default=24)
APPROVAL_ATTACHMENT_MEGABYTES = env.int("APPROVAL_ATTACHMENT_MEGABYTES", default=10)
DISPUTE_ATTACHMENT_MEGABYTES = env.int("DISPUTE_ATTACHMENT_MEGABYTES", default=10)
SIMPLE_HISTORY_REVERT_DISABLED = True
IMPORT_EXPORT_ESCAPE_FORMULAE_ON_EXPORT = True

# --- Watching --------------------------------------------------------------------------------------------
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT = env.str("LOG_FORMAT", default="json")
_LOG_CONTEXT: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
structlog.configure(
    processors=[
        *_LOG_CONTEXT,
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            "foreign_pre_chain": _LOG_CONTEXT,
        },
        "text": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(
                    colors=False, exception_formatter=structlog.dev.plain_traceback
                ),
            ],
            "foreign_pre_chain": _LOG_CONTEXT,
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        # They report every rule of a style sheet that is for screens only.
        "weasyprint": {"level": "ERROR"},
        "fontTools": {"level": "ERROR"},
    },
}

# Where people reach this installation: the links in mails begin with it.
PUBLIC_URL = env.str("PUBLIC_URL", default="http://localhost:8000")
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Enterprise Billing <billing@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
