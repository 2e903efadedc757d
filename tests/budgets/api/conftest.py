"""Clients that are signed in as the people of a place."""

from collections.abc import Callable, Iterator

import pytest
from rest_framework.test import APIClient

from core.api.tokens import forget_all, token_pair_issue
from core.models import User
from tests.budgets.builders import Place

SignIn = Callable[[User], APIClient]


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


@pytest.fixture
def api(here: Place, sign_in: SignIn) -> APIClient:
    """The client of the finance manager."""
    return sign_in(here.finance)


@pytest.fixture
def colleague(here: Place, sign_in: SignIn) -> APIClient:
    """The client of another finance manager: the second person."""
    return sign_in(here.colleague)
