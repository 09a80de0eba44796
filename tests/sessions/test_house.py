"""Laws of sessions and scheduler together, with a scripted engine."""

import asyncio
from itertools import count
from typing import Any

import pytest

from semantic_actors.actors import Message
from semantic_actors.domain.errors import (
    Draining,
    InvalidRequest,
    Overloaded,
    PromptTooLong,
    TurnFailed,
)
from semantic_actors.domain.ids import LOCAL, SessionId, TokenIds
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    Sampling,
    TextPrompt,
    TokenPrompt,
)
from semantic_actors.domain.stream import Started, TextDelta
from semantic_actors.engine import Plan
from semantic_actors.sessions import Identity, Turn
from tests.sessions.rig import LetterCodec, answer, collect, house, think

pytestmark = pytest.mark.asyncio


class Nonsense(Message, frozen=True):
    """No scheduler knows this."""


async def test_a_follow_up_turn_is_a_pure_append() -> None:
    """From the second turn on, everything but the new message is found in the cache."""
    async with house() as rig:
        said = ["hello"]
        cached = []
        for turn in range(5):
            text, end = await rig.say(*said, session="s")
            assert answer(*said) == text
            cached.append(end.usage.cached_tokens)
            prompt = end.usage.prompt_tokens
            assert turn == 0 or prompt - cached[-1] == len(f"turn {turn}") + 5 - 2
            said += [text, f"turn {turn + 1}"]

        assert cached[0] == 0
        assert cached == sorted(set(cached))


async def test_a_conversation_without_a_name_finds_its_session() -> None:
    """The session that gave the last answer goes on, whoever else talks meanwhile."""
    async with house() as rig:
        first = await rig.begin("my key is 7")
        text, _ = await collect(first)
        other = await rig.begin("something else")
        await collect(other)
        follow = await rig.begin("my key is 7", text, "what is it?")
        await collect(follow)

        assert first.session == follow.session
        assert first.session != other.session


async def test_branches_of_one_session_run_at_once_and_do_not_mix() -> None:
    """Eight questions asked together on one session each get their own answer."""
    async with house() as rig:
        text, _ = await rig.say("root", session="s")
        questions = [f"question {n}" for n in range(8)]
        turns = [await rig.begin("root", text, q, session="s") for q in questions]
        answers = [got for got, _ in await asyncio.gather(*map(collect, turns))]

        assert [answer("root", text, q) for q in questions] == answers


async def test_streams_go_on_over_the_death_of_the_engine() -> None:
    """An engine that dies in every seventh step changes no text of any open stream."""
    steps = count(1)

    def dies(_: Plan) -> None:
        if next(steps) % 7 == 0:
            message = "injected"
            raise RuntimeError(message)

    async with house(before=dies) as rig:
        turns = [await rig.begin(f"hello {n}", session=f"s{n}") for n in range(4)]
        answers = await asyncio.gather(*map(collect, turns))

        assert [answer(f"hello {n}") for n in range(4)] == [text for text, _ in answers]
        assert rig.root.statistics().restarts > 0
        assert all(end.usage.completion_tokens == 13 for _, end in answers)


async def test_penalties_look_back_over_the_death_of_the_engine() -> None:
    """What was answered before counts as the answer, not as the prompt."""
    plans: list[Plan] = []

    def dies_once(plan: Plan) -> None:
        plans.append(plan)
        if len(plans) == 6:
            message = "injected"
            raise RuntimeError(message)

    said = ChatPrompt((ChatMessage("user", "hello"),))
    generation = Generation(said, Sampling(temperature=0.0, presence_penalty=1.0))
    async with house(before=dies_once) as rig:
        turn = await rig.directory.begin(Identity(LOCAL, SessionId("s")), generation)
        text, _ = await collect(turn)

    first, again = [feed.history for plan in plans for feed in plan.feeds if feed.history]
    prompt = LetterCodec().render(said)
    assert text == answer("hello")
    assert first == (prompt, ())
    assert again[0] == prompt
    assert len(again[1]) > 0
    assert text.startswith("".join(map(chr, again[1])))


async def test_streams_go_on_over_the_death_of_the_scheduler() -> None:
    """A scheduler that crashes by a bug of its own is replaced and every stream goes on."""
    async with house() as rig:
        turn = await rig.begin("hello", session="s")
        async for event in turn:
            if isinstance(event, Started):
                break
        rig.root.ref("scheduler").tell(Nonsense())

        text, _ = await collect(turn)

        assert answer("hello") == text
        assert rig.root.statistics().restarts == 1


async def test_a_turn_the_engine_always_fails_on_ends_and_harms_nobody() -> None:
    """After three attempts without a token the guilty turn fails; its neighbour does not."""

    def poisoned(tokens: TokenIds) -> int:
        if ord("!") in tokens:
            message = "poison"
            raise ValueError(message)
        return think(tokens)

    async with house(thinks=poisoned) as rig:
        bad = await rig.begin("bad!", session="bad")
        good = await rig.begin("good", session="good")

        with pytest.raises(TurnFailed, match="3 times in a row"):
            await collect(bad)
        assert answer("good") == (await collect(good))[0]
        assert rig.root.statistics().restarts == 0


async def test_a_turn_that_kills_the_engine_each_time_is_given_up() -> None:
    """The house outlives a prompt that no engine survives, and answers the next one."""

    def deadly(plan: Plan) -> None:
        if any(ord("!") in feed.tokens for feed in plan.feeds):
            message = "deadly"
            raise RuntimeError(message)

    async with house(before=deadly) as rig:
        with pytest.raises(TurnFailed, match="3 times in a row"):
            await rig.say("bad!", session="bad")

        assert answer("good") == (await rig.say("good", session="good"))[0]
        assert rig.root.statistics().restarts == 3


