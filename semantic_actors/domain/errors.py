"""What can be refused or fail, in the reader's words.

Every error has one sentence that names the value and the bound. `Rejected` ones are answers: the
asker gets them, the actor that raised them lives on. The HTTP room maps each to a status and to
the shape of the API it came by.
"""


class SemanticActorsError(Exception):
    """Root of everything this package raises on purpose."""


class Rejected(SemanticActorsError):
    """A request that will not be served; the message is fit for the client."""


class InvalidRequest(Rejected):
    """A field is missing, of the wrong type or out of bounds."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class PromptTooLong(Rejected):
    """The prompt alone exceeds the context of the model."""

    def __init__(self, tokens: int, maximum: int) -> None:
        super().__init__(f"prompt is too long: {tokens} tokens > {maximum} maximum")
        self.tokens = tokens
        self.maximum = maximum


class NeverFits(Rejected):
    """The prompt's KV cache is larger than the whole pool.

    It begins with the words by which clients know to shorten the conversation.
    """

    def __init__(self, need_bytes: int, budget_bytes: int) -> None:
        super().__init__(
            f"prompt is too long: it needs {need_bytes} bytes of KV cache,"
            f" the pool holds {budget_bytes}"
        )


class Unavailable(Rejected):
    """The server cannot take this now; the same request may be sent again later."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """The bounded queue is full."""


class Draining(Unavailable):
    """The daemon is shutting down."""

    def __init__(self, retry_after_s: int = 5) -> None:
        super().__init__("the server is shutting down", retry_after_s=retry_after_s)


class NotFound(Rejected):
    """No such path, model or thing."""


class AccessDenied(Rejected):
    """The Host, Origin or key of the request is not allowed."""


class Unauthenticated(Rejected):
    """A key is required and none that we know was given."""


class PayloadTooLarge(Rejected):
    """The body exceeds the cap."""


class TurnFailed(SemanticActorsError):
    """An answer could not be finished; the reason is for the operator, not for the client."""


class ModelLoadFailed(SemanticActorsError):
    """The model folder or hub id cannot be served; the message says what to do."""


class ConfigurationError(SemanticActorsError):
    """A setting is unknown, of the wrong type or out of bounds; the message names it."""
