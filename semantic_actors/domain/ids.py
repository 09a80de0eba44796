"""Names of the things that travel between rooms.

A `NewType` costs nothing at run time and lets the type checker refuse a session where a sequence
belongs.
"""

from typing import NewType

Principal = NewType("Principal", str)
"""Who is asking: the name of a key configured on the server, or `LOCAL`."""

SessionId = NewType("SessionId", str)
"""An agent session within its principal; chosen by the client or minted by us."""

RequestId = NewType("RequestId", str)
"""One HTTP request; in its answer's headers and in every log line it causes."""

TurnId = NewType("TurnId", int)
"""One answer being produced inside a session; unique in the process."""

SequenceId = NewType("SequenceId", int)
"""One submission to the scheduler; unique in the process, so never reused by a later epoch."""

CacheId = NewType("CacheId", int)
"""One KV cache inside the engine; unique in the process."""

TokenIds = tuple[int, ...]
"""Token ids of the served model's vocabulary, oldest first."""

LOCAL = Principal("local")
"""Every request on loopback when no keys are configured."""
