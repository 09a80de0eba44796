"""Why a state directory is not served from, and why a file in it is not read."""

import enum
from typing import Final

from semantic_actors.domain.errors import ConfigurationError, SemanticActorsError


class StateDirectoryRefused(ConfigurationError):
    """The state directory is not safely ours; the message says what to change."""


class StateDirectoryLocked(StateDirectoryRefused):
    """Another daemon works in the state directory."""

    def __init__(self, directory: str, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(f"state directory {directory} is in use by {who}")
        self.pid = pid


class CatalogTooNew(SemanticActorsError):
    """The catalog was written by a later major version; it is left as it is."""


class CatalogDamaged(SemanticActorsError):
    """The catalog's file cannot be relied on; it is rebuilt from the files that it lists."""


class Flaw(enum.Enum):
    """What is wrong with a file, for the log and the counters."""

    MISSING = "there is no such file"
    REFUSED = "it is not a regular file of our own"
    FAILING = "the disk fails to read it"
    UNREADABLE = "it cannot be read now"
    SIZE = "its size is not what it should be"
    HEADER = "its header is malformed"
    VERSION = "a later major version wrote it"
    IDENTITY = "it was computed by another model, or otherwise"
    NAME = "its name is not that of its content"
    TOKENS = "its tokens are not the expected ones"
    LAYOUT = "its tensors are not the expected ones"
    CHECKSUM = "its bytes are not those that were written"


KEPT: Final = frozenset({Flaw.VERSION, Flaw.UNREADABLE})
"""Flaws that are not the file's own: it is left where it is."""


class Flawed(SemanticActorsError):
    """A file that must not be used."""

    def __init__(self, flaw: Flaw, detail: str = "") -> None:
        super().__init__(f"{flaw.value}: {detail}" if detail else flaw.value)
        self.flaw = flaw
