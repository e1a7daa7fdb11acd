"""The clock by which waits for quota, rests and back-offs are counted."""

import time
from collections.abc import Callable
from functools import partial


def _elapsed_clock() -> Callable[[], float]:
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):  # the second goes on in a sleeping Mac, time.monotonic does not
        if hasattr(time, name):
            return partial(time.clock_gettime, getattr(time, name))
    return time.monotonic


elapsed_s: Callable[[], float] = _elapsed_clock()
"""Return seconds of a clock that nobody can set and that goes on while the machine sleeps.

A service's windows go on meanwhile, too: by a clock that stood still a call would wait up to an hour for nothing.
"""
