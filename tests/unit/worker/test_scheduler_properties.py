"""Invariants of scheduler and engine under any order of arrivals, aborts and faults."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.worker.engine.engine import Engine
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence, SequenceState
from shared.errors import ContextTooLong, Overloaded
from shared.protocol.priority import Priority
from tests.fakes.drafts import ForeseenDrafts
from tests.fakes.runner import FakeRunner, expected_output

# Rows have 64, 96, 128 or 150 tokens.
CONTEXT = 150
LIMITS = st.builds(
    Limits,
    max_num_seqs=st.integers(1, 6),
    max_waiting=st.integers(0, 6),
    max_model_len=st.just(CONTEXT),
    kv_cache_tokens=st.one_of(st.integers(CONTEXT, 2 * CONTEXT), st.just(6 * CONTEXT)),
    max_num_batched_tokens=st.integers(1, 2 * CONTEXT),
    draft_tokens=st.sampled_from([0, 0, 1, 8]),
    prefix_cache_tokens=st.sampled_from([0, CONTEXT, 2 * CONTEXT]),
    chunk_tokens=st.sampled_from([0, 0, 1, 20, 64, 1000]),
)


def foreseen(sequence, count):
    """Return what the fake runner will draw."""
    return expected_output(sequence.token_ids, count)


class AnyTraffic(RuleBasedStateMachine):
    """The fake runner checks rows and memory at every call; this checks what comes out."""

    @initialize(limits=LIMITS, wrong=st.sampled_from([0, 1, 2, 5]))
    def start(self, limits, wrong):
        if limits.chunk_tokens:
            limits = replace(limits, draft_tokens=0)
        self.limits = limits
        self.runner = FakeRunner(max_tokens=limits.kv_cache_tokens)
        self.engine = Engine(self.runner, Scheduler(limits))
        self.scheduler = self.engine.scheduler
        self.scheduler.drafts = ForeseenDrafts(limits.draft_tokens, foreseen, wrong)
        self.accepted: list[Sequence] = []
        self.known = {}
        self.outputs = {}
        self.started = []
        self.out_of_order = False

    @rule(
        prompt=st.one_of(st.integers(1, 60), st.integers(50, CONTEXT + 2)),
        max_tokens=st.integers(1, CONTEXT + 10),
        choices=st.sampled_from([1, 1, 1, 3]),
        known=st.sampled_from([0, 0, 0, 1, 30]),
        stop=st.sampled_from([None, None, 1, 40]),
        priority=st.sampled_from(Priority),
    )
    def arrive(self, *, prompt, max_tokens, choices, known, stop, priority):
        name = str(len(self.accepted))
        # Some begin alike, so that there is something to reuse.
        ids = tuple(int(name) % 5 + i for i in range(prompt))
        stops = frozenset(expected_output(ids, stop)[-1:]) if stop else frozenset()
        params = SamplingParams(max_tokens=max_tokens, seed=0, logprobs=0, stop_token_ids=stops)
        for choice in range(choices):
            new = Sequence(name, choice, ids, params, priority)
            # A sequence that was over elsewhere does not come.
            for token in expected_output(ids, known):
                if token in stops or new.remaining <= 1 or new.length >= CONTEXT - 1:
                    break
                new.output_ids.append(token)
            self.offer(new)

    def offer(self, new):
        ahead = sum(s.finish_reason is None and s.priority <= new.priority for s in self.accepted)
        try:
            self.engine.add(new)
        except ContextTooLong:
            assert len(new.prompt_ids) >= CONTEXT
        except Overloaded:
            assert ahead >= self.limits.max_num_seqs + self.limits.max_waiting
        else:
            self.accepted.append(new)
            self.known[new] = len(new.output_ids)

    @rule(count=st.sampled_from([1, 1, 2, 10, 60]))
    def steps(self, count):
        for _ in range(count):
            self.step()

    @rule(request=st.integers(0, 15))
    def abort(self, request):
        self.engine.abort(str(request))

    @rule(pick=st.integers(0))
    def fail_a_prompt(self, pick):
        if waiting := self.scheduler.waiting:
            prompt = waiting[pick % len(waiting)].prompt_ids
            self.runner.prefill_faults = {prompt: RuntimeError("chunk")}

    @rule(fault=st.sampled_from(["decode_faults", "apply_faults", "release_faults"]))
    def fail_a_step(self, fault):
        getattr(self.runner, fault).append(RuntimeError("step"))
        try:
            self.step()
        except RuntimeError:
            self.collect(self.engine.recall())
            # Suspects are tried before all others, and the latest of them first.
            self.out_of_order |= bool(self.scheduler.quarantine)
            assert self.runner.rows == []
        getattr(self.runner, fault).clear()

    def step(self):
        self.runner.last_groups, self.runner.last_chunks = (), ()
        self.runner.last_drafted = 0
        waiting = set(self.scheduler.waiting)
        quarantine = bool(self.scheduler.quarantine)
        self.collect(self.engine.step())
        self.check_budget()
        begun = {chunk.sequence for chunk in self.runner.last_chunks} & waiting
        if self.scheduler.quarantine:
            assert len(begun) <= 1
        elif not quarantine and any(sequence.priority is Priority.BATCH for sequence in begun):
            left = [s for s in self.scheduler.waiting if s.priority is Priority.INTERACTIVE]
            assert not left, "interactive before batch"

    def check_budget(self):
        rows = sum(len(group.sequences) for group in self.runner.last_groups)
        chunks = self.runner.last_chunks
        size = self.limits.chunk_tokens
        if not size:
            tokens = (
                rows + self.runner.last_drafted + sum(chunk.end - chunk.start for chunk in chunks)
            )
            assert tokens <= max(self.limits.max_num_batched_tokens, rows + 1)
            return
        for chunk in chunks:
            assert chunk.start % size == 0
            assert chunk.end == min(chunk.start + size, len(chunk.sequence.prompt_ids))

    @invariant()
    def rows_of_scheduler_and_runner_are_the_same(self):
        if not hasattr(self, "engine"):
            return
        staged = [s for s in self.scheduler.running if s.key in self.runner.held.staged]
        grouped = [s for group in self.scheduler.slots.groups() for s in group.sequences]
        rows = [list(s.token_ids[: s.computed]) for s in (*grouped, *staged)]
        assert self.runner.rows == rows
        assert not any(s.draft for s in self.accepted)
        assert len(rows) == len(self.scheduler.running) <= self.limits.max_num_seqs
        assert {s for s in self.accepted if s.state is SequenceState.RUNNING} == {
            *grouped,
            *staged,
        }
        assert all(s.computed == 0 for s in self.scheduler.waiting)

    @invariant()
    def memory_is_shared_out_as_it_may_be(self):
        if not hasattr(self, "engine"):
            return
        used, held = self.scheduler.kv_tokens_used, self.scheduler.kv_tokens_held
        assert held <= used == self.runner.held.running_tokens
        kept = sum(map(len, self.runner.kept.values()))
        assert kept == self.scheduler.prefixes.tokens <= self.limits.prefix_cache_tokens
        assert used + kept <= self.limits.kv_cache_tokens

    def collect(self, outputs):
        for output in outputs:
            key = output.request_id, output.choice
            self.outputs.setdefault(key, []).append(output)
            if output.token_id is not None and key not in self.started:
                self.started.append(key)

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        # Alone each takes this many steps; memory that runs out costs some again.
        unfinished = [s for s in self.accepted if s.finish_reason is None]
        steps = 1 + 4 * sum(s.length + CONTEXT for s in unfinished)
        while self.engine.has_work:
            assert steps > 0, "everything ends"
            steps -= 1
            self.step()
        assert self.runner.rows == []
        assert not self.runner.known
        assert (self.scheduler.kv_tokens_used, self.scheduler.kv_tokens_held) == (0, 0)
        assert len(self.scheduler.slots) == 0
        assert self.scheduler.drafts.accepted_tokens <= self.scheduler.drafts.drafted_tokens
        if not self.out_of_order:
            self.check_order()
        assert set(self.outputs) == {s.key for s in self.accepted}
        for sequence in self.accepted:
            self.check_outputs(sequence, self.outputs[sequence.key])

    def check_order(self):
        """First come, first served; known outputs that are decoded again come before the first."""
        for priority in Priority:
            keys = [s.key for s in self.accepted if s.priority is priority and not self.known[s]]
            started = [key for key in self.started if key in keys]
            assert started == [key for key in keys if key in started]

    def check_outputs(self, sequence, outputs):
        known = self.known[sequence]
        tokens = [o.token_id for o in outputs if o.token_id is not None]
        everything = expected_output(sequence.prompt_ids, known + len(tokens))
        assert tokens == everything[known:]
        assert all(o.logprobs.logprob == -o.token_id for o in outputs if o.token_id is not None)
        ends = [o.finish_reason for o in outputs if o.finish_reason is not None]
        assert ends == [sequence.finish_reason]
        assert outputs[-1].finish_reason is sequence.finish_reason
        stopped = [token in sequence.params.stop_token_ids for token in tokens]
        assert stopped == [False] * len(stopped[:-1]) + [
            sequence.finish_reason is FinishReason.STOP
        ] * len(stopped[-1:])
        if sequence.finish_reason is FinishReason.LENGTH:
            room = CONTEXT - len(sequence.prompt_ids)
            assert len(everything) == min(sequence.params.max_tokens, room)


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
