"""Sessions that have left RAM and come back: first tokens, and what each of them cost.

One session for each size, which goes on by a turn each time it is asked. It is asked when nothing
of it is known (cold, once: what is then saved is what comes back later); after the daemon was
restarted; after others have pushed it out of RAM; and right after that, when it is hot. Counters of
the daemon say whether tokens came from RAM, from the disk, or were read: what turns out to be
anything else than it is called is an error.
"""

import asyncio
import math
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.client import Client, connected
from bench.models import SHAPES, Words, write
from bench.report import Row
from bench.servers import Server, ours
from bench.shelf import forget_pages, opened
from bench.stall import Fresh, fresh_texts

ASKED: Final = 24
"""New tokens of each turn after the first."""

ANSWERED: Final = 8

STRANGER: Final = 256
"""Tokens of a prompt that is nobody's; with its reservation 1,536 rows are set aside for it."""

STRANGER_ROWS: Final = 1_536

SETTLED_S: Final = 0.25
"""So long all must have been on disk for it to stay so."""

LOOK_S: Final = 0.01


class Talk:
    """A session and all that was said in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""

    async def turn(self, client: Client, new: str, origin: str) -> float:
        """Go on, and return the seconds to the first token; see that most comes from `origin`."""
        before = await client.counters()
        had = self.text.count(" ")
        heard = await client.complete(self.text + new, ANSWERED, session=self.name)
        after = await client.counters()
        self.text += new + heard.text
        grown = {key: after[key] - before[key] for key in _TOTALS}
        fed = grown["tokens_fed_total"] - ANSWERED + 1
        disk = grown["tokens_restored_total"]
        found = {"disk": disk, "RAM": grown["tokens_cached_total"] - disk, "prompt": fed}
        if max(found, key=found.__getitem__) != origin or fed > new.count(" ") + 2:
            message = f"{self.name} had {had} tokens, which came from {found}, not from {origin}"
            raise RuntimeError(message)
        return heard.first_s


_TOTALS: Final = ("tokens_fed_total", "tokens_cached_total", "tokens_restored_total")


class Scene:
    """A model, a state directory, and RAM for exactly so many strangers."""

    def __init__(self, size: str, options: Namespace, scratch: Path) -> None:
        self.options = options
        self.talks = {tokens: Talk(f"{size}, {tokens}") for tokens in sorted(options.sizes)}
        self.state = scratch / f"{size}.state"
        grown = max(self.talks) + (3 * options.rounds + 1) * (ASKED + ANSWERED)
        self.strangers = math.ceil((grown + STRANGER_ROWS) / STRANGER_ROWS)
        budget = self.strangers * STRANGER_ROWS * SHAPES[size].row_bytes
        config = scratch / f"{size}.toml"
        config.write_text(f"[scheduler]\nmax_running = {self.strangers}\n")
        self._folder = write(scratch / size, size)
        self._scratch = scratch
        flags = {"--config": config, "--state-dir": self.state, "--ram-budget": f"{budget}B"}
        self._flags = [str(word) for flag in flags.items() for word in flag]

    @contextmanager
    def served(self) -> Iterator[Server]:
        """Serve; at the end all that can be is on disk."""
        with ours(self._folder, self._scratch, *self._flags) as server:
            yield server

    def disturb(self) -> None:
        """Have the disk read the next time, if that is wanted."""
        if self.options.cold_disk:
            forget_pages(self.state)

    async def push_out(self, client: Client, fresh: Fresh) -> None:
        """Let strangers take all the RAM there is, until nothing of a session is left there."""
        await settled(client)
        async with client.talking(*(fresh(STRANGER) for _ in range(self.strangers))) as heard:
            await asyncio.gather(*(stream.began.wait() for stream in heard))
        await settled(client)


async def settled(client: Client) -> float:
    """Wait until nothing runs and all that is to be kept is on disk; the instant it was so."""
    since = None
    while since is None or time.perf_counter() < since + SETTLED_S:
        counters = await client.counters()
        if any(counters[name] for name in _UNSETTLED):
            since = None
        elif since is None:
            since = time.perf_counter()
        await asyncio.sleep(LOOK_S)
    return since


_UNSETTLED: Final = (
    "running",
    "waiting",
    "dirty_bytes",
    "store_dirty_bytes",
    "store_saves_waiting",
)


def resumed(size: str, options: Namespace, scratch: Path) -> dict[int, tuple[Row, list[Row]]]:
    """Measure one model: for each size what is measured once, and the rounds of the rest."""
    scene = Scene(size, options, scratch)
    with scene.served() as server:
        once = asyncio.run(begin(scene, server))
    rounds = [_round(scene, f"{turn}") for turn in range(options.rounds)]
    return {tokens: (once[tokens], [one[tokens] for one in rounds]) for tokens in scene.talks}


async def begin(scene: Scene, server: Server) -> dict[int, Row]:
    """Have every session read for the first time, and saved."""
    fresh, rows = fresh_texts("cold"), dict[int, Row]()
    async with connected(server) as client:
        await client.complete(fresh(ASKED), ANSWERED)
        for tokens, talk in scene.talks.items():
            cold = await talk.turn(client, fresh(tokens), "prompt")
            answered = time.perf_counter()
            rows[tokens] = {"cold": cold, "saved": await settled(client) - answered}
        lost = (await client.counters())["tokens_lost_total"]
    if lost:
        message = f"{lost} tokens had to leave RAM before they were on disk"
        raise RuntimeError(message)
    return rows


def _round(scene: Scene, salt: str) -> dict[int, Row]:
    words, limits = Words(), {}
    scene.disturb()
    with opened(scene.state) as shelf:
        for tokens, talk in scene.talks.items():
            path = words.ids(talk.text)
            limits[tokens] = {
                "KV, MB": shelf.kept(path) * shelf.layout.row_bytes / 1e6,
                "read, verified": shelf.read_s(path),
            }
    with scene.served() as server:
        rows = asyncio.run(_warm(scene, server, salt))
    return {tokens: {**rows[tokens], **limits[tokens]} for tokens in scene.talks}


async def _warm(scene: Scene, server: Server, salt: str) -> dict[int, dict[str, float]]:
    fresh = fresh_texts(salt)
    rows: dict[int, dict[str, float]] = {tokens: {} for tokens in scene.talks}
    async with connected(server) as client:
        first = (await client.complete(fresh(ASKED), ANSWERED)).first_s
        for tokens, talk in scene.talks.items():
            scene.disturb()
            rows[tokens]["a stranger"] = first
            rows[tokens]["restarted"] = await talk.turn(client, fresh(ASKED), "disk")
        await scene.push_out(client, fresh)
        for tokens, talk in scene.talks.items():
            scene.disturb()
            rows[tokens]["pushed out"] = await talk.turn(client, fresh(ASKED), "disk")
            rows[tokens]["hot"] = await talk.turn(client, fresh(ASKED), "RAM")
        await settled(client)
    return rows
