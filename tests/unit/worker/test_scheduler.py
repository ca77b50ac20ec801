import pytest

from services.worker.engine.prefix_index import Prefix
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import (
    FinishReason,
    SamplingParams,
    Sequence,
    SequenceState,
)
from services.worker.engine.slots import Drop, Forget, Join, Keep, Move, Place, Trim
from shared.errors import ContextTooLong, InvalidRequest, Overloaded
from shared.protocol.priority import Priority
from tests.fakes.planned_steps import plan_step


def limits(**changes):
    defaults = {
        "max_num_seqs": 3,
        "max_waiting": 2,
        "max_model_len": 200,
        "kv_cache_tokens": 600,
        "max_num_batched_tokens": 100,
    }
    return Limits(**(defaults | changes))


def sequence(name="r", prompt=4, max_tokens=100, priority=Priority.INTERACTIVE, token=1):
    params = SamplingParams(max_tokens=max_tokens, seed=0)
    return Sequence(name, 0, (token,) * prompt, params, priority)


def batch(name="b", **options):
    return sequence(name, priority=Priority.BATCH, **options)


def scheduler_of(*sequences, **changes):
    scheduler = Scheduler(limits(**changes))
    for each in sequences:
        scheduler.add(each)
    return scheduler


def names(sequences):
    return [s.request_id for s in sequences]


def chunks(plan):
    return [(c.sequence.request_id, c.start, c.end) for c in plan.chunks]


def admitted(plan):
    return [c.sequence.request_id for c in plan.chunks]


def decoding(plan):
    return [s.request_id for group in plan.groups for s in group.sequences]


def test_admits_in_order_of_arrival_and_decodes_what_ran_before():
    scheduler = scheduler_of(*map(sequence, "abcd"))

    first, second = plan_step(scheduler), plan_step(scheduler)

    assert (decoding(first), admitted(first)) == ([], ["a", "b", "c"])
    assert (decoding(second), admitted(second)) == (["a", "b", "c"], [])
    assert names(scheduler.waiting) == ["d"]


def test_a_whole_prompt_joins_its_class():
    first, second = sequence("a"), sequence("b", prompt=64)
    scheduler = scheduler_of(first, second)
    scheduler.schedule()

    # One token more must fit: 64 and 96 tokens are the smallest rows.
    assert scheduler.join(first) == [Join(first.key, Place(64, 0), 4)]
    assert scheduler.join(second) == [Join(second.key, Place(96, 0), 64)]


def test_a_finish_moves_the_last_row_into_the_hole_and_admits_the_next():
    scheduler = scheduler_of(*map(sequence, "abcd"))
    plan_step(scheduler)

    ops = scheduler.finish(scheduler.running[0], FinishReason.STOP)
    plan = plan_step(scheduler)

    assert ops == [Move(Place(64, 2), Place(64, 0), 4), Trim(64, 2)]
    assert decoding(plan) == ["c", "b"]
    assert admitted(plan) == ["d"]
    assert names(scheduler.running) == ["b", "c", "d"]


def test_finishing_a_waiting_sequence_frees_no_row():
    first, second = sequence("a"), sequence("b")
    scheduler = scheduler_of(first, second, max_num_seqs=1)
    plan_step(scheduler)

    assert scheduler.finish(second, FinishReason.ABORT) == []
    assert second.state is SequenceState.FINISHED
    assert second.finish_reason is FinishReason.ABORT
    assert not scheduler.waiting


def test_a_step_has_no_more_tokens_than_its_budget():
    scheduler = scheduler_of(
        *(sequence(name, prompt=6) for name in "abc"), max_num_batched_tokens=10
    )

    assert chunks(plan_step(scheduler)) == [("a", 0, 6), ("b", 0, 4)]
    # One row decodes, so nine tokens are left: two for the rest of b, the whole c.
    assert chunks(plan_step(scheduler)) == [("b", 4, 6), ("c", 0, 6)]
    assert decoding(plan_step(scheduler)) == ["a", "b", "c"]


