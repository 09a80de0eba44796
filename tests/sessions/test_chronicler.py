"""Laws of what becomes of sessions by the hand of whoever looks after them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from semantic_actors.domain.chronicle import Forgotten
from semantic_actors.domain.errors import InvalidRequest, NotFound, Unavailable
from semantic_actors.domain.ids import LOCAL, Principal, SessionId
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation
from semantic_actors.domain.stream import Failed, Started
from semantic_actors.sessions import Identity
from tests.sessions.kept import Kept, keeping, whole

A, B, C = SessionId("a"), SessionId("b"), SessionId("c")
ANN = Principal("ann")
LONG = "a long question, " * 20


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep the log out of the way."""
    with capture_logs():
        yield


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[Kept]:
    """Run a house over an empty state directory."""
    async with keeping(tmp_path) as one:
        yield one


@pytest.mark.asyncio
async def test_the_list_says_what_there_is(house: Kept) -> None:
    """Name, state, turns, tokens, bytes: last used first, of one principal only."""
    await house.talk("a", LONG, "more")
    await house.talk("b", LONG)
    await house.talk("c", LONG, principal=ANN)

    b, a = await house.chronicler.sessions(LOCAL)
    (c,) = await house.chronicler.sessions(ANN)

    assert [(card.name, card.state, card.turns) for card in (a, b, c)] == [
        ("a", "hot", 2),
        ("b", "hot", 1),
        ("c", "hot", 1),
    ]
    assert a.tokens > b.tokens > 300
    assert whole(a)
    assert a.used is not None
    assert b.used is not None
    assert a.used < b.used


@pytest.mark.asyncio
async def test_a_session_is_shown_with_its_turns(house: Kept) -> None:
    """Numbers count from 1, tokens grow, and the last has as many as the session."""
    await house.talk("a", LONG, "more", "and more")

    shown = await house.chronicler.show(LOCAL, A)

    assert [turn.number for turn in shown.turns] == [1, 2, 3]
    assert [turn.tokens for turn in shown.turns] == sorted(turn.tokens for turn in shown.turns)
    assert shown.turns[-1].tokens == shown.session.tokens
    assert shown.miss is None


@pytest.mark.asyncio
async def test_a_pin_is_kept(house: Kept, tmp_path: Path) -> None:
    """It is listed, until it is taken away."""
    await house.talk("a", LONG)

    assert (await house.chronicler.pin(LOCAL, A, pinned=True)).pinned
    assert (await house.chronicler.sessions(LOCAL))[0].pinned
    assert not (await house.chronicler.pin(LOCAL, A, pinned=False)).pinned
    del tmp_path


@pytest.mark.asyncio
async def test_a_fork_goes_on_where_its_origin_was(house: Kept) -> None:
    """It has the turns up to there, and finds their keys and values; the origin goes on too."""
    said = await house.talk("a", LONG, "more", "and more")
    stored = (await house.chronicler.show(LOCAL, A)).session.size_bytes

    fork = await house.chronicler.fork(LOCAL, A, B, 2)
    text, cached, prompt = await house.say("b", *said[:4], "otherwise")
    copy = await house.chronicler.fork(LOCAL, A, C, None)

    assert (fork.turns, copy.turns) == (2, 3)
    assert fork.size_bytes < stored == copy.size_bytes
    assert prompt - cached < 16
    assert text != said[-1]
    assert (await house.say("a", *said, "goodbye"))[1] > 300


@pytest.mark.asyncio
async def test_a_rewound_session_has_no_later_turns(house: Kept) -> None:
    """They are dropped from the record; what is left goes on as it was."""
    said = await house.talk("a", LONG, "more", "and more")

    card = await house.chronicler.rewind(LOCAL, A, 1)
    again = await house.say("a", *said[:2], "more")

    assert card.turns == 1
    assert again[0] == said[3]
    assert again[2] - again[1] < 16
    assert (await house.chronicler.show(LOCAL, A)).session.turns == 2


@pytest.mark.asyncio
async def test_a_suspended_session_takes_no_ram(house: Kept) -> None:
    """Its caches are stored, then dropped; the next request wakes it, and feeds what is new."""
    said = await house.talk("a", LONG)
    await house.talk("b", "short")
    before = await house.caches()

    suspended = await house.chronicler.suspend(LOCAL, A)
    states = {card.name: card.state for card in await house.chronicler.sessions(LOCAL)}

    assert suspended.freed_bytes > 0
    assert await house.caches() == before - 1
    assert states == {"a": "suspended", "b": "hot"}
    assert (A in {name for _, name in house.directory.actors}) is False

    _, cached, prompt = await house.say("a", *said, "more")
    assert prompt - cached < 16
    assert (await house.chronicler.show(LOCAL, A)).session.state == "hot"


