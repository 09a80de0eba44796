"""The house of the bundled model, without HTTP: the real engine, text and sessions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from semantic_actors.actors import ChildSpec, OwnThread, Supervisor
from semantic_actors.engine import Backend, EngineThread, pocket_path
from semantic_actors.scheduling import BatchLimits, Board, Scheduler
from semantic_actors.sessions import Directory, ModelCard
from semantic_actors.text import Codec

CONTEXT = 8_192


def _open() -> Backend:
    from semantic_actors.engine.mlx_backend import open_backend  # noqa: PLC0415 (BLAS comes first)

    return open_backend(str(pocket_path()), None, "auto", CONTEXT, None)


@asynccontextmanager
async def pocket_house(running: int = 16) -> AsyncIterator[Directory]:
    """Serve the bundled model inside this process, so many requests at once."""
    engine = EngineThread(_open, asyncio.get_running_loop())
    await engine.start()
    limits = BatchLimits(
        vocabulary=engine.info.vocabulary,
        context=CONTEXT,
        max_running=running,
        max_waiting=256,
        prefill_tokens=512,
    )
    board = Board()
    root = Supervisor(
        "root",
        [
            ChildSpec("scheduler", lambda: Scheduler(engine, limits, 2**28, board=board)),
            ChildSpec("sessions", lambda: Supervisor("sessions")),
        ],
    )
    with OwnThread("text") as text_thread:
        directory = Directory(
            spawn=lambda spec: root.branch("sessions").spawn(spec),
            statistics=root.statistics,
            scheduler=root.ref("scheduler"),
            codec=Codec.load(engine.info.folder),
            text_thread=text_thread,
            board=board,
            model=ModelCard("pocket", CONTEXT, 0),
        )
        house = asyncio.ensure_future(root.run())
        await root.started()
        try:
            yield directory
        finally:
            root.drain(asyncio.get_running_loop().time() + 5.0)
            await house
            await engine.stop(10.0)