def test_a_long_prompt_comes_in_chunks_while_others_decode():
    scheduler = scheduler_of(sequence("short"), max_num_batched_tokens=20)
    plan_step(scheduler)
    scheduler.add(sequence("long", prompt=50))
    scheduler.add(sequence("next"))

    plans = [plan_step(scheduler) for _ in range(3)]

    assert [decoding(plan) for plan in plans] == [["short"]] * 3
    assert [chunks(plan) for plan in plans] == [
        [("long", 0, 19)],
        [("long", 19, 38)],
        [("long", 38, 50), ("next", 0, 4)],
    ]
    assert decoding(plan_step(scheduler)) == ["short", "long", "next"]


def test_a_prompt_moves_on_even_if_the_rows_take_the_whole_budget():
    scheduler = scheduler_of(sequence("a", prompt=1), max_num_batched_tokens=1)
    plan_step(scheduler)
    scheduler.add(sequence("b", prompt=2))

    assert chunks(plan_step(scheduler)) == [("b", 0, 1)]
    assert chunks(plan_step(scheduler)) == [("b", 1, 2)]


def test_the_row_of_a_prompt_grows_by_classes_and_ends_as_long_as_it_is():
    scheduler = scheduler_of(sequence(prompt=150), max_num_batched_tokens=50)

    rooms, used = [], []
    for _ in range(3):
        (chunk,) = scheduler.schedule().chunks
        rooms.append(chunk.room)
        used.append(scheduler.kv_tokens_used)

    assert rooms == used == [64, 128, 150]
    assert scheduler.kv_tokens_held == 150
    scheduler.join(scheduler.running[0])
    assert scheduler.kv_tokens_used == 192


def test_a_prompt_in_part_that_ends_leaves_nothing():
    part = sequence("part", prompt=50)
    scheduler = scheduler_of(part, max_num_batched_tokens=10)
    plan_step(scheduler)

    assert scheduler.finish(part, FinishReason.ABORT) == [Drop(part.key, 10)]
    assert not scheduler.has_work
    assert (scheduler.kv_tokens_used, scheduler.kv_tokens_held) == (0, 0)


def test_interactive_sequences_come_before_batch():
    queued = batch("b1"), sequence("i1"), batch("b2"), sequence("i2")
    scheduler = scheduler_of(*queued, max_num_seqs=2)

    assert names(scheduler.waiting) == ["i1", "i2", "b1", "b2"]
    assert admitted(scheduler.schedule()) == ["i1", "i2"]


def test_batch_makes_room_the_latest_first_and_comes_back_with_what_it_has():
    scheduler = scheduler_of(*map(batch, ("b1", "b2", "b3")))
    plan_step(scheduler)
    scheduler.add(sequence("i"))

    plan = plan_step(scheduler)

    assert plan.ops == (Trim(64, 2),)
    # What is left of the batch lets the prompt go first.
    assert (decoding(plan), admitted(plan)) == ([], ["i"])
    assert names(scheduler.waiting) == ["b3"]
    assert (scheduler.waiting[0].computed, scheduler.waiting[0].length) == (0, 5)
    assert scheduler.preemptions == 1
    scheduler.finish(scheduler.running[2], FinishReason.STOP)
    assert chunks(plan_step(scheduler)) == [("b3", 0, 5)]


def test_a_batch_prompt_in_part_makes_room_for_an_interactive_one():
    part = batch("long", prompt=50)
    scheduler = scheduler_of(part, max_num_batched_tokens=10)
    plan_step(scheduler)
    scheduler.add(sequence("i"))

    plan = plan_step(scheduler)

    assert plan.ops == (Drop(part.key, 10),)
    # What is left of the budget goes to the long one, from its beginning.
    assert chunks(plan) == [("i", 0, 4), ("long", 0, 6)]


def test_a_prompt_in_part_is_kept_while_another_goes_first():
    part = batch("long", prompt=50)
    scheduler = scheduler_of(part, max_num_batched_tokens=20, prefix_cache_tokens=200)
    plan_step(scheduler)
    scheduler.add(sequence("i", token=2))

    plan = plan_step(scheduler)

    assert plan.ops == (Drop(part.key, 20, keep=0),)
    assert chunks(plan) == [("i", 0, 4), ("long", 20, 36)]
    assert plan.chunks[1].reuse == Prefix(0, 20)


def test_nobody_is_preempted_for_want_of_a_slot_that_no_batch_sequence_has():
    scheduler = scheduler_of(sequence("i1"), sequence("i2"), max_num_seqs=2)
    plan_step(scheduler)
    scheduler.add(sequence("i3"))

    assert plan_step(scheduler).ops == ()
    assert names(scheduler.running) == ["i1", "i2"]


