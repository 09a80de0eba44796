"""Attention by numpy's softmax is mlx's, whatever is masked."""

import pytest

from tests.engine import tiny  # noqa: F401 (first: it loads the BLAS)

import mlx.core as mx  # isort: skip

from semantic_actors.engine.forward import attention, host_softmax
from semantic_actors.engine.forward.terms import Part, Terms

HEADS, KV_HEADS, WIDTH = 6, 2, 16
CLOSE = 1e-5


def part(rows: int, tokens: int, sequences: int = 1, mask: mx.array | None = None) -> Part:
    """Noise."""
    mx.random.seed(rows * tokens)
    keys = mx.random.normal((2, sequences, KV_HEADS, tokens + 7, WIDTH))[..., :tokens, :]
    return Part(mx.random.normal((sequences, HEADS, rows, WIDTH)) * 3, keys[0], keys[1], mask)


def chunks() -> list[Part]:
    """A chunk at the start, one far behind it, and a single row."""
    return [part(9, 9), part(30, 200), part(1, 150)]


def group() -> list[Part]:
    """Sequences of three lengths, and one by itself."""
    seen = mx.array([40, 33, 1])[:, None]
    mask = (mx.arange(40)[None] >= 40 - seen)[:, None, None]
    return [part(1, 40, 3, mask), part(1, 90)]


@pytest.mark.parametrize("parts", [chunks(), group()], ids=["chunks", "group"])
@pytest.mark.parametrize("window", [None, 64, 16], ids=["full", "wide", "narrow"])
@pytest.mark.parametrize("sinks", [False, True], ids=["", "sinks"])
@pytest.mark.parametrize("most_bytes", [64 << 20, 5_000], ids=["whole", "divided"])
def test_the_host_attends_as_mlx_does(
    parts: list[Part],
    window: int | None,
    sinks: bool,  # noqa: FBT001 (a case)
    most_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Causal, windowed and padded rows, with sinks, in one piece and in many."""
    if window == 16:
        parts = [one for one in parts if one.mask is None]  # a group is cut to the window before
    terms = Terms(WIDTH**-0.5, window, mx.random.normal((HEADS,)) if sinks else None)
    waited: list[str] = []
    monkeypatch.setattr(host_softmax, "WORTH_WAITING", 1 << 40)
    expected = attention.attend(parts, terms, lambda: waited.append("mlx"))
    monkeypatch.setattr(host_softmax, "WORTH_WAITING", 0)
    monkeypatch.setattr(host_softmax, "BLOCK", 100)
    monkeypatch.setattr(attention, "MAX_SCORE_BYTES", most_bytes)

    answers = attention.attend(parts, terms, lambda: waited.append("host"))

    assert set(waited) == {"host"}
    for answer, same in zip(answers, expected, strict=True):
        assert answer.shape == same.shape
        assert mx.allclose(answer, same, rtol=0, atol=CLOSE)


def test_mlx_attends_where_it_is_not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, in other precisions, and where there is little to do."""
    monkeypatch.setattr(host_softmax, "WORTH_WAITING", 200)
    much, little = part(4, 100), part(1, 33)
    queries, keys, values = (
        one.astype(mx.float16) for one in (much.queries, much.keys, much.values)
    )
    half = Part(queries, keys, values)

    assert host_softmax.pays([much])
    assert host_softmax.pays([little, little])
    assert not host_softmax.pays([little])
    assert not host_softmax.pays([half])
    monkeypatch.setattr("sys.platform", "darwin")
    assert not host_softmax.pays([much])


def test_what_is_no_number_stays_with_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence whose cache is lost harms none beside it, and warns of nothing."""
    monkeypatch.setattr(host_softmax, "WORTH_WAITING", 0)
    sound, lost = part(3, 20), part(1, 30)
    broken = Part(lost.queries * float("inf"), lost.keys, lost.values)

    one, other = attention.attend([sound, broken], Terms(WIDTH**-0.5, None, None), lambda: None)

    assert mx.all(mx.isfinite(one))
    assert mx.any(mx.isnan(other))
