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
class Before:
    """Tokens before a part's own, `(1, kv heads, tokens, width)`.

    `places` are the sequences that see them, None for all; `mask` what each of those sees.
    """

    keys: mx.array
    values: mx.array
    places: mx.array | None = None
    mask: mx.array | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Queries `(sequences, heads, rows, width)` over `(sequences, kv heads, tokens, width)`.

    The rows are the last of the tokens. `mask` says what of them each row sees: all, itself and
    what comes before, or what an array says that broadcasts to `(sequences, heads, rows, tokens)`.

    With `prefixes` the rows also see tokens before these. `behind` says that all of the tokens come
    before all of the rows.
    """

    queries: mx.array
    keys: mx.array
    values: mx.array
    mask: mx.array | str | None = None
    prefixes: tuple["Before", ...] = ()
    behind: bool = False

    @property
    def scores(self) -> int:
        """Numbers in the matrix of its scores."""
        sequences, heads, rows, _ = self.queries.shape
        return int(sequences * heads * rows * self.keys.shape[2])

    def before(self, prefix: "Before") -> "Part":
        """Ask for the tokens of a prefix only, with the sequences that have it, as rows of one."""
        queries = self.queries
        if prefix.places is not None:
            queries = queries[prefix.places]
        if queries.shape[0] > 1:
            queries = queries.swapaxes(0, 2)
        return Part(queries, prefix.keys, prefix.values, prefix.mask, behind=True)

    def over(self, tokens: slice, rows: slice = ALL, mask: mx.array | str | None = None) -> "Part":
        """Take some rows and some tokens of it."""
        return replace(
            self,
            queries=self.queries[:, :, rows],
            keys=self.keys[:, :, tokens],
            values=self.values[:, :, tokens],
            mask=mask,
        )
