"""Laws of the mailbox."""

import asyncio

import pytest

from semantic_actors.actors import ActorStopped, MailboxFull
from semantic_actors.actors.mailbox import Envelope, Intake, Mailbox
from tests.actors.cast import Note, UrgentNote
from tests.sim import simulated


def _data(word: str) -> Envelope:
    return Envelope(Note(word), None)


def _control(word: str) -> Envelope:
    return Envelope(UrgentNote(word), None)


def _read(mailbox: Mailbox) -> list[str]:
    words = []
    while (envelope := mailbox.pop()) is not None:
        assert isinstance(envelope.message, Note)
        words.append(envelope.message.word)
    return words


def test_control_overtakes_data() -> None:
    """Control is read first, and never twice in a row while data waits; lanes keep their order."""
    mailbox = Mailbox("a", 4)

    for envelope in (_data("d1"), _control("c1"), _data("d2"), _control("c2")):
        mailbox.put(envelope)

    assert _read(mailbox) == ["c1", "d1", "c2", "d2"]


@pytest.mark.parametrize("make", [_data, _control])
def test_both_lanes_are_bounded(make: type[Envelope]) -> None:
    """`put` beyond the capacity of a lane raises at once, and the message is not in."""
    mailbox = Mailbox("a", 2)
    mailbox.put(make("1"))  # type: ignore[arg-type, call-arg]
    mailbox.put(make("2"))  # type: ignore[arg-type, call-arg]

    with pytest.raises(MailboxFull, match=r"'a' is full: 2"):
        mailbox.put(make("3"))  # type: ignore[arg-type, call-arg]

    assert _read(mailbox) == ["1", "2"]


def test_the_line_is_served_in_order_before_new_tells() -> None:
    """Who waits for room enters first come first served; a tell cannot jump the line."""
    mailbox = Mailbox("a", 1)
    for word in ("1", "2", "3"):
        mailbox.put_when_room(_data(word))

    assert mailbox.pop() is not None
    with pytest.raises(MailboxFull):
        mailbox.put(_data("jumper"))

    assert _read(mailbox) == ["2", "3"]


def test_nobody_jumps_the_line_when_the_capacity_grows() -> None:
    """A new instance may have a larger mailbox; who stood in line is still served first."""
    mailbox = Mailbox("a", 1)
    for word in ("1", "2", "3"):
        mailbox.put_when_room(_data(word))

    mailbox.capacity = 9
    with pytest.raises(MailboxFull):
        mailbox.put(_data("jumper"))
    mailbox.put_when_room(_data("4"))

    assert _read(mailbox) == ["1", "2", "3", "4"]


@simulated
async def test_an_asker_that_gives_up_leaves_the_line() -> None:
    """Abandoned asks take no memory while the actor is stuck."""
    mailbox = Mailbox("a", 1)
    mailbox.put(_data("stuck"))
    replies = [asyncio.get_running_loop().create_future() for _ in range(9)]
    for reply in replies:
        mailbox.put_when_room(Envelope(Note("ask"), None, reply=reply))
    assert len(mailbox) == 10

    for reply in replies:
        reply.cancel()
    await asyncio.sleep(0)

    assert len(mailbox) == 1


def test_a_draining_mailbox_takes_control_and_kernel_events_only() -> None:
    """Draining refuses new data, lets in control, and what the actor itself has under way."""
    mailbox = Mailbox("a", 4)
    mailbox.intake = Intake.CONTROL

    for enter in (mailbox.put, mailbox.put_when_room):
        with pytest.raises(ActorStopped):
            enter(_data("refused"))
    mailbox.put(_control("control"))

    assert mailbox.deliver(_data("outcome"))
    assert _read(mailbox) == ["control", "outcome"]


def test_a_closed_mailbox_hands_back_what_was_never_read() -> None:
    """Close returns lanes and line, and everything is refused from then on."""
    mailbox = Mailbox("a", 1)
    for word in ("1", "2"):
        mailbox.put_when_room(_data(word))

    left = mailbox.close()

    assert [Note("1"), Note("2")] == [envelope.message for envelope in left]
    assert not mailbox.deliver(_data("event"))
    with pytest.raises(ActorStopped):
        mailbox.put(_control("control"))
