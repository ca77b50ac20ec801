"""The body of an eval is taken whole, or refused with all of its faults at once."""

import pytest

from services.evaluator.specs.findings import MAX_FAULTS
from shared.errors import InvalidSpec, Unavailable, UpstreamFailed
from shared.protocol.evals.base import MAX_QUESTIONS, MAX_TEXT
from shared.protocol.evals.spec import EvalSpec, Filter, Mode, Swap
from tests.fakes.spec_readers import Fleet, eval_body, faults_of, read_eval


async def test_every_default_stands_in_the_spec():
    spec = await read_eval(eval_body(dimensions=["general", "immersion"]))
    assert [question.id for question in spec.questions] == ["1", "play", "3"]
    assert spec.questions[0].turns == ["What is tea?"]
    assert spec.questions[2].references == ["1"]
    assert (spec.mode, spec.swap, spec.repeats) == (Mode.SCORING, Swap.NONE, 1)
    assert spec.applies_to == {"immersion": Filter(category=["roleplay"])}
    assert [judge.model for judge in spec.judges] == ["judge"]


async def test_a_spec_that_was_told_can_be_sent_again():
    spec = await read_eval(eval_body(dimensions=["general", "immersion"], swap="both"))
    told = spec.model_dump(mode="json")
    told.pop("openai")
    told.pop("graders")
    assert await read_eval(told) == spec
    assert EvalSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("form", "turns", "category", "language"),
    [
        ({"question_id": 7, "text": "Q", "category": "fermi", "lang": "en"}, ["Q"], "fermi", "en"),
        ({"id": 7, "query": "Q", "label": "fermi"}, ["Q"], "fermi", None),
        (
            {"question_id": 7, "category": "fermi", "turns": ["Q", "R"], "reference": ["a", "b"]},
            ["Q", "R"],
            "fermi",
            None,
        ),
        ({"id": "7", "turns": ["Q"], "language": "zh"}, ["Q"], None, "zh"),
    ],
)
async def test_questions_of_other_projects_files(form, turns, category, language):
    spec = await read_eval(eval_body(questions=[form]))
    [question] = spec.questions
    assert (question.id, question.turns) == ("7", turns)
    assert (question.category, question.language) == (category, language)


async def test_questions_as_lines_or_as_a_set():
    lines = '{"text": "a"}\n\n{"text": "b"}\n'
    spec = await read_eval(eval_body(questions=lines))
    assert [question.turns for question in spec.questions] == [["a"], ["b"]]
    assert [question.id for question in spec.questions] == ["1", "2"]
    spec = await read_eval(eval_body(questions="own"))
    assert [question.id for question in spec.questions] == ["own-1", "own-2"]
    assert set(await faults_of(read_eval(eval_body(questions="other")))) == {"/questions"}
    broken = await faults_of(read_eval(eval_body(questions='{"text": "a"}\n{')))
    assert "JSON" in broken["/questions/1"]


async def test_judges_in_each_form():
    body = eval_body(judge=["judge", {"model": "judge", "base_url_ref": "far"}])
    assert [judge.model for judge in (await read_eval(body)).judges] == ["judge", "far/judge"]
    spec = await read_eval(eval_body(judge="judge"))
    assert [judge.model for judge in spec.judges] == ["judge"]


async def test_all_faults_are_told_at_once():
    """Twelve of them and more, of every kind, without a single call to a model."""
    fleet = Fleet()
    faults = await faults_of(
        read_eval(
            {
                "name": "n" * 201,
                "metadata": {"k" * 65: "v", "k": "v" * 513},
                "questions": [
                    {},
                    {"text": " \n"},
                    {"text": 3, "colour": "red"},
                    {"text": "x" * (MAX_TEXT + 1)},
                    {"id": "1", "text": "the first one's id"},
                    {"text": "a", "turns": ["b"]},
                    "text",
                ],
                "dimensions": [
                    "general",
                    "beauty",
                    "general",
                    "immersion",
                    {"name": "tone", "criteria": "{anything} {{goes}}", "low": 5, "high": 5},
                    {"name": "relevance", "criteria": "mine"},
                    {"name": "b d", "criteria": " "},
                    4,
                ],
                "applies_to": {"immersion": {"category": "nothing"}, "other": "category=x"},
                "weights": {"general": -1, "humour": 2},
                "mode": "guessing",
                "judge": [
                    {"model": "unknown", "sampling": {"temperature": 9}},
                    {"model": "judge", "base_url_ref": "a/b"},
                    "",
                ],
                "swap": "twice",
                "repeats": 0,
                "baseline": "alpha",
                "metrics": ["bleu", "beauty"],
                "graders": [{}],
                "a/b~": 1,
            },
            fleet,
        )
    )
    assert set(faults) == {
        "/name",
        "/metadata/" + "k" * 64,
        "/metadata/k",
        "/questions/0/turns",
        "/questions/1/text",
        "/questions/2/text",
        "/questions/2/colour",
        "/questions/3/text",
        "/questions/4/id",
        "/questions/5/turns",
        "/questions/6",
        "/dimensions/1",
        "/dimensions/2",
        "/dimensions/3",
        "/dimensions/4/low",
        "/dimensions/5/name",
        "/dimensions/6/name",
        "/dimensions/6/criteria",
        "/dimensions/7",
        "/applies_to/other",
        "/weights/general",
        "/mode",
        "/judge/0/model",
        "/judge/0/sampling/temperature",
        "/judge/1/base_url_ref",
        "/judge/2",
        "/swap",
        "/repeats",
        "/baseline",
        "/metrics/1",
        "/graders",
        "/a~1b~0",
    }
    assert (fleet.looked_at, fleet.asked) == (1, [])
    assert "served" in faults["/judge/0/model"]


