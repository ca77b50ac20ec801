"""Deterministic mode: what a sequence gives depends on nothing but itself, to the last bit."""

from copy import deepcopy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence
from shared.protocol.priority import Priority
from tests.fakes.engines import make_engine, make_prompts, run
from tests.fakes.faulty_runner import FaultyRunner, Steps
from tests.fakes.tiny_models import make_model

pytestmark = pytest.mark.torch

COUNT = 14
SYSTEM = make_prompts(1, seed=11, lengths=[40])[0]
# Two begin alike and one is the other's next turn, so that there is something to reuse.
PROMPTS = [
    *make_prompts(3, seed=12, lengths=[1, 15, 16, 90]),
    *((*SYSTEM, *p) for p in make_prompts(2, seed=13, lengths=[9, 30])),
]
GREEDY = {"temperature": 0}
SAMPLED = {"temperature": 1.2, "top_k": 60, "top_p": 0.95}
PENALISED = {"temperature": 0.9, "min_p": 0.01, "presence_penalty": 0.6, "repetition_penalty": 1.1}
KINDS = [GREEDY, SAMPLED, PENALISED]
REQUESTS = [(prompt, kind) for prompt in PROMPTS for kind in KINDS]


def sequence(i, priority=Priority.INTERACTIVE, output_ids=()):
    """Return request `i`, which is the same however it comes."""
    prompt, kind = REQUESTS[i]
    params = SamplingParams(max_tokens=COUNT, seed=i, logprobs=2, **kind)
    return Sequence(str(i), 0, prompt, params, priority, output_ids=list(output_ids))


class Served:
    """A model in deterministic mode, and what it answers to each request alone."""

    def __init__(self, name, dtype):
        model = make_model(name, dtype)
        options = {"max_num_seqs": 4, "deterministic": True}
        lonely = make_engine(deepcopy(model), **options)
        # So short of memory that sequences are preempted.
        self.engine = make_engine(model, **options, kv_cache_tokens=450, prefix_cache_tokens=300)
        self.alone = []
        for i in range(len(REQUESTS)):
            self.alone.append(told(run(lonely, [(0, sequence(i))]), i))

    def empty(self):
        """End what an example that failed has left, and forget what was kept."""
        self.engine.recall()
        for left in self.engine.scheduler.waiting:
            self.engine.abort(left.request_id)
        self.engine.step()

    def resumed(self, i, cut):
        return [token for token, _ in self.alone[i][:cut]]


def told(answers, i):
    """Return tokens and logprobs."""
    outputs = answers.outputs.get(str(i), [])
    return [(o.token_id, o.logprobs) for o in outputs if o.token_id is not None]


MODELS = [
    ("llama", torch.float32),
    ("llama", torch.bfloat16),
    ("bloom", torch.float32),
    ("bloom", torch.bfloat16),
    ("gemma2", torch.float32),
    ("mistral, sliding", torch.bfloat16),
]


@pytest.fixture(scope="module", params=MODELS, ids=lambda param: f"{param[0]}, {param[1]}")
def served(request):
    return Served(*request.param)


def test_preempted_reused_and_resumed(served):
    engine = served.engine
    cuts = [(0, 0, 1, 5, COUNT - 2)[i % 5] for i in range(len(REQUESTS))]
    # Batch sequences come first and have all rows; interactive ones while they decode.
    arrivals = [
        (3 * i, sequence(i, Priority.INTERACTIVE, served.resumed(i, cut)))
        if i % 2
        else (0, sequence(i, Priority.BATCH, served.resumed(i, cut)))
        for i, cut in enumerate(cuts)
        if cut < len(served.alone[i])
    ]

    answers = run(engine, arrivals)

    assert engine.scheduler.preemptions >= 3
    assert engine.scheduler.prefixes.reused_tokens > 50
    for _, each in arrivals:
        i = int(each.request_id)
        assert told(answers, i) == served.alone[i][cuts[i] :]


@pytest.fixture
def faulty(served):
    """The runner, whose calls may fail."""
    served.empty()
    runner = served.engine._runner
    served.engine._runner = FaultyRunner(runner)
    yield served.engine._runner
    served.engine._runner = runner


def test_a_failed_step_changes_nothing(served, faulty):
    """Of several places: where prompts are prefilled, where outputs are decoded again."""
    numbers = range(0, len(REQUESTS), 2)
    for call in (2, 9, 23, 37):
        faulty.faults[faulty.calls + call] = call % 2 == 0
        steps = Steps(served.engine)

        answers = steps.run(
            [(3 * (i // 4), sequence(i, list(Priority)[i // 2 % 2])) for i in numbers]
        )

        assert steps.stepper.counts.faults == 1
        assert [told(answers, i) for i in numbers] == [served.alone[i] for i in numbers]


def test_who_fails_every_step_changes_nothing_for_the_others(served, faulty):
    numbers = range(6)
    faulty.fatal = lambda each: each.request_id == "2" and len(each.output_ids) > 3
    steps = Steps(served.engine)

    answers = steps.run([(0, sequence(i)) for i in numbers])

    assert answers.end(2) is FinishReason.ERROR
    assert told(answers, 2) == served.alone[2][: len(told(answers, 2))]
    others = [i for i in numbers if i != 2]
    assert [told(answers, i) for i in others] == [served.alone[i] for i in others]


@st.composite
def schedules(draw):
    """Draw who comes when, with which priority and how much of the answer, and who is aborted."""
    chosen = draw(st.lists(st.integers(0, len(REQUESTS) - 1), min_size=2, max_size=8, unique=True))
    return [
        (
            i,
            draw(st.integers(0, 12)),
            draw(st.sampled_from(Priority)),
            draw(st.one_of(st.just(0), st.integers(0, COUNT - 1))),
            draw(st.one_of(st.none(), st.none(), st.integers(1, 25))),
        )
        for i in chosen
    ]


@settings(
    deadline=None,
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(schedule=schedules())
def test_any_company_changes_nothing(served, schedule):
    served.empty()  # each example finds the engine so
    cuts = {i: min(cut, len(served.alone[i]) - 1) for i, _, _, cut, _ in schedule}
    arrivals = [
        (at, sequence(i, priority, served.resumed(i, cuts[i])))
        for i, at, priority, _, _ in schedule
    ]
    aborts = [(at, i) for i, _, _, _, at in schedule if at is not None]

    answers = run(served.engine, arrivals, aborts)

    for i, cut in cuts.items():
        expected = served.alone[i][cut:]
        if answers.end(i) is FinishReason.ABORT:
            expected = expected[: len(told(answers, i))]
        assert told(answers, i) == expected


def test_what_it_protects_from():
    """Without it company changes an answer's last bits: the same requests, alone and together."""
    model = make_model("llama", torch.bfloat16)
    engine = make_engine(model)
    numbers = range(0, len(REQUESTS), 3)
    alone = [told(run(engine, [(0, sequence(i))]), i) for i in numbers]

    answers = run(engine, [(0, sequence(i)) for i in numbers])

    assert [told(answers, i) for i in numbers] != alone
