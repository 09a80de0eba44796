"""A batch driven by hand, with the deterministic fake engine.

The fake draws a hash of every token it holds: one wrong, missing or doubled token anywhere in a
cache changes everything after it.
"""

import random
import struct
from collections import deque
from dataclasses import dataclass, field

import pytest

from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import LOCAL, Principal, SequenceId, TokenIds
from semantic_actors.domain.request import Sampling
from semantic_actors.engine import FakeBackend, Footprint, hashed_token
from semantic_actors.engine.fake import allowed_token
from semantic_actors.engine.protocol import Collect
from semantic_actors.kv import Pool
from semantic_actors.kv.blocks import BLOCK_TOKENS
from semantic_actors.kv.layout import Rows
from semantic_actors.scheduling.batch import Batch, BatchLimits
from semantic_actors.scheduling.notices import (
    AdmittedNotice,
    FailedNotice,
    FetchNotice,
    Notice,
    SaveNotice,
    TokenNotice,
)
from semantic_actors.scheduling.sequence import Sequence

VOCABULARY = 50
FOOTPRINT = Footprint(fixed_bytes=10, bytes_per_token=1, granularity=16)
STOP = frozenset({7})


def sequence(
    id_: int,
    tokens: TokenIds,
    *,
    max_tokens: int = 8,
    principal: Principal = LOCAL,
    stop_ids: frozenset[int] = STOP,
    grammar: Grammar | None = None,
) -> Sequence:
    """Make a submission."""
    return Sequence(
        id=SequenceId(id_),
        principal=principal,
        tokens=list(tokens),
        prompt_tokens=len(tokens),
        max_tokens=max_tokens,
        stop_ids=stop_ids,
        sampling=Sampling(seed=id_),
        grammar=grammar,
    )


def expected(
    tokens: TokenIds,
    max_tokens: int,
    seed: int,
    stop_ids: frozenset[int] = STOP,
    grammar: Grammar | None = None,
) -> TokenIds:
    """What the sequence generates if every token reaches the engine exactly once."""
    answer: TokenIds = ()
    while len(answer) < max_tokens and (not answer or answer[-1] not in stop_ids):
        mask = None if grammar is None else grammar.begin(answer).mask()
        token = hashed_token(tokens + answer, VOCABULARY, Sampling(seed=seed))
        answer += (allowed_token(mask, token),)
    return answer


