"""Laws of the configuration."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from semantic_actors.daemon.settings import Settings, load_settings, size_bytes
from semantic_actors.domain.errors import ConfigurationError

SHIPPED = Path(__file__).parents[2] / "configs" / "semantic-actors.toml"


def write(folder: Path, text: str) -> Path:
    """Make a configuration file."""
    path = folder / "c.toml"
    path.write_text(text)
    return path


def test_the_shipped_file_shows_every_setting_with_its_default() -> None:
    """Reading it changes nothing, and nothing is missing from it."""
    assert load_settings(SHIPPED, {}) == Settings()
    assert tomllib.loads(SHIPPED.read_text()) == msgspec.json.decode(
        msgspec.json.encode(Settings())
    )


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    """One precedence for all settings."""
    path = write(tmp_path, "[server]\nport = 1\n[scheduler]\nmax_running = 3\n")

    settings = load_settings(path, {"server": {"port": 2}})

    assert settings.server.port == 2
    assert settings.scheduler.max_running == 3
    assert settings.scheduler.max_waiting == Settings().scheduler.max_waiting


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nprot = 1", "unknown setting server.prot: did you mean 'port'"),
        ("[sever]\nport = 1", "unknown setting [sever]: did you mean 'server'"),
        ("[server]\nxyzzy = 1", "known are host, port"),
        ("[server]\nport = 70000", "server.port = 70000: Expected `int` <= 65535"),
        ('[server]\nport = "80"', "server.port = '80': Expected `int`"),
        ('[memory]\nram_budget = "4 potatoes"', "memory.ram_budget = '4 potatoes'"),
        ('[memory]\nwired_limit = "on"', "memory.wired_limit = 'on'"),
        ("[scheduler]\ninter_token_target = 0", "inter_token_target = 0: Expected `float` > 0"),
        ("[scheduler]\nmax_running = 0", "scheduler.max_running = 0: Expected `int` >= 1"),
        ('server = "x"', "setting server = 'x'"),
        ("[server", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(tmp_path: Path, text: str, told: str) -> None:
    """Field, value and bound are in the message, and the nearest name for a misspelt one."""
    with pytest.raises(ConfigurationError) as error:
        load_settings(write(tmp_path, text), {})

    assert told in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path and the reason are in the message."""
    with pytest.raises(ConfigurationError, match=r"cannot read the configuration .*none\.toml"):
        load_settings(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("size", "expected"),
    [("4GiB", 4 * 2**30), ("1.5 KiB", 1536), ("2MB", 2_000_000), ("7B", 7)],
)
def test_sizes_are_numbers_with_units(size: Any, expected: int) -> None:
    """Binary and decimal units are told apart."""
    assert size_bytes(size) == expected


@pytest.mark.parametrize("value", ["off", "12GiB", "1.5 GB"])
def test_the_wired_limit_is_a_size_or_off(tmp_path: Path, value: str) -> None:
    """Off leaves it to mlx."""
    settings = load_settings(write(tmp_path, f'[memory]\nwired_limit = "{value}"'), {})

    assert settings.memory.wired_limit == value
