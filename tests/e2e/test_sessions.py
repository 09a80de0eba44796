"""The command line looks after sessions of a running daemon, and they still know what they knew."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import ClaudeTalk, Said, open_claude
from tests.e2e.conftest import Starter
from tests.e2e.daemon import ROOT, Daemon
from tests.e2e.test_cache_persistence import assert_recalled, question, told

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]


async def command(*words: str) -> tuple[int, str, str]:
    """Run the command line; returns exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "semantic_actors",
        *words,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def sessions(state: Path, *words: str) -> Any:
    """Run `sessions`, which must succeed, and read its result."""
    code, out, err = await command("sessions", "--state-dir", str(state), "--json", *words)
    assert code == 0, err
    return json.loads(out)


async def state_of(state: Path, session: str) -> str:
    """Say whether a session is hot, warm or suspended."""
    listed = await sessions(state)
    return str({one["name"]: one["state"] for one in listed}[session])


async def ask(daemon: Daemon, session: str, *texts: str, number: int = 0) -> list[Said]:
    """Go on with a session that was told a fact; nothing of what is said here is kept by us."""
    async with open_claude(daemon.url) as client:
        talk = ClaudeTalk(client, headers={"X-Session-Id": session})
        talk.recount(told(number))
        return [await talk.say(text) for text in texts]


async def test_a_session_moves_to_another_daemon(start: Starter, tmp_path: Path) -> None:
    """Exported here and imported there, it answers there from what it was told here."""
    here, there, file = tmp_path / "here", tmp_path / "there", str(tmp_path / "planner.session")
    with start("--state-dir", str(here)) as daemon:
        [before] = await ask(daemon, "planner", "Thank you.")
        await sessions(here, "suspend", "planner")
        exported = await sessions(here, "export", "planner", file)
        forgotten = await sessions(here, "forget", "planner")
        left = await sessions(here, "list")

    with start("--state-dir", str(there)) as daemon:
        taken = await sessions(there, "import", file, "--as", "planner 2")
        [_, after] = await ask(daemon, "planner 2", "Thank you.", question(0))

    assert forgotten["freed_bytes"] > 0.9 * exported["size_bytes"]
    assert left == []
    assert taken["tokens"] == before.prompt + before.completion
    assert_recalled(0, after, before)


async def test_a_suspended_session_wakes_and_knows(start: Starter, tmp_path: Path) -> None:
    """It leaves RAM on demand, comes back on demand or with the next request, and knows."""
    state = tmp_path / "state"
    with start("--state-dir", str(state)) as daemon:
        [before] = await ask(daemon, "planner", "Thank you.")
        suspended = await sessions(state, "suspend", "planner")
        held = (await daemon.counters())["pool_used_bytes"]
        asleep = await state_of(state, "planner")
        resumed = await sessions(state, "resume", "planner")
        awake = await state_of(state, "planner")
        [_, after] = await ask(daemon, "planner", "Thank you.", question(0))

    assert held == 0 < suspended["freed_bytes"]
    assert suspended["lost_tokens"] == 0
    assert (asleep, awake) == ("suspended", "hot")
    assert resumed["found"] >= 0.99 * resumed["tokens"]
    assert_recalled(0, after, before)


async def test_a_fork_knows_what_its_origin_knew(start: Starter, tmp_path: Path) -> None:
    """It goes on from the turn it was forked at without reading it again."""
    state = tmp_path / "state"
    with start("--state-dir", str(state)) as daemon:
        [before, _] = await ask(daemon, "planner", "Thank you.", "Hello!")
        forked = await sessions(state, "fork", "planner", "copy", "--turn", "1")
        rewound = await sessions(state, "rewind", "planner", "1")
        [_, after] = await ask(daemon, "copy", "Thank you.", question(0))

    assert forked["turns"] == rewound["turns"] == 1
    assert forked["tokens"] == rewound["tokens"] == before.prompt + before.completion
    assert_recalled(0, after, before)


async def test_a_second_daemon_leaves_the_socket_alone(start: Starter, tmp_path: Path) -> None:
    """It refuses to start, with the reason; the first one goes on answering."""
    socket = str(tmp_path / "control.sock")
    with start("--socket", socket):
        code, _, err = await command(
            "serve", "--socket", socket, "--port", "0", "--state-dir", str(tmp_path / "other")
        )
        answered, _, _ = await command("sessions", "--socket", socket)
    gone, _, told_ = await command("sessions", "--socket", socket)

    assert (code, answered, gone) == (1, 0, 69)
    assert "another daemon listens there" in err
    assert f"no daemon listens at {socket}" in told_
