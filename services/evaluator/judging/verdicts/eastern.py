"""Comparisons and equalities in Chinese and Japanese. Names and subjects are characters."""

from __future__ import annotations

import re

from services.evaluator.judging.verdicts.names import NAME
from services.evaluator.judging.verdicts.ranking import Relations
from services.evaluator.judging.verdicts.subjects import ALL, members

_ONE = rf"(?P<one>{NAME}|{ALL})"
_BETWEEN = rf"[^{NAME[1:-1]}{ALL}。;!?\n]"
_ABOVE = re.compile(
    rf"(?P<one>{NAME})(?P<middle>{_BETWEEN}{{0,12}}?)"
    rf"(?:优于|優於|胜过|勝過|好于|好過|好过|强于|超过|超越|领先于|胜出|略胜|更胜){_BETWEEN}{{0,6}}(?P<other>{NAME})"
)
_THAN = re.compile(
    rf"(?P<one>{NAME})(?P<middle>{_BETWEEN}{{0,8}}?)比(?P<other>{NAME}){_BETWEEN}{{0,16}}?"
    r"(?P<word>更差|更糟|要差|稍差|略差|差|弱|逊色|不好|更[^长短啰简差糟慢快]|好|优秀|优|强|佳|出色|胜)"
)
_BELOW = re.compile(
    rf"(?P<one>{NAME})(?P<middle>{_BETWEEN}{{0,12}}?)(?:不如|不及|逊于|劣于|差于|弱于){_BETWEEN}{{0,6}}(?P<other>{NAME})"
)
_JAPANESE = re.compile(
    rf"(?P<one>{NAME})(?P<middle>)(?:の(?:ほう|方))?が{_BETWEEN}{{0,12}}?(?P<other>{NAME})より"
    rf"{_BETWEEN}{{0,16}}?(?P<word>優れ|良い|良く|勝|上回|良かった|劣)"
)
_JAPANESE_THAN = re.compile(
    rf"(?P<one>{NAME})(?P<middle>)は(?P<other>{NAME})より{_BETWEEN}{{0,16}}?"
    r"(?P<word>優れ|良い|良く|勝|上回|劣)"
)
_EQUAL = re.compile(
    rf"(?P<one>{ALL}|{NAME}(?:(?: ?[、,/和与及と] ?){NAME})+)(?P<middle>{_BETWEEN}{{0,16}}?)"
    r"(?:一样(?:好|优秀|出色|强|连贯|相关|多样)|同样(?:好|优秀|出色|优|连贯|相关|多样|流畅|准确|详细)|(?:连贯|相关|多样|一致)性(?:相同|一样|相当)|不相上下|平局|打平|持平|难分(?:伯仲|高下|胜负)|"
    r"并列|旗鼓相当|相当(?![\w])|同等|互角|同程度|引き分け|等しい)"
)
_BETTER = re.compile(
    rf"(?P<one>{NAME})(?P<middle>{_BETWEEN}{{0,10}}?)"
    r"(?:更好|更优|更佳|更胜一筹|获胜|胜出|最好|最优|最佳|の方が良い|の方が優れ|の勝ち|が勝者)"
)
_CHOSEN = re.compile(rf"(?:选择|更喜欢|推荐|胜者是|获胜者是)(?P<middle>)(?P<one>{NAME})")
_DENIED = re.compile(r"难说|不|没|并非|无法|如果|假如|若|是否|可能|也许|ない")
_WORSE = ("差", "糟", "弱", "逊", "不好", "劣")


def eastern(sentence: str, n: int) -> list[Relations]:
    """Return what each comparison in `sentence` says of `n` answers."""
    said: list[Relations] = []
    for pattern, up in ((_ABOVE, True), (_BELOW, False)):
        for found in pattern.finditer(sentence):
            _pair(said, found, sentence, n, up=up)
    for pattern in (_THAN, _JAPANESE, _JAPANESE_THAN):
        for found in pattern.finditer(sentence):
            _pair(said, found, sentence, n, up=not any(word in found["word"] for word in _WORSE))
    for found in _EQUAL.finditer(sentence):
        group = members(found["one"], sentence, n)
        if len(group) > 1 and 0 not in group and _stated(found, sentence):
            relations = Relations()
            relations.tie(sorted(group))
            said.append(relations)
    if n == 2 and not said:  # noqa: PLR2004 - the better one of two
        for found in (*_BETTER.finditer(sentence), *_CHOSEN.finditer(sentence)):
            one = members(found["one"], sentence, n)
            if 0 not in one and _stated(found, sentence):
                relations = Relations()
                relations.rank(one, frozenset({1, 2}) - one)
                said.append(relations)
    return said


def _stated(found: re.Match[str], sentence: str) -> bool:
    clause = re.split(r"[,，;]", sentence[: found.start()])[-1]  # noqa: RUF001
    asked = sentence.rstrip().endswith(("?", "吗", "か"))
    return not (asked or _DENIED.search(clause) or _DENIED.search(found["middle"]))


def _pair(said: list[Relations], found: re.Match[str], sentence: str, n: int, *, up: bool) -> None:
    one, other = (members(found[each], sentence, n) for each in ("one", "other"))
    if 0 in one | other or one & other or not _stated(found, sentence):
        return
    relations = Relations()
    relations.rank(*((one, other) if up else (other, one)))
    said.append(relations)
