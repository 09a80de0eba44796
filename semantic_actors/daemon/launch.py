"""`semantic-actors launch claude|codex|opencode`: the client, talking to the daemon.

The client takes this process over: terminal, signals and exit status are its own.
"""

import argparse
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semantic_actors.daemon.keys import read_keys
from semantic_actors.daemon.launch_clients import CLIENTS, NO_KEY, Endpoint
from semantic_actors.daemon.launch_daemon import CannotLaunch, Place, see_to
from semantic_actors.daemon.settings import Settings, model_name
from semantic_actors.daemon.state import state_directory

INTERRUPTED = 130


def add_launch(verbs: Any) -> argparse.ArgumentParser:
    """Add the verb. `options.flags` are those of `serve` that were given."""
    launch: argparse.ArgumentParser = verbs.add_parser(
        "launch",
        help="start a client against the daemon, and the daemon if none runs",
        usage="semantic-actors launch CLIENT [flags of serve] [-- arguments of the client]",
        allow_abbrev=False,
    )
    launch.set_defaults(verb=run)
    launch.add_argument(
        "client", choices=sorted(CLIENTS), metavar="CLIENT", help=", ".join(CLIENTS)
    )
    return launch


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Part what is said to `launch` from what is said to the client, behind the first `--`."""
    if arguments[:1] != ["launch"] or "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def given(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Spell the flags that were given, for the command line of another process."""
    said = ((name, getattr(options, name, None)) for name in names)
    return [
        word
        for name, value in said
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Become the client; returns only if interrupted before."""
    client = CLIENTS[options.client]
    if shutil.which(client.program) is None:
        message = f"{client.program} is not installed: {client.install}"
        raise CannotLaunch(message)
    try:
        endpoint = _endpoint(settings, options.flags)
    except KeyboardInterrupt:
        return INTERRUPTED
    arguments, environment = client.prepare(endpoint, os.environ)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ours is ignored, and would stay so
    command = [client.program, *arguments, *options.passed]
    return os.execvpe(client.program, command, environment)  # noqa: S606 (that is the verb)


def _endpoint(settings: Settings, flags: list[str]) -> Endpoint:
    place = Place(settings.server.host, settings.server.port)
    see_to(place, flags, state_directory(settings.store.state_dir))
    key = _key(settings.server.keys_file)
    name, context = place.model(key)
    if settings.model.path and name != (wanted := model_name(settings)):
        message = f"the daemon on {place} serves {name!r}, not {wanted!r}: choose another --port"
        raise CannotLaunch(message)
    return Endpoint(place.url, key, name, context)


def _key(keys_file: str) -> str:
    """Return the first key of the file."""
    return next(iter(read_keys(Path(keys_file).expanduser()).values())) if keys_file else NO_KEY
