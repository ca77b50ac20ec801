from __future__ import annotations

import pytest

from services.controller.access.principal import ANONYMOUS, Principal
from shared.errors import InvalidRequest
from shared.protocol.priority import Priority

BATCH = Principal("key_1", "nightly", frozenset(), Priority.BATCH)


@pytest.mark.parametrize("asked", [None, "interactive", "batch", "BATCH "])
def test_the_header_lowers_and_never_raises(asked):
    assert BATCH.priority_for(asked) is Priority.BATCH
    assert ANONYMOUS.priority_for(asked) is Priority.parse(asked)


def test_there_is_no_other_class():
    with pytest.raises(InvalidRequest):
        BATCH.priority_for("urgent")
