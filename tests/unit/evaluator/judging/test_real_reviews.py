"""What a real judge wrote is not taken for an echo of the answers that it judged."""

import json

from services.evaluator.judging.assessment import Form
from services.evaluator.judging.verdicts import read_order
from shared.protocol.evals.spec import Mode
from tests.fakes.reviews import assessed, task


def test_no_verdict_of_a_real_judge_is_lost(eval_data):
    rows = [
        json.loads(line)
        for file in sorted((eval_data / "reviews").rglob("review.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    lost = []
    for row in rows:
        told = row["metadata"]
        question = {"turns": [told["question"]], "language": row["lang"]}
        assessment = assessed(task(Mode.ORDERING, *told["answers"], **question))
        ranks = assessment.read(Form.TEXT, row["text"], None).ranks
        if (None if ranks is None else tuple(ranks)) != read_order(
            row["text"], len(told["answers"])
        ).ranks:
            lost.append((row["review_id"], ranks))
    assert rows
    assert lost == []
