"""What a failure comes to on a command line: one line of text and an exit code.

Owns the exit codes. Knows no command.
"""

from __future__ import annotations

from enum import IntEnum

from shared.errors import ConfigurationError, LLMZooError, Unavailable


class ExitCode(IntEnum):
    """What a shell script can tell apart."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CANNOT_CONNECT = 3
    CANCELED = 4
    """A run was canceled: by somebody, or by its deadline."""
    OUT_OF_BUDGET = 5
    """A run stopped at its limit of money, tokens or calls."""
    INTERRUPTED = 130


def exit_code(fault: LLMZooError) -> ExitCode:
    """Return the exit code of a command that failed by `fault`."""
    match fault:
        case ConfigurationError():
            return ExitCode.USAGE
        case Unavailable():
            # The client's own type: a server that answers 503 is an APIError.
            return ExitCode.CANNOT_CONNECT
        case _:
            return ExitCode.FAILURE


def one_line(fault: LLMZooError, request_id: str = "") -> str:
    """Return what a person should know of `fault`, with the request's id where there is one.

    Args:
        fault: what went wrong.
        request_id: of the request it belongs to, where the fault itself does not know.
    """
    text = " ".join(fault.message.split())
    if fault.retry_after is not None:
        text += f" Try again in {fault.retry_after:g} s."
    if isinstance(fault, Unavailable):
        text += " Start a server with `llmzoo up`, or name one with --base-url."
    known = request_id or getattr(fault, "request_id", "")
    return f"{text} (request {known})" if known else text
