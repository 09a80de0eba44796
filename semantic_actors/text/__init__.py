"""The text of the served model: prompts to token ids, drawn tokens to text and tool calls."""

from semantic_actors.text.codec import Codec
from semantic_actors.text.output import OutputDecoder, Piece, StopHit

__all__ = ["Codec", "OutputDecoder", "Piece", "StopHit"]
