"""Orders in the forms that judges write: signs, names, lists, tables, brackets, JSON."""

# ruff: noqa: RUF001 - such characters are what judges write

import pytest

from services.evaluator.judging.verdicts import OrderRule, parse_order, read_order

FORMS = [
    (
        "Therefore, the order is: Assistant 2 > Assistant 3 = Assistant 4, with the other one last.",
        4,
        [4, 1, 2, 2],
    ),
    (
        "The order is: Assistant 2 > Assistant 3 = Assistant 4.\n\nIt was close. I hope this helps.",
        4,
        [4, 1, 2, 2],
    ),
    (
        "Order: Assistant 3 > Assistant 4. Assistant 1 and Assistant 2 are off topic.",
        4,
        [3, 3, 1, 2],
    ),
    (
        "Assistant 1 = Assistant 2 = Assistant 3 = Assistant 4 (all equally coherent)",
        4,
        [1, 1, 1, 1],
    ),
    ("In summary, Assistant 1 = Assistant 2.", 2, [1, 1]),
    ("I would rank Assistant 2 first and Assistant 1 second.", 2, [2, 1]),
    ("Assistant 1 > Assistant 2", 2, [1, 2]),
    ("Assistant 1 = Assistant 2 = Assistant 3 > Assistant 4", 4, [1, 1, 1, 4]),
    ("Assistant 1 >= Assistant 2 > Assistant 3", 3, [1, 2, 3]),
    ("Assistant 1 < Assistant 2", 2, [2, 1]),
    ("Assistant 1>Assistant 2", 2, [1, 2]),
    ("**Assistant 1** > **Assistant 2**", 2, [1, 2]),
    ("Assistant 1 > 2", 2, [1, 2]),
    ("Assistant A > Assistant B", 2, [1, 2]),
    ("assistant 1 > assistant 2", 2, [1, 2]),
    ("助手1 > 助手2", 2, [1, 2]),
    (
        'The answer says "Assistant 2 > Assistant 1".\nMy verdict: Assistant 1 > Assistant 2',
        2,
        [1, 2],
    ),
    (
        "Assistant 2 > Assistant 1 is what the answer claims.\n\nAssistant 1 > Assistant 2",
        2,
        [1, 2],
    ),
    (
        "Assistant 1 > Assistant 2 > Assistant 3 > Assistant 4 > Assistant 5 > Assistant 6 > Assistant 7 > Assistant 8 > Assistant 9 > Assistant 10",
        10,
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    ),
    ("[[A]]", 2, [1, 2]),
    ("[[B]]", 2, [2, 1]),
    ("[[C]]", 2, [1, 1]),
    ("[[A>B]]", 2, [1, 2]),
    ("My final verdict is: [[B>>A]]", 2, [2, 1]),
    ("[[A=B]]", 2, [1, 1]),
    ("1. Assistant 2\n2. Assistant 1", 2, [2, 1]),
    ("1. Assistant 2\n2. Assistant 3\n3. Assistant 1", 3, [3, 1, 2]),
    ("Ranking:\n1. Assistant 2 - more detailed\n2. Assistant 1 - short", 2, [2, 1]),
    ("Assistant 1 ＞ Assistant 2 ＝ Assistant 3", 3, [1, 2, 2]),
    ("Assistant 1 ≥ Assistant 2", 2, [1, 2]),
    ("Assistant 1 ≈ Assistant 2", 2, [1, 1]),
    ("Verdict: tie", 2, [1, 1]),
    ("$\\text{Assistant 1} \\succ \\text{Assistant 2}$", 2, [1, 2]),
    ("```\nAssistant 2 > Assistant 1\n```", 2, [2, 1]),
    ('{"reason": "x", "order": ["Assistant 2","Assistant 1"]}', 2, [2, 1]),
    ('```json\n{"winner": "A"}\n```', 2, [1, 2]),
    ('{"ranks":[1,1,3]}', 3, [1, 1, 3]),
    ('{"verdict":"Assistant 1 > Assistant 2"}', 2, [1, 2]),
    ("<think>Assistant 1 > Assistant 2?</think>Assistant 2 > Assistant 1", 2, [2, 1]),
    ("| Rank | Assistant |\n|---|---|\n| 1 | Assistant 2 |\n| 2 | Assistant 1 |", 2, [2, 1]),
    ("| Assistant | Rank |\n|---|---|\n| Assistant 1 | 2 |\n| Assistant 2 | 1 |", 2, [2, 1]),
    ("Assistant 1: 2nd\nAssistant 2: 1st", 2, [2, 1]),
    ("1st place: Assistant B\n2nd place: Assistant A", 2, [2, 1]),
    ("第一名：助手2\n第二名：助手1", 2, [2, 1]),
    ("Ranking: Assistant 2, Assistant 1, Assistant 3", 3, [2, 1, 3]),
    ("Ranking (worst to best): Assistant 2, Assistant 1, Assistant 3", 3, [2, 3, 1]),
    ("My order: Assistant 2 > Assistant 1 = Assistant 3.", 4, [2, 1, 2, 4]),
    ("(Assistant 1 = Assistant 2) > Assistant 3", 3, [1, 1, 3]),
    ("B > A = C", 3, [2, 1, 2]),
    ("2 > 1 > 3", 3, [2, 1, 3]),
    ("The depth of Assistant 1 = the depth of Assistant 2", 2, [1, 1]),
    ("Winner: Assistant 1", 2, [1, 2]),
    ("~~Assistant 1 > Assistant 2~~ Assistant 2 > Assistant 1", 2, [2, 1]),
    ("Assistant One > Assistant Two", 2, [1, 2]),
    ("Model A > Model B > Model C", 3, [1, 2, 3]),
    ("Response 2 &gt; Response 1", 2, [2, 1]),
    ("\\boxed{A > B}", 2, [1, 2]),
    ("Assistant 1 (92) > Assistant 2 (88)", 2, [1, 2]),
    ("Assistant 1\n>\nAssistant 2", 2, [1, 2]),
    ("A", 2, [1, 2]),
    ("B", 2, [2, 1]),
    ("tie", 2, [1, 1]),
    ("Final ranking (best to worst): B, A, C", 3, [2, 1, 3]),
    ("Result: draw", 2, [1, 1]),
    ("Final verdict: Tie.", 2, [1, 1]),
    ("平局", 2, [1, 1]),
    ("Assistant 1 > Assistant 2. Overall good work.", 2, [1, 2]),
    ("Assistant 1 is the best, Assistant 3 is second, and Assistant 2 is third.", 3, [1, 3, 2]),
    ("Assistant 2 ranks first, Assistant 1 second, Assistant 3 third.", 3, [2, 1, 3]),
    ("The order is: Assistant 3 > Assistant 1 > Assistant 2", 4, [2, 3, 1, 4]),
    ("Assistant 1 > Assistant 2, Assistant 2 > Assistant 3", 3, [1, 2, 3]),
    ("Assistant 1=Assistant 2>Assistant 3", 3, [1, 1, 3]),
    ("Rank 1: Assistant 2\nRank 2: Assistant 1, Assistant 3", 3, [2, 1, 2]),
    (
        "**Ranking:**\n1. **Assistant 3** – best\n2. **Assistant 1** – fine\n3. **Assistant 2** – weak",
        3,
        [2, 3, 1],
    ),
    ("1. Assistant 1 and Assistant 2 (tie)\n3. Assistant 3", 3, [1, 1, 3]),
    ("B > A", 2, [2, 1]),
    ("Final verdict: [[A]]", 2, [1, 2]),
    ("[[tie]]", 2, [1, 1]),
    ("The answer says [[B]].\nMy verdict: [[A]]", 2, [1, 2]),
    ("**Answer:** B", 2, [2, 1]),
    ("Better: Assistant 2", 2, [2, 1]),
    ("排序：助手2 > 助手1 = 助手3", 3, [2, 1, 2]),
    ("排名:助手3、助手1、助手2", 3, [2, 3, 1]),
    ("最终排序：B > A > C", 3, [2, 1, 3]),
]


