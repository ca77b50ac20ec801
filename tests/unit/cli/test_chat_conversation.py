"""The order of a conversation's messages."""

from __future__ import annotations

from services.cli.chat.conversation import Conversation


def roles(conversation):
    return "".join(message["role"][0] for message in conversation.as_openai())


def answered(*texts):
    conversation = Conversation()
    for text in texts:
        conversation.ask(text)
        conversation.answer(text.upper())
    return conversation


def test_messages_come_in_their_order_behind_the_system_message():
    conversation = answered("a", "b")
    conversation.system = "brief"
    assert conversation.as_openai() == [
        {"role": "system", "content": "brief"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "B"},
    ]


def test_a_failed_question_is_dropped_for_the_next_one():
    conversation = answered("a")
    conversation.ask("lost")
    conversation.fail()
    conversation.ask("b")
    assert [m.content for m in conversation.messages] == ["a", "A", "b"]


def test_a_failed_question_can_be_asked_again():
    conversation = Conversation()
    conversation.ask("a")
    conversation.fail()
    assert conversation.retry()
    assert conversation.unanswered
    assert [m.content for m in conversation.messages] == ["a"]


def test_a_retry_replaces_the_answer():
    conversation = answered("a")
    assert conversation.retry()
    assert roles(conversation) == "u"
    conversation.answer("better")
    assert [m.content for m in conversation.messages] == ["a", "better"]


def test_a_failed_retry_keeps_the_old_answer():
    conversation = answered("a")
    conversation.retry()
    conversation.fail()
    assert [m.content for m in conversation.messages] == ["a", "A"]
    conversation.fail()
    assert [m.content for m in conversation.messages] == ["a", "A"]


def test_nothing_can_be_retried_or_undone_before_the_first_question():
    conversation = Conversation("brief")
    assert not conversation.retry()
    assert not conversation.undo()
    assert roles(conversation) == "s"


def test_undo_takes_a_question_with_its_answer():
    conversation = answered("a", "b")
    assert conversation.undo()
    assert roles(conversation) == "ua"
    conversation.ask("lost")
    assert conversation.undo()
    assert roles(conversation) == "ua"


def test_clear_keeps_the_system_message():
    conversation = answered("a")
    conversation.system = "brief"
    conversation.clear()
    assert roles(conversation) == "s"
    assert not conversation.retry()
