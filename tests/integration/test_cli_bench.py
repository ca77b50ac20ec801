"""`llmzoo bench` as a process, against a server on a real socket and with a tiny model."""

from __future__ import annotations

import os
import signal
import subprocess

import orjson
import pytest

from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.controller_app import ServedApp
from tests.fakes.openai_server import PIECES, PROMPT_TOKENS, Manners, OpenAIServer
from tests.fakes.waiting import block_until

SHORT = ("--concurrency", "1,3", "--requests", "2", "--max-tokens", "8")


@pytest.fixture
def server():
    return OpenAIServer()


@pytest.fixture
def url(server):
    with ServedApp(server.app) as served:
        yield served.url


def bench(*arguments, **variables):
    return subprocess.run(
        [*LLMZOO, "bench", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=clean_environment(**variables),
        timeout=60,
    )


def measured(*arguments, **variables):
    done = bench("serve", "--json", *arguments, **variables)
    return done.returncode, orjson.loads(done.stdout)


def test_each_load_has_its_figures(url, server):
    code, told = measured("--base-url", url, *SHORT, LLMZOO_API_KEY="secret")
    assert code == 0
    one, three = told["loads"]
    assert (one["load"], one["completed"]) == ("1", 2)
    assert (three["load"], three["completed"]) == ("3", 6)
    assert three["output_tokens"] == 6 * PIECES
    assert three["output_tokens_per_second"] == pytest.approx(6 * PIECES / three["seconds"])
    assert three["prompt_tokens"] == PROMPT_TOKENS
    assert three["counted_by"] == ["usage"]
    for times in (three["ttft_ms"], three["itl_ms"], three["e2e_ms"]):
        assert 0 <= times["p50"] <= times["p95"] <= times["p99"]
    assert three["process_cpu"] > 0
    assert three["rejected"] == three["failed"] == three["interrupted"] == 0
    # Warm-ups of 1 and 3 requests are not among the figures.
    assert len(server.requests) == 1 + 2 + 3 + 6
    path, body, headers = server.requests[0]
    assert path == "/v1/chat/completions"
    assert body["stream_options"] == {"include_usage": True}
    assert "ignore_eos" not in body
    assert headers["authorization"] == "Bearer secret"


def test_prompts_are_new_in_each_run_unless_a_seed_is_given(url, server):
    small = ("--base-url", url, "--concurrency", "2", "--warmup", "0")
    measured(*small)
    _, second = measured(*small)
    measured(*small, "--prompt-seed", str(second["prompt_seed"]))
    runs = [sorted(server.prompts[i : i + 4]) for i in range(0, 12, 4)]
    assert len({prompt.split()[0] for prompt in runs[0]}) == 4
    assert not set(runs[0]) & set(runs[1])
    assert runs[1] == runs[2]


def test_plain_completions_and_ignore_eos(url, server):
    server.manners = Manners(usage=False, tokens_a_piece=2, done=False)
    extra = ("--endpoint", "completions", "--ignore-eos", *SHORT)
    code, told = measured("--base-url", f"{url}/v1", *extra)
    assert code == 0
    assert told["loads"][0]["counted_by"] == ["max_tokens"]
    assert told["loads"][0]["output_tokens"] == 2 * 8
    path, body, _ = server.requests[0]
    assert path == "/v1/completions"
    assert body["ignore_eos"] is True


def test_arrivals_at_a_rate(url, server):
    code, told = measured("--base-url", url, "--rate", "200", "--requests", "10")
    assert code == 0
    (load,) = told["loads"]
    assert (load["load"], load["completed"]) == ("200/s", 10)
    assert len(server.requests) == 11


def test_rejects_are_printed(url, server):
    server.manners = Manners(rejected=(0, 2, 3))
    few = ("--base-url", url, "--concurrency", "1", "--requests", "4")
    done = bench("serve", *few)
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert lines[1].split()[-4:] == ["2", "2", "0", "0"]
    assert "1: 2 x 429 All places are taken." in lines
    assert "1, warm-up: 1 x 429 All places are taken." in lines
    assert any("the client used" in line for line in lines)
    assert lines[-1].startswith("prompt seed ")


def test_a_connection_lost_in_an_answer_is_a_failure(url, server):
    server.manners = Manners(dies=(1,))
    code, told = measured("--base-url", url, "--concurrency", "1", "--requests", "3")
    assert code == 0
    (load,) = told["loads"]
    assert (load["completed"], load["failed"]) == (2, 1)
    assert load["faults"] == {"The answer broke off before its end.": 1}
    assert load["output_tokens"] == 2 * PIECES


def test_a_request_that_takes_too_long_is_a_failure(url, server):
    server.manners = Manners(hangs=True)
    few = ("--concurrency", "1", "--requests", "1", "--warmup", "0", "--timeout", "0.3")
    code, told = measured("--base-url", url, *few)
    assert code == 1
    assert told["loads"][0]["faults"] == {"no end after 0.3 s": 1}


def test_nothing_completed_is_exit_code_1(url, server):
    server.manners = Manners(status=422)
    code, told = measured("--base-url", url, "--concurrency", "2", "--requests", "1")
    assert code == 1
    assert told["loads"][0]["faults"] == {"422 not today": 2}
    assert told["loads"][0]["warm_up_faults"] == {"422 not today": 2}


def test_nobody_there_is_one_line_and_exit_code_1():
    done = bench("serve", "--base-url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b"127.0.0.1:9" in done.stderr


def test_ctrl_c_prints_what_was_measured(url, server):
    server.manners = Manners(hangs=True)
    few = ("--base-url", url, "--concurrency", "2,4", "--warmup", "0", "--json")
    process = subprocess.Popen(
        [*LLMZOO, "bench", "serve", *few],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    try:
        block_until(lambda: server.hanging == 2)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in err
    told = orjson.loads(out)
    assert told["interrupted"] is True
    (load,) = told["loads"]
    assert (load["interrupted"], load["completed"], load["output_tokens"]) == (2, 0, 4)
    assert load["ttft_ms"]["p50"] > 0


@pytest.mark.torch
def test_the_engine_alone(tmp_path):
    from tests.fakes.model_files import save_folder, tiny_llama  # noqa: PLC0415 - brings torch

    folder = save_folder(tiny_llama(), tmp_path / "tiny")
    few = ("--concurrency", "1,3", "--prompt-tokens", "5", "--max-tokens", "6", "--requests", "2")
    done = bench(
        *("engine", "--json", "--model", str(folder), "--dtype", "float32", *few),
        LLMZOO_MAX_NUM_SEQS="1",
        LLMZOO_THREADS="1",
        LLMZOO_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stderr.decode()
    told = orjson.loads(done.stdout)
    assert (told["model"], told["dtype"], told["max_num_seqs"]) == ("tiny", "float32", 3)
    assert told["memory_peak_bytes"] > 2**20
    one, three = told["loads"]
    assert (one["completed"], one["output_tokens"], one["prompt_tokens"]) == (2, 12, 5)
    assert (three["completed"], three["output_tokens"]) == (6, 36)
    # A step gives every running sequence at most one token.
    assert round(one["steps_per_second"] * one["seconds"]) >= 12
    assert round(three["steps_per_second"] * three["seconds"]) >= 12
    assert three["itl_ms"]["p50"] > 0