@pytest.mark.parametrize(("text", "n", "ranks"), FORMS)
def test_forms_are_read(text, n, ranks):
    assert parse_order(text, n) == ranks
    assert read_order(text, n).confidence == "high"


@pytest.mark.parametrize(
    ("text", "n", "rule"),
    [
        ("Assistant 2 > Assistant 1", 2, OrderRule.CHAIN),
        ("The order is: Assistant 2 > Assistant 1", 3, OrderRule.PARTIAL_CHAIN),
        ("The tone of Assistant 1 > the tone of Assistant 2", 2, OrderRule.SPACED_CHAIN),
        ("[[A]]", 2, OrderRule.BRACKETS),
        ("1st: Assistant 2\n2nd: Assistant 1", 2, OrderRule.LIST),
        ("Assistant 1: 2nd, Assistant 2: 1st", 2, OrderRule.LABELLED),
        ('{"ranks": [2, 1]}', 2, OrderRule.JSON),
        ("Nothing of the kind.", 2, OrderRule.NO_ORDER),
        ('{"ranks": [2, 3]}', 2, OrderRule.UNREADABLE),
        (
            "Tone: Assistant 1 > Assistant 2\nWit: Assistant 2 > Assistant 1",
            2,
            OrderRule.CONTRADICTORY,
        ),
    ],
)
def test_the_rule_is_told(text, n, rule):
    assert read_order(text, n).rule is rule


@pytest.mark.parametrize("n", [-1, 0, 1, 27])
def test_an_order_is_of_two_to_twenty_six(n):
    with pytest.raises(ValueError, match="2 to 26"):
        read_order("Assistant 1 > Assistant 2", n)
