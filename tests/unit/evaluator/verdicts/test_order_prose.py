"""Orders told in sentences: read where one reading exists, and with low confidence."""

import pytest

from services.evaluator.judging.verdicts import read_order

SENTENCES = [
    ("A is better", 2, [1, 2]),
    ("Assistant 1 and 2 tie", 2, [1, 1]),
    ("Assistant 1 and Assistant 2 tie.", 2, [1, 1]),
    ("It's a tie.", 2, [1, 1]),
    ("助手1优于助手2", 2, [1, 2]),
    ("助手1比助手2更好。", 2, [1, 2]),
    ("两个助手一样好", 2, [1, 1]),
    ("回答B更好。", 2, [2, 1]),
    ("アシスタント1はアシスタント2より優れている", 2, [1, 2]),
    ("Neither is better than the other.", 2, [1, 1]),
    ("There is no difference between the two responses.", 2, [1, 1]),
    ("All four assistants are comparable in quality.", 4, [1, 1, 1, 1]),
    (
        "Assistant 1 and Assistant 2 are equally strong. Assistant 3 and Assistant 4 are equally average.",
        4,
        [1, 1, 3, 3],
    ),
    (
        "Assistant 1 and Assistant 4 are equally great, while Assistant 2 and Assistant 3 are equally weak.",
        4,
        [1, 3, 3, 1],
    ),
    ("Assistant 3 is the best, followed by Assistant 1, then Assistant 2.", 3, [2, 3, 1]),
    (
        "Assistant 2 is the most coherent, followed by Assistant 1 and Assistant 3, which are tied.",
        3,
        [2, 1, 2],
    ),
    (
        "Assistants 1, 2 and 4 are equally relevant, while Assistant 3 is less relevant.",
        4,
        [1, 1, 4, 1],
    ),
    ("Assistant 2 is the best, while the others are equally good.", 3, [2, 1, 2]),
    (
        "Assistant 1 is better than Assistant 2, and Assistant 2 is better than Assistant 3.",
        3,
        [1, 2, 3],
    ),
    ("Assistant 1 beats Assistant 2.", 2, [1, 2]),
    ("Assistant 2 outperforms the other.", 2, [2, 1]),
    ("The first answer is better than the second.", 2, [1, 2]),
    ("I prefer Assistant 2.", 2, [2, 1]),
    ("The winner is B.", 2, [2, 1]),
    ("The former is superior to the latter. Assistant 1 and Assistant 2.", 2, [1, 2]),
    ("Assistant 1 is slightly ahead of Assistant 2.", 2, [1, 2]),
    ("Assistant 1 equals Assistant 2", 2, [1, 1]),
    ("Assistant 1 is on par with Assistant 2.", 2, [1, 1]),
    ("Assistant 1's answer is worse than Assistant 2's.", 2, [2, 1]),
    ("Assistant 1 is less coherent than Assistant 2.", 2, [2, 1]),
    ("Both responses are equally good.", 2, [1, 1]),
    ("The two assistants are equally coherent.", 2, [1, 1]),
    ("Overall, both assistants have comparable quality.", 2, [1, 1]),
    ("I would say it is a tie.", 2, [1, 1]),
    ("They are equivalent (=).", 2, [1, 1]),
    ("They are on par.", 2, [1, 1]),
    ("Both answers deserve the same score.", 2, [1, 1]),
    ("Therefore, the relevance of both assistants is the same.", 2, [1, 1]),
    ("Thus, Assistant 1 and Assistant 2 are tied.", 2, [1, 1]),
    ("Assistant 1 and Assistant 2 have equal relevance.", 2, [1, 1]),
    (
        "In conclusion, there is no significant difference in coherence between Assistant 1 and Assistant 2.",
        2,
        [1, 1],
    ),
    ("There is no clear winner.", 2, [1, 1]),
    ("Overall, the two responses are of similar quality.", 2, [1, 1]),
    ("Assistant 1 is as good as Assistant 2.", 2, [1, 1]),
    ("Assistant 1 and Assistant 2 perform equally well.", 2, [1, 1]),
    ("Therefore, both assistants are equal in terms of immersion.", 2, [1, 1]),
    ("The diversity of Assistant 1 and Assistant 2 is equal.", 2, [1, 1]),
    ("Hence, they can be considered equal.", 2, [1, 1]),
    ("Therefore, I consider them to be equal.", 2, [1, 1]),
    ("Both assistants' responses are equally relevant.", 2, [1, 1]),
    ("So the order is '='.", 2, [1, 1]),
    ("Therefore, the ordering is: =.", 2, [1, 1]),
    ("Neither response is better than the other.", 2, [1, 1]),
    ("Both are equally immersive in their own way.", 2, [1, 1]),
    ("The coherence of the two responses is about the same.", 2, [1, 1]),
    ("Overall, the level of coherence is equal.", 2, [1, 1]),
    ("Assistant 1 and Assistant 2 are both equally effective.", 2, [1, 1]),
    ("I rate both equally.", 2, [1, 1]),
    ("Both responses tie.", 2, [1, 1]),
    ("Thus it's a draw between the two.", 2, [1, 1]),
    ("They rank equally.", 2, [1, 1]),
    ("Assistant 1 and 2 are indistinguishable in quality.", 2, [1, 1]),
    ("Assistant 1 ties with Assistant 2.", 2, [1, 1]),
    ("助手1和助手2不相上下。", 2, [1, 1]),
    ("助手1和助手2的回答一样好。", 2, [1, 1]),
    ("因此,两个回答质量相当。", 2, [1, 1]),
    ("All three assistants have equal quality (=).", 3, [1, 1, 1]),
    ("All three assistants are equally good.", 3, [1, 1, 1]),
    ("Overall, all the assistants performed equally well.", 3, [1, 1, 1]),
    ("Therefore, all three responses are equal.", 3, [1, 1, 1]),
    ("Assistant 1, Assistant 2, and Assistant 3 are equally relevant.", 3, [1, 1, 1]),
    ("Assistant 1, 2, and 3 are equally diverse.", 3, [1, 1, 1]),
    ("There is no noticeable difference in relevance among the three assistants.", 3, [1, 1, 1]),
    ("Therefore, all assistants have the same level of relevance (=).", 3, [1, 1, 1]),
    ("The three assistants are tied.", 3, [1, 1, 1]),
    ("They are all equal.", 3, [1, 1, 1]),
    ("All of them are equally good.", 3, [1, 1, 1]),
    ("Hence all three have equal immersion.", 3, [1, 1, 1]),
    ("Therefore, their relevance is equal (=).", 3, [1, 1, 1]),
    ("Therefore, the three assistants have similar levels of diversity.", 3, [1, 1, 1]),
    ("Each of the three assistants is equally relevant.", 3, [1, 1, 1]),
    ("Overall, Assistant 2's answer is more helpful than Assistant 1's answer.", 2, [2, 1]),
    ("I find Assistant 1 more coherent than Assistant 2.", 2, [1, 2]),
    ("Assistant 1 does a better job than Assistant 2.", 2, [1, 2]),
    ("Assistant 2 gives a more detailed answer, making it better than Assistant 1.", 2, [2, 1]),
    ("Assistant 2 is the better one.", 2, [2, 1]),
    ("The better response is Assistant 2.", 2, [2, 1]),
    ("Assistant 1 wins.", 2, [1, 2]),
    ("I choose Assistant 1.", 2, [1, 2]),
    ("Assistant 1 is superior.", 2, [1, 2]),
    ("Compared to Assistant 1, Assistant 2 is better.", 2, [2, 1]),
    ("Assistant 1 is inferior to Assistant 2.", 2, [2, 1]),
    ("Assistant 2 scores higher than Assistant 1.", 2, [2, 1]),
    ("Assistant 2 is slightly less relevant than Assistant 1.", 2, [1, 2]),
    ("My preference is Assistant 2 over Assistant 1.", 2, [2, 1]),
    ("Assistant 1 is preferred over Assistant 2.", 2, [1, 2]),
    ("Assistant 1 is better than Assistant 2, which is better than Assistant 3.", 3, [1, 2, 3]),
    ("Assistant 3 is better than Assistant 1 and Assistant 2, which are equal.", 3, [2, 2, 1]),
    ("Assistant 1 and Assistant 2 are equally good and better than Assistant 3.", 3, [1, 1, 3]),
    ("Assistant 1 and Assistant 3 tie for first, Assistant 2 is worst.", 3, [1, 3, 1]),
    (
        "Assistant 4 is the least relevant, while the other three assistants are equally relevant.",
        4,
        [1, 1, 1, 4],
    ),
    (
        "Assistant 1 and Assistant 2 are equally relevant, while Assistant 3 is less relevant than both.",
        3,
        [1, 1, 3],
    ),
    (
        "Assistant 1, Assistant 2 and Assistant 4 have equivalent coherence, and Assistant 3 is the least coherent.",
        4,
        [1, 1, 4, 1],
    ),
    ("Assistants 1 and 3 are the best (tie), followed by Assistant 2.", 3, [1, 3, 1]),
    ("The winner is Assistant A!", 2, [1, 2]),
    ("Assistant B's response is better.", 2, [2, 1]),
    ("Response A is better because it is clear.", 2, [1, 2]),
    ("B is better than A.", 2, [2, 1]),
    ("I think A is better.", 2, [1, 2]),
    ("A wins.", 2, [1, 2]),
    ("回答1比回答2差", 2, [2, 1]),
    ("我认为助手2的回答更好。", 2, [2, 1]),
    ("両者は互角です。アシスタント1とアシスタント2", 2, [1, 1]),
]


@pytest.mark.parametrize(("text", "n", "ranks"), SENTENCES)
def test_sentences_are_read(text, n, ranks):
    reading = read_order(text, n)
    assert reading.ranks == tuple(ranks)
    assert reading.confidence == "low"


def test_the_last_announced_verdict_counts():
    text = (
        "Assistant 2 is clearer than Assistant 1 at the start.\n"
        "It has gaps later on. Therefore, Assistant 1 is better than Assistant 2."
    )
    assert read_order(text, 2).ranks == (1, 2)


def test_a_verdict_that_is_taken_back_is_none():
    text = "Overall, Assistant 1 is better than Assistant 2. However, it depends on the reader."
    assert read_order(text, 2).ranks is None
