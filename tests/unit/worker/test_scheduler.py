import pytest

from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import (
    FinishReason,
    SamplingParams,
    Sequence,
    SequenceState,
)
from shared.errors import ContextTooLong, InvalidRequest, Overloaded


def limits(**changes):
    defaults = {
        "max_num_seqs": 3,
        "max_waiting": 2,
        "max_model_len": 100,
        "kv_cache_tokens": 300,
        "max_prefill_tokens": 100,
    }
    return Limits(**(defaults | changes))


def sequence(name="r", prompt=4, max_tokens=6):
    return Sequence(name, 0, (1,) * prompt, SamplingParams(max_tokens=max_tokens, seed=0))


def names(sequences):
    return [s.request_id for s in sequences]


def test_admits_in_order_of_arrival_and_decodes_what_ran_before():
    scheduler = Scheduler(limits())
    for name in "abcd":
        scheduler.add(sequence(name))

    first = scheduler.schedule()
    second = scheduler.schedule()

    assert (names(first.decode), names(first.prefill)) == ([], ["a", "b", "c"])
    assert (names(second.decode), names(second.prefill)) == (["a", "b", "c"], [])
    assert names(scheduler.waiting) == ["d"]


def test_a_finish_moves_the_last_row_into_the_hole_and_admits_the_next():
    scheduler = Scheduler(limits())
    for name in "abcd":
        scheduler.add(sequence(name))
    scheduler.schedule()

    slot = scheduler.finish(scheduler.running[0], FinishReason.STOP)
    plan = scheduler.schedule()

    assert slot == 0
    assert names(plan.decode) == ["c", "b"]
    assert names(plan.prefill) == ["d"]


def test_finishing_a_waiting_sequence_frees_no_slot():
    scheduler = Scheduler(limits(max_num_seqs=1))
    first, second = sequence("a"), sequence("b")
    scheduler.add(first)
    scheduler.add(second)
    scheduler.schedule()

    assert scheduler.finish(second, FinishReason.ABORT) is None
    assert second.state is SequenceState.FINISHED
    assert second.finish_reason is FinishReason.ABORT
    assert not scheduler.waiting


def test_prompts_of_one_step_stay_within_max_prefill_tokens():
    scheduler = Scheduler(limits(max_prefill_tokens=10))
    for name in "abc":
        scheduler.add(sequence(name, prompt=5))

    assert names(scheduler.schedule().prefill) == ["a", "b"]
    assert names(scheduler.schedule().prefill) == ["c"]


def test_a_prompt_longer_than_max_prefill_tokens_runs_alone():
    scheduler = Scheduler(limits(max_prefill_tokens=10))
    scheduler.add(sequence("long", prompt=50))
    scheduler.add(sequence("short"))

    assert names(scheduler.schedule().prefill) == ["long"]
    assert names(scheduler.schedule().prefill) == ["short"]


def test_nobody_overtakes_a_head_that_does_not_fit_the_kv_budget():
    scheduler = Scheduler(limits(kv_cache_tokens=120))
    scheduler.add(sequence("a", prompt=50, max_tokens=10))
    scheduler.add(sequence("wide", prompt=50, max_tokens=40))
    scheduler.add(sequence("narrow"))

    # Two rows as wide as the wide one would be 180 tokens.
    assert names(scheduler.schedule().prefill) == ["a"]
    assert scheduler.kv_tokens_used == 60
    scheduler.finish(scheduler.running[0], FinishReason.STOP)
    assert names(scheduler.schedule().prefill) == ["wide"]


def test_a_sequence_reserves_no_more_than_the_context():
    scheduler = Scheduler(limits())
    scheduler.add(sequence(max_tokens=10**6))
    scheduler.schedule()

    assert scheduler.kv_tokens_used == 100


def test_one_sequence_over_slots_and_queue_is_refused():
    scheduler = Scheduler(limits())
    for number in range(5):
        scheduler.add(sequence(str(number)))

    with pytest.raises(Overloaded):
        scheduler.add(sequence("over"))

    assert len(scheduler.waiting) == 5


def test_without_a_queue_free_slots_still_take_sequences():
    scheduler = Scheduler(limits(max_waiting=0))
    for number in range(3):
        scheduler.add(sequence(str(number)))

    with pytest.raises(Overloaded):
        scheduler.add(sequence("over"))


@pytest.mark.parametrize(("prompt", "fits"), [(99, True), (100, False)])
def test_the_prompt_must_leave_room_for_a_token(prompt, fits):
    scheduler = Scheduler(limits())

    if fits:
        scheduler.add(sequence(prompt=prompt))
        assert scheduler.has_work
    else:
        with pytest.raises(ContextTooLong):
            scheduler.add(sequence(prompt=prompt))
        assert not scheduler.has_work


def test_an_empty_prompt_is_refused():
    with pytest.raises(InvalidRequest):
        Scheduler(limits()).add(sequence(prompt=0))


def test_finds_a_request_in_slots_and_queue():
    scheduler = Scheduler(limits(max_num_seqs=1))
    params = SamplingParams(max_tokens=2, seed=0)
    for choice in range(2):
        scheduler.add(Sequence("r", choice, (1,), params))
    scheduler.add(sequence("other"))
    scheduler.schedule()

    assert [s.choice for s in scheduler.find("r")] == [0, 1]


def test_the_next_finish_is_the_row_with_the_fewest_tokens_left():
    scheduler = Scheduler(limits())
    assert scheduler.tokens_to_next_finish == 0
    scheduler.add(sequence("a", max_tokens=6))
    scheduler.add(sequence("b", max_tokens=4))
    scheduler.schedule()
    scheduler.running[1].output_ids.append(1)

    assert scheduler.tokens_to_next_finish == 3
