"""`semantic-actors serve`: from settings to a house that answers, and back to nothing."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import structlog

from semantic_actors.actors import Actor, OwnThread, RestartIntensityExceeded
from semantic_actors.api import Access, Bounds, check_place
from semantic_actors.daemon.control import socket_places
from semantic_actors.daemon.drain import drain
from semantic_actors.daemon.keys import read_keys
from semantic_actors.daemon.loop import LoopWatch, settle
from semantic_actors.daemon.memory import MemoryWatch, judge_budget, read_memory
from semantic_actors.daemon.port import refusal
from semantic_actors.daemon.settings import Settings, model_name, size_bytes
from semantic_actors.daemon.signals import Signals
from semantic_actors.daemon.state import state_directory
from semantic_actors.daemon.tree import Address, House
from semantic_actors.domain.errors import ConfigurationError, SemanticActorsError
from semantic_actors.engine import (
    EXIT_STUCK,
    Backend,
    EngineThread,
    ModelInfo,
    Watchdog,
    device,
    pocket_path,
)
from semantic_actors.persistence import Fs, Store, StoreMessage, open_state
from semantic_actors.scheduling import BatchLimits
from semantic_actors.sessions import ModelCard, Surroundings
from semantic_actors.text import Codec

ENGINE_STOP_S = 5.0
"""Seconds the engine thread has to leave, at least: what is left of a drain's budget if more."""

BEAT_S = 1.0
"""Seconds between two beats of the event loop for the watchdog."""

GAVE_UP = 1
"""Exit code when something failed too often to be restarted."""

log = structlog.get_logger(__name__)


class CannotListen(SemanticActorsError):
    """The address is taken, or not this machine's."""


def open_model(settings: Settings) -> Backend:
    """Load the configured model on the calling thread, which becomes the engine's."""
    from semantic_actors.engine.mlx_backend import open_backend  # noqa: PLC0415 (BLAS comes first)

    _wire(settings.memory.wired_limit)
    model = settings.model
    path = model.path or str(pocket_path())
    memo = state_directory(settings.store.state_dir) / "weights.json" if stores(settings) else None
    return open_backend(path, model.adapter or None, model.weights, model.context or None, memo)


def stores(settings: Settings) -> bool:
    """Whether caches are kept on disk."""
    return settings.store.disk_budget != "off"


def _make_store(
    settings: Settings, info: ModelInfo, state: Fs | None
) -> Callable[[], Actor[StoreMessage]] | None:
    """Return what makes the store; None if there is nothing to store, or it is not wanted."""
    if state is None:
        return None
    layout = info.layout
    if layout is None:
        log.warning("caches_not_stored", family=info.family, reason="a cache of another kind")
        return None
    budget_bytes = size_bytes(settings.store.disk_budget)
    ttl_s = settings.store.ttl or None
    return lambda: Store(state, info.identity, layout, budget_bytes, ttl_s)


def _open_state(settings: Settings) -> AbstractContextManager[Fs | None]:
    """Open and lock the state directory, if caches are kept on disk."""
    if not stores(settings):
        return nullcontext()
    return open_state(state_directory(settings.store.state_dir))


def _wire(limit: str) -> None:
    if limit == "off":
        return
    try:
        log.info("wired_limit_set", note=device.wire(size_bytes(limit)))
    except ValueError as error:
        message = f"setting memory.wired_limit = {limit!r}: {error}"
        raise ConfigurationError(message) from None


def admission(settings: Settings) -> Access:
    """Who may talk to us. Raises `ConfigurationError` rather than leave a door open."""
    server = settings.server
    keys = read_keys(Path(server.keys_file).expanduser()) if server.keys_file else {}
    access = Access(hosts=frozenset(server.allowed_hosts), keys=keys)
    access.check_bind(server.host)
    return access


async def serve(settings: Settings, signals: Signals) -> int:
    """Run until told to leave; returns the exit code. Raises what refuses to start."""
    signals.install()
    access = admission(settings)
    if refused := refusal(settings.server.host, settings.server.port):
        message = f"cannot listen on {settings.server.host}:{settings.server.port}: {refused}"
        raise CannotListen(message)
    with _open_state(settings) as state:
        check_place(socket_places(settings)[0])
        return await _serve(settings, signals, access, state)


async def _serve(settings: Settings, signals: Signals, access: Access, state: Fs | None) -> int:
    engine = EngineThread(lambda: open_model(settings), asyncio.get_running_loop())
    leave_by = 0.0
    try:
        if not await _loaded(engine, signals):
            return 0
        check_budget(settings)
        with (
            _Watch(engine, settings),
            MemoryWatch() as memory,
            LoopWatch(memory.surroundings) as watch,
        ):
            code, leave_by = await _live(
                settings, engine, signals, access=access, around=watch.surroundings, state=state
            )
            return code
    finally:
        await _stop(engine, leave_by)


