"""Ids of evals and runs are known again, and no others."""

from __future__ import annotations

import pytest

from services.evaluator.jobs.ids import Ids


@pytest.mark.parametrize("kind", ["eval", "evalrun"])
def test_an_id_is_known_again_by_its_fleet_alone(kind):
    made = Ids("token").make(kind)
    assert Ids("token").made(kind, made)
    assert not Ids("another").made(kind, made)
    assert not Ids("token").made({"eval": "evalrun", "evalrun": "eval"}[kind], made)


@pytest.mark.parametrize("token", ["token", ""])
def test_a_changed_id_is_none(token):
    ids = Ids(token)
    made = ids.make("eval")
    for place in range(len(made)):
        other = "1" if made[place] != "1" else "2"
        assert not ids.made("eval", made[:place] + other + made[place + 1 :])
    for odd in ("", "eval_", made + "0", made.upper(), made + "\n", "eval_" + "0" * 32):
        assert not ids.made("eval", odd)


def test_ids_differ():
    ids = Ids("")
    assert len({ids.make("eval") for _ in range(1000)}) == 1000
