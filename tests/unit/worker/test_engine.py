import pytest

from services.worker.engine.engine import Engine, StepOutput
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import NO_TOKEN, FinishReason, SamplingParams, Sequence
from shared.protocol.priority import Priority
from tests.fakes.drafts import ForeseenDrafts
from tests.fakes.runner import EOS, FakeRunner, expected_output


@pytest.fixture
def runner():
    return FakeRunner()


@pytest.fixture
def engine(runner):
    return make_engine(runner, max_model_len=50, kv_cache_tokens=200)


def make_engine(runner, **changes):
    limits = {"max_num_seqs": 4, "max_waiting": 20, "max_model_len": 500, "kv_cache_tokens": 2000}
    return Engine(runner, Scheduler(Limits(**(limits | changes))))


def sequence(name, prompt=(1, 2, 3), **params):
    return Sequence(name, 0, prompt, SamplingParams(**({"max_tokens": 5, "seed": 0} | params)))


def run(engine, outputs=None):
    """Step until nothing is left; return each request's outputs."""
    outputs = outputs or {}
    while engine.has_work:
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
    return outputs


def tokens(outputs):
    return [o.token_id for o in outputs if o.token_id is not None]


def test_a_sequence_ends_by_length_at_max_tokens(engine, runner):
    engine.add(sequence("a"))

    outputs = run(engine)["a"]

    assert tokens(outputs) == expected_output((1, 2, 3), 5)
    assert [o.finish_reason for o in outputs] == [None] * 4 + [FinishReason.LENGTH]
    assert runner.rows == []
    assert not runner.known


def test_sequences_join_while_others_decode(engine):
    engine.add(sequence("a"))
    engine.step()
    engine.add(sequence("b", prompt=(9,)))

    outputs = engine.step()

    assert [(o.request_id, o.token_id) for o in outputs] == [
        ("a", expected_output((1, 2, 3), 2)[1]),
        ("b", expected_output((9,), 1)[0]),
    ]


def test_rows_keep_their_tokens_when_others_leave(engine):
    prompts = {str(n): (n + 1,) for n in range(9)}
    for n, (name, prompt) in enumerate(prompts.items()):
        engine.add(sequence(name, prompt=prompt, max_tokens=1 + (n * 5) % 7))

    outputs = run(engine)

    for n, (name, prompt) in enumerate(prompts.items()):
        assert tokens(outputs[name]) == expected_output(prompt, 1 + (n * 5) % 7)


def test_eos_stops_and_is_given(engine, runner):
    runner.forced[(1, 2, 3)] = EOS
    engine.add(sequence("a"))

    assert run(engine)["a"] == [StepOutput("a", 0, EOS, FinishReason.STOP)]


def test_eos_is_a_token_like_others_when_ignored(engine, runner):
    runner.forced[(1, 2, 3)] = EOS
    engine.add(sequence("a", ignore_eos=True))

    outputs = run(engine)["a"]

    assert tokens(outputs)[0] == EOS
    assert outputs[-1].finish_reason is FinishReason.LENGTH
    assert len(outputs) == 5


def test_a_stop_token_stops_even_when_eos_is_ignored(engine):
    second = expected_output((1, 2, 3), 2)[1]
    engine.add(sequence("a", ignore_eos=True, stop_token_ids=frozenset({second})))

    outputs = run(engine)["a"]

    assert len(outputs) == 2
    assert outputs[-1] == StepOutput("a", 0, second, FinishReason.STOP)


def test_the_context_ends_a_sequence(engine):
    engine.add(sequence("a", prompt=(1,) * 45, max_tokens=1000))

    outputs = run(engine)["a"]

    assert len(outputs) == 5
    assert outputs[-1].finish_reason is FinishReason.LENGTH


def test_several_whose_first_token_fills_the_context_end_in_one_step(runner):
    engine = make_engine(runner, max_model_len=100, prefix_cache_tokens=500)
    prompt = (3,) * 99
    for name in "abc":
        engine.add(sequence(name, prompt=prompt))

    outputs = run(engine)

    for name in "abc":
        assert tokens(outputs[name]) == expected_output(prompt, 1)
        assert outputs[name][-1].finish_reason is FinishReason.LENGTH
    assert engine.scheduler.kv_tokens_used == 0


