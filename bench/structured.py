"""What a schema costs the first token of an answer, once its grammar is compiled.

Pairs of requests to the bundled model that differ in nothing but their `response_format`, in turns
first and second. Each asks what nobody has asked before, so every prompt is read whole.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.client import Client, connected
from bench.report import Gate, Row, arguments, finish, show
from bench.servers import Server
from tests.e2e.daemon import started

PAIRS: Final = 60
WORDS: Final = 150
TOKENS: Final = 4
MOST: Final = 1.2

SCHEMA: Final = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 80},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "kind": {"enum": ["question", "order", "other"]},
        "about": {
            "type": "object",
            "properties": {"who": {"type": "string"}, "when": {"type": "string"}},
            "required": ["who", "when"],
            "additionalProperties": False,
        },
    },
    "required": ["title", "tags", "score", "kind", "about"],
    "additionalProperties": False,
}
FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "note", "schema": SCHEMA}}
SIDES: Final[dict[str, dict[str, Any]]] = {"free": {}, "schema": {"response_format": FORMAT}}


async def first_ms(client: Client, number: int, side: str) -> float:
    """Return the milliseconds to the first token of an answer."""
    name = "AB"[list(SIDES).index(side)]  # prompts of one length that have no beginning in common
    words = " ".join(f"{name} {number} word {n}" for n in range(WORDS // 4))
    heard = await client.chat([{"role": "user", "content": words}], TOKENS, **SIDES[side])
    return 1e3 * heard.first_s


async def pairs(server: Server, count: int) -> list[Row]:
    """Measure so many pairs; what comes first in one is second in the next."""
    rows = []
    async with connected(server) as client:
        for number in range(-4, count):
            order = list(SIDES) if number % 2 else list(SIDES)[::-1]
            row = {side: await first_ms(client, number, side) for side in order}
            if number >= 0:
                rows.append({**row, "ratio": row["schema"] / row["free"]})
    return rows


def main() -> int:
    """Measure, print a table, return the exit code."""
    options = arguments(__doc__, rounds=PAIRS).parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        started(Path(name, "log"), "--state-dir", name) as daemon,
    ):
        rows = asyncio.run(pairs(Server(daemon.url, "pocket"), options.rounds))
    middle = {key: statistics.median(row[key] for row in rows) for key in ("free", "schema")}
    ratio = statistics.median(row["ratio"] for row in rows)
    show("first token, ms", {side: {"median": value} for side, value in middle.items()})
    show("schema / free", {"in pairs": {"median": ratio}})
    return finish([Gate("first token with a known schema", ratio, MOST)], rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
