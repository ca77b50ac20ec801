"""What the evaluator adds to a call: a run of given answers beside a bare loop of the same calls.

    python -m tests.bench.evaluator [--items 10000] [--width 64] [--rounds 3] [--delay 0]

Both make the same requests over the same client, the evaluator's own, to a mock in a process of
its own, and take turns; the redis-server is another process. All that an item takes is in it: the
judge's prompt, its reply read, the commit, and a line in the log (stderr), which the bare loop does
not write. Printed are milliseconds an item of each round,
their difference, and how far the process's memory has grown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.cli.up.redis_server import find_binaries
from services.evaluator.calling import http_client
from services.evaluator.calling.calls import Calls
from services.evaluator.calling.http_client import CallClient
from services.evaluator.calling.retries import RetryPolicy
from services.evaluator.calling.tariff import Tariff
from services.evaluator.jobs.runner import units_beside
from services.evaluator.judging.assessment import AnswerShown, ReviewTask
from services.evaluator.judging.choosing import assessment_of
from shared import logs
from shared.client import ZooClient
from shared.protocol.evals.run import RunSpec
from shared.protocol.evals.spec import EvalSpec
from shared.settings import Settings
from tests.fakes.eval_specs import eval_spec, given_candidate, run_spec
from tests.fakes.evaluator_jobs import EvaluatorJobs
from tests.fakes.quick_models import listen
from tests.fakes.waiting import block_until

_REDIS = ("--port", "0", "--save", "", "--appendonly", "no", "--logfile", "redis.log")


async def serve(delay: float) -> None:
    server, url = await listen(delay)
    print(url, flush=True)
    await server.serve_forever()


@dataclass(frozen=True)
class Spent:
    """Milliseconds an item."""

    wall: float
    processor: float

    def __str__(self) -> str:
        return f"{self.wall:.3f} ms ({self.processor:.3f} of this process's processor)"


class Stopwatch:
    def __init__(self) -> None:
        self._began, self._processor = time.perf_counter(), time.process_time()

    def spent(self, items: int) -> Spent:
        wall, processor = time.perf_counter() - self._began, time.process_time() - self._processor
        return Spent(wall / items * 1000, processor / items * 1000)


async def bare(calls: Calls, bodies: list[dict[str, Any]], width: int) -> Spent:
    """Return what a loop without anything takes."""
    left = iter(bodies)

    async def work() -> None:
        for body in left:
            await calls.ask(body)

    with _without_log_lines():
        watch = Stopwatch()
        await asyncio.gather(*(work() for _ in range(width)))
        return watch.spent(len(bodies))


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    kept, http_client.log = http_client.log, _Silent()
    try:
        yield
    finally:
        http_client.log = kept


class _Silent:
    def info(self, *_: object, **__: object) -> None:
        pass


async def evaluated(jobs: EvaluatorJobs, spec: EvalSpec, run: RunSpec, items: int) -> Spent:
    """Return what a run takes from its creation to its end."""
    evaluation, _ = await jobs.store.create_eval(spec)
    watch = Stopwatch()
    made, _ = await jobs.store.create_run(evaluation, run)
    jobs.runner.poke()

    # Asked for seldom, since asking takes time of its own.
    while not (await jobs.store.get_run(made.eval_id, made.id)).status.over:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return watch.spent(items)


def run_of(items: int, number: int) -> RunSpec:
    return run_spec(candidates=[given_candidate("mine", items)], name=str(number))


def bodies_of(spec: EvalSpec, items: int) -> list[dict[str, Any]]:
    """Return the requests that the run makes."""
    tasks = (
        ReviewTask(spec.mode, question, (AnswerShown("mine", (f"mine says {n}.",)),), 0,
                   spec.judges[0], True)
        for n, question in enumerate(itertools.islice(spec.questions, items))
    )  # fmt: skip
    assessments = (assessment_of(spec, 0, task) for task in tasks)
    return [assessment.request(assessment.forms[0]) for assessment in assessments]


@contextlib.contextmanager
def servers(delay: float) -> Iterator[tuple[str, str]]:
    """Yield the addresses of the mock and of a Redis of its own."""
    command = [sys.executable, "-m", "tests.bench.evaluator", "--serve", "--delay", str(delay)]
    with (
        tempfile.TemporaryDirectory(prefix="zoo-") as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mock,
        subprocess.Popen(
            [next(find_binaries()), *_REDIS, "--dir", folder, "--unixsocket", f"{folder}/sock"]
        ) as redis,
    ):
        try:
            assert mock.stdout is not None
            url = mock.stdout.readline().strip()
            block_until(Path(folder, "sock").exists)
            yield url, f"unix://{folder}/sock"
        finally:
            mock.kill()
            redis.kill()


async def measure(url: str, redis_url: str, items: int, width: int, rounds: int) -> None:
    spec = eval_spec(items)
    bodies = bodies_of(spec, items)
    async with ZooClient(url) as client:
        tariff, caller = Tariff(client), CallClient(url, "")
        calls = Calls(caller, tariff, concurrency=width, policy=RetryPolicy(), timeout=60)
        jobs = EvaluatorJobs(
            redis_url, calls, width=units_beside(width), estimates=tariff, assessing=assessment_of
        ).start()
        # What the client holds is there before: the runs, and of the bodies the bytes that a
        # string keeps of itself once it was written.
        runs = [run_of(items, number) for number in range(rounds)]
        await bare(calls, bodies, width)
        await evaluated(jobs, eval_spec(width * 4), run_of(width * 4, -1), width * 4)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pairs: list[tuple[Spent, Spent]] = []
        for told in runs:
            loop = await bare(calls, bodies, width)
            run = await evaluated(jobs, spec, told, items)
            pairs.append((loop, run))
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            print(f"bare {loop}, evaluator {run}, {grown:.0f} MB more than at first")
        wall = statistics.median(run.wall - loop.wall for loop, run in pairs)
        processor = statistics.median(run.processor - loop.processor for loop, run in pairs)
        print(f"{items} items, {width} in flight: {wall:.3f} ms more an item", end="")
        print(f" ({processor:.3f} of the processor)")
        await jobs.stop()
        caller.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--serve", action="store_true")
    told = parser.parse_args()
    if told.serve:
        asyncio.run(serve(told.delay))
    else:
        logs.configure("evaluator", Settings(log_format="json"))
        with servers(told.delay) as (url, redis_url):
            asyncio.run(measure(url, redis_url, told.items, told.width, told.rounds))


if __name__ == "__main__":
    main()
