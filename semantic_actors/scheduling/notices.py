"""What the outside must hear of a step: a `Notice` a piece."""

from typing import ClassVar

import msgspec

from semantic_actors.domain.ids import SequenceId
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

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.finish is not None


class FailedNotice(msgspec.Struct, frozen=True):
    """The engine could not go on with this sequence."""

    sequence: SequenceId
    reason: str
    last: ClassVar[bool] = True


Notice = AdmittedNotice | TokenNotice | FailedNotice
