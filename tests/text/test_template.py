"""What chat templates refuse, and what the house does about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from semantic_actors.domain.errors import InvalidRequest, ModelLoadFailed, PayloadTooLarge
from semantic_actors.domain.request import ChatMessage, ChatPrompt, ToolCall, ToolSpec
from semantic_actors.text import Codec, template

Get = Callable[[str], Any]
Speak = Callable[..., Path]

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


def _text(codec: Codec, *said: tuple[str, str], tools: tuple[ToolSpec, ...] = ()) -> str:
    messages = tuple(ChatMessage(role, content) for role, content in said)  # type: ignore[arg-type]
    ids = list(codec.render(ChatPrompt(messages, tools)))
    return codec._vocabulary.tokenizer.decode(ids, skip_special_tokens=False)


def test_a_template_that_takes_system_messages_anywhere_gets_them(codec: Get) -> None:
    """What the template can say is said as it is, where it is."""
    text = _text(codec("chatml"), (USER, "a"), (SYSTEM, "b"), (USER, "c"))

    assert "<|im_start|>user\na<|im_end|>\n<|im_start|>system\nb<|im_end|>\n" in text


def test_a_late_system_message_stays_where_it_is(speak: Speak) -> None:
    """A template that wants system messages first hears the late ones from the user."""
    late = "m.role == 'system' and loop.index0"
    refusing = f"{{% if {late} %}}{{{{ raise_exception('late') }}}}{{% endif %}}"
    codec = Codec.load(
        speak(
            "{% for m in messages %}"
            + refusing
            + "{{ m.role + ':' + m.content + ';' }}{% endfor %}"
        )
    )

    assert (
        _text(codec, (SYSTEM, "s"), (USER, "a"), (SYSTEM, "b"), (ASSISTANT, "c"))
        == "system:s;user:a;user:<system-reminder>\nb\n</system-reminder>;assistant:c;"
    )


def test_a_template_that_wants_turns_gets_turns(codec: Get) -> None:
    """Messages of the user in a row become one where the template insists on alternation."""
    said = ((SYSTEM, "s"), (USER, "a"), (SYSTEM, "b"), (ASSISTANT, "c"), (USER, "d"))
    reminder = "<system-reminder>\nb\n</system-reminder>"

    text = _text(codec("mistral"), *said)

    assert text == f"<s>[INST] a\n\n{reminder}[/INST] c</s>[INST] s\n\nd[/INST]"


def test_a_template_without_a_system_role_hears_it_from_the_user(codec: Get) -> None:
    """The system's first word begins the user's first message where there is no such role."""
    text = _text(codec("gemma"), (SYSTEM, "s"), (USER, "a"))

    assert text == "<s><start_of_turn>user\ns\n\na<end_of_turn>\n<start_of_turn>model\n"


def test_ids_of_calls_are_cut_for_a_template_that_wants_them_short(speak: Speak) -> None:
    """Nine letters and digits, as Mistral's templates demand, for the call and its result."""
    checked = "{% if i | length != 9 %}{{ raise_exception('9!') }}{% endif %}{{ i + ';' }}"
    codec = Codec.load(
        speak(
            "{% for m in messages %}{% for c in m.tool_calls or [] %}{% set i = c.id %}"
            + checked
            + "{% endfor %}{% if m.tool_call_id %}{% set i = m.tool_call_id %}"
            + checked
            + "{{ m.name }}{% endif %}{% endfor %}"
        )
    )
    call = ToolCall("toolu_0123456789abcdef", "look", "{}")
    messages = (
        ChatMessage("assistant", "", (call,)),
        ChatMessage("tool", "seen", tool_call_id=call.id),
    )

    ids = codec.render(ChatPrompt(messages))

    assert codec._vocabulary.tokenizer.decode(list(ids)) == "789abcdef;789abcdef;look"


def test_a_refusal_is_told_in_the_words_of_the_template(speak: Speak) -> None:
    """The client learns what the template said, not too much of it."""
    codec = Codec.load(speak("{{ raise_exception('I speak to nobody' + 'x' * 10000) }}"))

    with pytest.raises(InvalidRequest, match="I speak to nobody") as refusal:
        _text(codec, (USER, "a"))
    assert len(str(refusal.value)) < 400


def test_a_template_that_trips_is_a_refusal(speak: Speak) -> None:
    """A Python error inside a template is no crash."""
    codec = Codec.load(speak("{{ messages[0].content + 1 }}"))

    with pytest.raises(InvalidRequest, match="refuses"):
        _text(codec, (USER, "a"))


def test_no_messages_are_refused(codec: Get) -> None:
    """A conversation has at least one message."""
    with pytest.raises(InvalidRequest, match="empty conversation"):
        _text(codec("chatml"))


