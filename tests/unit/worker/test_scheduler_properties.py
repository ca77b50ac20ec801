"""Invariants of scheduler and engine under any order of arrivals, aborts and faults."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.worker.engine.engine import Engine
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence
from shared.errors import ContextTooLong, Overloaded
from shared.protocol.priority import Priority
from tests.fakes.runner import FakeRunner, expected_output

CONTEXT = 30
LIMITS = st.builds(
    Limits,
    max_num_seqs=st.integers(1, 5),
    max_waiting=st.integers(0, 6),
    max_model_len=st.just(CONTEXT),
    kv_cache_tokens=st.integers(CONTEXT, 4 * CONTEXT),
    max_num_batched_tokens=st.integers(1, 2 * CONTEXT),
    prefix_cache_tokens=st.sampled_from([0, CONTEXT, 4 * CONTEXT]),
)


class AnyTraffic(RuleBasedStateMachine):
    """The fake runner checks slots and budget at every call; this checks what comes out."""

    @initialize(limits=LIMITS)
    def start(self, limits):
        self.limits = limits
        self.runner = FakeRunner(max_tokens=limits.kv_cache_tokens)
        self.engine = Engine(self.runner, Scheduler(limits))
        self.accepted: list[Sequence] = []
        self.outputs = {}
        self.started = []

    @rule(
        prompt=st.integers(1, CONTEXT + 2),
        max_tokens=st.integers(1, CONTEXT + 10),
        priority=st.sampled_from(Priority),
    )
    def arrive(self, prompt, max_tokens, priority):
        number = len(self.accepted)
        # Some begin alike, so that there is something to reuse.
        ids = tuple(number % 3 + i for i in range(prompt))
        params = SamplingParams(max_tokens=max_tokens, seed=0)
        new = Sequence(str(number), 0, ids, params, priority)
        unfinished = sum(s.finish_reason is None and s.priority <= priority for s in self.accepted)
        try:
            self.engine.add(new)
        except ContextTooLong:
            assert prompt >= CONTEXT
        except Overloaded:
            assert unfinished >= self.limits.max_num_seqs + self.limits.max_waiting
        else:
            self.accepted.append(new)

    @rule()
    def step(self):
        self.collect(self.engine.step())

    @rule(request=st.integers(0, 15))
    def abort(self, request):
        self.engine.abort(str(request))

    @rule()
    def failing_step(self):
        self.runner.decode_faults = [RuntimeError("step")]
        try:
            self.collect(self.engine.step())
        except RuntimeError:
            self.collect(self.engine.fail_running())
        self.runner.decode_faults = []

    @invariant()
    def slots_of_scheduler_and_runner_are_the_same(self):
        if hasattr(self, "engine"):
            running = self.engine.scheduler.running
            rows = [[*s.prompt_ids, *s.output_ids] for s in running]
            # Only the last row may be there in part, and then as far as its sequence says.
            if running and len(self.runner.rows[-1]) == running[-1].computed:
                rows[-1] = rows[-1][: running[-1].computed]
            assert self.runner.rows == rows
            assert len(rows) <= self.limits.max_num_seqs
            prefixes = self.engine.scheduler.prefixes
            kept = sum(map(len, self.runner.kept.values()))
            assert kept == prefixes.tokens <= self.limits.prefix_cache_tokens
            used = self.engine.scheduler.kv_tokens_used
            assert used + kept <= self.limits.kv_cache_tokens
            assert self.engine.scheduler.kv_tokens_used <= self.limits.kv_cache_tokens

    def collect(self, outputs):
        for output in outputs:
            self.outputs.setdefault(output.request_id, []).append(output)
            if output.token_id is not None and output.request_id not in self.started:
                self.started.append(output.request_id)

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        while self.engine.has_work:
            self.step()
        assert self.runner.rows == []
        for priority in Priority:
            ids = [s.request_id for s in self.accepted if s.priority is priority]
            started = [name for name in self.started if name in ids]
            assert started == sorted(started, key=int), "first come, first served"
        assert set(self.outputs) == {s.request_id for s in self.accepted}
        for sequence in self.accepted:
            self.check_outputs(sequence, self.outputs[sequence.request_id])

    def check_outputs(self, sequence, outputs):
        tokens = [o.token_id for o in outputs if o.token_id is not None]
        assert tokens == expected_output(sequence.prompt_ids, len(tokens))
        ends = [o.finish_reason for o in outputs if o.finish_reason is not None]
        assert ends == [sequence.finish_reason]
        assert outputs[-1].finish_reason is sequence.finish_reason
        if sequence.finish_reason is FinishReason.LENGTH:
            room = CONTEXT - len(sequence.prompt_ids)
            assert len(tokens) == min(sequence.params.max_tokens, room)


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