def test_an_abort_frees_the_slot_in_the_next_step(engine, runner):
    for name in "abcde":
        engine.add(sequence(name, max_tokens=40))
    engine.step()
    engine.abort("b")

    outputs = engine.step()

    assert StepOutput("b", 0, None, FinishReason.ABORT) in outputs
    # The slot is taken again in the very same step.
    assert [s.request_id for s in engine.scheduler.running] == ["a", "c", "d", "e"]
    assert len(runner.rows) == 4


def test_an_abort_ends_every_choice_and_a_waiting_one(engine):
    for choice in range(6):
        params = SamplingParams(max_tokens=40, seed=0)
        engine.add(Sequence("r", choice, (choice + 1,), params))
    engine.step()
    engine.abort("r")

    outputs = engine.step()

    assert sorted(o.choice for o in outputs) == list(range(6))
    assert {o.finish_reason for o in outputs} == {FinishReason.ABORT}
    assert not engine.has_work


@pytest.mark.parametrize("prefixes", [0, 1000])
def test_an_abort_of_a_prompt_in_part_frees_its_row(runner, prefixes):
    engine = make_engine(runner, max_num_batched_tokens=20, prefix_cache_tokens=prefixes)
    prompt = tuple(range(1, 101))
    engine.add(sequence("long", prompt=prompt))
    for _ in range(2):
        assert engine.step() == []
    engine.abort("long")

    assert engine.step() == [StepOutput("long", 0, None, FinishReason.ABORT)]
    assert runner.rows == []
    assert engine.scheduler.kv_tokens_used == 0
    # What it had computed serves the next one, if anything is kept.
    engine.add(sequence("again", prompt=prompt))
    assert tokens(run(engine)["again"]) == expected_output(prompt, 5)
    assert sum(runner.prefill_calls) == (100 if prefixes else 140)


def test_aborting_an_unknown_request_is_no_fault(engine):
    engine.abort("nobody")

    assert engine.step() == []
    assert not engine.has_work


def test_a_fault_in_one_prefill_ends_that_sequence_alone(engine, runner):
    runner.prefill_faults[(7,)] = RuntimeError("x")
    for name, prompt in {"a": (5,), "bad": (7,), "c": (6,)}.items():
        engine.add(sequence(name, prompt=prompt))

    outputs = run(engine)

    assert outputs["bad"] == [StepOutput("bad", 0, None, FinishReason.ERROR)]
    assert tokens(outputs["a"]) == expected_output((5,), 5)
    assert tokens(outputs["c"]) == expected_output((6,), 5)


@pytest.mark.parametrize("computed", [0, 1])
def test_a_row_without_a_token_ends_with_an_error(engine, runner, computed):
    runner.forced[(1, 2, 3, *expected_output((1, 2, 3), computed))] = NO_TOKEN
    engine.add(sequence("a"))
    engine.add(sequence("b", prompt=(4,)))

    outputs = run(engine)

    assert outputs["a"][-1] == StepOutput("a", 0, None, FinishReason.ERROR)
    assert tokens(outputs["b"]) == expected_output((4,), 5)


def test_after_a_fault_in_decode_what_ran_goes_on_before_the_queue(engine, runner):
    for name in "abcdef":
        engine.add(sequence(name))
    outputs = {output.request_id: [output] for output in engine.step()}
    runner.decode_faults.append(KeyError("no such kernel"))

    with pytest.raises(KeyError):
        engine.step()

    assert engine.recall() == []
    assert runner.rows == []
    assert not runner.known
    assert [s.request_id for s in engine.scheduler.waiting] == list("abcdef")
    for name, told in run(engine, outputs).items():
        assert (name, tokens(told)) == (name, expected_output((1, 2, 3), 5))
    # What was known already is computed with the prompt.
    assert runner.prefill_calls == [3] * 4 + [4] * 4 + [3] * 2


