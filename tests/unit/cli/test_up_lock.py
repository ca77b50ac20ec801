from __future__ import annotations

import stat

import pytest

from services.cli.up.lock import RunningZoo, UpLock
from shared.errors import AlreadyRunning

RUNNING = RunningZoo(4711, {"webui": "http://127.0.0.1:7860"}, "2026-01-01T00:00:00+00:00")


def test_only_one_holds_it(tmp_path) -> None:
    first, second = UpLock(tmp_path, 0), UpLock(tmp_path, 0)
    with first.hold():
        first.write(RUNNING)
        assert second.read() == RUNNING
        assert not second.is_free()
        with pytest.raises(AlreadyRunning, match=r"process 4711.*\n.*7860\n.*`llmzoo down`"):
            second.hold().__enter__()
        assert second.read() == RUNNING
    assert second.is_free()
    assert second.read() is None


def test_each_offset_has_its_own(tmp_path) -> None:
    with UpLock(tmp_path, 0).hold():
        assert UpLock(tmp_path, 100).is_free()
        assert UpLock(tmp_path, 100).stop_command == "llmzoo down --port-offset 100"


def test_a_holder_that_has_not_told_yet_is_starting(tmp_path) -> None:
    with UpLock(tmp_path, 0).hold(), pytest.raises(AlreadyRunning, match="just starting"):
        UpLock(tmp_path, 0).hold().__enter__()


@pytest.mark.parametrize("left", ["", "{", '{"pid": 4711}', "[]", '{"pid": 1, "urls": 2}'])
def test_what_a_killed_holder_left_is_no_obstacle(tmp_path, left) -> None:
    lock = UpLock(tmp_path, 0)
    lock.path.write_text(left)
    assert lock.read() is None
    with lock.hold():
        assert not UpLock(tmp_path, 0).is_free()


def test_the_file_is_its_owners_alone(tmp_path) -> None:
    lock = UpLock(tmp_path, 0)
    with lock.hold():
        assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600


def test_a_failure_while_it_is_held_frees_it(tmp_path) -> None:
    lock = UpLock(tmp_path, 0)

    def fail() -> None:
        with lock.hold():
            lock.write(RUNNING)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert lock.is_free()
    assert lock.read() is None
