"""Measures several running servers in turns and prints medians and ratios to the first.

    python -m tests.bench.peers zoo=http://127.0.0.1:8000 vllm=http://127.0.0.1:9001 \\
        -- --concurrency 1,16 --max-tokens 128

What stands behind `--` goes to `llmzoo bench serve`. `NAME=URL#MODEL` names a server's model where
it is not `demo`. In every round the order moves on by one, so that a machine that grows slower
does so for all. peers.md tells how to start them. It gates nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag

from services.cli.table import columns

HEAD = ("LOAD", "SERVER", "TOKENS/S", "RATIO", "TTFT p50 ms", "RATIO", "ITL p50 ms", "RATIO")
COUNTS = ("DONE", "REJECTED", "FAILED", "CLIENT CPU")


@dataclass(frozen=True)
class Peer:
    """One running server."""

    name: str
    url: str
    model: str

    @classmethod
    def parse(cls, text: str) -> Peer:
        name, equals, address = text.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=URL")
        url, model = urldefrag(address)
        return cls(name, url, model or "demo")

    def measure(self, options: list[str]) -> list[dict[str, Any]]:
        """Return the loads of one run; a run that fails ends the program, with its own words."""
        command = [sys.executable, "-m", "services.cli", "bench", "serve", "--json"]
        done = subprocess.run(
            [*command, "--base-url", self.url, "--model", self.model, *options],
            stdout=subprocess.PIPE,
            check=False,
        )
        if not done.stdout:
            sys.exit(f"{self.name} could not be measured (exit code {done.returncode})")
        return json.loads(done.stdout)["loads"]


@dataclass
class Row:
    """What all runs of one server under one load gave."""

    runs: list[dict[str, Any]] = field(default_factory=list)

    def median(self, *path: str) -> float | None:
        """Return the median of a figure over the runs that have it."""
        found = []
        for run in self.runs:
            figure: Any = run
            for name in path:
                figure = figure[name]
            if figure is not None:
                found.append(figure)
        return statistics.median(found) if found else None

    def figures(self) -> list[float | None]:
        times = [self.median(name, "p50") for name in ("ttft_ms", "itl_ms")]
        return [self.median("output_tokens_per_second"), *times]

    def counts(self) -> list[str]:
        sums = [sum(run[name] for run in self.runs) for name in ("completed", "rejected", "failed")]
        return [*map(str, sums), f"{max(run['process_cpu'] for run in self.runs):.0%}"]


def cells(row: Row, first: Row) -> list[str]:
    """Return each figure, and the first server's over it."""
    cells = []
    for own, its in zip(row.figures(), first.figures(), strict=True):
        cells.append("-" if own is None else f"{own:.1f}")
        cells.append(f"{its / own:.2f}" if own and its is not None else "-")
    return [*cells, *row.counts()]


def main() -> None:
    mine, theirs = sys.argv[1:], []
    if "--" in mine:
        at = mine.index("--")
        mine, theirs = mine[:at], mine[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peers", nargs="+", type=Peer.parse, metavar="NAME=URL[#MODEL]")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(mine)
    peers: list[Peer] = options.peers
    rows: dict[str, dict[str, Row]] = defaultdict(lambda: {peer.name: Row() for peer in peers})
    for run in range(options.runs):
        start = run % len(peers)
        for peer in peers[start:] + peers[:start]:
            print(f"run {run + 1} of {options.runs}: {peer.name}", file=sys.stderr, flush=True)
            for load in peer.measure(theirs):
                rows[load["load"]][peer.name].runs.append(load)
    table = [
        [load, peer.name, *cells(by_name[peer.name], by_name[peers[0].name])]
        for load, by_name in rows.items()
        for peer in peers
    ]
    print(*columns([*HEAD, *COUNTS], table), sep="\n")
    print(
        f"medians of {options.runs} runs; RATIO is {peers[0].name}'s figure over the server's own"
    )


if __name__ == "__main__":
    main()
