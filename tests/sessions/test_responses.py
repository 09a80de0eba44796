"""Responses in RAM and on disk: a disk that fails costs what it would have outlived."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from semantic_actors.actors import Actor, ChildSpec, Supervisor
from semantic_actors.domain.errors import Unavailable
from semantic_actors.domain.ids import LOCAL, Principal, SessionId
from semantic_actors.persistence.messages import (
    DropResponse,
    FindResponse,
    KeepResponse,
    StoreMessage,
)
from semantic_actors.sessions import Responses, responses

pytestmark = pytest.mark.asyncio

S, T = SessionId("s"), SessionId("t")
OTHER = Principal("other")
PATIENCE_S = 10.0


class Shelf(Actor[StoreMessage]):
    """A store of responses that does as it is told, once `before` has let it."""

    def __init__(self, before: Callable[[], Awaitable[None]] | None = None) -> None:
        self.kept: dict[tuple[Principal, str], bytes] = {}
        self._before = before

    async def on_message(self, message: StoreMessage) -> object:
        """Keep, find or drop."""
        if self._before is not None:
            await self._before()
        match message:
            case KeepResponse():
                self.kept[message.principal, message.response] = message.content
                return True
            case FindResponse():
                return self.kept.get((message.principal, message.response))
            case DropResponse():
                return self.kept.pop((message.principal, message.response), None) is not None
            case _:
                return None


@asynccontextmanager
async def over(shelf: Shelf) -> AsyncIterator[Responses]:
    """Run the shelf, and responses over it."""
    root = Supervisor("root", [ChildSpec("store", lambda: shelf)])
    running = asyncio.create_task(root.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await root.started()
            yield Responses(root.ref("store"))
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_what_is_kept_is_in_ram_and_on_disk() -> None:
    """So others of this process find it at once, and the next process finds it."""
    shelf = Shelf()
    async with over(shelf) as kept:
        await kept.keep(LOCAL, S, "one", b"1")
        assert shelf.kept == {(LOCAL, "one"): b"1"}
        shelf.kept[LOCAL, "two"] = b"2"

        assert [await kept.find(LOCAL, name) for name in ("one", "two", "x")] == [b"1", b"2", None]
        assert await kept.find(OTHER, "one") is None


async def test_what_is_dropped_is_gone_from_both() -> None:
    """Wherever it was."""
    shelf = Shelf()
    async with over(shelf) as kept:
        await kept.keep(LOCAL, S, "one", b"1")
        shelf.kept[LOCAL, "two"] = b"2"

        assert [await kept.drop(OTHER, name) for name in ("one", "two")] == [False, False]
        assert [await kept.drop(LOCAL, name) for name in ("one", "two", "x")] == [True, True, False]
        assert shelf.kept == {}
        assert await kept.find(LOCAL, "one") is None


async def test_without_a_disk_ram_remembers() -> None:
    """All that there is to do, it does."""
    kept = Responses()
    await kept.keep(LOCAL, S, "one", b"1")
    await kept.keep(LOCAL, S, "one", b"again")

    assert await kept.find(LOCAL, "one") == b"again"
    assert await kept.find(LOCAL, "two") is None
    assert await kept.drop(LOCAL, "one") is True
    assert await kept.drop(LOCAL, "one") is False


async def test_a_disk_that_is_slow_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is told, and RAM has it; what only the disk may know is asked for again."""
    monkeypatch.setattr(responses, "KEEP_TIMEOUT_S", 0.01)
    monkeypatch.setattr(responses, "FIND_TIMEOUT_S", 0.01)
    never = asyncio.Event()

    async def wait() -> None:
        await never.wait()

    async with over(Shelf(wait)) as kept:
        await kept.keep(LOCAL, S, "one", b"1")
        assert await kept.find(LOCAL, "one") == b"1"
        with pytest.raises(Unavailable):
            await kept.find(LOCAL, "two")
        with pytest.raises(Unavailable):
            await kept.drop(LOCAL, "two")
        never.set()


async def test_a_store_that_is_gone_costs_no_answer() -> None:
    """What is in RAM is found; of what may be on disk nobody says that it is unknown."""
    async with over(Shelf()) as kept:
        pass
    await kept.keep(LOCAL, S, "one", b"1")

    assert await kept.find(LOCAL, "one") == b"1"
    with pytest.raises(Unavailable):
        await kept.find(LOCAL, "two")


async def test_ram_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In number and in bytes; the last used stay, and what is too large never comes."""
    monkeypatch.setattr(responses, "MAX_RESPONSES", 3)
    monkeypatch.setattr(responses, "MAX_RESPONSES_BYTES", 100)
    kept = Responses()

    async def found() -> str:
        return "".join([name for name in "abcdef" if await kept.find(LOCAL, name) is not None])

    for name in "abc":
        await kept.keep(LOCAL, S, name, bytes(10))
    await kept.find(LOCAL, "a")
    await kept.keep(LOCAL, S, "d", bytes(10))
    assert await found() == "acd"
    await kept.keep(LOCAL, S, "e", bytes(85))
    assert await found() == "de"
    await kept.keep(LOCAL, S, "f", bytes(101))
    assert await found() == "de"


async def test_a_forgotten_session_leaves_nothing_in_ram() -> None:
    """Of other sessions, and of other principals' of that name, all."""
    kept = Responses()
    for principal, session, name in [(LOCAL, S, "a"), (LOCAL, T, "b"), (OTHER, S, "c")]:
        await kept.keep(principal, session, name, b"1")
    kept.forget(LOCAL, S)

    assert await kept.find(LOCAL, "a") is None
    assert await kept.find(LOCAL, "b") == await kept.find(OTHER, "c") == b"1"
