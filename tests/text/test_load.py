"""Loading what a model folder has of text."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from semantic_actors.domain.errors import ModelLoadFailed
from semantic_actors.text import Codec
from tests.text import zoo

Speak = Callable[..., Path]


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    """The operator learns which path is wrong."""
    with pytest.raises(ModelLoadFailed, match="nowhere is not a folder"):
        Codec.load(tmp_path / "nowhere")


def test_a_folder_without_a_tokenizer_fails_in_a_sentence(tmp_path: Path) -> None:
    """Whatever the libraries raise, the operator reads one kind of error."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', "utf-8")

    with pytest.raises(ModelLoadFailed, match="cannot be used"):
        Codec.load(tmp_path)


def test_a_tokenizer_in_python_is_not_served(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the Rust tokenizer's definition there is nothing to take control tokens out of."""
    monkeypatch.setattr(
        "mlx_lm.tokenizer_utils.TokenizerWrapper.backend_tokenizer", None, raising=False
    )

    with pytest.raises(ModelLoadFailed, match=r"no tokenizer\.json"):
        Codec.load(speak(zoo.CHATML))


def test_a_broken_tokenizer_fails_in_a_sentence(speak: Speak) -> None:
    """A damaged download is told from a missing one."""
    folder = speak(zoo.CHATML)
    (folder / "tokenizer.json").write_text('{"version": "1.0"', "utf-8")

    with pytest.raises(ModelLoadFailed, match="cannot be used"):
        Codec.load(folder)


def test_a_template_with_a_syntax_error_fails_at_load(speak: Speak) -> None:
    """Not at the first request of a client."""
    with pytest.raises(ModelLoadFailed, match="cannot be used"):
        Codec.load(speak("{% for %}"))


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        (None, None, ["<|im_end|>"]),
        (["</s>"], None, ["</s>", "<|im_end|>"]),
        (["</s>"], ["<|eot|>", "<|end|>"], ["<|end|>", "<|eot|>", "<|im_end|>"]),
    ],
)
def test_the_end_of_a_turn_is_read_where_mlx_lm_reads_it(
    speak: Speak, config: list[str] | None, generation: list[str] | None, expected: list[str]
) -> None:
    """generation_config.json goes before config.json; the tokenizer's own is always one."""
    folder = speak(zoo.CHATML)
    ids = zoo.byte_level().token_to_id
    for name, ends in (("config", config), ("generation_config", generation)):
        if ends is not None:
            content = {"model_type": "llama", "eos_token_id": [ids(end) for end in ends]}
            (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")

    assert {ids(end) for end in expected} == Codec.load(str(folder)).eos_ids


def test_the_vocabulary_is_counted_with_added_tokens(speak: Speak) -> None:
    """`vocabulary` is the number of tokens that have a text."""
    assert zoo.byte_level().get_vocab_size() == Codec.load(speak(zoo.CHATML)).vocabulary


def test_a_tokenizer_that_we_cannot_repeat_is_told(
    speak: Speak, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer with steps of its own in Python would be served wrongly: the log says so."""
    folder = speak(zoo.CHATML)
    monkeypatch.setattr(
        "mlx_lm.tokenizer_utils.TokenizerWrapper.encode", lambda *_, **__: [1], raising=False
    )

    with capture_logs() as logs:
        Codec.load(folder)

    assert [line["event"] for line in logs] == ["tokenizer_differs"]
