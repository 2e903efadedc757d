"""Development: the private PostgreSQL and Redis of this checkout unless DATABASE_URL and REDIS_URL name others."""

from billing_project import engines
from billing_project.settings.base import *
from billing_project.settings.environment import broker_from_redis_url, database_from_url, env
from core.sample_data import sign_ins

DEBUG = env.bool("DEBUG", default=True)
DATA_DIR = engines.data_directory()
SECRETS = engines.development_secrets()

SECRET_KEY = env.str("SECRET_KEY", default=SECRETS["SECRET_KEY"])
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=[SECRETS["FIELD_ENCRYPTION_KEYS"]])
BLIND_INDEX_KEY = env.str("BLIND_INDEX_KEY", default=SECRETS["BLIND_INDEX_KEY"])

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", ".localhost"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

DATABASE_URL = env.str("DATABASE_URL", default="") or engines.postgres_url("billing")
REDIS_URL = env.str("REDIS_URL", default="") or engines.redis_url(0)
DATABASES = {"default": database_from_url(DATABASE_URL)}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": env.str("CACHE_URL", default=REDIS_URL),
        "KEY_PREFIX": "billing",
    }
}
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default=broker_from_redis_url(REDIS_URL))

# Shown on the sign-in page, and who they are is known to everybody: never set in production.
DEMO_SIGN_INS = sign_ins.DEMO_SIGN_INS
DEMO_PAGE_SIGN_INS = sign_ins.PAGE_SIGN_INS

MEDIA_ROOT = DATA_DIR / "uploads"
# Mails are written as files, to be read in the data folder.
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = DATA_DIR / "mails"

# Static files come straight from the apps, so nothing is to be collected.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True

LOG_FORMAT = env.str("LOG_FORMAT", default="text")
LOG_LEVEL = env.str("LOG_LEVEL", default="WARNING")
LOGGING["handlers"]["stderr"]["formatter"] = LOG_FORMAT
LOGGING["root"]["level"] = LOGGING["loggers"]["django"]["level"] = LOG_LEVEL
