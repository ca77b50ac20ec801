"""The queue's order and bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.controller.flow.fair_queue import FairQueue, Waiter
from shared.protocol.priority import Priority

INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


def waiter(key="k", priority=INTERACTIVE, tokens=10, size=1):
    return Waiter(key, priority, tokens, size)


def drain(queue):
    served = []
    while (taken := queue.take(lambda _: True)) is not None:
        served.append(taken)
    return served


def filled(waiters, max_waiters=1000, max_bytes=10**9):
    queue = FairQueue(max_waiters, max_bytes)
    for each in waiters:
        assert queue.add(each) == []
    return queue


def test_one_key_is_served_as_it_came():
    waiters = [waiter(tokens=t) for t in (5, 100, 1, 30)]
    assert drain(filled(waiters)) == waiters


def test_interactive_goes_before_batch():
    waiters = [waiter(priority=p) for p in (BATCH, INTERACTIVE, BATCH, INTERACTIVE)]
    assert drain(filled(waiters)) == [waiters[1], waiters[3], waiters[0], waiters[2]]


def test_a_key_that_asks_much_waits_behind_itself():
    flood = [waiter("flood") for _ in range(100)]
    queue = filled(flood)
    for _ in range(10):
        queue.take(lambda _: True)
    late = [waiter("late") for _ in range(3)]
    for each in late:
        queue.add(each)
    served = drain(queue)
    assert max(served.index(each) for each in late) <= 6


def test_turns_are_of_tokens_and_not_of_requests():
    small = [waiter("small", tokens=10) for _ in range(40)]
    large = [waiter("large", tokens=40) for _ in range(10)]
    served = drain(filled([*large, *small]))[:25]
    tokens = {key: sum(w.tokens for w in served if w.key == key) for key in ("small", "large")}
    assert abs(tokens["small"] - tokens["large"]) <= 40


def test_one_that_does_not_fit_keeps_its_turn():
    first, second = waiter("a"), waiter("b")
    queue = filled([first, second])
    assert queue.take(lambda w: w is not first) is second
    assert queue.take(lambda w: w is not first) is None
    assert len(queue) == 1
    assert queue.take(lambda _: True) is first


def test_who_left_is_not_served():
    waiters = [waiter() for _ in range(50)]
    queue = filled(waiters)
    for each in waiters[:49]:
        queue.discard(each)
        queue.discard(each)
    assert len(queue) == 1
    assert drain(queue) == [waiters[49]]
    assert queue.size == 0


def test_a_full_queue_sheds_the_latest_of_the_key_that_has_most():
    queue = FairQueue(4, 10**9)
    flood = [waiter("flood") for _ in range(4)]
    for each in flood:
        queue.add(each)
    assert queue.add(waiter("other")) == [flood[3]]
    late = waiter("flood")
    assert queue.add(late) == [late]
    assert queue.waiting(INTERACTIVE) == 4


def test_a_full_queue_sheds_batch_first():
    queue = FairQueue(2, 10**9)
    batch = [waiter("b", BATCH) for _ in range(2)]
    for each in batch:
        queue.add(each)
    assert queue.add(waiter("a")) == [batch[1]]
    assert (queue.waiting(INTERACTIVE), queue.waiting(BATCH)) == (1, 1)
    assert (queue.ahead_of(INTERACTIVE), queue.ahead_of(BATCH)) == (1, 2)


def test_bytes_are_bounded_too():
    queue = FairQueue(100, 1000)
    small = [waiter("a", size=300) for _ in range(3)]
    for each in small:
        queue.add(each)
    assert queue.add(waiter("b", size=300)) == [small[2]]
    huge = waiter("c", size=5000)
    assert huge in queue.add(huge)
    assert queue.size <= 1000


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Priority), st.integers(0, 99))))
def test_each_is_served_once_and_a_keys_own_in_order(given_):
    waiters = [waiter(*each) for each in given_]
    served = drain(filled(waiters))
    assert sorted(map(id, served)) == sorted(map(id, waiters))
    for key in "abc":
        for priority in Priority:
            own = [w for w in waiters if (w.key, w.priority) == (key, priority)]
            assert [w for w in served if (w.key, w.priority) == (key, priority)] == own


class Traffic(RuleBasedStateMachine):
    """Whatever comes and goes, the counts are those of who waits."""

    def __init__(self):
        super().__init__()
        self.queue = FairQueue(12, 400)
        self.there = []

    @rule(key=st.sampled_from("abcd"), priority=st.sampled_from(Priority), size=st.integers(0, 90))
    def come(self, key, priority, size):
        new = waiter(key, priority, size, size)
        self.there.append(new)
        for shed in self.queue.add(new):
            self.there.remove(shed)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def leave(self, data):
        gone = data.draw(st.sampled_from(self.there))
        self.there.remove(gone)
        self.queue.discard(gone)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def serve(self, data):
        fitting = data.draw(st.sampled_from("abcd"))
        taken = self.queue.take(lambda w: w.key == fitting)
        assert (taken is None) == (not any(w.key == fitting for w in self.there))
        if taken is not None:
            self.there.remove(taken)
            same = [w for w in self.there if w.key == fitting]
            assert all(taken.priority <= w.priority for w in same)

    @invariant()
    def counts_hold(self):
        assert len(self.queue) == len(self.there) <= 12
        assert self.queue.size == sum(w.size for w in self.there) <= 400
        assert all(w.waiting for w in self.there)


TestTraffic = Traffic.TestCase