def test_nobody_is_preempted_where_it_would_not_help():
    scheduler = scheduler_of(sequence("i", prompt=100), batch("b"), kv_cache_tokens=200)
    for _ in range(2):
        plan_step(scheduler)
    # It needs 128 tokens of 200, and the interactive one has 128.
    scheduler.add(sequence("wide", prompt=100))

    assert plan_step(scheduler).ops == ()
    assert names(scheduler.running) == ["i", "b"]


def test_batch_gives_its_memory_to_an_interactive_sequence():
    scheduler = scheduler_of(
        batch("b1", prompt=90), batch("b2", prompt=90), kv_cache_tokens=300,
        max_num_batched_tokens=200,
    )  # fmt: skip
    plan_step(scheduler)
    assert scheduler.kv_tokens_used == 2 * 96
    scheduler.add(sequence("i", prompt=100))

    plan = plan_step(scheduler)

    assert plan.ops == (Trim(96, 1),)
    assert (decoding(plan), admitted(plan)) == ([], ["i"])
    assert names(scheduler.waiting) == ["b2"]


def test_a_full_row_grows_into_the_next_class():
    scheduler = scheduler_of(sequence("a", prompt=62), sequence("b", prompt=3))
    for _ in range(3):
        assert plan_step(scheduler).ops == ()

    plan = plan_step(scheduler)

    assert plan.ops == (
        Move(Place(64, 0), Place(96, 0), 64),
        Move(Place(64, 1), Place(64, 0), 5),
        Trim(64, 1),
    )
    assert decoding(plan) == ["b", "a"]
    assert scheduler.kv_tokens_used == 64 + 96


def nearly_grown(*sequences, kv_cache_tokens):
    """Return a scheduler whose first sequence fills its row of 64 tokens, and needs 96 next."""
    scheduler = scheduler_of(*sequences, kv_cache_tokens=kv_cache_tokens, max_model_len=150)
    while sequences[0].computed < 64:
        plan_step(scheduler)
    assert scheduler.preemptions == 0
    assert names(scheduler.running) == names(sequences)
    return scheduler


def test_memory_that_runs_out_preempts_the_latest():
    pair = [sequence(name, prompt=60) for name in "ab"]
    scheduler = nearly_grown(*pair, kv_cache_tokens=159)

    plan = plan_step(scheduler)

    assert plan.ops == (Trim(64, 1), Move(Place(64, 0), Place(96, 0), 64), Trim(64, 0))
    assert decoding(plan) == ["a"]
    assert names(scheduler.waiting) == ["b"]
    assert scheduler.preemptions == 1


def test_memory_that_just_suffices_preempts_nobody():
    scheduler = nearly_grown(
        sequence("a", prompt=60), sequence("b", prompt=30), kv_cache_tokens=160
    )

    plan_step(scheduler)

    assert (scheduler.preemptions, scheduler.kv_tokens_used) == (0, 160)


def test_memory_that_runs_out_preempts_batch_first():
    # In the order in which they are admitted; the batch sequence is the one that grows.
    first, later = batch("b", prompt=60), sequence("i", prompt=59)
    scheduler = scheduler_of(first, kv_cache_tokens=150, max_model_len=150)
    plan_step(scheduler)
    scheduler.add(later)
    while first.computed < 64:
        plan_step(scheduler)
    assert names(scheduler.running) == ["b", "i"]

    plan_step(scheduler)

    assert names(scheduler.running) == ["i"]
    assert names(scheduler.waiting) == ["b"]


def test_who_was_preempted_for_memory_comes_before_those_that_came_later():
    scheduler = nearly_grown(*(sequence(n, prompt=60) for n in "abc"), kv_cache_tokens=210)
    scheduler.add(sequence("d"))

    plan_step(scheduler)

    assert names(scheduler.running) == ["a", "b"]
    assert names(scheduler.waiting) == ["c", "d"]


def test_nobody_overtakes_a_head_that_does_not_fit_the_kv_budget():
    scheduler = scheduler_of(
        sequence("a", prompt=100), sequence("wide", prompt=90), sequence("narrow"),
        kv_cache_tokens=200, max_num_batched_tokens=1000,
    )  # fmt: skip

    assert admitted(plan_step(scheduler)) == ["a"]
    assert scheduler.kv_tokens_used == 128
    scheduler.finish(scheduler.running[0], FinishReason.STOP)
    assert admitted(plan_step(scheduler)) == ["wide", "narrow"]


