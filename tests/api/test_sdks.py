"""Anthropic's official SDK, strict about every field, against our server."""

from collections.abc import AsyncIterator

import anthropic
import pytest
import pytest_asyncio

from semantic_actors.domain.errors import Draining, Overloaded, PromptTooLong
from semantic_actors.domain.stream import Failed, Finished, Started, TextDelta
from tests.api.fakes import ANSWERED, ASKED, DISAPPOINTMENT, ERRAND, MISSED, FakeDesk

pytestmark = pytest.mark.asyncio

SCHEMA: dict[str, object] = {"type": "object", "properties": {"path": {"type": "string"}}}


@pytest_asyncio.fixture
async def claude(port: int) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Open Anthropic's SDK."""
    async with anthropic.AsyncAnthropic(
        base_url=f"http://127.0.0.1:{port}",
        api_key="any",
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


async def test_claude_message(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A whole message with tool calls."""
    desk.script = ERRAND
    message = await claude.messages.create(
        model="any",
        max_tokens=9,
        system="Be brief.",
        messages=[{"role": "user", "content": "look"}],
        tools=[{"name": "read", "input_schema": SCHEMA}],
    )

    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert message.stop_reason == "tool_use"
    assert (
        message.usage.input_tokens,
        message.usage.cache_read_input_tokens,
        message.usage.output_tokens,
    ) == (6, 4, 3)
    assert (message._request_id or "").startswith("req_")


async def test_claude_stream(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A streamed message with tool calls, put together by the SDK."""
    desk.script = ERRAND
    async with claude.messages.stream(
        model="any", max_tokens=9, messages=[{"role": "user", "content": "look"}]
    ) as stream:
        message = await stream.get_final_message()

    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert message.content[1].input == {"path": "a.txt", "n": 1}  # type: ignore[union-attr]
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 3)


async def test_claude_miss(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """Why tokens were not cached is an extra field of usage: strict clients keep it."""
    desk.script = DISAPPOINTMENT
    asked: anthropic.types.MessageParam = {"role": "user", "content": "hi"}
    whole = await claude.messages.create(model="any", max_tokens=9, messages=[asked])
    async with claude.messages.stream(model="any", max_tokens=9, messages=[asked]) as stream:
        streamed = await stream.get_final_message()

    for message in (whole, streamed):
        assert (message.usage.model_extra or {})["cache_diagnostics"] == MISSED


async def test_claude_reasons(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """Every stop reason is one that the SDK knows."""
    for reason in ("stop", "length", "stop_sequence", "tool_calls", "context"):
        desk.script = (Started(ASKED), TextDelta("a"), Finished(reason, ANSWERED, None))
        message = await claude.messages.create(
            model="any", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
        assert message.stop_reason


async def test_claude_failure(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A stream that fails raises in the SDK, with the type of its cause."""
    desk.script = (Started(ASKED), TextDelta("a"), Failed(Draining()))
    with pytest.raises(anthropic.APIStatusError) as raised:
        async with claude.messages.stream(
            model="any", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as stream:
            await stream.until_done()

    assert raised.value.type == "overloaded_error"


async def test_claude_refusals(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A refusal is the SDK's own exception, with our request id."""
    for error, kind in [
        (Overloaded("full", retry_after_s=1), anthropic.RateLimitError),
        (PromptTooLong(9, 4), anthropic.BadRequestError),
    ]:
        desk.refusal = error
        with pytest.raises(kind) as raised:
            await claude.messages.create(
                model="any", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
            )
        assert (raised.value.request_id or "").startswith("req_")


async def test_claude_count(claude: anthropic.AsyncAnthropic) -> None:
    """Counting tokens."""
    count = await claude.messages.count_tokens(
        model="any", messages=[{"role": "user", "content": "hi"}]
    )

    assert count.input_tokens == 42


async def test_claude_models(claude: anthropic.AsyncAnthropic) -> None:
    """The models, listed and one by one."""
    listed = [model async for model in claude.models.list()]

    assert [model.id for model in listed] == ["pocket"]
    assert listed[0] == await claude.models.retrieve("pocket")
    assert listed[0].max_input_tokens == 4096
    with pytest.raises(anthropic.NotFoundError):
        await claude.models.retrieve("other")
