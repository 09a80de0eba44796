"""Laws of the keys file."""

from pathlib import Path

import pytest

from semantic_actors.daemon.keys import read_keys
from semantic_actors.domain.errors import ConfigurationError

KEY = "0123456789abcdef"


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    """Make a keys file."""
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_keys_are_read_by_name(tmp_path: Path) -> None:
    """Comments and blank lines are nothing."""
    path = write(tmp_path, f"# team\n\nalice: {KEY}  # laptop\nbob: {KEY}2\n")

    assert read_keys(path) == {"alice": KEY, "bob": KEY + "2"}


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """The message says what to do."""
    with pytest.raises(ConfigurationError, match=r"mode 0644.*chmod 600"):
        read_keys(write(tmp_path, f"alice: {KEY}", mode=0o644))


@pytest.mark.parametrize("line", ["alice", "alice: short", f": {KEY}", f"a: {KEY}\na: {KEY}"])
def test_a_line_that_is_no_key_is_named(tmp_path: Path, line: str) -> None:
    """The message has the line number and never the key."""
    with pytest.raises(ConfigurationError, match=r"keys:\d: write `name: key`") as error:
        read_keys(write(tmp_path, line))

    assert KEY not in str(error.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """A file without keys would open the door to all."""
    with pytest.raises(ConfigurationError, match="holds no keys"):
        read_keys(write(tmp_path, "# none\n"))