def test_what_runs_keeps_some_memory_to_grow_where_not_all_have_enough():
    pair = [sequence(name, prompt=60) for name in "ab"]
    assert admitted(scheduler_of(*pair, kv_cache_tokens=200).schedule()) == ["a", "b"]
    pair = [sequence(name, prompt=100) for name in "ab"]
    # Each takes 128 tokens, which leaves none of 256.
    scheduler = scheduler_of(*pair, kv_cache_tokens=256, max_num_batched_tokens=300)
    assert admitted(scheduler.schedule()) == ["a"]
    # Nothing need be left where each may be as long as any.
    trio = [sequence(name, prompt=193, token=ord(name)) for name in "abc"]
    scheduler = scheduler_of(*trio, kv_cache_tokens=600, max_num_batched_tokens=600)
    assert admitted(scheduler.schedule()) == ["a", "b", "c"]


def test_a_row_is_no_longer_than_the_context():
    scheduler = scheduler_of(sequence(prompt=193, max_tokens=10**6), max_num_batched_tokens=200)
    plan_step(scheduler)

    assert scheduler.kv_tokens_used == 200


def test_a_finished_row_is_kept_whole_and_old_ones_are_forgotten():
    scheduler = Scheduler(limits(prefix_cache_tokens=100))
    ops = []
    for token in (1, 2):
        one = sequence("r", prompt=60, token=token)
        scheduler.add(one)
        plan_step(scheduler)
        plan_step(scheduler)
        ops.append(scheduler.finish(one, FinishReason.LENGTH))

    # The prompt was kept under 0 when it joined, of which 61 tokens are only one more.
    assert ops == [[Trim(64, 0)], [Trim(64, 0)]]
    assert scheduler.prefixes.tokens == 60
    assert scheduler.forgotten() == [Forget(0)]
    assert scheduler.forgotten() == []


def test_an_answer_is_kept_with_its_prompt():
    one = sequence("r", prompt=20)
    scheduler = scheduler_of(one, prefix_cache_tokens=100)
    for _ in range(31):
        plan_step(scheduler)

    assert scheduler.finish(one, FinishReason.STOP) == [Keep(Place(64, 0), 1, 50), Trim(64, 0)]
    # The prompt alone is part of it.
    assert scheduler.forgotten() == [Forget(0)]


def test_nothing_of_a_faulty_sequence_is_kept():
    one = sequence("r", prompt=20)
    scheduler = scheduler_of(one, prefix_cache_tokens=100)
    for _ in range(31):
        plan_step(scheduler)

    assert scheduler.finish(one, FinishReason.ERROR) == [Trim(64, 0)]


def with_kept(tokens, **changes):
    """Return a scheduler where nothing runs and a prompt of so many tokens is kept."""
    one = sequence("kept", prompt=tokens)
    options = {"kv_cache_tokens": 200, "prefix_cache_tokens": 200, "max_num_batched_tokens": 150}
    scheduler = scheduler_of(one, **(options | changes))
    plan_step(scheduler)
    scheduler.finish(one, FinishReason.STOP)
    assert scheduler.prefixes.tokens == tokens
    return scheduler


def test_what_is_kept_gives_way_to_who_is_admitted():
    scheduler = with_kept(90)
    scheduler.add(sequence("b", prompt=120, token=2))

    scheduler.schedule()

    assert scheduler.forgotten() == [Forget(0)]


def test_what_is_kept_gives_way_to_rows_that_grow():
    scheduler = with_kept(60)
    scheduler.add(sequence("b", prompt=63, token=2))
    for _ in range(2):
        plan_step(scheduler)
    assert scheduler.prefixes.tokens == 60 + 63
    assert scheduler.forgotten() == []

    plan = plan_step(scheduler)

    # 200 tokens are 96 for the row and 104 for what is kept.
    assert plan.ops == (Move(Place(64, 0), Place(96, 0), 64), Trim(64, 0))
    assert scheduler.forgotten() == [Forget(0)]
    assert scheduler.prefixes.tokens == 63


def test_what_is_kept_gives_way_to_what_is_kept_later():
    scheduler = with_kept(50)
    scheduler.add(sequence("b", prompt=90, token=2))

    plan_step(scheduler)

    assert scheduler.forgotten() == [Forget(0)]
    assert scheduler.prefixes.tokens == 90


