"""Text that programs or judges take for a marker, made harmless where everybody can see it.

Owns which texts are markers: control tokens of chat templates, roles, and the brackets in which
verdicts and parts of prompts are written. A dot goes behind the opening bracket (or before the
role at the beginning of a line); nothing is lost, and `restored` takes the dots out again.
"""

from __future__ import annotations

import re

_DOT = "·"

# What follows the first `<`. No alternative may hold a place for a dot of its own.
_IN_ANGLES = (
    r"[|｜][^<>\n]*>"  # noqa: RUF001 - some templates have the wide bar
    rf"|<{_DOT}*/?SYS>>"
    r"|/?(?:s|unk|pad|bos|eos|sep|cls|mask|think|thinking|tool_call|tool_response|tools|"
    r"start_of_turn|end_of_turn|begin_of_text|end_of_text|im_start|im_end|system|user|human|"
    r"assistant|answer|verdict)>"
)
# What follows the first `[`.
_IN_SQUARES = (
    r"/?(?:INST|SYS|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|gMASK|sMASK|sop|"
    r"CLS|SEP|MASK|BOS|EOS|PAD|UNK)[\]】]"
    r"|/?(?:(?:the\s+)?(?:end|start|begin|beginning)\b|system|assistant|user|human|judge|examiner|"
    r"question|answer|reference|response|result|verdict|model|candidate|instruction|rubric|"
    r"criteria|score|rating|结束|系统|助手|用户|问题|回答|答案|参考|评分|裁决|考官)"
    r"[^\[\]【】\n]*[\]】]"
    r"|\[[^\[\]【】\n]*\]\]"
)
_AT_LINE_START = (
    r"(?:\#+[ \t]*|\*\*)?(?:system|assistant|user|human|judge|examiner|instruction|response|"
    r"(?:final[ \t])?verdict|系统|助手|用户|考官|裁决)"
    r"[ \t]?[0-9A-Za-z]{0,2}(?:\*\*)?[ \t]?[:：]"  # noqa: RUF001 - Chinese has a wide colon
)
_MARKERS = (
    rf"(?:(?<=<)(?={{dots}}{_DOT}*(?:{_IN_ANGLES}))"
    rf"|(?<=[\[【])(?={{dots}}{_DOT}*(?:{_IN_SQUARES}))"
    rf"|^(?={{dots}}{_DOT}*(?:{_AT_LINE_START})))"
)
_FLAGS = re.IGNORECASE | re.MULTILINE
_PLACE = re.compile(_MARKERS.replace("{dots}", ""), _FLAGS)
_DOTTED = re.compile(_MARKERS.replace("{dots}", _DOT) + _DOT, _FLAGS)


def neutralised(text: str) -> str:
    """Return `text` with a dot in every marker."""
    return _PLACE.sub(_DOT, text)


def restored(text: str) -> str:
    """Return the text of which `text` is the neutralised form."""
    return _DOTTED.sub("", text)
