"""Restore: a session's first token when it comes back from disk, and what all that costs.

*Time*, over HTTP, as a client hears it, for sessions of several sizes: cold (all of the prompt is
read), hot (the session is in RAM), pushed out of RAM by others, and after a restart of the daemon.
The *limit* is measured in the same rounds on the same files: reading and verifying them, one after
the other, and the hot turn, which is what is left to compute. A daemon that has just started
answers a stranger first; that first request is told below the table. *Saved* is from the end of the
cold answer until all of it is on disk. Files are in the system's page cache, as after a restart of
the daemon; with `--cold-disk` they are dropped from it before each measure (what lies below, a host
or a controller, may have a cache of its own).

*Written*: bytes that go to the disk for each byte kept (`written.py`). *Moving*: what others feel
while a gigabyte is saved and restored (`moving.py`).

Run: just bench-restore
"""

import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench import moving, resuming, written
from bench.models import SHAPES
from bench.report import Gate, Row, arguments, finish, medians, show

SIZES: Final = (1_024, 2_048, 4_096, 8_192, 16_384)
STATES: Final = ("restarted", "pushed out")
TIMES: Final = ("cold", "saved", "hot", *STATES, "read, verified")
LIMIT_GATE: Final = 1.5
COLD_GATE: Final = 0.05
COLD_GATED: Final = ("30M", 8_192)
"""Model, and tokens from which on a restore must take so little of a cold start's time."""


def table(rows: Mapping[int, Row]) -> dict[str, dict[str, float | str]]:
    """Put the medians side by side, in milliseconds."""
    shown: dict[str, dict[str, float | str]] = {}
    for tokens, row in rows.items():
        limit = row["read, verified"] + row["hot"]
        told = {name: 1e3 * row[name] for name in TIMES}
        ratios = {f"{state} / limit": row[state] / limit for state in STATES}
        shown[f"{tokens} tokens"] = {
            "KV, MB": row["KV, MB"],
            **told,
            "limit": 1e3 * limit,
            **ratios,
            "/ cold": f"{max(row[state] for state in STATES) / row['cold']:.1%}",
        }
    return shown


def gates(size: str, rows: Mapping[int, Row]) -> Iterator[Gate]:
    """Say what the medians must reach."""
    for tokens, row in rows.items():
        limit = row["read, verified"] + row["hot"]
        for state in STATES:
            name = f"{size}, {tokens} tokens, {state}"
            yield Gate(f"{name}: times the limit", row[state] / limit, LIMIT_GATE)
            if size == COLD_GATED[0] and tokens >= COLD_GATED[1]:
                yield Gate(f"{name}: share of cold", row[state] / row["cold"], COLD_GATE)


def timed(options: Namespace, scratch: Path) -> tuple[list[Gate], Any]:
    """Measure first tokens."""
    held: list[Gate] = []
    told = {}
    pages = "files read from disk" if options.cold_disk else "files in the page cache"
    for size in options.models:
        told[size] = found = resuming.resumed(size, options, scratch)
        rows = {tokens: {**once, **medians(some)} for tokens, (once, some) in found.items()}
        show(f"{size}, ms; {pages}", table(rows))
        stranger = next(iter(rows.values()))["a stranger"]
        print(f"first request after a start, of a stranger: {1e3 * stranger:.0f} ms")
        held += gates(size, rows)
    return held, told


def kept_on_disk(options: Namespace, scratch: Path) -> tuple[list[Gate], Any]:
    """Measure what a conversation costs the disk."""
    rows = written.written(options, scratch)
    title = f"{options.models[0]}, {written.TURNS} turns"
    show(title, {f"{tokens} tokens a turn": row for tokens, row in rows.items()})
    return list(written.gates(rows)), rows


def moved(options: Namespace, scratch: Path) -> tuple[list[Gate], Any]:
    """Measure what others feel of it."""
    rows = moving.moving(options, scratch)
    for title, part in moving.tables(rows):
        show(title, part)
    return list(moving.gates(rows)), rows


PARTS: Final = {"time": timed, "written": kept_on_disk, "moving": moved}


def main() -> int:
    """Measure, print a table for each part, return the exit code."""
    parser = arguments(__doc__, rounds=3)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--models", nargs="+", choices=SHAPES, default=["30M"])
    add("--sizes", nargs="+", type=int, default=SIZES, help="tokens of a session")
    add("--cold-disk", action="store_true", help="drop files from the page cache before measuring")
    add("--gigabytes", type=float, default=1.0, help="to be saved, and to be restored")
    options = parser.parse_args()
    if options.cold_disk and not hasattr(os, "posix_fadvise"):
        parser.error("this system cannot be asked to drop files from its page cache")
    held: list[Gate] = []
    told = {}
    with tempfile.TemporaryDirectory() as name:
        for part in options.parts:
            found, told[part] = PARTS[part](options, Path(name))
            held += found
    return finish(held, told, options.json)


if __name__ == "__main__":
    sys.exit(main())
