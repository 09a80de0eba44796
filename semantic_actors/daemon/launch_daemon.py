"""The daemon a client is launched against: the one that runs, or one that is started for it.

It is started in a session of its own, so that it outlives the client and hears none of the
terminal's signals. One lock per state directory makes sure that of two who find none only one
starts it.
"""

import contextlib
import fcntl
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self, TextIO

from semantic_actors.domain.errors import ConfigurationError, SemanticActorsError

SERVER: Final = "semantic-actors"

ANSWER_S: Final = 10.0
"""Seconds in which a daemon that runs answers."""

POLL_S: Final = 0.1
"""Seconds between two looks at a daemon that is starting."""

_REASON_LINES: Final = 5


class CannotLaunch(SemanticActorsError):
    """There is no daemon to talk to; the message says why and what to do."""


class Place:
    """Where a daemon listens, as one reaches it from this machine."""

    def __init__(self, host: str, port: int) -> None:
        if port == 0:
            message = "setting server.port = 0: launch must know the port, choose one"
            raise ConfigurationError(message)
        self.host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (reached at)
        self.port = port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Base URL without a path."""
        return f"http://{self}"

    def alive(self) -> bool:
        """Whether a daemon listens there. Raises `CannotLaunch` if something else does."""
        try:
            _, server, _ = self._get("/livez", {})
        except ConnectionRefusedError:
            return False
        except (OSError, http.client.HTTPException) as error:
            message = f"what listens on {self} does not answer as a daemon: {error!r}"
            raise CannotLaunch(message) from None
        if server != SERVER:
            message = (
                f"{self} is taken by {server or 'a server that is none of ours'}: choose --port"
            )
            raise CannotLaunch(message)
        return True

    def model(self, key: str) -> tuple[str, int]:
        """Ask which model is served: its name and its context in tokens."""
        headers = {"anthropic-version": "2023-06-01", "x-api-key": key}
        status, _, body = self._get("/v1/models", headers)
        if status != http.client.OK:
            reason = body.get("error", {}).get("message", "")
            message = f"the daemon on {self} does not say what it serves: {status} {reason}"
            raise CannotLaunch(message)
        card = body["data"][0]
        return card["id"], card["max_input_tokens"]

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, str | None, dict[str, Any]]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_S)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        server = answer.getheader("Server")
        return answer.status, server, json.loads(text) if server == SERVER else {}


def see_to(place: Place, flags: list[str], state: Path) -> None:
    """Return once a daemon answers at `place`; start one with `serve` and `flags` if none does."""
    if place.alive():
        return
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(state / "launch.lock"):
        if not place.alive():
            _start(place, flags, state / "daemon.log")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(place: Place, flags: list[str], log: Path) -> None:
    """Start a daemon and wait until it answers. The log of the one before is kept beside."""
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    command = [sys.executable, "-m", "semantic_actors", "serve", *flags]
    log.touch(0o600)
    with log.open("wb") as out:
        daemon = subprocess.Popen(  # noqa: S603 (our own program)
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _await(place, daemon, log)
    except BaseException:
        daemon.terminate()
        raise
    daemon.returncode = 0  # it is left behind on purpose: nobody waits for it


def _await(place: Place, daemon: subprocess.Popen[bytes], log: Path) -> None:
    began = time.monotonic()
    with _Progress(sys.stderr, f"semantic-actors: starting the daemon, log in {log}") as progress:
        while not place.alive():
            if (code := daemon.poll()) is not None:
                message = f"the daemon left with {code}; the end of {log}:\n{_reason(log)}"
                raise CannotLaunch(message)
            progress.say(f"{time.monotonic() - began:.0f} s")
            time.sleep(POLL_S)
        progress.say(f"ready after {time.monotonic() - began:.1f} s")


def _reason(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith("semantic-actors: ")]
    return "\n".join(said or lines[-_REASON_LINES:])


class _Progress:
    """One line that grows old: written over on a terminal, begun and ended elsewhere."""

    def __init__(self, out: TextIO, title: str) -> None:
        self._out = out
        self._title = title
        self._last = ""

    def __enter__(self) -> Self:
        if not self._out.isatty():
            self._out.write(self._title)
        return self

    def say(self, last: str) -> None:
        """Show how far it is."""
        if last != self._last and self._out.isatty():
            self._out.write(f"\r{self._title} ... {last}\033[K")
        self._last = last
        self._out.flush()

    def __exit__(self, *_: object) -> None:
        self._out.write("\n" if self._out.isatty() else f" ... {self._last}\n")
        self._out.flush()
