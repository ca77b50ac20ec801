"""Why a reply could not be read, where it is not a text reader that says so."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """In the place of the rule of a verdict that is none; worded in wording.toml."""

    EMPTY = "empty_reply"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    WRONG_KEYS = "wrong_keys"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    NO_RANKING = "no_ranking"
    WRONG_COUNT = "wrong_count"
    CONTRADICTORY = "contradictory"
    UNKNOWN_LABEL = "unknown_label"
    UNREADABLE = "unreadable"
    ECHO = "echo"
    PROSE = "prose_only"
    MISSING_VALUE = "missing_value"
    """A template names what the item or the sample does not have."""
