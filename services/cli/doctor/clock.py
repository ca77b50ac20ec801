"""Whether two machines' clocks agree."""

from __future__ import annotations

from services.cli.doctor.check import Check, ok, warn

_SKEW_SECONDS = 2.0


def clock(whose: str, ahead: float, *, coarse: float = 0.0) -> Check:
    """Find whether another clock, `ahead` of ours by some seconds, agrees with it.

    Args:
        whose: the other's.
        ahead: seconds, negative where it is behind.
        coarse: seconds by which `ahead` may be less than it really is: how finely it is told.
    """
    if -_SKEW_SECONDS - coarse <= ahead <= _SKEW_SECONDS:
        return ok("clock", f"as that of {whose}")
    way = "ahead of" if ahead > 0 else "behind"
    told = (
        f"that of {whose} is {abs(ahead):.0f} seconds {way} this machine's: keys end at another "
        "time than they say, and of two services with a name the wrong one counts"
    )
    return warn("clock", told, "let both machines keep time: `sudo timedatectl set-ntp true`")
