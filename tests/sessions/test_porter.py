"""Laws of the file of a session: whole, it is the session; in any doubt, it is none."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from math import nan
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.ids import LOCAL, Principal, SessionId
from semantic_actors.engine.fake import FAKE_LAYOUT
from semantic_actors.kv.blocks import pack
from semantic_actors.persistence.catalog import Turn
from semantic_actors.sessions.parcel import Doubtful, End, Head, Held, Opening, Packer, Said
from tests.sessions.kept import Kept, keeping, parts, whole

A, B, C = SessionId("a"), SessionId("b"), SessionId("c")
ANN = Principal("ann")
LONG = "a long question, " * 20

ROWS = pack(range(16))
FIRST = Turn(1, b"c", b"p", pack((8, 9)), 0, 0, pack(range(16)), 1.0)
SECOND = msgspec.structs.replace(FIRST, number=2, base=1, shared=16)
OPENING = Opening("fake", FAKE_LAYOUT, B, 1)


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
async def test_a_session_goes_on_in_another_house(tmp_path: Path) -> None:
    """Under another owner and name: all its turns, its times, and no token is computed again."""
    async with keeping(tmp_path / "one") as here:
        said = await here.talk("a", LONG, "more", "and more")
        turns = (await here.chronicler.show(LOCAL, A)).turns
        file = await here.export("a")
        expected = await here.say("a", *said, "on")

    async with keeping(tmp_path / "two") as there:
        card = await there.chronicler.take_in(ANN, B, parts(file))
        shown = await there.chronicler.show(ANN, B)
        answer = await there.say("b", *said, "on", principal=ANN)

    assert (card.name, card.turns, card.state) == ("b", 3, "warm")
    assert shown.turns == turns
    assert whole(card)
    assert answer == expected


@pytest.mark.asyncio
async def test_a_forgotten_session_comes_back_from_its_file(house: Kept) -> None:
    """Export, forget, import: it is the one that it was."""
    said = await house.talk("a", LONG, "more")
    before = await house.chronicler.show(LOCAL, A)
    file = await house.export("a")

    assert (await house.chronicler.forget(LOCAL, A)).freed_bytes > 0
    await house.chronicler.take_in(LOCAL, None, parts(file))
    after = await house.chronicler.show(LOCAL, A)

    assert after.turns == before.turns
    assert after.session.size_bytes == before.session.size_bytes
    assert (await house.say("a", *said, "on"))[1] >= before.session.tokens - 1


@pytest.mark.asyncio
async def test_a_file_of_branches_has_them_all(house: Kept) -> None:
    """Each row once, each path whole."""
    said = await house.talk("a", LONG, "more")
    await house.say("a", *said[:2], "otherwise")
    file = await house.export("a")
    await house.chronicler.forget(LOCAL, A)

    await house.chronicler.take_in(LOCAL, C, parts(file))

    for question in ("more", "otherwise"):
        _, cached, prompt = await house.say("c", *said[:2], question)
        assert prompt - cached == 1
        await house.chronicler.suspend(LOCAL, C)  # few tokens are not worth a look at the disk


@pytest.mark.asyncio
async def test_no_file_takes_the_place_of_a_session(house: Kept) -> None:
    """A name that is taken is refused; another one is asked for."""
    await house.talk("a", LONG)
    file = await house.export("a")

    with pytest.raises(InvalidRequest, match="there is a session 'a' already"):
        await house.chronicler.take_in(LOCAL, None, parts(file))
    assert (await house.chronicler.take_in(LOCAL, B, parts(file))).name == "b"


@pytest.mark.asyncio
async def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    """Both are named, and nothing was made."""
    async with keeping(tmp_path / "one") as here:
        await here.talk("a", LONG)
        file = await here.export("a")
    async with keeping(tmp_path / "two", identity="other") as there:
        with pytest.raises(Doubtful, match="those of 'fake', the model being served is 'other'"):
            await there.chronicler.take_in(LOCAL, None, parts(file))
        assert await there.chronicler.sessions(LOCAL) == ()


@pytest.mark.asyncio
@pytest.mark.slow
async def test_no_doubtful_file_becomes_a_session(house: Kept) -> None:
    """Flip a bit, cut it, add to it: it is refused with a reason, and is not there."""
    await house.talk("a", LONG, "more")
    file = await house.export("a")
    spoilt = [file[:end] for end in (0, 5, 26, 30, len(file) // 2, len(file) - 1)]
    spoilt += [file + b"x", file + file, b"\0" * 500]
    for place in range(0, len(file), max(1, len(file) // 400)):
        flipped = bytearray(file)
        flipped[place] ^= 1 << (place % 8)
        spoilt.append(bytes(flipped))

    for one in spoilt:
        with pytest.raises(Doubtful, match="the file is not taken in: "):
            await house.chronicler.take_in(LOCAL, B, parts(one))

    assert [card.name for card in await house.chronicler.sessions(LOCAL)] == ["a"]


@pytest.mark.slow
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300), size=st.integers(1, 40))
def test_garbage_is_no_session(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int
) -> None:
    """Whatever it is, and in whatever parts it comes."""

    async def take() -> None:
        async with keeping(tmp_path_factory.mktemp("g")) as house:
            with pytest.raises(Doubtful):
                await house.chronicler.take_in(LOCAL, B, parts(data, size))

    asyncio.run(take())


def made(*heads: Head, data: bytes = ROWS) -> bytes:
    """Make a file of any records, all checksums in order."""
    packer = Packer()
    out = [*packer.begin(OPENING)]
    for head in heads:
        out += packer.pack(head, data)
    return b"".join(out)


def turn(**changed: object) -> Said:
    """Make a first turn that is not as it should be."""
    return Said(msgspec.structs.replace(FIRST, **changed))


GOOD = (Said(FIRST), Held(1, 0, 16), End())


@pytest.mark.asyncio
async def test_a_file_that_was_made_elsewhere_is_taken_in(house: Kept) -> None:
    """What it says of turns and rows is what there is then."""
    card = await house.chronicler.take_in(LOCAL, None, parts(made(*GOOD)))

    assert (card.name, card.turns, card.tokens, card.size_bytes) == ("b", 1, 16, 64)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("heads", "why"),
    [
        ((End(),), "it has 0 turns of 1"),
        ((Said(FIRST), Said(SECOND), End()), "it has 2 turns of 1"),
        ((OPENING,), "it begins twice"),
        ((Said(FIRST), Said(FIRST), End()), "turn 1 does not go on"),
        ((turn(number=0), End()), "turn 0 does not go on"),
        ((turn(number=2**31), End()), "does not go on"),
        ((turn(base=7), End()), "turn 1 does not go on"),
        ((turn(base=-1), End()), "turn 1 does not go on"),
        ((turn(shared=1), End()), "turn 1 does not go on"),
        ((turn(shared=-1), End()), "turn 1 does not go on"),
        ((turn(added=b"12345"), End()), "turn 1 does not go on"),
        ((turn(answer=b"1"), End()), "turn 1 does not go on"),
        ((turn(at=nan), End()), "turn 1 does not go on"),
        ((turn(parent=bytes(65)), End()), "turn 1 does not go on"),
        (
            (Said(FIRST), Said(msgspec.structs.replace(SECOND, shared=17)), End()),
            "turn 2 does not go on",
        ),
        ((Said(FIRST), Held(2, 0, 16), End()), "rows 0..16 are none of turn 2"),
        ((Said(FIRST), Held(1, 1, 17), End()), "rows 1..17 are none of turn 1"),
        ((Said(FIRST), Held(1, 250, 266), End()), "rows 250..266 are none of turn 1"),
        ((Said(FIRST), Held(1, 5, 5), End()), "a record of 0 rows"),
        ((Said(FIRST), Held(1, 0, 257), End()), "a record of 257 rows"),
        ((Said(FIRST), Held(1, 0, 8), End()), "a checksum differs"),
    ],
)
async def test_a_file_is_not_believed_for_its_checksums(
    house: Kept, heads: tuple[Head, ...], why: str
) -> None:
    """What its records say of each other must be true, too."""
    with pytest.raises(Doubtful, match=why):
        await house.chronicler.take_in(LOCAL, None, parts(made(*heads)))

    assert await house.chronicler.sessions(LOCAL) == ()
