# /// script
# requires-python = ">=3.11"
# dependencies = ["torch>=2.13", "tokenizers", "numpy", "safetensors"]
# ///
"""Writes a checkpoint as a folder that mlx-lm and transformers load; renames files into place."""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from model import Shape
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor


def llama_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's weights under llama's names, stacked projections taken apart."""
    weights = {
        "model.embed_tokens.weight": state["embedding.weight"],
        "model.norm.weight": state["norm.weight"],
    }
    layers = {int(name.split(".")[1]) for name in state if name.startswith("blocks.")}
    for layer in sorted(layers):
        source, target = f"blocks.{layer}.", f"model.layers.{layer}."
        stacked = state[f"{source}query_key_value.weight"].chunk(3)
        for name, weight in zip(("q_proj", "k_proj", "v_proj"), stacked, strict=True):
            weights[f"{target}self_attn.{name}.weight"] = weight
        gate, up = state[f"{source}gate_up.weight"].chunk(2)
        weights[f"{target}self_attn.o_proj.weight"] = state[f"{source}attention_out.weight"]
        weights[f"{target}mlp.gate_proj.weight"] = gate
        weights[f"{target}mlp.up_proj.weight"] = up
        weights[f"{target}mlp.down_proj.weight"] = state[f"{source}down.weight"]
        weights[f"{target}input_layernorm.weight"] = state[f"{source}attention_norm.weight"]
        weights[f"{target}post_attention_layernorm.weight"] = state[f"{source}mlp_norm.weight"]
    return {name: weight.float().contiguous() for name, weight in weights.items()}


def config(shape: Shape, end: int, pad: int) -> dict[str, Any]:
    """config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.inner,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_size,
        "rms_norm_eps": shape.epsilon,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 131072,
        "rope_theta": shape.rope_theta,
        "rope_scaling": None,
        "rope_traditional": False,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "torch_dtype": "float32",
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
    }


TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": None,
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "unk_token": None,
    "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
    "add_bos_token": False,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 131072,
}


def export(run: Path, folder: Path) -> None:
    """Write all files but the model card."""
    state = torch.load(run / "checkpoint.pt")["model"]
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    end, pad = (tokenizer.encode(token).ids[0] for token in ("<|im_end|>", "<|endoftext|>"))
    shape = Shape(vocabulary=tokenizer.get_vocab_size())
    if state["embedding.weight"].shape != (shape.vocabulary, shape.hidden):
        reason = "the checkpoint belongs to another shape or tokenizer"
        raise ValueError(reason)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".pocket-") as name:
        new = Path(name)
        save_file(llama_weights(state), new / "model.safetensors", metadata={"format": "pt"})
        shutil.copyfile(run / "tokenizer.json", new / "tokenizer.json")
        shutil.copyfile(
            Path(__file__).with_name("chat_template.jinja"), new / "chat_template.jinja"
        )
        texts = {
            "config.json": config(shape, end, pad),
            "tokenizer_config.json": TOKENIZER_CONFIG,
            "generation_config.json": {
                "eos_token_id": end,
                "pad_token_id": pad,
                "do_sample": False,
            },
        }
        for file, content in texts.items():
            (new / file).write_text(json.dumps(content, indent=2) + "\n")
        for path in new.iterdir():
            path.chmod(0o644)
            path.replace(folder / path.name)


def main() -> None:
    """Export as the arguments say."""
    parser = argparse.ArgumentParser(description="Export the pocket model.")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    export(options.run, options.out)


if __name__ == "__main__":
    main()
