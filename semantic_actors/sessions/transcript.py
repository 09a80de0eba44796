"""What a session generated, so that a conversation that comes back is recognised.

Each message prefix of a conversation has a digest chained over its canonical messages. For every
answer the session keeps the token ids it generated under the digest of the conversation that ends
with it: when a client sends the conversation back, those very ids stand in place of the
re-rendered message, and the next prompt is a pure append of the last.

Arguments of tool calls are left out of the digest: clients re-serialise them. The call id, which
we made, is enough. So are thoughts, which clients send back or do not.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec

from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.limits import MAX_REPLAY_TOKENS
from semantic_actors.domain.request import ChatMessage
from semantic_actors.text import in_call_order

Digest = bytes


def digests(messages: Sequence[ChatMessage], parent: Digest = b"") -> list[Digest]:
    """Return the digest of each prefix of the conversation, shortest first.

    Results of calls that were made at once count in the order of the calls, however they come.
    """
    chain = []
    for message in in_call_order(messages):
        parent = _digest(parent, message)
        chain.append(parent)
    return chain


def essence(message: ChatMessage) -> tuple[object, ...]:
    """Return what makes a message the same when it comes back, however it was serialised.

    Clients trim an answer, drop what is blank in it and join its parts anew: where the ids of calls
    say which answer it is, white space says nothing.
    """
    content = message.content if message.content.strip() else ""
    if message.role == "assistant":
        content = "".join(content.split()) if message.tool_calls else content.strip()
    calls = tuple((call.id, call.name) for call in message.tool_calls)
    return message.role, content, calls, message.tool_call_id


def _digest(parent: Digest, message: ChatMessage) -> Digest:
    fields = (parent.hex(), *essence(message))
    return hashlib.sha256(msgspec.json.encode(fields)).digest()


class Transcript:
    """The answers of one session by conversation digest, the oldest forgotten first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Digest, array[int]] = OrderedDict()
        self._tokens = 0

    def __bool__(self) -> bool:
        return bool(self._answers)

    def restore(self, answers: Iterable[tuple[Digest, TokenIds]]) -> None:
        """Take up again what a store has kept, oldest first."""
        for digest, tokens in answers:
            self._keep(digest, tokens)

    def remember(self, conversation: Digest, answer: ChatMessage, tokens: TokenIds) -> Digest:
        """Keep the ids of an answer; returns the digest of the conversation that ends with it."""
        (digest,) = digests([answer], conversation)
        self._keep(digest, tokens)
        return digest

    def replay(self, chain: Sequence[Digest]) -> dict[int, TokenIds]:
        """Find the ids we generated for assistant messages, by message index.

        `chain` is what `digests` returns. Safe on another thread: it makes single look-ups only.
        """
        return {
            index: tuple(tokens)
            for index, digest in enumerate(chain)
            if (tokens := self._answers.get(digest)) is not None
        }

    def _keep(self, digest: Digest, tokens: TokenIds) -> None:
        self._forget(digest)
        self._answers[digest] = array("I", tokens)
        self._tokens += len(tokens)
        while self._tokens > MAX_REPLAY_TOKENS and len(self._answers) > 1:
            self._forget(next(iter(self._answers)))

    def _forget(self, digest: Digest) -> None:
        self._tokens -= len(self._answers.pop(digest, ()))
