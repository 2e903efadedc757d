"""Rate limits (SEC-04), counted in Redis so that all processes share them.

A fixed window. Each process takes a hundredth of the limit at a time from Redis and spends it by itself, since
a round trip per request costs more than the rest of a small request (REST framework's own throttles, which keep
a list of times per caller, cost more still). Below a hundred requests per window every request is counted in
Redis. What a process has taken and not spent is lost to the others: the limit may be met up to one per cent
early for each process, never late.
"""

from threading import Lock
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


# In how many shares a window's limit is handed out to processes.
SHARES = 100
# Beyond this many callers a process gives back what it holds, by forgetting it.
MAX_CALLERS = 10_000

_shares: dict[str, int] = {}
_lock = Lock()


def _spend(key: str) -> bool:
    """Spend one request of what this process has taken for the window, if there is any."""
    with _lock:
        left = _shares.get(key, 0)
        if left > 1:
            _shares[key] = left - 1
        elif left == 1:
            del _shares[key]
    return left > 0


def _keep(key: str, number: int) -> None:
    with _lock:
        if len(_shares) >= MAX_CALLERS:
            _shares.clear()
        _shares[key] = _shares.get(key, 0) + number


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
        self._wait = int((window + 1) * seconds - now) + 1
        key = cache.make_key(f"rate:{self.scope}:{self.caller(request)}:{window}")
        if _spend(key):
            return True
        try:
            granted = self._take(key, max(1, limit // SHARES), limit, seconds)
        except redis.RedisError as error:
            return self._without_counter(error)
        if granted > 1:
            _keep(key, granted - 1)
        return granted > 0

    @staticmethod
    def _take(key: str, wanted: int, limit: int, seconds: int) -> int:
        """Take so many requests from what is left of the window; return how many were left to take."""
        pipe = redis_client().pipeline(transaction=False)
        pipe.set(key, 0, ex=seconds + 1, nx=True)
        pipe.incrby(key, wanted)
        taken = int(pipe.execute()[1])
        return max(0, min(wanted, limit - (taken - wanted)))

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

    def allow_request(self, request: Request, view: "APIView") -> bool:
        # What the short way has counted and then left to the usual one is one request.
        if getattr(request, "is_counted", False):
            return True
        return super().allow_request(request, view)

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
