"""What fits is told before a weight is read, with numbers and with what to change."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from services.worker.models.footprint import Footprint
from services.worker.preflight import Memory, Room, check_memory, choose_memory
from shared.errors import ModelTooLarge
from shared.settings import WorkerSettings

GIB = 2**30
# As large as Llama-3-8B in bfloat16, rounded.
WEIGHTS = 16 * GIB
COMPRESSED = {"--load-8bit": 8 * GIB, "--load-4bit": 6 * GIB}
KV = 2**17
CONTEXT = 8192  # tokens, 1 GiB of keys and values


def room(free, *, share=0.5, size=None, context=CONTEXT, on_gpu=False, **settings) -> Room:
    return check_memory(
        size or Footprint(WEIGHTS, COMPRESSED, KV),
        Memory(int(free * GIB), share),
        context,
        WorkerSettings(**settings),
        on_gpu=on_gpu,
    )


def refusal(*args, **options) -> str:
    with pytest.raises(ModelTooLarge) as fault:
        room(*args, **options)
    return fault.value.message


@pytest.mark.parametrize(
    ("free", "on_gpu", "slots"),
    [
        (18, False, 16),  # room for 8 Ki tokens: the fewest slots
        (20, False, 16),
        (26, False, 40),
        (100, False, 64),
        (26, True, 40),
        (100, True, 256),
    ],
)
def test_slots_follow_the_memory(free, on_gpu, slots):
    assert room(free, on_gpu=on_gpu).max_num_seqs == slots


def test_a_number_that_is_asked_for_is_kept():
    assert room(18, max_num_seqs=3).max_num_seqs == 3
    assert room(100, max_num_seqs=200).max_num_seqs == 200


def test_one_sequence_must_fit_to_the_last_token():
    assert room(18).max_num_seqs == 16
    refusal(18 - 2**-20)


def test_the_refusal_tells_the_numbers_and_all_that_would_fit():
    assert refusal(17) == (
        "The model needs 16.0 GiB for its weights and 1.0 GiB for one sequence of 8192 tokens. "
        "17.0 GiB of memory are free; the KV cache may take 50% of what the weights leave. "
        "What fits: LLMZOO_MAX_MODEL_LEN=4096 or --load-8bit or --load-4bit."
    )


@pytest.mark.parametrize(
    ("free", "advice"),
    [
        (15, "What fits: --load-8bit or --load-4bit."),
        (8.5, "What fits: --load-4bit."),
        (7, "What fits: --load-4bit with LLMZOO_MAX_MODEL_LEN=4096."),
        (6, "Neither fewer bits nor a shorter context fits."),
    ],
)
def test_what_is_advised_fits(free, advice):
    assert refusal(free).endswith(advice)


def test_a_context_that_was_advised_is_taken():
    assert room(17, context=4096).max_num_seqs == 16


def test_weights_that_do_not_fit_alone_are_refused_whatever_the_cache_is():
    unknown = Footprint(WEIGHTS, {}, None)
    assert refusal(15, size=unknown).startswith("The model needs 16.0 GiB for its weights. 15.0 ")
    assert room(17, size=unknown) == Room(16, 0)


def test_tokens_that_are_asked_for_may_take_all_that_is_free():
    assert room(17.1, kv_cache_tokens=CONTEXT) == Room(16, CONTEXT)
    assert room(16.1, kv_cache_tokens=512) == Room(16, 512)
    refusal(16.9, kv_cache_tokens=CONTEXT)


def test_a_bound_on_the_memory_bounds_the_cache():
    # Without it the runner takes what is free once the weights are there.
    assert room(18).kv_cache_tokens == 0
    assert room(18, memory_gib=18).kv_cache_tokens == CONTEXT


def test_what_fits_but_not_in_every_slot_is_logged_with_numbers():
    with capture_logs() as logs:
        room(20, max_num_seqs=4)
    (line,) = logs
    assert (line["weights"], line["free"], line["kv_cache_tokens"]) == (
        "16.0 GiB",
        "20.0 GiB",
        2 * CONTEXT,
    )
    assert "LLMZOO_MAX_NUM_SEQS=2 or LLMZOO_MAX_MODEL_LEN=4096" in line["note"]
    with capture_logs() as logs:
        room(20, max_num_seqs=2)
    assert "note" not in logs[0]


def chosen(*free, context=CONTEXT, **settings) -> Memory:
    size = Footprint(WEIGHTS, COMPRESSED, KV)
    found = [int(each * GIB) for each in free]
    return choose_memory(size, found, 0.5, context, WorkerSettings(**settings))


def test_a_model_that_fits_one_device_stays_there():
    assert chosen(20, 20) == Memory(20 * GIB, 0.5)
    assert chosen(17, 20, context=4096) == Memory(17 * GIB, 0.5)


def test_a_model_that_does_not_gets_all_devices_together():
    assert chosen(17, 20) == Memory(37 * GIB, 0.5, devices=2)
    assert chosen(10, 6, 8) == Memory(24 * GIB, 0.5, devices=3)
    assert chosen(10, 6, 8, memory_gib=20) == Memory(20 * GIB, 0.5, devices=3)


def test_one_device_alone_is_never_several():
    assert chosen(5) == Memory(5 * GIB, 0.5)


def test_over_several_devices_the_cache_is_bounded_by_what_was_reckoned():
    memory = chosen(10, 10)
    room = check_memory(
        Footprint(WEIGHTS, COMPRESSED, KV), memory, CONTEXT, WorkerSettings(), on_gpu=True
    )
    assert room == Room(16, 2 * CONTEXT)
