"""Simulation: a virtual-time event loop with a seeded schedule, and a canceller of every await."""

from tests.sim.cancelling import Cancelled, at_every_checkpoint
from tests.sim.loop import Deadlock, LeftBehind, SimLoop, run, simulated

__all__ = [
    "Cancelled",
    "Deadlock",
    "LeftBehind",
    "SimLoop",
    "at_every_checkpoint",
    "run",
    "simulated",
]
