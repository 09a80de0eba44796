"""A state directory whose content is known, and the law that it is under, whatever happens to it.

It holds three paths, two of which part within a block, in pieces large and small, and what two
sessions said.
"""

import shutil
from pathlib import Path
from typing import Final

from structlog.testing import capture_logs

from semantic_actors.domain.ids import LOCAL, SessionId, TokenIds
from semantic_actors.persistence import Recite
from semantic_actors.persistence.catalog import path_of
from tests.persistence.rig import Client, path, store_at

LONG: Final = path(1_000)
BRANCH: Final = (*LONG[:613], *path(300, seed=1))
OTHER: Final = path(520, seed=2)
PATHS: Final = (LONG, BRANCH, OTHER)
ENDS: Final = (100, 256, 300, 517, 700, 1_000)
"""Where the saves of the long path ended."""

SAID: Final[dict[str, dict[bytes, tuple[TokenIds, TokenIds]]]] = {
    "one": {
        b"one 1" * 6: (tuple(range(40, 60)), LONG[:500]),
        b"one 2" * 6: (tuple(range(90, 130)), LONG),
        b"one 3" * 6: (tuple(range(200, 220)), BRANCH),
    },
    "two": {b"two 1" * 6: (tuple(range(7, 17)), OTHER)},
}
"""By session and conversation: the answer, and the path behind it."""


async def leave(state: Path, killed: Path) -> None:
    """Make the directory as a store leaves it, and as one does that is killed."""
    async with store_at(state) as client:
        for end in ENDS:
            assert await client.save(LONG[:end], await client.look_up(LONG[:end])) == ""
        for tokens in (BRANCH, OTHER):
            assert await client.save(tokens, await client.look_up(tokens)) == ""
        for session, said in SAID.items():
            parent = b""
            for conversation, (answer, tokens) in said.items():
                client.remember(session, conversation, tokens, parent=parent, answer=answer)
                parent = conversation
            assert len(await client.recall(session)) == len(said)
        shutil.copytree(state, killed)


async def revisit(state: Path, *, told: bool = True) -> None:
    """See that nothing there is wrong, that losses were `told` of, and that all can be again."""
    with capture_logs() as logs:
        async with store_at(state) as client:
            lost = [tokens for tokens in PATHS if await client.correct(tokens) < len(tokens)]
            missing = [session for session in SAID if not await _told(client, session)]
            for tokens in PATHS:
                assert await client.save(tokens) == ""
                assert await client.correct(tokens) == len(tokens)
            assert await client.is_well()
    warnings = [line for line in logs if line["log_level"] in ("warning", "error")]
    assert warnings or not told or not (lost or missing), "something is lost without a word"
    async with store_at(state) as client:
        for tokens in PATHS:
            assert await client.correct(tokens) == len(tokens)
        assert await client.is_well()


async def _told(client: Client, session: str) -> bool:
    """Say whether all that a session said is known; what is known must be true.

    A conversation that nobody has had is found by nobody.
    """
    said = SAID[session]
    recalled = dict(await client.recall(session))
    for conversation in said.keys() & recalled.keys():
        assert said[conversation][0] == recalled[conversation], (session, conversation)
        assert await client.recognise(conversation) in (session, None)
    turns = await client.ask(Recite(LOCAL, SessionId(session))) or ()
    for turn in turns:
        assert path_of(turns, turn.number) == said[turn.conversation][1], (session, turn.number)
    return recalled.keys() == said.keys()
