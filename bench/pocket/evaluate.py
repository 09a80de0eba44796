# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "mlx-lm",
#   "tokenizers",
#   "mlx[cpu]; sys_platform == 'linux'",
#   "mkl; sys_platform == 'linux' and platform_machine == 'x86_64'",
# ]
# ///
"""Asks an exported model seeded questions in mlx-lm, greedily; prints the share of exact answers.

An answer counts when its text, end of turn included, is the expected one to the letter. The prompt
comes from the chat template, and must be what training read.
"""

import argparse
import ctypes
import sys
from pathlib import Path
from random import Random
from typing import Any

import probes
from dialogues import Turn
from rendering import END, Renderer

for library in Path(sys.prefix).glob("lib/libmkl_rt.so*"):  # before mlx, whose own BLAS is slow
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)

import mlx.core as mx  # noqa: E402
from mlx_lm import load  # noqa: E402
from mlx_lm.generate import generate_step  # noqa: E402

KINDS = (
    *(f"recall {distance}" for distance in (256, 512, 1024, 1500, 2000, 3000, 4000)),
    *(f"hard {distance}" for distance in (256, 512, 1024, 1500, 2000, 3000, 4000)),
    *(f"unknown {distance}" for distance in (256, 1500, 3000)),
    *(f"tool {stage}" for stage in ("call", "question", "answer", "recall")),
    *(f"opentool {stage}" for stage in ("call", "answer")),
    "repeat",
    "count",
    "talk",
)


def message(turn: Turn) -> dict[str, Any]:
    """The turn as an API client would send it."""
    sent: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.call:
        name, arguments = turn.call
        sent["tool_calls"] = [
            {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
        ]
    return sent


class Examiner:
    """A loaded model and the questions for it."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = load(str(folder))
        self.renderer = Renderer(folder / "tokenizer.json")

    def prompt(self, probe: probes.Probe) -> list[int]:
        """Token ids by the chat template, checked against what training would have read."""
        system = [{"role": "system", "content": probe.system}] if probe.system else []
        ids = self.tokenizer.apply_chat_template(
            system + [message(turn) for turn in probe.turns],
            tools=[tool.definition for tool in probe.tools] or None,
            add_generation_prompt=True,
            return_dict=False,
        )
        if ids != self.renderer.prompt(probe.context()):
            reason = "the chat template and the training text differ"
            raise AssertionError(reason)
        return ids

    def answer(self, ids: list[int], limit: int) -> list[int]:
        """Greedy token ids up to the end of the turn."""
        found: list[int] = []
        for token, _ in generate_step(mx.array(ids), self.model, max_tokens=limit):
            found.append(int(token))
            if found[-1] == self.renderer.end:
                break
        return found

    def examine(self, kind: str, count: int, seed: int, show: int) -> int:
        """How many of the questions are answered exactly; prints some misses."""
        right = 0
        for index in range(count):
            probe = probes.build(kind, Random(f"{seed} {kind} {index}"), self.renderer)
            expected = probe.expected.body + END
            limit = len(self.renderer.encode(expected)) + 4
            given = self.tokenizer.decode(self.answer(self.prompt(probe), limit))
            right += given == expected
            if given != expected and show:
                show -= 1
                asked = probe.turns[-1].content
                print(f"    {asked!r} -> {given!r}, expected {expected!r}")
        return right


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Evaluate an exported pocket model.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200, help="questions per kind")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--only", default="", help="only kinds that start with this")
    parser.add_argument("--show", type=int, default=3, help="misses to print per kind")
    options = parser.parse_args()
    mx.set_default_device(mx.cpu)
    examiner = Examiner(options.folder)
    print("| question | exact | share |\n| --- | --- | --- |", flush=True)
    for kind in KINDS:
        if kind.startswith(options.only):
            right = examiner.examine(kind, options.count, options.seed, options.show)
            share = right / options.count
            print(f"| {kind} | {right}/{options.count} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
