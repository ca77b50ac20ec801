import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry

from services.webui.chat import Chat, Dialogue, Phase, Visitor, Wish
from services.webui.conversation_log import ConversationLog
from services.webui.metrics import WebuiMetrics
from services.webui.model_list import ModelList
from services.webui.sessions import Sessions
from shared.client import APIError, Delta
from shared.templates.formats import to_gradio
from shared.templates.messages import Message
from tests.fakes.scripted_client import ScriptedClient, said

VISITOR = Visitor("tab-1", "192.0.2.7")
DEMO = Wish("demo", params={"temperature": 0.5, "seed": 7})
FAULT = APIError(503, {"message": "All workers are gone."}, "req-9", 3.0)


class Page:
    """One page: remembers what a browser would."""

    def __init__(self, chat, visitor=VISITOR):
        self.chat, self.visitor = chat, visitor
        self.dialogue, self.messages, self.notice, self.phases = Dialogue(), (), None, []

    def see(self, view):
        if view.dialogue is not None:
            self.dialogue = view.dialogue
            self.phases.append(view.dialogue.phase)
        if view.messages is not None:
            self.messages = view.messages
        self.notice = view.notice

    @property
    def shown(self):
        return to_gradio(self.messages)

    async def send(self, text, wish=DEMO):
        async for view in self.chat.send(self.visitor, self.dialogue, self.shown, text, wish):
            self.see(view)

    async def regenerate(self, wish=DEMO):
        async for view in self.chat.regenerate(self.visitor, self.dialogue, self.shown, wish):
            self.see(view)

    async def vote(self, kind):
        self.see(await self.chat.vote(self.visitor, self.dialogue, self.shown, kind))


class Zoo:
    """A chat with everything real but the client."""

    def __init__(self, folder, client):
        self.registry = CollectorRegistry()
        metrics = WebuiMetrics(self.registry)
        self.client, self.folder = client, folder
        self.models, self.sessions = ModelList(client), Sessions(metrics)
        log = ConversationLog(folder, metrics, with_texts=True)
        self.chat = Chat(client, self.models, log, self.sessions, metrics)

    def lines(self):
        return [
            json.loads(line)
            for path in sorted(self.folder.glob("*-conv.json"))
            for line in path.read_text().splitlines()
        ]


@pytest.fixture
async def zoo(tmp_path):
    async def start(*answers):
        zoo = Zoo(tmp_path, ScriptedClient(*answers))
        await zoo.models.refresh()
        return zoo

    return start


async def test_an_answer_streams_and_everything_is_allowed_after_it(zoo):
    zoo = await zoo(said("Hello", " there"))
    page = Page(zoo.chat)
    await page.send("hi")
    assert page.messages == (Message("user", "hi"), Message("assistant", "Hello there"))
    assert page.phases[0] is Phase.STREAMING
    assert page.phases[-1] is Phase.ANSWERED
    assert zoo.client.bodies == [
        {
            "model": "demo",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0.5,
            "seed": 7,
        }
    ]


