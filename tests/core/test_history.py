"""History: who, when, from where, from what, to what, why (SEC-02)."""

from datetime import date
from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from core import history
from core.history import Channel, HistoryContextMiddleware, acting, bulk_create_with_history, record_as
from core.models import ExchangeRate, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna() -> User:
    return User.objects.create_user("anna", "anna@example.com")


@pytest.fixture
def ben() -> User:
    return User.objects.create_user("ben", "ben@example.com")


@pytest.fixture
def rate(db: None) -> ExchangeRate:
    return ExchangeRate.objects.create(
        date=date(2024, 9, 2), base="EUR", quote="USD", rate=Decimal("1.1"), source="own"
    )


def change(rate: ExchangeRate) -> None:
    rate.rate += Decimal("0.1")
    rate.save()


def test_record_as_writes_who_and_why(anna: User, rate: ExchangeRate) -> None:
    with record_as(anna, "typing error " * 20):
        change(rate)
    last = rate.history.first()
    assert last.history_user == anna
    assert last.history_change_reason == "typing error " * 20
    assert last.rate == Decimal("1.2")
    assert last.prev_record.rate == Decimal("1.1")
    assert len(last.request_id) == 32
    assert history.current() == history.HistoryContext()


def test_inside_a_request_the_service_names_the_actor_and_the_request_its_id(
    anna: User, ben: User, rate: ExchangeRate
) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        request.user = ben
        with record_as(anna, "on behalf"):
            change(rate)
        change(rate)
        return HttpResponse()

    request = RequestFactory().get("/api/enterprise-billing/x", headers={"X-Request-ID": "call-0123456789"})
    response = HistoryContextMiddleware(view)(request)
    assert response.headers["X-Request-ID"] == "call-0123456789"
    second, first = rate.history.all()[:2]
    assert (first.history_user, first.history_change_reason) == (anna, "on behalf")
    assert (first.request_id, first.channel) == ("call-0123456789", Channel.API)
    # Without a service the signed-in user counts.
    assert (second.history_user, second.request_id, second.channel) == (ben, "call-0123456789", Channel.API)


@pytest.mark.parametrize(
    ("path", "channel"),
    [("/admin/core/", "admin"), ("/api/x", "api"), ("/approvals", "page"), ("/apiary", "page")],
)
def test_the_door_is_known_by_the_path(path: str, channel: str) -> None:
    seen: list[str] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(history.current_channel())
        return HttpResponse()

    HistoryContextMiddleware(view)(RequestFactory().get(path))
    assert seen == [channel]


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "two\nlines-12345", "<script>alert(1)</script>"])
def test_an_insane_request_id_is_replaced(given: str) -> None:
    request = RequestFactory().get("/")
    request.META["HTTP_X_REQUEST_ID"] = given
    response = HistoryContextMiddleware(lambda _: HttpResponse())(request)
    assert response.headers["X-Request-ID"] != given
    assert len(response.headers["X-Request-ID"]) == 32


def test_a_user_known_by_token_is_named_and_forgotten_after_the_request(
    anna: User, rate: ExchangeRate
) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        request.user = AnonymousUser()
        history.set_actor(anna)
        change(rate)
        return HttpResponse()

    HistoryContextMiddleware(view)(RequestFactory().get("/api/x"))
    change(rate)
    after, during = rate.history.all()[:2]
    assert during.history_user == anna
    assert (after.history_user, after.channel, after.request_id) == (None, "", "")


def test_the_context_ends_with_a_request_that_fails(anna: User) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        history.set_actor(anna)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        HistoryContextMiddleware(view)(RequestFactory().get("/"))
    assert history.current() == history.HistoryContext()


def test_a_job_acts_as_itself_and_services_inherit_its_reason(anna: User, rate: ExchangeRate) -> None:
    with acting(channel=Channel.JOB, request_id="job-1", reason="nightly"), record_as(anna):
        change(rate)
    last = rate.history.first()
    assert (last.channel, last.request_id, last.history_change_reason) == ("job", "job-1", "nightly")
    assert last.history_user == anna


def test_bulk_creation_writes_the_same_history(anna: User) -> None:
    rows = [
        ExchangeRate(date=date(2024, 9, day), base="EUR", quote="USD", rate=Decimal(day), source="own")
        for day in (1, 2)
    ]
    with acting(channel=Channel.IMPORT, request_id="file-7"), record_as(anna, "imported"):
        bulk_create_with_history(ExchangeRate, rows)
    written = ExchangeRate.history.order_by("date")
    assert [
        (
            row.date.day,
            row.history_type,
            row.history_user,
            row.history_change_reason,
            row.request_id,
            row.channel,
        )
        for row in written
    ] == [(1, "+", anna, "imported", "file-7", "import"), (2, "+", anna, "imported", "file-7", "import")]


def test_user_history_holds_no_password_and_a_sign_in_leaves_no_row(anna: User) -> None:
    names = {field.name for field in User.history.model._meta.get_fields()}
    assert names.isdisjoint({"password", "last_login"})
    assert {"email", "token_version", "manager", "is_superuser"} <= names
    assert anna.history.count() == 1
    anna.save(update_fields=["last_login"])
    assert anna.history.count() == 1
    anna.first_name = "Anna"
    anna.save(update_fields=["first_name", "last_login"])
    assert anna.history.count() == 2
