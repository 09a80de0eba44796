"""OpenAI's APIs as they are spoken: chunk sequences, whole completions."""

import pytest

from semantic_actors.api.chat_encode import ChatReply
from semantic_actors.api.completion_encode import CompletionReply
from semantic_actors.api.openai_encode import FINISH_REASONS
from semantic_actors.api.reply import Answer, Envelope
from semantic_actors.domain.errors import Draining, TurnFailed
from semantic_actors.domain.ids import RequestId
from semantic_actors.domain.stream import (
    Failed,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    TurnEvent,
)
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    CALL,
    DISAPPOINTMENT,
    ERRAND,
    GREETING,
    MISSED,
    frames,
)

ENVELOPE = Envelope("id_1", "pocket", 1_760_000_000, RequestId("req_1"))
DONE = (None, "[DONE]")
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 3,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 4},
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


ROLE = delta({"role": "assistant", "content": ""})


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


def test_chat_tools() -> None:
    """A tool call is opened with its name, then filled; calls are counted by index."""

    def call(index: int, call_id: str, name: str, arguments: str) -> list[tuple[None, object]]:
        opened = {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        return [
            chat(delta({"tool_calls": [{"index": index, **opened}]})),
            chat(delta({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})),
        ]

    assert [
        chat(ROLE),
        chat(delta({"content": "I look."})),
        *call(0, "call_1", "read", '{"path": "a.txt", "n": 1}'),
        *call(1, "call_2", "list", "{}"),
        chat(delta({}, "tool_calls")),
        DONE,
    ] == stream(ChatReply(ENVELOPE), *ERRAND)


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


def test_completion() -> None:
    """A text completion is texts, a reason, and the line that says it is done."""
    assert [
        completion("Hel"),
        completion("lo"),
        completion("", "stop"),
        DONE,
    ] == stream(CompletionReply(ENVELOPE), *GREETING)


@pytest.mark.parametrize(("reason", "name"), FINISH_REASONS.items())
def test_finish_reasons(reason: FinishReason, name: str) -> None:
    """Why an answer ended is told in this API's words."""
    finished = Finished(reason, ANSWERED)

    assert [chat(delta({}, name)), DONE] == stream(ChatReply(ENVELOPE), finished)
    assert [completion("", name), DONE] == stream(CompletionReply(ENVELOPE), finished)


@pytest.mark.parametrize("kind", [ChatReply, CompletionReply])
@pytest.mark.parametrize(
    ("error", "body"),
    [
        (
            Draining(),
            {
                "message": "the server is shutting down",
                "type": "server_error",
                "param": None,
                "code": "draining",
            },
        ),
        (
            TurnFailed("secret"),
            {
                "message": "the server could not finish the answer",
                "type": "server_error",
                "param": None,
                "code": None,
            },
        ),
    ],
)
def test_failure(
    kind: type[ChatReply | CompletionReply], error: Exception, body: dict[str, object]
) -> None:
    """A stream that fails ends with its error and the line that says it is done."""
    sent = stream(kind(ENVELOPE), Started(ASKED), TextDelta("a"), Failed(error))

    assert [(None, {"error": body}), DONE] == sent[-2:]


def test_keepalive() -> None:
    """The keep-alive is a comment."""
    assert b": ping\n\n" == ChatReply(ENVELOPE).keepalive == CompletionReply(ENVELOPE).keepalive


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("Hello",), {"content": "Hello"}),
        ((), {"content": ""}),
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
def test_chat_document(parts: tuple[str, ...], message: dict[str, object]) -> None:
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


def test_completion_document() -> None:
    """A whole text completion looks like its chunk, with usage."""
    answer = Answer(("Hello",), Finished("stop", ANSWERED))

    expected = completion("Hello", "stop", usage=USAGE)[1]
    assert expected == CompletionReply(ENVELOPE).document(answer)


@pytest.mark.parametrize("kind", [ChatReply, CompletionReply])
def test_miss(kind: type[ChatReply | CompletionReply]) -> None:
    """What a prompt missed is beside what it found, wherever usage is shown, and only there."""
    finished = DISAPPOINTMENT[-1]
    assert isinstance(finished, Finished)
    missed = USAGE | {"prompt_tokens_details": {"cached_tokens": 4, "cache_diagnostics": MISSED}}

    (*_, (_, last), _) = stream(kind(ENVELOPE, include_usage=True), *DISAPPOINTMENT)
    assert isinstance(last, dict)
    assert last["usage"] == missed
    assert kind(ENVELOPE).document(Answer(("Hello",), finished))["usage"] == missed
    assert "cache_diagnostics" not in str(stream(kind(ENVELOPE), *DISAPPOINTMENT))
