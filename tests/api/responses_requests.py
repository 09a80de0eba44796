"""What tests ask of the Responses API."""

from typing import Any

import aiohttp

from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    ToolCall,
    ToolSpec,
)
from tests.api.fakes import FakeDesk

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
HI = ChatMessage("user", "hi")
LOOK = ToolCall("call_1", "look", '{"n": 5000.0}')

CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"n": 5000.0}'}
LOOKED = {"type": "function_call_output", "call_id": "call_1", "output": "a"}


def said(text: str, **more: Any) -> dict[str, Any]:
    """Write a message of the assistant as it was told."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "role": "assistant", "content": [part], **more}


def reasoning(text: str, **more: Any) -> dict[str, Any]:
    """Write a thought as it was told."""
    content = [{"type": "reasoning_text", "text": text}]
    return {"type": "reasoning", "summary": [], "content": content, **more}


async def asked(client: aiohttp.ClientSession, desk: FakeDesk, **body: Any) -> ChatPrompt:
    """Ask, and return the prompt that the desk was asked."""
    async with client.post(PATH, json={"model": "any", "input": "hi", **body}) as answer:
        assert answer.status == 200, await answer.text()
    prompt = desk.generation.prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt


FUNCTION = {"type": "function", "name": "look", "description": "Look.", "parameters": SCHEMA}
NAMESPACE = {
    "type": "namespace",
    "name": "files",
    "description": "Files.",
    "tools": [{"type": "function", "name": "read", "strict": False}, FUNCTION],
}
LOOK_SPEC = ToolSpec("look", "Look.", SCHEMA)
FILE_SPECS = (ToolSpec("files__read"), ToolSpec("files__look", "Look.", SCHEMA))


ALLOWED = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function"}]}
