"""Laws of `semantic-actors launch`: a client, pointed at a daemon, by nothing but its command line.

The client is a script that says with which arguments and environment it was started.
"""

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from semantic_actors.daemon.launch_clients import CLIENTS, NO_KEY, Endpoint
from semantic_actors.daemon.launch_daemon import CannotLaunch, Place
from semantic_actors.daemon.main import main
from semantic_actors.domain.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
START_S = 90.0
ENDPOINT = Endpoint("http://127.0.0.1:8080", "sesame-sesame-sesame", "hub/model-4bit", 40_000)

SCRIPT = """\
#!/bin/sh
sh -c 'kill -PIPE $$' || piped=$?
export piped
exec {python} -IS -c '
import json, os, sys
said = dict(arguments=sys.argv[1:], environment=dict(os.environ), parent=os.getppid())
print(json.dumps(said))
sys.exit(7)
' "$@"
"""
"""Says also what became of a shell that a signal told of a broken pipe."""


@pytest.fixture
def port() -> int:
    """Find a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Install every client as the script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for client in CLIENTS.values():
        program = folder / client.program
        program.write_text(SCRIPT.format(python=sys.executable), encoding="utf-8")
        program.chmod(0o755)
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Name a state directory; a daemon that was started with it is told to leave."""
    folder = tmp_path / "state"
    yield folder
    left = [daemon for daemon in psutil.process_iter() if _is_of(daemon, folder)]
    for daemon in left:
        daemon.send_signal(signal.SIGTERM)
    assert psutil.wait_procs(left, 40)[1] == []


