"""The command line. Exit codes: 0 done, 1 failed, 2 usage, 69 unreachable, 70 stuck engine."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from semantic_actors import __version__
from semantic_actors.daemon import logs
from semantic_actors.daemon.control import Unreachable
from semantic_actors.daemon.launch import add_launch, given, split
from semantic_actors.daemon.settings import Settings, load_settings
from semantic_actors.daemon.signals import Signals
from semantic_actors.daemon.verbs import add_sessions
from semantic_actors.domain.errors import ConfigurationError, SemanticActorsError
from semantic_actors.engine import blas

USAGE = 2
FAILED = 1
UNREACHABLE = 69


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    own, passed = split(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(own, argparse.Namespace(passed=passed))
    options.flags = given(options, ("config", *_FLAGS))
    try:
        settings = load_settings(getattr(options, "config", None), _overrides(options))
        logs.configure(settings.log)
        return int(options.verb(settings, options))
    except ConfigurationError as error:
        return _complain(error, USAGE)
    except Unreachable as error:
        return _complain(error, UNREACHABLE)
    except (SemanticActorsError, OSError) as error:
        return _complain(error, FAILED)


def _complain(error: Exception, code: int) -> int:
    print(f"semantic-actors: {error}", file=sys.stderr)  # noqa: T201 (the command line's voice)
    return code


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    blas.preload(settings.model.blas)
    signals = Signals()  # from here on a signal is a wish to leave, not a sudden end
    with signals.early():
        from semantic_actors.daemon.serve import serve  # noqa: PLC0415 (BLAS comes before mlx)

        return asyncio.run(serve(settings, signals))


def _doctor(settings: Settings, options: argparse.Namespace) -> int:
    blas.preload(settings.model.blas)
    from semantic_actors.daemon.doctor import examine  # noqa: PLC0415 (BLAS comes before mlx)

    return examine(settings, selftest=options.selftest, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="semantic-actors",
        description="A daemon that gives every agent session a mind that lasts.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    serve = verbs.add_parser(
        "serve", help="serve a model over HTTP until told to leave", allow_abbrev=False
    )
    serve.set_defaults(verb=_serve)
    doctor = verbs.add_parser(
        "doctor", help="check this machine and say what to do", allow_abbrev=False
    )
    doctor.set_defaults(verb=_doctor)
    doctor.add_argument("--selftest", action="store_true", help="run the model and print figures")
    doctor.add_argument("--json", action="store_true", help="print a JSON array of findings")
    launch = add_launch(verbs)
    for verb in (serve, launch):
        _add_storage(verb)
    for verb in (serve, doctor, launch):
        _add_model(verb)
    add_sessions(verbs)
    return parser


def _add_storage(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--ram-budget", metavar="SIZE", help="bytes of KV cache, as in 4GiB")
    verb.add_argument("--state-dir", metavar="DIR", help="where caches are kept on disk")
    verb.add_argument("--disk-budget", metavar="SIZE", help="bytes of them, as in 20GiB; or off")
    verb.add_argument("--socket", metavar="PATH", help="where other verbs find this daemon")


def _add_model(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--host", help="address to listen on, loopback without keys")
    verb.add_argument("--port", type=int, help="port, 0 for a free one")
    verb.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings")
    verb.add_argument("--model", metavar="DIR_OR_HUB_ID", help="default: the pocket model")
    verb.add_argument("--adapter", metavar="DIR", help="LoRA weights to apply at load")
    verb.add_argument("--context", type=int, metavar="N", help="tokens a conversation may hold")


_FLAGS = {
    "host": ("server", "host"),
    "port": ("server", "port"),
    "socket": ("server", "socket"),
    "ram_budget": ("memory", "ram_budget"),
    "state_dir": ("store", "state_dir"),
    "disk_budget": ("store", "disk_budget"),
    "model": ("model", "path"),
    "adapter": ("model", "adapter"),
    "context": ("model", "context"),
}
"""Which setting a flag overrides."""


def _overrides(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    chosen: dict[str, dict[str, Any]] = {}
    for flag, (section, key) in _FLAGS.items():
        value = getattr(options, flag, None)
        if value is not None:
            chosen.setdefault(section, {})[key] = value
    return chosen


if __name__ == "__main__":
    sys.exit(main())
