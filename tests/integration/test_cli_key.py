"""`llmzoo key` as a process, against a real controller."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.fakes.command_line import LLMZOO, clean_environment

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]


@pytest.fixture
async def controller(start_controller):
    return await start_controller(api_keys="the operator's")


@pytest.fixture
def llmzoo(controller):
    async def run(*arguments, key="the operator's"):
        """Return exit code, stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            *LLMZOO,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=clean_environment(LLMZOO_BASE_URL=controller.url, LLMZOO_API_KEY=key),
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return run


async def status(controller, key, path="/v1/models"):
    headers = {"authorization": f"Bearer {key}"}
    return (await controller.client.get(path, headers=headers)).status_code


async def test_a_key_from_its_making_to_its_end(controller, llmzoo):
    code, out, err = await llmzoo(
        "key", "create", "team a", "--scope", "chat", "--scope", "metrics",
        "--priority", "batch", "--tokens-per-minute", "500", "--expires-in-days", "1",
    )  # fmt: skip
    assert code == 0, err
    key = out.removesuffix("\n")
    assert await status(controller, key) == await status(controller, key, "/metrics") == 200
    key_id = err.split()[0]

    _, out, _ = await llmzoo("key", "list")
    head, row = out.splitlines()
    assert head.split()[:3] == ["ID", "NAME", "STATE"]
    assert row.startswith(f"{key_id}  team a  valid  chat,metrics  batch     -")
    assert key not in out

    _, out, _ = await llmzoo("key", "show", key_id, "--json")
    shown = orjson.loads(out)
    assert shown["tokens_per_minute"] == 500
    assert shown["expires_at"] == pytest.approx(shown["created_at"] + 86400, abs=1)

    code, out, _ = await llmzoo("key", "revoke", key_id)
    assert code == 0
    assert ["state", "revoked"] in [line.split() for line in out.splitlines()]
    assert await status(controller, key) == 401


async def test_json_has_the_key_and_the_list(llmzoo):
    _, out, _ = await llmzoo("key", "create", "x", "--json")
    made = orjson.loads(out)
    key = made.pop("key")
    assert key.startswith("zoo-")
    _, out, _ = await llmzoo("key", "list", "--json")
    assert orjson.loads(out) == [made]


async def test_faults_are_one_line(llmzoo):
    for arguments, said in [
        (("create", "x", "--scope", "root"), "scopes"),
        (("show", "key_0"), "key_0"),
        (("revoke", "../keys"), "no"),
    ]:
        code, out, err = await llmzoo("key", *arguments)
        assert (code, out) == (1, "")
        assert said in err
        assert err.count("\n") == 1
    _, out, err = await llmzoo("key", "create", "guest", key="the operator's")
    code, _, err = await llmzoo("key", "list", key=out.strip())
    assert code == 1
    assert "admin" in err
    _, out, _ = await llmzoo("key", "list", key="the operator's")
    assert len(out.splitlines()) == 2
