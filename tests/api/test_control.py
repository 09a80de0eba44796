"""Laws of the control channel: the owner is served, anything else hurts nobody."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantic_actors.actors import ActorError
from semantic_actors.api.control_connection import ControlBounds
from semantic_actors.domain.chronicle import SessionCard
from semantic_actors.domain.control import (
    LENGTH,
    Chunk,
    ControlAnswer,
    Done,
    ExportSession,
    Failed,
    ForkSession,
    ImportSession,
    ListSessions,
    ShowSession,
    frame,
)
from semantic_actors.domain.errors import Overloaded
from semantic_actors.domain.ids import SessionId
from tests.api.control_rig import CARD, FILE, Client, FakeChronicle, connected, serving

PLANNER = SessionId("planner")


@pytest_asyncio.fixture
async def chronicle() -> FakeChronicle:
    """Return a chronicle that knows one session."""
    return FakeChronicle()


@pytest_asyncio.fixture
async def path(tmp_path: Path, chronicle: FakeChronicle) -> AsyncIterator[Path]:
    """Serve it."""
    place = tmp_path / "made" / "control.sock"
    async with serving(place, chronicle, ControlBounds(frame_deadline_s=2.0)):
        yield place


@pytest_asyncio.fixture
async def client(path: Path) -> AsyncIterator[Client]:
    """Connect to it."""
    async with connected(path) as one:
        yield one


def result(answer: ControlAnswer, type_: Any) -> Any:
    """Read the result of what was done."""
    assert isinstance(answer, Done), answer
    return msgspec.msgpack.decode(answer.result, type=type_)


def raw(**fields: object) -> bytes:
    """Make a frame of any map."""
    body = msgspec.msgpack.encode(fields)
    return LENGTH.pack(len(body)) + body


@pytest.mark.asyncio
async def test_requests_of_a_connection_are_served_in_order(
    client: Client, chronicle: FakeChronicle
) -> None:
    """Each has one answer; a refusal is an answer, and the next request is served."""
    listed = await client.ask(ListSessions())
    refused = await client.ask(ShowSession(session=SessionId("nobody")))
    forked = await client.ask(ForkSession(session=PLANNER, new=SessionId("copy"), turn=1))

    assert result(listed, tuple[SessionCard, ...]) == (CARD,)
    assert refused == Failed("refused", "there is no session 'nobody'")
    assert result(forked, SessionCard).name == "copy"
    assert [asked[0] for asked in chronicle.asked] == ["list", "show", "fork"]


@pytest.mark.asyncio
async def test_a_file_comes_in_parts_and_goes_in_parts(
    client: Client, chronicle: FakeChronicle
) -> None:
    """An export is chunks and an end; an import is a request, chunks and an empty one."""
    client.writer.write(frame(ExportSession(session=PLANNER)))
    parts = [await client.answer() for _ in FILE]
    end = await client.answer()
    client.writer.write(frame(ImportSession(session=SessionId("other"))))
    for part in (*FILE, b""):
        client.writer.write(frame(Chunk(part)))
    taken = await client.answer()

    assert parts == [Chunk(part) for part in FILE]
    assert result(end, None) is None
    assert result(taken, SessionCard).name == "other"
    assert chronicle.taken == b"".join(FILE)


@pytest.mark.asyncio
async def test_a_refused_file_ends_the_connection(client: Client) -> None:
    """What is left of it is not taken for requests; the reason is told first."""
    client.writer.write(frame(ImportSession()) + frame(Chunk(b"bad")) + frame(Chunk(b"more")))

    assert await client.answer() == Failed("refused", "the file is not whole")
    assert await client.left()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("bytes_", "reason", "told"),
    [
        (raw(version=2, verb="sessions.list"), "version", "speaks version 1"),
        (raw(version=1, verb="sessions.eat"), "verb", "'sessions.eat': known are sessions.list"),
        (raw(version=1, verb="sessions.list", hurry=True), "malformed", "unknown field `hurry`"),
        (raw(version=1, verb="sessions.show"), "malformed", "missing required field `session`"),
        (raw(version=1, verb="sessions.show", session=""), "malformed", "length >= 1"),
        (raw(version=1, verb="sessions.show", session="x" * 513), "malformed", "length <= 512"),
        (
            raw(version=1, verb="sessions.rewind", session="a", turn=0),
            "malformed",
            "`int` >= 1 - at `$.turn`",
        ),
        (raw(verb="sessions.list"), "malformed", "missing required field `version`"),
        (LENGTH.pack(0), "malformed", "a frame of 0 bytes"),
        (LENGTH.pack(64 * 2**10 + 1), "malformed", "at most 65536"),
        (LENGTH.pack(3) + b"\xc1\xc1\xc1", "malformed", "malformed frame"),
        (LENGTH.pack(60_000) + b"\x91" * 60_000, "malformed", "malformed frame"),
    ],
)
async def test_what_is_not_understood_is_answered_with_the_reason(
    client: Client, chronicle: FakeChronicle, bytes_: bytes, reason: str, told: str
) -> None:
    """Then the connection is closed, and nothing was done."""
    client.writer.write(bytes_)

    answer = await client.answer()

    assert isinstance(answer, Failed)
    assert answer.reason == reason
    assert told in answer.message
    assert await client.left()
    assert chronicle.asked == []


@pytest.mark.asyncio
async def test_half_a_frame_is_not_waited_for(tmp_path: Path) -> None:
    """Neither behind an end of file nor for longer than the deadline."""
    place = tmp_path / "control.sock"
    async with (
        serving(place, FakeChronicle(), ControlBounds(frame_deadline_s=0.05)),
        connected(place) as ended,
        connected(place) as silent,
        connected(place) as slow,
    ):
        ended.writer.write(frame(ListSessions())[:-1])
        ended.writer.write_eof()
        slow.writer.write(frame(ListSessions())[:5])

        assert await ended.answer() == Failed("malformed", "half a frame")
        for late in (silent, slow):
            answer = await late.answer()
            assert answer == Failed("malformed", "no complete frame within 0.05 s")
            assert await late.left()


@pytest.mark.slow
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bytes_=st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=400).map(lambda body: LENGTH.pack(len(body)) + body),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=20,
        ).map(lambda value: raw(version=1, verb="sessions.show", session=value)),
        st.dictionaries(st.sampled_from(["version", "verb", "session", "new"]), st.text()).map(
            lambda fields: raw(**fields)
        ),
    )
)
def test_whatever_is_said_the_next_one_is_served(
    tmp_path_factory: pytest.TempPathFactory, bytes_: bytes
) -> None:
    """Garbage is answered with a reason or not at all; the server lives on."""

    async def say() -> None:
        place = tmp_path_factory.mktemp("c") / "control.sock"
        async with serving(place, FakeChronicle()) as root:
            async with connected(place) as mad:
                mad.writer.write(bytes_)
                mad.writer.write_eof()
                answered = await mad.reader.read()
            async with connected(place) as sane:
                assert isinstance(await sane.ask(ListSessions()), Done)
            assert root.statistics().restarts == 0
        assert b'"internal"' not in answered

    asyncio.run(say())


@pytest.mark.asyncio
async def test_another_user_is_not_heard(tmp_path: Path) -> None:
    """The kernel says who it is; its connection is closed before a byte of it is read."""
    chronicle, place = FakeChronicle(), tmp_path / "control.sock"
    stranger = os.geteuid() + 1
    async with serving(place, chronicle, peer=lambda _: stranger), connected(place) as foreign:
        foreign.writer.write(frame(ListSessions()))

        assert await foreign.left()
    assert chronicle.asked == []


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_thousand_connections_are_too_many_and_hurt_nobody(tmp_path: Path) -> None:
    """Those beyond the bound are closed as they come; whoever was there is served."""
    place = tmp_path / "control.sock"
    async with serving(place, FakeChronicle(), ControlBounds(max_connections=8)):
        async with connected(place) as first:
            assert isinstance(await first.ask(ListSessions()), Done)
            crowd = [await asyncio.open_unix_connection(place) for _ in range(1_000)]
            refused = [reader for reader, _ in crowd[7:]]
            ends = await asyncio.gather(
                *(reader.read() for reader in refused), return_exceptions=True
            )
            served = await first.ask(ListSessions())
            for _, writer in crowd:
                writer.transport.abort()

        assert all(end == b"" or isinstance(end, ConnectionResetError) for end in ends)
        assert isinstance(served, Done)


@pytest.mark.asyncio
async def test_a_slow_verb_delays_no_other_connection(path: Path, chronicle: FakeChronicle) -> None:
    """Connections are served beside each other."""
    chronicle.gate.clear()
    async with connected(path) as slow, connected(path) as quick:
        slow.writer.write(frame(ListSessions()))
        quick.writer.write(raw(version=9, verb="x"))

        assert isinstance(await quick.answer(), Failed)
        chronicle.gate.set()
        assert isinstance(await slow.answer(), Done)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("failure", "answer"),
    [
        (Overloaded("not now", retry_after_s=1), Failed("unavailable", "not now")),
        (ActorError("no answer"), Failed("unavailable", "no answer")),
        (
            KeyError("broken"),
            Failed("internal", "it failed as it never should: see the daemon's log"),
        ),
    ],
)
async def test_a_failure_is_an_answer(
    client: Client, chronicle: FakeChronicle, failure: Exception, answer: Failed
) -> None:
    """And the next request of the same connection is served."""
    chronicle.failure = failure
    assert await client.ask(ListSessions()) == answer

    chronicle.failure = None
    assert isinstance(await client.ask(ListSessions()), Done)


@pytest.mark.asyncio
async def test_a_leaving_server_waits_for_nobody(tmp_path: Path) -> None:
    """What is in hand is cut off, and its client sees the end."""
    chronicle, place = FakeChronicle(), tmp_path / "control.sock"
    chronicle.gate.clear()
    async with serving(place, chronicle):
        reader, writer = await asyncio.open_unix_connection(place)
        writer.write(frame(ListSessions()))
        await chronicle.begun.wait()

    assert await reader.read() == b""
    writer.transport.abort()
