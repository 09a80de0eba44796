"""Chunks of OpenAI's two older APIs, and answers to be shown in them."""

from semantic_actors.api.chat_encode import ChatReply
from semantic_actors.api.completion_encode import CompletionReply
from semantic_actors.api.reply import Answer, Collector, Envelope
from semantic_actors.domain.ids import RequestId
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    DrawnLogprob,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    TurnEvent,
)
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    frames,
)

ENVELOPE = Envelope("id_1", "pocket", 1_760_000_000, RequestId("req_1"))


DONE = (None, "[DONE]")


USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 3,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def stream(
    reply: ChatReply | CompletionReply, *events: TurnEvent
) -> list[tuple[str | None, object]]:
    """Encode a whole stream."""
    return frames(b"".join(reply.encode(event) for event in events).decode())


def chat(*choices: object, **more: object) -> tuple[None, object]:
    """Return one chunk of a chat."""
    return None, {
        "id": "id_1",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "pocket",
        "choices": list(choices),
        **more,
    }


def delta(content: object, finish_reason: str | None = None) -> dict[str, object]:
    """Return the one choice of a chunk."""
    return {"index": 0, "delta": content, "logprobs": None, "finish_reason": finish_reason}


def whole(*events: TurnEvent) -> Answer:
    """Put a whole answer together."""
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.answer()


ROLE = delta({"role": "assistant", "content": ""})


CUT: tuple[TurnEvent, ...] = (
    Started(ASKED),
    ThinkingDelta("Hm"),
    ThinkingDelta("m."),
    TextDelta("I look."),
    CallStarted("call_1", "read"),
    ArgumentsDelta('{"pa'),
    ArgumentsDelta('th": "'),
    Finished("length", ANSWERED),
)


"""Thoughts, a text, and a call that is cut off."""


def drawn(*tokens: tuple[bytes, float]) -> DrawnLogprob:
    """Return a drawn token and the likeliest."""
    first, *top = (TokenLogprob(*token) for token in tokens)
    return DrawnLogprob(first, tuple(top))


SPLIT: tuple[TurnEvent, ...] = (
    Started(ASKED),
    TextDelta("Hi ", (drawn((b"Hi", -0.5), (b"Hi", -0.5), (b"Yo", -1.0)), drawn((b" ", -0.25)))),
    TextDelta("é!", (drawn((b"\xc3", -1.5)), drawn((b"\xa9!", -0.125), (b"\xa9", -0.1)))),
    TextDelta("?"),
    Finished("stop", ANSWERED),
)


"""An answer with log-probabilities, one character of which is in two tokens."""


def completion(text: str, finish_reason: str | None = None, **more: object) -> tuple[None, object]:
    """Return one chunk of a text completion."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    return None, {
        "id": "id_1",
        "object": "text_completion",
        "created": 1_760_000_000,
        "model": "pocket",
        "choices": [choice],
        **more,
    }
