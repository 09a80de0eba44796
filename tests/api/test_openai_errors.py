"""Refusals of OpenAI's APIs as its official SDK raises them."""

from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from semantic_actors.domain.errors import Draining, InvalidRequest, Overloaded, PromptTooLong
from tests.api.fakes import FakeDesk

pytestmark = pytest.mark.asyncio

HI: ChatCompletionMessageParam = {"role": "user", "content": "hi"}


@pytest.mark.parametrize("encoding", ["base64", "float"])
async def test_embeddings(gpt: openai.AsyncOpenAI, encoding: Any) -> None:
    """There are none, and it is no fault of ours that would be worth another try."""
    with pytest.raises(openai.BadRequestError, match="'pocket' has no embeddings") as raised:
        await gpt.embeddings.create(model="any", input="hi", encoding_format=encoding)

    assert (raised.value.param, raised.value.code) == ("model", "model_not_supported")
    assert (raised.value.request_id or "").startswith("req_")


@pytest.mark.parametrize(
    ("error", "kind", "code", "param"),
    [
        (PromptTooLong(9, 4), openai.BadRequestError, "context_length_exceeded", None),
        (
            InvalidRequest("a", field="logit_bias"),
            openai.BadRequestError,
            "invalid_value",
            "logit_bias",
        ),
        (Overloaded("full", retry_after_s=7), openai.RateLimitError, "rate_limit_exceeded", None),
        (Draining(), openai.InternalServerError, "draining", None),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_refusals(
    gpt: openai.AsyncOpenAI,
    desk: FakeDesk,
    *,
    stream: Any,
    error: Exception,
    kind: type[openai.APIStatusError],
    code: str,
    param: str | None,
) -> None:
    """A refusal is the SDK's own exception, with its code and parameter, before any stream."""
    desk.refusal = error
    with pytest.raises(kind) as raised:
        await gpt.chat.completions.create(model="any", messages=[HI], stream=stream)

    assert (raised.value.code, raised.value.param) == (code, param)
    assert (raised.value.request_id or "").startswith("req_")
    retry = raised.value.response.headers.get("retry-after")
    assert retry == (str(error.retry_after_s) if isinstance(error, Overloaded | Draining) else None)


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"temperature": 9}, "invalid_value", "temperature"),
        ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
        ({"functions": [{"name": "f"}]}, "unsupported_parameter", "functions"),
        ({"web_search_options": {}}, "unsupported_value", "web_search_options"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    ],
)
async def test_codes(gpt: openai.AsyncOpenAI, wrong: Any, code: str, param: str) -> None:
    """What is wrong with a request is told in this API's codes."""
    asked: dict[str, Any] = {"model": "any", "messages": [HI]} | wrong
    with pytest.raises(openai.BadRequestError) as raised:
        await gpt.chat.completions.create(**asked)

    assert (raised.value.type, raised.value.code, raised.value.param) == (
        "invalid_request_error",
        code,
        param,
    )


async def test_no_such_model(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """A model that is not served has its own code."""
    desk.aliases = ()
    with pytest.raises(openai.NotFoundError) as raised:
        await gpt.models.retrieve("other")

    assert (raised.value.type, raised.value.code) == ("invalid_request_error", "model_not_found")
