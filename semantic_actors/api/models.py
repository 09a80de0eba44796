"""The served model, in the shape of the API that asks; both use the same path."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from semantic_actors.api.errors import Dialect
from semantic_actors.api.refusals import NoSuchModel
from semantic_actors.api.visit import VISIT
from semantic_actors.api.wire import document
from semantic_actors.sessions.desk import Desk, ModelCard


class ModelEndpoints:
    """Lists the one model of the desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def index(self, request: web.Request) -> web.Response:
        """List the models."""
        model = self._desk.model
        if request[VISIT].dialect is Dialect.OPENAI:
            return document({"object": "list", "data": [_openai(model)]})
        page = {"has_more": False, "first_id": model.name, "last_id": model.name}
        return document({"data": [_anthropic(model)]} | page)

    async def show(self, request: web.Request) -> web.Response:
        """Show one model."""
        model = self._desk.model
        name = request.match_info["id"]
        if name != model.name:
            raise NoSuchModel(name, model.name)
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
