"""What attention is asked for."""

from dataclasses import dataclass, replace

import mlx.core as mx

ALL = slice(None)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a layer asks for. `window` is the number of tokens a row sees, itself included."""

    scale: float
    window: int | None
    sinks: mx.array | None


@dataclass(frozen=True, slots=True)
class Part:
    """Queries `(sequences, heads, rows, width)` over `(sequences, kv heads, tokens, width)`.

    The rows are the last of the tokens. `mask` says what of them each row sees: all, itself and
    what comes before, or what an array says that broadcasts to `(sequences, heads, rows, tokens)`.
    """

    queries: mx.array
    keys: mx.array
    values: mx.array
    mask: mx.array | str | None = None

    @property
    def scores(self) -> int:
        """Numbers in the matrix of its scores."""
        sequences, heads, rows, _ = self.queries.shape
        return int(sequences * heads * rows * self.keys.shape[2])

    def over(self, tokens: slice, rows: slice = ALL, mask: mx.array | str | None = None) -> "Part":
        """Take some rows and some tokens of it."""
        return replace(
            self,
            queries=self.queries[:, :, rows],
            keys=self.keys[:, :, tokens],
            values=self.values[:, :, tokens],
            mask=mask,
        )
