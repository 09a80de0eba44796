"""What keys and values depend on has one name, and anything else does not change it."""

import os
from pathlib import Path

import pytest

from semantic_actors.engine import identity as identities
from semantic_actors.engine import loading
from tests.engine import tiny


def _identity(folder: Path, memo: Path | None = None, **options: object) -> str:
    return loading.load(str(folder), memo=memo, **options).identity  # type: ignore[arg-type]


def test_the_same_model_elsewhere_is_the_same(tmp_path: Path) -> None:
    """Bytes decide, not the place they are at."""
    here, there = tiny.save(tmp_path / "here"), tiny.save(tmp_path / "there")

    assert _identity(here) == _identity(there)


def test_other_numbers_are_another_model(tmp_path: Path) -> None:
    """Weights, configuration and the precision computed in each make another identity."""
    folder = tiny.save(tmp_path / "model")
    known = {_identity(folder), _identity(folder, weights="as-is")}
    assert len(known) == 2

    weights = next(folder.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    known.add(_identity(folder))
    assert len(known) == 3

    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    known.add(_identity(folder))
    assert len(known) == 4


def test_weights_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with the same inode, size and times is not read again; a changed one is."""
    folder, memo = tiny.save(tmp_path / "model"), tmp_path / "state" / "weights.json"
    before = _identity(folder, memo)
    read: list[Path] = []
    digest = identities._digest

    def counted(file: Path) -> str:
        read.append(file)
        return digest(file)

    monkeypatch.setattr(identities, "_digest", counted)

    again = _identity(folder, memo)
    assert (before, []) == (again, read)

    os.utime(folder / "config.json", ns=(1, 1))
    assert before == _identity(folder, memo)
    assert [folder / "config.json"] == read


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}'])
def test_a_broken_memo_is_as_none(tmp_path: Path, text: str) -> None:
    """What is remembered saves time only."""
    folder, memo = tiny.save(tmp_path / "model"), tmp_path / "weights.json"
    memo.write_text(text)

    assert _identity(folder) == _identity(folder, memo)
