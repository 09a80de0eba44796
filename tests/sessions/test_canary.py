"""Canaries: each of many sessions has a marker of its own, and none is ever seen in another.

The scripted model answers with the marker that its cache begins with and a digest of all that it
holds, so one wrong row anywhere is a wrong answer. SEMANTIC_ACTORS_CANARY says how many turns there
are in all: among 64 sessions at once, in an eighth of the memory that they would need, over a real
store and several restarts.
"""

import asyncio
import hashlib
import os
import random
import re
from array import array
from pathlib import Path

import pytest

from semantic_actors.domain.ids import LOCAL, Principal, SessionId, TokenIds
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation
from semantic_actors.persistence import InspectStore
from semantic_actors.scheduling import Inspect
from semantic_actors.sessions import Identity
from tests.sessions.kept import PATIENCE_S, Kept, keeping
from tests.sessions.rig import END, ROLES, LetterCodec, collect

TURNS = int(os.environ.get("SEMANTIC_ACTORS_CANARY", "1000"))
SESSIONS = 64
LIVES = 4
POOL_BYTES = 6 << 20
LONGEST = 1_400
"""Letters of a conversation, about; then a new one begins."""

MARKER = re.compile("<[0-9a-f]{6}>")


def marker(number: int) -> str:
    """Return the marker of a session."""
    return f"<{hashlib.sha256(str(number).encode()).hexdigest()[:6]}>"


def reply(prompt: TokenIds) -> str:
    """Return the marker that a prompt begins with, and a digest of all of it."""
    digest = hashlib.sha256(array("I", prompt).tobytes()).hexdigest()
    return "".join(map(chr, prompt[1:9])) + digest[:8]


def think(tokens: TokenIds) -> int:
    """Go on with the reply to everything up to the last assistant header."""
    said = tokens[::-1].index(ROLES["assistant"])
    text = reply(tokens[: len(tokens) - said])
    return ord(text[said]) if said < len(text) else END


class Canary:
    """One session; all that it says follows from its number."""

    def __init__(self, number: int) -> None:
        self.marker = marker(number)
        self._name = SessionId(f"canary {number}")
        self._rng = random.Random(number)
        self._said: list[str] = []

    async def sing(self, house: Kept, turns: int) -> None:
        """Take so many turns: go on, go back to an earlier one, or begin anew."""
        for _ in range(turns):
            if len("".join(self._said)) > LONGEST:
                self._said.clear()
            elif self._rng.random() < 0.1:
                del self._said[2 * self._rng.randrange(len(self._said) // 2 + 1) :]
            words = "".join(self._rng.choices("abcdefgh ", k=self._rng.randrange(1, 200)))
            self._said.append(words if self._said else self.marker + words)
            self._said.append(await self._ask(house))

    async def _ask(self, house: Kept) -> str:
        roles = ("user", "assistant")
        prompt = ChatPrompt(
            tuple(
                ChatMessage(roles[index % 2], text)  # type: ignore[arg-type]
                for index, text in enumerate(self._said)
            )
        )
        identity = Identity(LOCAL, self._name)
        text, _ = await collect(await house.directory.begin(identity, Generation(prompt)))
        assert [self.marker] == MARKER.findall(text), (self._name, text)
        assert reply(LetterCodec().render(prompt)) == text, (self._name, self._said)
        return text


@pytest.mark.slow
@pytest.mark.asyncio
async def test_no_session_ever_sees_another(tmp_path: Path) -> None:
    """Every answer is the one to its own conversation, wherever the rows behind it were."""
    canaries = [Canary(number) for number in range(SESSIONS)]
    assert len({one.marker for one in canaries}) == SESSIONS
    restored = 0

    for _ in range(LIVES):
        async with keeping(tmp_path, pool_bytes=POOL_BYTES, thinks=think) as house:
            async with asyncio.TaskGroup() as singing:
                for canary in canaries:
                    turns = -(-TURNS // SESSIONS // LIVES)
                    singing.create_task(canary.sing(house, turns))
            ram = await house.scheduler.ask(Inspect(), timeout=PATIENCE_S)
            disk = await house.store.ask(InspectStore(), timeout=PATIENCE_S)
        assert (disk.quarantined_total, disk.degraded) == (0, "")
        restored += ram.tokens_restored_total

    assert restored > 10 * TURNS


@pytest.mark.asyncio
async def test_a_principal_shares_with_itself_and_with_nobody_else(tmp_path: Path) -> None:
    """A long prefix is found by any session of who computed it, and by no other principal's.

    Not in memory, not on disk, and not after a restart.
    """
    alice, bob, carol = map(Principal, ("alice", "bob", "carol"))
    prefix = "s" * 700

    async def cached(house: Kept, session: str, principal: Principal) -> int:
        return (await house.say(session, prefix, principal=principal))[1]

    async with keeping(tmp_path) as house:
        found = [await cached(house, name, alice) for name in ("one", "two")]
        foreign = await cached(house, "two", bob)
    async with keeping(tmp_path) as house:
        found.append(await cached(house, "three", alice))
        foreign += await cached(house, "three", carol)
        found.append(await cached(house, "three", bob))

    assert found[0] == foreign == 0
    assert min(found[1:]) >= len(prefix)
