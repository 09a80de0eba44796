"""A miss of the prefix cache in the words of both APIs: an extra object inside `usage`.

It holds text of the client's own conversation, so it is for that client's answer only.
"""

from typing import Any

from semantic_actors.domain.usage import Usage


def diagnostics(usage: Usage) -> dict[str, Any]:
    """Return the field to be added to a usage object; none if nothing was missed."""
    miss = usage.miss
    if miss is None:
        return {}
    told: dict[str, Any] = {
        "kind": miss.kind,
        "part": miss.part,
        "position": miss.position,
        "tokens_lost": miss.tokens_lost,
    }
    if miss.kind == "changed":
        told |= {
            "text_before": miss.text_before,
            "text_was": miss.text_was,
            "text_now": miss.text_now,
        }
    return {"cache_diagnostics": told}
