"""What the Messages API refuses, through Anthropic's own SDK, and what an operator decides."""

from typing import Any

import anthropic
import pytest

from tests.e2e.clients import open_claude
from tests.e2e.conftest import Starter

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

HELLO: Any = {"role": "user", "content": "Hello!"}
PICTURE: Any = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:1/x.png"}}


async def _ask(claude: anthropic.AsyncAnthropic, model: str = "claude-x", **body: Any) -> Any:
    return await claude.messages.create(model=model, max_tokens=64, **body)


async def test_refusals(claude: anthropic.AsyncAnthropic) -> None:
    """What cannot be read, called or found is refused by name, each as the SDK's own error."""
    pictured = {"role": "user", "content": [PICTURE]}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\].*got image"):
        await _ask(claude, messages=[pictured])
    with pytest.raises(anthropic.BadRequestError, match=r"tool_choice\.name"):
        await _ask(claude, messages=[HELLO], tool_choice={"type": "tool", "name": "x"})
    with pytest.raises(anthropic.NotFoundError, match="no such path"):
        await claude.messages.batches.list()


async def test_settings(start: Starter) -> None:
    """An operator names the aliases, and lets a word stand for what cannot be read."""
    config = '[model]\naliases = ["claude-*"]\n[server]\nattachments = "placeholder"\n'
    pictured = {"role": "user", "content": [PICTURE, {"type": "text", "text": "Hello!"}]}
    with start(config=config) as daemon:
        async with open_claude(daemon.url) as claude:
            message = await _ask(claude, messages=[pictured])
            model = await claude.models.retrieve("claude-opus-5-5")
            with pytest.raises(anthropic.NotFoundError, match="no such model: 'gpt-5', only"):
                await _ask(claude, model="gpt-5", messages=[HELLO])

    assert message.stop_reason == "end_turn"
    assert (message.model, model.id, model.lifecycle) == ("pocket", "pocket", "active")


async def test_prompt_too_long(start: Starter) -> None:
    """A prompt that fits nowhere is refused in the words by which clients know to shorten it.

    The context has to hold a token of the answer as well.
    """
    with start("--context", "64") as daemon:
        async with open_claude(daemon.url) as claude:
            long: Any = [{"role": "user", "content": "lion " * 100}]
            counted = await claude.messages.count_tokens(model="any", messages=long)
            with pytest.raises(anthropic.BadRequestError) as refused:
                await _ask(claude, messages=long)

    assert refused.value.type == "invalid_request_error"
    tokens = counted.input_tokens
    assert refused.value.body["error"]["message"] == (  # type: ignore[index]
        f"prompt is too long: {tokens} tokens > 63 maximum"
    )
