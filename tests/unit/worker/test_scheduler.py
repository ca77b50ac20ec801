import pytest

from services.worker.engine.scheduler import Limits, Scheduler, Vacancy
from services.worker.engine.sequence import (
    FinishReason,
    SamplingParams,
    Sequence,
    SequenceState,
)
from shared.errors import ContextTooLong, InvalidRequest, Overloaded
from shared.protocol.priority import Priority


def limits(**changes):
    defaults = {
        "max_num_seqs": 3,
        "max_waiting": 2,
        "max_model_len": 100,
        "kv_cache_tokens": 300,
        "max_num_batched_tokens": 100,
    }
    return Limits(**(defaults | changes))


def sequence(name="r", prompt=4, max_tokens=6, priority=Priority.INTERACTIVE):
    params = SamplingParams(max_tokens=max_tokens, seed=0)
    return Sequence(name, 0, (1,) * prompt, params, priority)


def batch(name="b", **options):
    return sequence(name, priority=Priority.BATCH, **options)


def names(sequences):
    return [s.request_id for s in sequences]


def chunks(plan):
    return [(c.sequence.request_id, c.start, c.end) for c in plan.prefill]


def admitted(plan):
    return [c.sequence.request_id for c in plan.prefill]


def test_admits_in_order_of_arrival_and_decodes_what_ran_before():
    scheduler = Scheduler(limits())
    for name in "abcd":
        scheduler.add(sequence(name))

    first = scheduler.schedule()
    second = scheduler.schedule()

    assert (names(first.decode), admitted(first)) == ([], ["a", "b", "c"])
    assert (names(second.decode), admitted(second)) == (["a", "b", "c"], [])
    assert names(scheduler.waiting) == ["d"]


def test_a_finish_moves_the_last_row_into_the_hole_and_admits_the_next():
    scheduler = Scheduler(limits())
    for name in "abcd":
        scheduler.add(sequence(name))
    scheduler.schedule()

    vacancy = scheduler.finish(scheduler.running[0], FinishReason.STOP)
    plan = scheduler.schedule()

    assert vacancy == Vacancy(moves=((2, 0),))
    assert names(plan.decode) == ["c", "b"]
    assert admitted(plan) == ["d"]


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


def test_a_step_has_no_more_tokens_than_its_budget():
    scheduler = Scheduler(limits(max_num_batched_tokens=10))
    for name in "abc":
        scheduler.add(sequence(name, prompt=6))

    assert chunks(scheduler.schedule()) == [("a", 0, 6), ("b", 0, 4)]
    # One row decodes, so nine tokens are left: two for the rest of b, the whole c.
    assert chunks(scheduler.schedule()) == [("b", 4, 6), ("c", 0, 6)]
    assert names(scheduler.schedule().decode) == ["a", "b", "c"]


def test_a_long_prompt_comes_in_chunks_while_others_decode():
    scheduler = Scheduler(limits(max_num_batched_tokens=20))
    scheduler.add(sequence("short"))
    scheduler.schedule()
    scheduler.add(sequence("long", prompt=50))
    scheduler.add(sequence("next"))

    plans = [scheduler.schedule() for _ in range(3)]

    assert [names(plan.decode) for plan in plans] == [["short"]] * 3
    assert [chunks(plan) for plan in plans] == [
        [("long", 0, 19)],
        [("long", 19, 38)],
        [("long", 38, 50), ("next", 0, 4)],
    ]
    assert [chunk.is_last for plan in plans for chunk in plan.prefill] == [False, False, True, True]
    assert names(scheduler.schedule().decode) == ["short", "long", "next"]


def test_a_prompt_moves_on_even_if_the_rows_take_the_whole_budget():
    scheduler = Scheduler(limits(max_num_batched_tokens=1))
    scheduler.add(sequence("a", prompt=1))
    scheduler.schedule()
    scheduler.add(sequence("b", prompt=2))

    assert chunks(scheduler.schedule()) == [("b", 0, 1)]
    assert chunks(scheduler.schedule()) == [("b", 1, 2)]


