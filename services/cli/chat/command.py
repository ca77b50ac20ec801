"""`llmzoo chat` on the command line: its options, and which kind of chat they ask for.

Owns options, the reading of stdin and the choice of source, model and display. Imported for
`--help`, so everything that takes time to import is imported where it is used.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from services.cli.chat.start import ChatOptions


class Style(StrEnum):
    """How a chat looks."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"


def chat(
    question: Annotated[
        str | None, typer.Argument(help="One question; without one, and on a terminal, a chat.")
    ] = None,
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Default: the one that is served.")
    ] = "",
    local: Annotated[
        str, typer.Option(metavar="MODEL", help="Load this model here; no server is needed.")
    ] = "",
    system: Annotated[str, typer.Option("--system", "-s", help="The system message.")] = "",
    temperature: Annotated[
        float | None, typer.Option("--temperature", "-t", help="0 (the likeliest token) to 2.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The longest answer, in tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text that ends the answer; up to 4 times."),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The server.  [env: LLMZOO_BASE_URL]")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(help="Its key; the variable keeps it out of `ps`.  [env: LLMZOO_API_KEY]"),
    ] = None,
    style: Annotated[Style, typer.Option(help="auto: rich on a terminal.")] = Style.AUTO,
    as_json: Annotated[
        bool, typer.Option("--json", help="One question: print one JSON object.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream/--no-stream", help="One question: print as it comes, or at the end."
        ),
    ] = True,
) -> None:
    """Chat with a model, or ask it one question.

    Text on stdin is the question, or is added to the one given. The exit code is 0 after an
    answer, 1 after a failure, 2 for wrong usage, 3 if there is no server, 130 after Ctrl-C.

    \b
    Examples:
      llmzoo chat
      llmzoo chat --temperature 0 "What is the capital of France?"
      llmzoo chat "Summarise this." < report.txt
      git diff | llmzoo chat "Write a commit message." --no-stream
      llmzoo chat --local demo "Hello"
      llmzoo chat --json "Hello" | jq -r .content
    """  # noqa: D301 - \b keeps the examples' lines apart
    from services.cli.chat import start  # noqa: PLC0415 - see above

    parameters = {
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "seed": seed,
        "stop": stop or None,
    }
    options: ChatOptions = start.ChatOptions(
        question=_question(question),
        model=model,
        local=local,
        system=system,
        parameters={name: value for name, value in parameters.items() if value is not None},
        base_url=base_url,
        api_key=api_key,
        plain=style is Style.PLAIN or (style is Style.AUTO and not sys.stdout.isatty()),
        as_json=as_json,
        stream=stream,
    )
    start.run(options)


def _question(argument: str | None) -> str | None:
    """Return the question of argument and stdin; None asks for an interactive chat."""
    if sys.stdin.isatty():
        piped = ""
    else:
        try:
            piped = sys.stdin.buffer.read().decode().strip()
        except UnicodeDecodeError as fault:
            msg = f"stdin is not UTF-8 text (byte {fault.start})"
            raise typer.BadParameter(msg) from None
    question = "\n\n".join(part for part in (argument or "", piped) if part.strip())
    if not question and (argument is not None or not sys.stdin.isatty()):
        msg = "the question is empty"
        raise typer.BadParameter(msg)
    return question or None
