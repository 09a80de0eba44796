"""The Responses API over the real model: conversations that the daemon keeps, come what may."""

import itertools
import signal
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from tests.e2e.clients import MODEL, RECALL, open_gpt
from tests.e2e.conftest import Starter
from tests.e2e.test_cache_persistence import question, told
from tests.e2e.test_conversations import FOUND, SCHEMA, WISH
from tests.e2e.test_sessions import sessions

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather.",
    "parameters": SCHEMA,
    "strict": False,
}
SMALL_TALK = ("Hello!", "Thank you.", "How are you?")
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


async def respond(gpt: openai.AsyncOpenAI, *, stream: bool = False, **asked: Any) -> Response:
    """Have a response made, greedily; the SDK puts together one that is streamed."""
    asked = {"model": MODEL, "temperature": 0, **asked}
    if not stream:
        whole: Response = await gpt.responses.create(**asked)
        return whole
    async with gpt.responses.stream(**asked) as going:
        return await going.get_final_response()


def cached(response: Response) -> int:
    """Return how many tokens of the prompt were found."""
    assert response.usage is not None
    return response.usage.input_tokens_details.cached_tokens


def spoken(response: Response) -> int:
    """Return the tokens of prompt and answer, but the end token: it was drawn and never fed."""
    assert response.usage is not None
    return response.usage.total_tokens - 1


async def conversation(
    gpt: openai.AsyncOpenAI, number: int, *, stream: bool = False
) -> list[Response]:
    """Tell a fact and talk on, each turn sent alone."""
    key, value = RECALL[number]
    turns: list[Response] = []
    for text in (f"My {key} is {value}.", *SMALL_TALK):
        before = turns[-1].id if turns else None
        turns.append(await respond(gpt, input=text, previous_response_id=before, stream=stream))
    return turns


@streamed
async def test_recall(gpt: openai.AsyncOpenAI, *, stream: bool) -> None:
    """A fact of the first turn is known in the fifth, and every turn is a pure append."""
    key, value = RECALL[stream]
    turns = await conversation(gpt, int(stream), stream=stream)
    asked: dict[str, Any] = {"input": f"What is my {key}?", "previous_response_id": turns[-1].id}
    turns.append(await respond(gpt, stream=stream, **asked))

    assert turns[-1].output_text == f"Your {key} is {value}."
    for before, after in itertools.pairwise(turns):
        assert cached(after) >= spoken(before)
        assert after.previous_response_id == before.id


@streamed
@pytest.mark.parametrize("kept", [False, True], ids=["sent again", "kept"])
async def test_a_tool_is_used(gpt: openai.AsyncOpenAI, *, stream: bool, kept: bool) -> None:
    """It is called with the arguments named, and its result told, whoever keeps the history."""
    wish = {"role": "user", "content": WISH}
    asked: dict[str, Any] = {"tools": [TOOL], "store": kept, "stream": stream}
    call = await respond(gpt, input=[wish], **asked)
    called = [item for item in call.output if item.type == "function_call"]
    assert [(one.name, one.arguments, one.status) for one in called] == [
        ("get_weather", '{"city": "Paris"}', "completed")
    ]

    result = {"type": "function_call_output", "call_id": called[0].call_id, "output": FOUND}
    if kept:
        answer = await respond(gpt, input=[result], previous_response_id=call.id, **asked)
    else:
        history = [item.to_dict() for item in call.output]
        answer = await respond(gpt, input=[wish, *history, result], **asked)

    assert answer.output_text == f"The tool says: {FOUND}"
    assert cached(answer) >= spoken(call)


async def test_a_cut_answer_can_be_gone_on_from(gpt: openai.AsyncOpenAI) -> None:
    """It says that it is not all, and why; the next turn has it in its prompt."""
    cut = await respond(gpt, input="Count to 12.", max_output_tokens=3)
    after = await respond(gpt, input="Thank you.", previous_response_id=cut.id)

    assert cut.incomplete_details is not None
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert after.status == "completed"
    assert cached(after) >= spoken(cut) - 1


