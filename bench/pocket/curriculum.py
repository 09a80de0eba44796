"""The stages of the training: ever longer sequences, with shorter ones among them."""

from dataclasses import dataclass, replace
from random import Random

from dialogues import Mix


@dataclass(frozen=True)
class Stage:
    """Sequences of one length and mix, used until this share of the time has passed.

    `back`: how often a step takes this stage, the one before, two before, to forget nothing.
    """

    until: float
    length: int
    mix: Mix
    back: tuple[int, int, int] = (88, 12, 0)


LONG = Mix(filler=0.22, filler_words=(2, 70), facts=(2, 12), buried=0.2, system_words=250, far=0.7)
STAGES = (
    Stage(
        0.05,
        192,
        Mix(
            fact=0.26,
            filler=0.05,
            repeat=0.12,
            tool=0.10,
            talk=0.04,
            facts=(2, 6),
            filler_words=(1, 5),
            buried=0,
            with_tools=0.15,
            system_words=8,
        ),
    ),
    Stage(
        0.14,
        384,
        Mix(
            fact=0.14,
            filler=0.14,
            repeat=0.08,
            tool=0.15,
            talk=0.06,
            facts=(2, 8),
            filler_words=(1, 14),
            buried=0.1,
            with_tools=0.3,
            system_words=20,
        ),
    ),
    Stage(0.28, 768, Mix(oldest=0.2, system_words=60, far=0.4)),
    Stage(0.68, 1792, LONG),
    Stage(1.0, 3584, replace(LONG, facts=(2, 16), filler_words=(2, 120), far=0.8), (45, 30, 25)),
)


def stage_at(share: float, rng: Random) -> Stage:
    """The stage of a step when this share of the time has passed."""
    index = next(place for place, stage in enumerate(STAGES) if share < stage.until)
    back = rng.choices((0, 1, 2), STAGES[index].back)[0]
    return STAGES[max(0, index - back)]
