# Development recipes; `uv run --group dev just` lists them.

run := "uv run --group dev"

_default:
    @just --list --unsorted

# Format, lint, types, floors, unit and property tests (under two minutes)
[group("check")]
check: format lint types floors unit

# Rewrite files in the house format
[group("check")]
format:
    {{run}} ruff format -q .

# ruff with every rule that is not ignored for a reason
[group("check")]
lint:
    {{run}} ruff check .
    {{run}} ruff format --check -q .

# mypy --strict on package and tests
[group("check")]
types:
    {{run}} mypy

# Imports point down only
[group("check")]
floors:
    {{run}} lint-imports

# Unit and property tests: no daemon, nothing slow
[group("test")]
unit *args:
    {{run}} pytest -q -m "not slow and not e2e" {{args}}

# The real daemon as a subprocess, talked to by the official SDKs
[group("test")]
e2e *args:
    {{run}} pytest -q -m e2e {{args}}

# Every test there is
[group("test")]
test *args:
    {{run}} pytest -q {{args}}

# Leave under load, 50 times: every stream gets its last event, every exit is 0
[group("test")]
exits count="50":
    SEMANTIC_ACTORS_EXITS={{count}} {{run}} pytest -q -m e2e tests/e2e/test_drain.py -k "under_load and SIGTERM"

# So many random schedules of joins, leaves and chunks per family, each sequence's logits compared
[group("test")]
schedules count="300":
    SEMANTIC_ACTORS_SCHEDULES={{count}} {{run}} pytest -q tests/engine/test_schedules.py

# Kill it so many times, at random instants: what was committed is there, and true
[group("test")]
crash count="200":
    SEMANTIC_ACTORS_CRASHES={{count}} {{run}} pytest -q -o faulthandler_timeout=0 tests/e2e/test_crash.py

# So many turns of sessions with markers, scripted and of the pocket model: none is seen in another
[group("test")]
canary scripted="10000" real="500":
    SEMANTIC_ACTORS_CANARY={{scripted}} SEMANTIC_ACTORS_TURNS={{real}} {{run}} pytest -q -o faulthandler_timeout=0 tests/sessions/test_canary.py tests/e2e/test_canary.py

# The official SDKs' own tests against the real daemon; fetches them from PyPI the first time
[group("test")]
conformance:
    {{run}} python -m tests.conformance

# Claude Code, Codex, OpenCode and others against the real daemon; `--quick` installs none
[group("test")]
clients *args:
    {{run}} python -m tests.clients {{args}}

# What CI runs: checks that change nothing, then every test
[group("test")]
ci: lint types floors test

# Prefill and decode of a 4-bit model on this CPU, as loaded by mlx_lm and by us
[group("bench")]
bench-cpu *args:
    {{run}} python bench/cpu.py {{args}}

# Tokens per second of the daemon, of a bare loop and of mlx-lm's BatchGenerator
[group("bench")]
bench-decode *args:
    {{run}} python -m bench.decode {{args}}

# What a long prompt costs the others and itself, and how evenly sessions are served
[group("bench")]
bench-stall *args:
    {{run}} python -m bench.stall {{args}}

# Our daemon and mlx-lm's server over HTTP, line by line
[group("bench")]
bench-peer *args:
    {{run}} python -m bench.peer {{args}}

# Gaps of the event loop under load, as felt by /livez
[group("bench")]
bench-gaps *args:
    {{run}} python -m bench.gaps {{args}}

# First tokens of sessions that come back from disk, what that costs the disk, and what others feel
[group("bench")]
bench-restore *args:
    {{run}} python -m bench.restore {{args}}

# The benches that have names: saving, loading and resuming sessions; memory of agents
[group("bench")]
bench-named *args:
    {{run}} pytest -q -s bench {{args}}

# What a schema that is known already costs the first token
[group("bench")]
bench-structured *args:
    {{run}} python -m bench.structured {{args}}

# How fast 200 clients hear that there is room for eight
[group("bench")]
bench-overload *args:
    {{run}} python -m bench.overload {{args}}

# Serve the pocket model, or another one with --model
[group("run")]
serve *args:
    uv run semantic-actors serve {{args}}

# Upgrade everything and write the tested set into pyproject.toml
[group("run")]
pins:
    #!/usr/bin/env python3
    import re, subprocess
    from pathlib import Path
    project = Path("pyproject.toml")
    text = re.sub(r"(?s)(constraint-dependencies = \[\n).*?(\n?\])", r"\1]", project.read_text(), count=1)
    project.write_text(text)
    export = "uv export -qU --no-hashes --no-header --no-annotate --no-emit-project --group dev"
    lines = subprocess.run(export.split(), check=True, capture_output=True, text=True).stdout.splitlines()
    pins = sorted(line.strip() for line in lines)
    block = "".join(f'  "{pin}",\n' for pin in pins)
    project.write_text(text.replace("constraint-dependencies = [\n]", f"constraint-dependencies = [\n{block}]", 1))