async def test_what_does_not_fit_together():
    together = {
        "/baseline": {"baseline": "alpha"},
        "/weights/other": {"weights": {"other": 1}},
        "/metrics": {"metrics": ["distinct_n", "distinct_n"]},
        "/metrics/0": {"metrics": ["chrf"], "questions": [{"text": "no reference"}]},
        "/dimensions/0": {"dimensions": ["integrity"]},
        "/swap": {"dimensions": [], "swap": "both"},
        "/alone": {"alone": True, "mode": "ordering"},
        "/judge/1": {"judge": ["judge", "judge"]},
        "/judge/model": {"judge": {"model": "nobody"}},
        "/judge": {"judge": "nobody"},
        "/judges": {"judge": "judge", "judges": ["judge"]},
        "/length_control": {"length_control": 3},
        "/questions": {"questions": []},
    }
    for pointer, changes in together.items():
        assert set(await faults_of(read_eval(eval_body(**changes)))) == {pointer}, pointer


async def test_a_dimension_applies_where_the_body_says_so():
    body = eval_body(
        dimensions=["integrity", "immersion", "general"],
        applies_to={"integrity": "category=math", "general": {"category": ["math", "roleplay"]}},
    )
    spec = await read_eval(body)
    assert spec.applies_to["integrity"] == Filter(category=["math"])
    assert spec.applies_to["immersion"] == Filter(category=["roleplay"])
    everywhere = eval_body(dimensions=["integrity"], applies_to={"integrity": {}})
    assert (await read_eval(everywhere)).applies_to == {"integrity": Filter()}


async def test_without_the_controller_nothing_passes_and_nothing_is_refused():
    fleet = Fleet()
    fleet.fault = UpstreamFailed("gone")
    with pytest.raises(Unavailable) as caught:
        await read_eval(eval_body(), fleet)
    assert (caught.value.status, caught.value.code) == (503, "models_unknown")
    assert caught.value.retry_after
    # Nothing to ask for: no need to know.
    await read_eval(eval_body(dimensions=[], judge=None), fleet)


async def test_faults_are_bounded_and_quote_no_text():
    body = eval_body(questions=[{"text": "", "secret": "s3cret"}] * 200)
    with pytest.raises(InvalidSpec) as caught:
        await read_eval(body)
    assert len(caught.value.faults) == MAX_FAULTS + 1
    assert caught.value.faults[-1] == ("", "and 300 more faults")
    assert "s3cret" not in str(caught.value)
    many = [{"text": "a"}] * (MAX_QUESTIONS + 1)
    assert set(await faults_of(read_eval(eval_body(questions=many)))) == {"/questions"}


async def test_a_line_of_questions_ends_where_json_lines_end():
    lines = '{"text": "a\u2028b\x85c"}\r\n\n{"text": "d"}'
    spec = await read_eval(eval_body(questions=lines))
    assert [question.turns for question in spec.questions] == [["a\u2028b\x85c"], ["d"]]
    broken = '{"text": "a"}\n{"text": "b"\n7'
    faults = await faults_of(read_eval(eval_body(questions=broken)))
    assert faults == {
        "/questions/1": "the line is not valid JSON",
        "/questions/2": "should be an object",
    }


async def test_length_control_is_part_of_the_spec():
    assert (await read_eval(eval_body())).length_control
    assert not (await read_eval(eval_body(length_control=False))).length_control
