"""What a disk, or a hand, may do to the files of a state directory. All choices are the `rng`'s."""

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from semantic_actors.persistence import open_state
from semantic_actors.persistence.errors import Flaw
from semantic_actors.persistence.format import CHECKSUM_BYTES, encode_piece
from tests.e2e.audit import read

Damage = Callable[[Path, random.Random], None]

SECTOR = 512


def flip(file: Path, rng: random.Random) -> None:
    """Flip one bit anywhere."""
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def zero(file: Path, rng: random.Random) -> None:
    """Lose a sector."""
    content = bytearray(file.read_bytes())
    start = rng.randrange(0, len(content), SECTOR)
    content[start : start + SECTOR] = bytes(len(content[start : start + SECTOR]))
    file.write_bytes(content)


def scramble(file: Path, rng: random.Random) -> None:
    """Put noise in place of a few bytes."""
    content = bytearray(file.read_bytes())
    start = rng.randrange(len(content))
    content[start : start + 16] = rng.randbytes(len(content[start : start + 16]))
    file.write_bytes(content)


def repeat(file: Path, rng: random.Random) -> None:
    """Find one sector in the place of another."""
    content = bytearray(file.read_bytes())
    places = range(0, len(content), SECTOR)
    source, target = rng.choice(places), rng.choice(places)
    sector = content[source : source + SECTOR]
    content[target : target + len(sector)] = sector
    file.write_bytes(content)


def cut(file: Path, rng: random.Random) -> None:
    """Lose the end."""
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content))])


def lengthen(file: Path, rng: random.Random) -> None:
    """Gain an end."""
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randrange(1, 64)))


def remove(file: Path, rng: random.Random) -> None:
    """Lose all of it."""
    del rng
    file.unlink()


KINDS: tuple[Damage, ...] = (flip, zero, scramble, repeat, cut, lengthen, remove)


def swap(one: Path, other: Path) -> None:
    """Give two files each other's names."""
    aside = one.with_name(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def flip_at(file: Path, place: int, bit: int = 1) -> None:
    """Flip a bit of one byte, counted from the end if negative."""
    content = bytearray(file.read_bytes())
    content[place] ^= bit
    file.write_bytes(content)


class Harm(NamedTuple):
    """What is done to a piece's file, and what the store says of it when it is to read it."""

    do: Callable[[Path], object]
    flaw: Flaw


def zero_page(file: Path) -> None:
    """Lose a page of the rows."""
    content = file.read_bytes()
    file.write_bytes(content[:8192] + bytes(4096) + content[8192 + 4096 :])


def halve(file: Path) -> None:
    """Lose the second half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def impersonate(file: Path) -> None:
    """Put another piece in its place, which is true in itself."""
    others = sorted(file.parents[1].rglob("*.safetensors"))
    file.write_bytes(next(other for other in others if other != file).read_bytes())


def recompute(file: Path) -> None:
    """Write it as another model would have: of the same tokens, and true in itself."""
    with open_state(file.parents[2]) as fs:
        path = str(file.relative_to(file.parents[2]))
        stored, layout, rows = read(fs, path)
        content = b"".join(encode_piece(stored, "other weights", layout, [rows]))
    file.write_bytes(content)


def outdate(file: Path) -> None:
    """Say that a later version wrote it."""
    file.write_bytes(file.read_bytes().replace(b'"version":"1.', b'"version":"2.', 1))


def link(file: Path) -> None:
    """Put a link to it in its place."""
    target = file.with_name("elsewhere")
    file.rename(target)
    file.symlink_to(target)


HARMS: Mapping[str, Harm] = {
    "another": Harm(impersonate, Flaw.NAME),
    "length": Harm(partial(flip_at, place=0), Flaw.HEADER),
    "size of an ocean": Harm(partial(flip_at, place=7), Flaw.HEADER),
    "header": Harm(partial(flip_at, place=12), Flaw.HEADER),
    "rows": Harm(lambda file: flip_at(file, file.stat().st_size // 2), Flaw.CHECKSUM),
    "tokens": Harm(partial(flip_at, place=-CHECKSUM_BYTES - 2), Flaw.CHECKSUM),
    "checksum": Harm(partial(flip_at, place=-1), Flaw.CHECKSUM),
    "page": Harm(zero_page, Flaw.CHECKSUM),
    "half": Harm(halve, Flaw.SIZE),
    "nothing": Harm(lambda file: file.write_bytes(b""), Flaw.SIZE),
    "weights": Harm(recompute, Flaw.IDENTITY),
    "version": Harm(outdate, Flaw.VERSION),
    "link": Harm(link, Flaw.REFUSED),
}
"""By what is wrong then; the one that needs another true file is first."""
