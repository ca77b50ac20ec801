"""The engine on real (tiny, random) models: the same tokens as transformers' own generate."""

from copy import deepcopy

import pytest
import torch
from structlog.testing import capture_logs
from transformers import BloomConfig, BloomForCausalLM, RoFormerConfig, RoFormerForCausalLM

from services.worker.engine.forward import make_forward
from services.worker.engine.kv_cache import KVCache
from services.worker.engine.model_runner import ModelRunner
from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence
from services.worker.engine.step import make_step
from services.worker.engine.trial import find_layout
from shared.errors import ConfigurationError, ModelNotSupported
from shared.protocol.priority import Priority
from tests.fakes.drafts import ForeseenDrafts
from tests.fakes.engines import greedy, make_engine, make_prompts, run
from tests.fakes.faulty_runner import FaultyRunner, Steps
from tests.fakes.generate import generate
from tests.fakes.tiny_models import (
    CONTEXT,
    DECODERS,
    EOS,
    MODELS,
    SMALL,
    VOCABULARY,
    make_model,
)

pytestmark = pytest.mark.torch

COUNT = 20


class Served:
    """One model twice: in an engine whose memory is short, and as transformers runs it alone."""

    def __init__(self, name):
        model = make_model(name)
        self._alone = deepcopy(model)
        self._known = {}
        # No prompt of some length fits a step, nor do four long sequences fit the cache.
        self.engine = make_engine(
            model, max_num_seqs=4, kv_cache_tokens=500, prefix_cache_tokens=300
        )

    def alone(self, prompt, count=COUNT):
        """Return what generate answers."""
        key = prompt, count
        if key not in self._known:
            self._known[key] = generate(self._alone, prompt, count)
        return self._known[key]


@pytest.fixture(scope="module", params=MODELS)
def served(request):
    return Served(request.param)


