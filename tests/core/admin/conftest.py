"""A group of three entities in two currencies, and people with roles in it."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from core.admin import dashboard, record_parts
from core.models import User
from entities.models import Entity, Membership


@dataclass
class Group:
    root: Entity
    german: Entity
    japanese: Entity
    other: Entity


@pytest.fixture(autouse=True)
def test_site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The back-office of these tests (tests/core/admin/site.py), without what upper apps add to its pages."""
    settings.ROOT_URLCONF = "tests.core.admin.site"
    for registry in ("_cards", "_needs", "_panels"):
        monkeypatch.setattr(dashboard, registry, [])
    for registry in ("_links", "_panels"):
        monkeypatch.setattr(record_parts, registry, {})


@pytest.fixture
def group(db: None) -> Group:
    root = Entity.objects.create(
        name="Acme", code="ACME", currency="EUR", entity_type="root", credit_limit=Decimal("1000.00")
    )
    german = Entity.objects.create(
        name="Acme DE", code="ACME-DE", currency="EUR", parent=root, credit_limit=Decimal("250.50")
    )
    japanese = Entity.objects.create(
        name="Acme JP", code="ACME-JP", currency="JPY", parent=root, credit_limit=Decimal("90000")
    )
    other = Entity.objects.create(
        name="Stranger", code="STRANGER", currency="EUR", credit_limit=Decimal("7.00")
    )
    return Group(root, german, japanese, other)


@pytest.fixture
def person(db: None) -> Callable[..., User]:
    """Make a user with a role: `person("grace", "administrator", at=group.root)`."""

    def make(name: str, role: str = "", at: Entity | None = None) -> User:
        user = User.objects.create_user(
            name, f"{name}@example.com", is_staff=True, first_name=name.capitalize()
        )
        if at is not None:
            Membership.objects.create(user=user, entity=at, role=role)
        return user

    return make


@pytest.fixture
def as_user() -> Callable[[User], Client]:
    """Return a client that is signed in."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user, backend=django_settings.AUTHENTICATION_BACKENDS[-1])
        return client

    return sign_in


@pytest.fixture
def administrator(person: Callable[..., User], group: Group) -> User:
    """Administrator of Acme and all below it; Stranger is outside."""
    return person("ada", "administrator", at=group.root)


@pytest.fixture
def auditor(person: Callable[..., User], group: Group) -> User:
    """Sees Acme and all below it, writes nothing."""
    return person("audrey", "auditor", at=group.root)


@pytest.fixture
def admin_client(administrator: User, as_user: Callable[[User], Client]) -> Client:
    return as_user(administrator)


@pytest.fixture
def auditor_client(auditor: User, as_user: Callable[[User], Client]) -> Client:
    return as_user(auditor)
