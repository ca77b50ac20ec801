"""The page as a file: what stands in it, and that nothing in it reaches out."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from services.evaluator.reports.data import ReportData
from services.evaluator.reports.packing import MAX_ITEMS, pack
from services.evaluator.reports.rendering import render
from tests.fakes.report_data import CANDIDATES, items_of_reviews, report_of, run_items
from tests.fakes.report_figures import DIGEST

FETCHING = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background"}
FULL_PAGE = 4_000_000
FULL_RUN = 1450


class Page(HTMLParser):
    """All that a browser would see: elements, attributes, texts."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(body.decode())

    def handle_starttag(self, tag, attrs):
        self._open = tag
        self.texts.setdefault(tag, []).append("")
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, _tag):
        self._open = ""

    def handle_data(self, data):
        if self._open:
            self.texts[self._open][-1] += data

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def unpacked(text: str) -> dict:
    return json.loads(zlib.decompress(b64decode(text)))


@pytest.fixture(scope="module")
def page():
    return Page(render("html", report_of(run_items())))


def test_nothing_is_fetched(page):
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {
        tag for tag, _ in page.elements
    }
    for tag, attributes in page.elements:
        for name in FETCHING & set(attributes):
            assert attributes[name].startswith("#"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    style = "".join(page.texts["style"])
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_knows_the_one_style_and_the_one_script(page):
    [policy] = [
        each["content"]
        for each in page.attributes("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for text in (page.texts["style"][0], page.texts["script"][1]):
        assert b64encode(sha256(text.encode()).digest()).decode() in policy
    assert [each.get("type") for each in page.attributes("script")] == ["text/plain", "module"]


def test_the_page_tells_what_a_reader_must_know(page):
    text = " ".join(part for parts in page.texts.values() for part in parts)
    for told in (*CANDIDATES, DIGEST, "judge-large", "judge-large-2026-10", "2026-09-21 14:13 UTC"):
        assert told in text
    titles = page.texts["h2"]
    assert titles[:3] == ["Before you read the figures", "Ranking", "Who beats whom"]
    assert titles[-3:] == ["Cost", "Items", "Method"]
    assert "could not be read" in text
    assert "1 undecoded, 1 errored" in text


def test_tables_and_controls_have_names(page):
    assert len(page.attributes("table")) == len(page.attributes("caption"))
    assert all(each.get("scope") for each in page.attributes("th"))
    sections = [each for each in page.attributes("section") if each.get("id")]
    assert all(each["aria-labelledby"] == f"{each['id']}-title" for each in sections)
    names = [each["id"] for _, each in page.elements if "id" in each]
    assert len(names) == len(set(names))
    assert {each["href"][1:] for each in page.attributes("a")} <= set(names)


def test_each_text_is_embedded_once():
    items = run_items()
    packed = pack(items)
    whole = unpacked(packed.text)
    assert len(whole["texts"]) == len(set(whole["texts"]))
    assert len(whole["items"]) == packed.items == len(items)
    for told, item in zip(whole["items"], items, strict=True):
        answers = [whole["answers"][place] for place in told["answers"]]
        assert [each["candidate"] for each in answers] == item.lineup
        texts = [[whole["texts"][turn] for turn in each["turns"]] for each in answers]
        assert texts == [each.turns for each in item.answers]
    distinct = {tuple(each.turns) for item in items for each in item.answers}
    assert len(whole["answers"]) == len(distinct)


def test_a_page_holds_so_much_text_and_no_more():
    items = run_items()
    packed = pack(items, characters=3000)
    whole = unpacked(packed.text)
    assert 0 < packed.items < len(items)
    assert packed.items + packed.left_out == len(items)
    assert 3000 < sum(map(len, whole["texts"])) < 4000


def test_a_page_says_what_it_leaves_out():
    report = report_of(run_items())
    many = [item for item in report.items for _ in range(300)]
    told = Page(render("html", ReportData(report.results, report.spec, report.run, many)))
    left = len(many) - MAX_ITEMS
    expected = f"The first {MAX_ITEMS:,} items are here; {left:,} more are in the JSONL report."
    assert expected in told.texts["p"]


def test_a_page_of_real_reviews_is_small(eval_data):
    items = items_of_reviews(eval_data)
    names = list(dict.fromkeys(name for item in items for name in item.lineup))
    body = render("html", report_of(items, names))
    assert len(body) < FULL_PAGE * len(items) / FULL_RUN
    whole = unpacked(Page(body).texts["script"][0])
    for told, item in zip(whole["items"], items, strict=True):
        assert whole["texts"][told["judge_text"]] == item.judge_text
        assert told["verdict"].get("ranks") == (item.verdict.ranks if item.verdict else None)
