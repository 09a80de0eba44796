"""How an answer is asked for in a Messages request."""

from typing import Any

import pytest

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.limits import MAX_JSON_DEPTH
from semantic_actors.domain.request import ChatPrompt, JsonOutput
from tests.api.asked import generation, prompt

FORMAT = {"type": "json_schema", "schema": {"type": "object", "properties": {"z": {}, "a": {}}}}
SCHEMA = '{"type": "object", "properties": {"z": {}, "a": {}}}'

THINKING: list[tuple[dict[str, Any] | None, bool | None]] = [
    (None, None),
    ({"type": "adaptive"}, True),
    ({"type": "adaptive", "display": "omitted"}, True),
    ({"type": "enabled", "budget_tokens": 31_999}, True),
    ({"type": "enabled", "budget_tokens": 0, "display": "updates"}, True),
    ({"type": "disabled"}, False),
    ({"type": "between_tools"}, False),
]


@pytest.mark.parametrize(("asked", "thinking"), THINKING)
def test_thinking(asked: dict[str, Any] | None, thinking: bool | None) -> None:  # noqa: FBT001
    """Who asks for thinking gets it, who does not want it does not, the rest is the model's."""
    found = generation(thinking=asked).prompt

    assert isinstance(found, ChatPrompt)
    assert found.thinking is prompt(thinking=asked).thinking is thinking


def test_sampling() -> None:
    """What steers the answer is passed on as it is."""
    asked = generation(temperature=0, top_p=0.5, top_k=3, stop_sequences=["a", "b"])

    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.top_k) == (0.0, 0.5, 3)
    assert (asked.max_tokens, asked.stop) == (9, ("a", "b"))


def test_sampling_defaults() -> None:
    """Null is absent; two answers without a seed are drawn from different ones."""
    nulls = dict.fromkeys(
        [
            "temperature",
            "top_p",
            "top_k",
            "stop_sequences",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "metadata",
            "thread",
        ]
    )
    first, second = generation(**nulls), generation()

    assert (
        first.sampling.temperature,
        first.sampling.top_p,
        first.sampling.top_k,
        first.stop,
        first.output,
    ) == (1.0, 1.0, 0, (), None)
    assert first.sampling.seed != second.sampling.seed


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"output_config": {"format": FORMAT, "effort": "low"}}, "output_config.format.schema"),
        ({"output_format": FORMAT}, "output_format.schema"),
    ],
)
def test_output(asked: dict[str, Any], field: str) -> None:
    """A schema for the answer is passed on, key order kept, under either of its names."""
    assert generation(**asked).output == JsonOutput(SCHEMA, field)
    assert generation(**asked).prompt == generation().prompt


def test_output_too_deep() -> None:
    """A schema deeper than can be walked is refused by name."""
    schema: dict[str, Any] = {}
    for _ in range(MAX_JSON_DEPTH):
        schema = {"items": schema}

    with pytest.raises(InvalidRequest, match=r"^output_config\.format\.schema: expected at most"):
        generation(output_config={"format": {"type": "json_schema", "schema": schema}})


@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max", "next"])
def test_effort_changes_nothing(effort: str) -> None:
    """Effort is a word to other models."""
    asked = generation(output_config={"effort": effort})

    assert (asked.prompt, asked.output) == (generation().prompt, None)


def test_what_is_for_others_is_ignored() -> None:
    """Fields of the real API without a meaning here change nothing."""
    more = {
        "betas": ["x"],
        "cache_control": {"type": "ephemeral"},
        "container": "c",
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "diagnostics": {"previous_message_id": None},
        "inference_geo": "eu",
        "mcp_servers": [{}],
        "metadata": {"user_id": None, "x": 1},
        "safeguards": [{}],
        "service_tier": "auto",
        "speed": "fast",
    }

    assert generation().prompt == generation(**more).prompt
