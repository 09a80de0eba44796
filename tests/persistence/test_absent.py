"""A store that keeps failing is replaced by none for a while, and harms nobody."""

import asyncio
from typing import Any

import pytest

from semantic_actors.actors import Actor, ChildSpec, Request, Supervisor
from semantic_actors.domain.ids import LOCAL, SessionId
from semantic_actors.persistence.absent import FAILURES, PERIOD_S, NoStore, StoreOrNone
from semantic_actors.persistence.messages import (
    Fetch,
    Fetched,
    InspectStore,
    ListSessions,
    LookUp,
    Recall,
    Recognise,
    Save,
    Saved,
    StoreMessage,
)


class Failing(Actor[StoreMessage]):
    """Fails on everything."""

    async def on_message(self, message: StoreMessage) -> object:
        """Fail."""
        raise RuntimeError(str(message))


class Ear(Actor[Any]):
    """Hears what the store answers."""

    def __init__(self, heard: asyncio.Queue[Any]) -> None:
        self._heard = heard

    async def on_message(self, message: Any) -> None:
        """Keep it."""
        self._heard.put_nowait(message)


def test_a_store_that_fails_too_often_is_none_for_a_while() -> None:
    """Real ones are tried, then there is none, then a real one again."""
    now = 0.0
    make = StoreOrNone(Failing, lambda: now)
    kinds = []
    for _ in range(FAILURES + 1):
        now += 1.0
        kinds.append(type(make()))
    now += PERIOD_S
    kinds.append(type(make()))

    assert kinds == [*[Failing] * FAILURES, NoStore, Failing]


def test_a_store_that_fails_now_and_then_stays() -> None:
    """Failures that are far apart are those of different days."""
    now = 0.0
    make = StoreOrNone(Failing, lambda: now)
    for _ in range(10):
        now += PERIOD_S
        assert type(make()) is Failing


@pytest.mark.asyncio
async def test_nobody_waits_for_a_store_that_is_not_there() -> None:
    """Every message is answered: nothing is found, nothing is kept, and why."""
    heard: asyncio.Queue[Any] = asyncio.Queue()
    root = Supervisor("root", [ChildSpec("store", NoStore), ChildSpec("ear", lambda: Ear(heard))])
    running = asyncio.ensure_future(root.run())
    await root.started()
    store, ear = root.ref("store"), root.ref("ear")

    store.tell(Save(7, LOCAL, (1, 2), (), ear))
    store.tell(Fetch(8, LOCAL, (1, 2), 0, 2, ear))
    saved, fetched = await heard.get(), await heard.get()
    requests: list[Request[Any]] = [
        LookUp(LOCAL, (1, 2)),
        Recall(LOCAL, SessionId("s")),
        Recognise(LOCAL, (b"x",)),
        ListSessions(),
    ]
    answers = [await store.ask(one, timeout=1.0) for one in requests]
    statistics = await store.ask(InspectStore(), timeout=1.0)

    assert isinstance(saved, Saved)
    assert isinstance(fetched, Fetched)
    assert (saved.save, bool(saved.reason)) == (7, True)
    assert (fetched.fetch, fetched.rows, bool(fetched.reason)) == (8, (), True)
    assert answers == [0, (), None, ()]
    assert statistics.degraded
    root.drain(asyncio.get_running_loop().time() + 1.0)
    await running
