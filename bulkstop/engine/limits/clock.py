"""The clock for quota, throttling and back-off waits."""

import time
from collections.abc import Callable
from functools import partial


def _elapsed_clock() -> Callable[[], float]:
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):  # on a Mac the second goes on in sleep; time.monotonic does not
        if hasattr(time, name):
            return partial(time.clock_gettime, getattr(time, name))
    return time.monotonic


elapsed_s: Callable[[], float] = _elapsed_clock()
"""Returns seconds of a clock that cannot be set and that includes the time while the machine sleeps.

The service's windows include it too: with a clock that stops, a call could wait up to an hour for nothing.
"""
