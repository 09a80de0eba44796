"""The clients, each pinned, and where they are installed: in a cache folder, never in the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

import msgspec


class Program(msgspec.Struct, frozen=True):
    """A client of one version, its package, and the command it installs."""

    command: str
    package: str
    version: str
    registry: Literal["npm", "pip"]

    def __str__(self) -> str:
        return f"{self.command} {self.version}"

    @property
    def folder(self) -> Path:
        """Where it is, or would be, installed."""
        return cache_folder() / f"{self.command}-{self.version}"

    @property
    def commands(self) -> Path:
        """The folder to put in front of PATH."""
        return self.folder / ("node_modules/.bin" if self.registry == "npm" else "bin")

    @property
    def installed(self) -> bool:
        """Whether its command is there."""
        return (self.commands / self.command).exists()


CLAUDE: Final = Program("claude", "@anthropic-ai/claude-code", "2.1.328", "npm")
OLD_CLAUDE: Final = Program("claude", "@anthropic-ai/claude-code", "2.1.173", "npm")
CODEX: Final = Program("codex", "@openai/codex", "0.169.0", "npm")
OPENCODE: Final = Program("opencode", "opencode-ai", "1.18.33", "npm")
CONTINUE: Final = Program("cn", "@continuedev/cli", "1.5.47", "npm")
LLM: Final = Program("llm", "llm", "0.36", "pip")
AIDER: Final = Program("aider", "aider-chat", "0.86.2", "pip")
LITELLM: Final = Program("litellm", "litellm", "1.106.2", "pip")


def cache_folder() -> Path:
    """Name the folder of all clients: `SEMANTIC_ACTORS_CLIENTS`, or one in the user's cache."""
    if chosen := os.environ.get("SEMANTIC_ACTORS_CLIENTS"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(cache) / "semantic-actors" / "clients"


def install(program: Program) -> None:
    """Install a client from its registry. Raises `CalledProcessError`."""
    sys.stdout.write(f"installing {program} in {program.folder}\n")
    shutil.rmtree(program.folder, ignore_errors=True)
    program.folder.mkdir(parents=True)
    if program.registry == "npm":
        options = ["--no-audit", "--no-fund", "--loglevel=error"]
        package = f"{program.package}@{program.version}"
        _run("npm", "install", "--prefix", str(program.folder), *options, package)
    else:
        place = str(program.folder)
        _run("uv", "venv", "--quiet", "--no-config", "--clear", place)
        package = f"{program.package}=={program.version}"
        _run("uv", "pip", "install", "--quiet", "--no-config", "--python", place, package)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (fixed commands)