def test_batched_in_chunks_and_short_of_memory(served):
    prompts = make_prompts(9)
    lengths = [(5, COUNT, 13)[i % 3] for i in range(9)]
    expected = [served.alone(p)[:n] for p, n in zip(prompts, lengths, strict=True)]

    arrivals = [(i // 2 * 3, greedy(i, p, lengths[i])) for i, p in enumerate(prompts)]
    answers = run(served.engine, arrivals, aborts=[(5, 1), (14, 7)])

    for i, reference in enumerate(expected):
        got = answers.tokens(i)
        if i in (1, 7):
            assert got == reference[: len(got)]
            assert answers.end(i) is FinishReason.ABORT or got == reference
            continue
        assert got == reference
        assert answers.end(i) is (FinishReason.STOP if got[-1] == EOS else FinishReason.LENGTH)
    # The comparison means something only if most answers are not one repeated token.
    wanders = [len(set(served.alone(p))) > 3 for p in prompts if len(served.alone(p)) > 10]
    assert sum(wanders) > len(wanders) / 2


def test_preempted(served):
    prompts = make_prompts(9)
    preemptions = served.engine.scheduler.preemptions
    # Batch sequences fill the slots; interactive ones come when they have run for a while.
    arrivals = [
        (0, greedy(i, p, COUNT, Priority.BATCH)) if i < 4 else (i, greedy(i, p, COUNT))
        for i, p in enumerate(prompts)
    ]

    answers = run(served.engine, arrivals)

    assert served.engine.scheduler.preemptions >= preemptions + 2
    assert [answers.tokens(i) for i in range(9)] == [served.alone(p) for p in prompts]


def test_prefixes_reused(served):
    system = make_prompts(1, seed=6, lengths=[50])[0]
    prompts = [(*system, *p) for p in make_prompts(3, seed=7, lengths=[1, 20])]
    turns = [(*p, *served.alone(p), 7, 8, 9) for p in prompts]
    reused = served.engine.scheduler.prefixes.reused_tokens
    # The second time all is known; there is too little room for it all, so some is forgotten.
    arrivals = [(i // 2, greedy(i, p, COUNT)) for i, p in enumerate((*prompts, *prompts))]
    arrivals += [(60 + i, greedy(6 + i, p, COUNT)) for i, p in enumerate(turns)]

    answers = run(served.engine, arrivals)

    assert served.engine.scheduler.prefixes.reused_tokens > reused + 150
    expected = [served.alone(p) for p in (*prompts, *prompts, *turns)]
    assert [answers.tokens(i) for i in range(9)] == expected
    cache = served.engine._runner.cache
    assert cache.running_tokens == 0
    assert 0 < cache.kept_tokens == served.engine.scheduler.prefixes.tokens


def test_resumed(served):
    prompts = make_prompts(9)[:6]
    cuts = [min(1 + i * 3, len(served.alone(p)) - 1) for i, p in enumerate(prompts)]
    arrivals = [
        (i, greedy(i, p, COUNT, output_ids=served.alone(p)[:cut]))
        for i, (p, cut) in enumerate(zip(prompts, cuts, strict=True))
    ]

    answers = run(served.engine, arrivals)

    for i, (prompt, cut) in enumerate(zip(prompts, cuts, strict=True)):
        assert answers.tokens(i) == served.alone(prompt)[cut:]


def test_after_a_failed_step(served):
    """With drafts by lookup, where the model takes them, and of choices that begin alike."""
    runner = served.engine._runner
    faulty = served.engine._runner = FaultyRunner(runner)
    faulty.faults = {12: True, 60: False}
    prompts = [*make_prompts(6), *make_prompts(1, seed=6, lengths=[50]) * 3]
    steps = Steps(served.engine)

    answers = steps.run([(i // 2 * 2, greedy(i, p, COUNT)) for i, p in enumerate(prompts)])

    served.engine._runner = runner
    assert steps.stepper.counts.faults == 2
    assert [answers.tokens(i) for i in range(len(prompts))] == [served.alone(p) for p in prompts]


@pytest.mark.parametrize("wrong", [0, 3, 1], ids=["right", "some wrong", "all wrong"])
def test_drafts_change_when_tokens_come_and_not_which(served, wrong):
    scheduler = served.engine.scheduler
    if not served.engine._runner.takes_drafts:
        assert scheduler.limits.draft_tokens == 0
        return
    prompts = make_prompts(9)
    lookup = scheduler.drafts
    scheduler.drafts = ForeseenDrafts(
        5, lambda s, count: served.alone(s.prompt_ids)[len(s.output_ids) :][:count], wrong
    )
    arrivals = [(i // 2 * 3, greedy(i, p, COUNT)) for i, p in enumerate(prompts)]

    answers = run(served.engine, arrivals, aborts=[(5, 1)])

    drafts, scheduler.drafts = scheduler.drafts, lookup
    for i, prompt in enumerate(prompts):
        got = answers.tokens(i)
        assert got == served.alone(prompt)[: len(got)]
        assert i == 1 or len(got) == len(served.alone(prompt))
    assert drafts.drafted_tokens > 60
    share = drafts.accepted_tokens / drafts.drafted_tokens
    assert {0: share > 0.8, 3: 0.1 < share < 0.9, 1: share < 0.2}[wrong]


def logged(name):
    with capture_logs() as logs:
        make_engine(make_model(name))
    return [entry["event"] for entry in logs]


def test_what_runs_slower_than_it_could_is_told():
    assert logged("llama") == []
    assert logged("gpt2") == ["own_structure"]
    assert logged("bloom") == ["own_attention"]


@pytest.mark.parametrize("name", DECODERS)
def test_the_own_forward_pass_and_that_of_transformers_give_the_same_logits(name):
    """Of every token, not of the likeliest alone."""
    model = make_model(name)
    (prompt,) = make_prompts(1, lengths=[120])
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([prompt])).logits[0]

    forward = make_forward(model)
    cache = KVCache(find_layout(model, forward))
    sequence = greedy("a", prompt, 1)
    step = make_step((), (Chunk(sequence, 0, 120, 120),), cache, torch.device("cpu"))
    with torch.inference_mode():
        logits = forward.logits(step, None)

    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_own_attention_that_takes_every_row_for_as_long_as_the_longest_is_refused():
    torch.manual_seed(0)
    config = RoFormerConfig(**SMALL | {"pad_token_id": 0}, intermediate_size=64, is_decoder=True)
    model = RoFormerForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)

    with pytest.raises(ModelNotSupported, match="does not work with rows of different lengths"):
        make_engine(model)


def test_the_context_ends_an_answer():
    engine = make_engine(make_model(), max_model_len=40)
    params = SamplingParams(max_tokens=1000, seed=0, temperature=0, ignore_eos=True)

    answers = run(engine, [(0, Sequence("a", 0, (9,) * 30, params))])

    assert len(answers.tokens("a")) == 10
    assert answers.end("a") is FinishReason.LENGTH


def sampled(name, prompt, *, seed=42, choice=0, output_ids=()):
    params = SamplingParams(max_tokens=25, seed=seed, temperature=0.8, top_p=0.9, ignore_eos=True)
    return Sequence(str(name), choice, prompt, params, output_ids=list(output_ids))


def test_a_seed_gives_the_same_tokens_and_another_seed_others():
    prompt = make_prompts(1)[0]
    arrivals = [
        (0, sampled("a", prompt)),
        (3, sampled("same", prompt)),
        (5, sampled("seed", prompt, seed=43)),
        (7, sampled("choice", prompt, choice=1)),
    ]

    answers = run(make_engine(make_model()), arrivals)

    assert answers.tokens("same") == answers.tokens("a")
    assert answers.tokens("seed") != answers.tokens("a") != answers.tokens("choice")


def test_sampling_does_not_depend_on_the_batch():
    """In float32 not to the last bit, yet no token changes."""
    prompts = make_prompts(10, seed=2)
    engine = make_engine(make_model())
    alone = [run(engine, [(0, sampled(i, p, seed=i))]).tokens(i) for i, p in enumerate(prompts)]

    arrivals = [(i // 2, sampled(i, p, seed=i)) for i, p in enumerate(prompts)]
    arrivals += [(1, greedy("greedy", prompts[0], 30))]
    together = run(engine, arrivals, aborts=[(9, 3)])

    for i, expected in enumerate(alone):
        got = together.tokens(i)
        assert got == expected[: len(got)]
        assert i == 3 or len(got) == 25


def test_drafts_do_not_change_what_is_sampled():
    prompts = make_prompts(8, seed=2)
    plain = make_engine(make_model(), draft_tokens=0)
    alone = {p: run(plain, [(0, sampled(i, p))]).tokens(i) for i, p in enumerate(prompts)}
    engine = make_engine(make_model())
    engine.scheduler.drafts = ForeseenDrafts(
        4, lambda s, count: alone[s.prompt_ids][len(s.output_ids) :][:count], wrong=4
    )

    answers = run(engine, [(i // 2, sampled(i, p)) for i, p in enumerate(prompts)])

    assert [answers.tokens(i) for i in range(8)] == [alone[p] for p in prompts]
    assert engine.scheduler.drafts.accepted_tokens > 50


def test_a_draft_that_gives_no_numbers_fails_its_own_sequence_alone():
    """Only what a sequence holds is drafted, so it would have come to it in any case."""
    model = make_model()
    alone = deepcopy(model)
    poison = 5
    prompts = make_prompts(6, seed=4)
    with torch.no_grad():
        model.get_input_embeddings().weight[poison] = float("nan")
    engine = make_engine(model)
    engine.scheduler.drafts = ForeseenDrafts(
        3, lambda s, count: [poison] * count if s.request_id == "bad" else []
    )

    arrivals = [(i // 2, greedy(i, p, COUNT)) for i, p in enumerate(prompts)]
    answers = run(engine, [(0, greedy("bad", prompts[0], COUNT)), *arrivals])

    assert [answers.tokens(i) for i in range(6)] == [generate(alone, p, COUNT) for p in prompts]
    assert answers.end("bad") is FinishReason.ERROR
    assert engine.scheduler.drafts.drafted_tokens == 3


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", ["llama", "bloom"])
def test_a_poisoned_token_fails_its_own_sequence_alone(name, deterministic):
    model = make_model(name)
    alone = deepcopy(model)
    prompts = make_prompts(6, seed=4)
    poison = 5
    # Longer than what takes its row next, so that nothing else overwrites it.
    bad = (7, poison, *[8] * 100)
    with torch.no_grad():
        model.get_input_embeddings().weight[poison] = float("nan")

    arrivals = [(i, greedy(i, p, COUNT)) for i, p in enumerate(prompts)]
    arrivals += [(at, greedy(f"bad{at}", bad, COUNT)) for at in range(0, 12, 2)]
    engine = make_engine(model, deterministic=deterministic, prefix_cache_tokens=500)
    answers = run(engine, arrivals)

    assert [answers.tokens(i) for i in range(6)] == [generate(alone, p, COUNT) for p in prompts]
    assert {answers.end(f"bad{at}") for at in range(0, 12, 2)} == {FinishReason.ERROR}


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_token_that_is_drawn_and_poisoned_fails_its_own_row_alone(deterministic):
    """The row decodes beside others, is wiped, and is another sequence's next."""
    model = make_model()
    alone = deepcopy(model)
    prompts = make_prompts(7, seed=4, lengths=[7, 30])
    victim = generate(alone, prompts[0], COUNT)
    poison = victim[4]
    expected = [generate(alone, p, COUNT) for p in prompts]
    assert len(set(victim)) > 5
    with torch.no_grad():
        model.model.embed_tokens.weight[poison] = float("nan")
    safe = [
        i
        for i, (p, e) in enumerate(zip(prompts, expected, strict=True))
        if poison not in p + tuple(e)
    ]

    engine = make_engine(model, max_num_seqs=3, deterministic=deterministic)
    answers = run(engine, [(i // 2, greedy(i, p, COUNT)) for i, p in enumerate(prompts)])

    assert len(safe) >= 3
    for i in safe:
        assert answers.tokens(i) == expected[i]
    assert answers.end(0) is FinishReason.ERROR
    assert answers.tokens(0) == victim[: victim.index(poison) + 1]


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom"])
def test_a_prompt_that_cannot_be_computed_fails_alone(name, deterministic):
    model = make_model(name)
    prompts = make_prompts(5, seed=5, lengths=[7, 30, 70])
    expected = [generate(model, p, COUNT) for p in prompts]
    # In the first chunk, and in a later one beside other prompts' chunks and rows.
    beyond = [(VOCABULARY,), (*[9] * 45, VOCABULARY)]

    arrivals = [(i // 2, greedy(i, p, COUNT)) for i, p in enumerate(prompts)]
    arrivals += [(1, greedy(f"bad{i}", p, COUNT)) for i, p in enumerate(beyond)]
    engine = make_engine(model, deterministic=deterministic)
    with capture_logs() as logs:
        answers = run(engine, arrivals)

    assert [answers.tokens(i) for i in range(5)] == expected
    assert {answers.end(f"bad{i}") for i in range(2)} == {FinishReason.ERROR}
    failed = [log["request_id"] for log in logs if log["event"] == "prefill_failed"]
    assert failed == ["bad0", "bad1"]


class LostDevice:
    """A forward pass on a GPU that is gone."""

    def logits(self, *_):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")


def test_a_device_that_fails_is_blamed_on_no_prompt():
    """Else each prompt would fail alone, and a worker without a GPU would go on taking them."""
    engine = make_engine(make_model())
    engine._runner._forward = LostDevice()
    for i, prompt in enumerate(make_prompts(2, seed=5)):
        engine.add(greedy(i, prompt, COUNT))

    with pytest.raises(torch.AcceleratorError):
        engine.step()
    assert engine.recall() == []


def test_a_budget_below_the_context_shortens_the_context():
    runner = ModelRunner(
        make_model(),
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


def test_memory_follows_the_tokens_and_is_given_back():
    """The share of what is allocated that holds nothing, over a mixed load's time."""
    engine = make_engine(make_model(), max_num_seqs=8)
    cache = engine._runner.cache
    prompts = make_prompts(24, seed=8, lengths=range(50, 180))
    held = allocated = 0
    coming = [greedy(i, p, 10 + i * 3 % 40) for i, p in enumerate(prompts)]
    while engine.has_work or coming:
        while coming and not engine.scheduler.waiting:
            engine.add(coming.pop())
        engine.step()
        held += engine.scheduler.kv_tokens_held
        allocated += cache.running_tokens

    assert 1 - held / allocated <= 0.25
    assert cache.running_tokens == 0


class Forgetful(BloomForCausalLM):
    """A model that ignores the cache it is given."""

    def forward(self, input_ids, **kwargs):
        return super().forward(input_ids, **kwargs | {"use_cache": False, "past_key_values": None})


def test_a_model_that_does_not_use_the_cache_is_refused():
    with pytest.raises(ModelNotSupported, match="for 0 layers only"):
        make_engine(Forgetful(BloomConfig(**SMALL)).eval())
