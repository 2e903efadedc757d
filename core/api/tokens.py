"""Access and refresh tokens: making them, knowing whose they are, revoking them (SEC-04).

A token names the user and carries two marks of the user's state: `ver`, the user's `token_version`, and
`pwd`, a digest of the password's hash. Raising the version or changing the password ends every token that was
given out before. Each process keeps what it read of a user for `settings.API_USER_CACHE_SECONDS` (5): that is
the longest time for which another process may still let in a user who was deactivated or whose tokens were
revoked; the process that saved the user knows at once. Refreshing a token always asks the database.
"""

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

# Beyond this many users or tokens a process starts anew rather than keep them all.
MAX_KNOWN = 10_000


class TokenPair(NamedTuple):
    """What signing in gives: a short-lived access token and the refresh token that gets new ones."""

    access: str
    refresh: str


class _Marks(NamedTuple):
    """What a token says, and what must be true of its user for it to hold."""

    user_id: int
    version: object
    password: object


class _KnownUser(NamedTuple):
    good_until: float
    values: list[Any]
    is_active: bool
    marks: _Marks


class _VerifiedToken(NamedTuple):
    good_until: float
    marks: _Marks


_users: dict[int, _KnownUser] = {}
_tokens: dict[bytes, _VerifiedToken] = {}
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
    marks = _marks_of(token)
    forget_user(marks.user_id)
    _checked(_known_user(marks.user_id), marks)
    return str(token.access_token)


def tokens_revoke(*, user: User) -> None:
    """End every access and refresh token of a user."""
    User.objects.filter(pk=user.pk).update(token_version=F("token_version") + 1)
    forget_user(user.pk)


def user_of_access_token(raw: bytes) -> User:
    """Return the user of an access token, as known a few seconds ago at most. Raises Unauthenticated.

    The object is the caller's own: what is cached on it (rights, relations) ends with the request. A service
    that changes a user fetches and locks the row first.
    """
    marks = _verified(raw)
    known = _checked(_known_user(marks.user_id), marks)
    return User.from_db("default", _FIELDS, known.values)


def forget_user(user_id: int) -> None:
    """Let this process read the user anew at the next request."""
    _users.pop(user_id, None)


def forget_all() -> None:
    """Let this process verify every token and read every user anew."""
    _users.clear()
    _tokens.clear()


def _verified(raw: bytes) -> _Marks:
    """Verify a token, or know that it was verified seconds ago: the signature is half of the cost."""
    now = clock.now().timestamp()
    seen = _tokens.get(raw)
    if seen is not None and seen.good_until > now:
        return seen.marks
    try:
        token = AccessToken(raw)  # type: ignore[arg-type]
    except TokenError as error:
        raise Unauthenticated("token_not_valid", "The access token is invalid or expired.") from error
    marks = _marks_of(token)
    _keep(_tokens, raw, _VerifiedToken(min(now + settings.API_USER_CACHE_SECONDS, token["exp"]), marks))
    return marks


def _marks_of(token: Token) -> _Marks:
    try:
        return _Marks(int(token["user_id"]), token.get("ver"), token.get("pwd"))
    except (KeyError, TypeError, ValueError) as error:
        raise Unauthenticated("token_not_valid", "The token names no user.") from error


def _password_mark(user: User) -> str:
    return user.get_session_auth_hash()[:16]


def _checked(known: _KnownUser | None, marks: _Marks) -> _KnownUser:
    if known is None or not known.is_active:
        raise Unauthenticated("user_inactive", "This user cannot sign in.")
    if marks != known.marks:
        raise Unauthenticated("token_revoked", "The token was revoked. Sign in again.")
    return known


def _known_user(user_id: int) -> _KnownUser | None:
    now = clock.now().timestamp()
    known = _users.get(user_id)
    if known is not None and known.good_until > now:
        return known
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        return None
    known = _KnownUser(
        now + settings.API_USER_CACHE_SECONDS,
        [getattr(user, name) for name in _FIELDS],
        user.is_active,
        _Marks(user.pk, user.token_version, _password_mark(user)),
    )
    _keep(_users, user_id, known)
    return known


def _keep(store: dict[Any, Any], key: Any, value: Any) -> None:
    with _lock:
        if len(store) >= MAX_KNOWN:
            store.clear()
        store[key] = value


def _user_changed(sender: type[User], instance: User, **kwargs: Any) -> None:
    forget_user(instance.pk)


post_save.connect(_user_changed, sender=User, dispatch_uid="core.api.tokens.saved")
post_delete.connect(_user_changed, sender=User, dispatch_uid="core.api.tokens.deleted")
