"""One forward over the rows of many sequences, in prefill and decode alike, without padding."""

from semantic_actors.engine.forward.batched import Batched, Mode
from semantic_actors.engine.forward.past import Past

__all__ = ["Batched", "Mode", "Past"]
