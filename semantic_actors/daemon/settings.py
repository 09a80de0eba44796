"""Every setting of the daemon: its type, unit, default and bounds.

`configs/semantic-actors.toml` shows them all with their defaults. Flags of the command line win
over the file, the file over the defaults. An unknown key is an error that names the nearest one.
"""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from semantic_actors.domain.errors import ConfigurationError

_SIZE = r"\d{1,9}(\.\d{1,9})?\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)"

Size = Annotated[str, Meta(pattern=f"^{_SIZE}$")]
"""A number of bytes with its unit, as in `4GiB`."""

SizeOrOff = Annotated[str, Meta(pattern=f"^(off|{_SIZE})$")]

MIN_RAM_BUDGET_BYTES = 2**20
"""A pool that holds no conversation serves nobody."""

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]

_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}


def size_bytes(size: Size) -> int:
    """Convert `4GiB` to bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", size)
    if match is None or match[2] not in _UNITS:
        message = f"{size!r} is not a size: write a number and one of {', '.join(_UNITS)}"
        raise ConfigurationError(message)
    return int(float(match[1]) * _UNITS[match[2]])


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class ServerSettings(_Section, frozen=True):
    """Where the daemon listens, who may talk to it, and what becomes of what no model can read."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    socket: str = ""
    allowed_hosts: tuple[str, ...] = ()
    keys_file: str = ""
    attachments: Literal["refuse", "placeholder"] = "refuse"


class ModelSettings(_Section, frozen=True):
    """Which model is served, under which names, and how it is loaded."""

    path: str = ""
    adapter: str = ""
    context: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    weights: Literal["auto", "as-is", "float32"] = "auto"
    blas: str = "auto"
    aliases: tuple[str, ...] = ("*",)


class MemorySettings(_Section, frozen=True):
    """How much memory KV caches may take, and how much of all is kept from being paged out."""

    ram_budget: Size = "4GiB"
    wired_limit: SizeOrOff = "off"


class StoreSettings(_Section, frozen=True):
    """Where caches are kept on disk, and how much of it they may take.

    `state_dir` empty is the platform's own place. `ttl` 0 keeps what the budget has room for;
    `dirty_budget` bounds the memory of what is on its way there.
    """

    state_dir: str = ""
    disk_budget: SizeOrOff = "20GiB"
    dirty_budget: Size = "256MiB"
    ttl: Annotated[float, Meta(ge=0, le=3_155_760_000)] = 0.0


class SchedulerSettings(_Section, frozen=True):
    """How requests share the engine."""

    max_running: Annotated[int, Meta(ge=1, le=1_024)] = 16
    max_waiting: Annotated[int, Meta(ge=0, le=100_000)] = 256
    prefill_tokens: Annotated[int, Meta(ge=1, le=65_536)] = 1024
    inter_token_target: Annotated[float, Meta(gt=0, le=60)] = 0.1


class LifecycleSettings(_Section, frozen=True):
    """How the daemon leaves, and when it is given up."""

    drain_budget: Seconds = 20.0
    step_deadline: Seconds = 120.0
    loop_deadline: Annotated[float, Meta(ge=5, le=86_400)] = 30.0


class LogSettings(_Section, frozen=True):
    """What is logged, to stderr, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(_Section, frozen=True):
    """All settings."""

    server: ServerSettings = ServerSettings()
    model: ModelSettings = ModelSettings()
    memory: MemorySettings = MemorySettings()
    store: StoreSettings = StoreSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    log: LogSettings = LogSettings()


def load_settings(path: Path | None, overrides: dict[str, dict[str, Any]]) -> Settings:
    """Read the file, if any, and lay `overrides` (section -> key -> value) over it."""
    table = _read(path) if path is not None else {}
    _refuse_unknown(table)
    for section, values in overrides.items():
        if isinstance(table.setdefault(section, {}), dict):
            table[section] = {**table[section], **values}
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_explain(str(error), table)) from None
    if size_bytes(settings.memory.ram_budget) < MIN_RAM_BUDGET_BYTES:
        message = (
            f"setting memory.ram_budget = {settings.memory.ram_budget!r}: "
            f"Expected at least {MIN_RAM_BUDGET_BYTES >> 20}MiB"
        )
        raise ConfigurationError(message)
    return settings


def model_name(settings: Settings) -> str:
    """Name clients see: the hub id, or the folder's last part, never a path of this machine."""
    if not settings.model.path:
        return "pocket"
    path = Path(settings.model.path).expanduser()
    return path.resolve().name if path.is_dir() else settings.model.path


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"cannot read the configuration {path}: {error.strerror}"
        raise ConfigurationError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"the configuration {path} is not TOML: {error}"
        raise ConfigurationError(message) from None


def _refuse_unknown(table: dict[str, Any]) -> None:
    known = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    for section, values in table.items():
        if section not in known:
            raise ConfigurationError(_unknown(f"[{section}]", section, list(known)))
        names = [field.name for field in msgspec.structs.fields(known[section])]
        for key in values if isinstance(values, dict) else ():
            if key not in names:
                raise ConfigurationError(_unknown(f"{section}.{key}", key, names))


def _unknown(shown: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"unknown setting {shown}: {hint}"


def _explain(error: str, table: dict[str, Any]) -> str:
    """Add the offending value to msgspec's message, which has path and bound."""
    match = re.search(r"\$\.(\w+)(?:\.(\w+))?", error)
    if match is None:
        return error
    value: Any = table.get(match[1])
    if match[2] and isinstance(value, dict):
        value = value.get(match[2])
    where = ".".join(part for part in match.groups() if part)
    reason = error.split(" - at ", maxsplit=1)[0]
    return f"setting {where} = {value!r}: {reason}"