def test_nothing_is_kept_for_which_no_memory_is_left():
    one = sequence(prompt=90)
    scheduler = scheduler_of(one, kv_cache_tokens=180, max_model_len=180, prefix_cache_tokens=180)
    scheduler.schedule()

    assert scheduler.join(one) == [Join(one.key, Place(96, 0), 90)]
    assert scheduler.prefixes.tokens == 0


@pytest.mark.parametrize(("chunk_tokens", "kept"), [(0, 50), (20, 20)])
def test_decoded_tokens_are_kept_unless_deterministic(chunk_tokens, kept):
    one = sequence(prompt=20)
    scheduler = scheduler_of(one, prefix_cache_tokens=100, chunk_tokens=chunk_tokens)
    for _ in range(31):
        plan_step(scheduler)

    scheduler.finish(one, FinishReason.STOP)

    assert scheduler.prefixes.tokens == kept


def test_choices_of_a_prompt_wait_for_the_first_to_compute_it():
    same = [sequence(name, prompt=40) for name in "abc"]
    scheduler = scheduler_of(*same, prefix_cache_tokens=200)

    assert chunks(plan_step(scheduler)) == [("a", 0, 40)]
    assert chunks(plan_step(scheduler)) == [("b", 39, 40), ("c", 39, 40)]


def test_prompts_that_share_less_than_a_block_start_together():
    pair = [Sequence(n, 0, (*range(15), ord(n), *range(20)), sequence().params) for n in "ab"]

    assert len(scheduler_of(*pair, prefix_cache_tokens=200).schedule().chunks) == 2


def test_deterministic_chunks_end_at_multiples():
    scheduler = scheduler_of(
        sequence("a", prompt=10), sequence("b", prompt=50, token=2), chunk_tokens=20,
        max_num_batched_tokens=20,
    )  # fmt: skip

    plans = [plan_step(scheduler) for _ in range(3)]

    assert [chunks(plan) for plan in plans] == [
        [("a", 0, 10), ("b", 0, 20)],
        [("b", 20, 40)],
        [("b", 40, 50)],
    ]


def test_a_deterministic_sequence_prefills_its_prompt_alone():
    one = sequence("a", prompt=10)
    one.output_ids += [7] * 3
    scheduler = scheduler_of(one, chunk_tokens=20)

    plans = [plan_step(scheduler) for _ in range(4)]

    assert [chunks(plan) for plan in plans] == [[("a", 0, 10)], [], [], []]
    # Three known tokens are decoded; the third one's step draws the fourth.
    assert (one.computed, one.output_ids) == (13, [7] * 4)


def test_a_sequence_with_outputs_prefills_all_that_is_known():
    one = sequence("a", prompt=10)
    one.output_ids += [7] * 3
    scheduler = scheduler_of(one)

    assert chunks(plan_step(scheduler)) == [("a", 0, 13)]
    assert one.output_ids == [7] * 4


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


@pytest.mark.parametrize(("prompt", "fits"), [(199, True), (200, False)])
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


def test_batch_rows_let_an_interactive_prompt_go_first_in_a_step_of_its_own():
    scheduler = Scheduler(limits(max_num_seqs=3, max_num_batched_tokens=16))
    batch = sequence("b", prompt=4, priority=Priority.BATCH)
    scheduler.add(batch)
    scheduler.schedule()
    batch.output_ids.append(1)
    scheduler.join(batch)
    waiting_batch = sequence("w", prompt=2, priority=Priority.BATCH)
    asked = sequence("i", prompt=20)
    scheduler.add(waiting_batch)
    scheduler.add(asked)

    first, second = scheduler.schedule(), scheduler.schedule()

    assert not first.groups
    assert not second.groups
    assert [(c.sequence, c.start, c.end) for c in first.chunks] == [(asked, 0, 16)]
    assert [(c.sequence, c.start, c.end) for c in second.chunks] == [(asked, 16, 20)]
    assert batch.computed == 4
    asked.output_ids.append(1)
    scheduler.join(asked)
    third = scheduler.schedule()
    assert {s for group in third.groups for s in group.sequences} == {batch, asked}
    assert [c.sequence for c in third.chunks] == [waiting_batch]
