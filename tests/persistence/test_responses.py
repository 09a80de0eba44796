"""Laws of kept responses: found as they were written, by their owner, or not at all."""

import errno
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.domain.ids import LOCAL, Principal, SessionId
from semantic_actors.persistence import (
    DropResponse,
    FindResponse,
    ForgetSession,
    KeepResponse,
    responses,
)
from semantic_actors.persistence.catalog import SessionKey
from semantic_actors.persistence.responses import Responses
from tests.persistence.fake_fs import SHORT, FakeFs
from tests.persistence.rig import Client, path, store_at
from tests.persistence.test_faults import Machine

OTHER = Principal("other")
CONTENT = b'{"canary": "what was said"}'
KEY = SessionKey(b"local", b"s")
DAY = 86_400.0


async def keep(
    client: Client,
    response: str,
    content: bytes = CONTENT,
    *,
    session: str = "s",
    principal: Principal = LOCAL,
) -> bool | None:
    """Have a response kept."""
    return await client.ask(KeepResponse(principal, SessionId(session), response, content))


async def find(client: Client, response: str, principal: Principal = LOCAL) -> bytes | None:
    """Look for a response."""
    return await client.ask(FindResponse(principal, response))


def files(state: Path) -> list[Path]:
    """List the files of responses."""
    return sorted((state / "responses").iterdir())


@pytest.mark.asyncio
async def test_a_response_outlives_its_store(tmp_path: Path) -> None:
    """It is found by its id, byte for byte, now and by the next store; a later one replaces it."""
    async with store_at(tmp_path) as client:
        assert await keep(client, "one") is True
        assert await keep(client, "two", b"") is True
        assert await find(client, "one") == CONTENT
        assert await keep(client, "one", b"again") is True
    async with store_at(tmp_path) as client:
        assert await find(client, "one") == b"again"
        assert await find(client, "two") == b""
        assert await find(client, "three") is None
    assert len(files(tmp_path)) == 2


@pytest.mark.asyncio
async def test_a_response_is_its_principals_alone(tmp_path: Path) -> None:
    """Another one neither finds it nor drops it, and may have one of the same id."""
    async with store_at(tmp_path) as client:
        await keep(client, "one")
        assert await find(client, "one", OTHER) is None
        assert await client.ask(DropResponse(OTHER, "one")) is False
        await keep(client, "one", b"theirs", principal=OTHER)

        assert await find(client, "one") == CONTENT
        assert await find(client, "one", OTHER) == b"theirs"


@pytest.mark.asyncio
async def test_a_dropped_response_is_gone(tmp_path: Path) -> None:
    """Its file, too, and for the next store."""
    async with store_at(tmp_path) as client:
        await keep(client, "one")
        assert await client.ask(DropResponse(LOCAL, "one")) is True
        assert await client.ask(DropResponse(LOCAL, "one")) is False
        assert files(tmp_path) == []
    async with store_at(tmp_path) as client:
        assert await find(client, "one") is None


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", [0, 1])
async def test_a_forgotten_session_leaves_no_response(tmp_path: Path, turns: int) -> None:
    """Those of others stay, of the same name at another principal's as well."""
    async with store_at(tmp_path) as client:
        for turn in range(turns):
            client.remember("s", bytes([turn]), path(10))
        await keep(client, "one")
        await keep(client, "two")
        await keep(client, "three", session="t")
        await keep(client, "four", principal=OTHER)
        await client.ask(ForgetSession(LOCAL, SessionId("s")))

        assert [await find(client, name) for name in ("one", "two")] == [None, None]
        assert await find(client, "three") == CONTENT
        assert await find(client, "four", OTHER) == CONTENT
    assert len(files(tmp_path)) == 2


@pytest.mark.asyncio
async def test_nothing_that_a_client_chose_is_in_a_name(tmp_path: Path) -> None:
    """And nobody else may read the files."""
    async with store_at(tmp_path) as client:
        for name in ("../../x", "a\0b", "é" * 5000, ""):
            assert await keep(client, name, session="../../y") is True
            assert await find(client, name) == CONTENT
    for file in files(tmp_path):
        assert responses._NAME.fullmatch(file.name)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.asyncio
async def test_what_was_made_too_long_ago_leaves(tmp_path: Path) -> None:
    """By the age that sessions and pieces leave by."""
    for now, left in ((100 * DAY, 2), (106 * DAY, 3), (115 * DAY, 2)):
        async with store_at(tmp_path, ttl_s=7 * DAY, clock=lambda now=now: now) as client:
            assert await client.save(path(1, seed=int(now))) == ""
            await keep(client, f"at {now}")
            await keep(client, "always")
        assert len(files(tmp_path)) == left


