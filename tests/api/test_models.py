"""The names that the model answers to, and its card in both shapes."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from semantic_actors.api.models import called
from semantic_actors.api.refusals import NoSuchModel
from semantic_actors.sessions.desk import ModelCard
from tests.api.fakes import BODIES, FakeDesk

CLAUDE = {"anthropic-version": "2023-06-01"}
CARD = {
    "id": "pocket",
    "type": "model",
    "display_name": "pocket",
    "created_at": "2025-10-09T08:53:20+00:00",
    "lifecycle": "active",
    "max_input_tokens": 4096,
    "max_tokens": 4096,
    "capabilities": None,
    "line": None,
    "deprecated_at": None,
    "retires_at": None,
}


@pytest.mark.parametrize(
    ("aliases", "asked"),
    [
        (("*",), "any"),
        (("*",), "org/name:tag"),
        (("claude-*", "gpt-5"), "claude-opus-5-5"),
        (("claude-*", "gpt-5"), "gpt-5"),
        ((), "pocket"),
    ],
)
def test_known(aliases: tuple[str, ...], asked: str) -> None:
    """A model answers to its own name and to its aliases, by its own."""
    assert called(ModelCard("pocket", 1, 1, aliases), asked) == "pocket"


@pytest.mark.parametrize(
    ("aliases", "asked"),
    [((), "any"), (("claude-*",), "gpt-5"), (("claude-*",), "Claude-x"), (("gpt-5",), "gpt-50")],
)
def test_unknown(aliases: tuple[str, ...], asked: str) -> None:
    """Any other name is refused, and the served one told."""
    with pytest.raises(NoSuchModel, match=f"no such model: '{asked}', only 'pocket'"):
        called(ModelCard("pocket", 1, 1, aliases), asked)


@pytest.mark.asyncio
@pytest.mark.parametrize("path", BODIES)
async def test_gate(client: aiohttp.ClientSession, desk: FakeDesk, path: str) -> None:
    """Every endpoint that takes a model takes an alias, and refuses what is none."""
    desk.aliases = ("claude-*",)
    async with client.post(path, json=BODIES[path] | {"model": "claude-sonnet-5-5"}) as answer:
        assert answer.status == 200
        assert (await answer.json()).get("model", "pocket") == "pocket"
    asked = len(desk.asked) + len(desk.counted)

    async with client.post(path, json=BODIES[path] | {"model": "gpt-5"}) as answer:
        error = (await answer.json())["error"]
        assert answer.status == 404
    assert error["message"] == "no such model: 'gpt-5', only 'pocket'"
    if path.startswith("/v1/messages"):
        assert error["type"] == "not_found_error"
    else:
        assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")
    assert len(desk.asked) + len(desk.counted) == asked


@pytest.mark.asyncio
@pytest.mark.parametrize("headers", [{}, CLAUDE])
async def test_show(
    client: aiohttp.ClientSession, desk: FakeDesk, headers: Mapping[str, str]
) -> None:
    """The card of an alias is that of the model behind it; there is none of other names."""
    desk.aliases = ("claude-*",)
    shown = []
    for name in ("pocket", "claude-opus-5-5"):
        async with client.get(f"/v1/models/{name}", headers=headers) as answer:
            shown.append(await answer.json())
    async with client.get("/v1/models/other", headers=headers) as answer:
        assert answer.status == 404

    assert shown[0] == shown[1]
    assert shown[0]["id"] == "pocket"
    assert shown[0].get("created_at") == (CARD["created_at"] if headers else None)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ({}, [CARD]),
        ({"limit": "1000"}, [CARD]),
        ({"after_id": "other", "limit": "1"}, [CARD]),
        ({"after_id": "pocket"}, []),
        ({"before_id": "pocket"}, []),
    ],
)
async def test_page(
    client: aiohttp.ClientSession, query: dict[str, str], listed: list[Any]
) -> None:
    """A list is a page, with nothing before or behind the one model."""
    end = "pocket" if listed else None
    async with client.get("/v1/models", params=query, headers=CLAUDE) as answer:
        assert await answer.json() == {
            "data": listed,
            "has_more": False,
            "first_id": end,
            "last_id": end,
        }


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "1.5", "", "9" * 5000])
async def test_limit(client: aiohttp.ClientSession, limit: str) -> None:
    """A page of any other size is refused."""
    async with client.get("/v1/models", params={"limit": limit}, headers=CLAUDE) as answer:
        assert answer.status == 400
        message = (await answer.json())["error"]["message"]
    assert message.startswith("limit: expected an integer >= 1 and <= 1000, got '")
