"""Signed-in clients of the API of contracts."""

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from core.models import User

BASE = "/api/enterprise-billing"
SignIn = Callable[[User], APIClient]


@pytest.fixture
def sign_in() -> SignIn:
    def client(user: User) -> APIClient:
        signed_in = APIClient()
        signed_in.default_format = "json"
        signed_in.force_authenticate(user)
        return signed_in

    return client
