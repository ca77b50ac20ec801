"""A served model whose answers are written in the test: the real engine over a scripted runner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from services.worker.detokenizer import Detokenizers
from services.worker.engine.engine import Engine
from services.worker.engine.loop import EngineLoop
from services.worker.engine.prefix_index import Keep
from services.worker.engine.scheduler import Chunk, Limits, Scheduler
from services.worker.engine.sequence import TokenLogprobs
from services.worker.prompts import PromptEncoder
from services.worker.served_model import ServedModel
from tests.fakes.tiny_tokenizer import END, TinyTokenizer

_STEP_SECONDS = 0.0002

MODEL = "scripted"
FINGERPRINT = "fp_scripted"

Script = Callable[[str, int], str]
"""From the rendered prompt and the choice to the answer."""


class ScriptedRunner:
    """Says what the script says, then ends the turn."""

    def __init__(self, tokenizer: TinyTokenizer, script: Script) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._script = script
        self._end = self._backend.token_to_id(END)
        self.rows: list[list[int]] = []
        # How many logprobs each row asks for, and the token it got last.
        self._asked: list[int | None] = []
        self._drawn: dict[int, int] = {}
        self.prompts: list[str] = []
        self.fault: Exception | None = None
        self.prefill_faults: list[Exception] = []
        self.reset_faults: list[Exception] = []
        # Tokens that may be computed: a test that wants to stop the engine counts them out.
        self._permits = threading.Semaphore(0)
        self._free = threading.Event()
        self._free.set()

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return frozenset({self._end})

    def hold(self) -> None:
        """Stop before the next step; `allow` lets single steps through, `go` all of them."""
        self._free.clear()

    def allow(self, steps: int = 1) -> None:
        self._permits.release(steps)

    def go(self) -> None:
        self._free.set()
        self._permits.release()

    def prefill(self, slot: int, chunk: Chunk) -> int | None:
        self._pass()
        if not chunk.start:
            assert slot == len(self.rows)
            self.rows.append([])
            self._asked.append(chunk.sequence.params.logprobs)
        if self.prefill_faults:
            raise self.prefill_faults.pop(0)
        if not chunk.is_last:
            return None
        sequence = chunk.sequence
        prompt = self._backend.decode(list(sequence.prompt_ids), skip_special_tokens=False)
        self.prompts.append(prompt)
        answer = self._script(prompt, sequence.choice)
        ids = self._backend.encode(answer, add_special_tokens=False).ids
        self.rows[slot] = [*ids, self._end][len(sequence.output_ids) :]
        self._drawn[slot] = self.rows[slot].pop(0)
        return self._drawn[slot]

    def decode(self, rows: int) -> list[int]:
        self._pass()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        tokens = [row.pop(0) if row else self._end for row in self.rows[:rows]]
        self._drawn.update(enumerate(tokens))
        return tokens

    def logprobs(self, slot: int) -> TokenLogprobs | None:
        """Say that the token and those after it in the vocabulary are ever less likely."""
        asked, token = self._asked[slot], self._drawn[slot]
        if asked is None:
            return None
        size = self._backend.get_vocab_size()
        return TokenLogprobs(-0.5, tuple(((token + i) % size, -0.5 - i) for i in range(asked)))

    def move(self, source: int, target: int) -> None:
        self.rows[target] = list(self.rows[source])
        self._asked[target] = self._asked[source]

    def release(self) -> None:
        self.rows.pop()
        self._asked.pop()

    def keep(self, _: Keep) -> None:
        raise AssertionError("this zoo keeps no prefixes")

    def forget(self, _: int) -> None:
        raise AssertionError("this zoo keeps no prefixes")

    def reset(self) -> None:
        if self.reset_faults:
            raise self.reset_faults.pop(0)
        self.rows.clear()
        self._asked.clear()

    def _pass(self) -> None:
        if not self._free.is_set():
            assert self._permits.acquire(timeout=30)
        # A model computes without Python's lock; without this the event loop would starve.
        time.sleep(_STEP_SECONDS)


def scripted_model(
    script: Script | str = "Hello!",
    *,
    tokenizer: TinyTokenizer | None = None,
    max_num_seqs: int = 8,
    max_waiting: int = 8,
    max_model_len: int = 4096,
    stop_strings: tuple[str, ...] = (),
    restart_delays: tuple[float, ...] = (0.0, 0.5, 2.0),
) -> tuple[ServedModel, ScriptedRunner]:
    """Return a served model, its engine not started, and the runner behind it."""
    tokenizer = tokenizer or TinyTokenizer()
    answers = script if callable(script) else lambda _prompt, _choice: script
    runner = ScriptedRunner(tokenizer, answers)
    limits = Limits(
        max_num_seqs=max_num_seqs,
        max_waiting=max_waiting,
        max_model_len=max_model_len,
        kv_cache_tokens=max_num_seqs * max_model_len,
    )
    served = ServedModel(
        name=MODEL,
        created=1,
        dtype="float32",
        fingerprint=FINGERPRINT,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_waiting=max_waiting,
        vocab_size=tokenizer.backend_tokenizer.get_vocab_size(),
        eos_token_ids=runner.eos_token_ids,
        prompts=PromptEncoder(tokenizer, tokenizer.template),
        stop_strings=stop_strings,
        detokenizers=Detokenizers(tokenizer.backend_tokenizer),
        engine=EngineLoop(Engine(runner, Scheduler(limits)), restart_delays=restart_delays),
    )
    return served, runner
