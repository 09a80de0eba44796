"""Laws of the store, through real files: what was saved is found again, true, or not at all."""

from pathlib import Path

import pytest

from semantic_actors.domain.ids import Principal
from tests.persistence.rig import path, store_at


@pytest.mark.asyncio
async def test_what_was_saved_comes_back_true(tmp_path: Path) -> None:
    """A path comes back byte for byte, in the same life of a store and in the next."""
    tokens = path(1000)

    async with store_at(tmp_path) as client:
        assert await client.save(tokens) == ""
        assert await client.look_up(tokens) == 1000
        assert await client.correct(tokens) == 1000
        assert await client.correct(tokens, 300) == 1000
    async with store_at(tmp_path) as client:
        assert await client.look_up((*tokens, 1, 2)) == 1000
        assert await client.correct(tokens) == 1000


@pytest.mark.asyncio
async def test_a_path_may_be_saved_in_pieces_and_used_up_to_where_it_diverges(
    tmp_path: Path,
) -> None:
    """What two paths share is used by both, down to the token."""
    first = path(700)
    second = (*first[:613], *path(100, seed=1))

    async with store_at(tmp_path) as client:
        for stop in (100, 256, 300, 517, 700):
            start = await client.look_up(first)
            assert await client.save(first[:stop], start) == ""
        assert await client.look_up(second) == 613
        assert await client.correct(second) == 613
        assert await client.save(second, 613) == ""
        assert await client.correct(second) == 713


@pytest.mark.asyncio
async def test_principals_share_nothing(tmp_path: Path) -> None:
    """The same tokens of another principal are not there."""
    tokens, other = path(600), Principal("somebody else")

    async with store_at(tmp_path) as client:
        assert await client.save(tokens) == ""

        assert await client.look_up(tokens, other) == 0
        assert (await client.fetch(tokens, principal=other)).rows == ()


@pytest.mark.asyncio
async def test_sessions_are_remembered(tmp_path: Path) -> None:
    """Answers come back by conversation, and a conversation names its session."""
    tokens = path(600)

    async with store_at(tmp_path) as client:
        client.remember("s", b"c1", tokens[:300], answer=(1, 2))
        client.remember("s", b"c2", tokens, parent=b"c1", answer=(3,))
    async with store_at(tmp_path) as client:
        assert await client.recall("s") == ((b"c1", (1, 2)), (b"c2", (3,)))
        assert await client.recall("t") == ()
        assert await client.recognise(b"c3", b"c2", b"c1") == "s"
        assert await client.recognise(b"c3") is None
        assert await client.recognise(b"c2", principal=Principal("x")) is None
