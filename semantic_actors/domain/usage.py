"""Token counts of one answer."""

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """What an answer cost, in tokens. `cached_tokens` of `prompt_tokens` came from KV cache."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