def test_after_a_fault_prompts_in_part_begin_again(runner):
    engine = make_engine(runner, max_num_batched_tokens=20)
    engine.add(sequence("a"))
    engine.add(sequence("part", prompt=tuple(range(1, 101))))
    engine.add(sequence("waits"))
    outputs = {"a": engine.step()}
    assert [s.request_id for s in engine.scheduler.running] == ["a", "part"]
    runner.decode_faults.append(KeyError("no such kernel"))

    with pytest.raises(KeyError):
        engine.step()

    assert engine.recall() == []
    assert (runner.rows, engine.scheduler.kv_tokens_used) == ([], 0)
    run(engine, outputs)
    assert tokens(outputs["a"]) == tokens(outputs["waits"]) == expected_output((1, 2, 3), 5)
    assert tokens(outputs["part"]) == expected_output(tuple(range(1, 101)), 5)


@pytest.mark.parametrize("faults", ["apply_faults", "release_faults"])
def test_a_fault_while_finishing_loses_no_output(engine, runner, faults):
    engine.add(sequence("short", max_tokens=1))
    engine.add(sequence("long"))
    getattr(runner, faults).append(RuntimeError("gone"))

    with pytest.raises(RuntimeError):
        engine.step()

    told = [(o.request_id, o.finish_reason) for o in engine.recall()]
    assert told == [("short", FinishReason.LENGTH), ("long", None)]
    assert len(run(engine)["long"]) == 4


@pytest.mark.parametrize("faults", ["apply_faults", "release_faults"])
def test_a_fault_while_aborting_loses_no_abort(engine, runner, faults):
    for choice in range(3):
        engine.add(Sequence("r", choice, (1, 2), SamplingParams(max_tokens=9, seed=0)))
    engine.step()
    engine.abort("r")
    getattr(runner, faults).append(RuntimeError("gone"))

    with pytest.raises(RuntimeError):
        engine.step()

    assert [o.finish_reason for o in engine.recall()] == [FinishReason.ABORT] * 3
    assert not engine.has_work


def test_a_recall_that_fails_can_be_done_again(engine, runner):
    engine.add(sequence("a"))
    first = engine.step()
    runner.decode_faults.append(KeyError("no such kernel"))
    runner.reset_faults += [RuntimeError("device lost")] * 2
    with pytest.raises(KeyError):
        engine.step()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            engine.recall()

    assert engine.recall() == []

    assert tokens(run(engine, {"a": first})["a"]) == expected_output((1, 2, 3), 5)


def test_a_long_prompt_stalls_no_running_sequence(runner):
    engine = make_engine(runner, max_num_batched_tokens=20)
    engine.add(sequence("a", max_tokens=30))
    engine.step()
    long = tuple(range(1, 151))
    engine.add(sequence("long", prompt=long))

    steps = [engine.step() for _ in range(8)]

    assert all(output[0].request_id == "a" for output in steps)
    assert [len(output) for output in steps] == [1] * 7 + [2]
    assert runner.prefill_calls == [3, *[19] * 7, 17]
    assert tokens(run(engine, {"long": [steps[-1][1]]})["long"]) == expected_output(long, 5)


def test_a_fault_in_a_later_chunk_ends_that_sequence_alone(runner):
    engine = make_engine(runner, max_num_batched_tokens=8)
    engine.add(sequence("a"))
    engine.add(sequence("bad", prompt=tuple(range(40))))
    first = engine.step()
    runner.prefill_faults[tuple(range(40))] = RuntimeError("x")

    outputs = run(engine, {"a": first})

    assert outputs["bad"] == [StepOutput("bad", 0, None, FinishReason.ERROR)]
    assert runner.rows == []
    assert tokens(outputs["a"]) == expected_output((1, 2, 3), 5)


def run_preempted(engine, prompts, max_tokens, after):
    """Let an interactive sequence come after some steps of four batch ones; return all outputs."""
    for name, prompt in prompts.items():
        one = sequence(name, prompt=prompt, max_tokens=max_tokens)
        one.priority = Priority.BATCH
        engine.add(one)
    outputs = {}
    for _ in range(after):
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
    engine.add(sequence("i", prompt=(9,)))
    return run(engine, outputs)


