"""The Messages API as it is spoken: event sequences, whole messages."""

import pytest

from semantic_actors.api.anthropic_encode import SIGNATURE, STOP_REASONS, MessageReply
from semantic_actors.api.reply import Answer, Envelope, Thought
from semantic_actors.domain.errors import Draining, Overloaded, TurnFailed
from semantic_actors.domain.ids import RequestId
from semantic_actors.domain.stream import (
    CallStarted,
    Failed,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    TurnEvent,
)
from semantic_actors.domain.usage import Miss, Usage
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    CALL,
    CUT,
    DISAPPOINTMENT,
    ERRAND,
    GREETING,
    MISSED,
    PONDERED,
    called,
    frames,
)

ENVELOPE = Envelope("msg_1", "pocket", 1_760_000_000, RequestId("req_1"))
START = (
    "message_start",
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "pocket",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 6,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 4,
                "output_tokens": 0,
                "output_tokens_details": {"thinking_tokens": 0},
            },
        },
    },
)
USAGE = {
    "input_tokens": 6,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 4,
    "output_tokens": 3,
    "output_tokens_details": {"thinking_tokens": 2},
}


def stream(*events: TurnEvent) -> str:
    """Encode a whole stream."""
    reply = MessageReply(ENVELOPE)
    return b"".join(reply.encode(event) for event in events).decode()


def end(reason: str, stop_sequence: str | None = None) -> list[tuple[str, object]]:
    """Return the last two events of a complete message."""
    delta = {"stop_reason": reason, "stop_sequence": stop_sequence}
    return [
        ("message_delta", {"type": "message_delta", "delta": delta, "usage": USAGE}),
        ("message_stop", {"type": "message_stop"}),
    ]


def block(index: int, content: object, *deltas: object) -> list[tuple[str, object]]:
    """Return the events of one content block."""
    at = {"index": index}
    return [
        (
            "content_block_start",
            {"type": "content_block_start", **at, "content_block": content},
        ),
        *(
            ("content_block_delta", {"type": "content_block_delta", **at, "delta": delta})
            for delta in deltas
        ),
        ("content_block_stop", {"type": "content_block_stop", **at}),
    ]


def text(value: str) -> dict[str, str]:
    """Return a text delta."""
    return {"type": "text_delta", "text": value}


def thought(value: str) -> dict[str, str]:
    """Return a delta of thinking."""
    return {"type": "thinking_delta", "thinking": value}


def some_json(value: str) -> dict[str, str]:
    """Return a delta of a call's arguments."""
    return {"type": "input_json_delta", "partial_json": value}


def call(name: str, call_id: str) -> dict[str, object]:
    """Return a call as it begins."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}}


TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
SIGNED = {"type": "signature_delta", "signature": SIGNATURE}

STREAMS = {
    "text": (GREETING, [*block(0, TEXT, text("Hel"), text("lo")), *end("end_turn")]),
    "nothing": (
        (Started(ASKED), Finished("stop", ANSWERED)),
        [*block(0, TEXT), *end("end_turn")],
    ),
    "calls": (
        ERRAND,
        [
            *block(0, TEXT, text("I look.")),
            *block(1, call("read", "call_1"), some_json(CALL.arguments)),
            *block(2, call("list", "call_2"), some_json("{}")),
            *end("tool_use"),
        ],
    ),
    "only a call": (
        (Started(ASKED), *called(CALL), Finished("tool_calls", ANSWERED)),
        [*block(0, call("read", "call_1"), some_json(CALL.arguments)), *end("tool_use")],
    ),
    "thinking": (
        PONDERED,
        [
            *block(0, THINKING, thought("Let me "), thought("see."), SIGNED),
            *block(1, TEXT, text("I look.")),
            *block(
                2,
                call("read", "call_1"),
                some_json(CALL.arguments[:9]),
                some_json(CALL.arguments[9:]),
            ),
            *block(3, THINKING, thought("And?"), SIGNED),
            *block(4, TEXT, text("Done.")),
            *end("tool_use"),
        ],
    ),
    "only thinking": (
        (Started(ASKED), ThinkingDelta("Hm"), Finished("length", ANSWERED)),
        [*block(0, THINKING, thought("Hm"), SIGNED), *end("max_tokens")],
    ),
    "a call that was cut off": (
        CUT,
        [
            *block(0, TEXT, text("I look.")),
            *block(1, call("read", "call_1"), some_json('{"path": "a.t')),
            *end("max_tokens"),
        ],
    ),
    "a call that was cut off at once": (
        (Started(ASKED), CallStarted("call_1", "read"), Finished("context", ANSWERED)),
        [*block(0, call("read", "call_1")), *end("model_context_window_exceeded")],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_stream(name: str) -> None:
    """A block is opened, filled and closed before the next; a thought is signed as it closes."""
    events, expected = STREAMS[name]

    assert [START, *expected] == frames(stream(*events))


@pytest.mark.parametrize(("reason", "name"), STOP_REASONS.items())
def test_stop_reasons(reason: FinishReason, name: str) -> None:
    """Why an answer ended is told in this API's words, with the stop string if there was one."""
    stop = "END" if reason == "stop_sequence" else None
    finished = Finished(reason, ANSWERED, stop)

    assert end(name, stop) == frames(stream(Started(ASKED), TextDelta("Hm"), finished))[-2:]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (Draining(), "overloaded_error", "the server is shutting down"),
        (Overloaded("full", retry_after_s=2), "overloaded_error", "full"),
        (TurnFailed("secret"), "api_error", "the server could not finish the answer"),
    ],
)
def test_failure(error: Exception, kind: str, message: str) -> None:
    """A stream that fails ends with one error event; of a fault of ours it tells nothing."""
    body = {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_1",
    }

    assert ("error", body) == frames(stream(Started(ASKED), TextDelta("a"), Failed(error)))[-1]


