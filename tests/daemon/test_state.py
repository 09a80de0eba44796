"""The state directory is the one that was asked for, or the one a user would look in."""

import sys
from pathlib import Path

import pytest

from semantic_actors.daemon.state import state_directory

HOME = Path.home()


@pytest.mark.parametrize(
    ("chosen", "environment", "expected"),
    [
        ("/a/b", {"STATE_DIRECTORY": "/c"}, Path("/a/b")),
        ("~/b", {}, HOME / "b"),
        ("", {"STATE_DIRECTORY": "/c:/d", "XDG_STATE_HOME": "/e"}, Path("/c")),
        ("", {"XDG_STATE_HOME": "/e"}, Path("/e/semantic-actors")),
    ],
)
def test_the_nearest_wish_wins(chosen: str, environment: dict[str, str], expected: Path) -> None:
    """A setting comes before the service manager, which comes before the desktop."""
    assert expected == state_directory(chosen, environment)


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", HOME / ".local/state/semantic-actors"),
        ("darwin", HOME / "Library/Application Support/semantic-actors"),
    ],
)
def test_each_platform_has_its_place(
    monkeypatch: pytest.MonkeyPatch, platform: str, expected: Path
) -> None:
    """Without a wish it is where the platform keeps such things."""
    monkeypatch.setattr(sys, "platform", platform)

    assert expected == state_directory("", {})
