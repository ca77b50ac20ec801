import random

import pytest
import torch

from services.worker.engine.kv_cache import KVCache
from services.worker.engine.prefix_index import Keep, Prefix
from shared.errors import EngineFault

pytestmark = pytest.mark.torch

LAYERS, HEADS, DIM = 2, 3, 4


class Reference:
    """Each row's keys and values as plain lists; what the cache must return."""

    def __init__(self, cache):
        self.cache = cache
        self.rows = []

    def prefill(self, length, chunk=0):
        slot = len(self.rows)
        states = torch.randn(LAYERS, 2, 1, HEADS, length, DIM)
        for start in range(0, length, chunk or length):
            end = min(length, start + (chunk or length))
            write = self.cache.begin_prefill(slot, start, end)
            for layer, parts in enumerate(states):
                seen = self.cache.update(*parts[..., start:end, :], layer)
                for part, got in zip(parts, seen, strict=True):
                    assert torch.equal(got, part[..., :end, :])
            self.cache.commit(write)
            self.check_chunk_masks(write)
        self.rows.append(states[:, :, 0])

    def check_chunk_masks(self, write):
        device = torch.device("cpu")
        assert write.positions(device).tolist() == [list(range(write.start, write.end))]
        assert write.token_mask(device).tolist() == [[1] * write.end]
        mask = write.added_mask(torch.float32, device)
        if not write.start:
            assert mask is None
            return
        for row, position in zip(mask[0, 0], range(write.start, write.end), strict=True):
            assert (row[: position + 1] == 0).all()
            assert (row[position + 1 :] == float("-inf")).all()

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
        last = self.rows.pop()
        if slot < len(self.rows):
            self.cache.move(len(self.rows), slot)
            self.rows[slot] = last
        self.cache.release()


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
                reference.prefill(length, chunk=order.choice([0, 0, 64]))
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
        cache.begin_prefill(3, 0, 34)


def test_a_prompt_that_failed_half_way_leaves_and_harms_nobody(cache):
    reference = Reference(cache)
    reference.prefill(5)
    reference.prefill(6)
    # Only the first layer has grown when the forward pass breaks off.
    cache.begin_prefill(2, 0, 700)
    cache.update(*torch.randn(2, 1, HEADS, 700, DIM), 0)

    # Another row leaves first, so that the broken one is moved before it leaves itself.
    cache.move(1, 0)
    cache.move(2, 1)
    cache.release()
    cache.release()
    reference.rows = [reference.rows[1]]
    cache.begin_prefill(1, 0, 3)
    cache.release()

    reference.decode()
    reference.prefill(4)
    reference.decode()


def test_a_wiped_row_hides_no_nan_from_its_successor(cache):
    reference = Reference(cache)
    reference.prefill(3)
    write = cache.begin_prefill(1, 0, 9)
    for layer in range(LAYERS):
        cache.update(*torch.full((2, 1, HEADS, 9, DIM), float("nan")), layer)
    cache.commit(write)

    cache.wipe(1)
    cache.release()

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


def test_what_is_kept_outlives_its_row_and_begins_another(cache):
    reference = Reference(cache)
    reference.prefill(300)
    kept = reference.rows[0]
    cache.keep(Keep(slot=0, key=7, length=290))
    reference.decode()
    reference.release(0)
    assert cache.allocated_tokens == 0
    reference.prefill(5)

    cache.reuse(1, Prefix(key=7, length=280))
    reference.rows.append(kept[:, :, :, :280])

    reference.decode()
    reference.decode()
    cache.reset()
    with pytest.raises(KeyError):
        cache.reuse(0, Prefix(key=7, length=280))


def test_what_is_forgotten_is_gone(cache):
    reference = Reference(cache)
    reference.prefill(30)
    cache.keep(Keep(slot=0, key=7, length=20))
    cache.forget(7)
    cache.forget(8)

    with pytest.raises(KeyError):
        cache.reuse(1, Prefix(key=7, length=20))
