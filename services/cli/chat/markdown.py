"""Markdown that arrives piece by piece: which part is final, and what rich would leave out.

Owns the split of a growing text into blocks that no further text can change and the rest.
"""

from __future__ import annotations

from rich.markdown import Markdown


def split_final(text: str) -> tuple[str, str]:
    """Return the blocks of `text` that no further text can change, and the rest."""
    starts = [token.map[0] for token in Markdown(text).parsed if token.level == 0 and token.map]
    if not starts:
        return "", text
    lines = text.split("\n")
    # The last block may still grow, however complete it looks.
    last = sum(len(line) + 1 for line in lines[: starts[-1]])
    return text[:last], text[last:]


def answer_markdown(text: str) -> Markdown:
    """Return `text` for rich, with its HTML shown as it was written.

    Rich drops HTML, and with it parts of an answer.
    """
    markdown = Markdown(text)
    for token in markdown.parsed:
        if token.type == "html_block":
            token.type, token.tag = "code_block", "code"
        for child in token.children or ():
            if child.type == "html_inline":
                child.type = "text"
    return markdown
