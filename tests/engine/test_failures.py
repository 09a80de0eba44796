"""A feed that fails, fails alone; work that nobody needs is never done."""

from collections.abc import Callable

import pytest

from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import BrokenLaw, FakeBackend, Fed, FeedFailed
from semantic_actors.engine.protocol import Backend
from tests.engine import tiny
from tests.engine.driver import Driver


def _fails_on(token: int) -> Backend:
    def think(tokens: tuple[int, ...]) -> int:
        if tokens[-1] == token:
            raise ValueError(token)
        return len(tokens)

    return FakeBackend(vocabulary=320, think=think)


class Poisoned:
    """A model that raises while it builds, or answers what cannot be evaluated or is no number."""

    def __init__(self, model: object, token: int, poison: Callable[[object], object]) -> None:
        self._model = model
        self._token = token
        self._poison = poison

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def __call__(self, ids: object, cache: object) -> object:
        """Answer as the model does, but for the poisoned token."""
        logits = self._model(ids, cache=cache)  # type: ignore[operator]
        return self._poison(logits) if ids[0, -1].item() == self._token else logits  # type: ignore[index]


def _raises(_: object) -> object:
    msg = "while the graph is built"
    raise ValueError(msg)


def _cannot_be_evaluated(logits: object) -> object:
    import mlx.core as mx  # noqa: PLC0415 (after the BLAS)

    half = logits.astype(mx.bfloat16)[:, :, None]  # type: ignore[attr-defined]
    expert = mx.zeros((1, half.shape[-1], half.shape[-1]), mx.bfloat16)
    return mx.gather_mm(half, expert, rhs_indices=mx.array([0]))[:, :, 0]  # not on a CPU


def _is_no_number(logits: object) -> object:
    return logits * float("nan")  # type: ignore[operator]


def _poisoned(poison: Callable[[object], object]) -> Backend:
    backend = tiny.backend("llama")
    backend._model = Poisoned(backend._model, 13, poison)
    return backend


FAILING = {
    "fake": lambda: _fails_on(13),
    "building": lambda: _poisoned(_raises),
    "evaluating": lambda: _poisoned(_cannot_be_evaluated),
    "nan": lambda: _poisoned(_is_no_number),
}


@pytest.mark.parametrize("make", FAILING.values(), ids=FAILING)
def test_a_failed_feed_harms_nobody_else(make: Callable[[], Backend]) -> None:
    """The feed that raises loses its cache and says why; the others of its step go on."""
    backend = make()
    driver = Driver(backend)
    first, failing, last = (driver.new() for _ in range(3))
    driver.step({first: (1, 2), failing: (1, 2), last: (3, 4)})

    results = driver.step({first: (5,), failing: (13,), last: (6,)}, GREEDY)

    fresh = Driver(make())
    expected = [fresh.token(fresh.new(), tokens, GREEDY) for tokens in ((1, 2, 5), (3, 4, 6))]
    assert expected == [result.token for result in results if isinstance(result, Fed)]
    [failed] = [result for result in results if isinstance(result, FeedFailed)]
    assert failed.cache == failing
    assert failed.reason
    with pytest.raises(BrokenLaw):
        driver.step({failing: (1,)})
    driver.step({first: (7,), last: (7,)}, GREEDY)


def test_logits_nobody_draws_from_are_never_made() -> None:
    """A chunk without sampling, and all of a long chunk but its last token, make no logits."""
    driver = Driver(_poisoned(_cannot_be_evaluated))
    cache = driver.new()

    driver.feed(cache, (13,))
    driver.feed(cache, (*tiny.words(1, 40), 13))
    fed = driver.feed(cache, (*tiny.words(2, 40), 13, 7), GREEDY)

    assert fed.token is not None
