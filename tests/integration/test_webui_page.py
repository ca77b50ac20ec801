"""The chat page in the system's Chromium, against a controller that answers as told."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.fakes.browser import CHROMIUM, FLAGS
from tests.fakes.controller_app import FakeController, Script, ServedApp
from tests.fakes.waiting import block_until
from tests.fakes.webui_process import WebuiProcess

MODELS = [
    {"id": "demo", "state": "ready"},
    {"id": "other", "state": "ready"},
    {"id": "big", "state": "loading", "progress": 0.43},
]
VOTES = ("upvote", "downvote", "flag")
ENDLESS = Script([f"word{number} " for number in range(100_000)], pause=0.02)
PATIENCE = 30_000.0

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed"),
]


class Chat:
    """The page as a person uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.box = page.get_by_role("textbox", name="Message")
        self.log = page.get_by_role("log")
        self.answers = page.get_by_test_id("bot")
        self.notice = page.locator("#notice")
        self.stop_button = page.get_by_role("button", name="Stop (Esc)")

    def open(self, url: str) -> Chat:
        self.page.goto(url)
        expect(self.model).not_to_have_value("", timeout=PATIENCE)
        return self

    @property
    def model(self):
        return self.page.get_by_role("combobox", name="Model")

    def button(self, name: str):
        return self.page.locator(f"#{name}")

    def say(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def answered(self, text: str) -> None:
        """Wait until the last answer is complete and reads so."""
        expect(self.answers.last).to_have_text(text, timeout=PATIENCE)
        expect(self.button("regenerate")).to_be_enabled(timeout=PATIENCE)

    def states(self, *, votes: bool, again: bool) -> None:
        for name in VOTES:
            expect(self.button(name)).to_be_enabled(enabled=votes)
        for name in ("regenerate", "clear"):
            expect(self.button(name)).to_be_enabled(enabled=again)

    def is_streaming(self, word: str = "word3") -> None:
        expect(self.answers.last).to_contain_text(word, timeout=PATIENCE)
        expect(self.stop_button).to_be_visible()


@pytest.fixture(scope="module")
def controller() -> Iterator[FakeController]:
    return FakeController(models=list(MODELS))


@pytest.fixture(scope="module")
def webui(controller: FakeController, tmp_path_factory) -> Iterator[WebuiProcess]:
    with ServedApp(controller.app) as served:
        process = WebuiProcess(served.url, tmp_path_factory.mktemp("webui"))
        try:
            yield process.wait_until_ready()
        finally:
            process.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def watched(browser: Browser, home: str, **options) -> Iterator[BrowserContext]:
    """Open a browser window that may speak to `home` only, and may log no error."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, **options)
    foreign: list[str] = []
    faults: list[str] = []
    allowed = (home, "data:", "blob:")
    context.on(
        "request",
        lambda request: None if request.url.startswith(allowed) else foreign.append(request.url),
    )
    context.on("weberror", lambda fault: faults.append(str(fault.error)))
    try:
        yield context
    finally:
        context.close()
    assert not foreign, "the page spoke to a stranger"
    assert not faults


@pytest.fixture
def context(browser: Browser, webui: WebuiProcess) -> Iterator[BrowserContext]:
    with watched(browser, webui.url) as context:
        yield context


@pytest.fixture
def chat(context: BrowserContext, webui: WebuiProcess) -> Chat:
    return Chat(context.new_page()).open(webui.url)


def test_an_answer_streams_in_and_unlocks_the_buttons(chat, controller, webui):
    controller.scripts["stream"] = Script([f"word{n} " for n in range(60)], pause=0.03)
    chat.states(votes=False, again=False)
    chat.say("stream")
    chat.is_streaming()
    chat.states(votes=False, again=False)
    expect(chat.answers.last).not_to_contain_text("word59")
    expect(chat.box).to_have_value("")
    chat.answered(re.compile(r"^word0 .* word59\s*$"))
    chat.states(votes=True, again=True)
    expect(chat.page.get_by_role("button", name="Send")).to_be_visible()
    assert controller.requests[-1]["messages"] == [{"role": "user", "content": "stream"}]
    line = webui.lines()[-1]
    assert line["type"] == "chat"
    assert line["finish"] - line["start"] > 1.5
    assert line["state"]["messages"] == [["user", None], ["assistant", None]]
    assert line["state"]["lengths"][0] == len("stream")


@pytest.mark.parametrize("way", ["button", "escape"])
def test_stop_keeps_the_partial_answer_and_frees_the_worker(chat, controller, webui, way):
    controller.scripts[f"endless {way}"] = ENDLESS
    cut = controller.cut
    chat.say(f"endless {way}")
    chat.is_streaming()
    started = time.monotonic()
    if way == "button":
        chat.stop_button.click()
    else:
        chat.page.keyboard.press("Escape")
    block_until(lambda: controller.cut == cut + 1)
    assert time.monotonic() - started < 5  # a second on a machine of its own
    expect(chat.page.get_by_role("button", name="Send")).to_be_visible()
    chat.states(votes=True, again=True)
    expect(chat.answers.last).to_contain_text("word3")
    assert webui.lines()[-1]["finish_reason"] == "cancelled"
    assert webui.lines()[-1]["state"]["lengths"][1] > 10


def test_a_closed_page_frees_the_worker(chat, controller, webui):
    controller.scripts["leave"] = ENDLESS
    cut = controller.cut
    chat.say("leave")
    chat.is_streaming()
    chat.page.close()
    block_until(lambda: controller.cut == cut + 1)
    block_until(lambda: webui.metric("llmzoo_webui_sessions") == 0)


def test_regenerate_replaces_the_last_answer(chat, controller):
    controller.scripts["again"] = Script(["first"])
    chat.say("again")
    chat.answered("first")
    controller.scripts["again"] = Script(["second"])
    chat.button("regenerate").click()
    chat.answered("second")
    expect(chat.answers).to_have_count(1)
    assert controller.requests[-1] == controller.requests[-2]


def test_clear_begins_anew(chat, controller):
    chat.say("one")
    chat.answered("Hello from the fake.")
    chat.say("two")
    expect(chat.answers).to_have_count(2)
    chat.answered("Hello from the fake.")
    assert len(controller.requests[-1]["messages"]) == 3
    chat.button("clear").click()
    expect(chat.page.get_by_text("What shall we talk about?")).to_be_visible()
    chat.states(votes=False, again=False)
    chat.say("three")
    chat.answered("Hello from the fake.")
    assert controller.requests[-1]["messages"] == [{"role": "user", "content": "three"}]


@pytest.mark.parametrize("kind", VOTES)
def test_a_vote_is_logged_and_disables_the_three(chat, webui, kind):
    before = webui.metric("llmzoo_webui_votes_total", kind=kind)
    chat.say("please vote")
    chat.answered("Hello from the fake.")
    chat.button(kind).click()
    expect(chat.notice).to_contain_text("your vote is noted")
    chat.states(votes=False, again=True)
    answer, vote = webui.lines()[-2:]
    assert vote["type"] == kind
    assert vote["conv_id"] == answer["conv_id"]
    assert vote["request_id"] == answer["request_id"]
    assert webui.metric("llmzoo_webui_votes_total", kind=kind) == before + 1
    chat.button("regenerate").click()
    expect(chat.button(kind)).to_be_enabled()


def test_an_error_is_shown_with_cause_and_request_id(chat, controller):
    error = {"message": "No worker serves <b>demo</b> now.", "type": "server_error"}
    controller.scripts["fail"] = Script(status=503, error=error)
    chat.say("fail")
    expect(chat.page.get_by_role("alert")).to_contain_text("No worker serves <b>demo</b> now.")
    request_id = f"req-fake-{len(controller.requests)}"
    expect(chat.notice).to_contain_text(request_id)
    chat.notice.get_by_role("button", name="Copy").click()
    assert chat.page.evaluate("getSelection().toString()").strip() == request_id
    chat.states(votes=False, again=True)
    controller.scripts["fail"] = Script(["recovered"])
    chat.button("regenerate").click()
    chat.answered("recovered")
    expect(chat.page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (Script(["half "], error={"message": "The worker died."}), "The worker died."),
        (Script(["half "], breaks_off=True), "broke off"),
    ],
)
def test_an_answer_that_breaks_off_keeps_its_text(chat, controller, script, cause):
    controller.scripts["break"] = script
    chat.say("break")
    expect(chat.page.get_by_role("alert")).to_contain_text(cause)
    expect(chat.answers.last).to_contain_text("half")
    chat.states(votes=False, again=True)


def test_blank_messages_are_refused(chat, controller):
    asked = len(controller.requests)
    chat.box.fill("  \n ")
    chat.box.press("Enter")
    expect(chat.notice).to_contain_text("The message is empty")
    assert len(controller.requests) == asked
    chat.states(votes=False, again=False)


def test_shift_enter_begins_a_new_line(chat, controller):
    chat.box.fill("first")
    chat.box.press("Shift+Enter")
    chat.page.keyboard.type("  second")
    chat.box.press("Enter")
    chat.answered("Hello from the fake.")
    assert controller.requests[-1]["messages"][-1]["content"] == "first\n  second"


def test_html_of_user_and_model_is_inert(chat, controller):
    attack = (
        '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'
        "<svg onload='window.hacked=3'></svg> [click](javascript:window.hacked=4) "
        "<iframe srcdoc='<script>parent.hacked=5</script>'></iframe> end"
    )
    controller.scripts[attack] = Script([attack])
    chat.say(attack)
    expect(chat.answers.last).to_contain_text("end")
    expect(chat.button("regenerate")).to_be_enabled()
    for message in (chat.page.get_by_test_id("user"), chat.answers):
        assert message.locator("script, iframe, [onerror], [onload]").count() == 0
        link = message.get_by_text("click", exact=True)
        assert not (link.get_attribute("href") or "").startswith("javascript")
    assert chat.page.evaluate("window.hacked") is None


def test_pictures_elsewhere_are_not_fetched(browser, controller, webui):
    controller.scripts["picture"] = Script(["![track](http://10.255.255.1/p.png) done"])
    context = browser.new_context()
    chat = Chat(context.new_page()).open(webui.url)
    answers: list[str] = []
    refusals: list[str] = []
    context.on("response", lambda response: answers.append(response.url))
    context.on("console", lambda message: refusals.append(message.text))
    chat.say("picture")
    expect(chat.answers.last).to_contain_text("done")
    expect(chat.button("regenerate")).to_be_enabled()
    block_until(lambda: any("Content Security Policy" in text for text in refusals))
    assert not any("10.255.255.1" in url for url in answers)
    context.close()


def test_code_tables_and_formulas_are_drawn(chat, controller):
    controller.scripts["rich"] = Script(
        ["| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\n  x: List<int>\n```\n\n", "\\(x^2\\) $y$"]
    )
    chat.say("rich")
    expect(chat.answers.last.locator(".katex")).to_have_count(2, timeout=PATIENCE)
    expect(chat.answers.last.locator("table td")).to_have_count(2)
    expect(chat.answers.last.locator("pre code")).to_have_text("  x: List<int>\n")
    expect(chat.page.get_by_role("button", name="Copy message").last).to_be_attached()


def test_two_tabs_stream_at_once(context, chat, controller, webui):
    controller.scripts["tab one"] = controller.scripts["tab two"] = ENDLESS
    other = Chat(context.new_page()).open(webui.url)
    chat.say("tab one")
    other.say("tab two")
    chat.is_streaming()
    other.is_streaming()
    assert controller.streaming >= 2
    other.stop_button.click()
    expect(other.button("regenerate")).to_be_enabled()
    words = len(chat.answers.last.inner_text())
    block_until(lambda: len(chat.answers.last.inner_text()) > words)
    chat.stop_button.click()
    expect(chat.button("regenerate")).to_be_enabled()


def test_the_settings_reach_the_model(chat, controller):
    page = chat.page
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Seed (optional)").fill("42")
    page.get_by_label("number input for Temperature").fill("0")
    page.get_by_label("number input for Max tokens").fill("77")
    page.get_by_label("number input for Max tokens").press("Tab")
    chat.say("settings")
    chat.answered("Hello from the fake.")
    asked = controller.requests[-1]
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {name: asked[name] for name in ("seed", "temperature", "max_tokens", "top_p")} == {
        "seed": 42,
        "temperature": 0,
        "max_tokens": 77,
        "top_p": 1,
    }


def test_an_example_is_one_click(chat, controller):
    chat.page.get_by_role("button", name="lighthouse").click()
    chat.answered("Hello from the fake.")
    assert "lighthouse" in controller.requests[-1]["messages"][-1]["content"]


def test_an_edited_message_is_asked_again(chat, controller):
    chat.say("mispelt")
    chat.answered("Hello from the fake.")
    controller.scripts["spelt"] = Script(["better"])
    chat.page.get_by_test_id("user").hover()
    chat.page.get_by_role("button", name="Edit").click()
    editor = chat.log.get_by_role("textbox")
    editor.fill("spelt")
    chat.page.get_by_role("button", name="Submit").click()
    chat.answered("better")
    assert controller.requests[-1]["messages"] == [{"role": "user", "content": "spelt"}]


def test_the_url_may_name_the_model(context, controller, webui):
    chat = Chat(context.new_page()).open(f"{webui.url}/?model=other")
    expect(chat.model).to_have_value("other")
    chat.say("to the other")
    chat.answered("Hello from the fake.")
    assert controller.requests[-1]["model"] == "other"


def test_the_picker_follows_the_models(chat, controller):
    expect(chat.model).to_have_value("demo")
    controller.models.append({"id": "late", "state": "ready"})
    expect(chat.page.locator("#status")).to_contain_text("3 models ready", timeout=PATIENCE)
    chat.model.click()
    expect(chat.page.get_by_role("option", name="big (loading 43%)")).to_be_visible()
    chat.page.get_by_role("option", name="late").click()
    chat.say("to the late one")
    chat.answered("Hello from the fake.")
    assert controller.requests[-1]["model"] == "late"
    controller.models.pop()
    expect(chat.page.locator("#status")).to_contain_text("2 models ready", timeout=PATIENCE)
    chat.say("still there?")
    expect(chat.notice).to_contain_text("late is not served any more")


def test_a_loading_model_is_refused_with_its_progress(context, controller, webui):
    chat = Chat(context.new_page()).open(f"{webui.url}/?model=big")
    expect(chat.model).to_have_value("big (loading 43%)")
    asked = len(controller.requests)
    chat.say("hello")
    expect(chat.notice).to_contain_text("big is not ready yet: loading 43%")
    expect(chat.box).to_have_value("hello")
    assert len(controller.requests) == asked


WIDE = Script(
    [
        "| " + " | ".join(["column"] * 12) + " |\n|" + "---|" * 12 + "\n\n```\n" + "x" * 300,
        "\n```\n\n" + "unbroken" * 40,
    ]
)


def test_a_phone_never_scrolls_sideways(browser, controller, webui):
    controller.scripts["wide"] = WIDE
    with watched(browser, webui.url) as context:
        page = context.new_page()
        page.set_viewport_size({"width": 390, "height": 844})
        chat = Chat(page).open(webui.url)
        width = "document.documentElement.scrollWidth"
        assert page.evaluate(width) <= 390
        chat.say("wide")
        expect(chat.button("regenerate")).to_be_enabled(timeout=PATIENCE)
        assert page.evaluate(width) <= 390
        assert page.evaluate("document.querySelector('[role=log]').scrollWidth") <= 390
        for visible in (chat.box, chat.button("clear"), chat.model):
            expect(visible).to_be_in_viewport()


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_systems_colours(browser, webui, scheme, is_dark):
    with watched(browser, webui.url, color_scheme=scheme) as context:
        chat = Chat(context.new_page()).open(webui.url)
        colour = chat.page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3
        assert (brightness < 100) is is_dark


def test_everything_has_a_name_and_the_page_a_heading(chat):
    expect(chat.page.get_by_role("heading", level=1)).to_have_text("LLM Zoo")
    nameless = chat.page.evaluate(
        """() => [...document.querySelectorAll("button, input, textarea")]
            .filter(e => e.checkVisibility() && !(e.getAttribute("aria-label")
                || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
            .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
