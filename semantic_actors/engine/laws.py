"""The law of plans, checked before anything is done, by every backend alike.

Pure: it sees lengths and floors only. A plan that passes can fail on a feed (`FeedFailed`), never
on its own words.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Protocol

from semantic_actors.domain.ids import CacheId
from semantic_actors.engine.faults import BrokenLaw
from semantic_actors.engine.protocol import Feed, Load, Plan, Start


class Held(Protocol):
    """A cache as far as the law is concerned."""

    @property
    def awaits(self) -> bool:
        """Whether its last feed drew a token, which can be fed next."""
        ...

    @property
    def length(self) -> int:
        """Tokens it holds."""
        ...

    @property
    def floor(self) -> int:
        """The shortest prefix it can be cut back to."""
        ...


def check(plan: Plan, held: Mapping[CacheId, Held], *, vocabulary: int, context: int) -> None:
    """Raise `BrokenLaw` unless the whole plan can be carried out on the caches held."""
    known = {
        cache: (held[cache].length, held[cache].floor) for cache in _named(plan) if cache in held
    }
    for export in plan.exports:
        _require(export.cache in known, f"export of unknown cache {export.cache}")
        length, _ = known[export.cache]
        _require(
            0 <= export.start < export.stop <= length,
            f"cache {export.cache} holds {length} tokens, not {export.start} to {export.stop}",
        )
    for cache in plan.drops:
        _require(cache in known, f"drop of unknown cache {cache}")
        del known[cache]
    for shrink in plan.shrinks:
        _require(shrink.cache in known, f"shrink of what is behind unknown cache {shrink.cache}")
    for start in plan.starts:
        _check_start(start, known)
    for load in plan.loads:
        _check_load(load, known, context)
    started = {start.cache for start in plan.starts}
    drawn = {cache for cache in known if cache not in started and held[cache].awaits}
    _check_feeds(plan.feeds, known, drawn, vocabulary=vocabulary, context=context)


def _named(plan: Plan) -> Iterator[CacheId]:
    """Yield the caches a plan is about: the others, idle ones mostly, cost nothing."""
    yield from (export.cache for export in plan.exports)
    yield from plan.drops
    yield from (load.cache for load in plan.loads)
    yield from (shrink.cache for shrink in plan.shrinks)
    for start in plan.starts:
        yield start.cache
        if start.source is not None:
            yield start.source
    yield from (feed.cache for feed in plan.feeds)


def _check_start(start: Start, known: dict[CacheId, tuple[int, int]]) -> None:
    _require(start.cache not in known, f"start of cache {start.cache}, which is already held")
    if start.source is None:
        _require(start.keep == 0, f"an empty cache cannot keep {start.keep} tokens")
        known[start.cache] = (0, 0)
        return
    _require(start.source in known, f"start from unknown cache {start.source}")
    length, floor = known[start.source]
    _require(
        floor <= start.keep <= length,
        f"cache {start.source} can keep {floor} to {length} tokens, not {start.keep}",
    )
    if start.take:
        del known[start.source]
    known[start.cache] = (start.keep, floor if start.keep else 0)


def _check_load(load: Load, known: dict[CacheId, tuple[int, int]], context: int) -> None:
    _require(load.cache in known, f"load of unknown cache {load.cache}")
    length, _ = known.pop(load.cache)  # nothing else may be done with it in this step
    _require(
        load.position == length,
        f"cache {load.cache} holds {length} tokens, the load is for position {load.position}",
    )
    _require(
        load.position < load.stop <= context,
        f"cache {load.cache} would hold {load.stop} tokens, {length} to {context} are allowed",
    )
    reached = load.position
    for rows in load.rows:
        _require(
            rows.start <= reached < rows.stop,
            f"rows {rows.start} to {rows.stop} cannot be appended to {reached} tokens",
        )
        reached = rows.stop
    _require(reached >= load.stop, f"the rows end at {reached}, {load.stop} are asked for")


def _check_feeds(
    feeds: Sequence[Feed],
    known: Mapping[CacheId, tuple[int, int]],
    drawn: Container[CacheId],
    *,
    vocabulary: int,
    context: int,
) -> None:
    fed: set[CacheId] = set()
    for feed in feeds:
        _require(feed.cache in known, f"feed of unknown cache {feed.cache}")
        _require(feed.cache not in fed, f"two feeds of cache {feed.cache} in one step")
        fed.add(feed.cache)
        length, _ = known[feed.cache]
        _require(
            feed.position == length,
            f"cache {feed.cache} holds {length} tokens, the feed is for position {feed.position}",
        )
        _require(
            length + feed.count <= context,
            f"cache {feed.cache} would hold {length + feed.count} tokens > {context}",
        )
        _require(
            feed.sampling is not None or (feed.history is None and feed.constraint is None),
            f"cache {feed.cache} draws nothing that a history or a constraint could be for",
        )
        if not feed.tokens:
            _require(feed.cache in drawn, f"cache {feed.cache} has drawn no token to feed")
            continue
        low, high = min(feed.tokens), max(feed.tokens)
        _require(
            low >= 0 and high < vocabulary,
            f"token {low if low < 0 else high} is not in the vocabulary of {vocabulary}",
        )


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 (reads as an assertion)
    if not holds:
        raise BrokenLaw(otherwise)
