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

# What CI runs: checks that change nothing, then every test
[group("test")]
ci: lint types floors test

# Prefill and decode of a 4-bit model on this CPU, as loaded by mlx_lm and by us
[group("bench")]
bench-cpu *args:
    {{run}} python bench/cpu.py {{args}}

# Serve the pocket model, or another one with --model
[group("run")]
serve *args:
    uv run semantic-actors serve {{args}}

# Refresh the pinned, tested set in pyproject.toml
[group("run")]
pins:
    {{run}} python bench/pins.py
