"""`semantic-actors sessions ...`: what a person or a script does with sessions, from outside.

Each action is one request on the control channel, and what is printed of its result: lines for
people, or with `--json` the result itself.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from semantic_actors.daemon.control import ControlClient, socket_places
from semantic_actors.daemon.printing import card, cards, forgotten, history, resumed, suspended
from semantic_actors.daemon.session_file import reading, writing
from semantic_actors.daemon.settings import Settings
from semantic_actors.domain.chronicle import (
    Forgotten,
    Resumed,
    SessionCard,
    SessionHistory,
    Suspended,
)
from semantic_actors.domain.control import (
    ControlRequest,
    ExportSession,
    ForgetSession,
    ForkSession,
    ImportSession,
    ListSessions,
    PinSession,
    ResumeSession,
    RewindSession,
    ShowSession,
    SuspendSession,
)
from semantic_actors.domain.ids import LOCAL, SessionId
from semantic_actors.domain.limits import MAX_SESSION_ID_CHARS

MAX_TURN = 2**31 - 1

Parsers = Any
"""What `add_subparsers` returns; argparse has no public name for it."""


class _Action(NamedTuple):
    """What an action asks for, what it gets, and how that is printed."""

    request: Any
    result: Any = SessionCard
    lines: Callable[[Any], list[str]] = card


_ACTIONS: dict[str, _Action] = {
    "list": _Action(ListSessions, tuple[SessionCard, ...], cards),
    "show": _Action(ShowSession, SessionHistory, history),
    "pin": _Action(PinSession),
    "unpin": _Action(PinSession),
    "fork": _Action(ForkSession),
    "rewind": _Action(RewindSession),
    "suspend": _Action(SuspendSession, Suspended, suspended),
    "resume": _Action(ResumeSession, Resumed, resumed),
    "import": _Action(ImportSession),
    "forget": _Action(ForgetSession, Forgotten, forgotten),
}


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do what the options say; returns the exit code. Raises what went wrong."""
    with ControlClient(socket_places(settings)) as client:
        if options.action == "export":
            return _export(client, options)
        action = _ACTIONS[options.action]
        request = action.request(**_fields(options))
        if options.action == "import":
            with reading(Path(options.file)) as parts:
                result = client.ask(request, parts)
        else:
            result = client.ask(request)
    if hasattr(options, "json"):
        _say(msgspec.json.encode(msgspec.msgpack.decode(result)).decode())
    else:
        _say(*action.lines(msgspec.msgpack.decode(result, type=action.result)))
    return 0


def _export(client: ControlClient, options: argparse.Namespace) -> int:
    request: ControlRequest = ExportSession(**_fields(options))
    size_bytes = 0
    with writing(Path(options.file)) as file:
        for part in client.download(request):
            size_bytes += file.write(part)
    shown = msgspec.json.encode({"file": options.file, "size_bytes": size_bytes}).decode()
    _say(shown if hasattr(options, "json") else f"{options.file}: {size_bytes} bytes")
    return 0


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that belong into the request."""
    names = ("principal", "session", "new", "turn", "pinned")
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def _say(*lines: str) -> None:
    for line in lines:
        print(line)  # noqa: T201 (the verb's output)


def add_sessions(verbs: Parsers) -> None:
    """Add the parser of `sessions`."""
    sessions = verbs.add_parser("sessions", help="look after sessions", allow_abbrev=False)
    _add_flags(sessions)
    actions = sessions.add_subparsers(dest="action", metavar="ACTION")
    sessions.set_defaults(verb=run, action="list")

    def add(action: str, help_: str, *operands: str, **fixed: Any) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            action, help=help_, allow_abbrev=False, argument_default=argparse.SUPPRESS
        )
        parser.set_defaults(**fixed)
        _add_flags(parser)
        for operand in operands:
            _OPERANDS[operand](parser)
        return parser

    add("list", "all of them, last used first (the default)")
    add("show", "one and its turns", "NAME")
    add("pin", "keep it on disk whatever the budget", "NAME", pinned=True)
    add("unpin", "let it go when the budget says so", "NAME", pinned=False)
    fork = add("fork", "begin another one with its turns; nothing is copied", "NAME", "NEW")
    fork.add_argument("--turn", type=_turn, metavar="N", help="the last to take; default: all")
    add("rewind", "drop its later turns", "NAME", "TURN")
    add("suspend", "store what it has in RAM, and free that", "NAME")
    add("resume", "bring it back into RAM ahead of time", "NAME")
    add("export", "write it to a file", "NAME", "FILE")
    taken = add("import", "make a session of such a file", "FILE")
    taken.add_argument("--as", dest="session", type=_name, metavar="NAME", help="its new name")
    add("forget", "remove it for good", "NAME")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    """Add what may stand before an action as well as behind it."""
    unset = argparse.SUPPRESS  # or what stands behind would undo what stands before
    add = parser.add_argument
    add("--socket", default=unset, metavar="PATH", help="where the daemon listens")
    add("--state-dir", default=unset, metavar="DIR", help="the one that the daemon was given")
    add("--config", default=unset, type=Path, metavar="FILE", help="the daemon's settings")
    whose = f"whose sessions; default: {LOCAL}"
    add("--principal", default=unset, type=_name, metavar="NAME", help=whose)
    add("--json", default=unset, action="store_true", help="print the result as JSON")


def _name(text: str) -> SessionId:
    """Check a name as the daemon will; what is no UTF-8 came in as surrogates."""
    if 1 <= len(text) <= MAX_SESSION_ID_CHARS and not any("\ud800" <= c <= "\udfff" for c in text):
        return SessionId(text)
    message = f"not 1 to {MAX_SESSION_ID_CHARS} characters of UTF-8"
    raise argparse.ArgumentTypeError(message)


def _turn(text: str) -> int:
    """Check the number of a turn as the daemon will."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_TURN:
        message = f"{text!r} is no number of a turn: they count from 1"
        raise argparse.ArgumentTypeError(message)
    return int(text)


_OPERANDS: dict[str, Callable[[argparse.ArgumentParser], object]] = {
    "NAME": lambda parser: parser.add_argument("session", metavar="NAME", type=_name),
    "NEW": lambda parser: parser.add_argument("new", metavar="NEW", type=_name),
    "TURN": lambda parser: parser.add_argument("turn", metavar="TURN", type=_turn),
    "FILE": lambda parser: parser.add_argument("file", metavar="FILE"),
}
