"""Between which numbers the scores of a dimension lie."""

from services.evaluator.judging.scales import scales_of
from shared.protocol.evals.spec import EvalSpec, Grader, Rubric


def test_each_dimension_and_grader_has_its_scale():
    spec = EvalSpec(
        questions=[],
        dimensions=["general", Rubric(name="wit", criteria="Is it witty?", low=-2, high=2)],
        graders=[
            Grader(type="score_model", name="marks", range=(0, 15)),
            Grader(type="score_model", name="points"),
            Grader(type="string_check", name="same"),
            Grader(type="label_model", name="right"),
        ],
    )
    assert scales_of(spec, given=False) == {
        "general": (1, 10),
        "wit": (-2, 2),
        "marks": (0, 15),
        "points": (0, 1),
        "same": (0, 1),
        "right": (0, 1),
    }
    # Verdicts of other projects' judges may be 0; a scale that somebody stated stays.
    given = scales_of(spec, given=True)
    assert (given["general"], given["wit"], given["points"]) == ((0, 10), (-2, 2), (0, 1))
