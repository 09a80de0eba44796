"""Laws of sessions on disk: what they said, where they part, and how one is forgotten."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.domain.ids import LOCAL, Principal, SessionId, TokenIds
from semantic_actors.kv.blocks import unpack
from semantic_actors.persistence import (
    ForgetSession,
    Forgotten,
    ForkSession,
    ListSessions,
    RewindSession,
)
from semantic_actors.persistence.catalog import Answer, Turn, heads_of, next_turn, path_of
from tests.persistence.rig import Client, path, store_at

S, T = SessionId("s"), SessionId("t")
OTHER = Principal("other")


async def forget(client: Client, session: SessionId) -> Forgotten:
    """Forget a session that is there."""
    forgotten = await client.ask(ForgetSession(LOCAL, session))
    assert forgotten is not None
    assert forgotten.reason == ""
    return forgotten


async def three_turns(client: Client, session: str = "s", seed: int = 0) -> TokenIds:
    """Tell of a conversation of three turns, and save it."""
    tokens = path(900, seed)
    for number, stop in enumerate((300, 600, 900)):
        conversation, parent = f"c{number} {seed}".encode(), f"c{number - 1} {seed}".encode()
        client.remember(
            session, conversation, tokens[:stop], parent=parent, answer=tokens[stop - 5 : stop]
        )
    assert await client.save(tokens) == ""
    return tokens


@pytest.mark.asyncio
async def test_turns_are_recited_with_the_paths_behind_them(tmp_path: Path) -> None:
    """Number, conversation, answer and the whole path, of which so much is on disk."""
    async with store_at(tmp_path) as client:
        tokens = await three_turns(client)
        client.remember("s", b"later", path(50, seed=4))
        turns, paths = zip(*await client.paths("s"), strict=True)

        assert [turn.number for turn in turns] == [1, 2, 3, 4]
        assert [turn.conversation for turn in turns] == [b"c0 0", b"c1 0", b"c2 0", b"later"]
        assert [turn.path_tokens for turn in turns] == [300, 600, 900, 50]
        assert [len(unpack(turn.answer)) for turn in turns] == [5, 5, 5, 1]
        assert paths == (tokens[:300], tokens[:600], tokens, path(50, seed=4))
        assert [await client.look_up(behind) for behind in paths] == [300, 600, 900, 0]


@pytest.mark.asyncio
async def test_sessions_are_listed_last_used_first(tmp_path: Path) -> None:
    """Those of one principal, or all."""
    async with store_at(tmp_path) as client:
        client.remember("s", b"1", path(5))
        client.remember("t", b"2", path(5))
        client.remember("u", b"3", path(5), principal=OTHER)
        client.remember("s", b"4", path(9), parent=b"1")

        mine = await client.ask(ListSessions(LOCAL))
        everyone = await client.ask(ListSessions())

        assert [(one.session, one.turns) for one in mine] == [("s", 2), ("t", 1)]
        assert [one.session for one in everyone] == ["s", "u", "t"]
        assert everyone[1].principal == "other"


@pytest.mark.asyncio
async def test_the_same_said_twice_is_one_turn(tmp_path: Path) -> None:
    """Another answer to the same is another turn, and is what is recalled last."""
    async with store_at(tmp_path) as client:
        for answer in ((1,), (1,), (2,)):
            client.remember("s", b"c", path(5), answer=answer)

        assert await client.recall("s") == ((b"c", (1,)), (b"c", (2,)))


@pytest.mark.asyncio
async def test_sessions_of_others_are_not_there(tmp_path: Path) -> None:
    """The same id under another principal is another session."""
    async with store_at(tmp_path) as client:
        await three_turns(client)

        assert await client.recall("s", OTHER) == ()
        assert await client.paths("s", OTHER) == ()
        assert await client.ask(ForgetSession(OTHER, S)) is None
        assert await client.ask(RewindSession(OTHER, S, b"c0 0")) is False
        assert len(await client.recall("s")) == 3


@pytest.mark.asyncio
async def test_a_session_can_be_rewound(tmp_path: Path) -> None:
    """What came after a turn was never said; what comes next goes on from there."""
    async with store_at(tmp_path) as client:
        tokens = await three_turns(client)
        assert await client.ask(RewindSession(LOCAL, S, b"c1 0")) is True
        assert await client.ask(RewindSession(LOCAL, S, b"c2 0")) is False
        client.remember("s", b"new", (*tokens[:600], 7), parent=b"c1 0")
    async with store_at(tmp_path) as client:
        assert [said for said, _ in await client.recall("s")] == [b"c0 0", b"c1 0", b"new"]
        assert (await client.paths("s"))[-1][1] == (*tokens[:600], 7)
        assert await client.recognise(b"c2 0") is None


@pytest.mark.asyncio
async def test_a_session_can_be_forked(tmp_path: Path) -> None:
    """The copy goes its own way; an existing session is not written over."""
    async with store_at(tmp_path) as client:
        tokens = await three_turns(client)
        assert await client.ask(ForkSession(LOCAL, S, T, b"c1 0")) is True
        assert await client.ask(ForkSession(LOCAL, S, T)) is False
        assert await client.ask(ForkSession(LOCAL, SessionId("?"), SessionId("u"))) is False
        client.remember("t", b"new", (*tokens[:600], 7), parent=b"c1 0")
        await forget(client, S)
    async with store_at(tmp_path) as client:
        assert [said for said, _ in await client.recall("t")] == [b"c0 0", b"c1 0", b"new"]
        assert await client.correct(tokens) == 600


@pytest.mark.asyncio
async def test_a_forgotten_session_leaves_nothing(tmp_path: Path) -> None:
    """No row, no file, no prefix; not in this life and not in the next."""
    async with store_at(tmp_path) as client:
        tokens = await three_turns(client)
        assert await client.save((*tokens, *path(400, seed=5)), 900) == ""
        size = (await client.statistics()).size_bytes

        forgotten = await forget(client, S)

        assert (size, 0) == (forgotten.freed_bytes, forgotten.kept_tokens)
        assert await client.look_up(tokens) == 0
        assert await client.recall("s") == ()
        assert await client.ask(ListSessions()) == ()
        assert list((tmp_path / "blocks").rglob("*.safetensors")) == []
        assert list((tmp_path / "sessions").iterdir()) == []
    (tmp_path / "catalog.sqlite").unlink()
    async with store_at(tmp_path) as client:
        assert await client.recall("s") == ()
        assert await client.look_up(tokens) == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("common", [100, 256, 400, 512, 899, 900])
async def test_what_others_hold_is_kept_to_the_token(tmp_path: Path, common: int) -> None:
    """The others' path stays whole; of the forgotten one only what they share is left."""
    async with store_at(tmp_path) as client:
        mine = await three_turns(client)
        theirs = (*mine[:common], *path(500, seed=3))
        assert await client.save(theirs, common) == ""
        client.remember("t", b"t", theirs)

        forgotten = await forget(client, S)

        assert common == forgotten.kept_tokens
        assert await client.correct(theirs) == len(theirs)
        assert await client.look_up(mine) == common
    async with store_at(tmp_path) as client:
        assert await client.correct(theirs) == len(theirs)
        assert await client.look_up(mine) == common
    kept = b"".join(file.read_bytes() for file in (tmp_path / "blocks").rglob("*.safetensors"))
    private = b"".join(token.to_bytes(4, "little") for token in mine[common : common + 2])
    assert not private or private not in kept


