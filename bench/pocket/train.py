# /// script
# requires-python = ">=3.11"
# dependencies = ["torch>=2.13", "tokenizers", "numpy", "safetensors"]
# ///
"""Trains the pocket model from nothing on a few CPU cores.

    uv run bench/pocket/train.py --run RUN                train (about 85 minutes on two cores)
    uv run bench/pocket/train.py --run RUN --resume       go on after an interruption
    uv run bench/pocket/export.py --run RUN --out FOLDER  write the folder that mlx-lm loads
    uv run bench/pocket/evaluate.py FOLDER                ask it some hundred questions, in mlx-lm

One single-threaded process per core, gradients averaged over gloo. RUN holds tokenizer, checkpoint
and `log.jsonl`, the curve. The run is a function of its arguments except for the clock: stages and
learning rate follow the minutes spent, so a busier machine sees fewer tokens.
"""

import argparse
import json
import os
import time
from pathlib import Path
from random import Random

import probes
import tokenizer
import torch
from curriculum import stage_at
from model import Llama, Muon, Shape
from rendering import Renderer, sequence
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional

CURVE = (
    *(f"hard {distance}" for distance in (256, 512, 1024, 1500, 3000)),
    "unknown 512",
    "tool call",
    "tool answer",
    "opentool call",
    "repeat",
    "count",
)


