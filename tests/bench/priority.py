"""Measures what interactive requests wait for while batch requests fill the server, in batch steps.

    python -m tests.bench.priority --base-url http://127.0.0.1:8000 --streams 64

A round: short interactive requests one after the other on the idle server; then `--streams` long
requests with `X-LLMZoo-Priority: batch`, and when all of these stream, or nobody new begins any
more because the rest wait in the server, the interactive ones again. The median time between a
batch stream's pieces is one batch step. Medians of the rounds are printed. It gates nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from services.cli.bench.completion import Completions
from services.cli.bench.connection import Server
from services.cli.bench.endpoint import Endpoint
from services.cli.bench.figures import figures
from services.cli.bench.load import ClosedLoop
from services.cli.bench.prompts import word_prompts
from services.cli.bench.sample import Outcome, Sample
from shared.protocol.priority import PRIORITY_HEADER

CALM_PIECES = 16  # that the longest stream gets without anybody new: all stream who will
ANSWER_TOKENS = 8
BATCH_REQUESTS = 4  # a stream's, so that none ends before the interactive requests have
MILLISECONDS = 1000.0


@dataclass(frozen=True)
class Round:
    """Milliseconds."""

    idle_p50: float
    busy_p95: float
    step: float
    streaming: int
    """Batch requests that had begun to stream when the interactive ones came."""

    @property
    def steps(self) -> float:
        return (self.busy_p95 - self.idle_p50) / self.step


def step_of(samples: list[Sample], since: float) -> float:
    """Return the median time between pieces that came after `since`, in milliseconds."""
    gaps = [
        later - earlier
        for sample in samples
        for earlier, later in pairwise(t for t in sample.arrivals if t >= since)
    ]
    return statistics.median(gaps) * MILLISECONDS


def check(samples: list[Sample]) -> None:
    """End the program if any request was refused or failed: then nothing was measured."""
    for sample in samples:
        if sample.outcome in {Outcome.REJECTED, Outcome.FAILED}:
            sys.exit(f"a request was {sample.outcome}: {sample.fault}")


async def settled(load: asyncio.Task[None], samples: list[Sample]) -> float:
    """Wait until every batch request streams or waits in the server; return when the last began."""
    begun, pieces_then = 0, 0
    while not load.done():
        streaming = [sample for sample in samples if sample.arrivals]
        pieces = max((len(sample.arrivals) for sample in streaming), default=0)
        if len(streaming) > begun:
            begun, pieces_then = len(streaming), pieces
        if pieces - pieces_then >= CALM_PIECES:
            return max(sample.arrivals[0] for sample in streaming)
        await asyncio.sleep(0.01)
    check(samples)
    sys.exit("the batch requests ended before they had settled: give more --batch-tokens")


@dataclass(frozen=True)
class Bench:
    """The two kinds of requests."""

    interactive: Completions
    batch: Completions
    streams: int
    requests: int

    @classmethod
    def of(cls, options: argparse.Namespace) -> Bench:
        server = Server.at(options.base_url, options.api_key)
        prompts = word_prompts(options.prompt_tokens, Random(options.prompt_seed))

        def completions(server: Server, max_tokens: int) -> Completions:
            return Completions(
                server=server,
                endpoint=Endpoint.CHAT,
                model=options.model,
                max_tokens=max_tokens,
                ignore_eos=options.ignore_eos,
                prompts=prompts,
                timeout=600.0,
            )

        marked = replace(server, headers=((PRIORITY_HEADER, "batch"),))
        return cls(
            completions(server, ANSWER_TOKENS),
            completions(marked, options.batch_tokens),
            options.streams,
            options.requests,
        )

    async def round(self) -> Round:
        # The first one waits for what the last round left behind in the server.
        idle = (await self._one_after_the_other(self.requests + 1))[1:]
        samples: list[Sample] = []
        load = asyncio.create_task(
            ClosedLoop(self.streams, BATCH_REQUESTS).run(self.batch.ask, samples)
        )
        try:
            since = await settled(load, samples)
            streaming = sum(bool(sample.arrivals) for sample in samples)
            busy = await self._one_after_the_other(self.requests)
            if load.done():
                sys.exit("the batch requests ended too soon: give more --batch-tokens")
        finally:
            load.cancel()
            await asyncio.wait([load])
        check(samples)
        idle_p50, busy_p95 = figures(idle, 0.0).ttft_ms.p50, figures(busy, 0.0).ttft_ms.p95
        assert idle_p50 is not None
        assert busy_p95 is not None
        return Round(idle_p50, busy_p95, step_of(samples, since), streaming)

    async def _one_after_the_other(self, requests: int) -> list[Sample]:
        samples: list[Sample] = []
        await ClosedLoop(1, requests).run(self.interactive.ask, samples)
        check(samples)
        return samples


async def run(options: argparse.Namespace) -> list[Round]:
    """Return the rounds, each with a line on stderr."""
    bench = Bench.of(options)
    rounds: list[Round] = []
    await bench.interactive.server.check()
    for number in range(options.rounds):
        rounds.append(await bench.round())
        print(f"round {number + 1} of {options.rounds}: {rounds[-1]}", file=sys.stderr, flush=True)
    return rounds


def lines(rounds: list[Round]) -> Iterator[str]:
    def median(of: Callable[[Round], float]) -> float:
        return statistics.median(map(of, rounds))

    yield f"idle TTFT p50                 {median(lambda r: r.idle_p50):8.1f} ms"
    yield f"TTFT p95 beside batch streams {median(lambda r: r.busy_p95):8.1f} ms"
    yield f"one batch step (ITL p50)      {median(lambda r: r.step):8.1f} ms"
    yield f"batch requests that streamed  {median(lambda r: r.streaming):8.0f}"
    yield f"(p95 - idle p50) / step       {median(lambda r: r.steps):8.2f}"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--streams", type=int, default=64, help="batch requests at once")
    parser.add_argument("--requests", type=int, default=20, help="interactive ones a round")
    parser.add_argument("--prompt-tokens", type=int, default=20)
    parser.add_argument("--batch-tokens", type=int, default=1000, help="of a batch answer")
    parser.add_argument("--ignore-eos", action="store_true", help="LLM Zoo and vLLM know it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-seed", type=int, default=secrets.randbits(32))
    return parser.parse_args(arguments)


def main() -> None:
    options = parse(sys.argv[1:])
    print(*lines(asyncio.run(run(options))), sep="\n")
    print(f"medians of {options.rounds} rounds; prompt seed {options.prompt_seed}")


if __name__ == "__main__":
    main()
