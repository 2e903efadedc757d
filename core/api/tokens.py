"""Access and refresh tokens: making them, knowing whose they are, revoking them (SEC-04).

A token names the user and carries two marks of the user's state: `ver`, the user's `token_version`, and
`pwd`, a digest of the password's hash. Raising the version or changing the password ends every token that was
given out before. Each process keeps what it read of a user for `settings.API_USER_CACHE_SECONDS` (5): that is
the longest time for which another process may still let in a user who was deactivated or whose tokens were
revoked; the process that saved the user knows at once. Refreshing a token always asks the database.
"""

from collections.abc import Mapping
from threading import Lock
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import F
from django.db.models.signals import post_delete, post_save
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from core import clock
from core.errors import Unauthenticated
from core.models import User

# Beyond this many users a process starts anew rather than keep them all.
MAX_KNOWN_USERS = 10_000


class TokenPair(NamedTuple):
    """What signing in gives: a short-lived access token and the refresh token that gets new ones."""

    access: str
    refresh: str


class _Known(NamedTuple):
    good_until: float
    values: dict[str, Any]


_known: dict[int, _Known] = {}
_lock = Lock()
_FIELDS = tuple(field.attname for field in User._meta.concrete_fields)


def token_pair_issue(*, user: User) -> TokenPair:
    """Return new tokens for a user who has just proved who they are."""
    refresh = RefreshToken.for_user(user)
    refresh["ver"] = user.token_version
    refresh["pwd"] = _password_mark(user)
    User.objects.filter(pk=user.pk).update(last_login=clock.now())
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh))


def access_token_renew(*, refresh: str) -> str:
    """Return a new access token for a refresh token that still holds. Raises Unauthenticated."""
    try:
        token = RefreshToken(refresh)  # type: ignore[arg-type]
    except TokenError as error:
        raise Unauthenticated(
            "token_not_valid", "The refresh token is invalid or expired. Sign in again."
        ) from error
    _checked(User.objects.filter(pk=_user_id(token)).first(), token)
    return str(token.access_token)


def tokens_revoke(*, user: User) -> None:
    """End every access and refresh token of a user."""
    User.objects.filter(pk=user.pk).update(token_version=F("token_version") + 1)
    forget_user(user.pk)


def user_of_access_token(raw: bytes | str) -> User:
    """Return the user of an access token, as known a few seconds ago at most. Raises Unauthenticated.

    The object is the caller's own: what is cached on it (rights, relations) ends with the request. A service
    that changes a user fetches and locks the row first.
    """
    try:
        token = AccessToken(raw)  # type: ignore[arg-type]
    except TokenError as error:
        raise Unauthenticated("token_not_valid", "The access token is invalid or expired.") from error
    return _checked(_user(_user_id(token)), token)


def forget_user(user_id: int) -> None:
    """Let this process read the user anew at the next request."""
    _known.pop(user_id, None)


def forget_all_users() -> None:
    """Let this process read every user anew."""
    _known.clear()


def _user_id(token: Token) -> int:
    try:
        return int(token["user_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise Unauthenticated("token_not_valid", "The token names no user.") from error


def _password_mark(user: User) -> str:
    return user.get_session_auth_hash()[:16]


def _checked(user: User | None, token: Token) -> User:
    if user is None or not user.is_active:
        raise Unauthenticated("user_inactive", "This user cannot sign in.")
    if token.get("ver") != user.token_version or token.get("pwd") != _password_mark(user):
        raise Unauthenticated("token_revoked", "The token was revoked. Sign in again.")
    return user


def _user(user_id: int) -> User | None:
    known = _known.get(user_id)
    if known is None or known.good_until < clock.now().timestamp():
        values = User.objects.filter(pk=user_id).values(*_FIELDS).first()
        if values is None:
            return None
        known = _remember(user_id, values)
    return _instance(known.values)


def _remember(user_id: int, values: dict[str, Any]) -> _Known:
    known = _Known(clock.now().timestamp() + settings.API_USER_CACHE_SECONDS, values)
    if settings.API_USER_CACHE_SECONDS > 0:
        with _lock:
            if len(_known) >= MAX_KNOWN_USERS:
                _known.clear()
            _known[user_id] = known
    return known


def _instance(values: Mapping[str, Any]) -> User:
    return User.from_db("default", _FIELDS, [values[name] for name in _FIELDS])


def _user_changed(sender: type[User], instance: User, **kwargs: Any) -> None:
    forget_user(instance.pk)


post_save.connect(_user_changed, sender=User, dispatch_uid="core.api.tokens.saved")
post_delete.connect(_user_changed, sender=User, dispatch_uid="core.api.tokens.deleted")
