"""Models other than the pocket model, served from a folder: one of each kind of cache."""

import shutil
from pathlib import Path
from typing import Any

import openai
import pytest
from mlx_lm.utils import save_config, save_model

from semantic_actors.engine import pocket_path
from semantic_actors.text import Codec
from tests.e2e.clients import MODEL, open_gpt
from tests.e2e.conftest import Starter
from tests.engine import tiny

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]


def save(folder: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a random model of `family` with the pocket model's tokenizer and template."""
    arguments = {**tiny.ARGUMENTS[family], "vocab_size": Codec.load(pocket_path()).vocabulary}
    monkeypatch.setitem(tiny.ARGUMENTS, family, arguments)
    save_model(folder, tiny.build(family))
    save_config(arguments, folder / "config.json")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(pocket_path() / name, folder)


async def ask(client: openai.AsyncOpenAI, said: list[str]) -> Any:
    """Go on with a conversation of alternating messages, greedily, by 40 tokens at most."""
    roles = ("user", "assistant")
    return await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": roles[i % 2], "content": text} for i, text in enumerate(said)],  # type: ignore[misc]
        max_tokens=40,
        temperature=0,
    )


@pytest.mark.parametrize("family", ["qwen3_next", "gemma3_text", "deepseek_v2", "rwkv7"])
async def test_a_follow_up_turn_reads_only_what_is_new(
    family: str, start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hybrid, sliding window, decompressed MLA and state only: all go on from their own end."""
    folder = tmp_path / family
    save(folder, family, monkeypatch)
    with start("--model", str(folder), "--context", "2048") as daemon:
        async with open_gpt(daemon.url) as client:
            first = await ask(client, ["Count to 9."])
            answered = first.choices[0].message.content or ""
            second = await ask(client, ["Count to 9.", answered, "And now?"])
            names = [model.id async for model in client.models.list()]

    assert names == [family]
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert second.usage.prompt_tokens_details.cached_tokens == first.usage.total_tokens - 1
