"""From token ids to text, one id at a time, exactly as decoding all of them at once would do.

Knows nothing of special tokens: they are kept from it. A detokenizer belongs to one answer.

Why not the streams that exist: `tokenizers.DecodeStream` (0.23) raises "Invalid prefix" on some
sequences of byte-fallback tokens and is mute while the text ends in U+FFFD; mlx-lm's naive one
is quadratic in a line, its fast ones trim the first space whether or not the decoder does. Here a
piece is held only while bytes of a character are missing.
"""

import codecs
import re

from tokenizers import Tokenizer

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def _byte_alphabet() -> dict[str, int]:
    """Map the characters of a byte-level vocabulary to their bytes (GPT-2's table)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    table = {chr(byte): byte for byte in shown}
    return table | {chr(256 + place): byte for place, byte in enumerate(hidden)}


ALPHABET = _byte_alphabet()
"""What each character of a byte-level vocabulary stands for."""


class Detokenizer:
    """Text of one answer. The pieces joined are `tokenizer.decode` of all ids."""

    def __init__(self, tokenizer: Tokenizer, *, byte_level: bool) -> None:
        """Share `tokenizer`, which is only read. `byte_level`: its tokens are bytes in disguise."""
        self._tokenizer = tokenizer
        self._byte_level = byte_level
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._anchor: list[int] = []
        self._pending: list[int] = []

    @property
    def settled(self) -> bool:
        """Whether nothing is held back."""
        return not self._pending

    def push(self, token: int) -> str:
        """Take one id; return the text that is complete now, often none.

        Ids that no token has (models pad their vocabulary) have no text.
        """
        piece = self._tokenizer.id_to_token(token)
        if piece is None:
            return ""
        self._pending.append(token)
        if self._incomplete(piece):
            return ""
        text = self.flush()
        self._anchor = [token]
        return text

    def flush(self) -> str:
        """Return what was held back; bytes that make no character become U+FFFD."""
        if not self._pending:
            return ""
        # A decoder treats the first token apart (a leading space) and joins bytes of neighbours:
        # both are right behind the last token shown, whose own text is then cut off.
        shown = self._decode(self._anchor)
        text = self._decode(self._anchor + self._pending)
        self._pending = []
        self._utf8.reset()
        return text[len(shown) :]

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False) if ids else ""

    def _incomplete(self, piece: str) -> bool:
        """Whether a character, or a run of byte tokens, may go on behind `piece`.

        A run of byte-fallback tokens decodes as a whole: one stray byte turns all of it to U+FFFD.
        """
        if not self._byte_level:
            return _BYTE.fullmatch(piece) is not None
        known = all(char in ALPHABET for char in piece)
        self._utf8.decode(bytes(ALPHABET[char] for char in piece) if known else piece.encode())
        return self._utf8.getstate()[0] != b""
