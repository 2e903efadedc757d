"""Clients that are signed in as the people of a desk."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from core.api.tokens import forget_all, token_pair_issue
from core.models import User
from disputes.models import BillingDispute
from tests.disputes.builders import Desk

SignIn = Callable[[User], APIClient]
BASE = "/api/enterprise-billing"
DISPUTES = f"{BASE}/disputes"


def at(dispute: BillingDispute | int, *parts: Any) -> str:
    """The address of a dispute, or of something below it."""
    number = dispute if isinstance(dispute, int) else dispute.pk
    return "/".join([f"{DISPUTES}/{number}", *(str(part) for part in parts)])


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
def staff(desk: Desk, sign_in: SignIn) -> APIClient:
    """Finance staff of the issuer."""
    return sign_in(desk.staff)


@pytest.fixture
def customer(desk: Desk, sign_in: SignIn) -> APIClient:
    """Finance staff of the payer."""
    return sign_in(desk.customer)
