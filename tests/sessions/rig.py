"""A house without model, text or HTTP: real actors, a scripted engine, one token per character."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar, cast

from semantic_actors.actors import ChildSpec, OwnThread, Supervisor
from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.ids import LOCAL, SessionId, TokenIds
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation
from semantic_actors.domain.stream import Failed, Finished, Started, TextDelta
from semantic_actors.engine import FakeBackend, InlineEngine, Plan
from semantic_actors.scheduling import BatchLimits, Board, Scheduler
from semantic_actors.sessions import Directory, Health, Identity, ModelCard, Surroundings, Turn
from semantic_actors.text import Codec, OutputDecoder, Piece, StopHit

P = ParamSpec("P")
T = TypeVar("T")

END = 1
ROLES = {"system": 2, "user": 3, "assistant": 4, "tool": 5}
TOOL = 6
VOCABULARY = 300
CONTEXT = 2_000


class LetterCodec:
    """One id per character; ids below 10 are structure."""

    eos_ids = frozenset({END})
    vocabulary = VOCABULARY

    def render(self, prompt: ChatPrompt, replay: Mapping[int, TokenIds] | None = None) -> TokenIds:
        """Tools, roles, letters and ends; an answer's own ids where they are given."""
        tokens = [id_ for tool in prompt.tools for id_ in (TOOL, *map(ord, tool.name), END)]
        for index, message in enumerate(prompt.messages):
            own = (replay or {}).get(index)
            tokens += [ROLES[message.role], *(own or map(ord, message.content)), END]
        return (*tokens, ROLES["assistant"])

    def encode_text(self, text: str) -> TokenIds:
        """Letters only."""
        return tuple(map(ord, text))

    def check(self, tokens: TokenIds) -> TokenIds:
        """Refuse what is no letter."""
        if max(tokens) >= VOCABULARY:
            message = f"prompt: no letter {max(tokens)}"
            raise InvalidRequest(message, field="prompt")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Letters, and a bar for all structure."""
        return "".join(chr(token) if token >= 10 else "|" for token in tokens)

    def opens_thought(self, tokens: TokenIds) -> bool:  # noqa: ARG002
        """Never: letters do not think."""
        return False

    def opening(self, prompt: TokenIds) -> TokenIds:  # noqa: ARG002
        """All prompts end alike."""
        return ()

    def grammar(self, generation: Generation) -> None:
        """None: any letters will do."""

    def decoder(
        self,
        generation: Generation,
        *,
        thinking: bool,  # noqa: ARG002
        guided: bool,  # noqa: ARG002
    ) -> OutputDecoder:
        """Letters, up to a stop string of one letter."""
        return cast("OutputDecoder", LetterDecoder(generation.stop))


class LetterDecoder:
    """The inverse of `LetterCodec`."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop

    settled = True

    def push(self, token: int) -> tuple[Piece, ...]:
        """Turn an id into its letter."""
        letter = chr(token)
        return (StopHit(letter),) if letter in self._stop else (TextDelta(letter),)

    def close(self) -> tuple[Piece, ...]:
        """Nothing is ever held back."""
        return ()


def reply_to(tokens: TokenIds, length: int = 12) -> str:
    """What the scripted model answers to a prompt: it depends on every token of it."""
    return hashlib.sha256(repr(tokens).encode()).hexdigest()[:length]


def answer(*said: str) -> str:
    """What the scripted model says to a conversation."""
    roles = ("user", "assistant")
    messages = tuple(ChatMessage(roles[i % 2], text) for i, text in enumerate(said))  # type: ignore[arg-type]
    return reply_to(LetterCodec().render(ChatPrompt(messages)))


def think(tokens: TokenIds) -> int:
    """Go on with the reply to everything up to the last assistant header."""
    start = len(tokens) - tokens[::-1].index(ROLES["assistant"])
    reply = reply_to(tokens[:start])
    said = len(tokens) - start
    return ord(reply[said]) if said < len(reply) else END


class Rig:
    """The running house, as a test sees it."""

    def __init__(self, directory: Directory, root: Supervisor, backend: FakeBackend) -> None:
        self.directory = directory
        self.root = root
        self.backend = backend

    async def begin(self, *said: str, session: str | None = None, **options: object) -> Turn:
        """Start an answer to a conversation of alternating user and assistant messages."""
        roles = ("user", "assistant")
        messages = tuple(
            ChatMessage(roles[index % 2], text)  # type: ignore[arg-type]
            for index, text in enumerate(said)
        )
        generation = Generation(ChatPrompt(messages), **options)  # type: ignore[arg-type]
        name = SessionId(session) if session else None
        return await self.directory.begin(Identity(LOCAL, name), generation)

    async def say(self, *said: str, **options: object) -> tuple[str, Finished]:
        """Run an answer to its end."""
        return await collect(await self.begin(*said, **options))  # type: ignore[arg-type]

    async def at_rest(self) -> Health:
        """Wait for the end of the steps under way, in which ended turns may still be."""
        while (health := await self.directory.health()).counters["running"]:
            pass
        return health


async def collect(turn: Turn) -> tuple[str, Finished]:
    """Read a turn to its end; a failed one raises."""
    text = ""
    async for event in turn:
        match event:
            case TextDelta(text=more):
                text += more
            case Failed(error=error):
                raise error
            case Finished():
                return text, event
            case Started():
                pass
    raise AssertionError


class AtOnce(Executor):
    """Does the work where it is submitted: no thread, so it runs on virtual time."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Return a future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (the future tells)
            future.set_exception(error)
        return future


@asynccontextmanager
async def house(
    *,
    text_thread: Executor | None = None,
    delay_s: float = 0.0,
    before: Callable[[Plan], None] | None = None,
    pool_bytes: int = 10_000_000,
    thinks: Callable[[TokenIds], int] = think,
    surroundings: Callable[[], Surroundings] = Surroundings,
    codec: Codec | None = None,
) -> AsyncIterator[Rig]:
    """Run a house for the length of a test and take it down in order."""
    vocabulary = VOCABULARY if codec is None else codec.vocabulary
    backend = FakeBackend(vocabulary=vocabulary, context=CONTEXT, think=thinks)
    engine = InlineEngine(backend, before=before, delay_s=delay_s)
    limits = BatchLimits(
        vocabulary=vocabulary, context=CONTEXT, max_running=8, max_waiting=64, prefill_tokens=64
    )
    board = Board()
    root = Supervisor(
        "root",
        [
            ChildSpec("scheduler", lambda: Scheduler(engine, limits, pool_bytes, board=board)),
            ChildSpec("sessions", lambda: Supervisor("sessions")),
        ],
        backoff=(0.001, 0.002),
        intensity=20,
    )
    with text_thread or OwnThread("text") as thread:
        directory = Directory(
            spawn=lambda spec: root.branch("sessions").spawn(spec),
            statistics=root.statistics,
            scheduler=root.ref("scheduler"),
            codec=codec or cast("Codec", LetterCodec()),
            text_thread=thread,
            board=board,
            model=ModelCard("letters", CONTEXT, 0),
            surroundings=surroundings,
        )
        running = asyncio.ensure_future(root.run())
        await root.started()
        try:
            yield Rig(directory, root, backend)
        finally:
            root.drain(asyncio.get_running_loop().time() + 5.0)
            await running
            engine.stop()
