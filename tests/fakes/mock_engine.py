"""A process that stands for one or many workers, with a realistic engine or none.

    python -m tests.fakes.mock_engine --ports 4 --redis-url redis://127.0.0.1:6379/0
    python -m tests.fakes.mock_engine --stub --chunks 100 --gap 0.02

It prints one line of JSON, `{"ports": [...], "pid": ...}`, when all of them listen, and runs until
it gets SIGTERM. `--fault 1=break:5` gives the second worker a fault (see `mock.faults`); `POST
/mock/fault` changes it later. In tests, `MockWorker` and `MockFleet` are used in process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys

import structlog
import uvloop

from shared.settings import FleetSettings
from tests.fakes.mock.faults import Fault
from tests.fakes.mock.fleet import MockFleet
from tests.fakes.mock.scheduler import Costs
from tests.fakes.mock.stub import Wheel
from tests.fakes.mock.stub_worker import OpenAIReplies, StubWorker
from tests.fakes.mock.worker import MockSettings, MockWorker


def main() -> None:
    options = parser().parse_args()
    # The one line on stdout is ours.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(serve(options))


def parser() -> argparse.ArgumentParser:
    told = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    defaults = Costs()
    told.add_argument("--ports", type=int, default=1, help="how many workers")
    told.add_argument("--first-port", type=int, default=0, help="0: any free ones")
    told.add_argument("--model", default="mock")
    told.add_argument("--fingerprint", default="mock")
    told.add_argument("--token", default="", help="the fleet's internal token")
    told.add_argument("--redis-url", default="", help="empty: announced nowhere")
    told.add_argument("--heartbeat-interval", type=float, default=1.0)
    told.add_argument("--heartbeat-ttl", type=float, default=4.0)
    told.add_argument("--prefill-rate", type=float, default=defaults.prefill_tokens_per_second)
    told.add_argument("--step-ms", type=float, default=defaults.step_seconds * 1e3)
    told.add_argument("--sequence-ms", type=float, default=defaults.sequence_seconds * 1e3)
    told.add_argument("--max-num-seqs", type=int, default=defaults.max_num_seqs)
    told.add_argument("--max-waiting", type=int, default=defaults.max_waiting)
    told.add_argument("--kv-tokens", type=int, default=defaults.kv_tokens)
    told.add_argument("--no-prefix-cache", action="store_true")
    told.add_argument("--slow-start", type=float, default=0.0, help="seconds until it is ready")
    told.add_argument("--speed", type=float, default=1.0, help="as an operator would tell it")
    told.add_argument("--orphan-grace", type=float, default=10.0, help="seconds")
    told.add_argument("--name", action="append", default=[], help="id of a worker, in their order")
    told.add_argument("--drain", type=float, default=0.0, help="seconds to finish after SIGTERM")
    told.add_argument("--fault", action="append", default=[], metavar="INDEX=FAULT")
    told.add_argument("--stub", action="store_true", help="no engine, fixed answers")
    told.add_argument("--chunks", type=int, default=100, help="of the stub's streams")
    told.add_argument("--gap", type=float, default=0.02, help="seconds between two of them")
    told.add_argument("--idle", action="store_true", help="the stub's streams only keep alive")
    return told


async def serve(options: argparse.Namespace) -> None:
    workers = stubs(options) if options.stub else mocks(options)
    settings = FleetSettings(
        redis_url=options.redis_url or "redis://127.0.0.1:1",
        internal_token=options.token,
        heartbeat_interval=options.heartbeat_interval,
        heartbeat_ttl=options.heartbeat_ttl,
    )
    fleet = await MockFleet(workers, settings if options.redis_url else None).start()
    for order in options.fault:
        index, _, fault = order.partition("=")
        worker = workers[int(index)]
        assert isinstance(worker, MockWorker), "a stub has no faults"
        await worker.set_fault(Fault.parse(fault))
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    print(json.dumps({"ports": [w.port for w in workers], "pid": os.getpid()}), flush=True)
    await told.wait()
    if options.drain:
        await fleet.drain(options.drain)
    await fleet.stop()


def mocks(options: argparse.Namespace) -> list[MockWorker]:
    costs = Costs(
        prefill_tokens_per_second=options.prefill_rate,
        step_seconds=options.step_ms / 1e3,
        sequence_seconds=options.sequence_ms / 1e3,
        max_num_seqs=options.max_num_seqs,
        max_waiting=options.max_waiting,
        kv_tokens=options.kv_tokens,
        prefix_cache=not options.no_prefix_cache,
    )
    settings = MockSettings(
        options.model,
        options.token,
        options.fingerprint,
        costs,
        options.slow_start,
        options.speed,
        options.orphan_grace,
    )
    names = [*options.name, *[""] * options.ports]
    return [
        MockWorker(settings, port=port, name=name)
        for port, name in zip(ports(options), names, strict=False)
    ]


def stubs(options: argparse.Namespace) -> list[StubWorker]:
    replies = OpenAIReplies(options.model, options.chunks, idle=options.idle)
    wheel = Wheel(options.gap)
    return [StubWorker(replies, wheel, model=options.model, port=port) for port in ports(options)]


def ports(options: argparse.Namespace) -> list[int]:
    first = options.first_port
    return [first + index if first else 0 for index in range(options.ports)]


if __name__ == "__main__":
    main()
