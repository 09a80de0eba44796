"""A text completion as it is spoken: chunk sequences, whole documents."""

from typing import Any

from semantic_actors.api.completion_encode import CompletionReply
from semantic_actors.api.reply import Answer
from semantic_actors.domain.stream import (
    Finished,
    Started,
    TextDelta,
)
from semantic_actors.domain.usage import Usage
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    GREETING,
    frames,
)
from tests.api.openai_chunks import (
    CUT,
    DONE,
    ENVELOPE,
    SPLIT,
    USAGE,
    completion,
    drawn,
    stream,
    whole,
)


def test_completion_logprobs() -> None:
    """The older shape is columns; the drawn token is among the likely, and offsets are in text."""
    first = {
        "tokens": ["Hi", " "],
        "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{"Hi": -0.5, "Yo": -1.0}, {" ": -0.25}],
        "text_offset": [0, 2],
    }
    second = {
        "tokens": ["bytes:\\xc3", "bytes:\\xa9\\x21"],
        "token_logprobs": [-1.5, -0.125],
        "top_logprobs": [{"bytes:\\xc3": -1.5}, {"bytes:\\xa9": -0.1, "bytes:\\xa9\\x21": -0.125}],
        "text_offset": [3, 3],
    }
    sent = stream(CompletionReply(ENVELOPE), *SPLIT)
    (choice,) = CompletionReply(ENVELOPE).document(whole(*SPLIT))["choices"]

    shown = [data["choices"][0]["logprobs"] for _, data in sent if isinstance(data, dict)]
    assert shown == [first, second, None, None]
    assert choice["logprobs"] == {name: first[name] + second[name] for name in first}  # type: ignore[operator]

    bare = TextDelta("a", (drawn((b"a", -1.0)),))
    (_, only), *_ = stream(CompletionReply(ENVELOPE), bare)
    assert only["choices"][0]["logprobs"]["top_logprobs"] is None  # type: ignore[index]


def test_completion() -> None:
    """A text completion is texts, a reason, and the line that says it is done."""
    assert [
        completion("Hel"),
        completion("lo"),
        completion("", "stop"),
        DONE,
    ] == stream(CompletionReply(ENVELOPE), *GREETING)


def test_completion_choices() -> None:
    """Answers are numbered prompt by prompt; each begins with its prompt if that is asked for."""
    costs = [Usage(prompt, 1, 3) for prompt in (5, 5, 7, 7)]
    answers = [
        Answer((text,), Finished("stop", cost)) for text, cost in zip("uvwx", costs, strict=True)
    ]
    asked: dict[str, Any] = {"prompts": 2, "n": 2, "echoes": ("a", "b")}
    document = CompletionReply(ENVELOPE, **asked).document(*answers)
    reply = CompletionReply(ENVELOPE, **asked)
    sent = b"".join(
        reply.encode(event, choice)
        for choice in (3, 0, 2, 1)
        for event in (Started(ASKED), TextDelta("uvwx"[choice]), Finished("stop", ANSWERED))
    )
    texts = ["", "", "", ""]
    for _, data in frames(sent.decode()):
        if isinstance(data, dict):
            texts[data["choices"][0]["index"]] += data["choices"][0]["text"]

    expected = ["au", "av", "bw", "bx"]
    assert texts == expected == [choice["text"] for choice in document["choices"]]
    assert [choice["index"] for choice in document["choices"]] == [0, 1, 2, 3]
    assert document["usage"] == {
        "prompt_tokens": 12,
        "completion_tokens": 12,
        "total_tokens": 24,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert sent.count(b"[DONE]") == 1


def test_completion_without_thoughts() -> None:
    """A text completion has only text."""
    assert [completion("I look."), completion("", "length"), DONE] == stream(
        CompletionReply(ENVELOPE), *CUT
    )


def test_completion_document() -> None:
    """A whole text completion looks like its chunk, with usage."""
    answer = Answer(("Hello",), Finished("stop", ANSWERED))

    expected = completion("Hello", "stop", usage=USAGE)[1]
    assert expected == CompletionReply(ENVELOPE).document(answer)
