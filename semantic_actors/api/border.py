"""The border: every request crosses it on the way in and its answer on the way out.

In: an id is minted, Host, Origin and key are checked. Out: an error becomes an answer in the shape
of its API, the answer is written within its deadline, and one line is logged, without content.
This is the room's only `except Exception`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from semantic_actors.actors import bind_request
from semantic_actors.api.access import Access
from semantic_actors.api.bounds import Bounds
from semantic_actors.api.deadline import write_deadline
from semantic_actors.api.errors import explain
from semantic_actors.api.metrics import HttpMetrics
from semantic_actors.api.refusals import MethodNotAllowed, NoSuchPath
from semantic_actors.api.visit import VISIT, Visit, dialect_of
from semantic_actors.api.wire import document, last_frames
from semantic_actors.domain.errors import Rejected

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CLIENT_GONE: Final = 499
"""Status, in the log only, of a request whose client did not wait for the answer."""

_log = structlog.get_logger(__name__)


class Border:
    """Lets requests in and answers out."""

    def __init__(self, access: Access, bounds: Bounds, metrics: HttpMetrics) -> None:
        self._access = access
        self._bounds = bounds
        self._metrics = metrics
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    async def quiet(self) -> None:
        """Wait until no request is being served; the answers are written by then."""
        await self._empty.wait()

    @web.middleware
    async def cross(self, request: web.Request, handler: Endpoint) -> web.StreamResponse:
        """Serve one request from end to end."""
        visit = request[VISIT] = Visit(dialect_of(request))
        clock = asyncio.get_running_loop().time
        began = clock()
        status = _CLIENT_GONE
        self._enter()
        with bind_request(visit.id):
            try:
                response = await self._serve(request, handler, visit)
                await self._deliver(request, response)
                status = response.status
            except ConnectionError:
                response = visit.stream or web.Response(status=_CLIENT_GONE)
            finally:
                self._leave()
                self._report(request, visit, status, clock() - began)
        return response

    def _enter(self) -> None:
        self._inside += 1
        self._empty.clear()

    def _leave(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    async def stamp(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put the request's id on its answer, under the names that both APIs use.

        The Server header says what this is, not which versions it is made of.
        """
        response.headers["Server"] = "semantic-actors"
        if VISIT in request:
            response.headers["request-id"] = request[VISIT].id
            response.headers["x-request-id"] = request[VISIT].id

    async def _serve(
        self, request: web.Request, endpoint: Endpoint, visit: Visit
    ) -> web.StreamResponse:
        try:
            self._admit(request, visit)
            return await endpoint(request)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - the border: every error becomes an answer
            visit.failure = _in_our_words(error, request)
            return await self._refuse(request, visit, visit.failure)

    def _admit(self, request: web.Request, visit: Visit) -> None:
        _, port, *_ = request.get_extra_info("sockname", ("", 0))
        self._access.check_site(request.headers, port)
        if request.path.startswith("/v1/"):
            visit.principal = self._access.principal(request.headers)

    async def _refuse(
        self, request: web.Request, visit: Visit, error: Exception
    ) -> web.StreamResponse:
        if visit.stream is None:
            answer = explain(error, visit.dialect, visit.id)
            return document(answer.body, answer.status, answer.headers)
        async with write_deadline(request, self._bounds.write_deadline_s):
            await visit.stream.write(last_frames(error, visit.dialect, visit.id))
        return visit.stream

    async def _deliver(self, request: web.Request, response: web.StreamResponse) -> None:
        async with write_deadline(request, self._bounds.write_deadline_s):
            await response.prepare(request)
            await response.write_eof()

    def _report(self, request: web.Request, visit: Visit, status: int, duration_s: float) -> None:
        if visit.failure is not None and not isinstance(visit.failure, Rejected):
            _log.error("request_failed", reason=repr(visit.failure), exc_info=visit.failure)
        resource = request.match_info.route.resource
        route = "unmatched" if resource is None else resource.canonical
        usage = visit.usage
        self._metrics.count(request.method, route, status, duration_s)
        if usage.miss is not None:
            self._metrics.missed(usage.miss)
        _log.info(
            "request_finished",
            method=request.method,
            route=route,
            status=status,
            duration_s=round(duration_s, 6),
            first_token_s=visit.first_token_s,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            failure=None if visit.failure is None else type(visit.failure).__name__,
        )


def _in_our_words(error: Exception, request: web.Request) -> Exception:
    """Translate what aiohttp's router raises."""
    match error:
        case web.HTTPNotFound():
            return NoSuchPath(request.method, request.path)
        case web.HTTPMethodNotAllowed():
            return MethodNotAllowed(request.method, tuple(sorted(error.allowed_methods)))
        case _:
            return error
