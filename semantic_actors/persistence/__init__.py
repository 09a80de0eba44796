"""The disk: one actor that keeps keys, values and sessions, and verifies all that it gives back.

It knows token ids, rows and bytes; of models it knows an identity and a layout.
"""

from semantic_actors.persistence.absent import StoreOrNone
from semantic_actors.persistence.errors import StateDirectoryLocked, StateDirectoryRefused
from semantic_actors.persistence.fs import Fs, OsFs, open_state
from semantic_actors.persistence.messages import (
    DropResponse,
    Fetch,
    Fetched,
    FindResponse,
    ForgetSession,
    Forgotten,
    ForkSession,
    InspectStore,
    KeepResponse,
    ListSessions,
    LookUp,
    PinSession,
    Recall,
    Recite,
    Recognise,
    Remember,
    RewindSession,
    Save,
    Saved,
    SessionEntry,
    StoreMessage,
)
from semantic_actors.persistence.statistics import StoreStatistics
from semantic_actors.persistence.store import Store

__all__ = [
    "DropResponse",
    "Fetch",
    "Fetched",
    "FindResponse",
    "ForgetSession",
    "Forgotten",
    "ForkSession",
    "Fs",
    "InspectStore",
    "KeepResponse",
    "ListSessions",
    "LookUp",
    "OsFs",
    "PinSession",
    "Recall",
    "Recite",
    "Recognise",
    "Remember",
    "RewindSession",
    "Save",
    "Saved",
    "SessionEntry",
    "StateDirectoryLocked",
    "StateDirectoryRefused",
    "Store",
    "StoreMessage",
    "StoreOrNone",
    "StoreStatistics",
    "open_state",
]
