"""Bodies of OpenAI's two older APIs, translated."""

import json
from typing import Any

from semantic_actors.api import chat_wire, completion_wire
from semantic_actors.api.decode import decode
from semantic_actors.api.fields import Attachments
from semantic_actors.domain import limits
from semantic_actors.domain.request import (
    ChatPrompt,
    Generation,
)

HI = {"role": "user", "content": "hi"}


def chats(attachments: Attachments = "refuse", **body: Any) -> tuple[Generation, ...]:
    """Translate a chat."""
    whole = json.dumps({"model": "any", "messages": [HI]} | body).encode()
    return chat_wire.generations(decode(whole, chat_wire.ChatRequest), attachments)


def chat(**body: Any) -> Generation:
    """Translate a chat for one answer."""
    (only,) = chats(**body)
    return only


def prompt(**body: Any) -> ChatPrompt:
    """Translate the conversation of a chat."""
    asked = chat(**body).prompt
    assert isinstance(asked, ChatPrompt)
    return asked


def request(**body: Any) -> completion_wire.CompletionRequest:
    """Read a text completion."""
    whole = json.dumps({"model": "any", "prompt": "Once"} | body).encode()
    return decode(whole, completion_wire.CompletionRequest, token_ids=limits.MAX_PROMPT_TOKENS)


def completion(**body: Any) -> Generation:
    """Translate a text completion for one answer."""
    (only,) = completion_wire.generations(request(**body))
    return only
