"""Measures a running zoo (HTTP, controller, worker) over the engine alone, in turns.

    python -m tests.bench.overhead --base-url http://127.0.0.1:8000

Each round asks the zoo, then runs `llmzoo bench engine` in a process of its own with prompts of
as many tokens as the zoo counted; in every other round the engine is first. The zoo is idle while
the engine computes. Both are greedy and run to the full length; start both with the same
LLMZOO_* settings. It gates nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.bench.peers import Peer


@dataclass(frozen=True)
class Round:
    """Tokens per second."""

    zoo: float
    engine: float

    @property
    def ratio(self) -> float:
        return self.zoo / self.engine


@dataclass(frozen=True)
class Bench:
    zoo: Peer
    concurrency: int
    requests: int
    prompt_tokens: int
    max_tokens: int

    def of_zoo(self) -> tuple[float, int]:
        """Return its tokens per second and the length of its prompts, as it counts them."""
        plain = ["--endpoint", "completions", "--ignore-eos"]
        load = checked(self.zoo.measure([*plain, *self._load(self.prompt_tokens)]))
        return load["output_tokens_per_second"], round(load["prompt_tokens"])

    def of_engine(self, prompt_tokens: int) -> float:
        """Return the tokens per second of an engine that is started, measured and ended."""
        command = [sys.executable, "-m", "services.cli", "bench", "engine", "--json"]
        done = subprocess.run(
            [*command, "--model", self.zoo.model, *self._load(prompt_tokens)],
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            sys.exit(f"the engine could not be measured (exit code {done.returncode})")
        return checked(json.loads(done.stdout)["loads"])["output_tokens_per_second"]

    def _load(self, prompt_tokens: int) -> list[str]:
        return [
            *("--concurrency", str(self.concurrency), "--requests", str(self.requests)),
            *("--prompt-tokens", str(prompt_tokens), "--max-tokens", str(self.max_tokens)),
        ]


def checked(loads: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only load; one in which a request was refused or failed ends the program."""
    (load,) = loads
    if load["rejected"] or load["failed"]:
        sys.exit(f"requests were refused or failed: {load['faults']}")
    return load


def run(bench: Bench, rounds: int) -> Iterator[Round]:
    """Yield the rounds, each with a line on stderr."""
    _, prompt_tokens = bench.of_zoo()  # warms up, and tells how long prompts are
    for number in range(rounds):
        engine = bench.of_engine(prompt_tokens) if number % 2 else None
        zoo, _ = bench.of_zoo()
        found = Round(zoo, bench.of_engine(prompt_tokens) if engine is None else engine)
        print(f"round {number + 1} of {rounds}: {found}", file=sys.stderr, flush=True)
        yield found


def lines(rounds: list[Round]) -> Iterator[str]:
    zoo = statistics.median(r.zoo for r in rounds)
    engine = statistics.median(r.engine for r in rounds)
    yield f"through the zoo  {zoo:8.1f} tokens/s"
    yield f"the engine alone {engine:8.1f} tokens/s"
    yield f"zoo / engine     {zoo / engine:8.3f} (of the medians)"
    yield f"                 {statistics.median(r.ratio for r in rounds):8.3f} (of the rounds)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--requests", type=int, default=2, help="a stream's")
    parser.add_argument("--prompt-tokens", type=int, default=50)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bench = Bench(
        Peer("zoo", options.base_url, options.model),
        options.concurrency,
        options.requests,
        options.prompt_tokens,
        options.max_tokens,
    )
    print(*lines(list(run(bench, options.rounds))), sep="\n")
    print(f"medians of {options.rounds} rounds, {options.concurrency} streams")


if __name__ == "__main__":
    main()
