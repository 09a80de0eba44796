"""The tokenizer's vocabulary, with its control tokens taken out of the reach of text.

Three machines are made from one tokenizer at load and never change, so any thread may use them:
the tokenizer itself, which only decodes; a *scanner*, which is the tokenizer without its model and
finds where control tokens are spelled; and a *writer*, which is the tokenizer without its control
tokens and encodes everything else. What is a control token in a prompt is decided by who wrote
it (see `codec`), never by how it is spelled.
"""

import json
import re
import secrets
from collections.abc import Iterable
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.ids import TokenIds
from semantic_actors.text.detokenizer import ALPHABET

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")

_NEVER = -1e6
"""Log-probability of Unigram pieces that no text should be cut into."""

_PLAINEST = {
    "special": True,
    "normalized": False,
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
}


class Occurrence(NamedTuple):
    """A control token spelled in a text, from `start` to `end`, in characters."""

    start: int
    end: int
    token: int


class Vocabulary:
    """Text to token ids and back, for one model.

    A control token is an added token, special or not, that is more than white space (Gemma adds
    runs of line breaks: they are text).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Read the tokenizer's definition; `tokenizer` itself is only used to decode."""
        spec = json.loads(tokenizer.to_str())
        added = spec["added_tokens"]
        controls = [token for token in added if not _blank(token["content"])]
        self.tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size()
        self.controls = {int(token["id"]): str(token["content"]) for token in controls}
        self.special = {
            int(token["id"]): str(token["content"]) for token in added if token["special"]
        }
        self.byte_level = '"ByteLevel"' in json.dumps(spec["decoder"])
        self._slot = secrets.token_hex(16)
        self._slot_id = 1 + max(tokenizer.get_vocab().values())
        self._scanner = _scanner(spec, controls)
        self._writer = _writer(spec, controls, self._slot, self._slot_id)

    def scan(self, text: str) -> list[Occurrence]:
        """Find the control tokens that the model's tokenizer would see in `text`, in order."""
        encoding = _one(self._scanner.encode_batch, text)
        found = zip(encoding.ids, encoding.offsets, strict=True)
        return [
            Occurrence(start, end, token) for token, (start, end) in found if token in self.controls
        ]

    def splice(self, pieces: Iterable[str | TokenIds]) -> TokenIds:
        """Encode the texts among `pieces` as plain text and put the given ids between them.

        All texts are encoded in one run in which a slot stands for each run of ids, so a text
        knows that it has something before it: tokenizers that treat the beginning apart do so once.
        """
        pieces = tuple(pieces)
        text = "".join(piece if isinstance(piece, str) else self._slot for piece in pieces)
        encoded = self._encode(text)
        ids: list[int] = []
        done = 0
        for piece in pieces:
            if not isinstance(piece, str):
                slot = encoded.index(self._slot_id, done)
                ids += encoded[done:slot]
                ids += piece
                done = slot + 1
        return (*ids, *encoded[done:])

    def spelled(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none if there is no such token."""
        piece = self.tokenizer.id_to_token(token) or ""
        if token in self.controls:
            return piece.encode()
        if self.byte_level and all(char in ALPHABET for char in piece):
            return bytes(ALPHABET[char] for char in piece)
        if _BYTE.fullmatch(piece):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode()

    def encode_text(self, text: str) -> TokenIds:
        """Encode `text` as plain text, with the BOS token if the tokenizer adds one."""
        return tuple(self._encode(text, add_special_tokens=True))

    def _encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Encode one text: the place where memoised segments would make this O(new).

        `encode` holds the GIL for 22-31 ms per 80 KB, a batch of one for 1-2 ms.
        """
        encode = self._writer.encode_batch_fast
        return list(_one(encode, text, add_special_tokens=add_special_tokens).ids)


def _one(encode: Any, text: str, *, add_special_tokens: bool = False) -> Any:
    try:
        return encode([text], add_special_tokens=add_special_tokens)[0]
    except TypeError as error:
        msg = "the text has half a surrogate pair, which is no character"
        raise InvalidRequest(msg) from error


def _blank(content: str) -> bool:
    return not content.replace("▁", " ").strip()


def _scanner(spec: dict[str, Any], controls: list[dict[str, Any]]) -> Tokenizer:
    """Make a tokenizer that knows the control tokens by their own ids, and nothing else."""
    unknown = secrets.token_hex(16)
    vocab = {token["content"]: token["id"] for token in controls} | {unknown: 2**31}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": unknown}
    plain = dict.fromkeys(("truncation", "padding", "pre_tokenizer", "post_processor", "decoder"))
    return Tokenizer.from_str(
        json.dumps({**spec, **plain, "model": model, "added_tokens": controls})
    )


def _writer(
    spec: dict[str, Any], controls: list[dict[str, Any]], slot: str, slot_id: int
) -> Tokenizer:
    """Make the tokenizer that cannot write a control token, whatever the text says.

    Added tokens keep their ids only if the model has them too: else they are numbered anew.
    """
    marker = {**_PLAINEST, "id": slot_id, "content": slot}
    kept = [token for token in spec["added_tokens"] if token not in controls] + [marker]
    special = {token["content"] for token in controls if token["special"]}
    model = _taught(_unlearned(spec["model"], special), kept)
    plain = dict.fromkeys(("truncation", "padding"))
    return Tokenizer.from_str(json.dumps({**spec, **plain, "model": model, "added_tokens": kept}))


def _unlearned(model: dict[str, Any], special: set[str]) -> dict[str, Any]:
    """Take special tokens out of the model itself, where plain text could reach them.

    A Unigram model finds `</s>` in text because it is one of its pieces; a BPE model may take a
    word that is in its vocabulary as it stands (`ignore_merges`). Unknown-token and byte-fallback
    pieces stay: they are what other text turns into.
    """
    gone = {piece for piece in special if not _BYTE.fullmatch(piece)} - {model.get("unk_token")}
    vocab = model["vocab"]
    if isinstance(vocab, list):
        return {**model, "vocab": [_nobody() if piece[0] in gone else piece for piece in vocab]}
    model = {**model, "vocab": {piece: i for piece, i in vocab.items() if piece not in gone}}
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _makes(merge, gone)]
    return model


def _taught(model: dict[str, Any], added: list[dict[str, Any]]) -> dict[str, Any]:
    """Put added tokens into the model under their own ids."""
    ids = {token["content"]: token["id"] for token in added}
    if isinstance(model["vocab"], dict):
        return {**model, "vocab": model["vocab"] | ids}
    pieces = list(model["vocab"])
    pieces += [_nobody() for _ in range(len(pieces), 1 + max(ids.values()))]
    for content, token in ids.items():
        if pieces[token][0] != content:
            pieces[token] = [content, _NEVER]
    return {**model, "vocab": pieces}


def _nobody() -> list[Any]:
    return [secrets.token_hex(16), _NEVER]


def _makes(merge: str | list[str], gone: set[str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return not gone.isdisjoint((left, right, left + right))