class Trainer:
    """One process of the run; rank 0 logs and saves."""

    def __init__(self, rank: int, options: argparse.Namespace) -> None:
        self.rank, self.options = rank, options
        self.renderer = Renderer(options.run / "tokenizer.json")
        torch.manual_seed(options.seed)
        self.model = Llama(Shape(vocabulary=options.vocabulary))
        self.muon = Muon(self.model)
        matrices = {id(weight) for weight, _ in self.muon.parameters}
        others = [weight for weight in self.model.parameters() if id(weight) not in matrices]
        self.adam = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0)
        self.step = self.positions = 0
        self.seconds = 0.0  # of training, probes and saving excluded
        self.warm_from = 0
        if options.resume:
            self._load()
        seed = options.seed * 1_000_003 + self.step
        self.data_rng = Random(seed * 64 + rank + 1)  # differs between the processes
        self.plan_rng = Random(seed)  # the same in all of them
        self.losses: list[float] = []

    @property
    def share(self) -> float:
        """Share of the planned time that has passed."""
        return self.seconds / (self.options.minutes * 60)

    def run(self) -> None:
        """Train until the time is up. Only the agreed time decides what comes next."""
        options = self.options
        next_save = self.seconds + options.save_every
        next_probe = self.seconds + options.probe_every
        mark = time.monotonic()
        while self.share < 1:
            self._train_step()
            now = time.monotonic()
            self.seconds = self._agree(self.seconds + now - mark)
            mark = now
            if self.seconds >= next_save:
                self._save()
                next_save = self.seconds + options.save_every
            if self.seconds >= next_probe:
                self._probe(options.probes)
                next_probe = self.seconds + options.probe_every
                mark = time.monotonic()
        self._save()
        self._probe(4 * options.probes)

    def _agree(self, value: float) -> float:
        """Rank 0's value, for decisions that all processes must take alike."""
        shared = torch.tensor(value, dtype=torch.float64)
        distributed.broadcast(shared, 0)
        return float(shared)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Token ids of some sequences, and which of their tokens count."""
        stage = stage_at(self.share, self.plan_rng)
        rows = max(1, self.options.tokens // stage.length)
        made = [
            sequence(self.renderer, self.data_rng, stage.length, stage.mix) for _ in range(rows)
        ]
        self.positions += rows * stage.length * self.options.processes
        return torch.tensor([ids for ids, _ in made]), torch.tensor([mask for _, mask in made])

    def _train_step(self) -> None:
        ids, mask = self._batch()
        wanted = mask[:, 1:]
        with torch.autocast("cpu", torch.bfloat16):
            states = self.model(ids[:, :-1])
        loss = functional.cross_entropy(self.model.logits(states[wanted]), ids[:, 1:][wanted])
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        hold = self.options.hold
        decay = 1.0 if self.share < hold else (1 - self.share) / (1 - hold)
        decay *= min(1.0, (self.step - self.warm_from + 1) / (25 if self.warm_from else 100))
        for group in self.adam.param_groups:
            group["lr"] = self.options.adam_rate * decay
        self.adam.step()
        self.muon.step(self.options.rate * decay, min(0.95, 0.85 + self.step / 3000))
        self.step += 1
        self.losses.append(loss.item())

    def _average_gradients(self) -> None:
        parameters = list(self.model.parameters())
        flat = torch.cat([weight.grad.flatten() for weight in parameters])
        distributed.all_reduce(flat)
        flat /= self.options.processes
        for weight, part in zip(
            parameters, flat.split([w.numel() for w in parameters]), strict=True
        ):
            weight.grad.copy_(part.view_as(weight))

    @torch.no_grad()
    def _probe(self, count: int) -> None:
        """Exact-match share per kind of question, as one greedy answer each would give."""
        found = dict.fromkeys(CURVE, 0.0)
        for kind in CURVE:
            wanted = count if kind != "hard 3000" else count // 2
            for index in range(self.rank, wanted, self.options.processes):
                probe = probes.build(kind, Random(f"{kind} {index}"), self.renderer)
                context = self.renderer.prompt(probe.context())
                expected = [*self.renderer.encode(probe.expected.body), self.renderer.end]
                states = self.model(torch.tensor([context + expected[:-1]]))[0, len(context) - 1 :]
                found[kind] += self.model.logits(states).argmax(-1).tolist() == expected
            found[kind] /= wanted
        totals = torch.tensor(list(found.values()))
        distributed.all_reduce(totals)
        self._log(dict(zip(CURVE, (round(share, 3) for share in totals.tolist()), strict=True)))

    def _log(self, scores: dict[str, float]) -> None:
        mean = sum(self.losses) / max(1, len(self.losses))
        self.losses.clear()
        if self.rank:
            return
        entry = {
            "minutes": round(self.seconds / 60, 1),
            "step": self.step,
            "positions": self.positions,
            "loss": round(mean, 4),
            **scores,
        }
        print(entry, flush=True)
        with (self.options.run / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _save(self) -> None:
        if self.rank:
            return
        state = {
            "model": self.model.state_dict(),
            "adam": self.adam.state_dict(),
            "momenta": self.muon.momenta,
            "step": self.step,
            "positions": self.positions,
            "seconds": self.seconds,
        }
        target = self.options.run / "checkpoint.pt"
        torch.save(state, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)

    def _load(self) -> None:
        state = torch.load(self.options.run / "checkpoint.pt")
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        for past, saved in zip(self.muon.momenta, state["momenta"], strict=True):
            past.copy_(saved)
        self.step, self.positions = state["step"], state["positions"]
        self.seconds = state["seconds"]
        self.warm_from = self.step


def work(rank: int, options: argparse.Namespace) -> None:
    """Body of one process."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=options.processes)
    Trainer(rank, options).run()
    distributed.destroy_process_group()


def parse() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description="Train the pocket model.")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--minutes", type=float, default=82)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=4096, help="per step and process")
    parser.add_argument("--rate", type=float, default=0.018, help="of Muon")
    parser.add_argument("--adam-rate", type=float, default=3e-3, help="of embedding and norms")
    parser.add_argument("--hold", type=float, default=0.14, help="share of time at the full rates")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--save-every", type=float, default=120)
    parser.add_argument("--probe-every", type=float, default=180)
    parser.add_argument("--probes", type=int, default=16, help="questions per kind and probe")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Train the tokenizer, then start one process per core."""
    options = parse()
    options.run.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        tokenizer.train(options.vocabulary, options.seed, options.run / "tokenizer.json")
    os.environ.update(  # read when a child imports torch; a spinning thread would starve the other
        OMP_NUM_THREADS="1",
        OMP_WAIT_POLICY="PASSIVE",
        GOMP_SPINCOUNT="0",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(20_000 + os.getpid() % 20_000),
    )
    multiprocessing.spawn(work, (options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
