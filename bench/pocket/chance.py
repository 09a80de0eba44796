"""Seeded choices: events with a probability, and one of several makers by weight."""

from collections.abc import Callable
from random import Random
from typing import TypeVar

Made = TypeVar("Made")


def happens(rng: Random, probability: float) -> bool:
    """Whether an event of this probability takes place."""
    return rng.random() < probability


def one_of(rng: Random, *makers: tuple[float, Callable[[], Made]]) -> Made:
    """What one maker makes; each is drawn in proportion to its weight."""
    (_, make), *_ = rng.choices(makers, [weight for weight, _ in makers])
    return make()
