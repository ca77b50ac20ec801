"""The language of a text where it can be told, and of a tag where it names one."""

# Signs of Chinese and Japanese as they are.
# ruff: noqa: RUF001

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.analysis.languages import code_of, identifier

ENGLISH = "Bees make honey from nectar, and they share the work of the hive all summer long."
FRENCH = "Les abeilles font du miel avec le nectar et se partagent le travail de la ruche."
CODE = "```python\nfor place, value in enumerate(values):\n    print(place, value)\n```"

TOLD = [
    ("en", ENGLISH),
    ("fr", FRENCH),
    ("de", "Bienen machen Honig aus Nektar und teilen sich die Arbeit im Stock den Sommer lang."),
    ("zh", "蜜蜂用花蜜酿蜜，整个夏天都在分担蜂巢里的工作。"),
    ("ja", "ミツバチは花の蜜からはちみつを作り、夏の間ずっと巣の仕事を分け合います。"),
    ("ko", "꿀벌은 꽃꿀로 꿀을 만들고 여름 내내 벌집의 일을 나누어 합니다."),
    ("ru", "Пчёлы делают мёд из нектара и всё лето делят между собой работу в улье."),
    ("ar", "يصنع النحل العسل من رحيق الأزهار ويتقاسم العمل في الخلية طوال فصل الصيف."),
    ("hi", "मधुमक्खियाँ फूलों के रस से शहद बनाती हैं और छत्ते का काम आपस में बाँटती हैं।"),
    ("zh", "我们可以用 Python 的 pandas 库读取 CSV 文件，然后画出一张图。"),
    ("en", f"{ENGLISH}\n\n{CODE}"),
    ("en", f"{ENGLISH} See https://example.org/les/abeilles/font/du/miel/avec/le/nectar for more."),
    ("en", f"{ENGLISH * 20} The French call them abeilles, and their hive a ruche."),
]
UNTOLD = [
    "",
    "Yes.",
    "42",
    "3.14159 + 2.71828 = 5.85987 " * 20,
    CODE,
    "```\n" + ENGLISH,
    "int main(void) {\n    return counted_values(first, second);\n}\n",
    f"{ENGLISH} {FRENCH}",
    f"{FRENCH}\n\n{ENGLISH}",
    "$$" + "\\alpha + \\beta " * 30 + "$$",
    "https://example.org/bees/make/honey/from/nectar/and/share/the/work",
]


@pytest.mark.parametrize(("code", "text"), TOLD)
def test_the_language_of_prose_is_told(code, text):
    assert identifier()(text) == code


@pytest.mark.parametrize("text", UNTOLD)
def test_short_texts_code_and_mixtures_have_none(text):
    assert identifier()(text) is None


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        *[("en", "en"), ("zh-CN", "zh"), ("zh_TW", "zh"), ("Chinese", "zh"), ("cmn", "zh")],
        *[("EN-us", "en"), ("deu", "de"), ("nb", "no"), ("hr", "sr"), ("ms", "id")],
        *[("mixed", None), ("xx", None), ("", None), ("zxx", None)],
    ],
)
def test_a_tag_names_a_language_or_none(tag, code):
    assert code_of(tag) == code


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read(text):
    found = identifier()(text)
    assert found is None or code_of(found) == found


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["a", "`", "$$", "<", "\\[", "@", "a.", "字", " ", "\n"])
def test_a_long_hostile_text_takes_no_time(unit):
    for _ in range(20):
        identifier()(unit * 100_000)
