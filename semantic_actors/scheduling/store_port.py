"""What the batch wants of the store, in the store's own words."""

from typing import Any

from semantic_actors.actors import ActorRef, ActorStopped, MailboxFull
from semantic_actors.persistence.messages import Fetch, Fetched, LookUp, Save, Saved, StoreMessage
from semantic_actors.scheduling.notices import FetchNotice, SaveNotice
from semantic_actors.scheduling.sequence import Sequence


def look_up(sequence: Sequence) -> LookUp:
    """Ask how much of a sequence is stored."""
    return LookUp(sequence.principal, tuple(sequence.tokens))


def pass_on(
    store: ActorRef[StoreMessage], notice: FetchNotice | SaveNotice, reply_to: ActorRef[Any]
) -> None:
    """Ask the store for rows, or to keep some; one that cannot be asked has neither."""
    try:
        store.tell(_request(notice, reply_to))
    except (MailboxFull, ActorStopped) as error:
        reply_to.post(_no_answer(notice, str(error)))


def _request(notice: FetchNotice | SaveNotice, reply_to: ActorRef[Any]) -> Fetch | Save:
    if isinstance(notice, SaveNotice):
        return Save(notice.save, notice.principal, notice.tokens, notice.rows, reply_to)
    wanted = (notice.start, notice.stop)
    return Fetch(notice.fetch, notice.principal, notice.tokens, *wanted, reply_to)


def _no_answer(notice: FetchNotice | SaveNotice, reason: str) -> Fetched | Saved:
    if isinstance(notice, SaveNotice):
        return Saved(notice.save, reason)
    return Fetched(notice.fetch, (), reason)
