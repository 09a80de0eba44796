"""structlog to stderr: for people on a terminal, else one JSON object per line."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

from semantic_actors.daemon.settings import LogSettings


def configure(settings: LogSettings) -> None:
    """Set up logging of the whole process. Prompt text is never logged: no locals in tracebacks."""
    on_terminal = sys.stderr.isatty()
    console = settings.format == "console" or (settings.format == "auto" and on_terminal)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_for_people(colors=on_terminal) if console else _for_machines()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )


class _Stderr:
    """The stderr of the moment.

    A line that cannot be written (a closed pipe, a full disk) is lost; the daemon is not.
    """

    def write(self, text: str) -> None:
        """Write, or lose it."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush, or do not."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def _for_people(*, colors: bool) -> list[structlog.typing.Processor]:
    plain = structlog.dev.plain_traceback  # the rich one prints locals, and locals hold prompts
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


def _for_machines() -> list[structlog.typing.Processor]:
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(tracebacks),
        structlog.processors.JSONRenderer(),
    ]