def test_the_oldest_make_room() -> None:
    """For as many bytes and as many files as there may be; what is larger than all is refused."""
    fs = FakeFs()
    kept = Responses(fs)
    kept.prepare()
    for number in range(10):
        name = b"%d" % number
        assert kept.keep(KEY, name, bytes(1000), now=float(number), most_bytes=5000)
    assert not kept.keep(KEY, b"huge", bytes(5000), now=10.0, most_bytes=5000)

    reopened = Responses(fs)
    reopened.prepare()
    for one in (kept, reopened):
        found = [number for number in range(10) if one.find(b"local", b"%d" % number)]
        assert found == [6, 7, 8, 9]
    assert len(fs.list("responses")) == 4


def test_files_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an entry in memory."""
    monkeypatch.setattr(responses, "MOST_RESPONSES", 3)
    kept = Responses(FakeFs())
    kept.prepare()
    for number in range(9):
        kept.keep(KEY, b"%d" % number, b"", now=float(number), most_bytes=1 << 20)

    assert [n for n in range(9) if kept.find(b"local", b"%d" % n) is not None] == [6, 7, 8]


@given(at=st.integers(0, 2**16), bit=st.integers(0, 7), keep_bytes=st.integers(0, 2**16))
def test_a_damaged_file_is_no_response(at: int, bit: int, keep_bytes: int) -> None:
    """Whatever bit is flipped, wherever it is cut, under whichever name: it is not found."""
    for damage in ("flip", "cut", "swap"):
        fs = FakeFs()
        kept = Responses(fs)
        kept.prepare()
        kept.keep(KEY, b"one", CONTENT, now=1.0, most_bytes=1 << 20)
        kept.keep(KEY, b"two", b"else", now=2.0, most_bytes=1 << 20)
        one, two = (f"responses/{name}" for name in fs.list("responses"))
        content = fs._inode(one).seen
        match damage:
            case "flip":
                content[at % len(content)] ^= 1 << bit
            case "cut":
                del content[keep_bytes % len(content) :]
            case _:
                content[:] = fs._inode(two).seen

        assert kept.find(b"local", b"one") is None
        assert kept.find(b"local", b"two") == b"else"


def test_a_later_versions_file_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read, and not removed."""
    fs = FakeFs()
    kept = Responses(fs)
    kept.prepare()
    with monkeypatch.context() as patch:
        patch.setattr(responses, "MAJOR", responses.MAJOR + 1)
        kept.keep(KEY, b"one", CONTENT, now=1.0, most_bytes=1 << 20)

    assert kept.find(b"local", b"one") is None
    assert len(fs.list("responses")) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EACCES, SHORT])
async def test_a_fault_at_any_call_costs_what_was_not_promised(error: int) -> None:
    """Fail once, at each call in turn: what is said to be kept is there, or it was not readable."""
    for at in range(1, 1000):
        machine = Machine()
        faults = machine.fs.faults
        async with machine.store() as client:
            faults.arm(at, error)
            promised = await keep(client, "one")
            faults.disarm()
            assert promised is not False
            assert await find(client, "one") in ({CONTENT} if promised else {CONTENT, None})
            assert await keep(client, "two") is True
            assert machine.fs.open_files == 0
        async with machine.store() as client:
            assert await find(client, "one") in ({CONTENT} if promised else {CONTENT, None})
            assert await find(client, "two") == CONTENT
        if not faults.fired:
            return
    pytest.fail("it never ends")


@pytest.mark.parametrize("seed", range(40))
def test_what_was_promised_outlives_a_loss_of_power(seed: int) -> None:
    """Whatever was under way when it happened is whole or absent, and no debris stays."""
    rng = random.Random(seed)
    fs = FakeFs()
    kept = Responses(fs)
    kept.prepare()
    for number in range(3):
        kept.keep(KEY, b"%d" % number, CONTENT, now=float(number), most_bytes=1 << 20)
    fs.faults.arm(rng.randrange(1, 9), errno.EIO, lasting=True)
    try:
        under_way = kept.keep(KEY, b"3", CONTENT, now=3.0, most_bytes=1 << 20)
    except OSError:
        under_way = False
    fs.faults.disarm()
    fs.lose_power(rng)

    kept = Responses(fs)
    kept.prepare()
    assert [kept.find(b"local", b"%d" % number) for number in range(3)] == [CONTENT] * 3
    assert kept.find(b"local", b"3") in ({CONTENT} if under_way else {CONTENT, None})
    assert not [name for name in fs.list("responses") if name.startswith(".")]
