"""What ran when a step failed goes on: the same tokens as if it had not."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.engine.engine import Engine
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence
from shared.protocol.priority import Priority
from tests.fakes.drafts import ForeseenDrafts
from tests.fakes.faulty_runner import FaultyRunner, Steps
from tests.fakes.runner import FakeRunner, expected_output

CONTEXT = 150
LIMITS = Limits(max_num_seqs=4, max_waiting=20, max_model_len=CONTEXT, kv_cache_tokens=4 * CONTEXT)


def make_engine(limits=LIMITS, wrong=2):
    runner = FaultyRunner(FakeRunner(max_tokens=limits.kv_cache_tokens))
    engine = Engine(runner, Scheduler(limits))
    engine.scheduler.drafts = ForeseenDrafts(
        limits.draft_tokens, lambda s, count: expected_output(s.token_ids, count), wrong
    )
    return engine, runner


def sequence(name, max_tokens=20, prompt=None, priority=Priority.INTERACTIVE, choice=0):
    params = SamplingParams(max_tokens=max_tokens, seed=0, logprobs=0)
    return Sequence(name, choice, prompt or (ord(name[0]),), params, priority)


def tokens(outputs):
    return [o.token_id for o in outputs if o.token_id is not None]


def assert_whole(answers, sequence):
    """Tokens and logprobs are as they must be, and it has ended by its length."""
    outputs = [o for o in answers.outputs[sequence.request_id] if o.choice == sequence.choice]
    expected = expected_output(sequence.prompt_ids, sequence.params.max_tokens)
    assert tokens(outputs) == expected
    assert [o.logprobs.logprob for o in outputs] == [-token for token in expected]
    assert [o.finish_reason for o in outputs if o.finish_reason] == [FinishReason.LENGTH]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("chunk_tokens", [0, 20])
def test_a_fault_at_any_call_changes_no_token(late, chunk_tokens):
    """Of a run in which sequences are prefilled, decode, grow, are aborted and end."""
    drafts = 0 if chunk_tokens else 4
    limits = replace(
        LIMITS, chunk_tokens=chunk_tokens, draft_tokens=drafts, prefix_cache_tokens=CONTEXT
    )
    call = 0
    while True:
        call += 1
        engine, runner = make_engine(limits)
        runner.faults = {call: late}
        shared = tuple(range(100, 140))
        choices = [sequence("n", 30, shared, choice=choice) for choice in range(2)]
        ran = [*choices, sequence("b", 9, priority=Priority.BATCH), sequence("c"), sequence("d", 1)]
        coming = [(0, each) for each in ran]
        steps = Steps(engine)

        answers = steps.run([*coming, (4, sequence("gone", 90)), (6, "gone")])

        for each in ran:
            assert_whole(answers, each)
        assert answers.end("gone") is FinishReason.ABORT
        assert len(answers.outputs) == 5
        assert (runner.rows, runner.known) == ([], set())
        if runner.faults:
            assert (call > 25, steps.stepper.counts.faults) == (True, 0)
            return
        assert steps.stepper.counts.faults == 1


def test_what_ran_goes_on_before_what_waited_and_in_its_order():
    engine, runner = make_engine(replace(LIMITS, max_num_batched_tokens=1))
    runner.fatal = lambda _: len(runner.together) == 8
    batch = [sequence(name, 9, priority=Priority.BATCH) for name in "pq"]
    ran, waiting = [sequence(name) for name in "abc"], [sequence(name) for name in "de"]
    coming = [(0, each) for each in (*ran, *batch)] + [(5, each) for each in waiting]
    steps = Steps(engine)

    answers = steps.run(coming)

    for _, each in coming:
        assert_whole(answers, each)
    trial = runner.together.index({"engine-trial"})
    assert runner.together[trial - 1] == {"a", "b", "c", "d"}
    first = [names - before for before, names in pairwise(runner.together[trial + 1 :])]
    assert [name for names in first for name in names][:7] == ["a", "b", "c", "d", "e", "p", "q"]
    assert engine.scheduler.resumed == 4


def test_a_request_that_fails_every_step_fails_alone():
    engine, runner = make_engine()
    runner.fatal = lambda each: each.request_id == "x" and len(each.output_ids) > 0
    ran = [sequence(name, 30) for name in "abxcde"]
    steps = Steps(engine)

    answers = steps.run([(0, each) for each in ran])

    for each in ran:
        if each.request_id != "x":
            assert_whole(answers, each)
    assert answers.end("x") is FinishReason.ERROR
    # Together, together once more, and alone.
    assert steps.stepper.counts.faults == 3


@pytest.mark.parametrize("period", [1, 2, 3, 7])
def test_one_that_fails_now_and_then_fails_alone_too(period):
    engine, runner = make_engine()
    seen = dict.fromkeys("abxc", 0)

    def fatal(each):
        seen[each.request_id] = seen.get(each.request_id, 0) + 1
        return each.request_id == "x" and seen["x"] % period == 0

    runner.fatal = fatal
    ran = [sequence(name, 100) for name in "abxc"]
    steps = Steps(engine)

    answers = steps.run([(0, each) for each in ran])

    for each in ran:
        if each.request_id != "x":
            assert_whole(answers, each)
    assert answers.end("x") is FinishReason.ERROR
    assert steps.stepper.counts.faults <= 5


def test_two_that_only_fail_together_end_and_leave_the_engine_to_others():
    engine, runner = make_engine(replace(LIMITS, max_num_seqs=2))
    runner.fatal = lambda _: len(engine.scheduler.running) == 2
    steps = Steps(engine)

    answers = steps.run([(0, sequence("a", 140)), (0, sequence("b", 140)), (900, sequence("c"))])

    assert answers.end("a") is answers.end("b") is FinishReason.ERROR
    for name in "ab":
        got = tokens(answers.outputs[name])
        assert got == expected_output((ord(name),), len(got))
    assert_whole(answers, sequence("c"))
    assert steps.stepper.counts.faults == 6


def test_while_one_is_tried_alone_batch_and_interactive_wait():
    engine, runner = make_engine()
    runner.fatal = lambda _: len(engine.scheduler.running) == 3 and steps.stepper.counts.faults < 2
    batch = [sequence(name, 40, priority=Priority.BATCH) for name in "pq"]
    steps = Steps(engine)

    answers = steps.run([*((0, each) for each in batch), (4, sequence("i", 40))])

    for each in (*batch, sequence("i", 40)):
        assert_whole(answers, each)
    trials = [at for at, names in enumerate(runner.together) if names == {"engine-trial"}]
    assert len(trials) == 4
    after = runner.together[trials[-1] + 1 :]
    assert after[:12] == [{"q"}] * 4 + [{"p"}] * 4 + [{"i"}] * 4
    assert after[12] == {"i", "p", "q"}


def test_an_abort_of_a_suspect_lets_the_others_go_on():
    engine, runner = make_engine()
    runner.fatal = lambda each: each.request_id == "x" and len(each.output_ids) > 2
    steps = Steps(engine)
    ran = [sequence(name, 30) for name in "ab"]

    answers = steps.run([*((0, each) for each in (*ran, sequence("x"))), (5, "x")])

    assert answers.end("x") is FinishReason.ABORT
    for each in ran:
        assert_whole(answers, each)


@st.composite
def traffic(draw):
    """Draw limits, sequences and aborts with their steps, calls that fail, and fatal sequences."""
    limits = Limits(
        max_num_seqs=draw(st.integers(1, 5)),
        max_waiting=100,
        max_model_len=CONTEXT,
        kv_cache_tokens=draw(st.sampled_from([CONTEXT, 2 * CONTEXT, 5 * CONTEXT])),
        max_num_batched_tokens=draw(st.integers(1, 2 * CONTEXT)),
        prefix_cache_tokens=draw(st.sampled_from([0, 2 * CONTEXT])),
        chunk_tokens=draw(st.sampled_from([0, 0, 20])),
    )
    if not limits.chunk_tokens:
        limits = replace(limits, draft_tokens=draw(st.sampled_from([0, 4])))
    coming = []
    for n in range(draw(st.integers(1, 6))):
        prompt = tuple(range(n % 3, n % 3 + draw(st.integers(1, 60))))
        max_tokens, at = draw(st.integers(1, 40)), draw(st.integers(0, 30))
        for choice in range(draw(st.sampled_from([1, 1, 2]))):
            params = SamplingParams(max_tokens=max_tokens, seed=0, logprobs=0)
            name = f"{n}/{choice}"
            priority = draw(st.sampled_from(Priority))
            coming.append((at, Sequence(name, choice, prompt, params, priority)))
            if draw(st.sampled_from([False] * 5 + [True])):
                coming.append((at + draw(st.integers(0, 30)), name))
    faults = draw(st.dictionaries(st.integers(1, 120), st.booleans(), max_size=3))
    names = [each.request_id for _, each in coming if isinstance(each, Sequence)]
    fatal = draw(st.lists(st.sampled_from(names), max_size=2))
    return limits, coming, faults, fatal, draw(st.integers(0, 10))


@settings(max_examples=200, deadline=None)
@given(traffic())
def test_any_faults_leave_every_answer_as_it_is_without_them(drawn):
    limits, coming, faults, fatal, after = drawn
    engine, runner = make_engine(limits)
    runner.faults = dict(faults)
    runner.fatal = lambda each: each.request_id in fatal and len(each.output_ids) >= after
    steps = Steps(engine, most_faults=len(faults) + 6 * len(fatal))

    answers = steps.run(coming)

    aborted = {command for _, command in coming if isinstance(command, str)}
    failed = set()
    for _, each in coming:
        if isinstance(each, str):
            continue
        got = tokens(answers.outputs[each.request_id])
        expected = expected_output(each.prompt_ids, each.params.max_tokens)
        assert got == expected[: len(got)]
        ends = [o.finish_reason for o in answers.outputs[each.request_id] if o.finish_reason]
        assert len(ends) == 1
        if ends == [FinishReason.ERROR]:
            failed.add(each.request_id)
        elif ends == [FinishReason.ABORT]:
            assert each.request_id in aborted
        else:
            assert (ends, got) == ([FinishReason.LENGTH], expected)
            assert each.request_id not in fatal or len(got) <= after + limits.draft_tokens
    # Each of the others that ends takes two faults at least, of which one hits it alone.
    assert len(failed - set(fatal)) <= len(faults) / (1 if fatal else 2)
    assert runner.rows == []
    assert not runner.known
    assert engine.scheduler.kv_tokens_used == 0
    assert not engine.scheduler.quarantine
