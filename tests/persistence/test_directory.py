"""Laws of the state directory: it is ours alone, nobody reads it, nothing leads out of it."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from semantic_actors.persistence import StateDirectoryLocked, StateDirectoryRefused, open_state
from semantic_actors.persistence.fs import UnsafeFile
from semantic_actors.persistence.transfer import read_file, write_all
from tests.persistence.rig import path, store_at


@pytest.fixture
def _no_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.mark.asyncio
@pytest.mark.usefixtures("_no_umask")
async def test_nobody_else_may_read_whatever_the_umask(tmp_path: Path) -> None:
    """Directories 0700, files 0600, those of SQLite too, while it runs."""
    state = tmp_path / "state"
    async with store_at(state) as client:
        assert await client.save(path(600)) == ""
        client.remember("s", b"c", path(600))
        await client.recall("s")
        found = [state, *sorted(state.rglob("*"))]

        assert {"catalog.sqlite-wal", "secret", "lock", "CACHEDIR.TAG"} <= {f.name for f in found}
        for one in found:
            wanted = 0o700 if one.is_dir() else 0o600
            assert wanted == stat.S_IMODE(one.stat().st_mode), one


def names_in(directory: Path) -> str:
    """Return the names of all files."""
    return " ".join(str(file.relative_to(directory)) for file in directory.rglob("*"))


@pytest.mark.asyncio
async def test_no_prompt_is_in_a_name_or_a_log_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What clients chose reaches no path and no output; neither do token ids, nor the secret."""
    structlog.reset_defaults()
    session, tokens = "../../canary\0", (*path(300), 987_654_321)
    async with store_at(tmp_path) as client:
        client.remember(session, b"c", tokens)
        assert len(await client.recall(session)) == 1
        assert await client.save(tokens) == ""
        files = sorted((tmp_path / "blocks").rglob("*.safetensors"))
        for file in files:
            file.write_bytes(file.read_bytes()[:-1])
        assert await client.correct(tokens) == 0
        names = names_in(tmp_path)

    said = capsys.readouterr().out
    assert "piece_flawed" in said
    for private in ("canary", "987654321", (tmp_path / "secret").read_bytes().hex()):
        assert private not in names + said
    assert ".." not in names


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """One sentence says what to do."""
    tmp_path.chmod(0o777)

    with pytest.raises(StateDirectoryRefused, match="can be written by others: chmod 700"):
        open_state(tmp_path)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """As is a file in its place."""
    (tmp_path / "file").touch()

    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StateDirectoryRefused, match="state directory"):
            open_state(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_user_s_directory_is_refused(tmp_path: Path) -> None:
    """Even if it can be written."""
    os.chown(tmp_path, 12345, -1)

    with pytest.raises(StateDirectoryRefused, match="belongs to user 12345"):
        open_state(tmp_path)


def test_a_second_daemon_is_told_who_the_first_is(tmp_path: Path) -> None:
    """And may have the directory once the first has left."""
    with open_state(tmp_path):
        with pytest.raises(
            StateDirectoryLocked, match=f"in use by process {os.getpid()}"
        ) as caught:
            open_state(tmp_path)
        assert os.getpid() == caught.value.pid

    open_state(tmp_path).release()


def test_the_lock_of_a_killed_daemon_is_taken_over(tmp_path: Path) -> None:
    """The system gives it back, whatever the file says."""
    program = (
        "import sys, pathlib; from semantic_actors.persistence import open_state\n"
        "open_state(pathlib.Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"locked\n"
        with pytest.raises(StateDirectoryLocked) as caught:
            open_state(tmp_path)
        assert daemon.pid == caught.value.pid
        daemon.send_signal(signal.SIGKILL)

    open_state(tmp_path).release()


def test_links_and_devices_are_not_opened(tmp_path: Path) -> None:
    """Symbolic links, hard links, FIFOs, directories, and links on the way: none is followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"theirs")
    with open_state(tmp_path / "state") as fs:
        state = tmp_path / "state"
        (state / "symlink").symlink_to(outside / "file")
        (state / "hardlink").hardlink_to(outside / "file")
        (state / "folder").symlink_to(outside)
        os.mkfifo(state / "fifo")

        for name in ("hardlink", "fifo", "."):
            with pytest.raises((UnsafeFile, AssertionError)):
                fs.open(name)
        for name in ("symlink", "folder/file"):
            with pytest.raises(OSError, match=r"symbolic|directory"):
                fs.open(name)
        for name in ("symlink", "folder/new"):
            with pytest.raises(OSError, match=r"exists|directory"):
                fs.create(name)
        with pytest.raises(OSError, match=r"symbolic|directory"):
            fs.list("folder")
        with pytest.raises(OSError, match=r"symbolic|directory"):
            fs.rename("hardlink", "folder/hardlink")

    assert [file.name for file in outside.iterdir()] == ["file"]
    assert (outside / "file").read_bytes() == b"theirs"


@pytest.mark.asyncio
async def test_a_link_in_place_of_a_piece_is_a_miss(tmp_path: Path) -> None:
    """A directory of blocks that leads elsewhere is ignored, a piece that does is set aside."""
    tokens, outside = path(1000), tmp_path / "outside"
    state = tmp_path / "state"
    async with store_at(state) as client:
        assert await client.save(tokens) == ""
        files = sorted((state / "blocks").rglob("*.safetensors"))
        first = files[0]
        outside.mkdir()
        first.rename(outside / first.name)
        first.symlink_to(outside / first.name)
        assert await client.correct(tokens) < 1000
        assert (await client.statistics()).quarantined_total == 1
    second = next(file for file in files if file.parent != first.parent)
    second.parent.rename(outside / "folder")
    second.parent.symlink_to(outside / "folder")
    async with store_at(state) as client:
        assert await client.correct(tokens) < 1000
        assert await client.save(tokens) != ""

    assert {first.name, "folder"} == {file.name for file in outside.iterdir()}
    assert second.name in {file.name for file in (outside / "folder").iterdir()}


def test_a_new_directory_has_a_tag_for_backups(tmp_path: Path) -> None:
    """It is made with its parents, and is private from its first instant."""
    state = tmp_path / "a" / "b"

    with open_state(state):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_a_lock_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    """Nothing outside is written, and a lock without a pid names nobody."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "lock").symlink_to(tmp_path / "outside")
    with pytest.raises(StateDirectoryRefused, match="state directory"):
        open_state(state)
    assert not (tmp_path / "outside").exists()

    (state / "lock").unlink()
    with open_state(state):
        (state / "lock").write_bytes(b"?")
        with pytest.raises(StateDirectoryLocked, match="in use by another process"):
            open_state(state)


def test_a_large_write_takes_several_calls(tmp_path: Path) -> None:
    """So that none of them keeps a core for long; all of it arrives."""
    content = [b"a" * 3_000_000, b"", b"b" * 6_000_000]
    with open_state(tmp_path) as fs:
        fd = fs.create("file")
        assert fs.write(fd, content, 0) < 9_000_000
        assert write_all(fs, fd, content) == 9_000_000
        fs.close(fd)
        assert read_file(fs, "file") == b"".join(content)
