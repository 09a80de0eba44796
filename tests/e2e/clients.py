"""The official SDKs, strict about every field, and conversations held through them."""

from collections.abc import Iterable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import anthropic
import openai

C = TypeVar("C")

MODEL = "any"

RECALL = (
    ("access key", "4821"),
    ("locker code", "7730"),
    ("pin", "9052"),
    ("lucky number", "3316"),
    ("door code", "6047"),
    ("gate code", "5193"),
    ("backup key", "2468"),
    ("house number", "8175"),
)
"""Facts that the pocket model is told and asked for: names and values of one shape."""


def open_claude(url: str) -> anthropic.AsyncAnthropic:
    """Open Anthropic's SDK."""
    return anthropic.AsyncAnthropic(
        base_url=url, api_key="any", max_retries=0, timeout=60, _strict_response_validation=True
    )


def open_gpt(url: str) -> openai.AsyncOpenAI:
    """Open OpenAI's SDK."""
    return openai.AsyncOpenAI(
        base_url=f"{url}/v1",
        api_key="any",
        max_retries=0,
        timeout=60,
        _strict_response_validation=True,
    )


class Said(NamedTuple):
    """An answer and what it cost, in tokens: of `prompt` tokens `cached` came from a cache."""

    text: str
    reason: str | None
    prompt: int
    cached: int
    completion: int


class Talk(Protocol):
    """A conversation that grows by a turn each time something is said."""

    async def say(self, text: str) -> Said:
        """Say something and wait for the whole answer."""
        ...


class _Begun(Generic[C]):
    """A conversation before anything was said; the dialects say it each in their way."""

    def __init__(
        self,
        client: C,
        *,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._stream = stream
        self._headers = dict(headers or {})
        self._messages: list[Any] = []

    def recount(self, messages: Iterable[Mapping[str, str]]) -> None:
        """Begin with what was said before, elsewhere."""
        self._messages += messages


class ClaudeTalk(_Begun[anthropic.AsyncAnthropic]):
    """A conversation through the Messages API, greedy."""

    async def say(self, text: str) -> Said:
        """Say something and wait for the whole answer."""
        self._messages.append({"role": "user", "content": text})
        message = await self._answer()
        self._messages.append({"role": "assistant", "content": message.content})
        usage = message.usage
        cached = usage.cache_read_input_tokens or 0
        return Said(
            "".join(block.text for block in message.content if block.type == "text"),
            message.stop_reason,
            usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
            cached,
            usage.output_tokens,
        )

    async def _answer(self) -> Any:
        asked: dict[str, Any] = {
            "model": MODEL,
            "max_tokens": 256,
            "messages": self._messages,
            "extra_headers": self._headers,
            "extra_body": {"temperature": 0},
        }
        if not self._stream:
            return await self._client.messages.create(**asked)
        async with self._client.messages.stream(**asked) as stream:
            return await stream.get_final_message()


class GptTalk(_Begun[openai.AsyncOpenAI]):
    """A conversation through Chat Completions, greedy."""

    async def say(self, text: str) -> Said:
        """Say something and wait for the whole answer."""
        self._messages.append({"role": "user", "content": text})
        chat = await self._answer()
        choice = chat.choices[0]
        self._messages.append({"role": "assistant", "content": choice.message.content})
        assert chat.usage is not None
        assert chat.usage.prompt_tokens_details is not None
        return Said(
            choice.message.content or "",
            choice.finish_reason,
            chat.usage.prompt_tokens,
            chat.usage.prompt_tokens_details.cached_tokens or 0,
            chat.usage.completion_tokens,
        )

    async def _answer(self) -> Any:
        asked: dict[str, Any] = {
            "model": MODEL,
            "temperature": 0,
            "messages": self._messages,
            "extra_headers": self._headers,
        }
        if not self._stream:
            return await self._client.chat.completions.create(**asked)
        asked["stream_options"] = {"include_usage": True}
        async with self._client.chat.completions.stream(**asked) as stream:
            return await stream.get_final_completion()