def test_a_row_that_leaves_takes_the_last_whole_one_and_then_the_one_in_part():
    scheduler = Scheduler(limits(max_num_batched_tokens=10))
    first, second = sequence("a"), sequence("b")
    for each in (first, second, sequence("part", prompt=50)):
        scheduler.add(each)
    scheduler.schedule()

    assert scheduler.finish(first, FinishReason.STOP) == Vacancy(((1, 0), (2, 1)))
    assert names(scheduler.running) == ["b", "part"]
    assert scheduler.finish(second, FinishReason.STOP) == Vacancy(((1, 0),))
    plan = scheduler.schedule()
    assert (plan.decode, chunks(plan)) == ((), [("part", 2, 12)])
    assert scheduler.finish(scheduler.running[0], FinishReason.ABORT) == Vacancy(())
    assert not scheduler.has_work


def test_interactive_sequences_come_before_batch():
    scheduler = Scheduler(limits(max_num_seqs=2))
    for each in (batch("b1"), sequence("i1"), batch("b2"), sequence("i2")):
        scheduler.add(each)

    assert names(scheduler.waiting) == ["i1", "i2", "b1", "b2"]
    assert admitted(scheduler.schedule()) == ["i1", "i2"]


def test_batch_makes_room_the_latest_first_and_comes_back_with_what_it_has():
    scheduler = Scheduler(limits())
    for name in ("b1", "b2", "b3"):
        scheduler.add(batch(name))
    scheduler.schedule()
    for running in scheduler.running:
        running.output_ids.append(7)
    scheduler.add(sequence("i"))

    plan = scheduler.schedule()

    assert plan.vacancies == (Vacancy(()),)
    assert (names(plan.decode), admitted(plan)) == (["b1", "b2"], ["i"])
    assert names(scheduler.waiting) == ["b3"]
    assert scheduler.preemptions == 1
    scheduler.finish(scheduler.running[2], FinishReason.STOP)
    assert chunks(scheduler.schedule()) == [("b3", 0, 5)]


def test_a_batch_prompt_in_part_makes_room_for_an_interactive_one():
    scheduler = Scheduler(limits(max_num_batched_tokens=10))
    scheduler.add(batch("long", prompt=50))
    scheduler.schedule()
    scheduler.add(sequence("i"))

    plan = scheduler.schedule()

    assert plan.vacancies == (Vacancy(()),)
    # What is left of the budget goes to the long one, from its beginning.
    assert chunks(plan) == [("i", 0, 4), ("long", 0, 6)]


def test_nobody_is_preempted_where_it_would_not_help():
    scheduler = Scheduler(limits(max_num_seqs=2))
    scheduler.add(sequence("i1"))
    scheduler.add(sequence("i2", prompt=50, max_tokens=50))
    scheduler.schedule()
    scheduler.add(sequence("i3"))

    assert scheduler.schedule().vacancies == ()

    scheduler = Scheduler(limits(kv_cache_tokens=110))
    scheduler.add(sequence("i", prompt=30, max_tokens=30))
    scheduler.add(batch("b"))
    scheduler.schedule()
    scheduler.add(sequence("wide", prompt=50, max_tokens=50))
    assert scheduler.schedule().vacancies == ()


def test_a_queue_full_of_batch_refuses_no_interactive_sequence():
    scheduler = Scheduler(limits())
    for number in range(5):
        scheduler.add(batch(str(number)))

    with pytest.raises(Overloaded):
        scheduler.add(batch("over"))
    for number in range(5):
        scheduler.add(sequence(f"i{number}"))
    with pytest.raises(Overloaded):
        scheduler.add(sequence("over"))


def test_nobody_overtakes_a_head_that_does_not_fit_the_kv_budget():
    scheduler = Scheduler(limits(kv_cache_tokens=120))
    scheduler.add(sequence("a", prompt=50, max_tokens=10))
    scheduler.add(sequence("wide", prompt=50, max_tokens=40))
    scheduler.add(sequence("narrow"))

    # Two rows as wide as the wide one would be 180 tokens.
    assert admitted(scheduler.schedule()) == ["a"]
    assert scheduler.kv_tokens_used == 60
    scheduler.finish(scheduler.running[0], FinishReason.STOP)
    assert admitted(scheduler.schedule()) == ["wide"]


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
