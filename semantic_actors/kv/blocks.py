"""Blocks: how the tokens behind a sequence are named, 256 at a time.

A block's name is chained: the digest of the name before it and of its own token ids. The first name
chains from a root that stands for everything else its keys and values depend on: the weights and
how they are computed with, and whose they are. So equal names mean equal keys and values, and no
client can make a name that is another principal's.

A *piece* is a run of rows within one block. Most blocks are one piece; one that was filled by
several turns is as many, until it is rewritten as one.
"""

import hashlib
from array import array
from collections.abc import Sequence
from typing import Final, NewType

import msgspec

from semantic_actors.domain.ids import TokenIds
from semantic_actors.kv.prefix import common_prefix

BLOCK_TOKENS: Final = 256
TOKEN_BYTES: Final = 4

BlockHash = NewType("BlockHash", bytes)
"""A sha256 digest; see the module."""


class Piece(msgspec.Struct, frozen=True):
    """Rows `start..stop` of the block that comes after `parent`, `depth` blocks into its path."""

    name: BlockHash
    """Of all the rest: see `piece`. That of the block, if it is the whole of one."""
    parent: BlockHash
    depth: int
    start: int
    tokens: bytes
    """Packed token ids of the block, from its first to `stop`."""

    @property
    def stop(self) -> int:
        """Row of the block after its last."""
        return len(self.tokens) // TOKEN_BYTES

    @property
    def rows(self) -> int:
        """Rows it holds."""
        return self.stop - self.start

    @property
    def first_row(self) -> int:
        """Its first row, counted from the beginning of the path."""
        return self.depth * BLOCK_TOKENS + self.start


def root(identity: str, salt: bytes) -> BlockHash:
    """Name what comes before a principal's first block; `identity` says what computes it."""
    return BlockHash(hashlib.sha256(b"root\0" + identity.encode() + b"\0" + salt).digest())


def name(parent: BlockHash, tokens: bytes, start: int = 0) -> BlockHash:
    """Name a block, or a piece of one, by its packed tokens."""
    return BlockHash(hashlib.sha256(parent + start.to_bytes(4, "little") + tokens).digest())


def pack(tokens: Sequence[int]) -> bytes:
    """Return token ids as bytes, four each."""
    return array("I", tokens).tobytes()


def unpack(packed: bytes) -> TokenIds:
    """Return packed token ids."""
    return tuple(array("I", packed))


class Trail:
    """The names along a path, made as far as they are asked for."""

    def __init__(self, before: BlockHash, tokens: TokenIds, like: "Trail | None" = None) -> None:
        """`before` is the path's root; what it shares with the path `like` is not named again."""
        self.before = before
        self.tokens = tokens
        self._names = [before]
        if like is not None and like.before == before:
            shared = common_prefix(tokens, like.tokens) // BLOCK_TOKENS
            self._names = like._names[: shared + 1]  # noqa: SLF001  (another trail's)

    def name(self, depth: int) -> BlockHash:
        """Name what `depth` blocks lead to; the path must be as long."""
        while len(self._names) <= depth:
            block = self.block(len(self._names) - 1)
            assert len(block) == BLOCK_TOKENS * TOKEN_BYTES, len(block)
            self._names.append(name(self._names[-1], block))
        return self._names[depth]

    def block(self, depth: int) -> bytes:
        """Return the packed tokens of one block; fewer than 256 at the path's end."""
        return pack(self.tokens[depth * BLOCK_TOKENS : (depth + 1) * BLOCK_TOKENS])

    def piece(self, start: int, stop: int) -> Piece:
        """Return the piece of rows `start..stop` of the path, which lie in one block."""
        depth, row = divmod(start, BLOCK_TOKENS)
        tokens = pack(self.tokens[depth * BLOCK_TOKENS : stop])
        assert start < stop <= (depth + 1) * BLOCK_TOKENS, (start, stop)
        parent = self.name(depth)
        return Piece(name(parent, tokens, row), parent, depth, row, tokens)
