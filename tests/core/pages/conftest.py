"""People at the pages of the tests (tests/core/pages/site.py)."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from core.models import User

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def test_pages(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.core.pages.site"


@pytest.fixture
def manager(db: None) -> User:
    """Somebody without the back-office."""
    return User.objects.create_user(
        "lukas",
        "lukas@example.com",
        PASSWORD,
        first_name="Lukas",
        last_name="Brandt",
        time_zone="Europe/Berlin",
    )


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    def sign_in(user: User) -> Client:
        client = Client(raise_request_exception=False)
        client.force_login(user, backend=django_settings.AUTHENTICATION_BACKENDS[-1])
        return client

    return sign_in
