"""Laws of `semantic-actors sessions`, in front of a daemon that follows a script."""

import asyncio
import json
import socket
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from semantic_actors.daemon.control import socket_places
from semantic_actors.daemon.main import main
from semantic_actors.daemon.printing import card, cards, size
from semantic_actors.daemon.settings import ServerSettings, Settings, StoreSettings
from semantic_actors.domain.chronicle import SessionCard
from semantic_actors.domain.control import LENGTH
from tests.api.control_rig import CARD, FILE, FakeChronicle, serving

NOBODY = "semantic-actors: there is no session 'nobody'\n"


class Console:
    """A command line, and what it printed."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.place = place
        self._capsys = capsys

    async def run(self, *words: str) -> tuple[int, str, str]:
        """Run `sessions` with these words; returns exit code, stdout and stderr."""
        code = await asyncio.to_thread(main, ["sessions", "--socket", str(self.place), *words])
        out, err = self._capsys.readouterr()
        return code, out, err


@pytest_asyncio.fixture
async def chronicle() -> FakeChronicle:
    """Return a chronicle that knows one session."""
    return FakeChronicle()


@pytest_asyncio.fixture
async def console(
    tmp_path: Path,
    chronicle: FakeChronicle,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Console]:
    """Serve it, and open a console, whose stderr would be the daemon's, too."""
    monkeypatch.setattr("semantic_actors.daemon.logs.configure", lambda _: None)
    place = tmp_path / "control.sock"
    with capture_logs():
        async with serving(place, chronicle):
            yield Console(place, capsys)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("words", "asked", "told"),
    [
        ([], ("list", "local"), "planner  hot"),
        (["list"], ("list", "local"), "NAME     STATE  TURNS  TOKENS  ON DISK  LAST USED"),
        (["list", "--principal", "ann"], ("list", "ann"), "planner"),
        (["--principal", "ann", "list"], ("list", "ann"), "planner"),
        (["show", "planner"], ("show", "local", "planner"), "TURN  TOKENS  WHEN"),
        (["pin", "planner"], ("pin", "local", "planner", True), "yes"),
        (["unpin", "planner"], ("pin", "local", "planner", False), "planner"),
        (["fork", "planner", "b"], ("fork", "local", "planner", "b", None), "\nb "),
        (["fork", "planner", "b", "--turn", "1"], ("fork", "local", "planner", "b", 1), "\nb "),
        (["rewind", "planner", "2"], ("rewind", "local", "planner", 2), "planner"),
        (["suspend", "planner"], ("suspend", "local", "planner"), "3.0 MiB of RAM freed"),
        (["resume", "planner"], ("resume", "local", "planner"), "700 tokens in RAM, 1 of them"),
        (
            ["forget", "planner"],
            ("forget", "local", "planner"),
            "4.0 KiB of disk freed, 1.0 KiB kept for other sessions",
        ),
    ],
)
async def test_each_action_is_one_request(
    console: Console,
    chronicle: FakeChronicle,
    words: list[str],
    asked: tuple[object, ...],
    told: str,
) -> None:
    """It is asked for once, its result is printed, and the exit code is 0."""
    code, out, err = await console.run(*words)

    assert (code, err) == (0, "")
    assert chronicle.asked == [asked]
    assert told in out


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["show", "planner"],
        ["pin", "planner"],
        ["fork", "planner", "b"],
        ["rewind", "planner", "1"],
        ["suspend", "planner"],
        ["resume", "planner"],
        ["forget", "planner"],
    ],
)
async def test_every_result_is_json_on_demand(console: Console, words: list[str]) -> None:
    """One document on one line, wherever the flag stands."""
    _, before, _ = await console.run("--json", *words)
    _, behind, _ = await console.run(*words, "--json")

    assert before == behind
    assert before.count("\n") == 1
    assert json.loads(before)


@pytest.mark.asyncio
async def test_json_has_all_fields(console: Console) -> None:
    """What is printed for programs is the result itself."""
    _, out, _ = await console.run("--json")

    assert msgspec.json.decode(out, type=list[SessionCard]) == [CARD]


@pytest.mark.asyncio
async def test_a_refusal_is_a_failure(console: Console) -> None:
    """Exit code 1 and the daemon's own sentence."""
    assert await console.run("show", "nobody") == (1, "", NOBODY)


