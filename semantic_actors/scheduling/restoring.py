"""Sequences whose beginning comes from the store instead of being computed.

One that is admitted so runs, holds its memory, and is fed no token until its rows have arrived and
are loaded. They come in fetches of a bounded size, the next one asked for while the last is loaded.
A fetch that brings less than it was asked for ends it: what is missing is computed.
"""

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from semantic_actors.engine.protocol import Load
from semantic_actors.kv.layout import Layout, Rows
from semantic_actors.scheduling.notices import FetchNotice
from semantic_actors.scheduling.sequence import Sequence

LEAST_TOKENS: Final = 32
"""Fewer are computed sooner than they are asked for."""

FETCH_BYTES: Final = 64 << 20
"""Read at a time, and held twice at most: one is loaded while the next is read."""

_FETCHES = itertools.count(1)


@dataclass(slots=True)
class Restoring:
    """Tokens up to `until` come from the store; those up to `asked` are on their way or here."""

    until: int
    asked: int
    fetch: int = 0
    arrived: deque[Rows] = field(default_factory=deque)


def begin(sequence: Sequence, until: int, row_bytes: int) -> FetchNotice:
    """Ask for the first rows."""
    sequence.restoring = Restoring(until, sequence.fed)
    return _ask(sequence, sequence.restoring, row_bytes)


def arrived(sequence: Sequence, rows: tuple[Rows, ...], layout: Layout) -> FetchNotice | None:
    """Take what the last fetch has brought, and ask for more."""
    restoring = sequence.restoring
    assert restoring is not None, sequence.id
    reached = restoring.arrived[-1].stop if restoring.arrived else sequence.planned
    for one in rows:
        if not one.start <= reached < one.stop or not layout.holds(one):
            break
        restoring.arrived.append(one)
        reached = one.stop
    if reached < restoring.asked:
        restoring.until = restoring.asked = min(restoring.until, reached)
    elif restoring.asked < restoring.until:
        return _ask(sequence, restoring, layout.row_bytes)
    return None


def load(sequence: Sequence) -> Load | None:
    """Plan to load what has arrived, if anything has."""
    restoring = sequence.restoring
    if restoring is None or not restoring.arrived or sequence.flights:
        return None
    rows = tuple(restoring.arrived)
    restoring.arrived.clear()
    return sequence.load(rows, min(rows[-1].stop, restoring.until))


def done(sequence: Sequence) -> bool:
    """Whether the rest of the sequence is to be fed; from then on it is like any other."""
    restoring = sequence.restoring
    if restoring is None or sequence.fed < restoring.until:
        return False
    sequence.restoring = None
    sequence.cached = sequence.fed
    return True


def _ask(sequence: Sequence, restoring: Restoring, row_bytes: int) -> FetchNotice:
    start = restoring.asked
    most = max(1, FETCH_BYTES // row_bytes)
    restoring.asked = min(restoring.until, start + most)
    restoring.fetch = next(_FETCHES)
    return FetchNotice(
        restoring.fetch,
        sequence.principal,
        tuple(sequence.tokens[: restoring.asked]),
        start,
        restoring.asked,
    )
