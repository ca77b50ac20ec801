"""Routing by prefix: more prefixes than one worker's cache holds, and not more than all hold."""

from __future__ import annotations

from random import Random
from typing import Any

import httpx

from shared.protocol.prefix_chain import BLOCK_BYTES, chain_of
from tests.bench.gateway.bench import Bench, faults
from tests.bench.gateway.gateways import Gateway, chat
from tests.bench.gateway.processes import Upstream, run_load
from tests.fakes.mock.prefix_cache import BLOCK_TOKENS

_WORKERS = 4
_GROUPS = 24
_PREFIX_BYTES = 32 * BLOCK_BYTES
_KV_TOKENS = 16_384
_ANSWER_TOKENS = 16
_RATE = 26.0
_SEED = 7
_ENGINE = (
    *("--ports", str(_WORKERS), "--kv-tokens", str(_KV_TOKENS)),
    *("--max-num-seqs", "8", "--max-waiting", "1000"),
)

Asked = tuple[int, str]
"""Number of the prefix, and the message that begins with it."""


async def measure_prefixes(bench: Bench) -> None:
    """Read hit rate over an oracle's, TTFT, and how evenly the workers are used.

    A prefix takes 2,048 tokens, so a worker keeps seven of the 24, and four workers keep all.
    `direct` asks the workers in turns: it is the round robin that others are compared with.
    `pinned` has a worker for each prefix, which is as good as can be for the caches.
    """
    asked = _asked(bench.counts.prefix_requests)
    for name in ("pinned", "direct", "llmzoo", *bench.peers):
        standing = "direct" if name == "pinned" else name
        # Each gets workers whose caches are empty.
        async with bench.standing(*_ENGINE, only=[standing]) as (upstream, gateways):
            for gateway in gateways:
                plan = _plan(gateway, asked)
                if name == "pinned":
                    ports = upstream.ports
                    plan["targets"] = [
                        ("127.0.0.1", ports[group % len(ports)]) for group, _ in asked
                    ]
                load = await run_load(plan)
                _add(bench, name, load, await _counts(upstream), _oracle(asked))


def _plan(gateway: Gateway, asked: list[Asked]) -> dict[str, Any]:
    bodies = [chat(content, stream=True, max_tokens=_ANSWER_TOKENS) for _, content in asked]
    more = {"rate": _RATE, "requests": len(bodies), "connections": _WORKERS, "timeout": 120.0}
    return gateway.plan("open", bodies=bodies, streamed=True, **more)


def _add(
    bench: Bench, name: str, load: dict[str, Any], counts: list[dict[str, int]], oracle: float
) -> None:
    admitted = [count.get("admitted", 0) for count in counts]
    asked = sum(count.get("prompt_tokens", 0) for count in counts)
    hits = sum(count.get("hit_tokens", 0) for count in counts)
    bench.add(
        "prefixes",
        name,
        faults(load),
        hit_rate=hits / (asked or 1),
        of_oracle=hits / (asked or 1) / oracle,
        ttft_p50_ms=load["ttft_ms"] and load["ttft_ms"]["p50"],
        ttft_p90_ms=load["ttft_ms"] and load["ttft_ms"]["p90"],
        busiest=max(admitted) * len(admitted) / (sum(admitted) or 1),
    )


def _asked(count: int) -> list[Asked]:
    random = Random(_SEED)
    prefixes = [_text(random, _PREFIX_BYTES) for _ in range(_GROUPS)]
    groups = [random.randrange(_GROUPS) for _ in range(count)]
    return [(group, prefixes[group] + _text(random, 200)) for group in groups]


def _text(random: Random, size: int) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz    ", k=size))


def _oracle(asked: list[Asked]) -> float:
    """Return the share of prompt tokens that one endless cache would have had."""
    held: set[int] = set()
    hits = tokens = 0
    for _, content in asked:
        chain = chain_of({"messages": [{"role": "user", "content": content}]})
        hits += sum(block in held for block in chain) * BLOCK_TOKENS
        held.update(chain)
        tokens += -(-len(content) // 4)
    return hits / tokens


async def _counts(upstream: Upstream) -> list[dict[str, int]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        return [
            (await client.get(f"http://127.0.0.1:{port}/mock/stats")).json()["counts"]
            for port in upstream.ports
        ]
