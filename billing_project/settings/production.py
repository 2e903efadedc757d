"""Production: everything from the environment; it refuses to start without its secrets or with known ones."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from billing_project.settings.base import *
from billing_project.settings.environment import broker_from_redis_url, database_from_url, env

# Words of examples and samples; a value that contains one was copied, not made.
_KNOWN_WORDS = (
    "change-me",
    "changeme",
    "replace",
    "example",
    "insecure",
    "secret-key",
    "password",
    "demo",
    "test-",
)


def _required(name: str, hint: str) -> str:
    """Return a variable that production cannot do without; refuse an empty or a copied value."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. {hint}")
    return value


def _secret(name: str, hint: str, *, length: int) -> str:
    """Return a secret of at least so many characters that is no example of ours."""
    value = _required(name, hint)
    if any(word in value.lower() for word in _KNOWN_WORDS) or len(set(value)) < 10:
        raise ImproperlyConfigured(f"{name} still holds an example value. {hint}")
    if len(value) < length:
        raise ImproperlyConfigured(f"{name} is shorter than {length} characters. {hint}")
    return value


def _field_keys() -> list[str]:
    hint = (
        "Give one or more keys, separated by commas, the newest first; make one with: "
        'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
    )
    keys = [
        key.strip() for key in _secret("FIELD_ENCRYPTION_KEYS", hint, length=44).split(",") if key.strip()
    ]
    for number, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError as problem:
            raise ImproperlyConfigured(
                f"FIELD_ENCRYPTION_KEYS: key {number} is not a Fernet key. {hint}"
            ) from problem
    return keys


_RANDOM = 'Make one with: python -c "import secrets; print(secrets.token_urlsafe(50))"'

DEBUG = False
SECRET_KEY = _secret("SECRET_KEY", _RANDOM, length=50)
FIELD_ENCRYPTION_KEYS = _field_keys()
BLIND_INDEX_KEY = _secret("BLIND_INDEX_KEY", _RANDOM, length=32)
if len({SECRET_KEY, BLIND_INDEX_KEY, *FIELD_ENCRYPTION_KEYS}) < 2 + len(FIELD_ENCRYPTION_KEYS):
    raise ImproperlyConfigured("SECRET_KEY, BLIND_INDEX_KEY and FIELD_ENCRYPTION_KEYS must all differ.")

ALLOWED_HOSTS = [
    host.strip()
    for host in _required(
        "ALLOWED_HOSTS", "Name the host names people use, such as billing.company.com."
    ).split(",")
    if host.strip()
]
if "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS must not be '*'. Name the host names people use, separated by commas."
    )
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

_database_url = _required(
    "DATABASE_URL", "Give postgres://user:password@host:5432/name of PostgreSQL 15 or newer."
)
if urlsplit(_database_url).password in {"change-me", "changeme", "password"}:
    raise ImproperlyConfigured("DATABASE_URL still holds an example password.")
DATABASES = {"default": database_from_url(_database_url)}

REDIS_URL = _required("REDIS_URL", "Give redis://host:6379/0 of Redis 6 or newer.")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": env.str("CACHE_URL", default=REDIS_URL),
        "KEY_PREFIX": "billing",
    }
}
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default=broker_from_redis_url(REDIS_URL))

DATA_DIR = Path(env.str("BILLING_DATA_DIR", default="/var/lib/enterprise-billing"))
MEDIA_ROOT = DATA_DIR / "uploads"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(STATIC_ROOT)))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- Only over TLS ---------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
# Health probes come from inside, without TLS.
SECURE_REDIRECT_EXEMPT = [r"^health/"]
if env.bool("BEHIND_TLS_PROXY", default=True):
    # The proxy must set this header itself and drop the client's.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=True)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=True)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True

# --- Mail ------------------------------------------------------------------------------------------------
# smtp+tls://user:password@host:587; without it mails are refused loudly when they are sent, never lost.
vars().update(env.email_url("EMAIL_URL", default="smtp://localhost:25"))
EMAIL_TIMEOUT = 20