@pytest.mark.asyncio
async def test_odd_ids_are_ids(tmp_path: Path) -> None:
    """Paths, NUL, half a surrogate pair, look-alikes, kilobytes: each is its own session."""
    ids = ["../x", "/etc/passwd", "a\0b", "\udc80", "é", "e\u0301", "", "x" * 10_000]
    async with store_at(tmp_path) as client:
        for number, session in enumerate(ids):
            client.remember(session, bytes([number]), path(3), answer=(number,))
    (tmp_path / "catalog.sqlite").unlink()
    async with store_at(tmp_path) as client:
        for number, session in enumerate(ids):
            assert await client.recall(session) == ((bytes([number]), (number,)),)
            assert await client.recognise(bytes([number])) == session
    assert {file.parent for file in (tmp_path / "sessions").rglob("*")} == {tmp_path / "sessions"}


tokens = st.lists(st.integers(0, 3), max_size=8).map(tuple)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), tokens, tokens), max_size=12))
def test_paths_told_by_difference_are_told_whole(
    said: list[tuple[int, int, TokenIds, TokenIds]],
) -> None:
    """Whatever goes on from whatever: each turn's path is what was told, and is told once."""
    turns: tuple[Turn, ...] = ()
    expected: dict[int, Answer] = {}
    for conversation, parent, answer, behind in said:
        told = Answer(bytes([conversation]), bytes([parent]), answer, behind)
        turn = next_turn(turns, told, 0.0)
        assert (turn is None) == (told in expected.values())
        if turn is not None:
            turns = (*turns, turn)
            expected[turn.number] = told

    assert [unpack(turn.answer) for turn in turns] == [one.answer for one in expected.values()]
    for turn in turns:
        tokens_behind = expected[turn.number].tokens
        head = expected[heads_of(turns)[turn.number]].tokens
        assert tokens_behind == path_of(turns, turn.number)
        assert turn.path_tokens == len(tokens_behind)
        assert head[: turn.path_tokens] == tokens_behind


def test_a_path_ends_whatever_a_file_says() -> None:
    """Turns that go on from themselves, or from later ones, are walked once."""
    loop = tuple(Turn(n, b"", b"", b"", base, 1, b"1234", 0.0) for n, base in ((1, 2), (2, 1)))

    assert len(path_of(loop, 2)) == 2
