"""Laws of a piece's file: it is a safetensors file, and not one wrong bit of it is believed."""

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize, safe_open

from semantic_actors.kv.blocks import Piece, Trail, pack, root, unpack
from semantic_actors.kv.layout import Layout, Part
from semantic_actors.persistence.errors import Flaw, Flawed
from semantic_actors.persistence.format import (
    encode_piece,
    file_bytes,
    inspect_piece,
    read_piece,
)
from semantic_actors.persistence.fs import Buffer
from semantic_actors.persistence.transfer import write_all
from tests.persistence.fake_fs import FakeFs
from tests.persistence.rig import IDENTITY, LAYOUT, path, truth

BEFORE = root(IDENTITY, b"salt")
TOKENS = path(300)
PIECE = Trail(BEFORE, TOKENS).piece(260, 300)
ROWS = truth(TOKENS, 260, 300)


def encoded(piece: Piece = PIECE, identity: str = IDENTITY, layout: Layout = LAYOUT) -> bytes:
    """Return the bytes of a piece's file."""
    return b"".join(encode_piece(piece, identity, layout, [ROWS]))


GOOD = encoded()


def read(
    content: bytes, piece: Piece = PIECE, identity: str = IDENTITY, layout: Layout = LAYOUT
) -> bytes:
    """Read a file of this content."""
    fs = FakeFs()
    fd = fs.create("file")
    write_all(fs, fd, [content])
    return bytes(read_piece(fs, fd, piece, identity, layout))


def flaw(content: bytes, **expected: Any) -> Flaw:
    """Say what is wrong with a file of this content."""
    with pytest.raises(Flawed) as caught:
        read(content, **expected)
    return caught.value.flaw


def with_header(change: Any) -> bytes:
    """Return the good file with its header changed."""
    size = int.from_bytes(GOOD[:8], "little")
    header = json.loads(GOOD[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + GOOD[8 + size :]


def test_rows_come_back() -> None:
    """What was written is read, and is as long as was said before."""
    assert read(GOOD) == ROWS
    assert len(GOOD) == file_bytes(PIECE, IDENTITY, LAYOUT)


def test_any_division_of_the_rows_makes_the_same_file() -> None:
    """Buffers are written one after the other, however they are cut."""
    parts: list[Buffer] = [memoryview(ROWS)[:7], b"", memoryview(ROWS)[7:]]

    assert b"".join(encode_piece(PIECE, IDENTITY, LAYOUT, parts)) == GOOD


def test_it_is_a_safetensors_file(tmp_path: Path) -> None:
    """Others' readers find the tensors, the tokens and what the file says of itself."""
    (tmp_path / "file").write_bytes(GOOD)
    tensors = dict(deserialize(GOOD))  # type: ignore[no-untyped-call]

    assert b"".join(bytes(tensors[part.name]["data"]) for part in LAYOUT.parts) == ROWS
    assert tuple(tensors["0.keys"]["shape"]) == (2, 40, 3)
    assert unpack(bytes(tensors["tokens"]["data"])) == TOKENS[256:]
    with safe_open(tmp_path / "file", framework="np") as opened:
        assert opened.metadata()["version"] == "1.0"
        assert opened.metadata()["name"] == PIECE.name.hex()
        assert opened.get_tensor("0.keys").shape == (2, 40, 3)


def test_no_bit_may_differ() -> None:
    """Flip any bit of any byte: nothing is returned, there is a reason, nothing else is raised."""
    rng = random.Random(0)
    for place in range(len(GOOD)):
        content = bytearray(GOOD)
        content[place] ^= 1 << rng.randrange(8)

        assert flaw(bytes(content)) is not Flaw.UNREADABLE


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_nothing_may_be_missing_moved_or_added(data: st.DataObject) -> None:
    """Cut, zero, repeat or insert a run of bytes anywhere: nothing is returned."""
    start = data.draw(st.integers(0, len(GOOD) - 1))
    stop = data.draw(st.integers(start + 1, len(GOOD)))
    run = GOOD[start:stop]
    other = data.draw(st.sampled_from([b"", bytes(len(run)), run + run, run[::-1]]))
    content = GOOD[:start] + other + GOOD[stop:]

    if content != GOOD:
        flaw(content)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_at_all_are_a_reason(content: bytes, framed: bool) -> None:  # noqa: FBT001
    """Noise, framed as a header or not, is refused and crashes nothing."""
    flaw(len(content).to_bytes(8, "little") + content if framed else content)


_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(_JSON, st.sampled_from(["__metadata__", "tokens", "checksum", "0.keys", "more"]))
def test_any_header_at_all_is_a_reason(value: Any, key: str) -> None:
    """A header whose checksum would be right but whose fields are not is refused, too."""
    content = with_header(lambda header: header.__setitem__(key, value))

    flaw(content)
    fs = FakeFs()
    fd = fs.create("file")
    write_all(fs, fd, [content])
    if key == "tokens":
        with pytest.raises(Flawed):
            inspect_piece(fs, fd)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("version", "2.0", Flaw.VERSION),
        ("version", "0.9", Flaw.HEADER),
        ("version", "", Flaw.HEADER),
        ("kind", "weights", Flaw.HEADER),
        ("identity", "model two", Flaw.IDENTITY),
        ("name", "00" * 32, Flaw.NAME),
        ("parent", "00" * 32, Flaw.NAME),
        ("parent", "zz", Flaw.HEADER),
        ("start", "0", Flaw.NAME),
        ("start", "-1", Flaw.HEADER),
        ("depth", "0", Flaw.NAME),
        ("depth", "9" * 5000, Flaw.HEADER),
    ],
)
def test_what_it_says_of_itself_must_be_expected(field: str, value: str, expected: Flaw) -> None:
    """Each field of the metadata is compared, and has a flaw of its own."""
    content = with_header(lambda header: header["__metadata__"].__setitem__(field, value))

    assert flaw(content) is expected


