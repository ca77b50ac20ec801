"""The engine on real (tiny, random) models: the same tokens as transformers' own generate."""

import random

import pytest
import torch
from structlog.testing import capture_logs
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    RoFormerConfig,
    RoFormerForCausalLM,
)

from services.worker.engine.engine import Engine
from services.worker.engine.model_runner import ModelRunner
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence
from shared.errors import ConfigurationError, ModelNotSupported
from shared.protocol.priority import Priority
from tests.fakes.generate import generate

pytestmark = pytest.mark.torch

VOCABULARY = 131
CONTEXT = 600
EOS = 5
TINY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    # Far from the usual 0.02, so that answers wander instead of repeating one token.
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": None,
}
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
# They run with the attention of their own class.
OWN_ATTENTION = {
    "bloom": lambda: BloomForCausalLM(BloomConfig(**SMALL)),
    "mpt": lambda: MptForCausalLM(MptConfig(**SMALL, max_seq_len=CONTEXT)),
    "falcon, ALiBi": lambda: FalconForCausalLM(
        FalconConfig(**SMALL, alibi=True, multi_query=False)
    ),
    "falcon, rotary": lambda: FalconForCausalLM(FalconConfig(**SMALL)),
    "gpt-j": lambda: GPTJForCausalLM(GPTJConfig(**SMALL, n_positions=CONTEXT, rotary_dim=4)),
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**TINY)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**TINY)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**TINY, sliding_window=None)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=CONTEXT,
            n_embd=48,
            n_layer=3,
            n_head=6,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=EOS,
        )
    ),
}


def make_model(name="llama"):
    torch.manual_seed(0)
    return MODELS[name]().eval() if name in MODELS else spread(OWN_ATTENTION[name]())