@pytest.mark.asyncio
async def test_an_export_is_a_private_file(console: Console, tmp_path: Path) -> None:
    """Mode 0600, whole, and never in place of another one."""
    file = tmp_path / "planner.session"

    code, out, _ = await console.run("export", "planner", str(file))
    again, _, told = await console.run("export", "planner", str(file))
    _, shown, _ = await console.run("export", "planner", str(tmp_path / "b"), "--json")

    assert (code, again) == (0, 1)
    assert out == f"{file}: {sum(map(len, FILE))} bytes\n"
    assert told == f"semantic-actors: {file}: File exists\n"
    assert json.loads(shown) == {
        "file": str(tmp_path / "b"),
        "size_bytes": sum(map(len, FILE)),
    }
    assert file.read_bytes() == b"".join(FILE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.asyncio
async def test_a_failed_export_leaves_no_file(console: Console, tmp_path: Path) -> None:
    """Half a session is none."""
    file = tmp_path / "f"

    assert await console.run("export", "nobody", str(file)) == (1, "", NOBODY)
    assert not file.exists()


@pytest.mark.asyncio
async def test_an_import_sends_the_file(
    console: Console, chronicle: FakeChronicle, tmp_path: Path
) -> None:
    """Under its own name or another; what the daemon refuses is a failure."""
    file, bad = tmp_path / "f", tmp_path / "bad"
    file.write_bytes(b"0123456789" * 100_000)
    bad.write_bytes(b"bad" + bytes(10_000_000))

    assert (await console.run("import", str(file)))[0] == 0
    assert (await console.run("import", str(file), "--as", "b"))[0] == 0
    refused = await console.run("import", str(bad))

    assert chronicle.asked[:2] == [("import", "local", None), ("import", "local", "b")]
    assert chronicle.taken.startswith(file.read_bytes() * 2)
    assert refused == (1, "", "semantic-actors: the file is not whole\n")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["missing", "."])
async def test_a_file_that_cannot_be_read_is_a_failure(
    console: Console, tmp_path: Path, name: str
) -> None:
    """Exit code 1, and the file is named."""
    code, _, err = await console.run("import", str(tmp_path / name))

    assert code == 1
    assert str(tmp_path) in err


@pytest.mark.parametrize(
    "words",
    [
        ["eat"],
        ["show"],
        ["fork", "a"],
        ["rewind", "a", "0"],
        ["rewind", "a", "-1"],
        ["rewind", "a", "last"],
        ["fork", "a", "b", "--turn", "99999999999"],
        ["show", ""],
        ["show", "x" * 513],
        ["show", "\udc80"],
        ["list", "--principal", ""],
        ["list", "--sock", "x"],
    ],
)
def test_wrong_words_are_a_usage_error(words: list[str]) -> None:
    """Exit code 2, before anything is asked."""
    with pytest.raises(SystemExit) as leaving:
        main(["sessions", *words])

    assert leaving.value.code == 2


def test_no_daemon_is_exit_code_69(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence: where it was looked for, and what to do."""
    place = tmp_path / "control.sock"

    assert main(["sessions", "--socket", str(place)]) == 69
    assert capsys.readouterr().err == (
        f"semantic-actors: no daemon listens at {place}: start one with `semantic-actors serve`, "
        "or give the --socket of the one that runs\n"
    )


@pytest.mark.parametrize("said", [b"", b"HTTP", LENGTH.pack(5) + b"hello"])
def test_what_is_no_daemon_is_exit_code_69(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: bytes
) -> None:
    """Whatever listens there, it is not ours."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1_000)
                connection.sendall(said)

        other = threading.Thread(target=answer)
        other.start()
        code = main(["sessions", "--socket", str(tmp_path / "s")])
        other.join()

    assert code == 69
    assert "the daemon did not answer" in capsys.readouterr().err


def test_the_socket_is_where_the_daemon_puts_it() -> None:
    """The chosen place, else beside a chosen state directory, else the platform's own."""
    everything = {"RUNTIME_DIRECTORY": "/r:/q", "XDG_RUNTIME_DIR": "/x", "XDG_STATE_HOME": "/s"}
    chosen = Settings(server=ServerSettings(socket="/a/b"), store=StoreSettings(state_dir="/d"))
    beside = Settings(store=StoreSettings(state_dir="/d"))

    assert socket_places(chosen, everything) == [Path("/a/b")]
    assert socket_places(beside, everything) == [Path("/d/control.sock")]
    assert socket_places(Settings(), everything) == [
        Path("/r/control.sock"),
        Path("/x/semantic-actors/control.sock"),
        Path("/s/semantic-actors/control.sock"),
    ]


def test_a_state_directory_of_any_depth_has_its_socket(tmp_path: Path) -> None:
    """A path that is too long to bind is replaced by a short one, the same for both ends."""
    deep = Settings(store=StoreSettings(state_dir=str(tmp_path / ("x" * 90))))
    other = Settings(store=StoreSettings(state_dir=str(tmp_path / ("y" * 90))))

    (place,) = socket_places(deep, {})

    assert len(str(place)) <= 103
    assert socket_places(deep, {}) == [place]
    assert socket_places(other, {}) != [place]


def test_a_name_does_nothing_to_the_terminal() -> None:
    """What a client called its session is shown, never obeyed."""
    lines = card(msgspec.structs.replace(CARD, name="a\x1b[2J\n\u202e", used=None))

    assert lines[1].startswith("a\\x1b[2J\\n\\u202e  hot")
    assert cards(()) == ["no sessions"]


def test_sizes_are_short() -> None:
    """Powers of 1024, one digit."""
    assert [size(value) for value in (0, 1_023, 1_024, 5 * 2**40, 2**60)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 TiB",
        "1048576.0 TiB",
    ]
