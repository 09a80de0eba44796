"""Laws of the time to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.domain.ids import SequenceId
from semantic_actors.scheduling.turnover import (
    DEPARTURES_REMEMBERED,
    LONGEST_WAIT_S,
    Turnover,
)


def served(turnover: Turnover, count: int, seconds: float, at: float = 0.0) -> None:
    """Let `count` sequences stay so long."""
    for id_ in range(count):
        turnover.admitted(SequenceId(id_), at)
        turnover.left(SequenceId(id_), at + seconds)


def running(turnover: Turnover, count: int, at: float = 100.0) -> None:
    """Admit `count` sequences that stay."""
    for id_ in range(1_000, 1_000 + count):
        turnover.admitted(SequenceId(id_), at)


def test_the_queue_moves_as_fast_as_sequences_leave() -> None:
    """Four running, eight seconds each: one leaves every two, the sixth waits twelve."""
    turnover = Turnover()
    served(turnover, 10, 8.0)
    running(turnover, 4)

    assert turnover.retry_after_s(5, 100.0) == 12


def test_one_that_runs_alone_is_not_taken_for_many() -> None:
    """Memory may let fewer run than there are places: only those that do are counted."""
    turnover = Turnover()
    served(turnover, 10, 8.0)
    running(turnover, 1)

    assert turnover.retry_after_s(2, 100.0) == 24


def test_before_anyone_has_left_the_longest_stay_stands_for_all() -> None:
    """A fresh house under load does not call its clients back at once."""
    turnover = Turnover()
    running(turnover, 2, at=100.0)

    assert turnover.retry_after_s(3, 110.0) == 20
    assert Turnover().retry_after_s(0, 0.0) == 1


def test_what_was_long_ago_is_forgotten() -> None:
    """As many departures as are remembered outweigh all earlier ones."""
    turnover = Turnover()
    served(turnover, 50, 60.0)
    served(turnover, DEPARTURES_REMEMBERED, 2.0)
    running(turnover, 1)

    assert turnover.retry_after_s(4, 100.0) == 10


def test_who_never_ran_and_who_is_forgotten_count_for_nothing() -> None:
    """Refused and cancelled ones in the queue, and probes, say nothing of the speed."""
    turnover = Turnover()
    served(turnover, 3, 8.0)
    turnover.left(SequenceId(77), 5.0)
    turnover.admitted(SequenceId(78), 5.0)
    turnover.forget(SequenceId(78))
    turnover.left(SequenceId(78), 5.0)

    assert turnover.retry_after_s(0, 5.0) == 8


def test_a_preempted_sequence_stays_from_its_first_admission() -> None:
    """It was computed twice, and took its place as long as both took."""
    turnover = Turnover()
    turnover.admitted(SequenceId(1), 0.0)
    turnover.admitted(SequenceId(1), 6.0)
    turnover.left(SequenceId(1), 9.0)

    assert turnover.retry_after_s(0, 9.0) == pytest.approx(9)


@given(
    st.lists(st.floats(0, 1e6)), st.integers(0, 100_000), st.integers(0, 64), st.floats(100, 1e6)
)
def test_it_is_whole_seconds_that_clients_honour(
    stays: list[float], waiting: int, count: int, now: float
) -> None:
    """At least one, at most a minute."""
    turnover = Turnover()
    for stay in stays:
        served(turnover, 1, stay)
    running(turnover, count)

    answer = turnover.retry_after_s(waiting, now)

    assert isinstance(answer, int)
    assert 1 <= answer <= LONGEST_WAIT_S
