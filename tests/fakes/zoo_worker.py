"""A mock worker as a process that `llmzoo up` runs: set up by the environment, drained by SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys

from shared.settings import WorkerSettings, load
from tests.fakes.mock.fleet import MockFleet
from tests.fakes.mock.scheduler import Costs
from tests.fakes.mock.worker import MockSettings, MockWorker

MODEL = "toy"


async def main() -> int:
    settings = load(WorkerSettings)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    token = settings.internal_token.get_secret_value()
    costs = Costs(step_seconds=0.001, sequence_seconds=0.0)
    worker = MockWorker(MockSettings(MODEL, token, costs=costs), port=settings.worker_port)
    fleet = await MockFleet([worker], settings).start()
    await told.wait()
    await fleet.drain(settings.drain_timeout)
    await fleet.stop()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
