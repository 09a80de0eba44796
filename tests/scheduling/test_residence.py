"""Sessions leave RAM once they are stored, and come back on demand."""

from typing import cast

from semantic_actors.actors import Deferred
from semantic_actors.domain.errors import NeverFits, TurnFailed
from semantic_actors.domain.ids import LOCAL, Principal, SequenceId, SessionId, TokenIds
from semantic_actors.scheduling.messages import (
    Admitted,
    Generated,
    Leave,
    Left,
    Refused,
    SequenceFailed,
    SubscriberMessage,
    Warm,
)
from semantic_actors.scheduling.residence import Leaving, residents, warming
from semantic_actors.scheduling.sequence import Sequence
from tests.scheduling.rig import Rig, Shelf, sequence
from tests.scheduling.test_keeping import rig, words

A, B = SessionId("a"), SessionId("b")
NOBODY_YET = object()


class Answer:
    """What an asker gets."""

    def __init__(self) -> None:
        self.given: object = NOBODY_YET
        self.abandoned = False

    def resolve(self, value: object) -> None:
        """Answer."""
        self.given = value

    def reject(self, error: Exception) -> None:
        """Answer with an error."""
        self.given = error


def of(session: SessionId, id_: int, tokens: TokenIds, principal: Principal = LOCAL) -> Sequence:
    """Make a submission of a session."""
    made = sequence(id_, tokens, stop_ids=frozenset(), principal=principal)
    made.session = session
    return made


def leaving(rig: Rig, session: SessionId, *, stored: bool = True) -> tuple[Leaving, Answer]:
    """Have a session begin to leave."""
    answer = Answer()
    reply = cast("Deferred[Left]", answer)
    return Leaving(Leave(LOCAL, session, stored), reply, rig.batch), answer


def test_caches_leave_when_they_are_stored() -> None:
    """Those of the session only; what they took is free, and nothing is lost."""
    shelf = Shelf()
    both = rig(shelf)
    for number, session in enumerate((A, B), 1):
        both.submit(of(session, number, words(number, 700)))
    both.finish()
    used = both.batch.pool.used_bytes

    one, answer = leaving(both, A)

    assert one.advance()
    assert answer.given == Left(used - both.batch.pool.used_bytes, 0)
    assert residents(both.batch) == {(LOCAL, B)}
    both.finish()
    assert shelf.look_up(LOCAL, words(1, 700)) == 700


def test_a_slow_store_is_waited_for() -> None:
    """What is on its way there stays in RAM until it has arrived."""
    shelf = Shelf(slow=1.0)
    slow = rig(shelf)
    slow.submit(of(A, 1, words(1, 700)))
    for _ in range(30):
        slow.step()
    one, answer = leaving(slow, A)

    assert not one.advance()
    assert answer.given is NOBODY_YET
    assert residents(slow.batch) == {(LOCAL, A)}

    shelf.slow = 0.0
    slow.finish()
    assert one.advance()
    assert isinstance(answer.given, Left)
    assert answer.given.lost_tokens == 0
    assert residents(slow.batch) == frozenset()


def test_what_cannot_be_stored_leaves_too_and_is_told() -> None:
    """Whoever asked for memory gets it, and hears what it costs."""
    failing = rig(Shelf(failing=1.0))
    failing.submit(of(A, 1, words(1, 700)))
    failing.finish()
    one, answer = leaving(failing, A)

    assert one.advance()
    assert isinstance(answer.given, Left)
    assert answer.given.lost_tokens >= 700


def test_what_is_to_be_forgotten_is_not_stored_first() -> None:
    """What has not been sent to the store never is."""
    shelf = Shelf(slow=1.0)
    slow = rig(shelf, dirty_bytes=1)
    slow.submit(of(A, 1, words(1, 700)))
    for _ in range(30):
        slow.step()
    one, _ = leaving(slow, A, stored=False)
    assert not one.advance()

    shelf.slow = 0.0
    slow.step()
    assert one.advance()
    slow.finish()
    assert shelf.look_up(LOCAL, words(1, 700)) <= 256


def test_an_answer_that_is_over_is_waited_for() -> None:
    """Its last step is still under way; an answer that goes on is not."""
    two = rig(Shelf())
    two.submit(of(A, 1, words(1, 300)))
    two.submit(of(B, 2, words(2, 300)))
    while len(two.answers) < 2 or not two.batch.stepping:
        two.step()
    two.batch.abort(SequenceId(1))

    over, told = leaving(two, A)
    going_on, told_at_once = leaving(two, B)

    assert not over.advance()
    assert going_on.advance()
    assert told_at_once.given == Left(0, 0)
    two.finish()
    assert over.advance()
    assert isinstance(told.given, Left)


def test_nobody_leaves_for_an_asker_who_left() -> None:
    """What was not done in time is not done behind his back."""
    shelf = Shelf(slow=1.0)
    slow = rig(shelf)
    slow.submit(of(A, 1, words(1, 300)))
    for _ in range(20):
        slow.step()
    one, answer = leaving(slow, A)
    answer.abandoned = True

    assert one.advance()
    assert residents(slow.batch) == {(LOCAL, A)}


def test_a_waiting_session_is_resident() -> None:
    """It has a turn open, if no cache yet."""
    full = rig(Shelf(), max_running=1)
    for number, session in enumerate((A, B), 1):
        full.submit(of(session, number, words(number, 300)))
    full.step()

    assert residents(full.batch) == {(LOCAL, A), (LOCAL, B)}


def test_a_session_is_warmed_by_a_prompt_that_nobody_hears() -> None:
    """All of its path is in RAM then, under its name."""
    shelf, path = Shelf(), words(1, 700)
    before = rig(shelf)
    before.submit(of(A, 1, path))
    before.finish()

    after = rig(shelf)
    warm, _ = warming(Warm(LOCAL, A, path), cast("Deferred[int]", Answer()))
    after.submit(warm)
    after.finish()

    assert residents(after.batch) == {(LOCAL, A)}
    match = after.batch.pool.match(LOCAL, (*path, 1, 2))
    assert match is not None
    assert match.keep == 700
    assert after.batch.restorer.restored_total == 699


def test_whoever_asked_for_warmth_hears_how_it_went() -> None:
    """With the tokens found, or with the reason why not."""
    warm = Warm(LOCAL, A, (1, 2, 3))
    refusal = NeverFits(2, 1)
    endings: list[tuple[list[SubscriberMessage], object]] = [
        ([Admitted(SequenceId(1), 2), Generated(SequenceId(1), (5,), "length")], 2),
        ([Refused(SequenceId(1), refusal)], refusal),
    ]
    for news, expected in endings:
        answer = Answer()
        _, heard = warming(warm, cast("Deferred[int]", answer))
        for one in news:
            heard(one)
        assert answer.given == expected

    failed = Answer()
    warming(warm, cast("Deferred[int]", failed))[1](SequenceFailed(SequenceId(1), "broken"))
    assert isinstance(failed.given, TurnFailed)
