"""Routing by prefix: more prefixes than one worker's cache holds, and not more than all hold."""

from __future__ import annotations

from random import Random
from typing import Any

import httpx

from shared.protocol.prefix_chain import BLOCK_BYTES, chain_of
from tests.bench.gateway.bench import Bench, faults
from tests.bench.gateway.gateways import MODEL, chat
from tests.bench.gateway.processes import Upstream, run_load
from tests.fakes.mock.prefix_cache import BLOCK_TOKENS

_WORKERS = 4
_GROUPS = 24
_PREFIX_BYTES = 32 * BLOCK_BYTES
_KV_TOKENS = 16_384
_ANSWER_TOKENS = 16
_RATE = 26.0
_SEED = 7


async def measure_prefixes(bench: Bench) -> None:
    """Read hit rate over an oracle's, TTFT, and how evenly the workers are used.

    A prefix takes 2,048 tokens, so a worker keeps seven of the 24, and four workers keep all.
    `direct` asks the workers in turns: it is the round robin that others are compared with.
    """
    contents = _contents(bench.counts.prefix_requests)
    options = ("--ports", str(_WORKERS), "--kv-tokens", str(_KV_TOKENS))
    engine = (*options, "--max-num-seqs", "8", "--max-waiting", "1000")
    for name in ("direct", "llmzoo", *bench.peers):
        # Each gets workers whose caches are empty.
        async with bench.standing(*engine, only=[name]) as (upstream, gateways):
            for gateway in gateways:
                bodies = [chat(c, stream=True, max_tokens=_ANSWER_TOKENS) for c in contents]
                plan = gateway.plan(
                    "open", bodies=bodies, rate=_RATE, requests=len(bodies), streamed=True
                )
                load = await run_load({**plan, "timeout": 120.0})
                counts = [stats["counts"] for stats in await _stats(upstream)]
                admitted = [count.get("admitted", 0) for count in counts]
                hits = _sum(counts, "hit_tokens") / (_sum(counts, "prompt_tokens") or 1)
                bench.add(
                    "prefixes",
                    gateway.name,
                    faults(load),
                    hit_rate=hits,
                    of_oracle=hits / _oracle(contents),
                    ttft_p50_ms=load["ttft_ms"] and load["ttft_ms"]["p50"],
                    ttft_p90_ms=load["ttft_ms"] and load["ttft_ms"]["p90"],
                    busiest=max(admitted) * len(admitted) / (sum(admitted) or 1),
                )


def _contents(count: int) -> list[str]:
    random = Random(_SEED)
    groups = [_text(random, _PREFIX_BYTES) for _ in range(_GROUPS)]
    return [random.choice(groups) + _text(random, 200) for _ in range(count)]


def _text(random: Random, size: int) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz    ", k=size))


def _oracle(contents: list[str]) -> float:
    """Return the share of prompt tokens that one endless cache would have had."""
    held: set[int] = set()
    hits = tokens = 0
    for content in contents:
        chain = chain_of({"model": MODEL, "messages": [{"role": "user", "content": content}]})
        hits += sum(block in held for block in chain) * BLOCK_TOKENS
        held.update(chain)
        tokens += -(-len(content) // 4)
    return hits / tokens


async def _stats(upstream: Upstream) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        return [
            (await client.get(f"http://127.0.0.1:{port}/mock/stats")).json()
            for port in upstream.ports
        ]


def _sum(counts: list[dict[str, int]], name: str) -> int:
    return sum(count.get(name, 0) for count in counts)
