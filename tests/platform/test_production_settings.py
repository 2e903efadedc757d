"""Production starts with real secrets only, and tells which variable is wrong (SEC-05)."""

import base64
import hashlib
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


def random_text(seed: str) -> str:
    """Return text that looks like a secret, the same in every process of a test run."""
    return base64.urlsafe_b64encode(hashlib.sha512(seed.encode()).digest()).decode().rstrip("=")


def fernet_key(seed: str) -> str:
    """Return a Fernet key, the same in every process of a test run."""
    return base64.urlsafe_b64encode(hashlib.sha256(seed.encode()).digest()).decode()


GOOD = {
    "SECRET_KEY": random_text("secret"),
    "FIELD_ENCRYPTION_KEYS": f"{fernet_key('newer')},{fernet_key('older')}",
    "BLIND_INDEX_KEY": random_text("blind"),
    "DATABASE_URL": "postgres://billing:9f8c1a@database.internal:5432/billing",
    "REDIS_URL": "redis://redis.internal:6379/0",
    "ALLOWED_HOSTS": "billing.company.com, billing.internal",
}


def start(changes: dict[str, str | None], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program under production settings with some variables changed or left out."""
    variables = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "billing_project.settings.production",
    }
    return subprocess.run(
        [sys.executable, *(command or ("-c", "from django.conf import settings; settings.DEBUG"))],
        cwd=REPOSITORY,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(changes: dict[str, str | None]) -> str:
    """Return the sentence that production refuses to start with."""
    done = start(changes)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("django.core.exceptions.ImproperlyConfigured: "), done.stderr
    return last.removeprefix("django.core.exceptions.ImproperlyConfigured: ")


def test_it_starts_when_everything_is_set() -> None:
    done = start({})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_variable_is_named(name: str, value: str | None) -> None:
    assert refusal({name: value}).startswith(f"{name} is not set. ")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SECRET_KEY", "change-me-" + "x1y2z3" * 10, "SECRET_KEY still holds an example value. "),
        ("SECRET_KEY", "a" * 60, "SECRET_KEY still holds an example value. "),
        (
            "SECRET_KEY",
            "django-insecure-" + random_text("insecure"),
            "SECRET_KEY still holds an example value. ",
        ),
        ("SECRET_KEY", "Ab3xK9_qLm2ZtR7w", "SECRET_KEY is shorter than 50 characters. "),
        ("BLIND_INDEX_KEY", "Ab3xK9_qLm2ZtR7w", "BLIND_INDEX_KEY is shorter than 32 characters. "),
        (
            "FIELD_ENCRYPTION_KEYS",
            f"{fernet_key('newer')},abcdefghijklm",
            "FIELD_ENCRYPTION_KEYS: key 2 is not a Fernet key. ",
        ),
        (
            "BLIND_INDEX_KEY",
            GOOD["SECRET_KEY"],
            "SECRET_KEY, BLIND_INDEX_KEY and FIELD_ENCRYPTION_KEYS must all differ.",
        ),
        ("ALLOWED_HOSTS", "*", "ALLOWED_HOSTS must not be '*'. "),
        ("DATABASE_URL", "sqlite:////tmp/billing.db", "DATABASE_URL must begin with postgres://; "),
        ("DATABASE_URL", "postgres://billing@database.internal", "DATABASE_URL names no database: "),
        (
            "DATABASE_URL",
            "postgres://billing:change-me@db/billing",
            "DATABASE_URL still holds an example password.",
        ),
    ],
)
def test_an_unusable_value_is_refused(name: str, value: str, sentence: str) -> None:
    assert refusal({name: value}).startswith(sentence)


def test_the_secrets_of_tests_are_refused() -> None:
    from billing_project.settings import test as test_settings

    for name in ("SECRET_KEY", "BLIND_INDEX_KEY"):
        assert refusal({name: getattr(test_settings, name)}).startswith(
            f"{name} still holds an example value. "
        )


def test_every_secret_of_the_example_file_is_refused() -> None:
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    example = dict(
        line.lstrip("# ").split("=", 1)
        for line in lines
        if "=" in line and " " not in line.split("=")[0].lstrip("# ")
    )
    for name in ("SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "BLIND_INDEX_KEY"):
        assert refusal({name: example[name]}).startswith(f"{name} ")


def test_the_deployment_check_finds_nothing() -> None:
    done = start({}, "manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "System check identified no issues (0 silenced)." in done.stdout


def test_a_socket_in_the_database_url_is_decoded() -> None:
    show = "from django.conf import settings as s; d = s.DATABASES['default']; print(d['HOST'], d['NAME'], d['USER'])"
    for url in ("postgres://eb@/eb?host=/run/my%20folder", "postgres://eb@%2Frun%2Fmy%20folder/eb"):
        done = start({"DATABASE_URL": url}, "-c", show)
        assert done.stdout.strip() == "/run/my folder eb eb", done.stderr
