"""The text of the served model: prompts to token ids, drawn tokens to text and tool calls."""

from semantic_actors.text.codec import Codec
from semantic_actors.text.dialects import in_call_order
from semantic_actors.text.grammar_cache import PendingGrammar
from semantic_actors.text.output import OutputDecoder, Piece, StopHit
from semantic_actors.text.splitter import Part

__all__ = ["Codec", "OutputDecoder", "Part", "PendingGrammar", "Piece", "StopHit", "in_call_order"]
