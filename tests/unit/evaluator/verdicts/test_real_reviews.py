"""Real reviews are read as their authors labelled them, but for labels that are wrong."""

import json

import pytest

from services.evaluator.artefacts import legacy_order
from services.evaluator.judging.verdicts import read_order


@pytest.fixture(scope="module")
def reviews(eval_data):
    files = sorted(eval_data.glob("reviews/**/review.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_every_review_is_decoded_and_all_but_three_as_labelled(reviews):
    readings = [(read_order(row["text"], len(row["order"])), row["order"]) for row in reviews]
    assert len(readings) == 580
    assert all(reading.ranks for reading, _ in readings)
    # The chain in these three texts says something else than their labels.
    assert sum(list(reading.ranks) != order for reading, order in readings) == 3
    assert sum(reading.confidence == "high" for reading, _ in readings) >= 564


def test_llmzoos_own_reading_loses_those_that_were_labelled_by_hand(reviews):
    readings = [(legacy_order(row["text"], len(row["order"])), row["order"]) for row in reviews]
    lost = [order for read, order in readings if -1 in read]
    assert len(lost) == 38
    assert all(read == order for read, order in readings if -1 not in read)
