"""Which request is being served: one context variable, carried along by every envelope.

A long-lived task keeps the context that it was created with, so an actor would see its
*starter's* request. Therefore tell and ask capture the sender's request, and the kernel binds it,
here and in structlog's context, around each message.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import structlog

_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)


def current_request() -> str | None:
    """Return the request being served, if any."""
    return _request_id.get()


@contextlib.contextmanager
def bind_request(request_id: str | None) -> Iterator[None]:
    """Serve `request_id` inside the `with` block; None binds nothing."""
    if request_id is None:
        yield
        return
    token = _request_id.set(request_id)
    try:
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            yield
    finally:
        _request_id.reset(token)


def detached_context() -> contextvars.Context:
    """Copy the current context, without its request: what a long-lived task starts with."""
    context = contextvars.copy_context()
    context.run(_request_id.set, None)
    context.run(structlog.contextvars.unbind_contextvars, "request_id")
    return context