def test_a_preempted_sequence_goes_on_where_it_was(engine):
    prompts = {f"b{n}": (n + 1,) for n in range(4)}

    outputs = run_preempted(engine, prompts, max_tokens=20, after=5)

    assert engine.scheduler.preemptions == 1
    assert tokens(outputs["i"]) == expected_output((9,), 5)
    for name, prompt in prompts.items():
        assert tokens(outputs[name]) == expected_output(prompt, 20)


def test_logprobs_come_with_their_tokens_for_the_sequences_that_ask(engine):
    for name in "abc":
        asked = None if name == "b" else 0
        count = 2 if name == "a" else 4
        engine.add(sequence(name, prompt=(ord(name),), logprobs=asked, max_tokens=count))

    outputs = run(engine)

    assert [o.logprobs for o in outputs["b"]] == [None] * 4
    for name in "ac":
        # "a" ends first and other rows move: each still gets its own.
        assert [o.logprobs.logprob for o in outputs[name]] == [-t for t in tokens(outputs[name])]


def with_prefixes(runner):
    return make_engine(runner, prefix_cache_tokens=1000)


def test_the_next_turn_computes_only_what_is_new(runner):
    engine = with_prefixes(runner)
    prompt = tuple(range(1, 101))
    engine.add(sequence("first", prompt=prompt, max_tokens=20))
    answer = tokens(run(engine)["first"])
    turn = (*prompt, *answer, 5, 6, 7)
    engine.add(sequence("second", prompt=turn))

    outputs = run(engine)["second"]

    # The first answer's last token was drawn and never computed.
    assert runner.prefill_calls == [100, 4]
    assert tokens(outputs) == expected_output(turn, 5)
    assert engine.scheduler.prefixes.reused_tokens == 119


def test_choices_of_one_prompt_compute_it_once(runner):
    engine = with_prefixes(runner)
    prompt = tuple(range(1, 101))
    for choice in range(3):
        engine.add(Sequence("r", choice, prompt, SamplingParams(max_tokens=5, seed=0)))

    outputs = run(engine)["r"]

    assert runner.prefill_calls == [100, 1, 1]
    for choice in range(3):
        own = [o for o in outputs if o.choice == choice]
        assert tokens(own) == expected_output(prompt, 5)


def test_prompts_that_share_what_is_kept_already_start_together(runner):
    engine = with_prefixes(runner)
    system = tuple(range(1, 41))
    engine.add(sequence("first", prompt=(*system, 500)))
    run(engine)
    for name in "abc":
        engine.add(sequence(name, prompt=(*system, ord(name), 7)))

    assert {output.request_id for output in engine.step()} == set("abc")
    assert runner.prefill_calls == [41, 2, 2, 2]


def test_a_preempted_sequence_keeps_what_it_has_computed(runner):
    engine = with_prefixes(runner)
    prompts = {f"b{n}": tuple(range(n * 100, n * 100 + 50)) for n in range(4)}

    outputs = run_preempted(engine, prompts, max_tokens=40, after=20)

    assert engine.scheduler.preemptions == 1
    assert runner.prefill_calls == [50] * 4 + [1, 1]
    for name, prompt in prompts.items():
        assert tokens(outputs[name]) == expected_output(prompt, 40)


def test_after_a_fault_nothing_of_before_is_reused(runner):
    engine = with_prefixes(runner)
    prompt = tuple(range(1, 101))
    engine.add(sequence("a", prompt=prompt))
    engine.step()
    runner.decode_faults.append(KeyError("no such kernel"))
    with pytest.raises(KeyError):
        engine.step()
    engine.recall()
    engine.abort("a")
    engine.add(sequence("b", prompt=prompt))

    assert tokens(run(engine)["b"]) == expected_output(prompt, 5)
    assert runner.prefill_calls == [100, 100]


def test_a_prompt_that_ends_with_its_first_token_is_kept(runner):
    engine = with_prefixes(runner)
    prompt = tuple(range(1, 101))
    engine.add(sequence("one", prompt=prompt, max_tokens=1))
    engine.add(sequence("two", prompt=prompt, max_tokens=3))

    outputs = run(engine)

    assert tokens(outputs["one"]) == expected_output(prompt, 1)
    assert tokens(outputs["two"]) == expected_output(prompt, 3)
    assert runner.prefill_calls == [100, 1]


