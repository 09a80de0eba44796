"""The served model, in the shape of the API that asks; both use the same path.

Clients ask for the models of others: a name that is none of this model's is refused, by default
none is. Whatever a client called it, answers and cards bear the name of the model that is served,
as the real APIs name the model behind an alias: who reads an answer learns what wrote it.
"""

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from aiohttp import web

from semantic_actors.api.errors import Dialect
from semantic_actors.api.fields import page_limit
from semantic_actors.api.refusals import NoSuchModel
from semantic_actors.api.visit import VISIT
from semantic_actors.api.wire import document
from semantic_actors.domain import limits
from semantic_actors.sessions.desk import Desk, ModelCard


def called(model: ModelCard, asked: str) -> str:
    """Return the served model's name, if it answers to `asked`. Raises `NoSuchModel`."""
    if asked != model.name and not any(fnmatchcase(asked, alias) for alias in model.aliases):
        raise NoSuchModel(asked, model.name)
    return model.name


class ModelEndpoints:
    """Lists the one model of the desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def index(self, request: web.Request) -> web.Response:
        """List the models."""
        model = self._desk.model
        if request[VISIT].dialect is Dialect.OPENAI:
            return document({"object": "list", "data": [_openai(model)]})
        page_limit(request.query, 1, limits.MAX_PAGE)
        beyond = {request.query.get("after_id"), request.query.get("before_id")}
        listed = [] if model.name in beyond else [_anthropic(model)]
        ends = dict.fromkeys(("first_id", "last_id"), model.name if listed else None)
        return document({"data": listed, "has_more": False} | ends)

    async def show(self, request: web.Request) -> web.Response:
        """Show one model."""
        model = self._desk.model
        called(model, request.match_info["id"])
        openai = request[VISIT].dialect is Dialect.OPENAI
        return document(_openai(model) if openai else _anthropic(model))


def _openai(model: ModelCard) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.loaded_at,
        "owned_by": "semantic-actors",
    }


def _anthropic(model: ModelCard) -> dict[str, Any]:
    return {
        "id": model.name,
        "type": "model",
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.loaded_at, UTC).isoformat(),
        "lifecycle": "active",
        "max_input_tokens": model.context,
        "max_tokens": model.context,
        "capabilities": None,
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
    }
