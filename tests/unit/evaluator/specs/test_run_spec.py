"""The body of a run is taken whole, or refused with all of its faults at once."""

import pytest

from services.evaluator.jobs.plan import Plan
from services.evaluator.specs.candidates import Earlier
from services.evaluator.specs.execution import warnings_of
from services.evaluator.specs.size import reviews_of
from shared.errors import UpstreamTimeout
from shared.protocol.evals.run import Candidate, GivenAnswer, RunSpec, Sampling
from shared.protocol.evals.spec import (
    EvalSpec,
    Judge,
    JudgeSampling,
    Mode,
    Question,
    Rubric,
    Swap,
)
from tests.fakes.spec_readers import Fleet, eval_body, faults_of, read_eval, read_run


@pytest.fixture
async def spec():
    return await read_eval(eval_body())


@pytest.fixture
async def pairs():
    return await read_eval(eval_body(mode="pairwise", baseline="alpha"))


def answers(**texts):
    return [{"question_id": name, "turns": list(turns)} for name, turns in texts.items()]


async def test_conveniences(spec):
    request = await read_run(
        {
            "candidates": [
                "alpha",
                {"model": "alpha", "name": "again", "system": "Be brief."},
                {"model": "judge", "base_url_ref": "far"},
            ],
            "temperature": 0.5,
            "seed": 3,
            "dry_run": True,
        },
        spec,
    )
    names = [(each.name, each.model) for each in request.run.candidates]
    assert names == [("alpha", "alpha"), ("again", "alpha"), ("far/judge", "far/judge")]
    assert request.run.sampling == Sampling(temperature=0.5, seed=3)
    assert request.wishes.dry_run
    assert not request.wishes.force_new


async def test_all_faults_are_told_at_once(pairs):
    fleet = Fleet("alpha")
    faults = await faults_of(
        read_run(
            {
                "name": "n" * 201,
                "candidates": [
                    "unknown",
                    {"model": "beta", "answers": [{"question_id": "9", "text": "?"}]},
                    {"name": "given", "answers": answers(**{"1": ["a"], "play": ["a", "b"]})},
                    {"name": "given"},
                    {},
                    {"model": "unknown"},
                ],
                "temperature": 3,
                "max_tokens": 1.5,
                "limits": {"max_cost_usd": 0, "max_calls": 0, "deadline": -1},
                "concurrency": 0,
                "fail_on_error": "never",
                "answers_from_run": "evalrun_x",
                "questions": [],
                "dry_run": 1,
                "colour": "red",
            },
            pairs,
            fleet,
        )
    )
    assert set(faults) == {
        "/name",
        "/candidates/0",
        "/candidates/1/answers",
        "/candidates/1/model",
        "/candidates/2/answers",
        "/candidates/2/answers/1",
        "/candidates/3",
        "/candidates/3/name",
        "/candidates/4/name",
        "/candidates/5/model",
        "/candidates",
        "/temperature",
        "/max_tokens",
        "/limits/deadline",
        "/limits/max_cost_usd",
        "/limits/max_calls",
        "/concurrency",
        "/fail_on_error",
        "/answers_from_run",
        "/dry_run",
        "/questions",
        "/colour",
        "",
    }
    assert "'3'" in faults["/candidates/2/answers"]
    assert "judge" in faults[""]
    assert (fleet.looked_at, fleet.asked) == (1, [])


async def test_limits_of_zero(spec):
    limits = {"max_cost_usd": 0, "max_tokens": 0, "max_calls": 0, "max_judge_calls": 0}
    faults = await faults_of(read_run({"candidates": ["alpha"], "limits": limits}, spec))
    assert set(faults) == {f"/limits/{name}" for name in limits}


async def test_rivals(spec, pairs):
    for count, fits in {0: False, 1: False, 2: True, 26: True, 27: False}.items():
        rivals = ["alpha", *({"model": "beta", "name": f"b{n}"} for n in range(1, count))][:count]
        assert bool(await faults_of(read_run({"candidates": rivals}, pairs))) is not fits
    assert not await faults_of(read_run({"candidates": ["alpha"]}, spec))
    other = {"candidates": ["beta", "judge"]}
    assert set(await faults_of(read_run(other, pairs))) == {"/candidates"}


