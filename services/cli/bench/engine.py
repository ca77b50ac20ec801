"""`llmzoo bench engine`: the engine alone, in this process, without HTTP and without a tokenizer.

Owns the run. The model comes through the worker's own door and is asked as the worker asks it,
through `EngineClient`. The only module here that imports the worker, when the command runs.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from services.cli.bench.load import Ask, ClosedLoop
from services.cli.bench.prompts import token_prompts
from services.cli.bench.report import as_json, as_lines
from services.cli.bench.run import run_loads
from services.cli.bench.sample import CountedBy, Outcome, Sample
from services.cli.failures import ExitCode
from services.cli.long_work import long_work
from shared import logs
from shared.errors import LLMZooError
from shared.settings import WorkerSettings, load

if TYPE_CHECKING:
    from services.worker.engine_client import EngineClient
    from services.worker.served_model import ServedModel

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What the command line asks for; `settings` are fields of WorkerSettings."""

    settings: dict[str, Any]
    concurrency: tuple[int, ...]
    requests: int
    warmup: int
    prompt_tokens: int
    max_tokens: int
    prompt_seed: int | None
    as_json: bool


def run_engine(options: EngineOptions) -> ExitCode:
    """Load the model, measure and print.

    Raises:
        ModelLoadError: it cannot be had or served. ConfigurationError: a setting is wrong.
    """
    settings = load(WorkerSettings, **options.settings)
    # Every stream gets a slot: a queue is not what is measured here.
    slots = max(settings.max_num_seqs, *options.concurrency)
    settings = settings.model_copy(update={"max_num_seqs": slots})
    logs.configure("bench", settings)  # on stderr: what is printed may be JSON
    with long_work("llmzoo bench engine") as show:
        from services.worker.daemon_thread import in_daemon_thread  # noqa: PLC0415 - see above
        from services.worker.opening import open_model  # noqa: PLC0415

        started = time.perf_counter()
        # In a thread that ends, as in the worker: see there.
        served = asyncio.run(in_daemon_thread(lambda: open_model(settings, show)))
        load_seconds = time.perf_counter() - started
    return asyncio.run(_run(served, options, load_seconds))


async def _run(served: ServedModel, options: EngineOptions, load_seconds: float) -> ExitCode:
    prompt_seed = secrets.randbits(32) if options.prompt_seed is None else options.prompt_seed
    random = Random(prompt_seed)  # noqa: S311 - prompts are no secret
    prompts = token_prompts(options.prompt_tokens, served.vocab_size, random)
    loads = [
        (ClosedLoop(streams, options.requests), ClosedLoop(streams, options.warmup))
        for streams in options.concurrency
    ]
    served.engine.start(asyncio.get_running_loop())
    try:
        ask = asking(served.engine, prompts, options.max_tokens)
        run = await run_loads(loads, ask, lambda: served.engine.stats().steps)
    finally:
        await served.engine.stop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    if options.as_json:
        told = {
            "model": served.name,
            "dtype": served.dtype,
            "max_num_seqs": served.max_num_seqs,
            "max_tokens": options.max_tokens,
            "warmup": options.warmup,
            "prompt_seed": prompt_seed,
            "load_seconds": load_seconds,
            "memory_peak_bytes": peak,
            "interrupted": run.interrupted,
            "loads": as_json(run.recordings),
        }
        print(orjson.dumps(told).decode())
    else:
        print(*as_lines(run.recordings), sep="\n")
        print(f"memory peak {peak / _MIB:,.0f} MiB resident, loaded in {load_seconds:.1f} s")
        print(f"prompt seed {prompt_seed}")
    return run.exit_code


def asking(engine: EngineClient, prompts: Iterator[tuple[int, ...]], max_tokens: int) -> Ask:
    """Return what sends one prompt, greedy and to the full length, and fills in its sample."""
    from services.worker.engine.sequence import SamplingParams, Sequence  # noqa: PLC0415

    names = itertools.count()
    params = SamplingParams(max_tokens=max_tokens, seed=0, temperature=0.0, ignore_eos=True)

    async def ask(sample: Sample) -> None:
        prompt = next(prompts)
        sample.prompt_tokens, sample.counted_by = len(prompt), CountedBy.ENGINE
        try:
            stream = engine.submit(Sequence(f"bench-{next(names)}", 0, prompt, params))
        except LLMZooError as fault:
            sample.end(Outcome.FAILED, time.perf_counter(), fault.message)
            return
        async for output in stream:
            if output.token_id is not None:
                sample.arrivals.append(time.perf_counter())
                sample.output_tokens += 1
        if sample.output_tokens == max_tokens:
            sample.end(Outcome.COMPLETED, time.perf_counter())
        else:
            sample.end(Outcome.FAILED, time.perf_counter(), "the engine ended it early")

    return ask
