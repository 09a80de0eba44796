"""What mlx computes on, and the memory it has there.

Every function imports mlx (`blas.preload` comes first), so that this module imports without it.
They read or set plain numbers of the allocator and may be called on any thread.
"""


def default_device() -> str:
    """Name mlx's default device. Raises ImportError."""
    import mlx.core as mx  # noqa: PLC0415 (see the module)

    return str(mx.default_device())


def in_main_memory() -> bool:
    """Whether arrays lie in the machine's own memory: on a CPU, and where a GPU shares it."""
    import mlx.core as mx  # noqa: PLC0415 (see the module)

    return bool(mx.default_device() == mx.cpu or mx.metal.is_available())


def active_bytes() -> int:
    """Bytes of all arrays alive, weights included."""
    import mlx.core as mx  # noqa: PLC0415 (see the module)

    return int(mx.get_active_memory())


def wire(size_bytes: int) -> str:
    """Keep so many bytes resident on Metal; say what was done. Raises ValueError if too many."""
    import mlx.core as mx  # noqa: PLC0415 (see the module)

    if not mx.metal.is_available():
        return "wired limit: it does nothing but on Metal"
    mx.set_wired_limit(size_bytes)
    return f"wired limit: {size_bytes >> 20} MiB"
