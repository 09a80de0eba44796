"""Where mlx computes, for people to read."""


def default_device() -> str:
    """Name mlx's default device. Imports mlx: `blas.preload` comes first. Raises ImportError."""
    import mlx.core as mx  # noqa: PLC0415 (this module must import without mlx)

    return str(mx.default_device())
