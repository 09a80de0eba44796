"""What OpenAI's older APIs offer, with the bundled model behind it, through the strict SDK."""

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam

from semantic_actors.engine import pocket_path
from semantic_actors.text import Codec
from tests.e2e.clients import open_gpt
from tests.e2e.daemon import Daemon, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

FOX: dict[str, Any] = {
    "model": "any",
    "temperature": 0,
    "messages": [{"role": "user", "content": "Repeat after me: the quick brown fox"}],
}
TEXT: dict[str, Any] = {"model": "any", "temperature": 0, "max_tokens": 12}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ERRAND: dict[str, Any] = FOX | {
    "tools": [WEATHER],
    "messages": [{"role": "user", "content": "use the tool get_weather with city Paris"}],
}


async def test_a_tool_is_called_and_its_result_is_read(gpt: openai.AsyncOpenAI) -> None:
    """Streamed or whole the call is the same, and its result continues the conversation."""
    whole = await gpt.chat.completions.create(**ERRAND)
    async with gpt.chat.completions.stream(**ERRAND) as stream:
        streamed = await stream.get_final_completion()
    for chat in (whole, streamed):
        (choice,) = chat.choices
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        assert (choice.finish_reason, call.function.name) == ("tool_calls", "get_weather")
        assert json.loads(call.function.arguments) == {"city": "Paris"}

    said = whole.choices[0].message.model_dump(exclude_none=True)
    (made,) = said["tool_calls"]
    result = {"role": "tool", "tool_call_id": made["id"], "content": '{"temp": 21}'}
    answer = await gpt.chat.completions.create(
        **ERRAND | {"messages": [*ERRAND["messages"], said, result]}
    )

    assert "21" in (answer.choices[0].message.content or "")
    assert whole.usage is not None
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    cached = answer.usage.prompt_tokens_details.cached_tokens or 0
    assert cached >= whole.usage.total_tokens - 2


async def test_what_is_cut_off_in_a_call_is_the_same_streamed_and_whole(
    gpt: openai.AsyncOpenAI,
) -> None:
    """It ends by its length, with as much as came, and is no complete call."""
    complete = await gpt.chat.completions.create(**ERRAND)
    assert complete.usage is not None
    short = ERRAND | {"max_tokens": complete.usage.completion_tokens - 3}
    cut = (await gpt.chat.completions.create(**short)).choices[0]
    content, arguments, reason = "", "", None
    async for chunk in await gpt.chat.completions.create(**short, stream=True):
        (choice,) = chunk.choices
        reason = choice.finish_reason
        content += choice.delta.content or ""
        for call in choice.delta.tool_calls or []:
            assert call.function is not None
            arguments += call.function.arguments or ""

    calls = [call for call in cut.message.tool_calls or [] if call.type == "function"]
    assert "".join(call.function.arguments for call in calls) == arguments
    assert (cut.message.content or "") == content
    assert (content + arguments).endswith("Paris")
    assert cut.finish_reason == reason == "length"


async def test_choices_are_drawn_from_one_seed(gpt: openai.AsyncOpenAI) -> None:
    """Several answers differ, are the same again, streamed too, and pay for one prompt."""
    asked = FOX | {"temperature": 2, "seed": 11, "n": 3, "max_tokens": 8}
    first = await gpt.chat.completions.create(**asked)
    again = await gpt.chat.completions.create(**asked)
    texts = ["", "", ""]
    counted = None
    async for chunk in await gpt.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
        counted = chunk.usage
    alone = await gpt.chat.completions.create(**asked | {"n": 1})

    told = [choice.message.content for choice in first.choices]
    assert len({*told}) > 1
    assert told == [choice.message.content for choice in again.choices] == texts
    assert told[0] == alone.choices[0].message.content
    assert first.usage is not None
    assert alone.usage is not None
    assert counted is not None
    assert {alone.usage.prompt_tokens, counted.prompt_tokens} == {first.usage.prompt_tokens}
    assert first.usage.completion_tokens == counted.completion_tokens


async def test_who_leaves_stops_all_choices(slow: Daemon) -> None:
    """Several answers run at once; a client that hangs up leaves none of them running."""
    count: dict[str, Any] = FOX | {"messages": [{"role": "user", "content": "Count to 40."}]}
    async with open_gpt(slow.url) as client:
        stream = await client.chat.completions.create(**count, n=4, stream=True)
        heard: set[int] = set()
        async for chunk in stream:
            heard |= {each.index for each in chunk.choices if each.delta.content}
            if heard == {0, 1, 2, 3}:
                break
        assert (await slow.counters())["running"] == 4
        await stream.close()
        await eventually(slow.idle)


async def test_log_probabilities_are_those_of_the_text(gpt: openai.AsyncOpenAI) -> None:
    """Their tokens spell the answer; a greedy answer is made of the likeliest."""
    chat = await gpt.chat.completions.create(**FOX, logprobs=True, top_logprobs=3)
    (choice,) = chat.choices
    assert choice.logprobs is not None
    content = choice.logprobs.content or []

    spelled = b"".join(bytes(token.bytes or []) for token in content).decode()
    assert spelled == choice.message.content == "the quick brown fox"
    for token in content:
        likely = [each.logprob for each in token.top_logprobs]
        assert token.logprob == likely[0] == max(likely)
        assert len(likely) == 3

    text = (await gpt.completions.create(**TEXT, prompt="1 2 3", logprobs=2)).choices[0]
    assert text.logprobs is not None
    spans = zip(text.logprobs.tokens or [], text.logprobs.text_offset or [], strict=True)
    assert all(text.text[offset:].startswith(token) for token, offset in spans)
    assert "".join(text.logprobs.tokens or []) == text.text != ""


async def test_prompts_of_text_and_of_token_ids(gpt: openai.AsyncOpenAI) -> None:
    """Several prompts are answered in order, and a text is continued as its token ids are."""
    codec = Codec.load(pocket_path())
    texts = ["one two three", "The quick brown"]
    ids = [list(codec.encode_text(text)) for text in texts]
    told = await gpt.completions.create(**TEXT, prompt=texts)
    counted = await gpt.completions.create(**TEXT, prompt=ids)
    single = await gpt.completions.create(**TEXT, prompt=ids[1])
    echoed = await gpt.completions.create(**TEXT, prompt=texts, echo=True)

    answers = [choice.text for choice in told.choices]
    assert answers == [choice.text for choice in counted.choices]
    assert single.choices[0].text == answers[1]
    assert [choice.text for choice in echoed.choices] == [
        text + answer for text, answer in zip(texts, answers, strict=True)
    ]
    assert counted.usage is not None
    assert counted.usage.prompt_tokens == sum(map(len, ids))
    with pytest.raises(openai.BadRequestError, match="prompt: token 2147483647 is not") as raised:
        await gpt.completions.create(**TEXT, prompt=[[5], [2**31 - 1]])
    assert raised.value.param == "prompt"


async def test_stops_and_lengths(gpt: openai.AsyncOpenAI) -> None:
    """A stop string ends an answer before itself, a length where it is reached."""
    stopped = await gpt.chat.completions.create(**FOX, stop=[" brown"])
    short = await gpt.chat.completions.create(**FOX, max_completion_tokens=1)

    choice = stopped.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("the quick", "stop")
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 1


async def test_embeddings_are_refused(gpt: openai.AsyncOpenAI) -> None:
    """The model has none, and says so."""
    with pytest.raises(openai.BadRequestError, match="no embeddings") as raised:
        await gpt.embeddings.create(model="any", input="hi")

    assert (raised.value.code, raised.value.param) == ("model_not_supported", "model")
