"""How alike two texts are, by the metrics of OpenAI's `text_similarity` grader.

Owns the metrics that can be computed here; `cosine` needs an embedding model and `meteor` a
dictionary of synonyms, so they are not among them. All are between 0 and 1.

Sources: ROUGE: Lin 2004 (the F measure); GLEU: Wu et al. 2016, section 5; BLEU: sacrebleu's
sentence score. `fuzzy_match` is the share of characters that both have in the same order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from services.evaluator.sequences import common_length, harmonic_share
from shared.errors import InvalidSpec

_ROUGE = {f"rouge_{size}": size for size in range(1, 6)}
_LONGEST_GLEU = 4
SIMILARITY_METRICS: frozenset[str] = frozenset({"fuzzy_match", "bleu", "gleu", "rouge_l", *_ROUGE})

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_OTHER_SCRIPTS = "\u3040-\u30ff\uac00-\ud7af"
_WORD = re.compile(rf"[{_HAN}{_OTHER_SCRIPTS}]|[^\W_{_HAN}{_OTHER_SCRIPTS}]+")
_HAS_HAN = re.compile(f"[{_HAN}]")
_HAS_OTHER = re.compile(f"[{_OTHER_SCRIPTS}]")


def similarity(metric: str, text: str, reference: str) -> float:
    """Return how alike two texts are.

    Raises:
        InvalidSpec: the metric is none of `SIMILARITY_METRICS`.
    """
    if metric == "fuzzy_match":
        return harmonic_share(common_length(text, reference), len(text), len(reference))
    if metric == "bleu":
        return _bleu(text, reference)
    words, others = _words(text), _words(reference)
    if metric == "gleu":
        return _gleu(words, others)
    if metric == "rouge_l":
        return harmonic_share(common_length(words, others), len(words), len(others))
    if metric in _ROUGE:
        return _rouge(words, others, _ROUGE[metric])
    raise InvalidSpec([("/evaluation_metric", "The metric cannot be computed here.")])


def _words(text: str) -> list[str]:
    """Return words, and characters where a script has no blanks."""
    return _WORD.findall(text.casefold())


def _bleu(text: str, reference: str) -> float:
    import sacrebleu  # noqa: PLC0415 - slow to import

    both = text + reference
    tokenizer = "13a"
    if _HAS_OTHER.search(both):
        tokenizer = "char"
    elif _HAS_HAN.search(both):
        tokenizer = "zh"
    score = sacrebleu.sentence_bleu(text, [reference], tokenize=tokenizer).score / 100
    return min(1.0, max(0.0, score))


def _gleu(words: Sequence[str], others: Sequence[str]) -> float:
    mine = _counted(words, range(1, _LONGEST_GLEU + 1))
    theirs = _counted(others, range(1, _LONGEST_GLEU + 1))
    most = max(mine.total(), theirs.total())
    return (mine & theirs).total() / most if most else 0.0


def _rouge(words: Sequence[str], others: Sequence[str], size: int) -> float:
    mine, theirs = _counted(words, [size]), _counted(others, [size])
    return harmonic_share((mine & theirs).total(), mine.total(), theirs.total())


def _counted(words: Sequence[str], sizes: Sequence[int]) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(words[start : start + size])
        for size in sizes
        for start in range(len(words) - size + 1)
    )