async def test_given_answers_need_no_model(spec):
    given = answers(**{"1": ["a"], "play": [""], "3": ["b", "c"]})
    fleet = Fleet("judge")
    request = await read_run({"candidates": [{"name": "x", "answers": given}]}, spec, fleet)
    assert [answer.turns for answer in request.run.candidates[0].answers] == [
        ["a"], [""], ["b", "c"],
    ]  # fmt: skip
    # All are there, so the model is never asked.
    await read_run({"candidates": [{"model": "old", "answers": given}]}, spec, fleet)
    faults = await faults_of(
        read_run({"candidates": [{"model": "old", "answers": given[:2]}]}, spec, fleet)
    )
    assert set(faults) == {"/candidates/0/model"}
    faults = await faults_of(
        read_run({"candidates": [{"name": "x", "answers": [*given, given[0]]}]}, spec)
    )
    assert set(faults) == {"/candidates/0/answers/3"}


async def test_answers_of_other_projects_files(spec):
    rows = [
        {"question_id": 1, "answer_id": "a", "model_id": "m", "text": "T", "metadata": {}},
        {"question_id": "play", "answer_id": "b", "model_id": "m", "tstamp": 1.5,
         "choices": [{"index": 0, "turns": ["T"]}]},
    ]  # fmt: skip
    request = await read_run({"candidates": [{"model": "alpha", "answers": rows}]}, spec)
    expected = [GivenAnswer(question_id=name, turns=["T"]) for name in ("1", "play")]
    assert request.run.candidates[0].answers == expected


async def test_answers_of_an_earlier_run(spec):
    before = Candidate(name="alpha", answers=[GivenAnswer(question_id="1", turns=["old"])])

    async def earlier(run_id):
        assert run_id == "evalrun_1"
        return Earlier({"alpha": before.model_copy(update={"model": "alpha"})})

    body = {"answers_from_run": "evalrun_1"}
    request = await read_run(body, spec, earlier=earlier)
    assert request.run.candidates[0].answers == before.answers
    chosen = {**body, "candidates": ["alpha", "beta"]}
    request = await read_run(chosen, spec, earlier=earlier)
    assert [candidate.answers for candidate in request.run.candidates] == [before.answers, None]


async def test_given_reviews_need_no_call():
    spec = await read_eval(eval_body(mode="ordering"))
    fleet = Fleet("none")
    ours = {"question_id": "1", "dimension": "general", "judge": "old", "lineup": ["x", "y"]}
    theirs = {
        "review_id": 1,
        "reviewer_id": "old",
        "lang": "en",
        "question_id": 3,
        "answer_ids": ["a", "b"],
        "category": "math",
        "metadata": {"model_ids": ["y", "x"], "question": "?", "answers": ["", ""]},
        "text": "Assistant 2 > Assistant 1",
        "order": [2, 1],
    }
    unread = {**theirs, "question_id": "play", "order": [-1, -1]}
    request = await read_run({"reviews": [{**ours, "ranks": [1, 1]}, theirs, unread]}, spec, fleet)
    assert [candidate.name for candidate in request.run.candidates] == ["x", "y"]
    read = [(each.lineup, each.ranks) for each in request.run.reviews]
    assert read == [(["x", "y"], [1, 1]), (["y", "x"], [2, 1]), (["y", "x"], None)]
    assert request.run.reviews[2].text == theirs["text"]

    faults = await faults_of(
        read_run(
            {
                "reviews": [
                    {**ours, "ranks": [1, 3]},
                    {**ours, "ranks": [1]},
                    {**ours, "scores": [1.0]},
                    {**ours, "lineup": ["x", "x"], "ranks": [1, 2]},
                    {**ours, "lineup": ["x"], "ranks": [1]},
                    {**ours, "dimension": "beauty", "ranks": [1, 2]},
                    {**ours, "question_id": "9", "ranks": [1, 2]},
                    ours,
                    {**ours, "judge": "", "repeat": -1, "ranks": [1, 2]},
                    {**ours, "ranks": [1, 2]},
                    {**ours, "ranks": [2, 1]},
                    {**ours, "lineup": ["x", "z"], "text": "x"},
                    3,
                ],
                "candidates": [{"name": "x"}, {"name": "y"}],
                "judge": "judge",
            },
            spec,
            fleet,
        )
    )
    assert set(faults) == {
        "/reviews/0/ranks", "/reviews/1/ranks", "/reviews/2/scores", "/reviews/3/lineup",
        "/reviews/4/lineup", "/reviews/5/dimension", "/reviews", "/reviews/7/ranks",
        "/reviews/8/judge", "/reviews/8/repeat", "/reviews/10", "/reviews/12", "/judge",
    }  # fmt: skip


async def test_a_judge_that_fails_is_told_before_anything_is_paid(spec):
    fleet = Fleet()
    body = {"candidates": ["alpha"], "check_judge": True}
    await read_run(body, spec, fleet)
    assert fleet.asked == ["judge"]

    class Silent(Fleet):
        async def ask(self, judge):  # noqa: ARG002 - as the fleet asks
            raise UpstreamTimeout("too long")

    faults = await faults_of(read_run(body, spec, Silent()))
    assert set(faults) == {"/check_judge"}


