"""One run: what is measured with which counts, and the gateways that stand before one fleet."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.gateway.gateways import MODEL, TOKEN, Direct, Gateway, Ledgerless, Zoo
from tests.bench.gateway.peers import PEERS
from tests.bench.gateway.processes import Redis, Upstream


@dataclass(frozen=True)
class Counts:
    """How much is asked; `tiny` is for trying whether every column works."""

    rounds: int = 5
    unary_requests: int = 20_000
    slow_share: float = 0.02
    """LiteLLM and FastChat are two orders slower and get so many of them."""
    streams: int = 50
    chunks: int = 100
    many_streams: int = 200
    open_seconds: float = 8.0
    idle_streams: int = 1_000
    overload_seconds: float = 12.0
    leavers: int = 200
    random_leavers: int = 10_000
    probes: int = 300
    prefix_requests: int = 600
    outage_seconds: float = 60.0


TINY = Counts(
    rounds=1,
    unary_requests=300,
    slow_share=0.2,
    streams=10,
    chunks=20,
    many_streams=30,
    open_seconds=1.0,
    idle_streams=60,
    overload_seconds=3.0,
    leavers=12,
    random_leavers=100,
    probes=30,
    prefix_requests=80,
    outage_seconds=3.0,
)

SLOW = frozenset({"litellm", "fastchat"})


@dataclass
class Bench:
    """Where a run's processes live."""

    folder: Path
    counts: Counts
    peers: dict[str, Path]
    redis: Redis
    rows: list[Row] = field(default_factory=list)
    with_ledgerless: bool = False

    def add(
        self, measure: str, gateway: str, errors: str = "none", **figures: float | None
    ) -> None:
        """Keep one reading."""
        self.rows.append(Row(measure, gateway, figures, errors))

    def requests(self, gateway: Gateway, whole: int) -> int:
        return max(20, round(whole * (self.counts.slow_share if gateway.name in SLOW else 1)))

    @contextlib.asynccontextmanager
    async def standing(
        self, *options: str, stub: Sequence[str] = (), only: Sequence[str] | None = None
    ) -> AsyncIterator[tuple[Upstream, list[Gateway]]]:
        """Start workers with these options, and before them every gateway that can stand there.

        `stub` are options of stubs; FastChat gets a stub of its own with the same.
        """
        announced = ("--model", MODEL, "--token", TOKEN, "--redis-url", self.redis.url)
        fast = ("--heartbeat-interval", "0.5")
        chosen = ["--stub", *stub] if stub else options
        upstream = Upstream(self.folder, *announced, *fast, *chosen)
        gateways = [g for g in self._gateways() if stub or g.works_with_mock]
        gateways = [g for g in gateways if only is None or g.name in only]
        try:
            for gateway in gateways:
                await gateway.start(upstream, list(stub))
                if gateway.processes:
                    self.add("start", gateway.name, seconds=gateway.start_seconds)
            yield upstream, gateways
        finally:
            for gateway in gateways:
                gateway.check()
                gateway.stop()
            upstream.stop()

    def _gateways(self) -> Iterator[Gateway]:
        yield Direct(self.folder)
        yield Zoo(self.folder, self.redis)
        if self.with_ledgerless:
            yield Ledgerless(self.folder, self.redis)
        for name, python in self.peers.items():
            yield PEERS[name](self.folder, python)


@dataclass(frozen=True)
class Row:
    """One reading of one gateway."""

    measure: str
    gateway: str
    figures: dict[str, float | None]
    errors: str


def faults(load: dict[str, Any]) -> str:
    """Return the answers that were no 200, as `429: 12, broken: 1`."""
    names = {"0": "broken", "-1": "timeout", "-2": "left"}
    told = [f"{names.get(c, c)}: {n}" for c, n in sorted(load["codes"].items()) if c != "200"]
    return ", ".join(told) or "none"


def turned(gateways: list[Gateway], number: int) -> list[Gateway]:
    """Return them in another order each round, so that a machine that slows down does for all."""
    at = number % len(gateways)
    return gateways[at:] + gateways[:at]
