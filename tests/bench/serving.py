"""Measures a running OpenAI-compatible server: tokens per second, TTFT, ITL, errors.

    make bench ARGS="--concurrency 1,16 --max-tokens 128"

Not a test: it gates nothing. Prompts are new in each run, so that no cache of prefixes helps.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from dataclasses import dataclass, field

from shared.client import ZooClient
from shared.errors import LLMZooError
from shared.settings import ClientSettings, load

WORDS = "river stone letter window garden engine number music winter paper cloud market".split()  # noqa: SIM905


@dataclass
class Result:
    """What one level of concurrency gave; times in seconds."""

    tokens: int = 0
    errors: int = 0
    seconds: float = 0.0
    ttft: list[float] = field(default_factory=list)
    itl: list[float] = field(default_factory=list)


async def ask(client: ZooClient, model: str, max_tokens: int, result: Result) -> None:
    """Stream one answer and add what it took."""
    words = " ".join(random.choices(WORDS, k=40))
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Write a long story with: {words}"}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream_options": {"include_usage": True},
    }
    before, first = time.perf_counter(), True
    try:
        async for delta in client.stream_chat(body):
            now = time.perf_counter()
            if delta.usage:
                result.tokens += delta.usage["completion_tokens"]
            if delta.text:
                (result.ttft if first else result.itl).append(now - before)
                before, first = now, False
    except LLMZooError as fault:
        result.errors += 1
        print(f"  error: {fault}")


async def measure(client: ZooClient, model: str, streams: int, max_tokens: int) -> Result:
    """Run `streams` requests at once and wait for all."""
    result = Result()
    started = time.perf_counter()
    await asyncio.gather(*(ask(client, model, max_tokens, result) for _ in range(streams)))
    result.seconds = time.perf_counter() - started
    return result


async def main() -> None:
    """Measure every level and print a line each."""
    settings = load(ClientSettings)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", default=settings.base_url)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--concurrency", default="1,4,16")
    parser.add_argument("--max-tokens", type=int, default=128)
    options = parser.parse_args()
    print(
        f"{'streams':>7} {'tokens/s':>9} {'TTFT p50':>9} {'ITL p50':>8} {'ITL p99':>8} {'errors':>6}"
    )
    async with ZooClient(options.base_url, settings.api_key.get_secret_value()) as client:
        await measure(client, options.model, 1, 8)
        for streams in map(int, options.concurrency.split(",")):
            result = await measure(client, options.model, streams, options.max_tokens)
            itl = sorted(result.itl) or [0.0]
            print(
                f"{streams:>7} {result.tokens / result.seconds:>9.1f}"
                f" {statistics.median(result.ttft or [0.0]) * 1000:>6.0f} ms"
                f" {statistics.median(itl) * 1000:>5.1f} ms"
                f" {itl[int(len(itl) * 0.99) - 1] * 1000:>5.1f} ms {result.errors:>6}"
            )


if __name__ == "__main__":
    asyncio.run(main())
