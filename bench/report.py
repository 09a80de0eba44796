"""What all benches print: a table of medians, and the gates they are held to."""

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Row = Mapping[str, float]

WARM_STEPS: Final = 4
"""Steps after which a batch that has just come together is measured, on every side."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A figure and the `bound` it must not exceed, or reach `at_least`."""

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the figure is on the right side."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def arguments(doc: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Begin a command line with what every bench takes."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="medians are over so many")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    return parser


def medians(rounds: Sequence[Row]) -> dict[str, float]:
    """Take the median of each figure."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def percentile(values: Iterable[float], percent: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def show(title: str, rows: Mapping[str, Mapping[str, float | str]]) -> None:
    """Print a table; the rows have the same columns."""
    columns = list(next(iter(rows.values())))
    wide = max(len(name) for name in [title, *rows])
    widths = [max(10, len(column) + 2) for column in columns]
    heads = (f"{column:>{width}}" for column, width in zip(columns, widths, strict=True))
    print(f"\n{title:{wide}}{''.join(heads)}")
    for name, row in rows.items():
        cells = (f"{_cell(row[c]):>{width}}" for c, width in zip(columns, widths, strict=True))
        print(f"{name:{wide}}{''.join(cells)}", flush=True)


def finish(gates: Sequence[Gate], rounds: Any, file: Path | None) -> int:
    """Print the gates, write the rounds, return the exit code: 1 if a gate is missed."""
    print()
    for gate in gates:
        sign = ">=" if gate.at_least else "<="
        verdict = "ok" if gate.passed else "MISSED"
        print(f"gate: {gate.name}: {_cell(gate.value)} {sign} {_cell(gate.bound)}: {verdict}")
    if file is not None:
        told = [{"name": g.name, "value": g.value, "bound": g.bound, "ok": g.passed} for g in gates]
        file.write_text(json.dumps({"gates": told, "rounds": rounds}, indent=2) + "\n")
    return 0 if all(gate.passed for gate in gates) else 1


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004
