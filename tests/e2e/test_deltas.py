"""A model that is made of another and a delta answers as the one that the delta was made from."""

from __future__ import annotations

import asyncio
import json
import string
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from subprocess import run
from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoTokenizer

from services.worker.local import LocalChat
from shared.templates import render
from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.model_files import VOCABULARY, save_tokenizer
from tests.fakes.random_checkpoints import bloom, llama, same_weights, save, tuned
from tests.fakes.worker_process import WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.torch]

TALK = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi, what is it?"},
    {"role": "user", "content": "Write 数 backwards."},
]
TEMPLATES = ("chimera", "phoenix")
# Letters only: most of a random model's tokens are broken bytes, and those all read alike. The
# penalty keeps a model from saying one letter for ever.
LETTERS = {str(VOCABULARY.index(letter)): 100 for letter in string.ascii_letters}
GREEDY = {"temperature": 0, "max_tokens": 24, "logit_bias": LETTERS, "frequency_penalty": 2}
TURN_TOKENS = ("<s>", "</s>")  # LLMZoo's templates write them; the base does not know them


def save_pair(maker: Any, place: Path) -> Path:
    """Write a base, and a target trained from it with more tokens."""
    rows = len(VOCABULARY)
    save_tokenizer(save(maker(rows=rows), place / "base"))
    save_tokenizer(save(tuned(maker(rows=rows + 2), strength=0.2), place / "target"), *TURN_TOKENS)
    return place


def make_result(place: Path) -> Path:
    """Make the delta, and of base and delta the result."""
    delta(place, "make", "--target", "target", "--out", "delta")
    delta(place, "apply", "--delta", "delta", "--out", "result")
    assert same_weights(place / "result", place / "target")
    return place


def delta(place: Path, *arguments: str) -> None:
    done = run(
        [*LLMZOO, "delta", *arguments, "--base", "base"],
        cwd=place,
        env=clean_environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    makers = {"llama": llama, "bloom": bloom}
    # One after the other: threads share torch's generator, and would draw from each other's seed.
    places = [save_pair(maker, tmp_path_factory.mktemp(name)) for name, maker in makers.items()]
    with ThreadPoolExecutor() as pool:
        return dict(zip(makers, pool.map(make_result, places), strict=True))


def prompt_ids(folder: Path, template: str) -> list[int]:
    """Render, and encode with the folder's own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer(render(TALK, template), add_special_tokens=False)["input_ids"]


async def said_here(folder: Path, template: str, **settings: Any) -> str:
    """Return the answer of a model in this process."""
    chat = LocalChat(str(folder), chat_template=template, dtype="float32", **settings)
    async with chat, aclosing(chat.stream(TALK, GREEDY)) as pieces:
        return "".join([text async for text, _ in pieces])


async def served(folder: Path, template: str, **settings: Any) -> dict[str, Any]:
    """Return what a worker of its own answers."""
    worker = await WorkerProcess.start(model=folder, chat_template=template, **settings)
    try:
        await worker.reaches("ready")
        request = {"model": folder.name, "messages": TALK, **GREEDY}
        response = await worker.client.post("/v1/chat/completions", json=request)
    finally:
        await worker.close()
    return response.raise_for_status().json()


async def check_answers(place: Path, templates: tuple[str, ...], **settings: Any) -> None:
    """Serve what was made; it answers as the target, and not as the base."""
    result, target = place / "result", place / "target"
    answers = await asyncio.gather(*(served(result, name, **settings) for name in templates))
    for template, answer in zip(templates, answers, strict=True):
        expected = await said_here(target, template, **settings)
        # Each token is one letter: answers read alike only if their tokens are alike.
        assert len(expected) == GREEDY["max_tokens"], expected
        assert set(expected) <= set(string.ascii_letters), expected
        assert len(set(expected)) > 1, expected
        assert answer["choices"][0]["message"]["content"] == expected
        assert answer["usage"]["prompt_tokens"] == len(prompt_ids(target, template))
        assert expected != await said_here(place / "base", template, **settings)


async def test_the_llama_that_was_made_is_served_as_the_one_that_was_trained(folders):
    await check_answers(folders["llama"], TEMPLATES)


async def test_the_bloom_that_was_made_is_served_as_the_one_that_was_trained(folders):
    # ALiBi has no longest context, and BLOOM names none.
    await check_answers(folders["bloom"], ("phoenix",), max_model_len=512)
    tokenizer = json.loads((folders["bloom"] / "result" / "tokenizer.json").read_text())
    assert {token["content"] for token in tokenizer["added_tokens"]} >= set(TURN_TOKENS)
