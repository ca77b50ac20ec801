"""Texts as units that n-gram metrics count, by language.

Chinese and Japanese write no spaces: their characters are units of their own. Which of
sacrebleu's tokenisations fits is said here too, with what is missing for a better one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

_SINGLE = (
    r"\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
"""Han, kana, and the scripts of Thai, Lao, Burmese and Khmer, which write no spaces either."""
_UNIT = re.compile(rf"[{_SINGLE}]|[^\W_{_SINGLE}]+")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_LETTER = re.compile(r"[^\W\d_]")
_NAMES = {
    **dict.fromkeys(("yue", "cmn", "zho", "chi", "chinese", "mandarin", "cantonese"), "zh"),
    **dict.fromkeys(("jpn", "japanese"), "ja"),
    **dict.fromkeys(("kor", "korean"), "ko"),
}
_NO_SPACES = frozenset({"th", "lo", "my", "km"})
_MECAB = {"ja": ("MeCab", "ja-mecab"), "ko": ("mecab_ko", "ko-mecab")}
_OWN = frozenset({"zh", *_MECAB, *_NO_SPACES})


class UnitTokenizer:
    """What `rouge_score` asks for its units."""

    def tokenize(self, text: str) -> list[str]:
        """Return words in small letters; of scripts without spaces each character."""
        return units(text)


def units(text: str) -> list[str]:
    """Return words in small letters; of scripts without spaces each character."""
    return _UNIT.findall(text.lower())


def language_of(tag: str | None, texts: Sequence[str]) -> str:
    """Return the language's code if it has a tokenisation of its own, else empty.

    Of its tag, or by the script of most texts: a tag may be no code, or not be there.
    """
    named = re.split(r"[-_]", tag.lower())[0] if tag else ""
    code = _NAMES.get(named, named)
    if code in _OWN:
        return code
    votes = Counter(_script(text) for text in texts)
    return votes.most_common(1)[0][0] if votes else ""


def tokenization(language: str) -> tuple[str, str | None]:
    """Return sacrebleu's tokenisation for a language, and what its reader must know."""
    if language == "zh":
        return "zh", None
    if language in _NO_SPACES:
        return "char", None
    if language not in _MECAB:
        return "13a", None
    module, name = _MECAB[language]
    if find_spec(module) is not None:
        return name, None
    text = (
        f"BLEU of answers in {language!r} is by characters, not by words: the tokeniser "
        f"{name} is not installed, so it cannot be compared with figures by words"
    )
    return "char", text


def _script(text: str) -> str:
    letters = len(_LETTER.findall(text))
    kana, han, hangul = (len(each.findall(text)) for each in (_KANA, _HAN, _HANGUL))
    if 2 * hangul > letters:
        return "ko"
    # Code and names in Latin letters stand in many such texts.
    if 4 * (kana + han) <= letters:
        return ""
    return "ja" if 10 * kana > han else "zh"
