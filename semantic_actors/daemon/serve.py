"""`semantic-actors serve`: from settings to a house that answers, and back to nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from semantic_actors.actors import RestartIntensityExceeded
from semantic_actors.api import Access
from semantic_actors.daemon.drain import drain
from semantic_actors.daemon.keys import read_keys
from semantic_actors.daemon.port import refusal
from semantic_actors.daemon.settings import Settings, size_bytes
from semantic_actors.daemon.signals import Signals
from semantic_actors.daemon.tree import Address, House
from semantic_actors.domain.errors import SemanticActorsError
from semantic_actors.engine import EXIT_STUCK, Backend, EngineThread, Watchdog, pocket_path
from semantic_actors.scheduling import BatchLimits
from semantic_actors.sessions import ModelCard
from semantic_actors.text import Codec

ENGINE_STOP_S = 5.0
"""Seconds the engine thread has to leave."""

BEAT_S = 1.0
"""Seconds between two beats of the event loop for the watchdog."""

FAILED = 1

log = structlog.get_logger(__name__)


class CannotListen(SemanticActorsError):
    """The address is taken, or not this machine's."""


def open_model(settings: Settings) -> Backend:
    """Load the configured model on the calling thread, which becomes the engine's."""
    from semantic_actors.engine.mlx_backend import open_backend  # noqa: PLC0415 (BLAS comes first)

    model = settings.model
    path = model.path or str(pocket_path())
    return open_backend(path, model.adapter or None, model.weights, model.context or None)


def model_name(settings: Settings) -> str:
    """Name clients see: the hub id, or the folder's last part, never a path of this machine."""
    if not settings.model.path:
        return "pocket"
    path = Path(settings.model.path).expanduser()
    return path.resolve().name if path.is_dir() else settings.model.path


async def serve(settings: Settings) -> int:
    """Run until told to leave; returns the exit code. Raises what refuses to start."""
    access = _access(settings)
    signals = Signals()
    signals.install()
    async with _engine(lambda: open_model(settings), settings) as engine:
        with ThreadPoolExecutor(1, thread_name_prefix="text") as text_thread:
            loop = asyncio.get_running_loop()
            codec = await loop.run_in_executor(text_thread, Codec.load, engine.info.folder)
            house = _house(settings, engine, codec, text_thread, access)
            return await _live(house, settings, signals)


def _access(settings: Settings) -> Access:
    """Who may talk to us; refuses an open door before anything is loaded."""
    server = settings.server
    keys = read_keys(Path(server.keys_file)) if server.keys_file else {}
    access = Access(hosts=frozenset(server.allowed_hosts), keys=keys)
    access.check_bind(server.host)
    if refused := refusal(server.host, server.port):
        message = f"cannot listen on {server.host}:{server.port}: {refused}"
        raise CannotListen(message)
    return access


def _house(
    settings: Settings,
    engine: EngineThread,
    codec: Codec,
    text_thread: ThreadPoolExecutor,
    access: Access,
) -> House:
    info = engine.info
    for note in info.notes:
        log.info("model_loaded", model=model_name(settings), note=note)
    limits = BatchLimits(
        vocabulary=info.vocabulary,
        context=info.context,
        max_running=settings.scheduler.max_running,
        max_waiting=settings.scheduler.max_waiting,
        prefill_tokens=settings.scheduler.prefill_tokens,
    )
    return House(
        engine=engine,
        codec=codec,
        text_thread=text_thread,
        model=ModelCard(model_name(settings), info.context, int(time.time())),
        limits=limits,
        pool_bytes=size_bytes(settings.memory.ram_budget),
        access=access,
        address=Address(settings.server.host, settings.server.port, _say_ready),
    )


def _say_ready(url: str) -> None:
    print(f"ready {url}", flush=True)  # noqa: T201 (the contract with whoever started us)


async def _live(house: House, settings: Settings, signals: Signals) -> int:
    """Run the tree; a signal drains it. A tree that gives up is exit code 1."""
    running = asyncio.ensure_future(house.root.run())
    told = asyncio.ensure_future(signals.drain.wait())
    await asyncio.wait((running, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not running.done():
        await drain(house, settings.lifecycle.drain_budget, signals.hasten)
    try:
        await running
    except RestartIntensityExceeded as error:
        log.critical("gave_up", reason=str(error), cause=repr(error.__cause__))
        return FAILED
    log.info("drained", dead_letters=house.root.statistics().dead_letters)
    return 0


@asynccontextmanager
async def _engine(load: Callable[[], Backend], settings: Settings) -> AsyncIterator[EngineThread]:
    """The engine thread and its watchdog. A thread that does not leave ends the process."""
    loop = asyncio.get_running_loop()
    engine = EngineThread(load, loop)
    await engine.start()
    beat = _Beat(loop)
    watchdog = Watchdog(
        lambda: engine.busy_since,
        lambda: beat.last,
        settings.lifecycle.step_deadline,
        settings.lifecycle.loop_deadline,
    )
    watchdog.start()
    try:
        yield engine
    finally:
        left = await engine.stop(ENGINE_STOP_S)
        watchdog.stop()
        beat.stop()
        if not left:
            log.error("engine_stuck")
            raise SystemExit(EXIT_STUCK)


class _Beat:
    """The event loop's heartbeat, read by the watchdog."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.last = time.monotonic()
        self._loop = loop
        self._timer = loop.call_soon(self._beat)

    def _beat(self) -> None:
        self.last = time.monotonic()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def stop(self) -> None:
        """Beat no more."""
        self._timer.cancel()
