"""The list of exclusions only shrinks."""

from pathlib import Path

import pytest

from tests.conformance.__main__ import judge, read
from tests.conformance.suites import SUITES

SUITE = SUITES[0]

REPORT = """\
<testsuites><testsuite>
<testcase classname="tests.api_resources.beta.test_models.TestModels" name="test_list[loose]"/>
<testcase classname="tests.api_resources.beta.test_models.TestAsyncModels" name="test_list[strict]">
<failure message="x"/></testcase>
<testcase classname="tests.api_resources.test_models.TestModels" name="test_list[loose]">
<skipped/></testcase>
</testsuite></testsuites>
"""


def test_a_report_is_read_by_file_and_name(tmp_path: Path) -> None:
    """Variants stand under one name; what was skipped did not pass."""
    report = tmp_path / "report.xml"
    report.write_text(REPORT, encoding="utf-8")

    assert read(report) == {
        "beta.test_models.test_list": [True, False],
        "test_models.test_list": [False],
    }


def test_what_fails_without_a_reason_fails_the_run() -> None:
    """One variant is enough."""
    assert judge(SUITE, {"a": [True, False], "b": [True]}, {}) == ["anthropic: a fails"]


def test_what_fails_for_a_reason_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    """It is counted."""
    assert judge(SUITE, {"a": [False, False], "b": [True]}, {"a": "why"}) == []
    assert "1 of 3 passed, 2 excluded" in capsys.readouterr().out


def test_what_passes_cannot_be_excluded() -> None:
    """Nor can what is no test, and no tests are no proof."""
    assert judge(SUITE, {"a": [True], "b": [False]}, {"a": "why", "b": "why", "c": "why"}) == [
        "anthropic: a passes: strike it from the exclusions",
        "anthropic: c is no test: strike it from the exclusions",
    ]
    assert judge(SUITE, {}, {}) == ["anthropic: no tests were found"]
