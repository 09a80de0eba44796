"""The official SDKs' own tests against the real daemon: `python -m tests.conformance`.

A test that fails must stand in `exclusions.toml`, with a reason; one that stands there and passes,
or is not there any more, must leave it. So the list only shrinks.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.conformance.suites import SUITES, Suite, prepare
from tests.e2e.daemon import started

EXCLUSIONS: Final = Path(__file__).with_name("exclusions.toml")
CONTEXT: Final = "32768"
RUN_S: Final = 600.0

Outcomes = dict[str, list[bool]]
"""By name, whether each variant of a test passed."""


def main() -> int:
    """Run every suite; returns 0 if what fails is what is said to fail."""
    table = tomllib.loads(EXCLUSIONS.read_text(encoding="utf-8"))
    prepared = [(suite, *prepare(suite, cache_folder())) for suite in SUITES]
    complaints: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder) / "log", "--context", CONTEXT) as daemon,
    ):
        for suite, sources, python in prepared:
            outcomes = run(suite, sources, python, f"{daemon.url}{suite.path}", Path(folder))
            complaints += judge(suite, outcomes, table[suite.package])
    sys.stdout.write("".join(f"{complaint}\n" for complaint in complaints))
    return 1 if complaints else 0


def cache_folder() -> Path:
    """Name the folder of sources and environments, in the user's cache, and make it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(cache) / "semantic-actors" / "conformance"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(suite: Suite, sources: Path, python: Path, url: str, folder: Path) -> Outcomes:
    """Run a suite's tests against `url`."""
    report = folder / f"{suite.package}.xml"
    command = [str(python), "-m", "pytest", "--quiet", "--override-ini=addopts=", "--tb=no"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}"]
    command += [word for plugin in suite.plugins for word in ("-p", plugin)]
    command += ["-k", suite.select] if suite.select else []
    command += [f"tests/api_resources/{file}" for file in suite.files]
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"TEST_API_BASE_URL": url, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(  # noqa: S603 (its outcome is in the report)
        command, check=False, cwd=sources, env=environment, capture_output=True, timeout=RUN_S
    )
    return read(report)


def read(report: Path) -> Outcomes:
    """Read a JUnit report. A skipped test did not pass."""
    outcomes: Outcomes = defaultdict(list)
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 (pytest's own)
        file = case.get("classname", "").removeprefix("tests.api_resources.").split(".Test")[0]
        name = case.get("name", "").split("[")[0]
        bad = any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
        outcomes[f"{file}.{name}"].append(not bad)
    return outcomes


def judge(suite: Suite, outcomes: Outcomes, excluded: dict[str, str]) -> list[str]:
    """Print a suite's numbers; returns what is wrong with its exclusions."""
    counts = [len([ok for ok in outcomes[name] if ok]) for name in outcomes]
    total = sum(map(len, outcomes.values()))
    sys.stdout.write(
        f"{suite.package} {suite.version}: {sum(counts)} of {total} passed, "
        f"{sum(len(outcomes[name]) for name in excluded if name in outcomes)} excluded\n"
    )
    failing = [name for name in outcomes if not all(outcomes[name]) and name not in excluded]
    passing = [name for name in excluded if name in outcomes and any(outcomes[name])]
    gone = [name for name in excluded if name not in outcomes]
    return [
        *(f"{suite.package}: {name} fails" for name in failing),
        *(f"{suite.package}: {name} passes: strike it from the exclusions" for name in passing),
        *(f"{suite.package}: {name} is no test: strike it from the exclusions" for name in gone),
        *([] if total else [f"{suite.package}: no tests were found"]),
    ]


if __name__ == "__main__":
    sys.exit(main())
