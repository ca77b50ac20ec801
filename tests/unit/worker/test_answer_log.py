from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.worker.answer_log import AnswerLog, LogSpace
from shared.protocol.frames import LedgerFrame, TokensFrame, encode

START = b"start"
PLENTY = 1 << 30


def tokens(number: int, choice: int, ids: tuple[int, ...], data: bytes = b"") -> bytes:
    return encode(TokensFrame(number, choice, ids, data))


IDS = st.integers(0, 2**31 - 1)
GIVEN = st.lists(st.tuples(st.integers(0, 2), st.lists(IDS, min_size=1, max_size=3)), max_size=12)


@given(
    before=st.lists(st.lists(IDS, max_size=4), min_size=3, max_size=3),
    given_frames=GIVEN,
    after=st.integers(0, 12),
    most=st.integers(1, 5),
)
def test_what_is_told_and_what_follows_are_the_whole(before, given_frames, after, most):
    """Wherever a reader goes on, it knows all tokens once, those of another worker first."""
    number = sum(map(len, before))
    after = number + min(after, len(given_frames))
    log = AnswerLog(LogSpace(PLENTY), START, before, number)
    frames = [
        tokens(number + i, choice, tuple(ids), b"data: %d\n\n" % i)
        for i, (choice, ids) in enumerate(given_frames, 1)
    ]
    for frame in frames:
        log.add(frame)
    log.finish(b"end")
    assert (log.before, log.last) == (number, number + len(frames))

    told = log.ledger(after)
    expected = [list(ids) for ids in before]
    for choice, ids in given_frames[: after - number]:
        expected[choice] += ids
    assert told == LedgerFrame(after, expected)

    found: list[bytes] = []
    while piece := log.since(after, len(found), most):
        assert len(piece) <= most
        found += piece
    assert found == [*frames[after - number :], b"end"]


@given(sizes=st.lists(st.integers(0, 4000), max_size=30), total=st.integers(0, 60_000))
def test_no_log_exceeds_its_share_nor_all_the_total(sizes, total):
    space = LogSpace(total)
    forgotten: list[AnswerLog] = []
    logs: list[AnswerLog] = []
    for size in sizes:
        log = AnswerLog(space, START, [()], 0)
        log.add(b"x" * size)

        def forget(log: AnswerLog = log) -> None:
            forgotten.append(log)
            log.drop()

        if log.whole:
            space.offer(log, forget)
            logs.append(log)
        assert space.used == sum(each.size for each in logs if each.whole) <= total
        assert log.size <= total // 8
    # They went in the order in which they were finished.
    assert forgotten == logs[: len(forgotten)]
    for log in logs:
        log.drop()
    assert space.used == 0


def test_what_outgrows_its_share_holds_nothing_and_takes_nothing_more():
    space = LogSpace(8 * 5000)
    log = AnswerLog(space, START, [(1, 2)], 2)
    log.add(tokens(3, 0, (5,), b"x" * 2000))
    assert log.whole
    log.add(tokens(4, 0, (6,), b"x" * 2000))
    assert (log.whole, log.size, space.used) == (False, 0, 0)
    log.add(tokens(5, 0, (7,)))
    assert log.since(2, 0, 10) == []
    assert space.used == 0


def test_running_answers_do_not_give_way():
    space = LogSpace(8 * 3000)
    logs = [AnswerLog(space, START, [()], 0) for _ in range(20)]
    kept = [log for log in logs if log.whole]
    assert len(kept) == 8 * 3000 // kept[0].size
    assert logs[: len(kept)] == kept


def test_an_answer_that_is_read_again_gives_way_no_more():
    space = LogSpace(8 * 3000)
    forgotten: list[int] = []
    logs = [AnswerLog(space, START, [()], 0) for _ in range(3)]
    for index, log in enumerate(logs):
        space.offer(log, lambda index=index, log=log: (forgotten.append(index), log.drop()))
    space.withdraw(logs[0])
    for _ in range(20):
        AnswerLog(space, START, [()], 0)
    assert forgotten == [1, 2]
    assert logs[0].whole
