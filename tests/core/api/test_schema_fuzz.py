"""Schemathesis against the document: whatever is sent to any operation, no fault of ours and no undocumented answer.

It covers every path of the document by itself. Ids in paths and bodies are often replaced by ids that exist, so
that the requests get further than "not found".
"""

import re
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.urls import Resolver404, resolve
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi import checks as openapi_checks

from core.api.tokens import forget_all, token_pair_issue
from core.models import Notification, User
from entities.models import Entity, Membership, Role

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

# A valid body may still be refused by a rule, a number is taken where text is documented, and that nobody gets
# in without signing in is tested faster in test_schema.py.
EXCLUDED = [
    openapi_checks.positive_data_acceptance,
    openapi_checks.negative_data_rejection,
    openapi_checks.ignored_auth,
]


@pytest.fixture
def world(transactional_db: None, settings: Any) -> Iterator[User]:
    """An administrator of a small group who is not held up by limits."""
    settings.API_RATES = dict.fromkeys(settings.API_RATES, (0, 60))
    forget_all()
    entity = Entity.objects.create(name="Fuzz", code="FUZZ", currency="EUR")
    user = User.objects.create_user("fuzz", "fuzz@example.com", "a-password-long-enough")
    Membership.objects.create(user=user, entity=entity, role=Role.ADMINISTRATOR)
    Notification.objects.create(user=user, kind="info", title="Hello")
    yield user
    forget_all()


@pytest.fixture
def api_schema(world: User) -> Any:
    return schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application())


def existing_id(path: str) -> int | None:
    """Return the id of some record behind a path of the document, such as /api/…/entities/{id}."""
    try:
        view = resolve(re.sub(r"\{[^}]*\}", "1", path)).func
    except Resolver404:
        return None
    queryset = getattr(getattr(view, "cls", None), "queryset", None)
    return None if queryset is None else queryset.model._default_manager.values_list("pk", flat=True).last()


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_answers_as_documented(case: schemathesis.Case, world: User) -> None:
    path = case.operation.path
    number = existing_id(path)
    if number is not None and "id" in (case.path_parameters or {}) and crc32(repr(case.body).encode()) % 4:
        case.path_parameters["id"] = number
    if isinstance(case.body, dict):
        for name in case.body:
            if name.endswith("entity_id") and isinstance(case.body[name], int):
                case.body[name] = Entity.objects.values_list("pk", flat=True).first()
    fresh = User.objects.get(pk=world.pk)
    headers = {"Authorization": f"Bearer {token_pair_issue(user=fresh).access}"}
    case.call_and_validate(headers=headers, excluded_checks=EXCLUDED)
