"""Logs: one line an event, JSON unless on a terminal, with the request's id.

Owns the form of a line and the context variable of the request id. Prompts and answers are
never given to it by us, and what libraries say below INFO is not let in: some of them show what
they send.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import orjson
import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from shared.settings import Settings


def configure(service: str, settings: Settings) -> None:
    """Send structlog's and the standard library's events to stderr in one form.

    Args:
        service: the name every line carries.
        settings: level and form.
    """
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )

    def name_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        name_service,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    last: list[Processor] = (
        [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(_dumps),
        ]
        if as_json
        # Its default shows local variables beside each line, and so what users wrote.
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=common,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root.setLevel(max(level, logging.INFO))
    for ours in ("services", "shared"):
        logging.getLogger(ours).setLevel(level)
    # These tell of every request and of each step of a start at INFO; our own lines say more.
    for chatty in ("httpx", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if as_json:
        # Without the standard library, whose path to the same line is fifteen times as long.
        processors = [*common, *last]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    else:
        processors = [*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
        factory = structlog.stdlib.LoggerFactory()
    structlog.configure(
        processors=processors,
        logger_factory=factory,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def _dumps(event: EventDict, **_: object) -> str:
    return orjson.dumps(event, default=str).decode()
