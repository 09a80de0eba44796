"""One HTTP request's stay in the house: its id, its dialect, and what the log says of it.

Made by the border, carried by the request, filled in by whoever learns something. It never holds
content.
"""

import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from semantic_actors.api.errors import Dialect
from semantic_actors.domain.ids import LOCAL, Principal, RequestId
from semantic_actors.domain.stream import Failed, Finished, Started, TurnEvent
from semantic_actors.domain.usage import Usage


def mint_request_id() -> RequestId:
    """Make a request id; one that a client sends is not trusted."""
    return RequestId(f"req_{secrets.token_hex(12)}")


@dataclass(slots=True)
class Visit:
    """What is known of a request so far. `stream` is set once its headers are out.

    `first_token_s` are the seconds until an answer showed something.
    """

    dialect: Dialect
    id: RequestId = field(default_factory=mint_request_id)
    principal: Principal = LOCAL
    usages: dict[int, Usage] = field(default_factory=dict)
    failure: Exception | None = None
    stream: web.StreamResponse | None = None
    began: float = field(default_factory=time.monotonic)
    first_token_s: float | None = None

    @property
    def usage(self) -> Usage:
        """What the answers have cost so far: those of one request together."""
        usages = self.usages.values()
        return Usage(
            sum(usage.prompt_tokens for usage in usages),
            sum(usage.cached_tokens for usage in usages),
            sum(usage.completion_tokens for usage in usages),
            next((usage.miss for usage in usages if usage.miss is not None), None),
        )

    def note(self, event: TurnEvent, choice: int = 0) -> None:
        """Remember what the log will say about an answer, one of several to the request."""
        match event:
            case Started(usage=usage) | Finished(usage=usage):
                self.usages[choice] = usage
            case Failed(error=error):
                self.failure = error
            case _ if self.first_token_s is None:
                self.first_token_s = round(time.monotonic() - self.began, 6)


VISIT: Final = web.RequestKey("visit", Visit)


def dialect_of(request: web.Request) -> Dialect:
    """Tell the API by which `request` came: by its path, else by the version header."""
    path = request.path
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return Dialect.ANTHROPIC
    return Dialect.ANTHROPIC if "anthropic-version" in request.headers else Dialect.OPENAI
