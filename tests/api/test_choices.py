"""Several answers to one request: begun together, heard as they come, cancelled together."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from semantic_actors.api.choices import Choices, begun
from semantic_actors.domain.errors import Draining, Overloaded, TurnFailed
from semantic_actors.domain.ids import LOCAL, SessionId, TurnId
from semantic_actors.domain.request import Generation, TextPrompt
from semantic_actors.domain.stream import Failed, Finished, Started, TextDelta, TurnEvent
from semantic_actors.sessions.desk import Identity
from semantic_actors.sessions.turn import Turn
from tests.api.fakes import ANSWERED, ASKED, BODIES, FakeDesk, frames, serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
END = Finished("stop", ANSWERED)
PATIENCE_S = 10.0
"""Far more than anything here takes; a test that needs it has failed."""


class CountingDesk(FakeDesk):
    """Begins turns until `places` are taken; knows which were cancelled."""

    def __init__(self, places: int = 99) -> None:
        super().__init__()
        self.places = places
        self.script = ()
        self.left: set[int] = set()
        self.all_begun = asyncio.Event()

    async def begin(self, identity: Identity, generation: Generation) -> Turn:
        """Start an answer, or refuse it."""
        self.asked.append((identity, generation))
        number = len(self.turns)
        if number == self.places:
            message = "full"
            raise Overloaded(message, retry_after_s=3)
        turn = Turn(TurnId(number), SessionId("s"), self._leaving(number))
        self.turns.append(turn)
        if len(self.turns) == self.places:
            self.all_begun.set()
        return turn

    def _leaving(self, number: int) -> Callable[[], None]:
        def leave() -> None:
            self.left.add(number)
            if len(self.left) == len(self.turns):
                self.cancelled.set()

        return leave


def turns(count: int) -> tuple[Choices, list[Turn]]:
    """Make turns to be heard together."""
    choices, made = Choices(), []
    for number in range(count):
        made.append(Turn(TurnId(number), SessionId("s"), lambda: None))
        choices.add(made[-1])
    return choices, made


texts = st.lists(st.lists(st.text(min_size=1), max_size=4), min_size=1, max_size=4)


@st.composite
def speeches(draw: st.DrawFn) -> list[tuple[int, TurnEvent]]:
    """Have several turns say something, in any order."""
    said: list[list[TurnEvent]] = [[*map(TextDelta, each), END] for each in draw(texts)]
    order = [number for number, events in enumerate(said) for _ in events]
    return [(number, said[number].pop(0)) for number in draw(st.permutations(order))]


@pytest.mark.slow
@given(speeches(), st.booleans())
def test_every_event_is_heard_in_order(
    spoken: list[tuple[int, TurnEvent]],
    patient: bool,  # noqa: FBT001
) -> None:
    """Whatever the order in which turns speak, each is heard whole, and none after its end."""

    async def listen() -> list[tuple[int, TurnEvent]]:
        choices, made = turns(len({number for number, _ in spoken}))

        async def speak() -> None:
            for number, event in spoken:
                made[number].put(event)
                if patient:
                    await asyncio.sleep(0)

        speaking = asyncio.create_task(speak())
        heard = [each async for each in choices]
        await speaking
        choices.leave()
        return heard

    heard = asyncio.run(listen())
    for number in {number for number, _ in spoken}:
        theirs, ours = ([e for n, e in events if n == number] for events in (spoken, heard))
        assert ours[-1] == END
        assert _text(ours) == _text(theirs)


def _text(events: list[TurnEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [1, 3])
async def test_a_wait_that_is_given_up_loses_nothing(count: int) -> None:
    """A keep-alive interrupts the wait for an event, never the event."""
    choices, made = turns(count)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await anext(choices)
    for turn in made:
        turn.put(END)

    assert sorted([choice async for choice, _ in choices]) == [*range(count)]
    choices.leave()


@pytest.mark.asyncio
async def test_the_first_failure_ends_all() -> None:
    """Nothing is heard of the other turns once one has failed."""
    choices, made = turns(3)
    made[0].put(TextDelta("a"))
    made[1].put(Failed(Draining()))
    heard = [event async for _, event in choices]

    assert isinstance(heard[-1], Failed)
    choices.leave()


@pytest.mark.asyncio
async def test_no_task_is_left() -> None:
    """Who leaves while turns go on leaves nobody listening."""
    before = asyncio.all_tasks()
    async with begun(CountingDesk(), Identity(LOCAL), [Generation(TextPrompt("a"))] * 3) as choices:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await anext(choices)
        listening = asyncio.all_tasks() - before
    await asyncio.gather(*listening, return_exceptions=True)

    assert len(listening) == 3
    assert asyncio.all_tasks() == before


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_of_one_is_the_answer(*, stream: bool) -> None:
    """If there is no place for all there is an answer for none, and none goes on."""
    desk = CountingDesk(places=2)
    async with (
        serving(desk) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post(CHAT, json=BODIES[CHAT] | {"n": 4, "stream": stream}) as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
        assert (await answer.json())["error"]["code"] == "rate_limit_exceeded"

    assert (desk.left, len(desk.asked)) == ({0, 1}, 3)


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", [True, False])
async def test_who_hangs_up_stops_all(*, stream: bool) -> None:
    """A client that leaves stops every answer that it asked for."""
    desk = CountingDesk(places=4)
    with capture_logs() as lines:
        async with (
            asyncio.timeout(PATIENCE_S),
            serving(desk) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        ):
            body = BODIES[TEXT] | {"prompt": ["a", "b"], "n": 2, "stream": stream}
            asking = asyncio.create_task(client.post(TEXT, json=body).__aenter__())
            await desk.all_begun.wait()
            if stream:
                (await asking).close()
            asking.cancel()
            await desk.cancelled.wait()

    assert desk.left == {0, 1, 2, 3}
    assert [line["status"] for line in lines] == [499]


@pytest.mark.asyncio
async def test_a_failure_of_one_ends_the_stream() -> None:
    """One failure is the last that is said, and the other answers stop."""
    desk = CountingDesk(places=2)
    async with (
        asyncio.timeout(PATIENCE_S),
        serving(desk) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post(CHAT, json=BODIES[CHAT] | {"n": 2, "stream": True}) as answer,
    ):
        desk.turns[0].put(TextDelta("a"))
        await answer.content.readuntil(b'"a"')
        desk.turns[1].put(Failed(TurnFailed("secret")))
        *_, error, done = frames((await answer.content.read()).decode())

    assert error[1]["error"]["message"] == "the server could not finish the answer"
    assert done == (None, "[DONE]")
    assert desk.left == {0}


@pytest.mark.asyncio
async def test_a_failure_of_one_is_the_whole_answer() -> None:
    """Nobody waits for the other answers to be complete."""
    desk = CountingDesk(places=2)
    async with (
        asyncio.timeout(PATIENCE_S),
        serving(desk) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        asking = asyncio.create_task(client.post(CHAT, json=BODIES[CHAT] | {"n": 2}).__aenter__())
        await desk.all_begun.wait()
        desk.turns[1].put(Failed(Draining()))
        assert (await asking).status == 503

    assert desk.left == {0}


@pytest.mark.asyncio
async def test_the_log_counts_all(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """What the answers cost together is logged, and no more than one line."""
    desk.script = (Started(ASKED), END)
    with capture_logs() as lines:
        async with client.post(CHAT, json=BODIES[CHAT] | {"n": 3}) as answer:
            assert answer.status == 200

    (line,) = lines
    assert (line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"]) == (30, 12, 9)
