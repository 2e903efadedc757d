"""Many clients that send request after request over connections they keep, on one thread.

Sockets and a selector rather than asyncio's streams: the generator shares the cores with what it measures, and
this way it takes some twenty microseconds of them per request.
"""

import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = -1
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_ANSWER_SECONDS = 30
_READ = 65_536
_SAMPLES = 3

Requests = Iterator[bytes]


class NoAnswer(Exception):
    """The server closed a connection, or does not answer any more."""


@dataclass(slots=True)
class Load:
    """What came back: how many answers of each status, how long each took, and some of the unexpected ones."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    errors: int = 0

    @property
    def rate(self) -> float:
        """Expected answers per second."""
        return (len(self.latencies) - self.errors) / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Milliseconds within which so many of the answers came."""
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


class _Client:
    """One connection and what it sends."""

    __slots__ = ("buffer", "needed", "requests", "sent_at", "socket")

    def __init__(self, address: tuple[str, int], requests: Requests) -> None:
        self.socket = socket.create_connection(address, timeout=_ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = requests
        self.buffer = b""
        self.needed = 0
        self.sent_at = 0.0

    def send(self) -> bool:
        """Send the next request; False when there is none left."""
        request = next(self.requests, None)
        if request is None:
            return False
        self.buffer, self.needed = b"", 0
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)
        return True

    def receive(self) -> bytes | None:
        """Read what has come; return the answer once it is whole."""
        data = self.socket.recv(_READ)
        if not data:
            raise NoAnswer("The server closed a connection.")
        self.buffer += data
        if not self.needed:
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return None
            length = _LENGTH.search(self.buffer, 0, head)
            self.needed = head + 4 + int(length[1]) if length else _CHUNKED
        if self.needed == _CHUNKED:
            return self.buffer if self.buffer.endswith(_LAST_CHUNK) else None
        return self.buffer if len(self.buffer) >= self.needed else None


def run(
    address: tuple[str, int], clients: Sequence[Requests], *, seconds: float, expected: frozenset[int]
) -> Load:
    """Let every client send its requests one after the other, for so long or until they run out."""
    load = Load()
    with selectors.DefaultSelector() as selector:
        connected = [_Client(address, requests) for requests in clients]
        try:
            started = time.perf_counter()
            waiting = 0
            for client in connected:
                if client.send():
                    selector.register(client.socket, selectors.EVENT_READ, client)
                    waiting += 1
            until = started + seconds
            while waiting:
                ready = selector.select(timeout=_ANSWER_SECONDS)
                if not ready:
                    raise NoAnswer(f"No answer within {_ANSWER_SECONDS} seconds.")
                for key, _ in ready:
                    answer = key.data.receive()
                    if answer is None:
                        continue
                    now = time.perf_counter()
                    _note(load, answer, now - key.data.sent_at, expected)
                    if now >= until or not key.data.send():
                        selector.unregister(key.fileobj)
                        waiting -= 1
            load.seconds = time.perf_counter() - started
        finally:
            for client in connected:
                client.socket.close()
    return load


def _note(load: Load, answer: bytes, took: float, expected: frozenset[int]) -> None:
    status = int(answer[9:12])
    load.statuses[status] += 1
    load.latencies.append(took)
    if status not in expected:
        load.errors += 1
        if len(load.unexpected) < _SAMPLES:
            load.unexpected.append(answer.decode(errors="replace"))


def request(path: bytes, body: bytes, headers: bytes) -> bytes:
    """One POST of JSON as it goes over the wire; `headers` are whole lines."""
    return b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        path,
        headers,
        len(body),
        body,
    )


def common_headers(address: tuple[str, int], token: str) -> bytes:
    """What every request of a caller has; the proxy in front of a production server adds the second line."""
    return (
        f"Host: {address[0]}:{address[1]}\r\nX-Forwarded-Proto: https\r\nAuthorization: Bearer {token}\r\n"
    ).encode()