def test_a_later_minor_version_is_read() -> None:
    """A higher minor version may say more of itself; its checksum covers that, too."""
    fields = {"version": "1.7", "more": "x"}
    content = with_header(lambda header: header["__metadata__"].update(fields))
    content = content[:-32] + hashlib.sha256(content[:-32]).digest()

    assert read(content) == ROWS


def test_tokens_must_be_the_expected_ones() -> None:
    """A file of other tokens is refused, even under the right name."""
    other = Trail(BEFORE, (*TOKENS[:299], 77)).piece(260, 300)
    assert flaw(encoded(other)) is Flaw.NAME

    lying = Piece(
        PIECE.name, PIECE.parent, PIECE.depth, PIECE.start, pack(TOKENS[256:299]) + b"1234"
    )
    assert flaw(encoded(lying)) is Flaw.TOKENS


def test_another_layout_is_refused() -> None:
    """Same bytes, other shape or dtype: refused."""
    first, *others = LAYOUT.parts
    for changed in (
        Part(first.name, first.dtype, first.width, first.heads),
        Part(first.name, "BF16", first.heads, first.width),
        Part("0.other", first.dtype, first.heads, first.width),
    ):
        assert flaw(GOOD, layout=Layout((changed, *others))) is Flaw.LAYOUT


@pytest.mark.parametrize("size", [0, 7, 8, 100, len(GOOD) - 1])
def test_a_cut_file_is_refused(size: int) -> None:
    """However short."""
    assert flaw(GOOD[:size]) in (Flaw.SIZE, Flaw.HEADER)


def test_sizes_in_a_file_are_not_believed() -> None:
    """A header said to be as long as an ocean costs no memory."""
    assert flaw((1 << 62).to_bytes(8, "little") + GOOD[8:]) is Flaw.HEADER


def test_a_file_that_changes_while_it_is_read_is_refused() -> None:
    """Its header was compared; what came in after it must have the same."""

    class Changing(FakeFs):
        """Gives another header the third time."""

        reads = 0

        def read(self, fd: int, buffer: memoryview, offset: int) -> int:
            self.reads += 1
            if self.reads == 3:
                self._fds[fd].seen[20] ^= 1
            return super().read(fd, buffer, offset)

    fs = Changing()
    fd = fs.create("file")
    write_all(fs, fd, [GOOD])
    with pytest.raises(Flawed, match="changed meanwhile"):
        read_piece(fs, fd, PIECE, IDENTITY, LAYOUT)


@pytest.mark.parametrize("tokens", [[0, 0], [0, 2000], [5, 1], [-4, 4]])
def test_a_scan_believes_no_offsets(tokens: list[int]) -> None:
    """Tokens that cannot be a block's are a reason."""
    content = with_header(lambda header: header["tokens"].__setitem__("data_offsets", tokens))
    fs = FakeFs()
    fd = fs.create("file")
    write_all(fs, fd, [content])

    with pytest.raises(Flawed):
        inspect_piece(fs, fd)


def test_a_disk_that_takes_nothing_is_an_error() -> None:
    """Instead of being asked for ever."""

    class Full(FakeFs):
        """Takes no byte, and says so."""

        def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
            del fd, buffers, offset
            return 0

    fs = Full()
    with pytest.raises(OSError, match="takes no more"):
        write_all(fs, fs.create("file"), [b"", b"x"])


def test_a_scan_learns_what_a_catalog_knows() -> None:
    """A file tells its piece and size, without its rows being read."""
    fs = FakeFs()
    fd = fs.create("file")
    write_all(fs, fd, [GOOD])
    found = inspect_piece(fs, fd)

    assert (found.name, found.parent, found.depth) == (PIECE.name, PIECE.parent, PIECE.depth)
    assert (found.start, found.tokens, found.size_bytes) == (4, PIECE.tokens, len(GOOD))
