"""What only HTTP can refuse: each refusal is one sentence with the field, the value and the bound.

What a client sent is quoted to that client, shortened, and to nobody else.
"""

from typing import Any, Final

import msgspec

from semantic_actors.domain.errors import (
    AccessDenied,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    Rejected,
    Unauthenticated,
)

_QUOTED_CHARS: Final = 80


def shortened(text: str) -> str:
    """Cut what a client sent to a length fit for a message."""
    return text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…"


def as_json(value: Any) -> str:
    """Write what a client sent as it may have written it."""
    return msgspec.json.encode(value).decode()


class FieldRefused(InvalidRequest):
    """A field holds something else than it may."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        super().__init__(
            f"{shortened(field) or 'body'}: expected {expected}, got {shortened(got)}",
            field=shortened(field) or None,
        )


class FieldMissing(InvalidRequest):
    """A field is not there."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: required, but missing", field=field)


class Unsupported(InvalidRequest):
    """A field asks for what we do not have; `allowed`, if there is such a value, for nothing."""

    def __init__(self, field: str, got: str, allowed: str | None) -> None:
        passing = "null" if allowed is None else f"{allowed} or null"
        super().__init__(f"{field}: {shortened(got)} is not supported, only {passing}", field=field)


class Superseded(InvalidRequest):
    """A field was given up by its API for another one, which we have."""

    def __init__(self, field: str, got: str, successor: str) -> None:
        super().__init__(
            f"{field}: {shortened(got)} is not supported, {successor} took its place", field=field
        )


class NoEmbeddings(InvalidRequest):
    """The model is asked for vectors."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"model: {shortened(model)!r} has no embeddings, it generates text", field="model"
        )


class ThreadUnsupported(InvalidRequest):
    """The client keeps its history in a thread of ours; told so, it resends all of it."""

    def __init__(self) -> None:
        super().__init__(
            "thread: not supported, send the whole conversation in messages", field="thread"
        )


class MalformedBody(InvalidRequest):
    """The body is not a JSON document."""

    def __init__(self, *, wanted: str, problem: str | None = None) -> None:
        super().__init__(f"the body must be {wanted}" + (f": {problem}" if problem else ""))


class BodyTooLarge(PayloadTooLarge):
    """The body has more bytes than its cap."""

    def __init__(self, size_bytes: int, cap_bytes: int) -> None:
        super().__init__(f"the body has {size_bytes} bytes, at most {cap_bytes} are allowed")


class BodyTooSlow(Rejected):
    """The body did not arrive in time."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"the body did not arrive within {deadline_s:g} seconds")


class UnsupportedMediaType(Rejected):
    """The body is not plain JSON."""

    def __init__(self, *, header: str, expected: str, got: str) -> None:
        super().__init__(f"{header}: expected {expected}, got {shortened(got)!r}")


class ForeignSite(AccessDenied):
    """The Host or the Origin is not one of this server's names."""

    def __init__(self, *, header: str, got: str) -> None:
        super().__init__(f"{header}: {shortened(got)!r} is not a name of this server")


class KeyRequired(Unauthenticated):
    """The request has no key, or none that we know."""

    def __init__(self) -> None:
        super().__init__("a known key is required, as x-api-key or as Authorization: Bearer")


class NoSuchPath(NotFound):
    """Nothing is served at this path."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"no such path: {method} {shortened(path)}")


class NoSuchResponse(NotFound):
    """No response of this principal's is kept under this id."""

    def __init__(self, response: str) -> None:
        super().__init__(f"no such response: {shortened(response)!r}")


class NoSuchItem(NotFound):
    """No response of this principal's is kept that has this item."""

    def __init__(self, item: str) -> None:
        super().__init__(f"no such item: {shortened(item)!r}")


class PreviousResponseNotFound(InvalidRequest):
    """There is no such response to go on from."""

    def __init__(self, response: str) -> None:
        super().__init__(
            f"previous_response_id: no such response: {shortened(response)!r}",
            field="previous_response_id",
        )


class NoSuchModel(NotFound):
    """Another model is served."""

    def __init__(self, asked: str, served: str) -> None:
        super().__init__(f"no such model: {shortened(asked)!r}, only {served!r}")


class MethodNotAllowed(Rejected):
    """The path exists, but not for this method."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not allowed here, only {', '.join(allowed)}")
        self.allowed = allowed
