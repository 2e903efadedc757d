"""People with roles and clients that are signed in as them."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from rest_framework.test import APIClient

from core.api.tokens import forget_all, token_pair_issue
from core.models import User
from entities.models import Entity, Membership, Role

PASSWORD = "a-password-long-enough"
_numbers = count(1)

MakeUser = Callable[..., User]
SignIn = Callable[[User], APIClient]


@pytest.fixture(autouse=True)
def fresh_user_cache() -> Iterator[None]:
    """What a process remembers of users must not outlive a test."""
    forget_all()
    yield
    forget_all()


@pytest.fixture
def entity(db: None) -> Entity:
    return Entity.objects.create(name="Acme Holding", code=f"ACME-{next(_numbers)}", currency="EUR")


@pytest.fixture
def make_user(db: None) -> MakeUser:
    def make(role: str | None = None, at: Entity | None = None, **fields: object) -> User:
        name = f"user{next(_numbers)}"
        user = User.objects.create_user(name, f"{name}@example.com", PASSWORD, **fields)
        if role is not None:
            Membership.objects.create(
                user=user,
                role=role,
                entity=at or Entity.objects.create(name=name, code=name.upper(), currency="EUR"),
            )
        return user

    return make


@pytest.fixture
def sign_in() -> SignIn:
    def client_of(user: User) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=user).access}")
        return client

    return client_of


@pytest.fixture
def manager(make_user: MakeUser, entity: Entity) -> User:
    return make_user(Role.FINANCE_MANAGER, entity)


@pytest.fixture
def auditor(make_user: MakeUser, entity: Entity) -> User:
    return make_user(Role.AUDITOR, entity)


@pytest.fixture
def api(sign_in: SignIn, manager: User) -> APIClient:
    """The client of a finance manager."""
    return sign_in(manager)
