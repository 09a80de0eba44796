"""Laws of the control socket: its owner's, in place of nobody's, and gone with its server."""

import os
import socket
import stat
import struct
from pathlib import Path

import pytest

from semantic_actors.actors import ChildSpec, RestartIntensityExceeded, Supervisor
from semantic_actors.api.control import ControlServer
from semantic_actors.api.control_socket import SocketRefused, bind, peer_uid
from tests.api.control_rig import FakeChronicle, serving


def test_the_kernel_names_the_peer() -> None:
    """A socket's other end is known by its user id."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()


def test_macos_names_the_peer_by_its_own_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    """`xucred` has the user id behind its version."""

    class Asked:
        def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
            assert (level, optname, buflen) == (0, 1, 76)
            return struct.pack("II", 0, 501) + bytes(68)

    monkeypatch.setattr("sys.platform", "darwin")

    assert peer_uid(Asked()) == 501


def test_only_the_owner_can_open_the_socket(tmp_path: Path) -> None:
    """Mode 0600, in a directory of mode 0700; the umask is as it was."""
    place = tmp_path / "made" / "control.sock"
    before = os.umask(0o022)
    try:
        bind(place).close()
        after = os.umask(0o022)
    finally:
        os.umask(before)

    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert after == 0o022


@pytest.mark.asyncio
async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The socket goes with its server; another's in its place stays."""
    place = tmp_path / "control.sock"
    async with serving(place, FakeChronicle()):
        assert place.exists()
    assert not place.exists()

    async with serving(place, FakeChronicle()):
        place.unlink()
        other = bind(place)
    other.close()
    assert place.exists()


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    """One that nobody listens at is no obstacle."""
    bind(tmp_path / "control.sock").close()

    with bind(tmp_path / "control.sock") as listening:
        assert listening.getsockname() == str(tmp_path / "control.sock")


def test_a_live_daemons_socket_is_not(tmp_path: Path) -> None:
    """Whoever listens there goes on listening."""
    place = tmp_path / "control.sock"
    with bind(place):
        with pytest.raises(SocketRefused, match="another daemon listens there"):
            bind(place)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(place))


@pytest.mark.parametrize(
    ("mode", "name", "why"),
    [
        (0o770, "c.sock", "others can write to its directory"),
        (0o700, "file", "it is no socket"),
        (0o700, "x" * 120, "too long"),
    ],
)
def test_a_wrong_place_is_refused_with_the_reason(
    tmp_path: Path, mode: int, name: str, why: str
) -> None:
    """Nothing that is there is removed."""
    (tmp_path / "file").write_text("dear")
    tmp_path.chmod(mode)

    with pytest.raises(SocketRefused, match=why):
        bind(tmp_path / name)
    assert (tmp_path / "file").read_text() == "dear"


@pytest.mark.asyncio
async def test_a_server_without_a_place_gives_up(tmp_path: Path) -> None:
    """The supervisor hears why."""
    place = tmp_path / "file"
    place.write_text("")
    spec = ChildSpec("control", lambda: ControlServer(place, FakeChronicle()))
    root = Supervisor("root", [spec], intensity=1, backoff=(0.001, 0.002))

    with pytest.raises(RestartIntensityExceeded) as error:
        await root.run()
    assert isinstance(error.value.__cause__, SocketRefused)