def test_a_sequence_with_outputs_goes_on_after_them(engine, runner):
    known = expected_output((1, 2, 3), 3)
    one = sequence("a", max_tokens=8)
    one.output_ids += known

    engine.add(one)

    assert tokens(run(engine)["a"]) == expected_output((1, 2, 3), 8)[3:]
    assert (runner.prefill_calls, len(runner.decode_calls)) == ([6], 4)


def test_a_sequence_with_outputs_reuses_what_is_kept_of_them_too(runner):
    engine = with_prefixes(runner)
    prompt = tuple(range(1, 101))
    engine.add(sequence("before", prompt=prompt, max_tokens=20))
    known = tokens(run(engine)["before"])
    one = sequence("resumed", prompt=prompt, max_tokens=30)
    one.output_ids += known
    engine.add(one)

    assert tokens(run(engine)["resumed"]) == expected_output(prompt, 30)[20:]
    # All but the last token, which was drawn and never computed.
    assert engine.scheduler.prefixes.reused_tokens == 119
    assert runner.prefill_calls == [100, 1]


def test_a_sequence_with_outputs_comes_in_chunks_and_stalls_nobody(runner):
    engine = make_engine(runner, max_num_batched_tokens=20)
    engine.add(sequence("a", max_tokens=30))
    engine.step()
    one = sequence("resumed", max_tokens=70)
    one.output_ids += expected_output((1, 2, 3), 60)
    engine.add(one)

    steps = [engine.step() for _ in range(4)]

    assert [[output.request_id for output in step] for step in steps] == [
        *[["a"]] * 3,
        ["a", "resumed"],
    ]
    assert runner.prefill_calls == [3, 19, 19, 19, 6]
    outputs = {"resumed": [steps[-1][1]]}
    assert tokens(run(engine, outputs)["resumed"]) == expected_output((1, 2, 3), 70)[60:]


def deterministic(runner, **changes):
    return make_engine(runner, chunk_tokens=32, max_num_batched_tokens=32, **changes)


def spans(engine, runner):
    """Step until nothing is left; return all chunks as (request, start, end)."""
    ran = []
    while engine.has_work:
        runner.last_chunks = ()
        engine.step()
        ran += [(c.sequence.request_id, c.start, c.end) for c in runner.last_chunks]
    return ran


def test_deterministic_chunks_end_at_multiples_whatever_runs_beside(runner):
    engine = deterministic(runner)
    engine.add(sequence("a", prompt=(5,) * 10, max_tokens=20))
    engine.add(sequence("b", prompt=(6,) * 70))

    assert spans(engine, runner) == [
        ("a", 0, 10),
        ("b", 0, 32),
        ("b", 32, 64),
        ("b", 64, 70),
    ]


@pytest.mark.parametrize("chunk_tokens", [8, 32, 100])
def test_no_prompt_has_two_chunks_in_a_step(runner, chunk_tokens):
    engine = make_engine(runner, chunk_tokens=chunk_tokens, max_num_batched_tokens=64)
    engine.add(sequence("a", prompt=(6,) * 70))

    assert tokens(run(engine)["a"]) == expected_output((6,) * 70, 5)


def test_deterministic_reuse_ends_at_a_multiple(runner):
    engine = deterministic(runner, prefix_cache_tokens=1000)
    prompt = tuple(range(1, 51))
    engine.add(sequence("a", prompt=prompt))
    run(engine)
    turn = (*prompt, *expected_output(prompt, 5))
    engine.add(sequence("b", prompt=turn))

    # Neither the prompt's last chunk, which was shorter, nor what was decoded is taken over.
    assert spans(engine, runner) == [("b", 32, 55)]
    assert engine.scheduler.prefixes.reused_tokens == 32


def test_deterministic_outputs_are_decoded_again_and_not_told_again(runner):
    engine = deterministic(runner)
    prompt = tuple(range(1, 41))
    known = expected_output(prompt, 6)
    one = sequence("a", prompt=prompt, max_tokens=9)
    one.output_ids += known
    engine.add(one)

    outputs = run(engine)["a"]

    assert tokens(outputs) == expected_output(prompt, 9)[6:]
    assert runner.prefill_calls == [32, 8]
    assert len(runner.decode_calls) == 8


