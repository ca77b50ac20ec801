"""Sampling parameters on a real (tiny, random) model: what transformers gives, and goes on."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.worker.engine.sequence import SamplingParams, Sequence
from tests.fakes.engines import make_engine, run
from tests.fakes.faulty_runner import FaultyRunner, Steps

pytestmark = pytest.mark.torch

EOS, CONTEXT, SLOTS = 5, 200, 4
PROMPTS = [(7, 8, 9, 8), (11,), (3, 1, 4, 1, 5, 9, 2, 6), (20, 21), (40,) * 12]


@pytest.fixture
def model():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=67,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def engine_of(model):
    return make_engine(model, max_num_seqs=SLOTS, max_model_len=CONTEXT)


def run_all(engine, *sequences):
    """Return each sequence's outputs."""
    return run(engine, [(0, sequence) for sequence in sequences]).outputs


def asked(i, prompt, output=(), **params):
    wanted = SamplingParams(**({"max_tokens": 30, "seed": i, "temperature": 0} | params))
    return Sequence(str(i), 0, prompt, wanted, output_ids=list(output))


def tokens(outputs):
    return [output.token_id for output in outputs]


@torch.inference_mode()
def generate(model, prompt, **options):
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30, **options
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"repetition_penalty": 1.4}, {"repetition_penalty": 1.4}),
        ({"repetition_penalty": 0.9, "min_tokens": 25}, {"repetition_penalty": 0.9, "min_new_tokens": 25}),
        ({"logit_bias": ((9, 4.0), (5, -3.0))}, {"sequence_bias": [[[9], 4.0], [[5], -3.0]]}),
    ],
    ids=["repetition", "repetition and least length", "bias"],
)  # fmt: skip
def test_greedy_answers_are_those_of_generate(model, ours, theirs):
    expected = [generate(model, prompt, pad_token_id=EOS, **theirs) for prompt in PROMPTS]
    plain = [generate(model, prompt, pad_token_id=EOS) for prompt in PROMPTS]

    outputs = run_all(engine_of(model), *(asked(i, p, **ours) for i, p in enumerate(PROMPTS)))

    assert [tokens(outputs[str(i)]) for i in range(len(PROMPTS))] == expected
    # The comparison means something only if the parameter changes the answers.
    assert expected != plain


def test_logprobs_are_the_models_own(model):
    params = {"temperature": 0.8, "presence_penalty": 1.0, "logprobs": 3, "ignore_eos": True}
    reference = LlamaForCausalLM(model.config).eval()
    reference.load_state_dict(model.state_dict())

    outputs = run_all(engine_of(model), *(asked(i, p, **params) for i, p in enumerate(PROMPTS)))

    for i, prompt in enumerate(PROMPTS):
        got = outputs[str(i)]
        ids = torch.tensor([[*prompt, *tokens(got)]])
        with torch.inference_mode():
            logprobs = torch.log_softmax(reference(ids).logits[0, len(prompt) - 1 : -1], dim=-1)
        for output, row in zip(got, logprobs, strict=True):
            assert output.logprobs.logprob == pytest.approx(float(row[output.token_id]), abs=1e-4)
            top = row.topk(3)
            assert [token for token, _ in output.logprobs.top] == top.indices.tolist()
            values = [value for _, value in output.logprobs.top]
            assert values == pytest.approx(top.values.tolist(), abs=1e-4)


@pytest.mark.parametrize("call", [2, 14, 30])
@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.9, "top_k": 20, "min_p": 0.01},
        {"temperature": 0.8, "repetition_penalty": 1.1, "frequency_penalty": 0.4, "min_tokens": 20},
    ],
    ids=["drawn", "with penalties"],
)
def test_a_failed_step_changes_no_token_and_no_logprob(model, params, call):
    def requests():
        return [asked(i, p, logprobs=2, **params) for i, p in enumerate(PROMPTS)]

    engine = engine_of(model)
    undisturbed = run_all(engine, *requests())
    engine._runner = FaultyRunner(engine._runner)
    engine._runner.faults = {call: True}
    steps = Steps(engine)

    outputs = steps.run([(0, each) for each in requests()]).outputs

    assert steps.stepper.counts.faults == 1
    for name, expected in undisturbed.items():
        assert tokens(outputs[name]) == tokens(expected)
        for got, told in zip(outputs[name], expected, strict=True):
            assert got.logprobs.logprob == pytest.approx(told.logprobs.logprob, abs=1e-4)
            assert [i for i, _ in got.logprobs.top] == [i for i, _ in told.logprobs.top]


@pytest.mark.parametrize("at", [1, 13])
def test_an_answer_is_resumed_with_the_state_of_its_penalties(model, at):
    params = {
        "temperature": 0.9,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.4,
        "min_tokens": 20,
        "top_k": 20,
        "min_p": 0.01,
    }
    engine = engine_of(model)
    outputs = run_all(engine, *(asked(i, p, **params) for i, p in enumerate(PROMPTS)))
    whole = {name: tokens(each) for name, each in outputs.items()}

    resumed = [asked(i, p, whole[str(i)][:at], **params) for i, p in enumerate(PROMPTS)]
    rest = run_all(engine, *reversed(resumed))

    for name, ids in whole.items():
        assert ids[:at] + tokens(rest[name]) == ids
