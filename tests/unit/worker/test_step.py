import pytest
import torch

from services.worker.engine.attention import chunk_attention
from services.worker.engine.kv_cache import KVCache
from services.worker.engine.layer_attention import AttentionKind
from services.worker.engine.prefix_index import Prefix
from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine.slots import Drop, Join, Slots
from services.worker.engine.step import make_step
from tests.fakes.layouts import make_layout

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
HEADS, KV_HEADS, DIM, VALUE_DIM = 4, 2, 8, 6
LAYERS = 2
KINDS = [
    AttentionKind(0.3),
    AttentionKind(0.3, window=7),
    AttentionKind(0.3, window=70, softcap=0.8),
]


class Setup:
    """Sequences in rows of several classes, and all states that they have ever had."""

    def __init__(self):
        torch.manual_seed(0)
        layout = make_layout(LAYERS, KV_HEADS, DIM, VALUE_DIM)
        self.cache, self.slots = KVCache(layout), Slots(300)
        self.states = {}

    def sequence(self, name, length):
        """Return a sequence with states of `length` tokens for each layer."""
        params = SamplingParams(max_tokens=50, seed=0)
        sequence = Sequence(name, 0, tuple(range(100, 100 + length)), params)
        self.states[sequence] = [
            (
                torch.randn(length, HEADS, DIM),
                torch.randn(length, KV_HEADS, DIM),
                torch.randn(length, KV_HEADS, VALUE_DIM),
            )
            for _ in range(LAYERS)
        ]
        return sequence

    def line(self, spans, layer, padding=0):
        """Return the states of a line: of each sequence the tokens from .. to."""
        parts = [
            torch.cat([self.states[s][layer][part][start:end] for s, start, end in spans])
            for part in range(3)
        ]
        return [torch.cat([part, torch.full((padding, *part.shape[1:]), 9.0)]) for part in parts]

    def run(self, step, spans, kind=KINDS[0]):
        """Attend in every layer, and check each token against a row without a cache."""
        for layer in range(LAYERS):
            query, key, value = self.line(spans, layer, step.padding)
            out = step.attend(layer, query, key, value, kind)
            expected = torch.cat([self.alone(s, layer, kind)[a:b] for s, a, b in spans])
            assert len(out) == len(expected) + step.padding
            torch.testing.assert_close(out[: len(expected)], expected, rtol=1e-4, atol=1e-5)
            assert out.isfinite().all()

    def alone(self, sequence, layer, kind):
        query, key, value = self.states[sequence][layer]
        length = len(query)
        at = torch.arange(length)
        seen = at[None] <= at[:, None]
        if kind.window is not None:
            seen &= at[None] > at[:, None] - kind.window
        bias = torch.zeros(length, length).masked_fill(~seen, float("-inf"))
        keys, values = key.transpose(0, 1), value.transpose(0, 1)
        return chunk_attention(
            query, keys, values, bias=bias, scale=kind.scale, softcap=kind.softcap
        )

    def decoding(self, name, length, kind=KINDS[0]):
        """Return a sequence whose row holds all but the last of its `length` tokens."""
        sequence = self.sequence(name, length)
        held = length - 1
        sequence.computed = held
        chunk = Chunk(sequence, 0, held, held)
        self.run(make_step((), (chunk,), self.cache, CPU), [(sequence, 0, held)], kind)
        place = self.slots.take(sequence, length)
        self.cache.apply([Join(sequence.key, place, held)])
        sequence.computed = length
        return sequence

    def drafting(self, name, length, draft, kind=KINDS[0]):
        """Return the same with a draft of so many tokens, which have states too."""
        sequence = self.decoding(name, length, kind)
        sequence.draft = tuple(range(900, 900 + draft))
        self.states[sequence] = [
            tuple(torch.cat([part, torch.randn(draft, *part.shape[1:])]) for part in layer)
            for layer in self.states[sequence]
        ]
        return sequence


def starts(step):
    return [(segment.tokens.start, segment.tokens.stop) for segment in step.segments]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("alone", [False, True])
