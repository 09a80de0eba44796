"""Sequences whose beginning comes from the store instead of being computed.

One that is admitted so runs, holds its memory, and is fed no token until its rows have arrived and
are loaded. They come in fetches of a bounded size, the next one asked for while the last is loaded.
A fetch that brings less than it was asked for ends it: what is missing is computed.
"""

import itertools
from collections import deque
from collections.abc import Sequence as Sequences
from dataclasses import dataclass, field
from typing import Final

from semantic_actors.engine.protocol import Fed, Load
from semantic_actors.kv.layout import Layout, Rows
from semantic_actors.scheduling.housing import Housing
from semantic_actors.scheduling.notices import AdmittedNotice, FetchNotice
from semantic_actors.scheduling.sequence import Sequence

FETCH_BYTES: Final = 64 << 20
"""Read at a time, and held twice at most: one is loaded while the next is read. Each
costs a step: in fetches of 4 MiB a restore of 150 MB took 1.6 times as long."""

_FETCHES = itertools.count(1)

News = list[FetchNotice | AdmittedNotice]


@dataclass(slots=True)
class Restoring:
    """Tokens up to `until` come from the store; those up to `asked` are on their way or here."""

    until: int
    asked: int
    fetch: int = 0
    arrived: deque[Rows] = field(default_factory=deque)


class Restorer:
    """Asks for rows, and plans to load them; the state of each sequence is its own.

    `running` is the batch's own list. `restored_total` counts the tokens loaded.
    """

    def __init__(
        self, running: Sequences[Sequence], housing: Housing, layout: Layout | None
    ) -> None:
        self.restored_total = 0
        self._running = running
        self._housing = housing
        self._layout = layout

    def begin(self, sequence: Sequence, until: int) -> FetchNotice:
        """Ask for the first rows."""
        sequence.restoring = Restoring(until, sequence.fed)
        return self._ask(sequence, sequence.restoring)

    def arrived(self, fetch: int, rows: tuple[Rows, ...]) -> News:
        """Take what a fetch has brought, and ask for more; what comes too late is ignored."""
        for sequence in self._running:
            restoring = sequence.restoring
            if restoring is not None and restoring.fetch == fetch and not sequence.leaving:
                more = self._take(sequence, restoring, rows)
                return [*more, *self._done(sequence)]
        return []

    def lost(self) -> News:
        """Wait no more for what was asked of a store that is gone."""
        asked = [one.restoring.fetch for one in self._running if one.restoring]
        return [notice for fetch in asked for notice in self.arrived(fetch, ())]

    def loads(self) -> list[tuple[Sequence, Load]]:
        """Plan to load what has arrived."""
        planned = []
        for sequence in self._running:
            restoring = sequence.restoring
            if restoring is not None and restoring.arrived and not sequence.flights:
                rows = tuple(restoring.arrived)
                restoring.arrived.clear()
                load = sequence.load(rows, min(rows[-1].stop, restoring.until))
                planned.append((sequence, load))
        return planned

    def loaded(self, sequence: Sequence, load: Load, result: Fed) -> News:
        """Record what was loaded; the last of it lets the sequence go on by itself."""
        sequence.flights -= 1
        sequence.fed = load.stop
        self._housing.grow(result, tuple(sequence.tokens[load.position : load.stop]))
        self._housing.pool[result.cache].saved = load.stop
        self.restored_total += load.stop - load.position
        return self._done(sequence)

    def _take(self, sequence: Sequence, restoring: Restoring, rows: tuple[Rows, ...]) -> News:
        assert self._layout is not None, "rows of no layout"
        reached = restoring.arrived[-1].stop if restoring.arrived else sequence.planned
        for one in rows:
            if not one.start <= reached < one.stop or not self._layout.holds(one):
                break
            restoring.arrived.append(one)
            reached = one.stop
        if reached < restoring.asked:
            restoring.until = restoring.asked = min(restoring.until, reached)
        elif restoring.asked < restoring.until:
            return [self._ask(sequence, restoring)]
        return []

    def _done(self, sequence: Sequence) -> News:
        restoring = sequence.restoring
        if restoring is None or sequence.leaving or sequence.fed < restoring.until:
            return []
        sequence.restoring = None
        sequence.cached = sequence.fed
        return [AdmittedNotice(sequence.id, sequence.cached)]

    def _ask(self, sequence: Sequence, restoring: Restoring) -> FetchNotice:
        assert self._layout is not None, "rows of no layout"
        start = restoring.asked
        most = max(1, FETCH_BYTES // self._layout.row_bytes)
        restoring.asked = min(restoring.until, start + most)
        restoring.fetch = next(_FETCHES)
        path = tuple(sequence.tokens[: restoring.asked])
        return FetchNotice(restoring.fetch, sequence.principal, path, start, restoring.asked)
