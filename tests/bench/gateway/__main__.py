"""Measures the gateway beside its peers and beside nothing, in one run.

    python -m tests.bench.gateway --only cpu,latency --peer litellm=/tmp/litellm/bin/python

Every measure starts stubs or mock workers, our controller (a process, with a Redis of its own) and
each peer that was named; rounds alternate. `--tiny` tries whether every column works; its figures
mean nothing. peers.md tells how to install peers. It gates nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench.gateway.bench import TINY, Bench, Counts
from tests.bench.gateway.faults import measure_hanging, measure_overload, measure_redis_away
from tests.bench.gateway.holding import measure_idle
from tests.bench.gateway.leaving import measure_leaving
from tests.bench.gateway.peers import PEERS
from tests.bench.gateway.prefixes import measure_prefixes
from tests.bench.gateway.processes import Redis
from tests.bench.gateway.report import lines
from tests.bench.gateway.speed import measure_cpu, measure_latency, measure_ledger

MEASURES = {
    "cpu": measure_cpu,
    "ledger": measure_ledger,
    "latency": measure_latency,
    "idle": measure_idle,
    "overload": measure_overload,
    "leaving": measure_leaving,
    "hanging": measure_hanging,
    "redis": measure_redis_away,
    "prefixes": measure_prefixes,
}
_OPEN_FILES = 65_536


def peer(text: str) -> tuple[str, Path]:
    name, equals, python = text.partition("=")
    if name not in PEERS or not equals or not Path(python).is_file():
        known = ", ".join(PEERS)
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PYTHON with a NAME of {known}")
    return name, Path(python).absolute()


def measures(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in MEASURES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(MEASURES)}")
    return names


async def run(bench: Bench, names: list[str]) -> None:
    for name in names:
        started = time.monotonic()
        await MEASURES[name](bench)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=measures, default=list(MEASURES), metavar="NAME,…")
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--rounds", type=int, default=0, help="0: as many as are usual")
    parser.add_argument("--tiny", action="store_true", help="tiny counts: does it run at all?")
    parser.add_argument("--json", action="store_true", help="print every reading")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _OPEN_FILES)), hard))
    counts = TINY if options.tiny else Counts()
    if options.rounds:
        counts = replace(counts, rounds=options.rounds)
    with tempfile.TemporaryDirectory(prefix="zoo-bench-", ignore_cleanup_errors=True) as name:
        redis = Redis(Path(name))
        bench = Bench(Path(name), counts, dict(options.peer), redis)
        try:
            asyncio.run(run(bench, options.only))
        finally:
            # What was read before a fault, or Ctrl-C, is told all the same.
            redis.stop()
            tell(bench, as_json=options.json)


def tell(bench: Bench, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(row) for row in bench.rows]))
    else:
        print(*lines(bench.rows), sep="\n")


if __name__ == "__main__":
    main()
