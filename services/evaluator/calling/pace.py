"""How fast one model may be asked: calls at once and calls a second, learnt from its refusals.

Owns what a refusal (status 429) means. Calls at once grow by one a round trip and fall to 0.8 of
themselves once an episode of refusals (AIMD; Chiu and Jain 1989). Calls a second are unbounded
until the first episode; then they are what was accepted from one episode's end to the next one's,
so that a server that counts calls by the minute is asked evenly, and they grow again slowly. Where
a call takes much longer than the limit's window, the first 16 places are too few for the limit,
and they grow by one a round trip: it takes that many round trips until the limit is used up. Pure:
every `now` is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.evaluator.calling.rate_belief import (
    DOUBTED,
    LEAST_DOUBT,
    LEAST_RATE,
    MOST_DOUBT,
    RateBelief,
)

FIRST_LIMIT = 16
_CUT = 0.8
_FIRST_GUESS, _LONGEST_GUESS, _GUESS_GROWTH = 0.25, 15.0, 2.0
"""Seconds of a pause where the server names none, after which one call is tried alone."""

_ROUND_CALLS, _ROUND_SECONDS = 20, 1.0
_SHORT_ROUND_CALLS, _SHORT_ROUND_SECONDS = 5, 0.25
"""Where there is much doubt in what was learnt, rounds of growth are short."""

_MOST_GROWTH, _MOST_PROBING = 0.5, 0.05
"""A round's growth below what may have been meant, and beyond it."""

_FEW = 5
"""Accepted calls that tell something of a rate."""

_SLACK_SECONDS = 0.1
"""By so much the sending may lag behind and be caught up with: timers are late."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One call under way."""

    sent_at: float
    episode: int
    period: int
    probe: bool


