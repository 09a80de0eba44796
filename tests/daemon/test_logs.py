"""Laws of the log."""

import io
import sys

import pytest
import structlog

from semantic_actors.daemon.logs import configure
from semantic_actors.daemon.settings import LogSettings


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Locals hold prompts; a log does not."""
    configure(LogSettings(format=form))  # type: ignore[arg-type]
    prompt = "the secret"

    try:
        int(prompt[:3])
    except ValueError:
        structlog.get_logger().exception("failed")

    assert "ValueError" in (shown := capsys.readouterr().err)
    assert "secret" not in shown


def test_a_log_that_cannot_be_written_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stderr loses the line, not the daemon."""
    configure(LogSettings(format="json"))
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)

    structlog.get_logger().error("unheard")