@dataclass
class Rig:
    """A batch and a fake engine, run by hand."""

    pool_bytes: int = 10_000
    context: int = 400
    max_running: int = 4
    max_waiting: int = 1_000
    prefill_tokens: int = 16
    cuttable: bool = True
    window: int | None = None
    answers: dict[SequenceId, list[int]] = field(default_factory=dict)
    finishes: dict[SequenceId, str] = field(default_factory=dict)
    cached: dict[SequenceId, int] = field(default_factory=dict)
    failed: list[FailedNotice] = field(default_factory=list)
    under_way: deque[Collect] = field(default_factory=deque)
    ahead: int = 0
    shelf: "Shelf | None" = None
    dirty_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        limits = BatchLimits(
            vocabulary=VOCABULARY,
            context=self.context,
            max_running=self.max_running,
            max_waiting=self.max_waiting,
            prefill_tokens=self.prefill_tokens,
            dirty_bytes=self.dirty_bytes,
        )
        self.backend = FakeBackend(
            vocabulary=VOCABULARY,
            context=self.context,
            footprint=FOOTPRINT,
            cuttable=self.cuttable,
            window=self.window,
        )
        layout = self.backend.info.layout if self.shelf is not None else None
        pool = Pool(self.pool_bytes, share=self.backend.info.footprint.share)
        self.batch = Batch(pool, self.backend.info.footprint, limits, layout)

    def submit(self, sequence: Sequence) -> None:
        """Submit, and say what is on the shelf."""
        if self.shelf is not None:
            sequence.stored = self.shelf.look_up(sequence.principal, tuple(sequence.tokens))
        self.batch.submit(sequence)

    def step(self, *, between: SequenceId | None = None) -> bool:
        """End one step, with the next under way if it can be; False if there was none.

        `between` is aborted before the end.
        """
        notices: list[Notice] = []
        while self.batch.ready:
            plan, more = self.batch.next_plan()
            notices += more
            if plan is None and not more:
                break
            if plan is None:
                continue
            self.ahead = max(self.ahead, len(self.under_way))
            self.under_way.append(self.backend.launch(plan))
        ran = bool(self.under_way)
        if ran:
            if between is not None:
                self.batch.abort(between)
            notices += self.batch.apply(self.under_way.popleft()())
        self.batch.check_integrity()
        ran |= self._serve(notices)
        for notice in notices:
            self._hear(notice)
        return ran

    def finish(self) -> None:
        """Run until nothing is left to do."""
        for _ in range(20_000):
            if not self.step():
                return
        pytest.fail("the batch does not come to rest")

    def _hear(self, notice: Notice) -> None:
        match notice:
            case AdmittedNotice():
                self.cached.setdefault(notice.sequence, notice.cached)
            case TokenNotice():
                if notice.token is not None:
                    self.answers.setdefault(notice.sequence, []).append(notice.token)
                if notice.finish:
                    self.finishes[notice.sequence] = notice.finish
            case FailedNotice():
                self.failed.append(notice)
            case _:
                pass

    def _serve(self, notices: list[Notice]) -> bool:
        """Hand the shelf its requests, and take what it has ready; True if it was asked or gave."""
        if self.shelf is None:
            return False
        asked = [one for one in notices if isinstance(one, FetchNotice | SaveNotice)]
        self.shelf.asked += asked
        given = False
        for notice in self.shelf.ready():
            given = True
            if isinstance(notice, SaveNotice):
                self.batch.keeping.saved(notice.save, kept=self.shelf.save(notice))
            else:
                rows = self.shelf.fetch(notice)
                more = self.batch.restorer.arrived(notice.fetch, rows)
                notices += more
                self.shelf.asked += [one for one in more if isinstance(one, FetchNotice)]
        return bool(asked) or given or bool(self.shelf.asked)


@dataclass
class Shelf:
    """A store in memory: rows by principal and path; `rng` decides when, and what fails."""

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    failing: float = 0.0
    slow: float = 0.0
    rows: dict[tuple[Principal, TokenIds], int] = field(default_factory=dict)
    asked: list[FetchNotice | SaveNotice] = field(default_factory=list)
    fetched: int = 0

    def look_up(self, principal: Principal, tokens: TokenIds) -> int:
        """Count the leading tokens that are on the shelf."""
        count = 0
        while count < len(tokens) and (principal, tokens[: count + 1]) in self.rows:
            count += 1
        return count

    def ready(self) -> list[FetchNotice | SaveNotice]:
        """Take the requests that are served now."""
        served = [one for one in self.asked if self.rng.random() >= self.slow]
        self.asked = [one for one in self.asked if one not in served]
        return served

    def save(self, notice: SaveNotice) -> bool:
        """Keep the rows, each with the token that its bytes stand for."""
        if self.rng.random() < self.failing:
            return False
        for one in notice.rows:
            tokens = struct.unpack(f"<{one.stop - one.start}I", one.data)
            for place, token in enumerate(tokens, one.start + 1):
                self.rows[notice.principal, notice.tokens[:place]] = token
        return True

    def fetch(self, notice: FetchNotice) -> tuple[Rows, ...]:
        """Give the rows in whole blocks; where it fails too few, or odd ones."""
        first = notice.start - notice.start % BLOCK_TOKENS
        blocks = []
        for start in range(first, notice.stop, BLOCK_TOKENS):
            stop = min(start + BLOCK_TOKENS, notice.stop)
            paths = [(notice.principal, notice.tokens[: place + 1]) for place in range(start, stop)]
            data = struct.pack(f"<{stop - start}I", *(self.rows[path] for path in paths))
            blocks.append(Rows(start, stop, data))
        if self.rng.random() < self.failing:
            last = blocks[-1]
            odd = Rows(last.start, last.stop, last.data[:-4])
            blocks = self.rng.choice([[], blocks[:-1], [*blocks[:-1], odd], blocks[1:]])
        self.fetched += sum(one.stop - one.start for one in blocks)
        return tuple(blocks)