def _is_of(process: psutil.Process, state: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return str(state) in process.cmdline()
    return False


def begin(programs: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Run `launch` in a process of its own, which is to become the client."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(  # noqa: S603 (our own program)
        [sys.executable, "-m", "semantic_actors", "launch", *words],
        cwd=ROOT,
        env=os.environ | {"PATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def listening(server: str, status: int = 200) -> Iterator[int]:
    """Answer every GET with an empty object, as `server`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def version_string(self) -> str:
            return server

        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield listener.server_port
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.e2e
@pytest.mark.parametrize("client", CLIENTS)
def test_a_launched_client_has_this_process_and_a_daemon_that_outlives_it(
    client: str, programs: Path, state: Path, port: int
) -> None:
    """Two launches at once and one after: three clients, one daemon, which has its flags."""
    flags = ("--port", str(port), "--state-dir", str(state), "--context", "4096")
    both = [begin(programs, client, *flags, "--", "-x", "--", "y", MINE="1") for _ in range(2)]
    answers = [process.communicate(timeout=START_S) for process in both]

    for process, (out, err) in zip(both, answers, strict=True):
        assert process.returncode == 7, err
        said = json.loads(out)
        assert said["arguments"][-3:] == ["-x", "--", "y"]
        assert said["environment"]["MINE"] == "1"
        assert said["parent"] == os.getpid()
        assert said["environment"]["piped"] == str(128 + signal.SIGPIPE)
        assert "4096" in json.dumps(said)
    assert sum("starting the daemon" in err for _, err in answers) == 1

    again = begin(programs, client, *flags)
    assert again.communicate(timeout=START_S)[1] == ""
    assert again.returncode == 7
    assert (state / "daemon.log").read_text(encoding="utf-8").count('"model_loaded"') == 1
    assert not (state / "daemon.log.1").exists()
    daemons = [daemon for daemon in psutil.process_iter() if _is_of(daemon, state)]
    assert len(daemons) == 1
    assert os.getsid(daemons[0].pid) == daemons[0].pid


@pytest.mark.e2e
def test_a_client_has_the_first_key_and_no_model_but_the_one_wanted(
    programs: Path, state: Path, port: int, tmp_path: Path
) -> None:
    """The key is of the file that the daemon reads; a daemon of another model is refused."""
    keys = tmp_path / "keys"
    keys.write_text(f"me: {ENDPOINT.key}\nyou: another-key-another-key\n", encoding="utf-8")
    keys.chmod(0o600)
    config = tmp_path / "c.toml"
    config.write_text(f'[server]\nport = {port}\nkeys_file = "{keys}"\n', encoding="utf-8")
    flags = ("claude", "--config", str(config), "--state-dir", str(state))

    first = begin(programs, *flags)
    out, err = first.communicate(timeout=START_S)
    assert first.returncode == 7, err
    assert json.loads(out)["environment"]["ANTHROPIC_AUTH_TOKEN"] == ENDPOINT.key

    second = begin(programs, *flags, "--model", "hub/other")
    out, err = second.communicate(timeout=START_S)
    assert (second.returncode, out) == (1, "")
    assert "serves 'pocket', not 'hub/other'" in err

    keyless = begin(programs, "claude", "--port", str(port), "--state-dir", str(state))
    out, err = keyless.communicate(timeout=START_S)
    assert (keyless.returncode, out) == (1, "")
    assert "does not say what it serves: 401" in err


@pytest.mark.e2e
def test_a_daemon_that_does_not_come_up_says_why(programs: Path, state: Path, port: int) -> None:
    """Its own words, its log and exit code 1; no client is started."""
    missing = str(state / "no-model")
    flags = ("--port", str(port), "--state-dir", str(state), "--model", missing)
    process = begin(programs, "claude", *flags)

    out, err = process.communicate(timeout=START_S)
    assert (process.returncode, out) == (1, "")
    assert "the daemon left with" in err
    assert "no-model" in err.rpartition("daemon.log")[2]


def test_a_client_that_is_not_installed_is_refused_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started for it."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert main(["launch", "codex", "--state-dir", str(tmp_path / "state")]) == 1
    assert "npm install -g @openai/codex" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_port_that_another_server_has_is_refused() -> None:
    """Its name is in the message: whoever reads it knows what to move."""
    with listening("nginx") as port, pytest.raises(CannotLaunch, match="taken by nginx"):
        Place("127.0.0.1", port).alive()


def test_a_daemon_that_does_not_know_the_key_is_named() -> None:
    """What cannot be asked for its model is no daemon to launch a client against."""
    with listening("semantic-actors", 401) as port:
        place = Place("127.0.0.1", port)
        assert place.alive()
        with pytest.raises(CannotLaunch, match="401"):
            place.model("wrong")


def test_nobody_listens_where_nobody_listens(port: int) -> None:
    """A refused connection is no error: a daemon can be started there."""
    assert not Place("127.0.0.1", port).alive()


def test_an_address_is_reached_from_this_machine() -> None:
    """All addresses mean loopback; a port that nobody knows before is refused."""
    assert Place("0.0.0.0", 1).url == "http://127.0.0.1:1"  # noqa: S104 (not bound)
    assert Place("::", 1).url == "http://[::1]:1"
    with pytest.raises(ConfigurationError, match=r"server\.port = 0"):
        Place("127.0.0.1", 0)


def test_claude_code_asks_this_daemon_and_no_other() -> None:
    """Every name of a model is ours, its context is the served one, the user's keys stay home."""
    users = {
        "ANTHROPIC_API_KEY": "sk-ant-private",
        "ANTHROPIC_MODEL": "claude-opus-5-5",
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "123",
        "EDITOR": "ed",
    }
    arguments, environment = CLIENTS["claude"].prepare(ENDPOINT, users)

    assert arguments == []
    assert environment["ANTHROPIC_BASE_URL"] == ENDPOINT.url
    assert environment["ANTHROPIC_AUTH_TOKEN"] == ENDPOINT.key
    assert environment["ANTHROPIC_API_KEY"] == ""
    assert {environment[name] for name in environment if name.endswith("_MODEL")} == {
        ENDPOINT.model
    }
    assert environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "40000"
    assert environment["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert environment["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "123"
    assert environment["EDITOR"] == "ed"
    assert "CLAUDE_CODE_USE_BEDROCK" not in environment


def test_codex_is_told_on_its_command_line() -> None:
    """Each setting is TOML behind a `-c`; the key is in the environment only."""
    arguments, environment = CLIENTS["codex"].prepare(ENDPOINT, {"CODEX_HOME": "/home"})

    assert set(arguments[::2]) == {"-c"}
    settings = dict(setting.split("=", maxsplit=1) for setting in arguments[1::2])
    assert settings["model"] == '"hub/model-4bit"'
    assert settings["model_context_window"] == "40000"
    assert settings["check_for_update_on_startup"] == "false"
    provider = f"model_providers.{json.loads(settings['model_provider'])}"
    assert settings[f"{provider}.base_url"] == '"http://127.0.0.1:8080/v1"'
    assert environment[json.loads(settings[f"{provider}.env_key"])] == ENDPOINT.key
    assert ENDPOINT.key not in " ".join(arguments)
    assert environment["CODEX_HOME"] == "/home"


def test_opencode_keeps_what_the_user_has_put_beside() -> None:
    """Our provider joins the user's; model and limits are the daemon's."""
    users: dict[str, Any] = {"provider": {"theirs": {"npm": "x"}}, "theme": "dark"}
    _, environment = CLIENTS["opencode"].prepare(
        ENDPOINT, {"OPENCODE_CONFIG_CONTENT": json.dumps(users)}
    )

    config = json.loads(environment["OPENCODE_CONFIG_CONTENT"])
    name, model = config["model"].split("/", maxsplit=1)
    assert (model, config["theme"], config["provider"]["theirs"]) == (
        ENDPOINT.model,
        "dark",
        {"npm": "x"},
    )
    ours = config["provider"][name]
    assert ours["options"]["baseURL"] == "http://127.0.0.1:8080/v1"
    assert ours["models"][model]["limit"] == {"context": 40_000, "output": 10_000}
    assert ENDPOINT.key not in environment["OPENCODE_CONFIG_CONTENT"]


def test_opencode_with_a_broken_configuration_is_refused() -> None:
    """The variable is named."""
    with pytest.raises(ConfigurationError, match="OPENCODE_CONFIG_CONTENT"):
        CLIENTS["opencode"].prepare(ENDPOINT, {"OPENCODE_CONFIG_CONTENT": "[1]"})


@pytest.mark.parametrize("client", CLIENTS)
def test_no_proxy_stands_between_a_client_and_its_daemon(client: str) -> None:
    """The daemon's host joins those that the user already reaches without one."""
    users = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "intranet"}
    _, environment = CLIENTS[client].prepare(ENDPOINT, users)

    assert environment["NO_PROXY"] == "intranet,127.0.0.1"
    assert environment["no_proxy"] == "127.0.0.1"
    assert environment["HTTPS_PROXY"] == "http://proxy:3128"


def test_an_answer_leaves_room_for_its_question() -> None:
    """A quarter of a small context, and no more than the clients' own default of a large one."""
    sizes = [Endpoint("", NO_KEY, "", context).output for context in (3, 4_096, 1_000_000)]

    assert sizes == [1, 1_024, 32_000]
