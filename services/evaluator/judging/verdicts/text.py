"""A judge's text without what is not its own saying, and without decoration.

Thoughts before the answer, quoted blocks and struck-out words go; emphasis, LaTeX, HTML and wide
characters become plain. Knows no name and no verdict.
"""

from __future__ import annotations

import html
import re
import unicodedata

_THOUGHT_END = re.compile(r"</(?:think|thinking|thought|reasoning|scratchpad)>", re.IGNORECASE)
_THOUGHT = re.compile(r"<(?:think|thinking|thought|reasoning|scratchpad)>", re.IGNORECASE)
_STRUCK = re.compile(r"~~[^~\n]{1,400}~~|<(?:del|s|strike)>[^<\n]{0,400}</(?:del|s|strike)>")
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]{0,15}/?>")
_LATEX = {
    **dict.fromkeys(("succcurlyeq", "succeq", "geqslant", "geq", "ge", "gtrsim"), "≥"),
    **dict.fromkeys(("preccurlyeq", "preceq", "leqslant", "leq", "le", "lesssim"), "≤"),
    **dict.fromkeys(("approx", "simeq", "cong", "equiv", "sim", "eq"), "="),
    **dict.fromkeys(("succ", "gt", "gg"), ">"),
    **dict.fromkeys(("prec", "lt", "ll"), "<"),
    **dict.fromkeys(("neq", "ne"), "≠"),
    **dict.fromkeys(("quad", "qquad", "space", "left", "right"), " "),
}
_COMMAND = re.compile(r"\\([a-zA-Z]{1,24})\*?[ \t]?")
_MATH = re.compile(r"\$|\\[()\[\],;:! ]")
_EMPHASIS = re.compile(r"(?<![0-9])\*+|\*+(?![0-9])|(?<!\w)_+|_+(?!\w)|`+")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+", re.MULTILINE)
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("⩾≧⪰≽≳", "≥"),
        **dict.fromkeys("⩽≦⪯≼≲", "≤"),
        **dict.fromkeys("≈≃≅≡≊∼~", "="),  # noqa: RUF001 - signs as judges write them
        **dict.fromkeys("≫≻", ">"),
        **dict.fromkeys("≪≺", "<"),
        **dict.fromkeys("’‘`´", "'"),  # noqa: RUF001
        **dict.fromkeys("“”„«»「」『』", '"'),
        **dict.fromkeys("–—―", "-"),  # noqa: RUF001
        **dict.fromkeys("【", "["),
        **dict.fromkeys("】", "]"),
    }
)


def own_words(text: str) -> str:
    """Return what the judge says after its thoughts; nothing, if it was cut off amid them."""
    begin = 0
    for end in _THOUGHT_END.finditer(text):
        begin = end.end()
    text = text[begin:]
    start = _THOUGHT.search(text)
    return text[: start.start()] if start else text


def plain(text: str) -> str:
    """Return `text` in plain characters; private ones, which names become, are blanks."""
    text = unicodedata.normalize("NFKC", html.unescape(text))
    text = "".join(" " if "\ue000" <= each <= "\uf8ff" else each for each in text)
    text = _TAG.sub("", _STRUCK.sub("", text))
    text = _HEADING.sub("", _FENCE.sub("", text))
    text = _COMMAND.sub(lambda found: _LATEX.get(found[1], ""), _MATH.sub("", text))
    text = text.replace("{", "").replace("}", "").replace("\\", "")
    text = _EMPHASIS.sub("", text.translate(_SIGNS))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("> "))
