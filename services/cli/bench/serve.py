"""`llmzoo bench serve`: a running server under load.

Owns the order of the loads, the seeds and what is printed of a run.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from random import Random

import orjson

from services.cli.bench.completion import Completions
from services.cli.bench.connection import Server
from services.cli.bench.endpoint import Endpoint
from services.cli.bench.load import ClosedLoop, PoissonArrivals
from services.cli.bench.prompts import word_prompts
from services.cli.bench.report import as_json, as_lines
from services.cli.bench.run import Loads, run_loads
from services.cli.failures import ExitCode
from shared.settings import ClientSettings

_REQUESTS_A_STREAM = 2
_REQUESTS_AT_A_RATE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line asks for; the names are the options'."""

    model: str
    endpoint: Endpoint
    concurrency: tuple[int, ...]
    rate: float | None
    requests: int | None
    warmup: int
    prompt_tokens: int
    max_tokens: int
    ignore_eos: bool
    seed: int
    prompt_seed: int | None
    timeout: float
    as_json: bool

    def loads(self) -> Loads:
        """Return each load with its warm-up."""
        if self.rate is not None:
            arrivals = PoissonArrivals(self.rate, self.requests or _REQUESTS_AT_A_RATE, self.seed)
            return [(arrivals, ClosedLoop(1, self.warmup))]
        requests = self.requests or _REQUESTS_A_STREAM
        return [
            (ClosedLoop(streams, requests), ClosedLoop(streams, self.warmup))
            for streams in self.concurrency
        ]


def run_serve(settings: ClientSettings, options: ServeOptions) -> ExitCode:
    """Measure and print; a load has its row also when its requests failed.

    Raises:
        ConfigurationError: the address is no URL. UpstreamFailed: nobody is there.
    """
    return asyncio.run(_run(settings, options))


async def _run(settings: ClientSettings, options: ServeOptions) -> ExitCode:
    server = Server.at(settings.base_url, settings.api_key.get_secret_value())
    await server.check()
    prompt_seed = secrets.randbits(32) if options.prompt_seed is None else options.prompt_seed
    completions = Completions(
        server=server,
        endpoint=options.endpoint,
        model=options.model,
        max_tokens=options.max_tokens,
        ignore_eos=options.ignore_eos,
        prompts=word_prompts(options.prompt_tokens, Random(prompt_seed)),  # noqa: S311
        timeout=options.timeout,
    )
    run = await run_loads(options.loads(), completions.ask)
    if options.as_json:
        told = {
            "base_url": settings.base_url,
            "model": options.model,
            "endpoint": options.endpoint,
            "prompt_tokens_asked": options.prompt_tokens,
            "max_tokens": options.max_tokens,
            "ignore_eos": options.ignore_eos,
            "warmup": options.warmup,
            "seed": options.seed,
            "prompt_seed": prompt_seed,
            "interrupted": run.interrupted,
            "loads": as_json(run.recordings),
        }
        print(orjson.dumps(told).decode())
    else:
        print(*as_lines(run.recordings), f"prompt seed {prompt_seed}", sep="\n")
    return run.exit_code
