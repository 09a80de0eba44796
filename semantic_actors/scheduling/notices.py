"""What the outside must hear of a step: a `Notice` a piece."""

from typing import ClassVar

import msgspec

from semantic_actors.domain.ids import Principal, SequenceId, TokenIds
from semantic_actors.engine.protocol import TokenLogprobs
from semantic_actors.kv.layout import Rows
from semantic_actors.scheduling.sequence import SequenceFinish


class AdmittedNotice(msgspec.Struct, frozen=True):
    """The sequence left the queue; `cached` tokens of it were found."""

    sequence: SequenceId
    cached: int
    last: ClassVar[bool] = False


class TokenNotice(msgspec.Struct, frozen=True):
    """A token was drawn; with `finish` it was the last."""

    sequence: SequenceId
    token: int | None
    finish: SequenceFinish | None
    logprobs: TokenLogprobs | None = None

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.finish is not None


class FailedNotice(msgspec.Struct, frozen=True):
    """The engine could not go on with this sequence; `permanent` as in `FeedFailed`."""

    sequence: SequenceId
    reason: str
    permanent: bool = False
    last: ClassVar[bool] = True


class FetchNotice(msgspec.Struct, frozen=True):
    """Rows `start..stop` of a path are in the store, and wanted."""

    fetch: int
    principal: Principal
    tokens: TokenIds
    start: int
    stop: int


class SaveNotice(msgspec.Struct, frozen=True):
    """Rows of a path were copied out of the engine, and are to be stored."""

    save: int
    principal: Principal
    tokens: TokenIds
    rows: tuple[Rows, ...]


Notice = AdmittedNotice | TokenNotice | FailedNotice | FetchNotice | SaveNotice
