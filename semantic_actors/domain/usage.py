"""Token counts of one answer, and why they are no better."""

from typing import Literal

import msgspec

MissKind = Literal["changed", "gone"]
"""`changed`: the prompt is not what the session had so far; `gone`: no cache holds it any more."""


class Miss(msgspec.Struct, frozen=True):
    """Tokens that a session had computed before and that are computed again.

    `position` is the first token that was not found: where the prompt diverges, or where what is
    cached ends. `part` says what changed; it has no content of the client's. The texts do: they
    are for that client and for the operator who asks, never for the log.
    """

    kind: MissKind
    part: str
    position: int
    tokens_lost: int
    text_before: str = ""
    text_was: str = ""
    text_now: str = ""


class Usage(msgspec.Struct, frozen=True):
    """What an answer cost, in tokens. `cached_tokens` of `prompt_tokens` came from KV cache.

    `miss` says why they were not more, if they should have been. `thinking_tokens` of
    `completion_tokens` were drawn until the last thought had ended.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    miss: Miss | None = None
    thinking_tokens: int = 0
