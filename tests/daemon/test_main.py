"""Laws of the command line that need no daemon."""

import socket
from pathlib import Path

import msgspec
import pytest

from semantic_actors.daemon.doctor import Finding
from semantic_actors.daemon.main import main


def test_an_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the flag is named."""
    with pytest.raises(SystemExit) as leaving:
        main(["serve", "--prot", "1"])

    assert leaving.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_a_wrong_setting_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line, no traceback."""
    config = tmp_path / "c.toml"
    config.write_text("[server]\nprot = 1\n")

    assert main(["serve", "--config", str(config)]) == 2
    assert capsys.readouterr().err == (
        "semantic-actors: unknown setting server.prot: did you mean 'port'?\n"
    )


def test_a_non_loopback_bind_without_keys_refuses_to_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The door stays closed, with the reason, before a model is loaded."""
    assert main(["serve", "--host", "0.0.0.0"]) == 2  # noqa: S104 (refused)
    assert "not loopback" in capsys.readouterr().err


def test_a_taken_port_refuses_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the address, before a model is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["serve", "--port", str(port)])

    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


def test_doctor_finds_a_taken_port_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1 and advice; the JSON form has the same findings."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["doctor", "--json", "--config", "/dev/null", "--port", str(port)])

    findings = msgspec.json.decode(capsys.readouterr().out, type=list[Finding])
    failed = [finding for finding in findings if finding.verdict == "failed"]
    assert code == 1
    assert [finding.check for finding in failed] == ["port"]
    assert "--port" in failed[0].advice
