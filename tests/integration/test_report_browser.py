"""The report's page in the system's Chromium, from a file and without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from services.evaluator.reports.rendering import render
from shared.protocol.evals.item import ItemAnswer, ItemStatus, OutputItem, Verdict
from shared.protocol.evals.results import ResultWarning
from shared.protocol.evals.spec import Message, Question
from tests.fakes.browser import CHROMIUM, FLAGS
from tests.fakes.report_data import CANDIDATES, report_of, run_items

ATTACK = (
    "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
    "<style>body{display:none}</style></style> {{ 7*7 }} \u2028\u2029\u0000\u202e ]]> <!-- "
    "<a href='javascript:window.owned=1'>x</a> \"'` &amp; ${window.owned = 1}"
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Reader:
    """A person who opens a report from a file, far from any network."""

    def __init__(self, browser: Browser, file: Path, **options) -> None:
        self.context = browser.new_context(offline=True, **options)
        self.page: Page = self.context.new_page()
        self.url = file.as_uri()
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda told: self.faults.append(told.text))
        self.page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.list = page_list = self.page.get_by_role("list", name="Items found")
        self.rows = page_list.get_by_role("link")
        self.detail = self.page.locator("#detail")
        self.counted = self.page.locator("#counted")

    def open(self, item: str = "") -> Reader:
        self.page.goto(self.url + (f"#{item}" if item else ""))
        expect(self.counted).to_contain_text("items")
        return self

    def choose(self, name: str, value: str) -> None:
        self.page.get_by_role("combobox", name=name).select_option(value)

    def shows(self, item: str) -> None:
        expect(self.detail.get_by_role("heading", name=item, exact=True)).to_be_visible()

    def found(self) -> list[str]:
        return [row.split(" ·")[0] for row in self.list.locator(".about").all_inner_texts()]


@pytest.fixture(scope="module")
def items() -> list[OutputItem]:
    return run_items()


@pytest.fixture(scope="module")
def file(tmp_path_factory, items) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(render("html", report_of(items)))
    return path


@pytest.fixture
def reader(browser, file) -> Iterator[Reader]:
    reader = Reader(browser, file)
    yield reader
    reader.context.close()
    assert [url for url in reader.asked if not url.startswith(reader.url)] == []
    assert reader.faults == []


def test_an_item_is_told_whole(reader, items):
    item = items[7]
    reader.open(item.id).shows(item.id)
    detail = reader.detail
    expect(detail).to_contain_text(item.question.text)
    expect(detail).to_contain_text(item.judge_text)
    cards = detail.get_by_role("article")
    expect(cards).to_have_count(len(item.lineup))
    for place, (name, rank) in enumerate(zip(item.lineup, item.verdict.ranks, strict=True)):
        card = cards.nth(place)
        expect(card).to_contain_text(item.answers[place].turns[0])
        expect(card.get_by_role("heading")).to_contain_text(f"{place + 1} {name}")
        expect(card).to_contain_text(f"rank {rank}")
    expect(detail).to_contain_text("Read by schema.")


def test_a_persons_verdict_has_its_author_and_reason(reader, items):
    [item] = [each for each in items if each.overrides]
    [override] = item.overrides
    reader.open(item.id)
    expect(reader.detail).to_contain_text("Verdict, by a person")
    expect(reader.detail).to_contain_text(override.author)
    expect(reader.detail).to_contain_text(override.reason)
    expect(reader.detail.locator(".verdict")).to_have_text(" > ".join(reversed(item.lineup)))
    reader.choose("Status", "overridden")
    assert reader.found() == [item.id]


def test_turns_references_and_grades_are_told(browser, tmp_path, items):
    asked = Question(
        id="q1",
        turns=["First turn?", "Second turn?"],
        references=["The right answer."],
        messages=[Message(role="system", content="Be brief.")],
        item={"row": 17},
    )
    answer = ItemAnswer(candidate="demo", turns=["One.", "Two."], finish_reason="length")
    changes = {
        "question": asked,
        "lineup": ["demo"],
        "answers": [answer],
        "verdict": Verdict(label="good", passed=False, rule="label", confidence="low"),
    }
    graded = [each.model_copy(update=changes) for each in items[:2]]
    file = tmp_path / "graded.html"
    file.write_bytes(render("html", report_of(graded, ["demo"])))
    reader = Reader(browser, file).open("item_1")
    for text in ("First turn?", "Second turn?", "One.", "Two.", "ended by length", "8 characters"):
        expect(reader.detail).to_contain_text(text)
    expect(reader.detail.locator(".verdict")).to_have_text("label good; failed")
    expect(reader.detail).to_contain_text("Read by label, with low confidence.")
    for title, text in (
        ("Reference", "The right answer."),
        ("Whole prompt", "Be brief."),
        ("Row of the dataset", '{"row":17}'),
    ):
        reader.detail.get_by_text(title, exact=True).click()
        expect(reader.detail.get_by_text(text)).to_be_visible()
    assert reader.faults == []
    reader.context.close()


def test_filters_find_what_they_ask_for(reader, items):
    reader.open()
    expect(reader.counted).to_contain_text(f"{len(items)} of {len(items)}")
    reader.choose("Dimension", "relevance")
    reader.choose("Category", "writing")
    expected = [
        each.id
        for each in items
        if each.dimension == "relevance" and each.question.category == "writing"
    ]
    assert reader.found() == expected
    reader.page.get_by_role("button", name="Clear").click()
    expect(reader.counted).to_contain_text(f"{len(items)} of {len(items)}")
    for status in (ItemStatus.UNDECODED, ItemStatus.ERRORED):
        reader.choose("Status", status.value)
        assert reader.found() == [each.id for each in items if each.status is status]
    expect(reader.detail).to_contain_text("The judge failed (504, upstream_timeout)")


def test_a_model_can_be_asked_how_it_did(reader, items):
    reader.open()
    reader.choose("Model", "alder-7b")
    for outcome in ("won", "shared", "lost"):
        expected = [each.id for each in items if outcome_of(each, "alder-7b") == outcome]
        assert expected
        reader.choose("Outcome", outcome)
        assert reader.found() == expected
    reader.choose("Outcome", "won")
    assert set(reader.list.locator(".outcome").all_inner_texts()) == {"★ alder-7b"}
    reader.choose("Model", "")
    expect(reader.counted).to_contain_text(f"{len(items)} of {len(items)}")


def outcome_of(item: OutputItem, name: str) -> str | None:
    if item.verdict is None or item.verdict.ranks is None:
        return None
    if item.verdict.ranks[item.lineup.index(name)] > 1:
        return "lost"
    return "won" if item.verdict.ranks.count(1) == 1 else "shared"


def test_a_search_looks_into_questions_answers_and_verdicts(reader, items):
    reader.open()
    box = reader.page.get_by_role("searchbox", name="Search")
    box.fill("both orders HAVE")
    expect(reader.rows).to_have_count(1)
    assert reader.found() == [each.id for each in items if each.status is ItemStatus.UNDECODED]
    box.fill("matter 11,")
    expect(reader.rows).to_have_count(sum("matter 11," in each.question.text for each in items))
    box.fill("demo on matter 3.")
    expect(reader.rows).to_have_count(sum(each.question.id == "q3" for each in items))
    box.fill("no such text")
    expect(reader.rows).to_have_count(0)
    expect(reader.detail).to_be_hidden()
    expect(reader.counted).to_contain_text("0 of")


def test_keys_go_from_item_to_item(reader):
    reader.open().shows("item_0")
    reader.page.keyboard.press("j")
    reader.shows("item_1")
    reader.page.keyboard.press("j")
    reader.shows("item_2")
    reader.page.keyboard.press("k")
    reader.shows("item_1")
    assert reader.page.url.endswith("#item_1")
    expect(reader.list.locator("[aria-current]")).to_contain_text("item_1 ")
    reader.page.keyboard.press("/")
    reader.page.keyboard.type("jk")
    expect(reader.page.get_by_role("searchbox", name="Search")).to_have_value("jk")
    expect(reader.rows).to_have_count(0)


def test_a_link_leads_to_an_item_and_to_its_question(reader, items):
    reader.open("item_40").shows("item_40")
    expect(reader.detail).to_be_in_viewport()
    reader.detail.get_by_role("link", name=re.compile("^general, alder-7b first")).click()
    [sibling] = [
        each.id
        for each in items
        if each.question == items[40].question
        and each.dimension == "general"
        and each.lineup[0] == "alder-7b"
    ]
    reader.shows(sibling)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_aside(browser, file, scheme):
    reader = Reader(
        browser, file, viewport={"width": 360, "height": 740}, color_scheme=scheme
    ).open()
    width = reader.page.evaluate("document.documentElement.scrollWidth")
    ground = reader.page.evaluate("getComputedStyle(document.body).backgroundColor")
    reader.context.close()
    assert width == 360
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 384) == (scheme == "light")


def test_what_is_written_is_never_run(browser, tmp_path):
    report = hostile_report()
    file = tmp_path / "hostile.html"
    file.write_bytes(render("html", report))
    reader = Reader(browser, file).open("item_0")
    reader.shows("item_0")
    shown = ATTACK.replace("\0", "\ufffd")
    assert ATTACK in reader.page.evaluate(
        "[...document.querySelectorAll('#detail .answer .text')].map((box) => box.textContent)"
    )
    expect(reader.page.get_by_role("heading", level=1)).to_contain_text(shown[:40])
    while reader.page.url.endswith("#item_4") is False:
        reader.page.keyboard.press("j")
    reader.page.get_by_role("searchbox", name="Search").fill("<script>")
    expect(reader.rows).not_to_have_count(0)
    assert reader.page.evaluate("window.owned") is None
    assert reader.page.locator("#detail :is(script, img, style, iframe)").count() == 0
    assert [url for url in reader.asked if not url.startswith(reader.url)] == []
    assert reader.faults == []
    reader.context.close()


def hostile_report():
    names = [f"{place} {ATTACK}"[:256] for place in range(len(CANDIDATES))]
    items = [hostile(each, names) for each in run_items(2)]
    report = report_of(items, names)
    results = report.results.model_copy(
        update={"warnings": [ResultWarning(code="attack", text=ATTACK)]}
    )
    run = report.run.model_copy(update={"name": ATTACK[:200], "error": ATTACK})
    return type(report)(results, report.spec, run, items)


def hostile(item: OutputItem, names: list[str]) -> OutputItem:
    answers = [
        each.model_copy(update={"candidate": name, "turns": [ATTACK]})
        for each, name in zip(item.answers, names, strict=True)
    ]
    overrides = [
        each.model_copy(update={"author": ATTACK, "reason": ATTACK}) for each in item.overrides
    ]
    error = item.error and item.error.model_copy(update={"message": ATTACK, "code": ATTACK})
    question = item.question.model_copy(
        update={"turns": [ATTACK], "category": ATTACK, "language": ATTACK, "references": [ATTACK]}
    )
    return item.model_copy(
        update={
            "question": question,
            "dimension": ATTACK,
            "judge": ATTACK,
            "lineup": names,
            "answers": answers,
            "judge_text": ATTACK,
            "overrides": overrides,
            "error": error,
            "model_version": ATTACK,
        }
    )
