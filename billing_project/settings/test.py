"""Tests: the real PostgreSQL and Redis, the private ones unless DATABASE_URL and REDIS_URL name others.

Tasks are not run eagerly: what leaves for the queue after commit waits there, and a test that needs a worker
starts a real one (`celery_worker_process` in tests/conftest.py).
"""

import os
import secrets
import tempfile
from pathlib import Path

from billing_project import engines
from billing_project.settings.base import *
from billing_project.settings.environment import broker_from_redis_url, database_from_url, env

DEBUG = False
# Fixed on purpose: they protect nothing but test data, and failures can be repeated.
SECRET_KEY = "test-only-secret-key-of-enterprise-billing-0123456789-abcdefghij"
FIELD_ENCRYPTION_KEYS = [
    "dGVzdC1vbmx5LWtleS1vZi1lbnRlcnByaXNlLWJpbGw=",
    "b2xkZXItdGVzdC1vbmx5LWtleS1lbnRlcnByaXNlLWI=",
]
BLIND_INDEX_KEY = "test-only-blind-index-key-of-enterprise-billing"
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]

DATABASE_URL = env.str("DATABASE_URL", default="") or engines.postgres_url("billing")
DATABASES = {"default": database_from_url(DATABASE_URL)}
# Nothing is to survive a power cut here; emptying tables between tests is much quicker so.
DATABASES["default"]["OPTIONS"]["options"] = "-c synchronous_commit=off"
if "BILLING_TEST_DATABASE" in os.environ:
    # A process that a test started works in the test's database.
    DATABASES["default"]["NAME"] = os.environ["BILLING_TEST_DATABASE"]

# A run shares Redis with other runs and with development: everything of this run has its own prefix, which
# processes that a test starts inherit.
RUN = os.environ.setdefault("BILLING_TEST_RUN", f"test-{secrets.token_hex(6)}")
PREFIX = f"{RUN}-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
# Database 15 of the private Redis; an external one is used as it is named.
REDIS_URL = env.str("REDIS_URL", default="") or engines.redis_url(15)


def cache_key(key: str, key_prefix: str, version: int) -> str:
    """Return a cache key that belongs to the running test alone, in this process and in those it started."""
    return f"{key_prefix}:{os.environ.get('BILLING_TEST_CACHE', '')}:{version}:{key}"


CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": PREFIX,
        "KEY_FUNCTION": "billing_project.settings.test.cache_key",
        "TIMEOUT": 600,
    }
}
CELERY_BROKER_URL = broker_from_redis_url(REDIS_URL)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 600,
    "global_keyprefix": f"{PREFIX}:",
    "max_retries": 0,
}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
DATA_DIR = Path(
    os.environ.setdefault("BILLING_TEST_DATA", tempfile.mkdtemp(prefix="enterprise-billing-test-"))
)
MEDIA_ROOT = Path(os.environ.get("BILLING_TEST_MEDIA", DATA_DIR / "uploads"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

LOGGING["handlers"]["stderr"]["formatter"] = "text"
LOGGING["root"]["level"] = LOGGING["loggers"]["django"]["level"] = "WARNING"

# Static files straight from the apps, for tests in the browser.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