class Pace:
    """The pace of one model."""

    def __init__(self, most: int) -> None:
        """Start with no rate known, and at most `most` calls at once."""
        self.in_flight = 0
        self.rate = math.inf
        self.limit = float(min(most, FIRST_LIMIT))
        self._most = float(most)
        self._next_at = -math.inf
        self._paused_until = -math.inf
        # An episode is counted up at its first refusal; calls sent before belong to the one before.
        self._episode = 0
        # A period is what a rate is learnt from: it ends with an episode.
        self._period = self._accepted = 0
        self._began_at: float | None = None
        self._refused_at = -math.inf
        self._idle_since = -math.inf
        self._open = self._blind = self._probing = self._missed = False
        self._whole = True
        self._guess = _FIRST_GUESS
        self._belief = RateBelief()
        self._held = 0
        self._growth = MOST_DOUBT
        self._round_calls = 0
        self._round_at = 0.0
        self._bound = False
        self._slow_start = True

    def wait(self, now: float) -> float:
        """Return the seconds until a call may be sent; infinity: until one under way ends."""
        if self._probing or self.in_flight >= int(self.limit):
            return math.inf
        self._bound = self._bound or self._next_at > now
        return max(0.0, self._paused_until - now, self._next_at - now)

    def sent(self, now: float) -> Ticket:
        """Note that a call is sent, as `wait` allowed."""
        self._pass_over_idleness(now)
        # Where nothing was accepted, or nobody said how long to wait, one call tries alone.
        probe = self._open and (self._blind or self._accepted <= 0)
        if probe:
            self._probing = True
        elif self._open:
            self._resume(self._paused_until)
        self.in_flight += 1
        self._accepted += not probe
        self._next_at = max(self._next_at, now - _SLACK_SECONDS) + 1 / self.rate
        return Ticket(now, self._episode, self._period, probe)

    def succeeded(self, ticket: Ticket, now: float) -> None:
        """Note an answer."""
        if 2 * self.in_flight >= self.limit:
            step = 1.0 if self._slow_start else 1 / self.limit
            self.limit = min(self._most, self.limit + step)
        self._leave(ticket, now)
        if ticket.probe:
            self._resume(ticket.sent_at)
            self._accepted += 1
        self._round_calls += 1
        short = self._growth >= DOUBTED and self.rate < self._belief.high
        calls = _SHORT_ROUND_CALLS if short else _ROUND_CALLS
        seconds = _SHORT_ROUND_SECONDS if short else _ROUND_SECONDS
        if self._round_calls >= calls and now - self._round_at >= seconds:
            self._end_round(now)

    def refused(self, ticket: Ticket, now: float, wish: float | None) -> None:
        """Note a 429; `wish` is its Retry-After in seconds.

        The pause is the whole model's. Calls that were sent before it are refused with the one
        that began it, and cut nothing more.
        """
        self._return(ticket, now)
        self._refused_at = max(self._refused_at, ticket.sent_at)
        if ticket.probe:
            self._missed = True
            self._guess = min(_LONGEST_GUESS, self._guess * _GUESS_GROWTH)
        elif ticket.episode == self._episode and not self._open:
            self._begin_episode()
        elif wish is None:
            return
        self._blind = self._blind and not wish
        self._whole = not wish or wish == int(wish)
        pause = self._guess if self._missed or not wish else 0.0
        self._paused_until = max(self._paused_until, now + max(pause, wish or 0.0))

    def failed(self, ticket: Ticket, now: float, wish: float | None) -> None:
        """Note another failure: growth pauses, and nothing is sent before `wish` seconds."""
        self._return(ticket, now)
        self._restart_growth(now)
        if wish:
            self._paused_until = max(self._paused_until, now + wish)

    def withdrawn(self, ticket: Ticket, now: float) -> None:
        """Note that a call was given up by whoever made it."""
        self._return(ticket, now)

    def _return(self, ticket: Ticket, now: float) -> None:
        """End a call that was not answered: it counts as never accepted."""
        self._leave(ticket, now)
        if not ticket.probe and ticket.period == self._period:
            self._accepted -= 1

    def _leave(self, ticket: Ticket, now: float) -> None:
        self.in_flight -= 1
        self._idle_since = now
        if ticket.probe:
            self._probing = False

    def _pass_over_idleness(self, now: float) -> None:
        """Leave the time in which nobody asked out of what the rate is learnt from."""
        if self._began_at is None:
            self._began_at = self._round_at = now
        elif not self.in_flight and not self._open:
            idle_since = max(self._idle_since, self._next_at, self._paused_until)
            self._began_at += max(0.0, now - idle_since)

    def _begin_episode(self) -> None:
        self._episode += 1
        self._open = self._blind = True
        self._slow_start = self._missed = False
        self._guess = min(_LONGEST_GUESS, max(_FIRST_GUESS, 2 / self.rate))
        self.limit = max(1.0, self.limit * _CUT)

    def _resume(self, at: float) -> None:
        """End an episode at the moment from which calls are accepted again."""
        if not self._open:
            return
        assert self._began_at is not None
        self._open = False
        if self._accepted >= _FEW or (self._accepted > 0 and self.rate == math.inf):
            self._learn(at)
            self._begin_period(at)
        elif self._accepted > 0:
            # So few tell little: the period goes on.
            self.rate = max(LEAST_RATE, _CUT * self.rate)
        self._next_at = at + 1 / self.rate if self._blind else at
        self._restart_growth(at)

    def _begin_period(self, at: float) -> None:
        self._period += 1
        self._accepted = 0
        self._began_at = at

    def _learn(self, at: float) -> None:
        """Take what was accepted from the last episode's end to this one's.

        Calls were accepted again at some time before the first one that was: after the last one
        that was refused, or within the second to which a Retry-After was rounded up.
        """
        assert self._began_at is not None
        seconds = at - self._began_at
        least = self._refused_at - self._began_at if self._blind else seconds - self._whole
        self._belief.learn(self._accepted, least, seconds, told=not self._blind)
        self.rate = self._belief.rate

    def _restart_growth(self, now: float) -> None:
        self._growth = self._belief.doubt
        self._held = 0
        self._round_calls = 0
        self._round_at = now

    def _end_round(self, now: float) -> None:
        """Grow, if the rate is what bounds the calls."""
        if self._bound:
            self._held += 1
        if self._bound and self._held > self._belief.hold:
            below = self.rate < self._belief.high
            self.rate *= 1 + self._growth
            self._growth = min(_MOST_GROWTH if below else _MOST_PROBING, 2 * self._growth)
            if below and self.rate >= self._belief.high:
                self.rate = self._belief.high
                self._growth = LEAST_DOUBT
        self._bound = False
        self._round_calls = 0
        self._round_at = now
