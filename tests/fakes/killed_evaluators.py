"""Killing evaluators at random points of a run, and what must hold of it all the same."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from services.evaluator.jobs.material import RunMaterial
from services.evaluator.jobs.store import EvalStore
from shared.protocol.evals.run import Run
from shared.protocol.evals.spec import EvalSpec, Judge
from tests.fakes.endpoints_file import write_endpoints
from tests.fakes.eval_calls import Ask, Said, ScriptedCalls
from tests.fakes.eval_specs import eval_spec, run_spec
from tests.fakes.evaluator_jobs import EvaluatorJobs
from tests.fakes.external_server import USAGE, ExternalServer, Step, completion, whole
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import Asked

SLOWEST_SECONDS = 0.03


def speak(body: dict[str, Any]) -> str:
    """Return what a model says, by what it was asked alone."""
    number = zlib.crc32(orjson.dumps(body["messages"]))
    judging = body["model"].endswith("judge")
    return f"Score: {number % 11}" if judging else f"I say {number}."


def speaking(ask: Ask) -> Said:
    tokens = (USAGE["prompt_tokens"], USAGE["completion_tokens"])
    return Said(speak(ask.body), "stop", *tokens, cost_usd=0.0)


class Models(ExternalServer):
    """An endpoint whose models take a moment, each a different one."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(self._answer)
        self._chance = chance

    def _answer(self, asked: Asked) -> list[Step]:
        body = asked.json
        passed = asyncio.Event()
        delay = self._chance.uniform(0, SLOWEST_SECONDS)
        asyncio.get_running_loop().call_later(delay, passed.set)
        return [passed, whole(completion(body["model"], speak(body)))]

    def calls(self) -> Counter[bytes]:
        """Return how often each call was made."""
        option = orjson.OPT_SORT_KEYS
        return Counter(orjson.dumps(asked.json, option=option) for asked in self.asked)

    def endpoint(self, folder: Path) -> Path:
        """Return an endpoints file that names its models `ext/candidate` and `ext/judge`."""
        key = folder / "ext.key"
        key.write_text("sk-of-the-endpoint\n")
        fields = {
            "name": "ext",
            "base_url": f"http://127.0.0.1:{self.port}",
            "key_file": key.name,
            "models": ["candidate", "judge"],
        }
        return write_endpoints(folder, fields)


class JobsProcess:
    """The jobs of an evaluator as a process that can be killed and started again."""

    def __init__(self, log: Path, redis_url: str, base_url: str, width: int, lease: float) -> None:
        self._log = log
        self._lease = lease
        settings = {"redis_url": redis_url, "base_url": base_url, "eval_concurrency": width}
        variables = {f"LLMZOO_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.fakes.jobs_process", str(self._lease)),
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        if self._process is not None:
            assert self._process.returncode is None, self._log.read_text()
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            self._process = None


def spec_of(count: int) -> EvalSpec:
    return eval_spec(count, judges=[Judge(model="ext/judge")])


async def undisturbed(redis_url: str, count: int) -> tuple[Run, RunMaterial]:
    """Return what the run brings when nothing happens to it."""
    jobs = EvaluatorJobs(redis_url, ScriptedCalls(speaking), width=64).start()
    evaluation, _ = await jobs.store.create_eval(spec_of(count), force_new=True)
    made, _ = await jobs.store.create_run(evaluation, run_spec("ext/candidate"))
    jobs.runner.poke()
    run = await jobs.ended(made, 120)
    material = await jobs.store.material(evaluation, run)
    await jobs.stop()
    return run, material


async def assert_as_undisturbed(
    store: EvalStore,
    redis: Any,
    run: Run,
    models: Models,
    clean: tuple[Run, RunMaterial],
    *,
    repeated_at_most: int = 0,
) -> None:
    """Assert that a run brought what it would have, and nothing of it is left in work.

    Each call was made once; where a gateway lost what it was doing, so many may have been made
    twice, and each that was is counted.
    """
    evaluation = await store.get_eval(run.eval_id)
    run = await store.get_run(run.eval_id, run.id)
    material = await store.material(evaluation, run)
    clean_run, clean_material = clean
    assert run.status == "completed", run
    assert material.digest == clean_material.digest
    assert material.reviews() == clean_material.reviews()
    repeated = run.usage.possibly_repeated
    assert run.usage == clean_run.usage.model_copy(update={"possibly_repeated": repeated})
    assert run.progress == clean_run.progress
    calls = models.calls()
    made_twice = calls.total() - len(calls)
    print(f"{made_twice} calls made twice, {repeated} counted")
    assert made_twice <= repeated <= repeated_at_most
    assert len(calls) == run.usage.answers.calls + run.usage.judge.calls
    for stream in ("work", "alone"):
        name = f"llmzoo:eval-run:{run.id}:{stream}"
        assert await redis.xlen(name) == 0
        assert (await redis.xpending(name, "evaluators"))["pending"] == 0


async def killed_at_random(
    processes: list[JobsProcess], models: Models, chance: random.Random, kills: int, total: int
) -> None:
    """Kill one of the processes again and again, each time after some more calls or seconds."""
    for number in range(kills):
        done = len(models.asked)
        more = chance.randint(1, max(1, (total - done) // (kills - number)))
        hasty = number % 4 == 3
        wait = chance.uniform(0.0, 1.5)
        if hasty:
            # Before it does anything, or while it takes back what the one before left.
            await asyncio.sleep(wait)
        else:
            await eventually(lambda: len(models.asked) >= min(total, done + more), seconds=60)  # noqa: B023
        process = chance.choice(processes)
        await process.kill()
        await process.start()
