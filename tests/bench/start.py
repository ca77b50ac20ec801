"""Measures from the start of a command to the first streamed token of what it serves.

    python -m tests.bench.start --base-url http://127.0.0.1:8000 -- llmzoo up --model demo

The command gets a process group of its own, which is ended with SIGINT and waited for after each
run. Its output goes to `--log`. It gates nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from random import Random

from services.cli.bench.completion import Completions
from services.cli.bench.connection import Server
from services.cli.bench.endpoint import Endpoint
from services.cli.bench.prompts import word_prompts
from services.cli.bench.sample import Sample
from shared.errors import UpstreamFailed

POLL_SECONDS = 0.05
END_SECONDS = 60.0


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run a command; leaving ends its process group as Ctrl-C does, or after a minute by force."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        try:
            _signal_group(process, signal.SIGINT)
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"not ended by SIGINT in {END_SECONDS:g} s: killed", file=sys.stderr)
        finally:
            _signal_group(process, signal.SIGKILL)  # whoever of the group is left
            process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


async def first_token(process: subprocess.Popen[bytes], completions: Completions) -> float:
    """Ask until a token comes, and return when it came."""
    while process.poll() is None:
        sample = Sample(time.perf_counter())
        await completions.ask(sample)
        if sample.arrivals:
            return sample.arrivals[0]
        await asyncio.sleep(POLL_SECONDS)
    sys.exit(f"the command ended with {process.returncode} before it answered")


async def nobody_at(server: Server) -> bool:
    try:
        await server.check()
    except UpstreamFailed:
        return True
    return False


async def measure(options: argparse.Namespace, command: list[str]) -> list[float]:
    """Return the seconds of each run."""
    server = Server.at(options.base_url, options.api_key)
    completions = Completions(
        server=server,
        endpoint=Endpoint.COMPLETIONS,
        model=options.model,
        max_tokens=1,
        ignore_eos=False,
        prompts=word_prompts(options.prompt_tokens, Random(secrets.randbits(32))),
        timeout=options.timeout,
    )
    seconds: list[float] = []
    for number in range(options.runs):
        if not await nobody_at(server):
            sys.exit(f"somebody answers at {options.base_url} already")
        started = time.perf_counter()
        with running(command, options.log) as process:
            async with asyncio.timeout(options.timeout):
                seconds.append(await first_token(process, completions) - started)
        told = f"run {number + 1} of {options.runs}: {seconds[-1]:.2f} s"
        print(told, file=sys.stderr, flush=True)
    return seconds


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog="The command stands behind --"
    )
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", default="")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--prompt-tokens", type=int, default=20)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds of a run")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="its output, appended")
    return parser.parse_args(arguments)


def main() -> None:
    mine, command = sys.argv[1:], []
    if "--" in mine:
        at = mine.index("--")
        mine, command = mine[:at], mine[at + 1 :]
    options = parse(mine)
    if not command:
        sys.exit("no command behind --")
    seconds = asyncio.run(measure(options, command))
    print(f"start to first token {statistics.median(seconds):.2f} s, median of {len(seconds)}")


if __name__ == "__main__":
    main()
