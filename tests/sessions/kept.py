"""A house that keeps: real actors and a real store under a scripted engine, and its chronicler."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec

from semantic_actors.actors import ActorRef, ChildSpec, OwnThread, Supervisor
from semantic_actors.domain.chronicle import SessionCard
from semantic_actors.domain.ids import LOCAL, Principal, SessionId, TokenIds
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation
from semantic_actors.engine import FakeBackend, InlineEngine
from semantic_actors.engine.fake import FAKE_LAYOUT
from semantic_actors.persistence import Store, StoreMessage, open_state
from semantic_actors.scheduling import BatchLimits, Flush, Inspect, Scheduler, SchedulerMessage
from semantic_actors.sessions import Chronicler, Directory, Identity, ModelCard
from semantic_actors.text import Codec
from tests.sessions.rig import CONTEXT, VOCABULARY, LetterCodec, collect, think

PATIENCE_S = 20.0


class Kept:
    """The running house, as a test sees it."""

    def __init__(self, root: Supervisor, directory: Directory, engine: InlineEngine) -> None:
        self.directory = directory
        self.scheduler: ActorRef[SchedulerMessage] = root.ref("scheduler")
        self.store: ActorRef[StoreMessage] = root.ref("store")
        self._root = root
        self._engine = engine
        self.chronicler = self._chronicler(self.store)

    def without_store(self) -> Chronicler:
        """Return a chronicler that knows of none."""
        return self._chronicler(None)

    def _chronicler(self, store: ActorRef[StoreMessage] | None) -> Chronicler:
        return Chronicler(
            spawn=lambda spec: self._root.branch("sessions").spawn(spec),
            directory=self.directory,
            scheduler=self.scheduler,
            store=store,
            identity=self._engine.info.identity,
            layout=FAKE_LAYOUT,
        )

    async def say(
        self, session: str, *said: str, principal: Principal = LOCAL
    ) -> tuple[str, int, int]:
        """Have a turn answered, and all of it kept; returns text, tokens found, prompt tokens."""
        roles = ("user", "assistant")
        messages = tuple(
            ChatMessage(roles[index % 2], text)  # type: ignore[arg-type]
            for index, text in enumerate(said)
        )
        identity = Identity(principal, SessionId(session))
        turn = await self.directory.begin(identity, Generation(ChatPrompt(messages)))
        text, finished = await collect(turn)
        await self.scheduler.ask(Flush(), timeout=PATIENCE_S)
        return text, finished.usage.cached_tokens, finished.usage.prompt_tokens

    async def talk(self, session: str, *questions: str, principal: Principal = LOCAL) -> list[str]:
        """Hold a conversation; returns all that was said."""
        said: list[str] = []
        for question in questions:
            said.append(question)
            said.append((await self.say(session, *said, principal=principal))[0])
        return said

    def slow_down(self) -> None:
        """Let no step come to its end any more."""
        self._engine._delay_s = 1e6

    async def caches(self) -> int:
        """Count the caches in RAM."""
        return (await self.scheduler.ask(Inspect(), timeout=PATIENCE_S)).caches

    async def export(self, session: str, principal: Principal = LOCAL) -> bytes:
        """Make a file of a session."""
        parts = self.chronicler.export(principal, SessionId(session))
        return b"".join([part async for part in parts])


def whole(card: SessionCard) -> bool:
    """Whether all of a session is on disk; its last token may never have been fed."""
    return card.size_bytes // 4 in (card.tokens - 1, card.tokens)


async def parts(file: bytes, size: int = 1_000) -> AsyncGenerator[bytes]:
    """Cut a file in parts."""
    for start in range(0, len(file), size):
        yield file[start : start + size]


@asynccontextmanager
async def keeping(
    state: Path,
    *,
    identity: str = "fake",
    pool_bytes: int = 10_000_000,
    thinks: Callable[[TokenIds], int] = think,
) -> AsyncIterator[Kept]:
    """Run a house over a state directory, and take it down in order."""
    backend = FakeBackend(vocabulary=VOCABULARY, context=CONTEXT, think=thinks)
    backend.info = msgspec.structs.replace(backend.info, identity=identity)
    engine = InlineEngine(backend)
    limits = BatchLimits(
        vocabulary=VOCABULARY, context=CONTEXT, max_running=8, max_waiting=64, prefill_tokens=256
    )
    with OwnThread("text") as thread, open_state(state) as fs:
        root = Supervisor(
            "root",
            [
                ChildSpec("store", lambda: Store(fs, identity, FAKE_LAYOUT, 1 << 30)),
                ChildSpec(
                    "scheduler", lambda: Scheduler(engine, limits, pool_bytes, root.ref("store"))
                ),
                ChildSpec("sessions", lambda: Supervisor("sessions")),
            ],
            backoff=(0.001, 0.002),
        )
        house = _house(root, thread, engine)
        running = asyncio.ensure_future(root.run())
        await root.started()
        try:
            yield house
        finally:
            root.drain(asyncio.get_running_loop().time() + PATIENCE_S)
            await running
            engine.stop()


def _house(root: Supervisor, thread: OwnThread, engine: InlineEngine) -> Kept:
    directory = Directory(
        spawn=lambda spec: root.branch("sessions").spawn(spec),
        statistics=root.statistics,
        scheduler=root.ref("scheduler"),
        codec=cast("Codec", LetterCodec()),
        text_thread=thread,
        model=ModelCard("letters", CONTEXT, 0),
        store=root.ref("store"),
    )
    return Kept(root, directory, engine)
