"""Who calls: a bearer token, or the session of a browser that is signed in (for /docs), with CSRF."""

from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from core.api.tokens import user_of_access_token
from core.errors import Unauthenticated
from core.history import set_actor
from core.models import User


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access>`; without a query as long as the user was seen a few seconds ago."""

    challenge = 'Bearer realm="api"'

    def authenticate(self, request: Request) -> tuple[User, bytes] | None:
        scheme, _, token = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        token = token.strip()
        if not token or b" " in token:
            raise AuthenticationFailed("Send: Authorization: Bearer <access token>.", code="token_not_valid")
        try:
            user = user_of_access_token(token)
        except Unauthenticated as error:
            raise AuthenticationFailed(error.message, code=error.code) from error
        set_actor(user)
        return user, token

    def authenticate_header(self, request: Request) -> str:
        return self.challenge


class BrowserSessionAuthentication(SessionAuthentication):
    """The session cookie of the back-office; requests that change something need the CSRF token."""
