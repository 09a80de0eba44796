"""Laws of signals, on virtual time."""

import asyncio
import signal

from semantic_actors.daemon.signals import Signals
from tests import sim


@sim.simulated
async def test_signals_of_one_kind_within_a_second_count_as_one() -> None:
    """`uv run` delivers each signal twice: that is one drain, not a hastened one."""
    signals = Signals()

    signals.received(signal.SIGTERM)
    await asyncio.sleep(0.5)
    signals.received(signal.SIGTERM)

    assert signals.drain.is_set()
    assert not signals.hasten.is_set()


@sim.simulated
async def test_the_second_hastens_and_the_third_ends() -> None:
    """Signals a second apart escalate."""
    codes: list[int] = []
    signals = Signals(codes.append)

    for _ in range(3):
        signals.received(signal.SIGTERM)
        await asyncio.sleep(1.5)

    assert signals.hasten.is_set()
    assert codes == [128 + signal.SIGTERM]


@sim.simulated
async def test_another_kind_of_signal_counts_at_once() -> None:
    """Ctrl-C right after a SIGTERM is a second wish."""
    signals = Signals()

    signals.received(signal.SIGTERM)
    signals.received(signal.SIGINT)

    assert signals.hasten.is_set()


def test_a_signal_before_there_is_a_loop_is_remembered() -> None:
    """While modules are imported a wish to leave is kept; afterwards things are as they were."""
    before = signal.getsignal(signal.SIGTERM)
    signals = Signals()

    with signals.early():
        signal.raise_signal(signal.SIGTERM)
        asyncio.run(_install(signals))

    assert signals.drain.is_set()
    assert signal.getsignal(signal.SIGTERM) == before


async def _install(signals: Signals) -> None:
    signals.install()
