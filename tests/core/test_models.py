"""Users, versions and what the database itself refuses."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.models import ProtectedError
from django.test.utils import isolate_apps

from core.access import system_actor
from core.errors import Stale, constraint_name
from core.history import record_as
from core.models import ExchangeRate, IdempotencyRecord, OutboxEvent, SavedFilter, User, VersionedModel

pytestmark = pytest.mark.django_db


def refused(queryset: models.QuerySet[Any], **values: Any) -> str | None:
    """Update past all Python code and return the name of the constraint that refuses; nothing may change."""
    before = list(queryset.order_by("pk").values())
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        queryset.update(**values)
    assert list(queryset.order_by("pk").values()) == before
    return constraint_name(error.value)


@pytest.fixture
def anna() -> User:
    return User.objects.create_user(
        "anna", "anna@example.com", "secret-password", first_name="Anna", last_name="Lee"
    )


@pytest.fixture
def ben() -> User:
    return User.objects.create_user("ben", "ben@example.com")


def test_database_refuses_a_second_user_with_the_same_address_or_name(anna: User, ben: User) -> None:
    row = User.objects.filter(pk=ben.pk)
    assert refused(row, email="ANNA@Example.com") == "users_email_unique"
    assert refused(row, username="Anna") == "users_username_unique"


def test_several_service_accounts_may_have_no_address(anna: User) -> None:
    User.objects.create_user("erp", is_service_account=True)
    User.objects.create_user("crm", is_service_account=True)
    assert User.objects.filter(email="", is_system=False).count() == 2


def test_database_keeps_one_system_user_that_cannot_sign_in(anna: User) -> None:
    system = User.objects.filter(pk=system_actor().pk)
    assert refused(system, is_active=True) == "users_system_cannot_sign_in"
    assert refused(User.objects.filter(pk=anna.pk), is_system=True, is_active=False) == "users_one_system"


def test_database_refuses_a_user_as_own_manager(anna: User) -> None:
    assert refused(User.objects.filter(pk=anna.pk), manager_id=anna.pk) == "users_not_own_manager"


def test_database_refuses_wrong_exchange_rates() -> None:
    rate = ExchangeRate.objects.create(
        date=date(2024, 9, 2), base="EUR", quote="USD", rate=Decimal("1.1"), source="ECB"
    )
    row = ExchangeRate.objects.filter(pk=rate.pk)
    assert refused(row, rate=0) == "exchange_rates_positive"
    assert refused(row, rate=-1) == "exchange_rates_positive"
    assert refused(row, quote="EUR") == "exchange_rates_two_currencies"
    other = ExchangeRate.objects.create(
        date=date(2024, 9, 3), base="EUR", quote="USD", rate=Decimal("1.2"), source="ECB"
    )
    assert refused(ExchangeRate.objects.filter(pk=other.pk), date=date(2024, 9, 2)) == "exchange_rates_unique"


def test_database_refuses_a_second_default_filter(anna: User) -> None:
    SavedFilter.objects.create(user=anna, page="invoices", name="open", is_default=True)
    second = SavedFilter.objects.create(user=anna, page="invoices", name="late")
    row = SavedFilter.objects.filter(pk=second.pk)
    assert refused(row, is_default=True) == "saved_filters_one_default"
    assert refused(row, name="open") == "saved_filters_name_unique"


def test_database_refuses_a_key_twice(anna: User) -> None:
    common = {
        "user": anna,
        "scope": "x",
        "fingerprint": "f",
        "status": 200,
        "body": "{}",
        "expires_at": anna.date_joined,
    }
    IdempotencyRecord.objects.create(key="a", **common)
    second = IdempotencyRecord.objects.create(key="b", **common)
    row = IdempotencyRecord.objects.filter(pk=second.pk)
    assert refused(row, key="a") == "idempotency_records_key_unique"


def test_wrong_time_zone_and_currency_are_refused_by_full_clean(anna: User) -> None:
    anna.time_zone = "Europe/Atlantis"
    with pytest.raises(ValidationError) as zone_error:
        anna.full_clean()
    assert set(zone_error.value.error_dict) == {"time_zone"}
    rate = ExchangeRate(date=date(2024, 9, 2), base="EUR", quote="ZZZ", rate=Decimal("1.1"), source="X")
    with pytest.raises(ValidationError) as currency_error:
        rate.full_clean()
    assert set(currency_error.value.error_dict) == {"quote"}


def test_display_name(anna: User, ben: User) -> None:
    assert (anna.display_name, ben.display_name) == ("Anna Lee", "ben")


def test_a_user_named_by_the_history_cannot_be_deleted(anna: User, ben: User) -> None:
    with record_as(anna):
        ben.first_name = "Ben"
        ben.save()
    with pytest.raises(ProtectedError):
        anna.delete()
    assert User.objects.filter(pk=anna.pk).exists()


def test_users_see_themselves_only_without_a_registered_scope(anna: User, ben: User) -> None:
    ours = User.objects.filter(pk__in=[anna.pk, ben.pk])
    assert anna in ours.visible_to(anna)
    anna.is_superuser = True
    assert set(ours.visible_to(anna)) == {anna, ben}


def test_version_rises_with_every_save_and_an_old_one_is_refused() -> None:
    with isolate_apps("core"):

        class Page(VersionedModel):
            objects: models.Manager["Page"] = models.Manager()
            title = models.CharField(max_length=10)

            class Meta:
                app_label = "core"

    with connection.schema_editor() as editor:
        editor.create_model(Page)
    page = Page.objects.create(title="a")
    assert page.version == 1
    page.title = "b"
    page.save(update_fields=["title"])
    stored = Page.objects.get()
    assert (stored.title, stored.version) == ("b", 2)
    stored.expect_version(2)
    stored.expect_version(None)
    with pytest.raises(Stale) as stale:
        stored.expect_version(1)
    assert stale.value.code == "stale_version"
    assert stale.value.extra == {"expected_version": 1, "version": 2}


def test_outbox_queries() -> None:
    event = OutboxEvent.objects.create(topic="a.b")
    assert list(OutboxEvent.objects.due()) == [event]
    assert list(OutboxEvent.objects.given_up()) == []


def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "core", check=True, dry_run=True, verbosity=0)
