"""A page of a list of items, as OpenAI's lists are paged."""

from collections.abc import Mapping
from typing import Final

from semantic_actors.api.fields import JsonObject, page_limit
from semantic_actors.api.refusals import FieldRefused, NoSuchItem

DEFAULT_ITEMS: Final = 20
"""Items of a page when no `limit` is given; OpenAI's own, as is the bound."""

MAX_ITEMS: Final = 100


def page(items: list[JsonObject], query: Mapping[str, str]) -> JsonObject:
    """Return the page that `limit`, `order` and `after` ask for. Raises a `Rejected`."""
    limit = page_limit(query, DEFAULT_ITEMS, MAX_ITEMS)
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise FieldRefused(field="order", expected="one of 'asc', 'desc'", got=order)
    listed = items if order == "asc" else items[::-1]
    after = query.get("after")
    if after is not None:
        places = [place for place, item in enumerate(listed, start=1) if item["id"] == after]
        if not places:
            raise NoSuchItem(after)
        listed = listed[places[0] :]
    shown = listed[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else "",
        "last_id": shown[-1]["id"] if shown else "",
        "has_more": len(listed) > limit,
    }
