import random

import pytest
import torch

from services.worker.engine.kv_cache import KVCache
from shared.errors import EngineFault

pytestmark = pytest.mark.torch

LAYERS, HEADS, DIM = 2, 3, 4


class Reference:
    """Each row's keys and values as plain lists; what the cache must return."""

    def __init__(self, cache):
        self.cache = cache
        self.rows = []

    def prefill(self, length):
        slot = len(self.rows)
        states = torch.randn(LAYERS, 2, 1, HEADS, length, DIM)
        self.cache.begin_prefill(slot, length)
        for layer, (keys, values) in enumerate(states):
            self.cache.update(keys, values, layer)
        self.cache.commit(slot, length)
        self.rows.append(states[:, :, 0])

    def decode(self):
        new = torch.randn(LAYERS, 2, len(self.rows), HEADS, 1, DIM)
        write = self.cache.begin_decode(len(self.rows))
        assert write.positions.tolist() == [row.shape[3] for row in self.rows]
        self.rows = [torch.cat([row, new[:, :, i]], dim=3) for i, row in enumerate(self.rows)]
        longest = max(row.shape[3] for row in self.rows)
        for layer in range(LAYERS):
            for kind, got in enumerate(self.cache.update(*new[layer], layer)):
                assert got.shape == (len(self.rows), HEADS, longest, DIM)
                for i, row in enumerate(self.rows):
                    length = row.shape[3]
                    assert torch.equal(got[i, :, :length], row[layer, kind])
                    assert got[i, :, length:].isfinite().all()
        assert self.cache.get_mask_sizes(1, 0) == (longest, 0)
        self.check_masks(write, longest)

    def check_masks(self, write, longest):
        lengths = [row.shape[3] for row in self.rows]
        ones = [[1] * length + [0] * (longest - length) for length in lengths]
        assert write.token_mask().tolist() == ones
        mask = write.added_mask(torch.float32)
        if mask is None:
            assert set(lengths) == {longest}
            return
        assert mask.shape == (len(self.rows), 1, 1, longest)
        for i, length in enumerate(lengths):
            assert (mask[i, ..., :length] == 0).all()
            assert (mask[i, ..., length:] == float("-inf")).all()

    def release(self, slot):
        assert self.cache.release(slot) == len(self.rows) - 1
        last = self.rows.pop()
        if slot < len(self.rows):
            self.rows[slot] = last


@pytest.fixture
def cache():
    return KVCache(max_num_seqs=4, max_model_len=2048, device=torch.device("cpu"))


@pytest.mark.parametrize("seed", range(5))
def test_rows_keep_what_was_written_through_growth_moves_and_leaves(cache, seed):
    torch.manual_seed(seed)
    order = random.Random(seed)
    cache.max_tokens = 3000
    reference = Reference(cache)

    for _ in range(60):
        rows = len(reference.rows)
        move = order.random()
        if rows < 4 and (not rows or move < 0.3):
            longest = max([row.shape[3] for row in reference.rows], default=0)
            length = order.choice([1, 5, 200, 300, 600])
            if (rows + 1) * (max(longest, length) + 60) <= 3000:
                reference.prefill(length)
        elif move < 0.4:
            reference.release(order.randrange(rows))
        else:
            reference.decode()
        assert cache.allocated_tokens <= 3000


def test_an_idle_cache_holds_no_memory(cache):
    reference = Reference(cache)
    for length in (300, 20):
        reference.prefill(length)
    assert cache.allocated_tokens == 2 * 512
    assert cache.bytes_per_token == LAYERS * 2 * HEADS * DIM * 4

    reference.release(0)
    reference.release(0)

    assert (cache.allocated_tokens, cache.bytes_per_token, cache.layer_count) == (0, 0, 0)


def test_capacity_grows_by_doubling_up_to_the_context(cache):
    reference = Reference(cache)
    reference.prefill(256)
    assert cache.allocated_tokens == 256
    reference.decode()
    assert cache.allocated_tokens == 512
    reference.release(0)
    reference.prefill(1500)
    assert cache.allocated_tokens == 2048


def test_decoding_reads_views_and_copies_nothing(cache):
    reference = Reference(cache)
    reference.prefill(5)
    reference.prefill(9)

    pointers = []
    for _ in range(2):
        cache.begin_decode(2)
        keys, values = cache.update(*torch.randn(2, 2, HEADS, 1, DIM), 0)
        pointers.append((keys.data_ptr(), values.data_ptr()))

    assert pointers[0] == pointers[1]


def test_a_tight_budget_is_used_to_the_last_token(cache):
    cache.max_tokens = 100
    reference = Reference(cache)
    reference.prefill(30)
    reference.prefill(20)
    reference.prefill(33)

    assert cache.allocated_tokens == 99
    with pytest.raises(EngineFault):
        cache.begin_prefill(3, 34)


def test_a_prompt_that_failed_half_way_leaves_and_harms_nobody(cache):
    reference = Reference(cache)
    reference.prefill(5)
    reference.prefill(6)
    # Only the first layer has grown when the forward pass breaks off.
    cache.begin_prefill(2, 700)
    cache.update(*torch.randn(2, 1, HEADS, 700, DIM), 0)

    # Another row leaves first, so that the broken one is moved before it leaves itself.
    cache.release(0)
    cache.release(0)
    reference.rows = [reference.rows[1]]
    cache.begin_prefill(1, 3)
    cache.release(1)

    reference.decode()
    reference.prefill(4)
    reference.decode()


def test_a_wiped_row_hides_no_nan_from_its_successor(cache):
    reference = Reference(cache)
    reference.prefill(3)
    cache.begin_prefill(1, 9)
    for layer in range(LAYERS):
        cache.update(*torch.full((2, 1, HEADS, 9, DIM), float("nan")), layer)
    cache.commit(1, 9)

    cache.wipe(1)
    cache.release(1)

    reference.prefill(2)
    reference.decode()


def test_reset_frees_every_slot(cache):
    reference = Reference(cache)
    reference.prefill(3)
    cache.reset()
    reference.rows = []

    reference.prefill(2)
    reference.decode()


def test_tells_transformers_the_length_before_the_call(cache):
    reference = Reference(cache)
    reference.prefill(5)
    assert cache.get_seq_length() == 0
    reference.decode()
    assert cache.get_seq_length() == 5
