import json
import multiprocessing
import stat
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from services.webui.conversation_log import ConversationLog, Exchange
from services.webui.metrics import WebuiMetrics
from shared.templates.messages import Message

START = datetime(2026, 3, 1, 23, 59, 58, tzinfo=UTC)
FINISH = START + timedelta(seconds=1.5)
EXCHANGE = Exchange(
    conv_id="c0ffee",
    model="demo",
    system="Be brief.",
    messages=(Message("user", "What is a\nline?"), Message("assistant", "Straight.")),
    address="192.0.2.7",
    request_id="req-1",
)


def a_log(folder, registry=None, *, with_texts=False, now=FINISH):
    metrics = WebuiMetrics(registry or CollectorRegistry())
    return ConversationLog(folder, metrics, with_texts=with_texts, clock=lambda: now)


async def write_chat(log, exchange=EXCHANGE):
    await log.chat(
        exchange,
        gen_params={"temperature": 0.7, "max_tokens": 512},
        finish_reason="stop",
        start=START,
        finish=FINISH,
    )


def lines(folder, day="2026-03-01"):
    return [json.loads(line) for line in (folder / f"{day}-conv.json").read_text().splitlines()]


async def test_a_chat_line_has_llmzoos_fields_and_ours(tmp_path):
    await write_chat(a_log(tmp_path, with_texts=True))
    [line] = lines(tmp_path)
    address = line.pop("ip")
    assert line == {
        "tstamp": FINISH.timestamp(),
        "type": "chat",
        "model": "demo",
        "gen_params": {"temperature": 0.7, "max_tokens": 512},
        "start": START.timestamp(),
        "finish": FINISH.timestamp(),
        "finish_reason": "stop",
        "state": {
            "system": "Be brief.",
            "roles": ["user", "assistant"],
            "messages": [["user", "What is a\nline?"], ["assistant", "Straight."]],
            "lengths": [15, 9],
            "offset": 0,
            "sep": None,
        },
        "conv_id": "c0ffee",
        "request_id": "req-1",
        "template": None,
    }
    assert len(address) == 32


async def test_texts_and_addresses_stay_out_by_default(tmp_path):
    await write_chat(a_log(tmp_path))
    [line] = lines(tmp_path)
    assert line["state"]["messages"] == [["user", None], ["assistant", None]]
    assert line["state"]["lengths"] == [15, 9]
    assert line["state"]["system"] is None
    raw = (tmp_path / "2026-03-01-conv.json").read_text()
    assert not any(secret in raw for secret in ("Straight", "brief", "192.0.2.7"))


async def test_an_address_has_one_hash_per_installation(tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    await write_chat(a_log(first))
    await write_chat(a_log(first))  # as after a restart
    await write_chat(a_log(second))
    [before, after], [elsewhere] = lines(first), lines(second)
    assert before["ip"] == after["ip"] != elsewhere["ip"]


@pytest.mark.parametrize("kind", ["upvote", "downvote", "flag"])
async def test_a_vote_line_names_the_answer(tmp_path, kind):
    await a_log(tmp_path).vote(kind, EXCHANGE)
    [line] = lines(tmp_path)
    assert line["type"] == kind
    assert line["model"] == "demo"
    assert line["conv_id"] == "c0ffee"
    assert line["request_id"] == "req-1"
    assert line["state"]["lengths"] == [15, 9]
    assert "gen_params" not in line


async def test_a_new_day_begins_a_new_file(tmp_path):
    await write_chat(a_log(tmp_path))
    await write_chat(a_log(tmp_path, now=FINISH + timedelta(seconds=1)))
    assert len(lines(tmp_path, "2026-03-01")) == 1
    assert len(lines(tmp_path, "2026-03-02")) == 1


async def test_nobody_else_can_read_the_folder(tmp_path):
    folder = tmp_path / "state" / "conversations"
    await write_chat(a_log(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def _write_many(folder, name):
    import asyncio  # noqa: PLC0415 - runs in a process of its own

    exchange = Exchange(name, "demo", "", (Message("user", name * 3000),), "192.0.2.7")

    async def write():
        log = a_log(folder, with_texts=True)
        await asyncio.gather(*(write_chat(log, exchange) for _ in range(25)))

    asyncio.run(write())


def test_concurrent_writers_do_not_interleave(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_many, args=(tmp_path, name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = lines(tmp_path)
    assert len(found) == 100
    assert len({line["ip"] for line in found}) == 1
    assert all(line["state"]["messages"] == [["user", line["conv_id"] * 3000]] for line in found)


async def test_a_full_disk_is_counted_and_does_not_raise(tmp_path):
    registry = CollectorRegistry()
    (tmp_path / "2026-03-01-conv.json").symlink_to("/dev/full")
    await write_chat(a_log(tmp_path, registry))
    assert registry.get_sample_value("llmzoo_webui_log_failures_total") == 1


async def test_a_folder_that_cannot_be_made_is_counted_and_does_not_raise(tmp_path):
    registry = CollectorRegistry()
    (tmp_path / "file").write_text("in the way")
    await a_log(tmp_path / "file" / "logs", registry).vote("flag", EXCHANGE)
    assert registry.get_sample_value("llmzoo_webui_log_failures_total") == 1
