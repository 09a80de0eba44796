"""Llamas with random weights, in mlx-lm's format, and texts of exactly so many tokens for them.

They have the pocket model's tokenizer and chat template. Every id such a model draws is a word
with one space before it: the rows of all other ids in its last layer are zero, and the largest of
six hundred random logits is never 0. So no answer ends before `max_tokens`, and the tokens of a
text are counted by its spaces.
"""

import json
import random
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from semantic_actors.engine.pocket import pocket_path

VOCABULARY: Final = 2048
CONTEXT: Final = 32_768
HEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """A llama's sizes, under the names of its config."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int

    @property
    def row_bytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return self.num_hidden_layers * 2 * self.num_key_value_heads * HEAD * 4


SHAPES: Final = {
    "tiny": Shape(128, 2, 256, 2, 1),
    "4M": Shape(256, 4, 704, 4, 4),
    "30M": Shape(512, 9, 1536, 8, 4),
    "wide": Shape(256, 4, 256, 16, 16),
}
"""`wide` computes little for much: 32 KiB of keys and values a token, as a model of 1B has."""


class Words:
    """The ids that are a word with one space before it, and texts made of them."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(pocket_path() / "tokenizer.json"))
        texts = (self._tokenizer.decode([i]) for i in range(VOCABULARY))
        self.by_id = {i: text for i, text in enumerate(texts) if _is_word(text)}

    def text(self, tokens: int, seed: str) -> str:
        """Make a text of exactly so many tokens, another one for each seed."""
        chance = random.Random(seed)
        text = "".join(chance.choices(list(self.by_id.values()), k=tokens))
        assert len(self.ids(text)) == tokens
        return text

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text."""
        return tuple(self._tokenizer.encode(text).ids)


def write(folder: Path, size: str) -> Path:
    """Write the model called `size` in `SHAPES`, in float32; always the same weights."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(pocket_path() / name, folder / name)
    shape = SHAPES[size]
    save_file(_weights(shape), folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(shape),
        "head_dim": HEAD,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


def _weights(shape: Shape) -> dict[str, np.ndarray]:
    hidden, inner = shape.hidden_size, shape.intermediate_size
    queries, keys = shape.num_attention_heads * HEAD, shape.num_key_value_heads * HEAD
    products = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    chance = np.random.default_rng(1)

    def matrix(rows: int, columns: int) -> np.ndarray:
        drawn: np.ndarray = chance.standard_normal((rows, columns), np.float32)
        return drawn / np.float32(columns**0.5)

    ones = np.ones(hidden, np.float32)
    head = matrix(VOCABULARY, hidden)
    head[[i for i in range(VOCABULARY) if i not in Words().by_id]] = 0
    weights = {
        "model.embed_tokens.weight": matrix(VOCABULARY, hidden),
        "model.norm.weight": ones,
        "lm_head.weight": head,
    }
    for layer in (f"model.layers.{i}." for i in range(shape.num_hidden_layers)):
        weights |= {f"{layer}{name}.weight": matrix(*sizes) for name, sizes in products.items()}
        weights |= {
            f"{layer}input_layernorm.weight": ones,
            f"{layer}post_attention_layernorm.weight": ones,
        }
    return weights


def _is_word(text: str) -> bool:
    return text[:1] == " " and text[1:].isascii() and text[1:].isalpha()
