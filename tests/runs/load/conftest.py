"""Fixtures for tests of the load recipes."""

from functools import partial
from types import SimpleNamespace

import pytest

from bulkstop.engine.load.generator import Busy, Generator, Turns
from bulkstop.runs.load import processes, recorder, run, search, sending, watch
from tests.engine.parts import now_s


class NeverWaits(Busy):
    """Never waits for a processor, because the load of the real machine must not affect virtual time."""

    def read_turns(self) -> Turns:
        """Return only the time that the thread ran."""
        ran_s, *_ = super().read_turns()
        return Turns(ran_s, 0.0, 0)


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a load test count in the time of a virtual loop."""
    monkeypatch.setattr(sending, "Generator", partial(Generator, now=now_s, tick_s=0.0))
    monkeypatch.setattr(sending, "Busy", NeverWaits)
    monkeypatch.setattr(sending, "PROBE_S", 0.1)  # in an hour of virtual time it looks often enough
    for module in (processes, recorder, run, search, watch):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=now_s, time=now_s))
