"""Measures the TTFT of a long conversation's second turn over that of an unknown one of its length.

    python -m tests.bench.second_turn --base-url http://127.0.0.1:8000

A round: a conversation of about `--tokens` tokens that nobody has seen (turn one); the same with
its answer and a new question (turn two); and one as long as turn two that nobody has seen, either.
Medians of the rounds are printed. It gates nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from services.cli.bench.completion import CompletionStream
from services.cli.bench.connection import Server
from services.cli.bench.endpoint import Endpoint
from services.cli.bench.prompts import word_prompts
from services.cli.bench.sample import Outcome, Sample
from shared.protocol.sse import SSEDecoder

QUESTION_TOKENS = 20
MILLISECONDS = 1000.0


@dataclass(frozen=True)
class Turn:
    """One answer: its text, when it began, and how long its prompt was."""

    text: str
    ttft_ms: float
    prompt_tokens: int | None


@dataclass(frozen=True)
class Round:
    first: Turn
    second: Turn
    unknown: Turn
    """As long as the second, never seen before."""

    @property
    def ratio(self) -> float:
        return self.second.ttft_ms / self.unknown.ttft_ms


@dataclass(frozen=True)
class Bench:
    server: Server
    model: str
    answer_tokens: int
    conversations: Iterator[str]
    questions: Iterator[str]

    async def round(self) -> Round:
        opening = user(next(self.conversations))
        first = await self.turn([opening])
        second = await self.turn(self._continued(opening, first.text))
        unknown = await self.turn(self._continued(user(next(self.conversations)), first.text))
        return Round(first, second, unknown)

    def _continued(self, opening: dict[str, str], answer: str) -> list[dict[str, str]]:
        return [opening, {"role": "assistant", "content": answer}, user(next(self.questions))]

    async def turn(self, messages: list[dict[str, str]]) -> Turn:
        """Ask; a request that is refused or fails ends the program."""
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": self.answer_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        sample, answer = Sample(time.perf_counter()), bytearray()
        stream = CompletionStream(sample, self.answer_tokens)

        def take(data: bytes, now: float) -> None:
            stream.take(data, now)
            answer.extend(data)

        stream.end(await self.server.post(Endpoint.CHAT.path, orjson.dumps(body), take))
        if sample.outcome is not Outcome.COMPLETED or not sample.arrivals:
            sys.exit(f"a request was {sample.outcome}: {sample.fault or 'no text'}")
        ttft = (sample.arrivals[0] - sample.started) * MILLISECONDS
        return Turn(text_of(bytes(answer)), ttft, sample.prompt_tokens)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def text_of(stream: bytes) -> str:
    """Return the text of a streamed answer."""
    pieces: list[str] = []
    for event in SSEDecoder().feed(stream):
        if event != b"[DONE]":
            choices: list[dict[str, Any]] = orjson.loads(event).get("choices") or []
            deltas: list[dict[str, Any]] = [choice.get("delta") or {} for choice in choices]
            pieces += [delta.get("content") or "" for delta in deltas]
    return "".join(pieces)


async def run(options: argparse.Namespace) -> list[Round]:
    """Return the rounds after one that only warms up, each with a line on stderr."""
    random = Random(options.prompt_seed)
    bench = Bench(
        Server.at(options.base_url, options.api_key),
        options.model,
        options.answer_tokens,
        word_prompts(options.tokens, random),
        word_prompts(QUESTION_TOKENS, random),
    )
    await bench.server.check()
    await bench.round()
    rounds: list[Round] = []
    for number in range(options.rounds):
        rounds.append(await bench.round())
        told = f"{rounds[-1].second.ttft_ms:.1f} / {rounds[-1].unknown.ttft_ms:.1f} ms"
        print(f"round {number + 1} of {options.rounds}: {told}", file=sys.stderr, flush=True)
    return rounds


def lines(rounds: list[Round]) -> Iterator[str]:
    def told(name: str, turn: Callable[[Round], Turn]) -> str:
        ttft = statistics.median(turn(r).ttft_ms for r in rounds)
        return f"{name} {ttft:8.1f} ms, {turn(rounds[-1]).prompt_tokens or 'unknown'} tokens"

    yield told("turn one, cold  ", lambda r: r.first)
    yield told("turn two        ", lambda r: r.second)
    yield told("as long, unknown", lambda r: r.unknown)
    yield f"turn two / unknown {statistics.median(r.ratio for r in rounds):.3f}"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tokens", type=int, default=1500, help="of the conversation, about")
    parser.add_argument("--answer-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-seed", type=int, default=secrets.randbits(32))
    return parser.parse_args(arguments)


def main() -> None:
    options = parse(sys.argv[1:])
    print(*lines(asyncio.run(run(options))), sep="\n")
    print(f"medians of {options.rounds} rounds; prompt seed {options.prompt_seed}")


if __name__ == "__main__":
    main()
