"""A feed that fails, fails alone; work that nobody needs is never done."""

from collections.abc import Callable
from typing import Any

import pytest

from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import BrokenLaw, FakeBackend, Fed, FeedFailed
from semantic_actors.engine.protocol import Backend, Feed, Plan
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

    def __call__(self, ids: Any, cache: object) -> object:
        """Answer as the model does, but poison the rows of one token."""
        import mlx.core as mx  # noqa: PLC0415 (after the BLAS)

        logits = self._model(ids, cache=cache)  # type: ignore[operator]
        poisoned = (ids == self._token)[..., None]
        if not mx.any(poisoned).item():
            return logits
        return mx.where(poisoned[: logits.shape[0]], self._poison(logits), logits)  # type: ignore[arg-type]


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
    forward: Any = backend._forward
    forward._model = Poisoned(forward._model, 13, poison)
    return backend


FAILING = {
    "fake": lambda: _fails_on(13),
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
    [still] = driver.step({failing: (1,)})
    assert still == failed
    driver.backend.launch(Plan(1, drops=(failing,)))()
    with pytest.raises(BrokenLaw):
        driver.step({failing: (1,)})
    driver.step({first: (7,), last: (7,)}, GREEDY)


@pytest.mark.parametrize("poison", [_raises, _cannot_be_evaluated])
def test_what_a_step_raises_ends_it(poison: Callable[[object], object]) -> None:
    """Nothing is swallowed: the thread ends by it, and the next epoch starts anew."""
    backend = _poisoned(poison)
    driver = Driver(backend)
    first, failing = driver.new(), driver.new()

    with pytest.raises((ValueError, RuntimeError)):
        driver.step({first: (5,), failing: (13,)}, GREEDY)

    backend.reset()
    again = Driver(backend)
    assert again.token(again.new(), (1, 2, 5), GREEDY) >= 0


def test_a_token_after_a_failed_one_fails_too() -> None:
    """A step that was launched on a token which turns out to be none comes to nothing."""
    backend = _poisoned(_is_no_number)
    driver = Driver(backend)
    cache = driver.new()
    driver.feed(cache, (1, 2))

    first = backend.launch(Plan(1, feeds=(Feed(cache, 2, (13,), GREEDY),)))
    second = backend.launch(Plan(2, feeds=(Feed(cache, 3, (), GREEDY),)))

    assert isinstance(first().results[0], FeedFailed)
    assert isinstance(second().results[0], FeedFailed)


def test_logits_nobody_draws_from_are_never_made() -> None:
    """A chunk without sampling makes no logits."""
    driver = Driver(_poisoned(_cannot_be_evaluated))
    cache = driver.new()

    driver.feed(cache, (13,))
    driver.feed(cache, (*tiny.words(1, 40), 13))
    fed = driver.feed(cache, (*tiny.words(2, 40), 7), GREEDY)

    assert fed.token is not None
