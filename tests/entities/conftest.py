"""The Northwind group, and clients that are signed in as its people."""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal

import pytest
from django.conf import settings
from django.test import Client
from rest_framework.test import APIClient

from core.api.tokens import forget_all, token_pair_issue
from core.models import User
from entities.models import AllocationPosting, Department, Entity
from entities.services import cost_allocate
from tests.entities.factories import Group, group

BASE = "/api/enterprise-billing"
SEPTEMBER = (date(2024, 9, 1), date(2024, 10, 1))

Call = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def fresh_user_cache() -> Iterator[None]:
    """What a process remembers of users must not outlive a test."""
    forget_all()
    yield
    forget_all()


@pytest.fixture
def northwind(db: None) -> Group:
    return group()


@pytest.fixture
def api() -> Callable[[User], APIClient]:
    """A client of the API, signed in."""

    def client_of(user: User) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=user).access}")
        return client

    return client_of


@pytest.fixture
def back_office() -> Callable[[User], Client]:
    """A browser's session in the back-office."""

    def client_of(user: User) -> Client:
        client = Client()
        client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[-1])
        return client

    return client_of


def allocate(actor: User, department: Department, amount: str, **options: object) -> AllocationPosting:
    """Allocate an amount for September 2024."""
    start, end = SEPTEMBER
    values: dict[str, object] = {
        "actor": actor,
        "department": department,
        "amount": Decimal(amount),
        "description": "Cloud",
        "period_start": start,
        "period_end": end,
        **options,
    }
    return cost_allocate(**values)  # type: ignore[arg-type]


def amounts(posting: AllocationPosting) -> list[tuple[str, Decimal]]:
    """The lines of a posting as (code, amount)."""
    rows = posting.lines.order_by("line_number").select_related("department")
    return [(row.department.code, row.amount) for row in rows]


def chain(entity: Entity) -> list[str]:
    """The names from the root down to the entity."""
    return [row.name for row in Entity.objects.ancestors_of(entity.pk, include_self=True)]
