"""Bodies of Messages requests, translated as the server translates them."""

import json
from typing import Any

from semantic_actors.api import anthropic_wire
from semantic_actors.api.anthropic_wire import CountTokensRequest, MessagesRequest
from semantic_actors.api.decode import decode
from semantic_actors.api.fields import Attachments
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation

HI = {"role": "user", "content": "hi"}


def generation(**body: Any) -> Generation:
    """Translate a body."""
    whole = {"model": "any", "max_tokens": 9, "messages": [HI]} | body
    return anthropic_wire.generation(decode(json.dumps(whole).encode(), MessagesRequest), "refuse")


def prompt(attachments: Attachments = "refuse", **body: Any) -> ChatPrompt:
    """Translate a conversation."""
    whole = {"model": "any", "messages": [HI]} | body
    decoded = decode(json.dumps(whole).encode(), CountTokensRequest)
    return anthropic_wire.chat_prompt(decoded, attachments)


def messages(*conversation: Any, attachments: Attachments = "refuse") -> tuple[ChatMessage, ...]:
    """Translate messages."""
    return prompt(attachments, messages=conversation).messages


def user(*blocks: Any) -> dict[str, Any]:
    """Make a message of the user."""
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    """Make a message of the model."""
    return {"role": "assistant", "content": list(blocks)}


def system(*blocks: Any, **more: Any) -> dict[str, Any]:
    """Make a message of the system."""
    return {"role": "system", "content": list(blocks), **more}


def text(value: str) -> dict[str, Any]:
    """Make a text block, with a mark that moves from turn to turn."""
    return {"type": "text", "text": value, "cache_control": {"type": "ephemeral"}}


def call(name: str, tool: str = "f", **arguments: Any) -> dict[str, Any]:
    """Make a call of a tool."""
    return {"type": "tool_use", "id": name, "name": tool, "input": arguments}


def result(name: str, content: Any = "ok", **more: Any) -> dict[str, Any]:
    """Make the result of a call."""
    return {"type": "tool_result", "tool_use_id": name, "content": content, **more}


def tool(name: str, **more: Any) -> dict[str, Any]:
    """Make a tool."""
    return {"name": name, "input_schema": {"type": "object"}, **more}
