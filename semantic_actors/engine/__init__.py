"""The MLX thread: loads the model, executes plans, owns every array. Only room with `mlx`.

What is exported here does not import mlx, so that all other rooms run and are tested on any
machine. `blas.preload()` comes first in a process; then `mlx_backend.open_backend`, imported by
whoever serves a real model, is what `EngineThread` loads.
"""

from semantic_actors.engine import blas
from semantic_actors.engine.fake import FakeBackend, hashed_token
from semantic_actors.engine.faults import BrokenLaw
from semantic_actors.engine.inline import InlineEngine
from semantic_actors.engine.pocket import pocket_path
from semantic_actors.engine.protocol import (
    Backend,
    Deliver,
    Engine,
    EngineDied,
    Fed,
    Feed,
    FeedFailed,
    Footprint,
    ModelInfo,
    Plan,
    Start,
    StepOutput,
)
from semantic_actors.engine.runner import EngineThread
from semantic_actors.engine.watchdog import EXIT_STUCK, Watchdog

__all__ = [
    "EXIT_STUCK",
    "Backend",
    "BrokenLaw",
    "Deliver",
    "Engine",
    "EngineDied",
    "EngineThread",
    "FakeBackend",
    "Fed",
    "Feed",
    "FeedFailed",
    "Footprint",
    "InlineEngine",
    "ModelInfo",
    "Plan",
    "Start",
    "StepOutput",
    "Watchdog",
    "blas",
    "hashed_token",
    "pocket_path",
]
