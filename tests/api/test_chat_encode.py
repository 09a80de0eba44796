"""A chat as it is spoken: chunk sequences, whole documents."""

import pytest

from semantic_actors.api.chat_encode import ChatReply
from semantic_actors.api.reply import Answer, CutCall, Part, Thought
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Finished,
    Started,
    TurnEvent,
)
from semantic_actors.domain.usage import Usage
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    CALL,
    ERRAND,
    GREETING,
    frames,
)
from tests.api.openai_chunks import (
    CUT,
    DONE,
    ENVELOPE,
    ROLE,
    SPLIT,
    USAGE,
    chat,
    delta,
    stream,
    whole,
)


def test_chat() -> None:
    """A chat is a role, deltas, a reason, and the line that says it is done."""
    assert [
        chat(ROLE),
        chat(delta({"content": "Hel"})),
        chat(delta({"content": "lo"})),
        chat(delta({}, "stop")),
        DONE,
    ] == stream(ChatReply(ENVELOPE), *GREETING)


def test_chat_usage() -> None:
    """Who asks for usage gets it in a last chunk without choices, and null before."""
    reply = ChatReply(ENVELOPE, include_usage=True)

    assert [
        chat(ROLE, usage=None),
        chat(delta({}, "stop"), usage=None),
        chat(usage=USAGE),
        DONE,
    ] == stream(reply, Started(ASKED), Finished("stop", ANSWERED))


def opened(index: int, call_id: str, name: str) -> tuple[None, object]:
    """Return the chunk that opens a call."""
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    return chat(delta({"tool_calls": [{"index": index, **call}]}))


def filled(index: int, arguments: str) -> tuple[None, object]:
    """Return a chunk that fills a call."""
    return chat(delta({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}))


def test_chat_tools() -> None:
    """A tool call is opened with its name, then filled; calls are counted by index."""
    assert [
        chat(ROLE),
        chat(delta({"content": "I look."})),
        opened(0, "call_1", "read"),
        filled(0, '{"path": "a.txt", "n": 1}'),
        opened(1, "call_2", "list"),
        filled(1, "{}"),
        chat(delta({}, "tool_calls")),
        DONE,
    ] == stream(ChatReply(ENVELOPE), *ERRAND)


def test_chat_that_is_cut() -> None:
    """Thoughts go before the text; a call that is cut off is shown as far as it came."""
    assert [
        chat(ROLE),
        chat(delta({"reasoning_content": "Hm"})),
        chat(delta({"reasoning_content": "m."})),
        chat(delta({"content": "I look."})),
        opened(0, "call_1", "read"),
        filled(0, '{"pa'),
        filled(0, 'th": "'),
        chat(delta({}, "length")),
        DONE,
    ] == stream(ChatReply(ENVELOPE), *CUT)


def test_chat_choices() -> None:
    """Choices share a stream: each has its index, its role, its calls and its own end."""
    reply = ChatReply(ENVELOPE, n=2, include_usage=True)
    heard: list[tuple[int, TurnEvent]] = [
        (1, Started(ASKED)),
        (0, Started(Usage(10, 9))),
        (1, CallStarted("c", "f")),
        (0, CallStarted("d", "g")),
        (0, ArgumentsDelta("{}")),
        (1, Finished("length", ANSWERED)),
        (0, Finished("tool_calls", Usage(10, 9, 4))),
    ]
    sent = b"".join(reply.encode(event, choice) for choice, event in heard)
    chunks = [data for _, data in frames(sent.decode()) if isinstance(data, dict)]
    shown = [(choice["index"], choice) for chunk in chunks for choice in chunk["choices"]]

    assert [index for index, _ in shown] == [1, 0, 1, 0, 0, 1, 0]
    assert [choice["finish_reason"] for _, choice in shown[-2:]] == ["length", "tool_calls"]
    calls = [choice["delta"]["tool_calls"][0]["index"] for _, choice in shown[2:5]]
    assert calls == [0, 0, 0]
    assert sent.count(b"[DONE]") == 1
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 9},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_chat_logprobs() -> None:
    """Log-probabilities go with their text, in bytes where a token is no whole characters."""

    def token(text: str, spelled: list[int], logprob: float, **more: object) -> dict[str, object]:
        return {"token": text, "bytes": spelled, "logprob": logprob, **more}

    likely = [token("Hi", [72, 105], -0.5), token("Yo", [89, 111], -1.0)]
    first = [
        token("Hi", [72, 105], -0.5, top_logprobs=likely),
        token(" ", [32], -0.25, top_logprobs=[]),
    ]
    second = [
        token("\ufffd", [195], -1.5, top_logprobs=[]),
        token("\ufffd!", [169, 33], -0.125, top_logprobs=[token("\ufffd", [169], -0.1)]),
    ]

    def spoken(text: str, content: object) -> tuple[None, object]:
        logprobs = {"content": content, "refusal": None} if content else None
        return chat(delta({"content": text}) | {"logprobs": logprobs})

    assert [spoken("Hi ", first), spoken("é!", second), spoken("?", None)] == stream(
        ChatReply(ENVELOPE), *SPLIT
    )[1:4]
    (choice,) = ChatReply(ENVELOPE).document(whole(*SPLIT))["choices"]
    assert choice["logprobs"] == {"content": first + second, "refusal": None}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("Hello",), {"content": "Hello"}),
        ((), {"content": ""}),
        ((Thought("Hm"), "Hello"), {"content": "Hello", "reasoning_content": "Hm"}),
        (
            (Thought("Hm"), CutCall("call_2", "list", '{"a')),
            {
                "content": None,
                "reasoning_content": "Hm",
                "tool_calls": [
                    {
                        "id": "call_2",
                        "type": "function",
                        "function": {"name": "list", "arguments": '{"a'},
                    }
                ],
            },
        ),
        (
            ("I look.", CALL, "Done."),
            {
                "content": "I look.Done.",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "read", "arguments": '{"path": "a.txt", "n": 1}'},
                    }
                ],
            },
        ),
    ],
)
def test_chat_document(parts: tuple[Part, ...], message: dict[str, object]) -> None:
    """A whole chat has all text as one, a null refusal, and the calls if there are any."""
    document = ChatReply(ENVELOPE).document(Answer(parts, Finished("context", ANSWERED)))

    assert {
        "id": "id_1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "pocket",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None, **message},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": USAGE,
    } == document
