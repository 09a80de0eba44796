"""Sessions that send what Claude Code sends, shaped like it and with none of its words.

What varies from request to request there varies here: the hash in the billing block, the place of
the cache breakpoint, and that the newest message is a list of blocks and later a plain string.
"""

import json
import uuid
from typing import Any

import anthropic

BETAS = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    "mid-conversation-tool-changes-2026-07-01,effort-2025-11-24"
)
EPHEMERAL = {"type": "ephemeral"}


def _tool(name: str, description: str, argument: str) -> dict[str, Any]:
    properties = {argument: {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": [argument]}
    return {"name": name, "description": description, "input_schema": schema}


TOOLS = [
    _tool("read_file", "Read a file.", "path"),
    _tool("get_weather", "Get the weather.", "city"),
]


class ClaudeCode:
    """One session. The temperature of 0 is ours: Claude Code sends none."""

    def __init__(self, client: anthropic.AsyncAnthropic) -> None:
        self._client = client
        self._session = str(uuid.uuid4())
        self._history: list[dict[str, Any]] = []

    async def ask(self, text: str) -> Any:
        """Say something; returns the SDK's message."""
        newest = [{"type": "text", "text": text, "cache_control": EPHEMERAL}]
        asked = [{"role": "user", "content": newest}]
        if not self._history:
            asked.append({"role": "system", "content": "Be brief."})
        arguments = self._request([*self._history, *asked])
        async with self._client.messages.stream(**arguments) as stream:
            message = await stream.get_final_message()
        self._history += [{"role": "user", "content": text}, *asked[1:]]
        self._history.append({"role": "assistant", "content": message.content})
        return message

    def _request(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "model": "claude-sonnet-5-5",
            "max_tokens": 32_000,
            "system": self._system(),
            "messages": messages,
            "tools": TOOLS,
            "extra_query": {"beta": "true"},
            "extra_headers": self._headers(),
            "extra_body": {
                "temperature": 0,
                "thinking": {"type": "adaptive", "display": "omitted"},
                "output_config": {"effort": "high"},
                "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
                "metadata": {"user_id": self._user_id()},
            },
        }

    def _headers(self) -> dict[str, str]:
        return {
            "anthropic-version": "2023-06-01",
            "anthropic-beta": BETAS,
            "anthropic-dangerous-direct-browser-access": "true",
            "x-api-key": "dummy",
            "x-app": "cli",
            "User-Agent": "claude-cli/2.1.328 (external, cli)",
            "X-Claude-Code-Session-Id": self._session,
        }

    def _system(self) -> list[dict[str, Any]]:
        billing = f"x-anthropic-billing-header: cc_version=2.1.328.3f2; cch={uuid.uuid4().hex[:5]};"
        return [
            {"type": "text", "text": billing},
            {"type": "text", "text": "You answer in short sentences.", "cache_control": EPHEMERAL},
            {"type": "text", "text": "Never invent facts.", "cache_control": EPHEMERAL},
        ]

    def _user_id(self) -> str:
        return json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": self._session})
