"""People at the pages of approvals."""

from collections.abc import Callable

import pytest
from django.conf import settings
from django.test import Client

from core.models import User

ClientOf = Callable[[User], Client]


@pytest.fixture
def client_of() -> ClientOf:
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[-1])
        return client

    return sign_in
