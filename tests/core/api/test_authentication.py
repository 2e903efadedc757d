"""Signing in, tokens that end, sessions with CSRF, limits (SEC-04)."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.middleware.csrf import _get_new_csrf_string
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from core.api.redis_client import redis_client
from core.api.tokens import forget_all, token_pair_issue
from core.models import ExchangeRate, User
from entities.models import Role
from tests.core.api.conftest import PASSWORD, MakeUser, SignIn
from tests.core.api.test_problems import assert_problem

pytestmark = pytest.mark.django_db

ME = "/api/enterprise-billing/me"
TOKEN = "/api/auth/token"


@pytest.fixture(autouse=True)
def generous_limits(settings: Any) -> None:
    settings.API_RATES = {"user": (10_000, 60), "anonymous": (10_000, 60), "sign_in": (10_000, 60)}


@pytest.fixture
def user(make_user: MakeUser) -> User:
    return make_user()


def post(path: str, body: dict[str, object]) -> Any:
    return APIClient().post(path, body, format="json")


def bearer(token: object) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_sign_in_gives_tokens_that_work(user: User) -> None:
    response = post(TOKEN, {"username": user.username, "password": PASSWORD})
    assert response.status_code == 200
    assert set(response.json()) == {"access", "refresh"}
    assert "no-store" in response.headers["Cache-Control"]
    assert bearer(response.json()["access"]).get(ME).json()["username"] == user.username
    user.refresh_from_db()
    assert user.last_login is not None


@pytest.mark.parametrize("password", ["wrong", "", " " + PASSWORD, PASSWORD + "\n"])
def test_a_wrong_password_is_401_or_400(user: User, password: str) -> None:
    response = post(TOKEN, {"username": user.username, "password": password})
    assert response.status_code == (400 if not password else 401)
    if password:
        assert_problem(response, 401, "invalid_credentials")
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_an_unknown_and_an_inactive_user_are_answered_alike(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    inactive = post(TOKEN, {"username": user.username, "password": PASSWORD})
    unknown = post(TOKEN, {"username": "nobody", "password": PASSWORD})
    assert inactive.status_code == unknown.status_code == 401
    assert inactive.json() == unknown.json()


@pytest.mark.parametrize(
    "body",
    [{}, {"username": "a"}, {"username": ["a"], "password": {}}, {"username": "a\x00", "password": "b"}],
)
def test_malformed_credentials_are_400(body: dict[str, object]) -> None:
    assert post(TOKEN, body).status_code == 400


def test_the_refresh_token_gives_access_and_is_no_access_token(user: User) -> None:
    pair = token_pair_issue(user=user)
    response = post(f"{TOKEN}/refresh", {"refresh": pair.refresh})
    assert set(response.json()) == {"access"}
    assert bearer(response.json()["access"]).get(ME).status_code == 200
    assert_problem(bearer(pair.refresh).get(ME), 401, "token_not_valid")
    assert_problem(post(f"{TOKEN}/refresh", {"refresh": pair.access}), 401, "token_not_valid")


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Bearer x", "Bearer \xff", "bearer e30.e30.e30"])
def test_a_malformed_token_is_401(db: None, header: str) -> None:
    assert_problem(Client().get(ME, HTTP_AUTHORIZATION=header), 401, "token_not_valid")


def test_another_scheme_is_nobody(db: None) -> None:
    assert_problem(Client().get(ME, HTTP_AUTHORIZATION="Basic YTpi"), 401, "not_authenticated")


def test_tokens_end_by_themselves(user: User) -> None:
    pair = token_pair_issue(user=user)
    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        assert_problem(bearer(pair.access).get(ME), 401, "token_not_valid")
        assert post(f"{TOKEN}/refresh", {"refresh": pair.refresh}).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(hours=13), tick=False):
        assert_problem(post(f"{TOKEN}/refresh", {"refresh": pair.refresh}), 401, "token_not_valid")


def test_revoking_ends_every_token_at_once(user: User) -> None:
    first, second = token_pair_issue(user=user), token_pair_issue(user=user)
    assert bearer(second.access).get(ME).status_code == 200
    assert bearer(first.access).post(f"{TOKEN}/revoke").status_code == 204
    for pair in (first, second):
        assert_problem(bearer(pair.access).get(ME), 401, "token_revoked")
        assert_problem(post(f"{TOKEN}/refresh", {"refresh": pair.refresh}), 401, "token_revoked")
    assert bearer(token_pair_issue(user=User.objects.get(pk=user.pk)).access).get(ME).status_code == 200


def test_revoking_needs_a_token(db: None) -> None:
    assert_problem(APIClient().post(f"{TOKEN}/revoke"), 401, "not_authenticated")


def test_a_deactivated_user_is_refused_at_once_where_they_were_saved(user: User) -> None:
    client = bearer(token_pair_issue(user=user).access)
    assert client.get(ME).status_code == 200
    user.is_active = False
    user.save()
    assert_problem(client.get(ME), 401, "user_inactive")


def test_a_changed_password_ends_tokens(user: User) -> None:
    pair = token_pair_issue(user=user)
    user.set_password("another-long-password")
    user.save()
    assert bearer(pair.access).get(ME).status_code == 401
    assert post(f"{TOKEN}/refresh", {"refresh": pair.refresh}).status_code == 401


def test_other_processes_notice_within_the_documented_seconds(user: User, settings: Any) -> None:
    """`update()` stands for another process: it tells this one nothing."""
    pair = token_pair_issue(user=user)
    client = bearer(pair.access)
    assert settings.API_USER_CACHE_SECONDS == 5
    assert client.get(ME).status_code == 200
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert client.get(ME).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(seconds=6), tick=False):
        assert_problem(client.get(ME), 401, "user_inactive")


def test_refreshing_always_asks_the_database(user: User) -> None:
    pair = token_pair_issue(user=user)
    assert bearer(pair.access).get(ME).status_code == 200
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert_problem(post(f"{TOKEN}/refresh", {"refresh": pair.refresh}), 401, "user_inactive")


def test_a_deleted_user_and_a_token_without_a_user_are_401(user: User) -> None:
    client = bearer(token_pair_issue(user=user).access)
    user.history.all().delete()
    user.delete()
    assert_problem(client.get(ME), 401, "user_inactive")
    assert_problem(bearer(AccessToken()).get(ME), 401, "token_not_valid")
    nameless = AccessToken()
    nameless["user_id"] = "x"
    assert_problem(bearer(nameless).get(ME), 401, "token_not_valid")


def test_tokens_made_without_our_marks_are_refused(user: User) -> None:
    assert_problem(bearer(RefreshToken.for_user(user).access_token).get(ME), 401, "token_revoked")


def test_a_known_user_costs_no_query(user: User, django_assert_num_queries: Any) -> None:
    client = bearer(token_pair_issue(user=user).access)
    forget_all()
    path = "/api/nowhere-at-all"
    with django_assert_num_queries(0):
        client.get(path)
    assert client.get(ME).status_code == 200
    # One query of the view itself: the memberships behind `permissions`.
    with django_assert_num_queries(0, exact=False) as captured:
        assert client.get("/api/enterprise-billing/me").status_code == 200
    assert not [query for query in captured.captured_queries if '"users"' in query["sql"]]


def test_a_user_object_is_not_shared_between_requests(user: User) -> None:
    from core.api.tokens import user_of_access_token

    access = token_pair_issue(user=user).access
    first, second = user_of_access_token(access.encode()), user_of_access_token(access.encode())
    assert first == second
    assert first is not second


def test_a_browser_session_reads_and_writes_with_csrf_only(make_user: MakeUser) -> None:
    user = make_user(Role.FINANCE_MANAGER)
    rates = "/api/enterprise-billing/exchange-rates"
    body = {"date": "2024-09-30", "base": "EUR", "quote": "USD", "rate": "1.1", "source": "own"}
    browser = Client(enforce_csrf_checks=True)
    assert browser.login(username=user.username, password=PASSWORD)
    assert browser.get(ME).status_code == 200
    assert_problem(browser.post(rates, body, content_type="application/json"), 403, "permission_denied")
    assert not ExchangeRate.objects.exists()
    token = _get_new_csrf_string()
    browser.cookies[settings.CSRF_COOKIE_NAME] = token
    made = browser.post(rates, body, content_type="application/json", HTTP_X_CSRFTOKEN=token)
    assert made.status_code == 201


# --- Limits ---


def test_too_many_sign_ins_are_429(user: User, settings: Any) -> None:
    settings.API_RATES = {**settings.API_RATES, "sign_in": (2, 60)}
    body = {"username": user.username, "password": "wrong"}
    client = APIClient(REMOTE_ADDR="192.0.2.1")
    with time_machine.travel("2030-01-01T00:00:10Z", tick=False):
        assert [client.post(TOKEN, body, format="json").status_code for _ in range(3)] == [401, 401, 429]
        response = client.post(TOKEN, body, format="json")
        assert_problem(response, 429, "throttled")
        assert 1 <= int(response.headers["Retry-After"]) <= 61
        # Another address is not held up, and a forged one is not believed.
        assert APIClient(REMOTE_ADDR="192.0.2.2").post(TOKEN, body, format="json").status_code == 401
        forged = client.post(TOKEN, body, format="json", HTTP_X_FORWARDED_FOR="203.0.113.9")
        assert forged.status_code == 429
    with time_machine.travel("2030-01-01T00:01:10Z", tick=False):
        assert client.post(TOKEN, body, format="json").status_code == 401


def test_every_endpoint_is_limited_per_user(make_user: MakeUser, sign_in: SignIn, settings: Any) -> None:
    settings.API_RATES = {**settings.API_RATES, "user": (3, 60)}
    one, other = make_user(), make_user()
    with time_machine.travel("2030-01-01T00:00:10Z", tick=False):
        client = sign_in(one)
        assert [client.get(ME).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert sign_in(other).get(ME).status_code == 200


def test_shares_of_a_large_limit_never_exceed_it(make_user: MakeUser, sign_in: SignIn, settings: Any) -> None:
    settings.API_RATES = {**settings.API_RATES, "user": (250, 60)}
    user = make_user()
    with time_machine.travel("2030-01-01T00:00:10Z", tick=False):
        client = sign_in(user)
        codes = [client.get("/api/enterprise-billing/notifications").status_code for _ in range(255)]
    assert (codes.count(200), codes.count(429)) == (250, 5)
    assert codes[-5:] == [429] * 5


@pytest.fixture
def redis_away(settings: Any) -> Iterator[None]:
    """A Redis address at which nobody listens."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    redis_client.cache_clear()
    yield
    redis_client.cache_clear()


def test_without_redis_calls_go_on_but_signing_in_does_not(user: User, redis_away: None) -> None:
    assert bearer(token_pair_issue(user=user).access).get(ME).status_code == 200
    client = APIClient(raise_request_exception=False)
    response = client.post(TOKEN, {"username": user.username, "password": PASSWORD}, format="json")
    assert_problem(response, 503, "unavailable")
    assert response.headers["Retry-After"] == "5"
