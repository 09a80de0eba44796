"""Messages: immutable values that actors exchange; each is defined beside its receiver."""

from typing import ClassVar, Generic, TypeVar

import msgspec

R = TypeVar("R")


class Message(msgspec.Struct, frozen=True):
    """A value told to an actor. Big data travels as a handle, never inside."""

    control: ClassVar[bool] = False
    """Whether messages of this type travel on the control lane, which overtakes data."""


class Request(Message, Generic[R], frozen=True):
    """A message that is answered with an `R`."""
