"""Where the daemon keeps its state: files that outlive it, and that nobody else may read."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = "semantic-actors"


def state_directory(chosen: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the chosen folder, that of the service manager, or the platform's own."""
    if chosen:
        return Path(chosen).expanduser()
    if managed := environment.get("STATE_DIRECTORY"):
        return Path(managed.split(":", maxsplit=1)[0])
    if xdg := environment.get("XDG_STATE_HOME"):
        return Path(xdg) / NAME
    if sys.platform == "darwin":
        return Path("~/Library/Application Support").expanduser() / NAME
    return Path("~/.local/state").expanduser() / NAME
