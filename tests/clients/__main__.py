"""Real clients against real daemons: `python -m tests.clients [--quick] [WORD ...]`.

Words choose the scenarios whose line holds them all. Every client must leave with 0, say what only
the model can have told it, and find at least nine tenths of every later prompt computed. All of it
runs in a network of its own that has nothing but loopback, where the system allows that.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from tests.clients.programs import install
from tests.clients.scenarios import SCENARIOS, Scenario
from tests.clients.stage import ClientFailed, Stage, Turn, worst
from tests.e2e.daemon import Daemon, started

REUSE: Final = 0.9
CONTEXT: Final = "65536"
"""Tokens. Claude Code would shorten a conversation that half of it cannot hold."""

MODULES: Final = {"scripted": "tests.clients.scripted", "pocket": "semantic_actors"}

COLUMNS: Final = "{:17} {:26} {:8} {:>4} {:>5} {:>7} {:>6} {:>7} {:>8}  {}\n"
HEAD: Final = (
    *("client", "scenario", "model", "exit", "turns"),
    *("prompt", "cached", "first s", "second s", "verdict"),
)


def main() -> int:
    """Play the chosen scenarios; returns 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__, prog="tests.clients")
    parser.add_argument("words", nargs="*", help="only scenarios whose line holds all of these")
    parser.add_argument("--quick", action="store_true", help="few scenarios, nothing installed")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS if _is_chosen(scenario, options)]
    if not options.inside:
        if not options.quick:
            _install(chosen)
        _isolate()
    interfaces = [name for _, name in socket.if_nameindex()]
    _say(f"network interfaces: {', '.join(interfaces)}\n{COLUMNS.format(*HEAD)}")
    models: tuple[Literal["scripted", "pocket"], ...] = ("scripted", "pocket")
    with tempfile.TemporaryDirectory() as folder:
        played = [_play_all(model, chosen, Path(folder)) for model in models]
    return 0 if all(played) and chosen else 1


def _is_chosen(scenario: Scenario, options: argparse.Namespace) -> bool:
    if options.quick and not (scenario.quick and scenario.program.installed):
        return False
    line = f"{scenario.program} {scenario.name} {scenario.model}"
    return all(word in line for word in options.words)


def _install(chosen: list[Scenario]) -> None:
    for program in dict.fromkeys(scenario.program for scenario in chosen):
        if not program.installed:
            install(program)


def _isolate() -> None:
    """Begin again in a network namespace; returns if there can be none."""
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    again = [sys.executable, "-m", "tests.clients", "--inside", *sys.argv[1:]]
    up = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    tools = all(map(shutil.which, ("unshare", "ip")))
    probe = [*alone, *up, "true"]
    if tools and subprocess.run(probe, check=False, capture_output=True).returncode == 0:  # noqa: S603 (fixed)
        sys.stdout.flush()
        os.execvp(alone[0], [*alone, *up, *again])  # noqa: S606 (ourselves again)
    _say("no network namespace can be had here: clients may reach more than loopback\n")


def _play_all(model: Literal["scripted", "pocket"], chosen: list[Scenario], folder: Path) -> bool:
    """Play all scenarios of one model against one daemon."""
    ours = [scenario for scenario in chosen if scenario.model == model]
    if not ours:
        return True
    log = folder / f"{model}.log"
    with started(log, "--context", CONTEXT, module=MODULES[model]) as daemon:
        played = [_play(scenario, daemon, folder) for scenario in ours]
        return all(played)


def _play(scenario: Scenario, daemon: Daemon, folder: Path) -> bool:
    """Play one and print its line; returns whether all went well."""
    stage = Stage(daemon, scenario.program, Path(tempfile.mkdtemp(dir=folder)))
    line = (str(scenario.program), scenario.name, scenario.model)
    try:
        scenario.play(stage)
        turns = stage.turns()
    except ClientFailed as failure:
        _say(COLUMNS.format(*line, failure.code, *"-----", f"FAILED: {failure}"))
        return False
    except subprocess.TimeoutExpired:
        _say(COLUMNS.format(*line, *"------", "FAILED: it did not end"))
        return False
    first, second = [turn for turn in turns if turn.label == "main"][:2]
    least = worst(turns)
    verdict = "ok" if least.reuse >= REUSE else f"FAILED: too little is reused in {least.label}"
    times = (_seconds(first), _seconds(second))
    cost = (second.prompt_tokens, f"{least.reuse:.1%}", *times)
    _say(COLUMNS.format(*line, 0, len(turns), *cost, verdict))
    return least.reuse >= REUSE


def _seconds(turn: Turn) -> str:
    return "-" if turn.first_token_s is None else f"{turn.first_token_s:.3f}"


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
