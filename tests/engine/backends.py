"""The backends that keep the protocol's law."""

from collections.abc import Callable

from semantic_actors.engine import FakeBackend
from semantic_actors.engine.protocol import Backend
from tests.engine import tiny

CUTTABLE: dict[str, Callable[[], Backend]] = {
    "fake": lambda: FakeBackend(vocabulary=320, context=512),
    "llama": lambda: tiny.backend("llama", context=512),
    "nemotron-nas": lambda: tiny.backend("nemotron-nas", context=512),
    "deepseek_v3": lambda: tiny.backend("deepseek_v3", context=512),
}
"""Those whose caches can be cut anywhere."""

LASTING: dict[str, Callable[[], Backend]] = {
    "fake recurrent": lambda: FakeBackend(vocabulary=320, context=512, cuttable=False),
    "fake window": lambda: FakeBackend(vocabulary=320, context=512, window=32),
    "gemma3_text": lambda: tiny.backend("gemma3_text", context=512),
    "qwen3_next": lambda: tiny.backend("qwen3_next", context=512),
}
"""Those whose long caches cannot be cut."""

ALL = CUTTABLE | LASTING