def spread(model, std=0.2):
    """Do what a large `initializer_range` does, for classes that do not heed it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=std)
    return model.eval()


def make_engine(
    model, *, max_num_seqs=6, max_model_len=CONTEXT, kv_cache_tokens=0, prefix_cache_tokens=0
):
    runner = ModelRunner(
        model,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        eos_token_ids=frozenset({EOS}),
        kv_cache_tokens=kv_cache_tokens,
    )
    limits = Limits(
        max_num_seqs=max_num_seqs,
        max_waiting=100,
        max_model_len=runner.max_model_len,
        kv_cache_tokens=runner.kv_cache_tokens,
        max_num_batched_tokens=80,
        prefix_cache_tokens=prefix_cache_tokens,
    )
    return Engine(runner, Scheduler(limits))


def make_prompts(count, seed=0):
    chance = random.Random(seed)
    lengths = [chance.choice([1, 2, 7, 30, 120, 300]) for _ in range(count)]
    return [tuple(chance.randrange(6, VOCABULARY) for _ in range(n)) for n in lengths]


def run(engine, arrivals, aborts=()):
    """Step to the end; `arrivals` and `aborts` say at which step what happens."""
    tokens, ends = {}, {}
    step = 0
    while engine.has_work or any(at >= step for at, _ in arrivals):
        for at, sequence in arrivals:
            if at == step:
                engine.add(sequence)
        for at, request_id in aborts:
            if at == step:
                engine.abort(request_id)
        for output in engine.step():
            if output.token_id is not None:
                tokens.setdefault(output.request_id, []).append(output.token_id)
            if output.finish_reason is not None:
                ends[output.request_id] = output.finish_reason
        step += 1
    return tokens, ends


def greedy(name, prompt, max_tokens, priority=Priority.INTERACTIVE):
    params = SamplingParams(max_tokens=max_tokens, seed=0, temperature=0)
    return Sequence(name, 0, prompt, params, priority)


@pytest.mark.parametrize("name", [*MODELS, *OWN_ATTENTION])
def test_batched_greedy_decoding_is_generate_token_for_token(name):
    model = make_model(name)
    prompts = make_prompts(16)
    lengths = [(5, 40, 24, 33)[i % 4] for i in range(16)]
    # References first: the runner replaces the model's attention.
    expected = [generate(model, p, n) for p, n in zip(prompts, lengths, strict=True)]

    arrivals = [
        (i // 3 * 4, greedy(str(i), p, n))
        for i, (p, n) in enumerate(zip(prompts, lengths, strict=True))
    ]
    tokens, ends = run(make_engine(model), arrivals, aborts=[(6, "1"), (11, "7"), (21, "15")])

    aborted = {name for name, end in ends.items() if end is FinishReason.ABORT}
    assert aborted == {"1", "7", "15"}
    for i, reference in enumerate(expected):
        got = tokens.get(str(i), [])
        assert got == reference[: len(got)]
        if str(i) not in aborted:
            assert got == reference
            assert ends[str(i)] is (FinishReason.STOP if got[-1] == EOS else FinishReason.LENGTH)
    # The comparison means something only if most answers are not one repeated token.
    wanders = [len(set(r)) > 3 for r in expected if len(r) > 20]
    assert sum(wanders) > len(wanders) / 2


@pytest.mark.parametrize("name", OWN_ATTENTION)
def test_a_model_with_its_own_attention_is_generate_one_row_at_a_time_too(name):
    model = make_model(name)
    prompts = make_prompts(3)
    expected = [generate(model, p, 20) for p in prompts]

    with capture_logs() as logs:
        engine = make_engine(model, max_num_seqs=1)
        tokens, _ = run(engine, [(0, greedy(str(i), p, 20)) for i, p in enumerate(prompts)])

    assert [tokens[str(i)] for i in range(3)] == expected
    assert [entry["event"] for entry in logs] == ["own_attention"]


def test_own_attention_that_takes_every_row_for_as_long_as_the_longest_is_refused():
    torch.manual_seed(0)
    config = RoFormerConfig(**SMALL | {"pad_token_id": 0}, intermediate_size=64, is_decoder=True)
    model = spread(RoFormerForCausalLM(config), std=0.5)

    make_engine(model, max_num_seqs=1)
    with pytest.raises(ModelNotSupported, match="does not work with rows of different lengths"):
        make_engine(model)


@pytest.mark.parametrize("name", [*MODELS, "bloom"])
def test_reused_prefixes_change_no_token(name):
    model = make_model(name)
    system, *questions = make_prompts(9, seed=6)
    system = (*system, *range(10, 90))
    prompts = [(*system, *question[:100]) for question in questions]
    firsts = [generate(model, p, 12) for p in prompts]
    turns = [(*p, *a, 7, 8, 9) for p, a in zip(prompts, firsts, strict=True)]
    expected = firsts + [generate(model, p, 12) for p in turns]
    # Too few tokens for all: some are forgotten while others are in use.
    engine = make_engine(model, prefix_cache_tokens=600)
    arrivals = [(i // 2, greedy(str(i), p, 12)) for i, p in enumerate(prompts)]
    arrivals += [(40 + i // 3, greedy(str(8 + i), p, 12)) for i, p in enumerate(turns)]

    tokens, _ = run(engine, arrivals)

    assert engine.scheduler.prefixes.reused_tokens > 1000
    assert [tokens[str(i)] for i in range(16)] == expected


@pytest.mark.parametrize("name", ["llama", "bloom"])
def test_preempted_sequences_give_what_they_would_have_given(name):
    model = make_model(name)
    prompts = make_prompts(14, seed=5)
    expected = [generate(model, p, 24) for p in prompts]
    engine = make_engine(model, prefix_cache_tokens=1000)
    # Six batch sequences fill the slots; interactive ones come when they have run for a while.
    arrivals = [
        (0, greedy(str(i), p, 24, Priority.BATCH)) if i < 8 else (5 + i, greedy(str(i), p, 24))
        for i, p in enumerate(prompts)
    ]

    tokens, _ = run(engine, arrivals)

    assert engine.scheduler.preemptions >= 4
    assert [tokens[str(i)] for i in range(14)] == expected


def test_a_tight_kv_budget_changes_no_token():
    model = make_model()
    prompts = make_prompts(8, seed=1)
    expected = [generate(model, p, 20) for p in prompts]

    engine = make_engine(model, kv_cache_tokens=700)
    tokens, _ = run(engine, [(0, greedy(str(i), p, 20)) for i, p in enumerate(prompts)])

    assert [tokens[str(i)] for i in range(8)] == expected


def test_the_context_ends_an_answer():
    engine = make_engine(make_model(), max_model_len=40)
    params = SamplingParams(max_tokens=1000, seed=0, temperature=0, ignore_eos=True)

    tokens, ends = run(engine, [(0, Sequence("a", 0, (9,) * 30, params))])

    assert len(tokens["a"]) == 10
    assert ends["a"] is FinishReason.LENGTH


def sampled(name, prompt, *, seed=42, choice=0, output_ids=()):
    params = SamplingParams(max_tokens=25, seed=seed, temperature=0.8, top_p=0.9, ignore_eos=True)
    return Sequence(name, choice, prompt, params, output_ids=list(output_ids))


def test_sampling_does_not_depend_on_the_batch():
    model = make_model()
    prompts = make_prompts(10, seed=2)
    alone = []
    for i, prompt in enumerate(prompts):
        tokens, _ = run(make_engine(model), [(0, sampled(str(i), prompt, seed=i))])
        alone.append(tokens[str(i)])

    arrivals = [(i // 2, sampled(str(i), p, seed=i)) for i, p in enumerate(prompts)]
    arrivals += [(1, greedy("greedy", prompts[0], 30))]
    together, _ = run(make_engine(model), arrivals, aborts=[(9, "3")])

    for i, expected in enumerate(alone):
        got = together[str(i)]
        assert got == expected[: len(got)]
        assert i == 3 or len(got) == 25


def test_a_seed_gives_the_same_tokens_and_another_seed_others():
    engine = make_engine(make_model())
    prompt = make_prompts(1)[0]
    arrivals = [
        (0, sampled("a", prompt)),
        (3, sampled("same", prompt)),
        (5, sampled("seed", prompt, seed=43)),
        (7, sampled("choice", prompt, choice=1)),
    ]

    tokens, _ = run(engine, arrivals)

    assert tokens["same"] == tokens["a"]
    assert tokens["seed"] != tokens["a"] != tokens["choice"]


def test_a_sequence_with_output_continues_where_it_was():
    prompt = make_prompts(1, seed=3)[0]
    model = make_model()
    whole, _ = run(make_engine(model), [(0, sampled("a", prompt))])

    rest, _ = run(make_engine(model), [(0, sampled("b", prompt, output_ids=whole["a"][:10]))])

    assert rest["b"] == whole["a"][10:]


def test_a_poisoned_token_fails_its_own_sequence_only():
    model = make_model()
    prompts = make_prompts(6, seed=4)
    expected = [generate(model, p, 20) for p in prompts]
    poison = 5
    # Longer than what takes its slot next, so that nothing else overwrites the row.
    bad = (7, poison, *[8] * 200)
    with torch.no_grad():
        model.model.embed_tokens.weight[poison] = float("nan")

    arrivals = [(i, greedy(str(i), p, 20)) for i, p in enumerate(prompts)]
    arrivals += [(at, greedy(f"bad{at}", bad, 20)) for at in range(0, 12, 2)]
    tokens, ends = run(make_engine(model), arrivals)

    assert [tokens[str(i)] for i in range(6)] == expected
    assert {ends[f"bad{at}"] for at in range(0, 12, 2)} == {FinishReason.ERROR}


def test_a_token_id_beyond_the_vocabulary_fails_its_own_sequence_only():
    model = make_model()
    prompt = make_prompts(1, seed=5)[0]
    expected = generate(model, prompt, 20)

    tokens, ends = run(
        make_engine(model),
        [(0, greedy("good", prompt, 20)), (4, greedy("bad", (VOCABULARY,), 20))],
    )

    assert tokens["good"] == expected
    assert ends["bad"] is FinishReason.ERROR


def test_a_budget_below_the_context_shortens_the_context():
    model = make_model()

    runner = ModelRunner(
        model,
        max_num_seqs=4,
        max_model_len=CONTEXT,
        eos_token_ids=frozenset(),
        kv_cache_tokens=100,
    )

    assert (runner.max_model_len, runner.kv_cache_tokens) == (100, 100)


def test_the_budget_found_is_at_most_what_all_slots_can_use():
    runner = ModelRunner(
        make_model(), max_num_seqs=4, max_model_len=CONTEXT, eos_token_ids=frozenset()
    )

    assert runner.kv_cache_tokens == 4 * CONTEXT


def test_a_budget_of_one_token_is_refused():
    with pytest.raises(ConfigurationError):
        make_engine(make_model(), kv_cache_tokens=1)


class Layerless(LlamaForCausalLM):
    """A model that ignores the cache it is given."""

    def forward(self, input_ids, **kwargs):
        kwargs |= {"use_cache": False, "past_key_values": None}
        return super().forward(input_ids, **kwargs)


def test_a_model_that_does_not_use_the_cache_is_refused():
    torch.manual_seed(0)

    with pytest.raises(ModelNotSupported):
        make_engine(Layerless(LlamaConfig(**TINY)).eval())