def test_rows_of_all_classes_and_chunks_go_in_one_line(kind, alone):
    setup = Setup()
    rows = [setup.decoding(str(i), n, kind) for i, n in enumerate((30, 90, 12, 96, 64))]
    first, second = setup.sequence("first", 40), setup.sequence("second", 50)
    first.computed, second.computed = 40, 25
    chunks = (Chunk(first, 0, 40, 40), Chunk(second, 0, 25, 64))

    step = make_step(setup.slots.groups(), chunks, setup.cache, CPU, alone=alone)

    # By class, and within it in the order of rows.
    order = [rows[i] for i in (0, 2, 4, 1, 3)]
    ends = [(s, s.computed - 1, s.computed) for s in order]
    assert step.sequences == (*((s, i) for i, s in enumerate(order)), (first, 44), (second, 69))
    assert step.positions.tolist() == [29, 11, 63, 89, 95, *range(40), *range(25)]
    assert step.input_ids.tolist() == [100 + at for at in step.positions.tolist()]
    decoding = [(i, i + 1) for i in range(5)] if alone else [(0, 3), (3, 5)]
    assert starts(step) == [*decoding, (5, 45), (45, 70)]
    setup.run(step, [*ends, (first, 0, 40), (second, 0, 25)], kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_rows_take_drafts_of_different_lengths(kind):
    setup = Setup()
    drafts = {30: 3, 12: 0, 90: 1, 70: 5, 20: 4, 100: 0}
    rows = [setup.drafting(str(n), n, draft, kind) for n, draft in drafts.items()]
    prompt = setup.sequence("prompt", 40)
    prompt.computed = 40

    step = make_step(setup.slots.groups(), (Chunk(prompt, 0, 40, 40),), setup.cache, CPU)

    # By class: up to 64 tokens, 96, 128.
    order = [rows[i] for i in (0, 1, 4, 2, 3, 5)]
    spans = [(s, s.computed - 1, s.computed + len(s.draft)) for s in order]
    lines = [s for s, start, end in spans for _ in range(start, end)]
    assert step.sequences == (*((s, at) for at, s in enumerate(lines)), (prompt, len(lines) + 39))
    assert step.positions.tolist() == [
        *(at for _, start, end in spans for at in range(start, end)),
        *range(40),
    ]
    assert step.input_ids[:4].tolist() == [129, 900, 901, 902]
    setup.run(step, [*spans, (prompt, 0, 40)], kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_a_draft_has_missed_is_written_over(kind):
    setup = Setup()
    row = setup.drafting("a", 30, 5, kind)
    other = setup.drafting("b", 35, 0, kind)
    step = make_step(setup.slots.groups(), (), setup.cache, CPU)
    setup.run(step, [(row, 29, 35), (other, 34, 35)], kind)
    # One of five came true, and then another token.
    row.output_ids += [900, 7]
    row.computed, row.draft = 32, ()
    kept = [tuple(part[:31] for part in layer) for layer in setup.states[row]]
    setup.states[row] = [
        tuple(torch.cat([part, torch.randn(1, *part.shape[1:])]) for part in layer)
        for layer in kept
    ]

    step = make_step(setup.slots.groups(), (), setup.cache, CPU)

    setup.run(step, [(row, 31, 32), (other, 34, 35)], kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("alone", [False, True])
def test_tokens_come_one_by_one_and_see_what_was_written(kind, alone):
    setup = Setup()
    rows = [setup.decoding(str(i), n, kind) for i, n in enumerate((9, 3, 60))]
    for _ in range(4):
        step = make_step(setup.slots.groups(), (), setup.cache, CPU, alone=alone)
        setup.run(step, [(s, s.computed - 1, s.computed) for s in rows], kind)
        for s in rows:
            s.output_ids.append(7)
            s.computed += 1
            setup.states[s] = [
                tuple(torch.cat([part, torch.randn(1, *part.shape[1:])]) for part in layer)
                for layer in setup.states[s]
            ]
    assert step.input_ids.tolist() == [7, 7, 7]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("ends", [(90,), (1, 2, 90), (40, 64, 65, 90)])
def test_a_prompt_in_chunks_is_what_it_is_whole(kind, ends):
    setup = Setup()
    sequence = setup.sequence("a", 90)
    start = 0
    for end in ends:
        sequence.computed = end
        room = 90 if end == 90 else setup.slots.capacity(end)
        step = make_step((), (Chunk(sequence, start, end, room),), setup.cache, CPU)
        assert step.positions.tolist() == list(range(start, end))
        assert step.sequences == ((sequence, end - start - 1),)
        setup.run(step, [(sequence, start, end)], kind)
        start = end


def test_two_chunks_of_one_prompt_in_a_step_end_with_the_second():
    setup = Setup()
    sequence = setup.sequence("a", 30)
    sequence.computed = 30
    chunks = Chunk(sequence, 0, 16, 64), Chunk(sequence, 16, 30, 30)

    step = make_step((), chunks, setup.cache, CPU)

    assert step.sequences == ((sequence, 29),)


def test_a_chunk_begins_with_what_it_reuses():
    setup = Setup()
    known = setup.sequence("known", 50)
    known.computed = 50
    step = make_step((), (Chunk(known, 0, 50, 50),), setup.cache, CPU)
    setup.run(step, [(known, 0, 50)])
    setup.cache.apply([Drop(known.key, 50, keep=3)])
    sequence = setup.sequence("a", 60)
    for layer, theirs in zip(setup.states[sequence], setup.states[known], strict=True):
        for mine, part in zip(layer, theirs, strict=True):
            mine[:40] = part[:40]

    sequence.computed = 60
    step = make_step((), (Chunk(sequence, 40, 60, 60, Prefix(3, 40)),), setup.cache, CPU)

    setup.run(step, [(sequence, 40, 60)])


@pytest.mark.parametrize("alone", [False, True])
def test_padding_belongs_to_nobody_and_gets_nothing(alone):
    setup = Setup()
    rows = [setup.decoding(str(i), n) for i, n in enumerate((9, 20))]

    step = make_step(setup.slots.groups(), (), setup.cache, CPU, padded=lambda _: 6, alone=alone)

    assert step.padding == 4
    assert step.input_ids.tolist() == [108, 119, 0, 0, 0, 0]
    assert step.positions.tolist() == [8, 19, 0, 0, 0, 0]
    assert len(step.sequences) == 2
    query, key, value = setup.line([(s, s.computed - 1, s.computed) for s in rows], 0, 4)
    out = step.attend(0, query, key, value, KINDS[0])
    assert out.shape == (6, HEADS, VALUE_DIM)
    assert not out[2:].any()
    setup.run(step, [(s, s.computed - 1, s.computed) for s in rows])


def test_decoding_reads_the_cache_where_it_lies():
    setup = Setup()
    for i, length in enumerate((9, 20)):
        setup.decoding(str(i), length)
    (segment,) = make_step(setup.slots.groups(), (), setup.cache, CPU).segments

    keys, values = segment.write(
        0, torch.zeros(2, KV_HEADS, DIM), torch.ones(2, KV_HEADS, VALUE_DIM)
    )

    layer = setup.cache.size_class(64).layers[0]
    assert keys.data_ptr() == layer.keys.data_ptr()
    assert values.data_ptr() == layer.values.data_ptr()
    # Columns up to a multiple of 32.
    assert keys.shape == (2, KV_HEADS, 32, DIM)
    assert not keys[0, :, 8].any()
    assert (values[1, :, 19] == 1).all()


def test_a_mask_tells_the_tokens_of_each_row():
    setup = Setup()
    for i, length in enumerate((3, 5)):
        setup.decoding(str(i), length)
    sequence = setup.sequence("a", 6)
    chunks = (Chunk(sequence, 4, 6, 6),)
    decoding, chunk = make_step(setup.slots.groups(), chunks, setup.cache, CPU).segments

    assert decoding.token_mask().tolist() == [[1] * n + [0] * (32 - n) for n in (3, 5)]
    assert (decoding.before, chunk.before) == (31, 4)
    assert chunk.token_mask().tolist() == [[1] * 6]
