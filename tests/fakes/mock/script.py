"""What one choice of a mock answer says, from its first token to its last.

A function of the request, its seed and the choice alone, so that whoever goes on with it says the
same. A request with stop strings has text held back now and then, as where one may begin; the
next token, or the end, brings it.
"""

from __future__ import annotations

from services.worker.logprobs import LogprobEntry, Logprobs, RatedToken
from tests.fakes.mock.words import WORDS, token

_HELD = 8
"""One token in so many is held back."""


class ChoiceScript:
    """`length` tokens, of which each brings a piece of text, perhaps none."""

    def __init__(
        self,
        key: int,
        choice: int,
        max_tokens: int,
        reason: str,
        *,
        stops: tuple[str, ...] = (),
        top: int | None = None,
    ) -> None:
        self.length = max_tokens
        self.reason = reason
        self._key = key
        self._choice = choice
        self._made: list[int] = []
        self._end: int | None = None
        if stops:
            self._find_stop(stops)
        self._pieces: list[tuple[str, Logprobs]] | None = None
        if stops or top is not None:
            self._pieces = self._plan(top, held=bool(stops))

    def token(self, position: int) -> int:
        made = self._made
        while len(made) <= position:
            made.append(token(self._key, self._choice, len(made)))
        return made[position]

    def tokens(self, count: int) -> list[int]:
        return [self.token(position) for position in range(count)]

    def piece(self, position: int, made: int) -> tuple[str, Logprobs]:
        """Return the text, and the logprobs, that come with the token `made` there."""
        return (WORDS[made], None) if self._pieces is None else self._pieces[position]

    def whole(self) -> tuple[str, Logprobs]:
        """Return the text and the logprobs of all tokens."""
        if self._pieces is None:
            return "".join(WORDS[made] for made in self.tokens(self.length)), None
        logprobs = [told for _, told in self._pieces if told is not None]
        entries = tuple(entry for told in logprobs for entry in told) if logprobs else None
        return "".join(text for text, _ in self._pieces), entries

    def _find_stop(self, stops: tuple[str, ...]) -> None:
        text = ""
        for position in range(self.length):
            text += WORDS[self.token(position)]
            found = [at for stop in stops if (at := text.find(stop)) >= 0]
            if found:
                self._end, self.length, self.reason = min(found), position + 1, "stop"
                return

    def _plan(self, top: int | None, *, held: bool) -> list[tuple[str, Logprobs]]:
        planned: list[tuple[str, Logprobs]] = []
        made = self.tokens(self.length)
        said = shown = 0
        text = ""
        waiting: list[LogprobEntry] = []
        for position, each in enumerate(made, 1):
            if top is not None and (self._end is None or said < self._end):
                waiting.append(_entry(each, top, said))
            said += len(WORDS[each])
            text += WORDS[each]
            if held and each % _HELD == 0 and position < self.length:
                planned.append(("", None if top is None else ()))
                continue
            visible = text if self._end is None else text[: self._end]
            planned.append((visible[shown:], None if top is None else tuple(waiting)))
            shown = len(visible)
            waiting = []
        return planned


def _entry(made: int, top: int, offset: int) -> LogprobEntry:
    likely = tuple(_rated((made + step * 37) % len(WORDS), step) for step in range(top))
    return LogprobEntry(_rated(made, 0), likely, offset)


def _rated(made: int, step: int) -> RatedToken:
    word = WORDS[made]
    return RatedToken(word, word.encode(), -(made % 97) / 32 - step)