@pytest.mark.asyncio
async def test_a_resumed_session_is_in_ram_before_it_is_asked(house: Kept) -> None:
    """All of its last turn is; nothing is computed that was stored."""
    said = await house.talk("a", LONG)
    await house.chronicler.suspend(LOCAL, A)

    resumed = await house.chronicler.resume(LOCAL, A)

    assert resumed.tokens - resumed.found <= 1
    assert (await house.chronicler.show(LOCAL, A)).session.state == "hot"
    assert await house.caches() == 1
    assert (await house.say("a", *said, "more"))[1] == resumed.tokens


@pytest.mark.asyncio
async def test_a_forgotten_session_leaves_nothing(house: Kept) -> None:
    """Not in RAM, not on disk, not in the list; its conversation is a new one."""
    said = await house.talk("a", LONG, "more")
    size = (await house.chronicler.show(LOCAL, A)).session.size_bytes

    forgotten = await house.chronicler.forget(LOCAL, A)

    assert forgotten.freed_bytes >= size
    assert forgotten.kept_bytes == 0
    assert await house.chronicler.sessions(LOCAL) == ()
    assert await house.caches() == 0
    assert (await house.say("a", *said, "again"))[1] == 0


@pytest.mark.asyncio
async def test_forgetting_keeps_what_others_hold(house: Kept) -> None:
    """And says how much; the other one still finds it."""
    said = await house.talk("a", LONG, "more")
    await house.chronicler.fork(LOCAL, A, B, 1)

    forgotten = await house.chronicler.forget(LOCAL, A)
    found = (await house.say("b", *said[:2], "else"))[1]

    assert forgotten.kept_bytes == 4 * (await house.chronicler.show(LOCAL, B)).turns[0].tokens
    assert found >= forgotten.kept_bytes // 4 - 1


@pytest.mark.asyncio
async def test_an_open_turn_is_not_pulled_away(house: Kept) -> None:
    """What would change a session under it is refused, and changes nothing."""
    await house.talk("a", LONG)
    house.slow_down()
    prompt = ChatPrompt((ChatMessage("user", "another"),))
    turn = await house.directory.begin(Identity(LOCAL, A), Generation(prompt))

    for verb in (
        lambda: house.chronicler.suspend(LOCAL, A),
        lambda: house.chronicler.forget(LOCAL, A),
        lambda: house.chronicler.rewind(LOCAL, A, 1),
    ):
        with pytest.raises(Unavailable, match="a turn of session 'a' is open"):
            await verb()
    assert (await house.chronicler.show(LOCAL, A)).session.state == "hot"
    house.directory.cut()
    assert [type(event) async for event in turn] == [Started, Failed]


@pytest.mark.asyncio
async def test_what_is_not_there_is_refused_by_name(house: Kept) -> None:
    """Sessions, turns, and those of another principal."""
    await house.talk("a", LONG)
    chronicler = house.chronicler

    for verb in (
        chronicler.show(LOCAL, B),
        chronicler.show(ANN, A),
        chronicler.pin(LOCAL, B, pinned=True),
        chronicler.fork(LOCAL, B, C, None),
        chronicler.fork(LOCAL, B, C, 1),
        chronicler.rewind(LOCAL, B, 1),
        chronicler.suspend(LOCAL, B),
        chronicler.resume(LOCAL, B),
        chronicler.forget(LOCAL, B),
    ):
        with pytest.raises(NotFound, match=r"there is no session '[ab]'"):
            await verb
    with pytest.raises(NotFound, match="session 'a' has no turn 2: its last is 1"):
        await chronicler.rewind(LOCAL, A, 2)
    with pytest.raises(NotFound, match="no turns of session 'b'"):
        await house.export("b")
    with pytest.raises(InvalidRequest, match="there is a session 'a' already"):
        await chronicler.fork(LOCAL, A, A, None)


@pytest.mark.asyncio
async def test_without_a_store_there_is_only_ram(house: Kept) -> None:
    """Whoever lives is shown, and can be forgotten; what needs a disk is refused."""
    await house.talk("a", LONG)
    bare = house.without_store()

    (card,) = await bare.sessions(LOCAL)

    assert (card.name, card.state, card.turns, card.used) == ("a", "hot", 0, None)
    for verb in (
        lambda: bare.pin(LOCAL, A, pinned=True),
        lambda: bare.suspend(LOCAL, A),
        lambda: anext(bare.export(LOCAL, A)),
    ):
        with pytest.raises(InvalidRequest, match="keeps nothing on disk"):
            await verb()
    assert await house.caches() == 1
    assert await bare.forget(LOCAL, A) == Forgotten(0, 0)
    assert await house.caches() == 0
