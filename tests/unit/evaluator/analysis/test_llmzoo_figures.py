"""Real reviews of four and two answers each: our figures against plain counting and other fits."""

import itertools
import json
from collections import defaultdict

import numpy as np
import pytest
from scipy import optimize

from services.evaluator.analysis.results import results_of
from services.evaluator.analysis.rows import AnswerRow, Review
from tests.fakes.judged_worlds import options

SETS = ("review_output", "review_en_13b")
DIMENSIONS = ("general", "relevance", "diversity", "coherence", "immersion")
ALIASES = {"vicuna-13": "vicuna-13b"}


def cell(folder, name, dimension):
    text = (folder / "reviews" / name / "en" / dimension / "review.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines() if line]


def rows_of(folder, sets, dimensions):
    reviews, answers = [], {}
    for name, dimension in itertools.product(sets, dimensions):
        for row in cell(folder, name, dimension):
            lineup = tuple(ALIASES.get(each, each) for each in row["metadata"]["model_ids"])
            question = str(row["question_id"])
            about = (question, row["category"], row["lang"])
            reviews.append(
                Review(*about, dimension, row["reviewer_id"], 0, lineup, tuple(row["order"]))
            )
            for candidate, text in zip(lineup, row["metadata"]["answers"], strict=True):
                answers[question, candidate] = AnswerRow(*about, candidate, text)
    return reviews, list(answers.values())


def outcomes(reviews):
    """Each pair of each review: question, who stood before whom, and what the first got."""
    for review in reviews:
        for one, other in itertools.combinations(range(len(review.lineup)), 2):
            ahead = review.ranks[other] - review.ranks[one]
            yield (
                review.question,
                review.lineup[one],
                review.lineup[other],
                1.0 if ahead > 0 else 0.0 if ahead < 0 else 0.5,
            )


@pytest.fixture(scope="module")
def everything(eval_data):
    reviews, answers = rows_of(eval_data, SETS, DIMENSIONS)
    candidates = list(dict.fromkeys(name for review in reviews for name in review.lineup))
    return reviews, answers, results_of(reviews, answers, options(candidates))


def test_longer_and_first_listed_are_what_plain_counting_gives(everything):
    reviews, answers, results = everything
    length = {(each.question, each.candidate): len(each.text) for each in answers}
    decided = [row for row in outcomes(reviews) if row[3] != 0.5]
    first = sum(won for *_, won in decided)
    unequal = [row for row in decided if length[row[0], row[1]] != length[row[0], row[2]]]
    longer = sum(
        (length[question, a] > length[question, b]) == (won == 1.0)
        for question, a, b, won in unequal
    )
    share = results.position[0].first_share
    assert (share.value, share.n) == (pytest.approx(first / len(decided)), len(decided))
    bias = results.length[0].longer_share
    assert (bias.value, bias.n) == (pytest.approx(longer / len(unequal)), len(unequal))
    assert share.interval.low > 0.55
    assert bias.interval.low > 0.6


def test_ratings_are_those_of_an_independent_logistic_fit(everything):
    reviews, _, results = everything
    names = results.scopes[0].candidates
    place = {each.candidate: number for number, each in enumerate(names)}
    rows = list(outcomes(reviews))
    one = np.array([place[a] for _, a, _, _ in rows])
    other = np.array([place[b] for _, _, b, _ in rows])
    won = np.array([row[3] for row in rows])

    def loss(strengths):
        odds = strengths[one] - strengths[other]
        return (np.logaddexp(0, odds) - won * odds).sum() + 1e-9 * (strengths**2).sum()

    found = optimize.minimize(loss, np.zeros(len(names)), method="BFGS", options={"gtol": 1e-7})
    expected = 1000 + 400 / np.log(10) * (found.x - found.x.mean())
    for each in names:
        assert each.rating.value == pytest.approx(expected[place[each.candidate]], abs=0.01)


def test_who_is_compared_with_one_other_alone_stands_as_far_away_as_their_shares_say(everything):
    _, _, results = everything
    rating = {each.candidate: each.rating.value for each in results.scopes[0].candidates}
    pair = next(
        each
        for each in results.scopes[0].pairs
        if {each.first, each.second} == {"vicuna-13b", "chimera-13b"}
    )
    share = (pair.wins + pair.ties / 2) / (pair.wins + pair.ties + pair.losses)
    apart = rating[pair.first] - rating[pair.second]
    assert apart == pytest.approx(400 * np.log10(share / (1 - share)), abs=0.01)
    assert apart == pytest.approx(12.02 + 3.57, abs=0.02)


def krippendorff(units):
    """Krippendorff's alpha with the ordinal metric, as his formula is written."""
    values = sorted({value for unit in units for value in unit})
    coincidences = defaultdict(float)
    for unit in units:
        for a, b in itertools.permutations(range(len(unit)), 2):
            coincidences[unit[a], unit[b]] += 1 / (len(unit) - 1)
    totals = {v: sum(coincidences[v, other] for other in values) for v in values}
    everything = sum(totals.values())

    def distance(a, b):
        low, high = min(a, b), max(a, b)
        between = sum(totals[v] for v in values if low <= v <= high)
        return (between - (totals[a] + totals[b]) / 2) ** 2

    pairs = list(itertools.product(values, values))
    observed = sum(coincidences[pair] * distance(*pair) for pair in pairs)
    expected = sum(totals[a] * totals[b] * distance(a, b) for a, b in pairs)
    return 1 - (everything - 1) * observed / expected


@pytest.mark.parametrize(
    ("name", "published"), [("review_output", 0.3129), ("review_en_13b", 0.19)]
)
def test_dimensions_agree_as_published(eval_data, name, published):
    reviews, answers = rows_of(eval_data, [name], DIMENSIONS)
    agreement = next(
        each
        for each in results_of(reviews, answers, options(())).agreement
        if each.between == "dimensions"
    )
    # Immersion is for 10 of 70 questions only.
    assert agreement.names == list(DIMENSIONS[:4])
    units = defaultdict(list)
    for review in reviews:
        if review.dimension != "immersion":
            for candidate, rank in zip(review.lineup, review.ranks, strict=True):
                units[review.question, candidate].append(rank)
    assert agreement.alpha.value == pytest.approx(krippendorff(list(units.values())), abs=1e-9)
    assert agreement.alpha.value == pytest.approx(published, abs=0.0001)
    assert agreement.alpha.interval.low < published < agreement.alpha.interval.high


def test_few_neighbours_in_the_published_rankings_differ(eval_data):
    """14 of 35 pairs and 4 of 20 neighbours by a plain bootstrap of 4,000 draws."""
    separate = neighbours = total = 0
    for name, dimension in itertools.product(SETS, DIMENSIONS):
        reviews, answers = rows_of(eval_data, [name], [dimension])
        scope = results_of(reviews, answers, options((), resamples=2000)).scopes[0]
        by_rank = sorted(scope.candidates, key=lambda each: each.mean_rank.value)
        place = {each.candidate: number for number, each in enumerate(by_rank)}
        for pair in scope.pairs:
            interval = pair.difference.interval
            differs = interval.low > 0 or interval.high < 0
            total += 1
            separate += differs
            neighbours += differs and abs(place[pair.first] - place[pair.second]) == 1
            # After Holm no pair is separable that is not so by itself.
            assert pair.p_holm >= pair.p
    assert total == 35
    assert abs(separate - 14) <= 2
    assert abs(neighbours - 4) <= 2


def test_mean_ranks_and_scores_are_those_of_the_artefacts(eval_data):
    reviews, answers = rows_of(eval_data, ["review_en_13b"], ["general"])
    scope = results_of(reviews, answers, options(())).scopes[0]
    folder = eval_data / "reviews" / "review_en_13b" / "en" / "general"
    published = json.loads((folder / "metric.json").read_text("utf-8"))
    for name, values in published.items():
        figures = next(
            each for each in scope.candidates if each.candidate == ALIASES.get(name, name)
        )
        assert figures.mean_rank.value == pytest.approx(values["order"])
        assert figures.rank_score.value == pytest.approx(values["score"])
        assert figures.mean_rank.n == 70
