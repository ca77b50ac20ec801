"""Which rate a server seems to allow, as its episodes of refusals tell.

Owns the two bounds that each episode gives, what several of them give together, and how sure that
is. Pure; which calls were accepted in which time is counted elsewhere.

What cannot be known: when calls were accepted again, where a pause is told in whole seconds or not
at all. For windows much longer than that (from five seconds on, and a minute above all) the bounds
lie close together. For windows of one or two seconds told in whole ones they are a factor of up to
two apart, and each try to tell them closer costs a pause as long as a window: runs of some ten
seconds then take up to 1.8 times as long as they need, longer ones mostly 1.3.
"""

from __future__ import annotations

import math

LEAST_RATE = 1 / 120
LEAST_DOUBT, DOUBTED, MOST_DOUBT = 0.01, 0.05, 0.25

_MARGIN = 0.97
"""Of the rate that is believed, so that calls that come unevenly are not refused."""

_ALIKE = 1.2
"""Bounds that miss each other by more speak of another limit than before."""

_FADING = 0.98
"""What earlier episodes told is believed a little less at each one."""

_FIRST_HOLD, _MOST_AGREED = 2, 5


class RateBelief:
    """Calls a second.

    Attributes:
        rate: what to ask at.
        high: what may have been meant at most.
        doubt: with which growth a faster rate is tried.
        hold: rounds without growth before that; the more, the more often the same was found.
    """

    def __init__(self) -> None:
        """Believe that there is no limit."""
        self.rate = self.high = math.inf
        self.doubt = MOST_DOUBT
        self.hold = 0
        self._low = 0.0
        self._agreed = 0

    def learn(self, accepted: int, least: float, most: float, *, told: bool) -> None:
        """Take that so many calls were accepted in `least` to `most` seconds.

        `told` says whether the server named the seconds of its pause.
        """
        low = accepted / max(most, 1e-3)
        high = max(low, accepted / max(least, 1e-3))
        # Where no time was told, less than ever means that what came before was saved up.
        lower = (high if told else low) * _ALIKE < self._low
        if lower or low > self.high * _ALIKE:
            self._low, self.high, self._agreed = low, high, 0
        else:
            self._low = max(low, self._low * _FADING)
            self.high = max(self._low, min(high, self.high / _FADING))
            self._agreed = min(_MOST_AGREED, self._agreed + 1)
        self._settle(self.high / self._low - 1)

    def _settle(self, doubt: float) -> None:
        """Choose a rate in the middle of the bounds, and hold it once they were found twice."""
        if self._agreed > (doubt > MOST_DOUBT):
            rate = math.sqrt(self._low * self.high)
            self.doubt = min(DOUBTED, max(LEAST_DOUBT, doubt))
            self.hold = _FIRST_HOLD << self._agreed
        else:
            rate = min(math.sqrt(self._low * self.high), (1 + MOST_DOUBT) * self._low)
            most = DOUBTED if self._agreed else MOST_DOUBT
            self.doubt = min(most, max(LEAST_DOUBT, doubt))
            self.hold = 0 if doubt >= DOUBTED else _FIRST_HOLD
        self.rate = max(LEAST_RATE, _MARGIN * rate)