async def test_a_cancelled_turn_frees_its_memory() -> None:
    """Nothing is pinned once a reader has left, and its prefix stays for reuse."""
    async with house(thinks=lambda _: ord("x")) as rig:
        turn = await rig.begin("forever", session="s")
        async for event in turn:
            if isinstance(event, TextDelta):
                break

        turn.cancel()
        async for _ in turn:
            pass
        health = await rig.at_rest()

        assert health.counters["pool_pinned_bytes"] == 0
        assert health.counters["running"] == 0
        assert health.counters["caches"] == 1


async def test_a_full_house_refuses_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a crowd, those for whom there is no place are sent away unread."""
    read: list[ChatPrompt] = []
    render = LetterCodec.render

    def counted(codec: LetterCodec, prompt: ChatPrompt, *replay: Any) -> TokenIds:
        read.append(prompt)
        return render(codec, prompt, *replay)

    monkeypatch.setattr(LetterCodec, "render", counted)
    async with house(thinks=lambda _: ord("x")) as rig:
        begun = await asyncio.gather(
            *(rig.begin("forever", session=f"s{n}") for n in range(100)), return_exceptions=True
        )
        refused = [error for error in begun if isinstance(error, Overloaded)]

        assert 100 - 72 <= len(refused) < 50
        assert len(read) == 100 - len(refused)
        assert all(error.retry_after_s >= 1 for error in refused)
        for turn in begun:
            if isinstance(turn, Turn):
                turn.cancel()


async def test_a_stop_string_ends_the_turn_and_the_sequence() -> None:
    """Text before the stop string is delivered, the stop string is named, the engine stops."""
    async with house() as rig:
        full = answer("hello")
        stop = full[5]

        text, end = await rig.say("hello", session="s", stop=(stop,))

        assert full[: full.index(stop)] == text
        assert ("stop_sequence", stop) == (end.reason, end.stop_sequence)
        assert (await rig.at_rest()).counters["pool_pinned_bytes"] == 0


async def test_max_tokens_counts_generated_tokens() -> None:
    """Five tokens asked for, five delivered, and the reason is the length."""
    async with house() as rig:
        text, end = await rig.say("hello", session="s", max_tokens=5)

        assert answer("hello")[:5] == text
        assert (end.reason, end.usage.completion_tokens) == ("length", 5)


async def test_a_prompt_that_is_too_long_is_refused_before_it_begins() -> None:
    """The refusal names both numbers; the session lives on."""
    async with house() as rig:
        with pytest.raises(PromptTooLong, match="2003 tokens > 1999 maximum"):
            await rig.begin("x" * 2_000, session="s")

        assert answer("hello") == (await rig.say("hello", session="s"))[0]


async def test_idle_memory_is_evicted_and_running_memory_is_not() -> None:
    """A pool for two conversations serves ten, each correctly."""
    async with house(pool_bytes=2 * 1024 * 1280) as rig:
        for n in range(10):
            text, _ = await rig.say(f"number {n}", session=f"s{n}", max_tokens=20)
            assert answer(f"number {n}") == text

        counters = (await rig.directory.health()).counters
        assert counters["pool_used_bytes"] <= counters["pool_budget_bytes"]


async def test_a_draining_house_refuses_and_cuts_with_a_reason() -> None:
    """New work is refused, open streams end with the reason."""
    async with house(thinks=lambda _: ord("x")) as rig:
        turn = await rig.begin("forever", session="s")
        rig.directory.refuse()
        with pytest.raises(Draining):
            await rig.begin("late", session="t")

        rig.directory.cut()

        with pytest.raises(Draining):
            await collect(turn)


async def test_a_text_prompt_is_continued_as_it_stands() -> None:
    """Without a template the ids are the text's own."""
    async with house(thinks=lambda tokens: ord("b") if tokens[-1] == ord("a") else 1) as rig:
        turn = await rig.directory.begin(Identity(LOCAL), Generation(TextPrompt("aaa")))

        assert (await collect(turn))[0] == "b"


async def test_token_ids_are_continued_as_they_stand() -> None:
    """What the client has tokenized is not tokenized again; an id that is none is refused."""
    async with house(thinks=lambda tokens: ord("b") if tokens[-2:] == (7, 9) else 1) as rig:
        turn = await rig.directory.begin(Identity(LOCAL), Generation(TokenPrompt((7, 9))))
        assert (await collect(turn))[0] == "b"

        with pytest.raises(InvalidRequest, match="no letter 4000000000"):
            await rig.directory.begin(Identity(LOCAL), Generation(TokenPrompt((7, 4_000_000_000))))


async def test_a_reader_who_left_before_the_start_costs_nothing() -> None:
    """A caller cancelled while its prompt is tokenized leaves no running sequence behind."""
    async with house(thinks=lambda _: ord("x")) as rig:
        call = asyncio.ensure_future(rig.begin("forever", session="s"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        for _ in range(1_000):
            if not (await rig.directory.health()).counters["running"]:
                break
        else:
            pytest.fail("the abandoned turn goes on")


async def test_a_clean_house_has_no_dead_letters() -> None:
    """Answering, cancelling and draining lose no message."""
    async with house() as rig:
        await rig.say("hello", session="s")
        turn = await rig.begin("again", session="s")
        turn.cancel()
        async for _ in turn:
            pass
        root = rig.root

    assert root.statistics().dead_letters == 0