async def test_counting_is_exact(gpt: openai.AsyncOpenAI) -> None:
    """What is counted is what is then read, with tools, instructions and what is kept."""
    first = await respond(gpt, input="Hello!", instructions="Be brief.")
    asked: dict[str, Any] = {
        "input": "Thank you.",
        "instructions": "Be kind.",
        "tools": [TOOL],
        "previous_response_id": first.id,
    }
    counted = await gpt.responses.input_tokens.count(model=MODEL, **asked)
    answered = await respond(gpt, **asked)

    assert answered.usage is not None
    assert counted.input_tokens == answered.usage.input_tokens


@pytest.mark.parametrize("ending", ["restart", "kill"])
async def test_a_conversation_outlives_the_daemon(
    start: Starter, tmp_path: Path, ending: str
) -> None:
    """Another process goes on from the id alone: the fact is known, and nothing is read again.

    One that was killed has promised no less: what it told as complete is on disk.
    """
    flags = ("--state-dir", str(tmp_path / "state"))
    _, value = RECALL[3]
    with start(*flags) as daemon:
        async with open_gpt(daemon.url) as gpt:
            past: list[Any] = [*told(3), {"role": "user", "content": "Hello!"}]
            first = await respond(gpt, input=past)
            last = await respond(
                gpt, input="Thank you.", previous_response_id=first.id, stream=True
            )
        if ending == "kill":
            daemon.signal(signal.SIGKILL)
            await daemon.exit_code()

    with start(*flags) as daemon:
        async with open_gpt(daemon.url) as gpt:
            shown = await gpt.responses.retrieve(last.id)
            after = await respond(gpt, input=question(3), previous_response_id=last.id)

    assert shown.output_text == last.output_text
    assert value in after.output_text
    assert after.usage is not None
    if ending == "restart":
        assert cached(after) >= spoken(last) >= 0.9 * after.usage.input_tokens


async def test_what_is_deleted_or_forgotten_is_gone(start: Starter, tmp_path: Path) -> None:
    """One by one, or with its session; not even the next daemon knows it, and no file says it."""
    state = tmp_path / "state"
    canary = "8175"
    with start("--state-dir", str(state)) as daemon:
        async with open_gpt(daemon.url) as gpt:
            first = await respond(gpt, input=f"My pin is {canary}.", prompt_cache_key="one")
            second = await respond(gpt, input=f"My pin is {canary}.", prompt_cache_key="two")
            assert said_in(state, canary) == 2
            await gpt.responses.delete(first.id)
            assert said_in(state, canary) == 1
            await sessions(state, "forget", "two")
            assert said_in(state, canary) == 0
            await assert_unknown(gpt, first, second)

    with start("--state-dir", str(state)) as daemon:
        async with open_gpt(daemon.url) as gpt:
            await assert_unknown(gpt, first, second)


async def test_principals_share_no_response(start: Starter, tmp_path: Path) -> None:
    """Whoever knows an id of another's knows nothing by it, before a restart and after."""
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text("alice: the secret key of alice\nbob: the secret key of bob\n")
    flags = ("--state-dir", str(tmp_path / "state"))
    config = f'[server]\nkeys_file = "{keys}"\n'
    made: list[Response] = []
    for life in range(2):
        with start(*flags, config=config) as daemon:
            async with open_gpt(daemon.url) as gpt:
                alice, bob = (
                    gpt.copy(api_key=f"the secret key of {name}") for name in ("alice", "bob")
                )
                before = made[-1].id if made else None
                made.append(await respond(alice, input="Hello!", previous_response_id=before))
                await assert_unknown(bob, *made)
                assert len(made) == life + 1


async def assert_unknown(gpt: openai.AsyncOpenAI, *responses: Response) -> None:
    """See that responses are unknown, whatever is asked of them."""
    missing = pytest.raises(openai.NotFoundError, match="no such")
    for response in responses:
        with missing:
            await gpt.responses.retrieve(response.id)
        with missing:
            await gpt.responses.delete(response.id)
        with missing:
            await gpt.responses.input_items.list(response.id)
        with missing:
            await respond(gpt, input=[{"id": response.output[0].id}])
        with pytest.raises(openai.BadRequestError, match="no such"):
            await respond(gpt, input="a", previous_response_id=response.id)


def said_in(state: Path, text: str) -> int:
    """Count the files that say something."""
    return sum(text.encode() in file.read_bytes() for file in (state / "responses").iterdir())
