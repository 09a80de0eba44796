"""`semantic-actors doctor`: look at this machine and say what to do.

Every check answers with a `Finding`; the exit code is 1 if one of them is a failure. `--selftest`
also loads the model and measures it.
"""

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from semantic_actors.daemon.memory import judge_budget, read_memory
from semantic_actors.daemon.port import refusal
from semantic_actors.daemon.settings import Settings, size_bytes
from semantic_actors.domain.errors import ConfigurationError, SemanticActorsError
from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import Backend, Fed, Feed, Plan, Start, blas, pocket_path
from semantic_actors.engine.device import default_device, in_main_memory

PROMPT_TOKENS = 512
ANSWER_TOKENS = 64
ROUNDS = 3

Verdict = Literal["ok", "warning", "failed"]


class Finding(msgspec.Struct, frozen=True):
    """What one check found; `advice` says what to do about it, empty if nothing."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(settings: Settings, *, selftest: bool, as_json: bool) -> int:
    """Run the checks, print them, return the exit code."""
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _software, _device, _model, _memory, _port, _keys
    ]  # fmt: skip
    if selftest:
        checks.append(_selftest)
    findings = [finding for check in checks for finding in check(settings)]
    if as_json:
        print(msgspec.json.encode(findings).decode())  # noqa: T201 (the verb's output)
    else:
        for finding in findings:
            print(_line(finding))  # noqa: T201 (the verb's output)
    return int(any(finding.verdict == "failed" for finding in findings))


def _line(finding: Finding) -> str:
    advice = f"\n{'':19}-> {finding.advice}" if finding.advice else ""
    return f"{finding.verdict:8} {finding.check:10} {finding.found}{advice}"


def _software(_: Settings) -> Iterator[Finding]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mlx", "mlx-lm"))
    yield Finding("software", "ok", f"Python {platform.python_version()}, {versions}")


def _device(_: Settings) -> Iterator[Finding]:
    note = blas.preload()
    try:
        device = default_device()
    except ImportError as error:
        advice = "install a backend: the extra cpu or cuda13 on Linux"
        yield Finding("device", "failed", f"mlx cannot be imported: {error}", advice)
        return
    yield Finding("device", "ok", f"mlx computes on {device}")
    slow = "slow" in note
    yield Finding("blas", "warning" if slow else "ok", note.removeprefix("BLAS: "))


def _model(settings: Settings) -> Iterator[Finding]:
    path = Path(settings.model.path or pocket_path()).expanduser()
    if (path / "config.json").is_file():
        yield Finding("model", "ok", settings.model.path or "the bundled pocket model")
    elif path.exists():
        advice = "give a folder in mlx-lm's format, as mlx_lm.convert makes it"
        yield Finding("model", "failed", f"{path} has no config.json", advice)
    else:
        yield Finding("model", "warning", f"{path} is no folder: taken as a hub id")


def _memory(settings: Settings) -> Iterator[Finding]:
    try:
        if not in_main_memory():
            yield Finding("memory", "ok", "the KV budget is the GPU's, which is not looked at")
            return
        memory = read_memory()
    except ImportError:
        return  # the device's finding says it
    judgement = judge_budget(size_bytes(settings.memory.ram_budget), memory)
    advice = "" if judgement.verdict == "ok" else "lower memory.ram_budget or --ram-budget"
    yield Finding("memory", judgement.verdict, judgement.found, advice)


def _port(settings: Settings) -> Iterator[Finding]:
    host, port = settings.server.host, settings.server.port
    refused = refusal(host, port)
    if refused is None:
        yield Finding("port", "ok", f"{host}:{port} is free")
    else:
        advice = "stop what listens there, or choose another --port"
        yield Finding("port", "failed", f"{host}:{port}: {refused}", advice)


def _keys(settings: Settings) -> Iterator[Finding]:
    from semantic_actors.daemon.serve import admission  # noqa: PLC0415 (BLAS comes before mlx)

    try:
        keys = admission(settings).keys
    except ConfigurationError as error:
        yield Finding("keys", "failed", str(error))
        return
    found = f"{len(keys)} in {settings.server.keys_file}" if keys else "none needed on loopback"
    yield Finding("keys", "ok", found)


def _selftest(settings: Settings) -> Iterator[Finding]:
    from semantic_actors.daemon.serve import open_model  # noqa: PLC0415 (BLAS comes before mlx)

    began = time.perf_counter()
    try:
        backend = open_model(settings)
    except SemanticActorsError as error:
        yield Finding("selftest", "failed", str(error))
        return
    info = backend.info
    took = time.perf_counter() - began
    weights = f"{info.family}, {info.weights_bytes / 2**20:.0f} MiB of weights, {info.device}"
    yield Finding("load", "ok", f"{took:.1f} s: {weights}")
    rounds = [_measure(backend, round_) for round_ in range(ROUNDS)]
    backend.leave()
    prefill = statistics.median(speed for speed, _ in rounds)
    decode = statistics.median(speed for _, speed in rounds)
    yield Finding("prefill", "ok", f"{prefill:.0f} tokens/s over {PROMPT_TOKENS} tokens")
    yield Finding("decode", "ok", f"{decode:.0f} tokens/s over {ANSWER_TOKENS} tokens, batch 1")


def _measure(backend: Backend, round_: int) -> tuple[float, float]:
    """Feed a prompt and draw an answer on a throwaway cache; tokens per second of both."""
    cache = CacheId(-1 - round_)
    prompt = tuple(index % backend.info.vocabulary for index in range(PROMPT_TOKENS))
    seconds = []
    token = 0
    for step in range(ANSWER_TOKENS + 1):
        tokens = (token,) if step else prompt
        position = PROMPT_TOKENS + step - 1 if step else 0
        starts = () if step else (Start(cache),)
        output = backend.launch(
            Plan(step, starts=starts, feeds=(Feed(cache, position, tokens, GREEDY),))
        )()
        fed = output.results[0]
        assert isinstance(fed, Fed), fed
        assert fed.token is not None
        token = fed.token
        seconds.append(output.seconds)
    backend.launch(Plan(ANSWER_TOKENS + 2, drops=(cache,)))()
    return PROMPT_TOKENS / seconds[0], ANSWER_TOKENS / sum(seconds[1:])
