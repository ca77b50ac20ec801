"""In which language a text is written, where that can be told, and which one a tag names.

Owns what of a text is looked at: its prose, without code, formulas and addresses. A short text,
one of signs, and one in several languages have none. Languages that are written nearly alike are
one. The model is py3langid's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, cast

Identify = Callable[[str], str | None]

_LOOKED_AT = 2_000
"""Characters of a text."""
_FEWEST_LETTERS = 24
_PIECE = 30
_MOST_PIECES = 8
_SURE = 0.9
_OTHERWISE = 0.25
"""Of a text's letters that may be surely in another language."""
_DENSE_WEIGHT = 4
"""Letters of an alphabet that say as much as one sign of Chinese, Japanese or Korean."""

_ALIKE = {
    **dict.fromkeys(("yue", "wuu", "cmn"), "zh"),
    **dict.fromkeys(("nn", "nb"), "no"),
    **dict.fromkeys(("hr", "bs", "sh", "cnr"), "sr"),
    **dict.fromkeys(("arb", "ary", "arz"), "ar"),
    "ms": "id",
    "fil": "tl",
    "iw": "he",
    "in": "id",
}
_NAMES = {
    "ar": ("ara", "arabic"),
    "de": ("deu", "ger", "german"),
    "el": ("ell", "gre", "greek"),
    "en": ("eng", "english"),
    "es": ("spa", "spanish"),
    "fa": ("fas", "per", "persian", "farsi"),
    "fi": ("fin", "finnish"),
    "fr": ("fra", "fre", "french"),
    "he": ("heb", "hebrew"),
    "hi": ("hin", "hindi"),
    "hu": ("hun", "hungarian"),
    "id": ("ind", "indonesian", "may", "msa", "malay"),
    "it": ("ita", "italian"),
    "ja": ("jpn", "japanese"),
    "ko": ("kor", "korean"),
    "nl": ("nld", "dut", "dutch"),
    "no": ("nor", "nob", "nno", "norwegian"),
    "pl": ("pol", "polish"),
    "pt": ("por", "portuguese"),
    "ro": ("ron", "rum", "romanian"),
    "ru": ("rus", "russian"),
    "sv": ("swe", "swedish"),
    "th": ("tha", "thai"),
    "tr": ("tur", "turkish"),
    "uk": ("ukr", "ukrainian"),
    "vi": ("vie", "vietnamese"),
    "zh": ("zho", "chi", "chinese", "mandarin", "cantonese"),
}
_CODES = {name: code for code, names in _NAMES.items() for name in names}

_NO_LANGUAGE = "zxx"

_NO_PROSE = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)"  # blocks of code, the last one perhaps cut
    r"|`[^`\n]{1,200}`"
    r"|\$\$.{0,2000}?\$\$|\\\[.{0,2000}?\\\]|\\\(.{0,500}?\\\)"  # formulas
    r"|\b(?:https?://|www\.)\S{1,500}|\S{1,60}@\S{1,60}"
    r"|<[^<>\n]{1,200}>",
    re.DOTALL,
)
_CODE_LINE = re.compile(r"[{};]\s*$|^\s*(?:[#@]\w+[\s<(]|//|import\s\w+$|from\s\w\S*\simport\b)")
_LETTER = re.compile(r"[^\W\d_]|[\u0300-\u036f\u0900-\u0dff\u0e00-\u109f\u1780-\u17ff]")
"""Marks upon letters among them, such as the vowels of Hindi and Thai."""
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s*|\n+")
_LEAST_LETTERS = 0.6
"""Share of a line's signs; one with fewer is code, a formula or a table."""


def code_of(tag: str) -> str | None:
    """Return the language that a tag such as `zh-CN` or `German` names; None if it names none."""
    named = re.split(r"[-_ ]", tag.strip().lower())[0]
    code = _CODES.get(named, _ALIKE.get(named, named))
    return code if code in _known() else None


def identifier() -> Identify | None:
    """Return what tells a text's language; None where py3langid is not installed."""
    return None if _model() is None else _identify


def _identify(text: str) -> str | None:
    """Return the language of a text; None where it cannot be told, or there are several."""
    prose = _prose(text)
    language = _surely(prose) if _weight(prose) >= _FEWEST_LETTERS else None
    if language is None:
        return None
    pieces = [(_weight(piece), _surely(piece)) for piece in _pieces(prose)]
    others = sum(weight for weight, said in pieces if said not in {None, language})
    return language if others <= _OTHERWISE * sum(weight for weight, _ in pieces) else None


def _surely(text: str) -> str | None:
    """Return the language of a text if the model is sure; what is written alike is added up."""
    chances: dict[str, float] = {}
    for code, chance in cast("list[tuple[str, float]]", _model().rank(text)):
        one = _ALIKE.get(code, code)
        chances[one] = chances.get(one, 0.0) + chance
    best = max(chances, key=lambda code: chances[code])
    return best if chances[best] >= _SURE and best != _NO_LANGUAGE else None


def _prose(text: str) -> str:
    lines = _NO_PROSE.sub(" ", text[:_LOOKED_AT]).splitlines()
    return "\n".join(line for line in lines if _is_prose(line))


def _is_prose(line: str) -> bool:
    signs = sum(map(len, line.split()))
    return len(_LETTER.findall(line)) >= _LEAST_LETTERS * signs and not _CODE_LINE.search(line)


def _weight(text: str) -> int:
    dense = len(_DENSE.findall(text))
    return len(_LETTER.findall(text)) + (_DENSE_WEIGHT - 1) * dense


def _pieces(prose: str) -> list[str]:
    """Return sentences, as many together as it takes to tell their language; some of many."""
    pieces: list[str] = []
    gathered = ""
    for sentence in _SENTENCE_END.split(prose):
        gathered = f"{gathered} {sentence}" if gathered else sentence
        if _weight(gathered) >= _PIECE:
            pieces.append(gathered)
            gathered = ""
    return pieces[:: -(-len(pieces) // _MOST_PIECES) or 1]


@cache
def _model() -> Any:
    """Return the model, loaded once: it takes most of a second and tens of megabytes."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        return None
    return cast("Any", LanguageIdentifier).from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _known() -> frozenset[str]:
    model = _model()
    labels = cast("list[str]", model.labels) if model is not None else []
    return frozenset(_ALIKE.get(code, code) for code in labels) - {_NO_LANGUAGE}
