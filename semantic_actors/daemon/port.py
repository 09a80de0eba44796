"""Whether the daemon could listen where it is told to."""

import socket


def refusal(host: str, port: int) -> str | None:
    """Say why `host` and `port` cannot be listened on now; None if they can."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return None
