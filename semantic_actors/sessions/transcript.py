"""What a session generated, so that a conversation that comes back is recognised.

Each message prefix of a conversation has a digest chained over its canonical messages. For every
answer the session keeps the token ids it generated under the digest of the conversation that ends
with it: when a client sends the conversation back, those very ids stand in place of the
re-rendered message, and the next prompt is a pure append of the last.

Arguments of tool calls are left out of the digest: clients re-serialise them. The call id, which
we made, is enough.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.request import ChatMessage

Digest = bytes

ANSWERS_KEPT = 4_096
"""Answers remembered per session; a forgotten one is tokenized from its text again."""


def digests(messages: Iterable[ChatMessage], parent: Digest = b"") -> list[Digest]:
    """Return the digest of each prefix of the conversation, shortest first."""
    chain = []
    for message in messages:
        parent = _digest(parent, message)
        chain.append(parent)
    return chain


def _digest(parent: Digest, message: ChatMessage) -> Digest:
    content = message.content if message.content.strip() else ""
    calls = [(call.id, call.name) for call in message.tool_calls]
    fields = (parent.hex(), message.role, content, calls, message.tool_call_id)
    return hashlib.sha256(msgspec.json.encode(fields)).digest()


class Transcript:
    """The answers of one session by conversation digest, the oldest forgotten first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Digest, TokenIds] = OrderedDict()

    def __contains__(self, digest: object) -> bool:
        return digest in self._answers

    def remember(
        self, messages: tuple[ChatMessage, ...], answer: ChatMessage, tokens: TokenIds
    ) -> Digest:
        """Keep the ids of an answer to `messages`; returns the digest of both."""
        digest = digests((*messages, answer))[-1]
        self._answers[digest] = tokens
        self._answers.move_to_end(digest)
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        return digest

    def replay(self, messages: tuple[ChatMessage, ...]) -> dict[int, TokenIds]:
        """Find the ids we generated for assistant messages, by message index."""
        return {
            index: tokens
            for index, digest in enumerate(digests(messages))
            if (tokens := self._answers.get(digest)) is not None
        }