def test_deterministic_outputs_are_decoded_again_after_what_is_reused_of_the_prompt(runner):
    engine = deterministic(runner, prefix_cache_tokens=1000)
    prompt = tuple(range(1, 41))
    engine.add(sequence("before", prompt=prompt, max_tokens=30))
    known = tokens(run(engine)["before"])
    one = sequence("resumed", prompt=prompt, max_tokens=33)
    one.output_ids += known
    engine.add(one)
    runner.prefill_calls.clear()
    runner.decode_calls.clear()

    assert tokens(run(engine)["resumed"]) == expected_output(prompt, 33)[30:]
    assert engine.scheduler.prefixes.reused_tokens == 32
    assert (runner.prefill_calls, len(runner.decode_calls)) == ([8], 32)


def test_a_deterministic_sequence_is_computed_again_after_preemption_as_at_first(runner):
    engine = deterministic(runner, prefix_cache_tokens=1000)
    prompts = {f"b{n}": tuple(range(n * 100, n * 100 + 40)) for n in range(4)}

    outputs = run_preempted(engine, prompts, max_tokens=30, after=20)

    assert engine.scheduler.preemptions == 1
    for name, prompt in prompts.items():
        assert tokens(outputs[name]) == expected_output(prompt, 30)
    # Of the preempted one's prompt the whole chunk is reused; its outputs are decoded again.
    assert runner.prefill_calls == [*[32, 8] * 4, 1, 8]


def drafting(runner, wrong=0, **changes):
    engine = make_engine(runner, draft_tokens=4, **changes)
    engine.scheduler.drafts = ForeseenDrafts(
        4, lambda s, count: expected_output(s.token_ids, count), wrong
    )
    return engine


def test_a_draft_that_comes_true_gives_several_tokens_in_a_step(runner):
    engine = drafting(runner)
    engine.add(sequence("a", max_tokens=12, logprobs=0))
    steps = []

    while engine.has_work:
        steps.append(engine.step())

    assert [len(step) for step in steps] == [1, 5, 5, 1]
    outputs = [output for step in steps for output in step]
    assert tokens(outputs) == expected_output((1, 2, 3), 12)
    assert [o.logprobs.logprob for o in outputs] == [-o.token_id for o in outputs]
    assert [o.finish_reason for o in outputs] == [None] * 11 + [FinishReason.LENGTH]


@pytest.mark.parametrize("at", range(1, 9))
def test_a_token_that_ends_is_the_last_though_the_draft_goes_on(runner, at):
    engine = drafting(runner, prefix_cache_tokens=500)
    expected = expected_output((1, 2, 3), 9)
    stops = frozenset(expected[at - 1 : at])
    for name in ("a", "b", "c"):
        engine.add(
            sequence(name, max_tokens=9, stop_token_ids=stops if name == "b" else frozenset())
        )

    outputs = run(engine)

    assert tokens(outputs["b"]) == expected[:at]
    assert outputs["b"][-1].finish_reason is FinishReason.STOP
    assert tokens(outputs["a"]) == tokens(outputs["c"]) == expected
    assert runner.rows == []


def test_few_drafts_are_not_worth_a_step(runner):
    """One row of four is enough, one of six is not."""
    for rows, drafted in ((4, 1), (6, 0)):
        engine = make_engine(runner, max_num_seqs=8, draft_tokens=1)
        engine.scheduler.drafts = ForeseenDrafts(
            1, lambda s, count: expected_output(s.token_ids, count) if s.request_id == "0" else []
        )
        for name in range(rows):
            engine.add(sequence(str(name), prompt=(name, 2)))
        engine.step()
        engine.step()
        assert runner.last_drafted == drafted
        run(engine)


def test_drafts_leave_half_of_a_step_to_prompts(runner):
    engine = drafting(runner, max_num_batched_tokens=8)
    engine.add(sequence("a", max_tokens=9))
    engine.add(sequence("b", max_tokens=9))
    engine.step()
    engine.add(sequence("long", prompt=(7,) * 30))

    engine.step()

    assert runner.last_drafted == 4
    assert sum(chunk.end - chunk.start for chunk in runner.last_chunks) == 2
