"""Rights and visibility in the words of core; the membership rules are tested with entities."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import AnonymousUser
from django.db import connection

from core import access
from core.errors import Forbidden, NotFound, Unauthenticated
from core.models import Notification, User
from core.notifications import notify

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna() -> User:
    return User.objects.create_user("anna", "anna@example.com")


def test_the_system_actor_is_made_by_the_migration_and_cannot_sign_in() -> None:
    User.objects.filter(is_system=True).delete()
    migration = import_module("core.migrations.0002_system_actor")
    with connection.schema_editor() as editor:
        migration.create_system_actor(apps, editor)
        migration.create_system_actor(apps, editor)
    system = User.objects.get(is_system=True)
    assert access.system_actor() == system
    assert (system.username, system.is_active, system.has_usable_password()) == ("system", False, False)
    assert access.has(system, "core.change_outboxevent")
    assert access.is_system(system)


def test_the_system_actor_is_made_anew_where_it_is_missing() -> None:
    User.objects.filter(is_system=True).delete()
    system = access.system_actor()
    assert (system.username, system.is_active, system.has_usable_password()) == ("system", False, False)
    assert access.system_actor() == system
    assert User.objects.filter(is_system=True).count() == 1


def test_a_user_called_system_is_not_the_system() -> None:
    User.objects.filter(is_system=True).delete()
    impostor = User.objects.create_user("system")
    assert not access.is_system(impostor)
    assert not access.has(impostor, "core.change_outboxevent")


def test_a_refusal_names_the_permission_and_who_has_it(anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_explainers", [])
    access.register_permission_explainer(lambda perm: ["Finance manager", "Administrator"])
    with pytest.raises(Forbidden) as refused:
        access.require(anna, "core.change_outboxevent", anna)
    assert refused.value.code == "permission_denied"
    assert refused.value.message == (
        'You need the permission "Can change outbox event" on "anna". Roles that have it: Administrator, '
        "Finance manager. Ask an administrator of the entity for such a role."
    )
    assert refused.value.extra == {
        "permission": "core.change_outboxevent",
        "roles": ["Administrator", "Finance manager"],
    }


def test_nobody_is_asked_to_sign_in() -> None:
    with pytest.raises(Unauthenticated):
        access.require(AnonymousUser(), "core.change_outboxevent")


def test_hidden_and_absent_are_told_in_the_same_words(anna: User) -> None:
    ben = User.objects.create_user("ben", "ben@example.com")
    hidden = notify(user=ben, kind="test", title="For Ben", email=False)
    own = notify(user=anna, kind="test", title="For Anna", email=False)
    assert access.get_visible(Notification.objects, anna, own.pk, name="notification") == own

    def message(pk: Any) -> str:
        with pytest.raises(NotFound) as missing:
            access.get_visible(Notification.objects, anna, pk, name="notification")
        assert missing.value.code == "not_found"
        return missing.value.message.replace(str(pk), "N")

    assert message(hidden.pk) == message(own.pk + 100) == message("no-number") == message(10**30)