async def test_a_judge_is_needed_where_something_is_judged():
    spec = await read_eval({**eval_body(), "judge": None})
    assert set(await faults_of(read_run({"candidates": ["alpha"]}, spec))) == {"/judge"}
    own = {"candidates": ["alpha"], "judge": {"model": "far/judge"}}
    request = await read_run(own, spec)
    assert [judge.model for judge in request.run.judges] == ["far/judge"]
    bare = await read_eval({**eval_body(), "dimensions": [], "judge": None})
    assert not await faults_of(read_run({"candidates": ["alpha"]}, bare))


async def test_a_run_that_is_too_big_costs_nothing():
    questions = [{"text": "a"}] * 20_000
    body = eval_body(questions=questions, mode="pairwise", swap="both", repeats=32)
    spec = await read_eval(body)
    rivals = [{"model": "alpha", "name": f"a{n}"} for n in range(26)]
    faults = await faults_of(read_run({"candidates": rivals}, spec))
    assert f"{20_000 * 650 * 32} reviews" in faults["/candidates"]


def test_warnings():
    spec = EvalSpec(
        questions=[], dimensions=["general"], judges=[Judge(model="a")], mode=Mode.ORDERING
    )
    own, one_order = warnings_of(spec, RunSpec(candidates=[Candidate(name="x", model="a")]))
    assert "'a'" in own
    assert "one order" in one_order
    other = RunSpec(candidates=[Candidate(name="x", model="b")])
    again = spec.model_copy(update={"repeats": 2, "swap": Swap.BOTH})
    (cold,) = warnings_of(again, other)
    assert "temperature 0" in cold
    warm = Judge(model="a", sampling=JudgeSampling(temperature=0.7))
    assert warnings_of(again.model_copy(update={"judges": [warm]}), other) == []


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("swap", list(Swap))
@pytest.mark.parametrize("rivals", [1, 2, 5])
@pytest.mark.parametrize("baseline", [None, "c0"])
@pytest.mark.parametrize("alone", [False, True])
def test_the_size_is_the_plans(mode, swap, rivals, baseline, alone):
    spec = EvalSpec(
        questions=[
            Question(id="1", turns=["a"], category="roleplay"),
            Question(id="2", turns=["b"], category="math"),
        ],
        dimensions=["general", Rubric(name="tone", criteria="kind")],
        judges=[Judge(model="a"), Judge(model="b")],
        mode=mode,
        swap=swap,
        baseline=baseline,
        repeats=3,
        alone=alone,
        applies_to={"tone": {"category": ["math"]}},
    )
    run = RunSpec(candidates=[Candidate(name=f"c{n}") for n in range(rivals)])
    assert reviews_of(spec, run) == Plan(spec, run).reviews


async def test_money_without_end_is_no_limit(spec):
    run = {"candidates": ["alpha"], "limits": {"max_cost_usd": 1e300}}
    assert set(await faults_of(read_run(run, spec))) == {"/limits/max_cost_usd"}


async def test_of_several_types_that_of_the_value_is_spoken_of(spec):
    run = {"candidates": ["alpha"], "fail_on_error": -1}
    faults = await faults_of(read_run(run, spec))
    assert faults == {"/fail_on_error": "input should be greater than or equal to 0"}


async def test_a_setting_that_stands_twice_is_told_beside_other_faults(spec):
    run = {"candidates": ["alpha"], "seed": 1, "sampling": {"seed": 2, "top_k": 3}}
    assert set(await faults_of(read_run(run, spec))) == {"/seed", "/sampling/top_k"}


async def test_answers_of_an_earlier_run_that_nobody_can_give_are_a_fault(spec):
    turns = {"1": ["a"], "play": ["b"], "3": ["c", "d"]}
    whole = [GivenAnswer(question_id=name, turns=said) for name, said in turns.items()]

    def bringing(*candidates):
        async def earlier(_):
            return Earlier({candidate.name: candidate for candidate in candidates})

        return faults_of(read_run({"answers_from_run": "evalrun_x"}, spec, earlier=earlier))

    assert await bringing(Candidate(name="x", answers=whole)) == {}
    assert await bringing(Candidate(name="x", model="alpha", answers=whole[:1])) == {}
    assert await bringing(Candidate(name="x", model="gone", answers=whole)) == {}
    for lacking in (
        Candidate(name="x", answers=whole[:2]),
        Candidate(name="x"),
        Candidate(name="x", model="gone", answers=whole[:2]),
    ):
        assert set(await bringing(lacking)) == {"/answers_from_run"}
