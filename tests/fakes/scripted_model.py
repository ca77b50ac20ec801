"""A served model whose answers are written in the test: the real engine over a scripted runner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from services.worker.detokenizer import Detokenizers
from services.worker.engine.engine import Engine
from services.worker.engine.loop import EngineLoop
from services.worker.engine.scheduler import Chunk, Limits, Scheduler
from services.worker.engine.sequence import Drawn, Sequence, TokenLogprobs
from services.worker.engine.slots import Group, RowOp
from services.worker.prompts import PromptEncoder
from services.worker.served_model import ServedModel
from tests.fakes.chunk_faults import failed_chunk
from tests.fakes.rows import FakeRows
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
        self._held = FakeRows()
        self._answers: dict[Sequence, list[int]] = {}
        self.prompts: list[str] = []
        self.fault: Exception | None = None  # of the next decode; what runs goes on after it
        self.fatal: str | None = None  # a text: each decode fails that a prompt with it is in
        self.prefill_faults: list[Exception] = []
        self.reset_faults: list[Exception] = []
        # Tokens that may be computed: a test that wants to stop the engine counts them out.
        self._permits = threading.Semaphore(0)
        self._free = threading.Event()
        self._free.set()

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return frozenset({self._end})

    @property
    def rows(self) -> list[list[int]]:
        """What the running sequences hold."""
        return self._held.all()

    def hold(self) -> None:
        """Stop before the next step; `allow` lets single steps through, `go` all of them."""
        self._free.clear()

    def allow(self, steps: int = 1) -> None:
        self._permits.release(steps)

    def go(self) -> None:
        self._free.set()
        self._permits.release()

    def apply(self, ops: Iterable[RowOp]) -> None:
        self._held.apply(ops)

    def run(
        self, groups: tuple[Group, ...], chunks: tuple[Chunk, ...]
    ) -> dict[Sequence, list[Drawn]]:
        self._pass()
        if groups and self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        decoding = [sequence for group in groups for sequence in group.sequences]
        if self.fatal is not None and any(self.fatal in self._prompt(each) for each in decoding):
            raise RuntimeError("secret detail")
        for group in groups:
            for index, sequence in enumerate(group.sequences):
                self._held.row(group.capacity, index).append(sequence.token(sequence.computed - 1))
        failed: dict[Sequence, Drawn] = {}
        for chunk in chunks:
            row = self._held.stage(chunk.sequence.key, chunk.room, chunk.reuse)
            row += chunk.sequence.token_ids[chunk.start : chunk.end]
            if self.prefill_faults:
                failed[chunk.sequence] = failed_chunk(self.prefill_faults.pop(0))
        stepping = (*decoding, *(chunk.sequence for chunk in chunks))
        drawn = {sequence: self._drawn(sequence) for sequence in stepping if sequence.draws}
        return {sequence: [each] for sequence, each in (drawn | failed).items()}

    def release(self, sequence: Sequence) -> None:
        self._answers.pop(sequence, None)

    def reset(self) -> None:
        if self.reset_faults:
            raise self.reset_faults.pop(0)
        self._held.reset()
        self._answers.clear()

    def _drawn(self, sequence: Sequence) -> Drawn:
        answer = self._answers.get(sequence)
        if answer is None:
            answer = self._answers[sequence] = self._answer(sequence)
        index = len(sequence.output_ids)
        token = answer[index] if index < len(answer) else self._end
        return Drawn(token, self._logprobs(sequence.params.logprobs, token))

    def _answer(self, sequence: Sequence) -> list[int]:
        prompt = self._prompt(sequence)
        self.prompts.append(prompt)
        answer = self._script(prompt, sequence.choice)
        return self._backend.encode(answer, add_special_tokens=False).ids

    def _prompt(self, sequence: Sequence) -> str:
        return self._backend.decode(list(sequence.prompt_ids), skip_special_tokens=False)

    def _logprobs(self, asked: int | None, token: int) -> TokenLogprobs | None:
        """Say that the token and those after it in the vocabulary are ever less likely."""
        if asked is None:
            return None
        size = self._backend.get_vocab_size()
        return TokenLogprobs(-0.5, tuple(((token + i) % size, -0.5 - i) for i in range(asked)))

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
    prefix_cache_tokens: int = 0,
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
        prefix_cache_tokens=prefix_cache_tokens,
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
