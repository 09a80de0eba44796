"""What chats and text completions are spoken in alike."""

import pytest

from semantic_actors.api.chat_encode import ChatReply
from semantic_actors.api.completion_encode import CompletionReply
from semantic_actors.api.openai_encode import FINISH_REASONS
from semantic_actors.api.reply import Answer
from semantic_actors.domain.errors import Draining, TurnFailed
from semantic_actors.domain.stream import (
    Failed,
    Finished,
    FinishReason,
    Started,
    TextDelta,
)
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    DISAPPOINTMENT,
    MISSED,
)
from tests.api.openai_chunks import (
    DONE,
    ENVELOPE,
    USAGE,
    chat,
    completion,
    delta,
    stream,
)


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
