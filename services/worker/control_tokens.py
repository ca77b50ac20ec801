"""Control tokens mean something only where a template wrote them.

Owns the encoding of a prompt: where a message spells such a token out it is text, and the ids
beside it are what they would be without it. All other prompts are encoded as transformers
does it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from tokenizers import AddedToken, Tokenizer

from shared.errors import InvalidRequest
from shared.templates import Rendered, Span

# Begins and ends the other names of tokens. A noncharacter: no text has to contain it.
_SIGN = "\ufdef"


class ControlTokens:
    """Encodes prompts for one tokenizer, which is left as it is."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Read the tokens that were added to the vocabulary."""
        self._tokenizer = tokenizer
        tokens: dict[int, AddedToken] = cast("Any", tokenizer).get_added_tokens_decoder()
        self._added = _pattern(token.content for token in tokens.values())
        self._special = {token.content for token in tokens.values() if token.special}
        self._literal: _LiteralTokenizer | None = None

    def encode(self, prompt: Rendered) -> list[int]:
        """Return the ids of a prompt.

        Raises:
            InvalidRequest: a message spells out a control token, and either the template hides
                where, or this tokenizer cannot but read it as one.
        """
        if self._added is None:
            return self._encode(prompt.text)
        if prompt.spans is None:
            if any(token in text for text in prompt.unplaced for token in self._special):
                raise _refusal("the model's chat template does not show where")
            return self._encode(prompt.text)
        control = self._special | {
            found[0] for gap in _gaps(prompt) for found in self._added.finditer(gap)
        }
        if not any(_forgeries(prompt, control)):
            return self._encode(prompt.text)
        if self._literal is None:
            self._literal = _LiteralTokenizer(self._tokenizer)
        return self._literal.encode(prompt, self._added, control)

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids


class _LiteralTokenizer:
    """A copy of a tokenizer that knows the added tokens by other names only."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        description = json.loads(tokenizer.to_str())
        tokens: list[dict[str, Any]] = description["added_tokens"]
        description.update(added_tokens=[], post_processor=None)
        self._tokenizer = Tokenizer.from_str(json.dumps(description))
        self._names = {token["content"]: f"{_SIGN}{token['id']}{_SIGN}" for token in tokens}
        cast("Any", self._tokenizer).add_special_tokens(
            [
                AddedToken(
                    self._names[token["content"]],
                    single_word=token["single_word"],
                    lstrip=token["lstrip"],
                    rstrip=token["rstrip"],
                    normalized=False,
                    special=True,
                )
                for token in tokens
            ]
        )
        self._content = {token["id"]: token["content"] for token in tokens}
        self._ids = {
            self._tokenizer.token_to_id(self._names[token["content"]]): token["id"]
            for token in tokens
        }

    def encode(self, prompt: Rendered, added: re.Pattern[str], control: set[str]) -> list[int]:
        """Return the ids; in messages no text of `control` is a token."""
        if _SIGN in prompt.text:
            raise _refusal(f"it holds U+{ord(_SIGN):04X} too")
        text = "".join(self._renamed(prompt, added, control))
        ids: list[int] = []
        for token_id in self._tokenizer.encode(text, add_special_tokens=False).ids:
            if token_id not in self._ids and self._content.get(token_id) in control:
                raise _refusal("this model's tokenizer would take it for one")
            ids.append(self._ids.get(token_id, token_id))
        return ids

    def _renamed(
        self, prompt: Rendered, added: re.Pattern[str], control: set[str]
    ) -> Iterator[str]:
        for text, is_message in _segments(prompt):
            position = 0
            for found in added.finditer(text):
                yield text[position : found.start()]
                yield found[0] if is_message and found[0] in control else self._names[found[0]]
                position = found.end()
            yield text[position:]


def _segments(prompt: Rendered) -> Iterator[tuple[str, bool]]:
    """Yield the prompt in pieces: text, and whether a message wrote it."""
    position = 0
    for span in prompt.spans or ():
        yield prompt.text[position : span.start], False
        yield prompt.text[span.start : span.end], True
        position = span.end
    yield prompt.text[position:], False


def _gaps(prompt: Rendered) -> Iterator[str]:
    return (text for text, is_message in _segments(prompt) if not is_message)


def _forgeries(prompt: Rendered, control: set[str]) -> Iterator[Span]:
    """Yield the spans that hold a control token, or a part of one."""
    longest = max(map(len, control), default=0)
    pattern = _pattern(control)
    for span in prompt.spans or ():
        if pattern is None:
            return
        start = max(span.start - longest + 1, 0)
        around = prompt.text[start : span.end + longest - 1]
        for found in pattern.finditer(around):
            if start + found.end() > span.start and start + found.start() < span.end:
                yield span
                break


def _pattern(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds any of these, the longest first, as tokenizers do."""
    ordered = sorted((text for text in texts if text), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _refusal(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"A message spells out a special token of the model, and {why}.",
        param="messages",
        code="special_token_in_text",
    )