async def _loaded(engine: EngineThread, signals: Signals) -> bool:
    """Load the model; False if told to leave before it is there."""
    loading = asyncio.ensure_future(engine.start())
    told = asyncio.ensure_future(signals.drain.wait())
    await asyncio.wait((loading, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if loading.done():
        await loading
        return True
    log.info("left_while_loading")
    loading.cancel()
    return False


def check_budget(settings: Settings) -> None:
    """Warn of a KV budget that is more than what is left once the weights are there.

    Raises `ConfigurationError` for one that is more than all there is. A GPU with memory of its own
    is not judged.
    """
    if not device.in_main_memory():
        return
    judgement = judge_budget(size_bytes(settings.memory.ram_budget), read_memory())
    if judgement.verdict == "failed":
        message = f"setting memory.ram_budget = {settings.memory.ram_budget!r}: {judgement.found}"
        raise ConfigurationError(message)
    if judgement.verdict == "warning":
        log.warning("ram_budget_exceeds_memory", found=judgement.found)


async def _live(
    settings: Settings,
    engine: EngineThread,
    signals: Signals,
    *,
    access: Access,
    around: Callable[[], Surroundings],
    state: Fs | None,
) -> tuple[int, float]:
    """Run the house until it is drained or gives up.

    Returns the exit code, and the loop time by which to be gone.
    """
    loop = asyncio.get_running_loop()
    text_thread = OwnThread("text")
    try:
        codec = await loop.run_in_executor(text_thread, Codec.load, engine.info.folder)
        house = _house(
            settings, engine, codec, text_thread, access=access, around=around, state=state
        )
        settle()
        running = asyncio.ensure_future(house.root.run())
        told = asyncio.ensure_future(signals.drain.wait())
        await asyncio.wait((running, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        leave_by = loop.time()
        if not running.done():
            leave_by = await drain(house, settings.lifecycle.drain_budget, signals.hasten)
        await running
    except RestartIntensityExceeded as error:
        log.critical("gave_up", reason=str(error), cause=repr(error.__cause__))
        return GAVE_UP, loop.time()
    finally:
        text_thread.shutdown(wait=False, cancel_futures=True)
    log.info("drained", dead_letters=house.root.statistics().dead_letters)
    return 0, loop.time() if signals.hasten.is_set() else leave_by


def _house(
    settings: Settings,
    engine: EngineThread,
    codec: Codec,
    text_thread: OwnThread,
    *,
    access: Access,
    around: Callable[[], Surroundings],
    state: Fs | None,
) -> House:
    info = engine.info
    name = model_name(settings)
    log.info("model_loaded", model=name, family=info.family, device=info.device, notes=info.notes)
    limits = BatchLimits(
        vocabulary=info.vocabulary,
        context=info.context,
        max_running=settings.scheduler.max_running,
        max_waiting=settings.scheduler.max_waiting,
        prefill_tokens=settings.scheduler.prefill_tokens,
        inter_token_target_s=settings.scheduler.inter_token_target,
        dirty_bytes=size_bytes(settings.store.dirty_budget),
    )
    return House(
        engine=engine,
        codec=codec,
        text_thread=text_thread,
        model=ModelCard(name, info.context, int(time.time()), settings.model.aliases),
        limits=limits,
        pool_bytes=size_bytes(settings.memory.ram_budget),
        access=access,
        bounds=Bounds(attachments=settings.server.attachments),
        address=Address(settings.server.host, settings.server.port, _say_ready),
        surroundings=around,
        make_store=_make_store(settings, info, state),
        socket=socket_places(settings)[0],
    )


def _say_ready(url: str) -> None:
    print(f"ready {url}", flush=True)  # noqa: T201 (the contract with whoever started us)


async def _stop(engine: EngineThread, leave_by: float) -> None:
    """End the engine thread. One that is stuck in native code cannot be joined, only left."""
    left = leave_by - asyncio.get_running_loop().time()
    if not await engine.stop(max(ENGINE_STOP_S, left)):
        log.error("engine_stuck")
        os._exit(EXIT_STUCK)


class _Watch:
    """The watchdog over engine and event loop, and the heartbeat it listens to."""

    def __init__(self, engine: EngineThread, settings: Settings) -> None:
        self._last = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._watchdog = Watchdog(
            lambda: engine.busy_since,
            lambda: self._last,
            settings.lifecycle.step_deadline,
            settings.lifecycle.loop_deadline,
        )

    def __enter__(self) -> None:
        self._beat()
        self._watchdog.start()

    def __exit__(self, *_: object) -> None:
        self._watchdog.stop()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._last = time.monotonic()
        self._timer = self._loop.call_later(BEAT_S, self._beat)