async def test_the_whole_conversation_is_sent_with_the_system_prompt(zoo):
    zoo = await zoo(said("one"), said("two"))
    page = Page(zoo.chat)
    await page.send("first")
    await page.send("second", Wish("demo", system="Be brief."))
    roles = [message["role"] for message in zoo.client.bodies[1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    first, second = zoo.lines()
    assert first["conv_id"] == second["conv_id"]
    assert second["state"]["system"] == "Be brief."


async def test_regenerate_replaces_the_answer(zoo):
    zoo = await zoo(said("one"), said("two"))
    page = Page(zoo.chat)
    await page.send("q")
    await page.regenerate()
    assert page.messages == (Message("user", "q"), Message("assistant", "two"))
    assert zoo.client.bodies[0] == zoo.client.bodies[1]


async def test_an_error_is_told_with_its_request_id_and_leaves_only_another_try(zoo):
    zoo = await zoo([FAULT], said("now"))
    page = Page(zoo.chat)
    await page.send("q")
    assert page.dialogue.phase is Phase.FAILED
    assert page.notice.text == "All workers are gone."
    assert page.notice.request_id == "req-9"
    assert page.messages == (Message("user", "q"),)
    await page.vote("upvote")
    assert page.dialogue.phase is Phase.FAILED
    await page.regenerate()
    assert page.dialogue.phase is Phase.ANSWERED
    assert page.notice is None


async def test_a_lost_connection_is_a_notice_until_the_answer_goes_on(zoo):
    gate, on = asyncio.Event(), asyncio.Event()
    zoo = await zoo([Delta("half"), Delta(reconnecting=True), gate, Delta(" more"), on, *said(".")])
    page, notices = Page(zoo.chat), []
    async for view in zoo.chat.send(VISITOR, page.dialogue, [], "q", DEMO):
        page.see(view)
        notices.append(view.notice and view.notice.text)
        if notices[-1]:
            assert not view.notice.is_error
            gate.set()
        if view.messages[-1].text == "half more":
            assert view.notice is None
            on.set()
    assert [notice for notice in notices if notice] == ["The connection was lost. Reconnecting …"]
    assert notices[-1] is None
    assert page.messages[-1] == Message("assistant", "half more.")


async def test_an_error_half_way_keeps_the_half(zoo):
    zoo = await zoo([Delta("half"), FAULT])
    page = Page(zoo.chat)
    await page.send("q")
    assert page.messages[-1] == Message("assistant", "half")
    assert page.dialogue.phase is Phase.FAILED
    assert zoo.lines()[0]["finish_reason"] == "error"


async def test_stop_keeps_the_half_and_it_can_be_voted_on(zoo):
    zoo = await zoo([Delta("half"), asyncio.Event()])
    page = Page(zoo.chat)
    async for view in zoo.chat.send(VISITOR, page.dialogue, [], "q", DEMO):
        page.see(view)
        if view.messages[-1].text == "half":
            zoo.chat.stop(VISITOR)
    assert page.messages[-1] == Message("assistant", "half")
    assert page.dialogue.phase is Phase.ANSWERED
    assert zoo.client.closed_early == 1
    assert zoo.lines()[0]["finish_reason"] == "cancelled"
    assert not zoo.sessions.busy(VISITOR.session)


async def test_a_page_that_goes_away_ends_its_answer(zoo):
    zoo = await zoo([Delta("half"), asyncio.Event()])
    views = zoo.chat.send(VISITOR, Dialogue(), [], "q", DEMO)
    await anext(views)
    await anext(views)
    await views.aclose()
    assert zoo.client.closed_early == 1
    assert not zoo.sessions.busy(VISITOR.session)
    assert zoo.lines()[0]["finish_reason"] == "cancelled"


async def test_one_page_has_one_answer_at_a_time_and_two_pages_have_two(zoo):
    gate = asyncio.Event()
    zoo = await zoo([gate, *said("a")], said("b"))
    first = asyncio.create_task(Page(zoo.chat).send("q"))
    await zoo.client.asked.wait()
    again = Page(zoo.chat)
    await again.send("q")
    assert "still being written" in again.notice.text
    assert again.phases == []
    other = Page(zoo.chat, Visitor("tab-2", ""))
    await other.send("q")
    assert other.messages[-1].text == "b"
    gate.set()
    await first


@pytest.mark.parametrize("kind", ["upvote", "downvote", "flag"])
async def test_an_answer_takes_one_vote(zoo, kind):
    zoo = await zoo(said("a"))
    page = Page(zoo.chat)
    await page.send("q")
    await page.vote(kind)
    assert page.dialogue.phase is Phase.VOTED
    await page.vote("upvote")
    assert "cannot be voted" in page.notice.text
    chat_line, vote_line = zoo.lines()
    assert vote_line["type"] == kind
    assert vote_line["request_id"] == chat_line["request_id"] == "req-1"
    votes = zoo.registry.get_sample_value("llmzoo_webui_votes_total", {"kind": kind})
    assert votes == 1


async def test_blank_messages_ask_for_nothing(zoo):
    zoo = await zoo()
    page = Page(zoo.chat)
    await page.send("  \n ")
    assert "empty" in page.notice.text
    assert page.phases == []
    assert zoo.client.bodies == []
    assert zoo.lines() == []


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("", "big is not ready yet: loading 43%"),
        ("gone", "gone is not served any more"),
        ("big", "big is not ready yet: loading 43%"),
    ],
)
async def test_a_model_that_cannot_answer_is_refused_with_the_reason(zoo, model, sentence):
    zoo = await zoo()
    zoo.client.offered = [{"id": "big", "state": "loading", "progress": 0.43}]
    await zoo.models.refresh()
    page = Page(zoo.chat)
    await page.send("q", Wish(model))
    assert sentence in page.notice.text
    assert zoo.client.bodies == []


async def test_without_any_model_a_page_is_told_to_wait_for_one(zoo):
    zoo = await zoo()
    zoo.client.offered = []
    await zoo.models.refresh()
    page = Page(zoo.chat)
    await page.send("q", Wish(""))
    assert "No model is there yet" in page.notice.text
    assert zoo.client.bodies == []


async def test_a_page_that_has_chosen_no_model_yet_gets_the_first_ready_one(zoo):
    zoo = await zoo(said("a"))
    zoo.client.offered = [{"id": "big", "state": "loading"}, {"id": "small", "state": "ready"}]
    await zoo.models.refresh()
    page = Page(zoo.chat)
    await page.send("q", Wish(""))
    assert zoo.client.bodies[0]["model"] == "small"
    assert page.dialogue.model == "small"


async def test_clear_begins_a_new_conversation(zoo):
    zoo = await zoo(said("a"), said("b"))
    page = Page(zoo.chat)
    await page.send("q")
    page.see(zoo.chat.clear(VISITOR))
    assert page.messages == ()
    assert page.dialogue.phase is Phase.EMPTY
    await page.send("q")
    first, second = zoo.lines()
    assert first["conv_id"] != second["conv_id"]


async def test_an_answer_without_words_or_cut_short_says_so(zoo):
    zoo = await zoo(said(), said("long", finish_reason="length"))
    page = Page(zoo.chat)
    await page.send("q")
    assert page.dialogue.phase is Phase.FAILED
    assert "nothing to say" in page.notice.text
    await page.regenerate()
    assert page.dialogue.phase is Phase.ANSWERED
    assert "cut off" in page.notice.text


async def test_rubbish_from_the_browser_is_told_not_raised(zoo):
    zoo = await zoo()
    [view] = [view async for view in zoo.chat.send(VISITOR, Dialogue(), "rubbish", "q", DEMO)]
    assert "no conversation" in view.notice.text
