"""Whatever else happens in its steps, a sequence sees the logits of a run of its own."""

import os

import pytest

from semantic_actors.engine.forward import host_softmax
from semantic_actors.engine.forward.host_softmax import WORTH_WAITING
from tests.engine import tiny
from tests.engine.schedules import Schedule, apart

FAMILIES = (
    "llama",
    "qwen3",
    "gemma3_text",
    "gemma4_text",
    "gpt_oss",
    "mixtral",
    "qwen3_next",
    "lfm2",
    "deepseek_v3",
)
SCHEDULES = int(os.environ.get("SEMANTIC_ACTORS_SCHEDULES", "16"))
"""For each family; `just schedules` plays more."""
STEPS = 24
TOLERANCE = 2e-5
"""Of the logits' scale: other shapes sum in another order."""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_a_separate_run(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joins, forks, leaves, pauses and chunks of any size change no sequence's logits.

    Every third schedule with a softmax that waits for no number of scores.
    """
    backend, alone = tiny.backend(family), tiny.build(family)
    recorder = tiny.record(backend)
    for seed in range(SCHEDULES):
        worth = 0 if seed % 3 == 0 else WORTH_WAITING
        monkeypatch.setattr(host_softmax, "WORTH_WAITING", worth)
        schedule = Schedule(seed, backend, recorder)
        schedule.play(STEPS)
        drawn = [life for life in schedule.lives if life.rows]
        assert drawn
        for life in drawn:
            assert apart(life, alone) <= TOLERANCE, f"schedule {seed}, cache {life.cache}"
        backend.reset()
