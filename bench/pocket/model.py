"""The network in PyTorch: a plain llama with tied embeddings, and the Muon optimizer."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOWEST = 0.02  # radians per position; slower pairs tell no neighbours apart


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; the defaults are the shipped model's."""

    vocabulary: int = 2048
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    head_size: int = 64
    inner: int = 384
    rope_theta: float = 1e6
    epsilon: float = 1e-5

    @property
    def attention(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_size


def rope_frequencies(shape: Shape) -> Tensor:
    """Angle per position of each of the head's rotated pairs."""
    half = shape.head_size // 2
    return shape.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)


def _rotate(values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = values.chunk(2, -1)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], -1)


class Block(nn.Module):
    """Attention and gated MLP; projections that start alike are stored as one matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.query_key_value = nn.Linear(shape.hidden, 3 * shape.attention, bias=False)
        self.attention_out = nn.Linear(shape.attention, shape.hidden, bias=False)
        self.mlp_norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.gate_up = nn.Linear(shape.hidden, 2 * shape.inner, bias=False)
        self.down = nn.Linear(shape.inner, shape.hidden, bias=False)
        for inward in (self.query_key_value, self.gate_up):
            nn.init.normal_(inward.weight, std=shape.hidden**-0.5)
        for outward in (self.attention_out, self.down):
            nn.init.zeros_(outward.weight)

    def forward(self, stream: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """The residual stream after this block."""
        rows, length, _ = stream.shape
        sizes = (rows, length, 3, self.shape.heads, self.shape.head_size)
        mixed = self.query_key_value(self.attention_norm(stream)).view(sizes)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        query = _rotate(query, cosines, sines).to(value.dtype)
        key = _rotate(key, cosines, sines).to(value.dtype)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.attention_out(seen.transpose(1, 2).reshape(rows, length, -1))
        gate, up = self.gate_up(self.mlp_norm(stream)).chunk(2, -1)
        return stream + self.down(functional.silu(gate) * up)


class Llama(nn.Module):
    """Token ids to final hidden states; logits are a product with the embedding matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        nn.init.normal_(self.embedding.weight, std=0.05)
        self._look_back()

    @torch.no_grad()
    def _look_back(self) -> None:
        """Let head j of the first layer attend exactly j + 1 tokens back, by RoPE alone.

        A constant embedding column drives queries and keys. The copying that recall and repetition
        need grows from such previous-token heads; the weights stay trainable like all others.
        """
        shape, constant = self.shape, 0.2
        self.embedding.weight[:, 0] = constant
        spread = (constant**2 + shape.hidden * 0.05**2) / shape.hidden
        normed = constant / math.sqrt(spread)
        frequencies = rope_frequencies(shape)
        fast = int((frequencies > SLOWEST).sum())
        gap = (1 - torch.cos(frequencies[:fast])).sum().item()
        amplitude = math.sqrt(6 * math.sqrt(shape.head_size) / gap) / normed
        first = self.blocks[0]
        queries, keys, _ = first.query_key_value.weight.chunk(3)
        half = shape.head_size // 2
        for head in range(shape.heads):
            rows = slice(head * shape.head_size, (head + 1) * shape.head_size)
            query, key = queries[rows], keys[rows]
            query *= 0.1
            key *= 0.1
            query[:, 0] = 0
            key[:, 0] = 0
            back = (head + 1) * frequencies[:fast]
            query[:fast, 0] = amplitude * torch.cos(-back)
            query[half : half + fast, 0] = amplitude * torch.sin(-back)
            key[:fast, 0] = amplitude
        nn.init.normal_(first.attention_out.weight, std=0.025 * shape.attention**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Normed hidden states, one per id."""
        angles = torch.arange(ids.shape[1])[:, None] * rope_frequencies(self.shape)
        cosines, sines = angles.cos(), angles.sin()
        stream = self.embedding(ids)
        for block in self.blocks:
            stream = block(stream, cosines, sines)
        return self.norm(stream)

    def logits(self, states: Tensor) -> Tensor:
        """Scores over the vocabulary."""
        return states.float() @ self.embedding.weight.T


def _orthogonalised(matrices: Tensor) -> Tensor:
    """Newton-Schulz iteration: every singular value of each matrix near one."""
    size = matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7
    current = (matrices / size).bfloat16()
    tall = current.size(-2) > current.size(-1)
    current = current.mT if tall else current
    for _ in range(5):
        product = current @ current.mT
        current = 3.4445 * current + (-4.775 * product + 2.0315 * product @ product) @ current
    return (current.mT if tall else current).float()


class Muon:
    """Momentum whose step is orthogonalised, for matrices only; stacked projections step apart."""

    def __init__(self, model: Llama) -> None:
        self.parameters: list[tuple[nn.Parameter, int]] = []
        for block in model.blocks:
            self.parameters += [
                (block.query_key_value.weight, 3),
                (block.attention_out.weight, 1),
                (block.gate_up.weight, 2),
                (block.down.weight, 1),
            ]
        self.momenta = [torch.zeros_like(weight) for weight, _ in self.parameters]

    @torch.no_grad()
    def step(self, rate: float, momentum: float) -> None:
        """Update the weights from their gradients."""
        for (weight, parts), past in zip(self.parameters, self.momenta, strict=True):
            past.lerp_(weight.grad, 1 - momentum)
            direction = weight.grad.lerp(past, momentum).view(parts, -1, weight.shape[1])
            rows, columns = direction.shape[1:]
            scale = rate * max(1.0, rows / columns) ** 0.5
            weight.add_(_orthogonalised(direction).view_as(weight), alpha=-scale)
