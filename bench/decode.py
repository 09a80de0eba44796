"""Decode: the daemon over HTTP, against a bare loop and mlx-lm's BatchGenerator.

All on the same llamas with random float32 weights, in alternating rounds. The daemon is measured
over B streams, from some steps after all have their first token until one has its last; their
prompts were read before. Contexts are equal, or mixed: in geometric steps from the longest down to
32 tokens.

Run: just bench-decode
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.client import Heard, connected, steady_rate
from bench.models import SHAPES, Words, write
from bench.report import Gate, Row, arguments, finish, medians, show
from bench.servers import ROOT, Server, ours

SIDES: Final = ("daemon", "bare", "batch-generator")
SHORTEST: Final = 32
WARM_TOKENS: Final = 8
BARE_GATES: Final = {"30M": 0.95, "4M": 0.85}
EQUAL_GATE: Final = 0.95
MIXED_GATE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Cell:
    """Contexts that are decoded together."""

    lengths: tuple[int, ...]

    @property
    def mixed(self) -> bool:
        """Whether they differ."""
        return len(set(self.lengths)) > 1

    @property
    def name(self) -> str:
        """How the table calls it."""
        return f"{len(self.lengths):2} {'mixed' if self.mixed else 'equal'}"


Measure = Callable[[Cell], Row]
"""Tokens per second of one side, and BLAS threads where they were chosen for it."""


def daemon(server: Server, steps: int) -> Measure:
    """Measure ours; before a cell's first round its prompts are read and a few tokens drawn."""
    words = Words()
    warm: set[Cell] = set()

    async def streams(cell: Cell) -> Row:
        prompts = [words.text(n, f"{i}/{n}") for i, n in enumerate(cell.lengths)]
        async with connected(server) as client:

            async def together(tokens: int) -> list[Heard]:
                return await asyncio.gather(*(client.complete(text, tokens) for text in prompts))

            if cell not in warm:
                await together(WARM_TOKENS)
                warm.add(cell)
            heard = await together(steps + len(prompts))
        return {"tokens_per_s": steady_rate(heard)}

    return lambda cell: asyncio.run(streams(cell))


@contextlib.contextmanager
def loop(side: str, folder: Path, steps: int) -> Iterator[Measure]:
    """Start a process with one of the loops of `loops.py`."""
    command = [sys.executable, "-m", "bench.loops", side, str(folder)]
    with subprocess.Popen(  # noqa: S603 (our own program)
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def measure(cell: Cell) -> Row:
            print(json.dumps({"lengths": cell.lengths, "steps": steps}), file=stdin, flush=True)
            row: Row = json.loads(stdout.readline())
            return row

        yield measure


def measured(
    size: str, cells: list[Cell], options: Namespace, scratch: Path
) -> dict[str, list[Row]]:
    """Measure every cell on one model; the rounds of each by its name."""
    folder = write(scratch / size, size)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(ours(folder, scratch))
        sides = {"daemon": daemon(server, options.steps)}
        for side in SIDES[1:]:
            sides[side] = stack.enter_context(loop(side, folder, options.steps))
        turns = range(options.rounds)
        return {cell.name: [_round(sides, cell, turn) for turn in turns] for cell in cells}


def _round(sides: dict[str, Measure], cell: Cell, turn: int) -> Row:
    """Measure each side once; another one begins in each round."""
    order = [SIDES[(turn + i) % len(SIDES)] for i in range(len(SIDES))]
    rows = {side: sides[side](cell) for side in order}
    threads = {f"{side} threads": row["threads"] for side, row in rows.items() if "threads" in row}
    return {side: rows[side]["tokens_per_s"] for side in SIDES} | threads


def _table(cells: Mapping[str, Row]) -> dict[str, dict[str, float | str]]:
    def told(row: Row, side: str) -> str:
        threads = row.get(f"{side} threads")
        return f"{row[side]:.0f}" + ("" if threads is None else f" ({threads:.0f}t)")

    return {
        name: {side: told(row, side) for side in SIDES}
        | {f"daemon/{side}": row["daemon"] / row[side] for side in SIDES[1:]}
        for name, row in cells.items()
    }


def gates(size: str, cells: list[Cell], rows: Mapping[str, Row]) -> Iterator[Gate]:
    """Say what the daemon must reach on this model."""
    for cell in cells:
        row, at = rows[cell.name], f"{size}, batch {cell.name.strip()}: daemon /"
        if not cell.mixed and size in BARE_GATES:
            ratio = row["daemon"] / row["bare"]
            yield Gate(f"{at} bare", ratio, BARE_GATES[size], at_least=True)
        ratio = row["daemon"] / row["batch-generator"]
        bound = MIXED_GATE if cell.mixed else EQUAL_GATE
        yield Gate(f"{at} batch-generator", ratio, bound, at_least=True)


def _cells(options: Namespace) -> list[Cell]:
    cells = []
    for batch in options.batches:
        cells.append(Cell((options.equal,) * batch))
        if batch > 1:
            ratio = (SHORTEST / options.longest) ** (1 / (batch - 1))
            cells.append(Cell(tuple(round(options.longest * ratio**i) for i in range(batch))))
    return cells


def main() -> int:
    """Measure, print a table for each model, return the exit code."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["4M", "30M"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8, 16])
    parser.add_argument("--equal", type=int, default=512, help="tokens of each equal context")
    parser.add_argument("--longest", type=int, default=4096, help="tokens of the longest mixed one")
    parser.add_argument("--steps", type=int, default=64, help="tokens of each stream")
    options = parser.parse_args()
    cells = _cells(options)
    held: list[Gate] = []
    told: dict[str, dict[str, list[Row]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in options.models:
            told[size] = measured(size, cells, options, Path(name))
            rows = {cell: medians(rounds) for cell, rounds in told[size].items()}
            show(f"{size}, tokens/s at batch", _table(rows))
            held += gates(size, cells, rows)
    return finish(held, told, options.json)


if __name__ == "__main__":
    sys.exit(main())
