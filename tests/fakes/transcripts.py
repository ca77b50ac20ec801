"""What a client was told, in a form in which answers can be compared.

However an answer's text came in pieces, whether streamed or whole, the transcript is the same: by
choice its text, logprobs and finish reason; usage; how it ended. What should be and is not within
one answer (one id, one time, rising numbers) is a broken rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import orjson

from services.worker.answer_format import Usage
from services.worker.logprob_format import chat_logprobs, completion_logprobs
from shared.errors import InvalidRequest
from shared.protocol.event_id import EventId
from tests.fakes.event_log import DONE, Event
from tests.fakes.mixed_requests import Asking
from tests.fakes.mock.asked import CHAT, make_out, scripts_of, seed_of


@dataclass
class ChoiceTranscript:
    text: str = ""
    logprobs: list[Any] = field(default_factory=list)
    openings: int = 0
    """How often its role was told."""
    finish_reasons: list[str] = field(default_factory=list)


@dataclass
class Transcript:
    choices: dict[int, ChoiceTranscript] = field(default_factory=dict)
    usage: dict[str, int] | None = None
    error: dict[str, Any] | None = None
    done: bool = False
    answer_id: str = field(default="", compare=False)
    workers: list[str] = field(default_factory=list, compare=False)
    """Those that event ids name, in their order."""
    broken_rules: list[str] = field(default_factory=list)

    def choice(self, index: int) -> ChoiceTranscript:
        return self.choices.setdefault(index, ChoiceTranscript())


@dataclass(frozen=True, slots=True)
class Differences:
    """Tokens of a transcript beside those of another one, and whether all else is equal."""

    lost: int
    repeated: int
    differing: int
    otherwise_equal: bool

    @property
    def none(self) -> bool:
        return self == Differences(0, 0, 0, otherwise_equal=True)


def of_events(events: list[Event]) -> Transcript:
    """Return the transcript of a stream."""
    told = Transcript()
    heads: set[tuple[Any, ...]] = set()
    number = 0
    for at, event in enumerate(events):
        if event.data == DONE:
            told.done = True
            if at != len(events) - 1:
                told.broken_rules.append("something comes after [DONE]")
            continue
        chunk = orjson.loads(event.data)
        if "error" in chunk:
            told.error = chunk["error"]
            continue
        heads.add(_head(chunk))
        for choice in chunk["choices"]:
            _take(told.choice(choice["index"]), choice)
        told.usage = chunk.get("usage") or told.usage
        if event.id:
            number = _follow(told, event.id, chunk["id"], number)
    _agree(told, heads)
    return told


def of_body(body: bytes) -> Transcript:
    """Return the transcript of a whole answer."""
    told = Transcript(done=True)
    answer = orjson.loads(body)
    if "error" in answer:
        return Transcript(error=answer["error"])
    for choice in answer["choices"]:
        _take(told.choice(choice["index"]), choice)
    told.usage = answer["usage"]
    _agree(told, {_head(answer)})
    return told


def expected(asking: Asking, answer_id: str) -> Transcript:
    """Return what mock workers have to say, whichever of them did."""
    made_out = make_out(asking.path, asking.body, "", strict=True)
    seed = seed_of(asking.body, answer_id)
    scripts = scripts_of(asking.path, asking.body, seed, made_out.choices)
    chat = asking.path == CHAT
    told = Transcript(done=True, answer_id=answer_id)
    for index, script in enumerate(scripts):
        text, entries = script.whole()
        logprobs = chat_logprobs(entries) if chat else completion_logprobs(entries)
        told.choices[index] = ChoiceTranscript(text, _entries(logprobs), int(chat), [script.reason])
    if asking.usage_told:
        usage = Usage(made_out.prompt_tokens, sum(script.length for script in scripts))
        told.usage = usage.as_openai()
    return told


def differences(told: Transcript, wanted: Transcript) -> Differences:
    """Compare token by token; a mock's token is a word."""
    lost = repeated = differing = 0
    for index in wanted.choices.keys() | told.choices.keys():
        a, b = (t.choices.get(index, ChoiceTranscript()).text for t in (wanted, told))
        if a != b:
            matcher = SequenceMatcher(None, a.split(" "), b.split(" "), autojunk=False)
            for operation, a1, a2, b1, b2 in matcher.get_opcodes():
                lost += (a2 - a1) * (operation == "delete")
                repeated += (b2 - b1) * (operation == "insert")
                differing += max(a2 - a1, b2 - b1) * (operation == "replace")
    return Differences(lost, repeated, differing, otherwise_equal=told == wanted)


def _take(said: ChoiceTranscript, choice: dict[str, Any]) -> None:
    """Add what one chunk, or a whole body, tells of a choice."""
    message = choice.get("delta") or choice.get("message") or {}
    said.openings += "role" in message
    said.text += message.get("content") or choice.get("text") or ""
    said.logprobs += _entries(choice.get("logprobs"))
    if choice.get("finish_reason"):
        said.finish_reasons.append(choice["finish_reason"])


def _entries(logprobs: dict[str, Any] | None) -> list[Any]:
    """Return one entry a token, of either form."""
    if logprobs is None:
        return []
    if "content" in logprobs:
        return list(logprobs["content"])
    lists = (logprobs[k] for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset"))
    return [list(entry) for entry in zip(*lists, strict=True)]


def _head(chunk: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(chunk.get(name) for name in ("id", "created", "model", "system_fingerprint"))


def _follow(told: Transcript, event_id: str, answer_id: str, number: int) -> int:
    """Look at an event's id and return its number."""
    try:
        named = EventId.parse(event_id)
    except InvalidRequest:
        told.broken_rules.append(f"no event id: {event_id}")
        return number
    if named.answer != answer_id:
        told.broken_rules.append(f"the event id {event_id} in the answer {answer_id}")
    if named.number <= number:
        told.broken_rules.append(f"number {named.number} after {number}")
    if told.workers[-1:] != [named.worker]:
        told.workers.append(named.worker)
    return named.number


def _agree(told: Transcript, heads: set[tuple[Any, ...]]) -> None:
    if len(heads) > 1:
        told.broken_rules.append(f"several heads: {sorted(heads)}")
    for head in heads:
        told.answer_id = head[0]
