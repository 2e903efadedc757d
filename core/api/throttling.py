"""Rate limits (SEC-04), counted in Redis so that all processes share them.

A fixed window in one round trip: REST framework's own throttles keep a list of times per caller, which at
some thousand requests a minute costs more than the request.
"""

from typing import TYPE_CHECKING, ClassVar

import redis
import structlog
from django.conf import settings
from django.core.cache import cache
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from core import clock
from core.api.redis_client import redis_client

# REST framework's settings name this module, so its views cannot be imported while it loads.
if TYPE_CHECKING:
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)


class CounterAway(APIException):
    """503: nothing can be counted, and the address must not be open without a limit."""

    status_code = 503
    default_detail = "Signing in is not possible just now. Try again."
    default_code = "unavailable"
    wait = 5


class WindowThrottle(BaseThrottle):
    """So many requests in so many seconds per caller; `settings.API_RATES[scope]` says how many."""

    scope: ClassVar[str]
    # Whether requests are refused (503) while Redis is away and nothing can be counted.
    needs_counter: ClassVar[bool] = False

    _wait = 0

    def caller(self, request: Request) -> str:
        """Whose requests are counted together."""
        return self.get_ident(request)

    def allow_request(self, request: Request, view: "APIView") -> bool:
        limit, seconds = self.rate(request)
        if limit <= 0:
            return True
        now = clock.now().timestamp()
        window = int(now // seconds)
        key = cache.make_key(f"rate:{self.scope}:{self.caller(request)}:{window}")
        try:
            pipe = redis_client().pipeline(transaction=False)
            pipe.set(key, 0, ex=seconds + 1, nx=True)
            pipe.incr(key)
            count = int(pipe.execute()[1])
        except redis.RedisError as error:
            return self._without_counter(error)
        self._wait = int((window + 1) * seconds - now) + 1
        return count <= limit

    def rate(self, request: Request) -> tuple[int, int]:
        """Return (requests, seconds)."""
        return settings.API_RATES[self.scope]

    def wait(self) -> float:
        return self._wait

    def _without_counter(self, error: redis.RedisError) -> bool:
        log.warning("rate_limit_not_counted", scope=self.scope, error=type(error).__name__)
        if self.needs_counter:
            raise CounterAway from error
        return True


class CallerThrottle(WindowThrottle):
    """Every endpoint: per user when signed in, per address otherwise."""

    scope = "user"

    def caller(self, request: Request) -> str:
        if request.user.is_authenticated:
            return f"user-{request.user.pk}"
        return f"address-{self.get_ident(request)}"

    def rate(self, request: Request) -> tuple[int, int]:
        return settings.API_RATES["user" if request.user.is_authenticated else "anonymous"]


class SignInThrottle(WindowThrottle):
    """Signing in: per address, and never uncounted."""

    scope = "sign_in"
    needs_counter = True
