"""Schemathesis against the document: whatever is sent to any operation, no fault of ours and no undocumented answer.

It covers every path of the document by itself. Ids in paths and bodies are often replaced by ids that exist, so
that the requests get further than "not found". Each request starts from the same small group and is rolled back,
so that one that takes the caller's rights away does not turn those after it into refusals.

The budget is fixed and the same on every machine. Each operation gets every example of the document, some random
requests, each valid value and each limit of every parameter and property, and for every parameter and property one
value of a wrong type: a list here, null, a number, a text there, so that operations that share a filter try them
all. What the same code answers for every operation (pages, headers, methods that are not there) is tried at some of
them. The paths are dealt out to SHARES tests, which the workers of a run divide among themselves.

What limits and types are refused does not depend on the servers: on external ones each operation gets its examples
and the random requests only.
"""

import functools
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import TestCase
from django.urls import Resolver404, resolve
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, settings
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario
from schemathesis.specs.openapi import checks as openapi_checks

from core.api.tokens import forget_all, token_pair_issue
from core.models import Notification, User
from entities.models import Entity, Membership, Role

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

# A valid body may still be refused by a rule, a number is taken where text is documented, and that nobody gets
# in without signing in is tested faster in test_schema.py.
EXCLUDED = [
    openapi_checks.positive_data_acceptance,
    openapi_checks.negative_data_rejection,
    openapi_checks.ignored_auth,
]
SHARES = 8
# Schemathesis gives each parameter at least so many values of wrong types.
WRONG_TYPES = 4
# Every list has these from the same code.
OF_ALL_LISTS = {"page", "page_size", "ordering", "search", "created_at", "updated_at"}
# Of what every operation shares, each tries one case in so many.
SHARED_ONE_IN = 8
ON_EXTERNAL_SERVERS = bool(os.environ.get("DATABASE_URL"))


@dataclass
class World:
    """A small group as requests see it, and how many requests and cases of a kind there were so far."""

    entity_id: int
    headers: dict[str, str]
    ids: dict[str, int | None] = field(default_factory=dict)
    sent: int = 0
    came: Counter[tuple[str, ...]] = field(default_factory=Counter)


@pytest.fixture
def world(db: None, settings: Any) -> Iterator[World]:
    """An administrator of a small group who is not held up by limits."""
    settings.API_RATES = dict.fromkeys(settings.API_RATES, (0, 60))
    forget_all()
    entity = Entity.objects.create(name="Fuzz", code="FUZZ", currency="EUR")
    user = User.objects.create_user("fuzz", "fuzz@example.com", "a-password-long-enough")
    Membership.objects.create(user=user, entity=entity, role=Role.ADMINISTRATOR)
    Notification.objects.create(user=user, kind="info", title="Hello")
    # As Django's own test client: the requests are part of the test's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield World(entity.pk, {"Authorization": f"Bearer {token_pair_issue(user=user).access}"})
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
    forget_all()


@schemathesis.python.constants
@functools.cache
def application() -> Any:
    """The product, whose constants are among the values that are tried."""
    return get_wsgi_application()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


@pytest.fixture(params=range(SHARES))
def api_schema(request: pytest.FixtureRequest, document: dict[str, Any], world: World) -> Any:
    """The document with the paths of one share."""
    paths = {
        path: item
        for path, item in document["paths"].items()
        if crc32(path.encode()) % SHARES == request.param
    }
    return schemathesis.openapi.from_dict({**document, "paths": paths})


def existing_id(path: str) -> int | None:
    """Return the id of some record behind a path of the document, such as /api/…/entities/{id}."""
    try:
        view = resolve(re.sub(r"\{[^}]*\}", "1", path)).func
    except Resolver404:
        return None
    queryset = getattr(getattr(view, "cls", None), "queryset", None)
    return None if queryset is None else queryset.model._default_manager.values_list("pk", flat=True).last()


def is_wanted(case: schemathesis.Case, world: World) -> bool:
    """Say whether a case is sent: all but those that differ from another one in nothing that the product sees."""
    data = case.meta.phase.data
    if not isinstance(data, CoveragePhaseData):
        return True
    if data.parameter == "Authorization":
        return False  # our own header goes there
    if ON_EXTERNAL_SERVERS and data.scenario is not CoverageScenario.DEFAULT_POSITIVE_TEST:
        return False
    # "/properties/name/anyOf/0/type" is about "/properties/name".
    about = re.sub(r"/(anyOf|oneOf|allOf)/\d+", "", data.location or "").rpartition("/")[0]
    kind = (case.operation.label, data.scenario, str(data.parameter_location), str(data.parameter), about)
    number = world.came[kind]
    world.came[kind] += 1
    if is_shared(data) and crc32(repr((kind, number)).encode()) % SHARED_ONE_IN:
        return False
    if data.scenario is CoverageScenario.INCORRECT_TYPE:
        return number == crc32(repr(kind).encode()) % WRONG_TYPES
    if data.scenario is CoverageScenario.OBJECT_UNEXPECTED_PROPERTIES:
        return number == 0
    return True


def is_shared(data: CoveragePhaseData) -> bool:
    """Say whether the case is answered before any operation's own code, or by what all lists have in common."""
    if data.scenario is CoverageScenario.UNSPECIFIED_HTTP_METHOD:
        return True
    if data.parameter_location is ParameterLocation.HEADER:
        return True
    name = re.sub(r"_(lte|gte|lt|gt)$", "", data.parameter or "")
    return data.parameter_location is ParameterLocation.QUERY and name in OF_ALL_LISTS


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_answers_as_documented(case: schemathesis.Case, world: World) -> None:
    if not is_wanted(case, world):
        return
    world.sent += 1
    path = case.operation.path
    if path not in world.ids:
        world.ids[path] = existing_id(path)
    number = world.ids[path]
    about_the_path = getattr(case.meta.phase.data, "parameter_location", None) is ParameterLocation.PATH
    known = number is not None and not about_the_path and world.sent % 4 > 0
    if known and "id" in (case.path_parameters or {}):
        case.path_parameters["id"] = number
    if isinstance(case.body, dict):
        for name in case.body:
            if name.endswith("entity_id") and isinstance(case.body[name], int):
                case.body[name] = world.entity_id
    with transaction.atomic():
        with TestCase.captureOnCommitCallbacks(execute=True):
            response = case.call_and_validate(
                app=application(), headers=world.headers, excluded_checks=EXCLUDED
            )
        transaction.set_rollback(True)
    if case.method.upper() != "GET" and response.status_code < 400:
        forget_all()  # of the user, who may have been changed
