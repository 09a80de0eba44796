"""A scenario's place: a home and a folder of its own, a daemon, and what the daemon's log says.

Clients see nothing of whoever runs them: their environment begins empty. What they send is neither
shown nor kept; of a client that fails the end of its stderr is shown.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import OK
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.clients.programs import Program
from tests.clients.terminal import opened
from tests.e2e.daemon import ROOT, Daemon

RUN_S: Final = 900.0
"""Seconds that one run of a client may take."""

LOG_S: Final = 10.0
"""Seconds after which the log has told of what a client has seen."""

MARKER: Final = "marker-4821"
"""What stands in `a.txt`, and nowhere else."""

PROMPT: Final = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
"""What Claude Code shows where one types."""

_ROUTES: Final = ("/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/completions")

Event = tuple[int, dict[str, Any]]
"""A line of the log, and its place there."""


class ClientFailed(Exception):
    """A client left with an error, or did not say what it was to say."""

    def __init__(self, why: str, code: int = 0) -> None:
        super().__init__(why)
        self.code = code


class Turn(msgspec.Struct, frozen=True):
    """An answer as the daemon's log tells of it. `label` names the conversation.

    `began` and `ended` are places in that log.
    """

    label: str
    began: int
    ended: int
    prompt_tokens: int
    cached_tokens: int
    first_token_s: float | None

    @property
    def reuse(self) -> float:
        """Share of the prompt that was not computed again."""
        return self.cached_tokens / self.prompt_tokens

    def beside(self, other: "Turn") -> bool:
        """Whether both were being answered at once."""
        return self.began < other.ended and other.began < self.ended


class Stage:
    """Runs one client's commands against one daemon."""

    def __init__(self, daemon: Daemon, program: Program, folder: Path) -> None:
        self.url = daemon.url
        self.work = folder / "work"
        self.home = folder / "home"
        self.temporary = folder / "tmp"
        self._daemon = daemon
        self._program = program
        self._seen = len(daemon.log())
        for place in (self.work, self.home, self.temporary):
            place.mkdir(parents=True)
        (self.work / "a.txt").write_text(f"{MARKER}\n", encoding="utf-8")

    def launch(self, *arguments: str, **environment: str) -> str:
        """Run the client by `semantic-actors launch`; returns what it prints."""
        ours = [sys.executable, "-m", "semantic_actors", "launch", self._program.command]
        port = self.url.rpartition(":")[2]
        state = str(self.home / "state")
        command = [*ours, "--port", port, "--state-dir", state, "--", *arguments]
        return self._run(command, environment)

    def run(
        self, *arguments: str, command: str | None = None, lines: str = "", **environment: str
    ) -> str:
        """Run the client itself, or another command of its folder; returns what it prints.

        `lines` are what it reads from stdin.
        """
        program = str(self._program.commands / (command or self._program.command))
        return self._run([program, *arguments], environment, lines)

    def converse(self, line: str, wanted: str, **environment: str) -> None:
        """Open the client on a terminal, say `line`, wait for `wanted`, and leave with `/exit`."""
        command = [str(self._program.commands / self._program.command)]
        around = self._environment({"TERM": "xterm-256color", **environment})
        with opened(command, self.work, around) as terminal:
            try:
                terminal.await_text(PROMPT)
                terminal.type(line)
                terminal.await_text(wanted)
                terminal.type("/exit")
            except TimeoutError as error:
                raise ClientFailed(str(error)) from None
            if code := terminal.await_end():
                message = "it left with an error"
                raise ClientFailed(message, code)

    def expect(self, said: str, wanted: str = MARKER) -> None:
        """Raise if a client did not say what the model has read or said."""
        if wanted not in said:
            message = f"it did not say {wanted!r}"
            raise ClientFailed(message)

    def turns(self) -> list[Turn]:
        """List the answers since the scenario began, in the order in which they began.

        Answers of a script are labelled by it; those of the model itself are "main" if they are of
        long prompts, and "side" if they are of short ones beside these. Raises `ClientFailed` if
        one was refused, or if there are not two of the main conversation: the log may be a moment
        behind the client.
        """
        deadline = time.monotonic() + LOG_S
        while True:
            try:
                return told(self._daemon.log()[self._seen :])
            except ClientFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Make the whole environment of a client."""
        node = Path(shutil.which("node") or "/usr/bin/node").parent
        path = (self._program.commands, node, "/usr/bin", "/bin")
        ours = {
            "PATH": os.pathsep.join(map(str, path)),
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "IS_SANDBOX": "1",
        }
        return ours | dict(more)

    def _run(self, command: list[str], environment: Mapping[str, str], lines: str = "") -> str:
        done = subprocess.run(  # noqa: S603 (the client under test)
            command,
            check=False,
            cwd=self.work,
            env=self._environment(environment),
            input=lines,
            capture_output=True,
            text=True,
            timeout=RUN_S,
        )
        if done.returncode:
            raise ClientFailed(done.stderr[-400:], done.returncode)
        return done.stdout


def told(log: str) -> list[Turn]:
    """Read the turns from a log."""
    lines = [line for line in log.splitlines() if line.startswith("{")]
    events = [(at, msgspec.json.decode(line)) for at, line in enumerate(lines)]
    answers = [(at, event) for at, event in events if _is_answer(event)]
    refused = sorted({event["status"] for _, event in answers if event["status"] != OK})
    scripted = [(at, event) for at, event in events if event["event"] == "scripted"]
    if scripted:
        turns = [_turn(event["label"], at, _taken(answers, event)) for at, event in scripted]
    else:
        half = max((event["prompt_tokens"] for _, event in answers), default=0) / 2
        labels = ("main" if event["prompt_tokens"] >= half else "side" for _, event in answers)
        turns = [_turn(name, one[0], one) for name, one in zip(labels, answers, strict=True)]
    if refused:
        message = f"requests were answered with {refused}"
        raise ClientFailed(message)
    if sum(turn.label == "main" for turn in turns) < 2:
        message = "there was no second turn"
        raise ClientFailed(message)
    return turns


def worst(turns: list[Turn]) -> Turn:
    """Find the turn that reused least, of all but the first of each labelled conversation."""
    labelled = sorted((turn for turn in turns if turn.label), key=lambda turn: turn.label)
    later = [turn for _, talk in groupby(labelled, lambda turn: turn.label) for turn in [*talk][1:]]
    return min(later, key=lambda turn: turn.reuse)


def _is_answer(event: dict[str, Any]) -> bool:
    return event["event"] == "request_finished" and event["route"] in _ROUTES


def _taken(answers: list[Event], scripted: dict[str, Any]) -> Event:
    """Take out the answer to the prompt that a script was found in."""
    for place, (_, answer) in enumerate(answers):
        if answer["prompt_tokens"] == scripted["prompt_tokens"]:
            return answers.pop(place)
    message = f"no answer to a prompt of {scripted['prompt_tokens']} tokens was finished"
    raise ClientFailed(message)


def _turn(label: str, began: int, answer: Event) -> Turn:
    ended, event = answer
    numbers = (event[name] for name in ("prompt_tokens", "cached_tokens", "first_token_s"))
    return Turn(label, began, ended, *numbers)
