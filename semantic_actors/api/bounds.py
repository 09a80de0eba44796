"""How much, and for how long, the HTTP room puts up with one client.

The defaults are the table in `domain/limits.py`; tests and operators pass other ones.
"""

import msgspec

from semantic_actors.api.fields import Attachments
from semantic_actors.domain import limits


class Bounds(msgspec.Struct, frozen=True):
    """Caps of the HTTP server. A tighter one is always safe."""

    max_connections: int = limits.MAX_CONNECTIONS
    """Open connections; one more is closed as it is accepted."""

    max_body_bytes: int = limits.MAX_BODY_BYTES
    """A request's body."""

    head_deadline_s: float = 75.0
    """Seconds a connection may stay silent, or take to send the head of its next request.

    Longer than the idle limit of the HTTP pools of clients, so that they close first.
    """

    body_deadline_s: float = limits.BODY_DEADLINE_S
    """Seconds a body may take to arrive."""

    write_deadline_s: float = limits.WRITE_DEADLINE_S
    """Seconds a reader may leave its socket full."""

    attachments: Attachments = "refuse"
    """What becomes of images and documents."""

    ping_interval_s: float = limits.PING_INTERVAL_S
    """Seconds of silence in a stream before a keep-alive."""