def test_lines() -> None:
    """An event is one line, whatever its text holds."""
    sent = stream(TextDelta("a\nb\r\n\u2028\x00"))

    assert sent.endswith('"delta":{"type":"text_delta","text":"a\\nb\\r\\n\u2028\\u0000"}}\n\n')
    assert sent.count("\n") == 6


def test_keepalive() -> None:
    """The keep-alive is this API's ping event."""
    assert MessageReply(ENVELOPE).keepalive == b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize("thoughts", [(), (ThinkingDelta("Hm."),)])
@pytest.mark.parametrize(("reason", "texts"), [("stop", 1), ("length", 0)])
def test_nothing_but_thoughts(
    thoughts: tuple[ThinkingDelta, ...], reason: FinishReason, texts: int
) -> None:
    """A complete message has a text, if an empty one; one that was cut off need not."""
    finished = Finished(reason, ANSWERED)
    parts = tuple(Thought(thought.text) for thought in thoughts)
    document = MessageReply(ENVELOPE).document(Answer(parts, finished))
    told = frames(stream(Started(ASKED), *thoughts, finished))
    starts = [event["content_block"] for name, event in told if name == "content_block_start"]

    assert [block["type"] for block in document["content"]] == [block["type"] for block in starts]
    assert [block == TEXT for block in starts] == [False] * len(thoughts) + [True] * texts


def test_document() -> None:
    """A whole message has text and calls in order, and the calls' input as JSON."""
    finished = Finished("stop_sequence", ANSWERED, "END")
    parts = (Thought("Hm."), "I look.", CALL, "Done.")
    document = MessageReply(ENVELOPE).document(Answer(parts, finished))

    assert {
        **START[1]["message"],  # type: ignore[dict-item]
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE},
            {"type": "text", "text": "I look."},
            {
                "type": "tool_use",
                "id": "call_1",
                "name": "read",
                "input": {"path": "a.txt", "n": 1},
            },
            {"type": "text", "text": "Done."},
        ],
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
        "usage": USAGE,
    } == document


def test_miss() -> None:
    """What a prompt missed is in both usages of the stream, and in that of a whole message."""
    events = dict(frames(stream(*DISAPPOINTMENT)))
    finished = DISAPPOINTMENT[-1]
    assert isinstance(finished, Finished)
    document = MessageReply(ENVELOPE).document(Answer(("Hello",), finished))

    asked = START[1]["message"]["usage"]  # type: ignore[index]
    assert events["message_start"]["message"]["usage"] == asked | {"cache_diagnostics": MISSED}
    assert events["message_delta"]["usage"] == USAGE | {"cache_diagnostics": MISSED}
    assert document["usage"] == USAGE | {"cache_diagnostics": MISSED}


def test_gone() -> None:
    """Where nothing diverges there is no text to show."""
    finished = Finished("stop", Usage(10, 4, 3, Miss("gone", "cache", 4, 5)))
    document = MessageReply(ENVELOPE).document(Answer((), finished))

    assert document["usage"]["cache_diagnostics"] == {
        "kind": "gone",
        "part": "cache",
        "position": 4,
        "tokens_lost": 5,
    }