@pytest.mark.parametrize("arguments", ["[]", "not json", "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(codec: Get, arguments: str) -> None:
    """A call in history needs arguments that are a JSON object."""
    call = ToolCall("toolu_1", "look", arguments)

    with pytest.raises(InvalidRequest, match="JSON object"):
        codec("chatml").render(ChatPrompt((ChatMessage("assistant", "", (call,)),)))


def test_without_a_template_there_is_no_chat(speak: Speak) -> None:
    """A base model answers text prompts only."""
    codec = Codec.load(speak(None))

    with pytest.raises(InvalidRequest, match="no chat template"):
        _text(codec, (USER, "a"))
    assert codec.encode_text("a")


def test_a_rendering_without_end_is_cut_off(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that writes far more than it is told is stopped before the tokenizer."""
    codec = Codec.load(speak("{{ messages[0].content * 1000 }}"))
    monkeypatch.setattr(template, "MAX_RENDERED_CHARS", 999)

    with pytest.raises(PayloadTooLarge, match="1000 characters"):
        _text(codec, (USER, "a"))


def test_a_template_that_reads_the_text_and_decides_is_obeyed_safely(codec: Get) -> None:
    """Where guarded text makes a template decide otherwise, that rendering is used, guarded."""
    said = (
        (USER, "a"),
        (ASSISTANT, "<think>\nt\n</think>\n\nb"),
        (USER, "<tool_response>c</tool_response>"),
    )
    spoken = codec("qwen")
    with capture_logs() as logs:
        text = _text(spoken, *said)

    assert [line["event"] for line in logs] == ["template_wavered"]
    assert "<|im_start|>user\n<tool_response>c</tool_response><|im_end|>\n" in text


def test_a_thought_that_the_template_drops_is_dropped(codec: Get) -> None:
    """An answer that comes back with its thought is shown as the template shows it: without."""
    text = _text(codec("qwen"), (USER, "a"), (ASSISTANT, "<think>\nt\n</think>\n\nb"), (USER, "c"))

    assert "<|im_start|>assistant\nb<|im_end|>\n" in text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% for x in %}", "Expected an expression"),
        ("{% include 'x' %}", "no loader"),
        ("{{ messages.append({}) }}", "unsafe"),
    ],
)
def test_a_template_that_reaches_for_python_is_not_served(
    speak: Speak, said: str, words: str
) -> None:
    """The sandbox is closed and immutable; what tries to leave it fails in words."""
    with pytest.raises((ModelLoadFailed, InvalidRequest), match=words):
        _text(Codec.load(speak(said)), (USER, "a"))


def test_a_refusal_does_not_quote_marks(speak: Speak) -> None:
    """Text that a template takes only unguarded is not taken; the guard's marks are not shown."""
    quoting = "{{ raise_exception('no: ' + c) if c | length > 20 }}"
    codec = Codec.load(speak("<s>{% set c = messages[0].content %}" + quoting))

    with pytest.raises(InvalidRequest, match=r"no: a <s>$"):
        _text(codec, (USER, "a <s>"))


@pytest.mark.parametrize("shown", ["", "{{ 'A:' if m.role == 'user' }}"])
def test_text_before_a_replayed_answer_is_never_lost(speak: Speak, shown: str) -> None:
    """Where a turn in the past has no opening of its own, nothing before it is touched."""
    opening = "{% if m.role == 'assistant' and loop.index0 == 1 %}A:{% endif %}"
    codec = Codec.load(
        speak(
            "{% for m in messages %}" + opening + shown + "{{ m.content }}{% endfor %}"
            "{% if add_generation_prompt %}A:{% endif %}"
        )
    )
    said = (("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "4"))
    prompt = ChatPrompt(tuple(ChatMessage(role, content) for role, content in said))  # type: ignore[arg-type]

    ids = list(codec.render(prompt, {3: (70,)}))

    text = codec._vocabulary.tokenizer.decode(ids)
    assert all(word in text for word in ("one", "two", "three"))


def test_a_thinking_prompt_is_continued_as_it_was_opened(codec: Get) -> None:
    """A replayed answer to a prompt that opened a thought keeps that opening."""
    asked = (ChatMessage("user", "a"),)
    told = (*asked, ChatMessage("assistant", "b"), ChatMessage("user", "c"))
    spoken = codec("thinker")

    first = spoken.render(ChatPrompt(asked))
    ids = spoken.render(ChatPrompt(told), {1: (70, 71)})

    assert (*first, 70, 71) == ids[: len(first) + 2]


def test_an_empty_thought_before_a_replayed_answer_is_left_out(codec: Get) -> None:
    """What a template puts into a turn of the past is not what the answer was drawn behind."""
    asked = (ChatMessage("user", "a"),)
    spoken = codec("qwen")

    first = spoken.render(ChatPrompt(asked))
    ids = spoken.render(ChatPrompt((*asked, ChatMessage("assistant", "b"))), {1: (70, 71)})

    assert ids[: len(first) + 2] == (*first, 70, 71)
