"""Clients that are signed in as the people of a house."""

from collections.abc import Callable, Iterator

import pytest
from rest_framework.test import APIClient

from core.api.tokens import forget_all, token_pair_issue
from core.models import User

SignIn = Callable[[User], APIClient]
BASE = "/api/enterprise-billing"
APPROVALS = f"{BASE}/approvals"


@pytest.fixture(autouse=True)
def fresh_user_cache() -> Iterator[None]:
    """What a process remembers of users must not outlive a test."""
    forget_all()
    yield
    forget_all()


@pytest.fixture
def sign_in() -> SignIn:
    def client_of(user: User) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=user).access}")
        client.default_format = "json"
        return client

    return client_of
